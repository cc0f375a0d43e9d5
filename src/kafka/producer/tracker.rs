//! What becomes of the records of one `send`. It outlives the generation it went through: a record
//! that was acknowledged once is not sent again.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

use crate::kafka::Error;
use crate::record::OutRecord;

/// How far a failure reaches; the worst of a `send` decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kafka) enum Extent {
    /// The producer, or the way to the brokers: sending again is all there is to do.
    Producer,
    /// No record of the topic is taken.
    Topic,
    /// This record is not taken.
    Record,
}

/// Why records were not acknowledged.
#[derive(Clone, Debug)]
pub(in crate::kafka) struct Failure {
    pub(in crate::kafka) extent: Extent,
    pub(in crate::kafka) reason: String,
    /// The brokers' size limits are not what they were.
    pub(in crate::kafka) too_large: bool,
}

impl Failure {
    pub(in crate::kafka) fn new(extent: Extent, reason: impl Into<String>) -> Self {
        Self {
            extent,
            reason: reason.into(),
            too_large: false,
        }
    }

    /// What it is to lanes whose records were not to blame.
    pub(super) fn of_another(mut self) -> Self {
        if self.extent == Extent::Record {
            self.extent = Extent::Producer;
        }
        self
    }

    pub(super) fn error(&self) -> Error {
        let reason = self.reason.clone();
        match self.extent {
            Extent::Producer => Error::Delivery { reason },
            Extent::Topic | Extent::Record => Error::Refused { reason },
        }
    }
}

pub(super) struct Tracker {
    records: Arc<[OutRecord]>,
    state: Mutex<State>,
    settled: CancellationToken,
}

struct State {
    /// By index; a record of another topic counts as acknowledged.
    acknowledged: Vec<bool>,
    /// Reports that are to come.
    waiting: usize,
    failure: Option<Failure>,
}

const UNPOISONED: &str = "nothing panics while it holds this lock";

impl Tracker {
    /// For those of `records` that go to `topic` and were not acknowledged `before`.
    pub(super) fn new(records: &Arc<[OutRecord]>, topic: &str, before: Option<&Self>) -> Arc<Self> {
        let before = before.map(|before| before.state().acknowledged.clone());
        let acknowledged: Vec<bool> = records
            .iter()
            .enumerate()
            .map(|(index, record)| {
                &*record.topic != topic || before.as_ref().is_some_and(|before| before[index])
            })
            .collect();
        let waiting = acknowledged.iter().filter(|done| !**done).count();
        let tracker = Self {
            records: Arc::clone(records),
            state: Mutex::new(State {
                acknowledged,
                waiting,
                failure: None,
            }),
            settled: CancellationToken::new(),
        };
        if waiting == 0 {
            tracker.settled.cancel();
        }
        Arc::new(tracker)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    /// Whether this is about the very same records.
    pub(super) fn is_of(&self, records: &Arc<[OutRecord]>) -> bool {
        Arc::ptr_eq(&self.records, records)
    }

    /// What is to be handed over, by index.
    pub(super) fn unsent(&self) -> Vec<usize> {
        let state = self.state();
        let all = state.acknowledged.iter().enumerate();
        all.filter(|(_, done)| !**done)
            .map(|(index, _)| index)
            .collect()
    }

    pub(super) fn acknowledge(&self, index: usize) {
        let mut state = self.state();
        state.acknowledged[index] = true;
        self.settle(&mut state, 1);
    }

    /// `reports` records were not taken.
    pub(super) fn fail(&self, reports: usize, failure: &Failure) {
        let mut state = self.state();
        if state
            .failure
            .as_ref()
            .is_none_or(|worst| worst.extent < failure.extent)
        {
            state.failure = Some(failure.clone());
        }
        self.settle(&mut state, reports);
    }

    fn settle(&self, state: &mut State, reports: usize) {
        state.waiting = state.waiting.saturating_sub(reports);
        if state.waiting == 0 {
            self.settled.cancel();
        }
    }

    /// Resolves when every record was acknowledged or has failed.
    pub(super) async fn settled(&self) {
        self.settled.cancelled().await;
    }

    pub(super) fn is_acknowledged(&self) -> bool {
        self.settled.is_cancelled() && self.state().acknowledged.iter().all(|done| *done)
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.state().failure.clone()
    }
}
