//! What lanes say of themselves: readiness, liveness and the gauge of lane states read it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::record::TopicPartition;

/// What a lane is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Becoming the owner: fencing, publishing again, loading deadlines.
    Starting,
    /// Reading and deciding.
    Running,
    /// Waiting for a fault of Kafka, MongoDB or the registry to pass.
    Held,
    /// Stopped loudly: its position does not fit the log; `lanes seek` moves it.
    Adrift,
}

impl Phase {
    /// The name in readiness and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Held => "held",
            Self::Adrift => "adrift",
        }
    }
}

/// One lane's word.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// When its loop last went round.
    pub beat: Instant,
}

/// All lanes of the process.
#[derive(Clone, Default)]
pub struct StatusBoard {
    lanes: Arc<Mutex<BTreeMap<TopicPartition, Status>>>,
}

impl StatusBoard {
    /// Notes what `lane` is doing now.
    pub fn note(&self, lane: &TopicPartition, phase: Phase) {
        let status = Status {
            phase,
            beat: Instant::now(),
        };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        match lanes.get_mut(lane) {
            Some(known) => *known = status,
            None => {
                lanes.insert(lane.clone(), status);
            }
        }
    }

    /// Takes a lane off the board.
    pub fn remove(&self, lane: &TopicPartition) {
        self.lanes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(lane);
    }

    /// Every lane and its word.
    pub fn lanes(&self) -> Vec<(TopicPartition, Status)> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes
            .iter()
            .map(|(lane, status)| (lane.clone(), *status))
            .collect()
    }
}
