//! What fails at present: rates of small faults, and conditions that begin and end. Every seam asks here;
//! in calm weather nothing fails any more but what was declared to last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use session_worker::domain::SessionId;
use session_worker::record::TopicPartition;
use session_worker::store::memory::Document;
use tokio::time::Instant;

/// How likely each small fault is, in 1,000 calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// The database does nothing, and the caller knows.
    pub(crate) unavailable: u32,
    /// The same of a fence, beside that.
    pub(crate) fence: u32,
    /// Another writer was in the way.
    pub(crate) conflict: u32,
    /// The commit happened, its answer was lost.
    pub(crate) lost_answer: u32,
    /// The commit did not happen, and the caller does not know.
    pub(crate) lost_request: u32,
    /// The caller is frozen before its commit, for up to `freeze_ms`.
    pub(crate) freeze: u32,
    /// See `freeze`.
    pub(crate) freeze_ms: u64,
    /// A read of a log fails, and the log has stepped over records.
    pub(crate) read: u32,
    /// Bounds or a seek fail.
    pub(crate) placing: u32,
    /// Bounds or a seek hang for up to 20 s.
    pub(crate) hang: u32,
    /// A delivery fails: nothing, a part or everything of it was appended.
    pub(crate) delivery: u32,
    /// A delivery is held up for up to 8 s.
    pub(crate) held_up: u32,
    /// A delivery pauses between two of its records for up to 2 s.
    pub(crate) pause: u32,
}

/// Which records a topic refuses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Refusal {
    pub(crate) topic: String,
    /// `None`: every lane's.
    pub(crate) lane: Option<TopicPartition>,
}

/// The conditions.
pub(crate) struct Conditions {
    pub(crate) rates: Rates,
    /// The database answers nobody.
    pub(crate) down_until: Option<Instant>,
    /// The database answers no commit, and does none.
    pub(crate) silent_until: Option<Instant>,
    /// The database blames the content, whatever it is.
    pub(crate) refuse_until: Option<Instant>,
    /// Messages whose effects the database really refuses.
    pub(crate) culprits: BTreeSet<String>,
    /// Sessions whose writes the database really refuses.
    pub(crate) culprit_sessions: BTreeSet<SessionId>,
    /// Documents that cannot be read.
    pub(crate) spoiled: BTreeSet<Document>,
    /// What topics refuse, and how many conditions say so.
    pub(crate) refused: BTreeMap<Refusal, u32>,
    /// What was ever blamed or spoiled.
    pub(crate) ever: Ever,
    /// When the last freeze or hang that has begun ends.
    pub(crate) in_flight_until: Instant,
}

/// What was ever blamed or spoiled: where `internal_error` is right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ever {
    pub(crate) culprits: BTreeSet<String>,
    pub(crate) culprit_sessions: BTreeSet<SessionId>,
    pub(crate) spoiled: BTreeSet<Document>,
    /// The database has blamed anything at some time.
    pub(crate) refused_all: bool,
}

/// The weather of a simulation.
#[derive(Clone)]
pub(crate) struct Weather {
    inner: Arc<Mutex<Conditions>>,
}

impl Weather {
    /// Only small faults, at `rates`.
    pub(crate) fn new(rates: Rates) -> Self {
        let conditions = Conditions {
            rates,
            down_until: None,
            silent_until: None,
            refuse_until: None,
            culprits: BTreeSet::new(),
            culprit_sessions: BTreeSet::new(),
            spoiled: BTreeSet::new(),
            refused: BTreeMap::new(),
            ever: Ever::default(),
            in_flight_until: Instant::now(),
        };
        Self {
            inner: Arc::new(Mutex::new(conditions)),
        }
    }

    /// The conditions, to look at or change.
    pub(crate) fn now(&self) -> MutexGuard<'_, Conditions> {
        self.inner.lock().expect("weather")
    }

    /// The rates of small faults.
    pub(crate) fn rates(&self) -> Rates {
        self.now().rates
    }

    /// Whether the database answers nobody at present.
    pub(crate) fn is_down(&self) -> bool {
        let now = Instant::now();
        self.now().down_until.is_some_and(|until| now < until)
    }

    /// Whether the database answers no commit.
    pub(crate) fn is_silent(&self) -> bool {
        let now = Instant::now();
        self.now().silent_until.is_some_and(|until| now < until)
    }

    /// Whether the database blames whatever it is given.
    pub(crate) fn refuses_all(&self) -> bool {
        let now = Instant::now();
        self.now().refuse_until.is_some_and(|until| now < until)
    }

    /// Whether `topic` refuses the records of `lane`.
    pub(crate) fn refuses(&self, topic: &str, lane: &TopicPartition) -> bool {
        let conditions = self.now();
        let mut refused = conditions.refused.keys();
        refused.any(|refusal| {
            refusal.topic == topic && refusal.lane.as_ref().is_none_or(|one| one == lane)
        })
    }

    /// A fault of this length begins.
    pub(crate) fn begins(&self, length: Duration) {
        let mut conditions = self.now();
        let end = Instant::now() + length;
        conditions.in_flight_until = conditions.in_flight_until.max(end);
    }

    /// Ends every fault that lasts; returns the documents that can be read again.
    pub(crate) fn end_what_lasts(&self) -> BTreeSet<Document> {
        let mut conditions = self.now();
        conditions.culprit_sessions.clear();
        conditions.culprits.clear();
        conditions.refused.clear();
        std::mem::take(&mut conditions.spoiled)
    }

    /// Ends every fault but those that last; returns when the last one that is under way ends.
    pub(crate) fn calm_down(&self) -> Instant {
        let mut conditions = self.now();
        conditions.rates = Rates::default();
        let ends = [
            conditions.down_until,
            conditions.silent_until,
            conditions.refuse_until,
        ];
        let last = ends.into_iter().flatten().max();
        conditions
            .in_flight_until
            .max(last.unwrap_or_else(Instant::now))
    }
}
