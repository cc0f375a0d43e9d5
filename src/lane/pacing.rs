//! How much one batch takes, and when the lane may try again: sizes that shrink on conflict and grow on
//! success, and a hold that backs off while the database fails. Knows no error; the interpreter decides.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::failure::Step;

/// Conflicts in a row before a batch is halved.
const CONFLICTS_BEFORE_HALVING: u32 = 3;
/// Conflicts in a row that are reported: the lane makes no progress beside another writer.
pub(super) const CONFLICTS_REPORTED: u32 = 10;
/// How much a batch grows after a success, in records and in deadlines.
const GROWTH: usize = 16;

/// What a batch may mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mixture {
    /// Due deadlines and messages together.
    Together,
    /// The database refused a mixed batch: deadlines and messages go apart, so that the refusal is
    /// blamed on the right one.
    Apart,
}

/// The size of the next batch.
pub(super) struct Pacing {
    records: usize,
    deadlines: usize,
    most_records: usize,
    most_deadlines: usize,
    conflicts: u32,
    mixture: Mixture,
    /// No batch before this instant.
    paused_until: Option<Instant>,
}

/// What the next batch is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Due deadlines at most.
    pub(super) deadlines: usize,
    /// Messages at most.
    pub(super) records: usize,
}

impl Pacing {
    /// Starts at the most that a batch may take.
    pub(super) fn new(most_records: usize, most_deadlines: usize) -> Self {
        let (most_records, most_deadlines) = (most_records.max(1), most_deadlines.max(1));
        Self {
            records: most_records,
            deadlines: most_deadlines,
            most_records,
            most_deadlines,
            conflicts: 0,
            mixture: Mixture::Together,
            paused_until: None,
        }
    }

    /// Until when no batch is attempted, where that is still to come.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until.filter(|until| *until > Instant::now())
    }

    /// How many records a batch may take.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// What the next batch may take where `deadlines_due` says whether any is.
    pub(super) fn offer(&self, deadlines_due: bool) -> Offer {
        let records = match self.mixture {
            Mixture::Apart if deadlines_due => 0,
            Mixture::Apart | Mixture::Together => self.records,
        };
        Offer {
            deadlines: self.deadlines,
            records,
        }
    }

    /// Conflicts since the last commit.
    pub(super) fn conflicts(&self) -> u32 {
        self.conflicts
    }

    /// A batch of `records` messages was committed.
    pub(super) fn committed(&mut self, records: usize) {
        self.conflicts = 0;
        self.records = (self.records + GROWTH).min(self.most_records);
        self.deadlines = (self.deadlines + GROWTH).min(self.most_deadlines);
        if records > 0 {
            self.mixture = Mixture::Together;
        }
    }

    /// A batch of `records` messages and `deadlines` met another writer: it is decided again after a
    /// pause. Says whether it is smaller then.
    pub(super) fn conflicted(
        &mut self,
        records: usize,
        deadlines: usize,
        rng: &mut StdRng,
    ) -> bool {
        self.conflicts += 1;
        let halved = self.conflicts.is_multiple_of(CONFLICTS_BEFORE_HALVING);
        if halved {
            self.halve_records(records);
            self.halve_deadlines(deadlines);
        }
        let most = 1 << self.conflicts.min(8);
        let jitter = Duration::from_millis(rng.random_range(1..=2 + most));
        self.paused_until = Some(Instant::now() + jitter);
        halved
    }

    /// The next batches take deadlines and messages apart.
    pub(super) fn separate(&mut self) {
        self.mixture = Mixture::Apart;
    }

    /// Takes at most half of `records` from now on.
    pub(super) fn halve_records(&mut self, records: usize) {
        if records > 0 {
            self.records = (records / 2).max(1);
        }
    }

    /// Takes at most half of `deadlines` from now on.
    pub(super) fn halve_deadlines(&mut self, deadlines: usize) {
        if deadlines > 0 {
            self.deadlines = (deadlines / 2).max(1);
        }
    }
}

/// Whether the lane may use the database.
#[derive(Debug)]
pub(super) enum Hold {
    /// It may.
    Free,
    /// A step failed: nothing that needs the database is tried before `until`.
    Held {
        /// What failed.
        step: Step,
        /// Why, without payload.
        reason: String,
        /// Failures in a row.
        faults: u32,
        /// When to try again.
        until: Instant,
    },
}

impl Hold {
    /// Until when nothing is tried.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Self::Free => None,
            Self::Held { until, .. } => Some(*until),
        }
    }

    /// Whether the time to try again is still to come.
    pub(super) fn is_waiting(&self, now: Instant) -> bool {
        self.until().is_some_and(|until| now < until)
    }

    /// `step` failed, once more.
    pub(super) fn hold(&mut self, step: Step, reason: String, now: Instant, rng: &mut StdRng) {
        let faults = match self {
            Self::Free => 1,
            Self::Held { faults, .. } => *faults + 1,
        };
        *self = Self::Held {
            step,
            reason,
            faults,
            until: now + backoff(faults, rng),
        };
    }

    /// A step that needs the database succeeded.
    pub(super) fn release(&mut self) {
        *self = Self::Free;
    }
}

/// The pause before try `attempt` + 1: 100 ms to 6.4 s, with jitter.
pub(super) fn backoff(attempt: u32, rng: &mut StdRng) -> Duration {
    let most = 100u64 << attempt.min(6);
    Duration::from_millis(rng.random_range(most / 2..=most))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn conflicts_shrink_deadlines_as_they_shrink_messages_and_success_lets_both_grow() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut pacing = Pacing::new(256, 500);
        for _ in 0..CONFLICTS_BEFORE_HALVING {
            pacing.conflicted(200, 500, &mut rng);
        }
        let offer = pacing.offer(true);
        assert_eq!((offer.records, offer.deadlines), (100, 250));
        for _ in 0..30 * CONFLICTS_BEFORE_HALVING {
            let Offer { deadlines, records } = pacing.offer(true);
            pacing.conflicted(records, deadlines, &mut rng);
        }
        assert_eq!(
            (pacing.offer(true).records, pacing.offer(true).deadlines),
            (1, 1)
        );
        assert!(pacing.conflicts() > CONFLICTS_REPORTED);
        pacing.committed(1);
        assert_eq!(pacing.conflicts(), 0);
        assert_eq!(pacing.offer(true).deadlines, 1 + GROWTH);
    }

    #[test]
    fn after_a_refused_mixture_deadlines_go_first_and_alone_until_messages_were_committed() {
        let mut pacing = Pacing::new(8, 8);
        pacing.separate();
        assert_eq!(pacing.offer(true).records, 0);
        assert_eq!(pacing.offer(false).records, 8);
        pacing.committed(0);
        assert_eq!(pacing.offer(true).records, 0);
        pacing.committed(3);
        assert_eq!(pacing.offer(true).records, 8);
    }

    #[test]
    fn a_hold_grows_with_every_fault_and_is_forgotten_after_a_success() {
        let mut rng = StdRng::seed_from_u64(1);
        let now = Instant::now();
        let mut hold = Hold::Free;
        assert!(!hold.is_waiting(now));
        let mut last = Duration::ZERO;
        for _ in 0..6 {
            hold.hold(Step::Commit, "down".to_owned(), now, &mut rng);
            let pause = hold.until().expect("it is held") - now;
            assert!(pause > last / 2, "{pause:?} after {last:?}");
            last = pause;
        }
        assert!(last >= Duration::from_secs(3), "{last:?}");
        hold.release();
        assert!(hold.until().is_none());
    }
}
