//! What the live view shows, as plain values: taken from the ledger, the consumer group and the clock
//! once a frame. Knows neither where they come from nor how they are drawn.

use std::time::Duration;

use crate::percentiles::Percentiles;

/// One moment of the demo.
#[derive(Debug, Clone, Default)]
pub(super) struct Scene {
    /// Since the workers were started.
    pub(super) elapsed: Duration,
    pub(super) phase: Phase,
    pub(super) figures: Figures,
    pub(super) workers: Vec<WorkerRow>,
    pub(super) topics: Vec<TopicRow>,
    pub(super) kill: Option<KillRow>,
}

/// Where in its course the demo is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The workers join the group.
    #[default]
    Join,
    /// The learners act.
    Crowd,
    /// A worker is killed, and its lanes have no owner that answers.
    Kill,
    /// Another worker answers for them.
    Takeover,
    /// The learners are done, and deadlines end what they left open.
    Deadlines,
    /// Every session has ended.
    Over,
}

/// What the ledger counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) waiting: usize,
    pub(super) active: usize,
    pub(super) ended: usize,
    /// Commands and matches, duplicates included.
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) events: u64,
    /// Answers in each whole second, the oldest first.
    pub(super) answers_by_second: Vec<u64>,
    /// Events in each whole second, the oldest first.
    pub(super) events_by_second: Vec<u64>,
    /// Command to result, over the sliding window.
    pub(super) recent: Percentiles,
    /// The same over all.
    pub(super) all: Percentiles,
    /// Results by code, the most frequent first.
    pub(super) codes: Vec<(String, u64)>,
    /// The latest events, the newest last.
    pub(super) passing: Vec<Passing>,
    pub(super) faults: Vec<String>,
}

/// An event that passes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Passing {
    /// Since the workers were started.
    pub(super) at: Duration,
    pub(super) session: String,
    pub(super) sequence: i64,
    pub(super) kind: String,
    /// Whom it is about, or who commanded; `timer` for a deadline.
    pub(super) who: String,
    pub(super) detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkerRow {
    pub(super) name: String,
    /// `None` until it has started, and once it was killed.
    pub(super) pid: Option<u32>,
    pub(super) is_killed: bool,
}

/// The partitions of an input topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicRow {
    pub(super) name: String,
    pub(super) lanes: Vec<LaneCell>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LaneCell {
    /// The place of its owner among the workers, as the group's coordinator says.
    pub(super) owner: Option<usize>,
    /// Records behind the log's end, by the committed offset.
    pub(super) lag: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KillRow {
    pub(super) victim: String,
    /// Since the workers were started.
    pub(super) at: Duration,
    pub(super) lanes: usize,
    /// From the kill to the first answer from one of its lanes.
    pub(super) taken_over: Option<Duration>,
}

impl Scene {
    pub(super) fn lag(&self) -> u64 {
        let lanes = self.topics.iter().flat_map(|topic| &topic.lanes);
        lanes.filter_map(|lane| lane.lag).sum()
    }
}
