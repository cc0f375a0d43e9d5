//! What is known of a partition's ends: for lag, and for the position that lag tools read. Asks no
//! broker and decides nothing about reading.

use crate::kafka::health::PartitionStatistics;

/// The ends of one partition as last heard of, and the position that its lane reports.
#[derive(Debug, Default)]
pub(super) struct Marks {
    low: Option<i64>,
    /// The offset after the last record that may be read: the last stable offset.
    high: Option<i64>,
    end: Option<End>,
    reported: Option<i64>,
    /// What was last sent to the group.
    committed: Option<i64>,
}

/// The log was read to its end.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The offset after the last record that was read.
    next: i64,
    /// Where the log ended then: transaction markers and aborted records may stand behind `next`.
    at: i64,
}

impl Marks {
    /// The broker was asked.
    pub(super) fn bounds(&mut self, low: i64, high: i64) {
        self.low = Some(low);
        self.high = Some(high);
    }

    /// Everything before `next` was read.
    pub(super) fn read(&mut self, next: i64) {
        self.end = None;
        self.high = Some(self.high.map_or(next, |high| high.max(next)));
    }

    /// Everything before `next` was read, and no record is left.
    pub(super) fn read_to_end(&mut self, next: i64) {
        if self.end.is_none_or(|end| end.next != next) {
            self.end = Some(End { next, at: next });
        }
    }

    /// Reading goes on elsewhere.
    pub(super) fn moved(&mut self) {
        self.end = None;
    }

    /// What the client's statistics say. They may be older than what was read since.
    pub(super) fn statistics(&mut self, statistics: &PartitionStatistics) {
        if statistics.lo_offset >= 0 {
            self.low = Some(statistics.lo_offset);
        }
        if statistics.ls_offset >= 0 {
            self.high = Some(statistics.ls_offset);
        }
        // With an empty queue, everything before that end has been taken from it.
        if let Some(end) = &mut self.end
            && statistics.fetchq_cnt == 0
        {
            end.at = end.at.max(statistics.eof_offset);
        }
    }

    /// How many records wait at and behind `next`; `None`: from the earliest.
    pub(super) fn lag(&self, next: Option<i64>) -> Option<i64> {
        let high = self.high?;
        let next = match (next, self.end) {
            (Some(next), Some(end)) if end.next == next => end.at,
            (Some(next), _) => next.max(self.low.unwrap_or(next)),
            (None, _) => self.low?,
        };
        Some((high - next).max(0))
    }

    pub(super) fn report(&mut self, next: i64) {
        self.reported = Some(next);
    }

    /// The position to commit, if it is another than last time.
    pub(super) fn take_commit(&mut self) -> Option<i64> {
        let next = self.reported?;
        let position = match self.end {
            Some(end) if end.next == next => end.at,
            _ => next,
        };
        (self.committed.replace(position) != Some(position)).then_some(position)
    }

    /// The last commit failed.
    pub(super) fn not_committed(&mut self) {
        self.committed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(ends: (i64, i64), eof_offset: i64, fetchq_cnt: i64) -> PartitionStatistics {
        PartitionStatistics {
            lo_offset: ends.0,
            ls_offset: ends.1,
            eof_offset,
            fetchq_cnt,
        }
    }

    #[test]
    fn lag_is_0_at_the_end_though_markers_stand_behind_the_position() {
        let mut marks = Marks::default();
        assert_eq!(marks.lag(Some(0)), None);
        marks.read(5);
        marks.statistics(&statistics((0, 7), 7, 1));
        assert_eq!((marks.lag(Some(5)), marks.lag(Some(3))), (Some(2), Some(4)));
        marks.read_to_end(5);
        marks.statistics(&statistics((0, 7), 7, 0));
        assert_eq!((marks.lag(Some(5)), marks.lag(Some(3))), (Some(0), Some(4)));
        // What came since is not read: the lane may have stopped reading.
        marks.statistics(&statistics((0, 9), 9, 2));
        assert_eq!(marks.lag(Some(5)), Some(2));
        marks.read(8);
        assert_eq!(marks.lag(Some(8)), Some(1));
    }

    #[test]
    fn lag_counts_from_the_first_record_and_follows_a_log_that_became_shorter() {
        let mut marks = Marks::default();
        marks.bounds(10, 100);
        assert_eq!((marks.lag(None), marks.lag(Some(4))), (Some(90), Some(90)));
        marks.statistics(&statistics((0, 20), -1001, 0));
        assert_eq!((marks.lag(None), marks.lag(Some(50))), (Some(20), Some(0)));
    }

    #[test]
    fn the_end_is_reported_once_and_again_after_a_failure() {
        let mut marks = Marks::default();
        assert_eq!(marks.take_commit(), None);
        marks.read(5);
        marks.report(5);
        assert_eq!((marks.take_commit(), marks.take_commit()), (Some(5), None));
        marks.read_to_end(5);
        marks.statistics(&statistics((0, 7), 7, 0));
        assert_eq!((marks.take_commit(), marks.take_commit()), (Some(7), None));
        marks.not_committed();
        assert_eq!(marks.take_commit(), Some(7));
        marks.report(4);
        assert_eq!(marks.take_commit(), Some(4));
    }
}
