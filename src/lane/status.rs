//! What lanes report about themselves, read from their states: readiness, liveness, metrics and the log
//! all show this one report.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::record::TopicPartition;
use crate::store::{IntakeStop, Remedy};

/// What a lane is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Becoming the owner: fencing, loading, placing the log.
    Starting,
    /// Reading and deciding.
    Running,
    /// Deciding, but other writers are in the way again and again.
    Contended {
        /// Conflicts in a row.
        conflicts: u32,
    },
    /// Waiting for a fault to pass.
    Held {
        /// The step that fails.
        step: &'static str,
        /// Why, and where known what to do.
        reason: String,
    },
    /// Reading nothing until an operator helps. Deadlines and publishing go on.
    Stopped(IntakeStop),
}

impl Phase {
    /// Every name, for the gauge of lanes by state.
    pub const NAMES: [&'static str; 8] = [
        "starting",
        "running",
        "contended",
        "held",
        "position_lost",
        "recreated",
        "damaged",
        "suspect",
    ];

    /// The name in readiness and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Contended { .. } => "contended",
            Self::Held { .. } => "held",
            Self::Stopped(stop) => stop.reason.as_str(),
        }
    }

    /// What holds `lane` up, and where known what to do.
    pub fn explain(&self, lane: &TopicPartition) -> String {
        match self {
            Self::Starting | Self::Running => self.as_str().to_owned(),
            Self::Contended { conflicts } => format!("{conflicts} conflicts in a row"),
            Self::Held { step, reason } => format!("held: {step}: {reason}"),
            Self::Stopped(stop) => {
                let remedy = Remedy {
                    lane: &lane.to_string(),
                    stop: *stop,
                };
                format!("{}: {remedy}", stop.reason.as_str())
            }
        }
    }

    /// Whether work gets done.
    pub fn works(&self) -> bool {
        match self {
            Self::Running | Self::Contended { .. } => true,
            Self::Starting | Self::Held { .. } | Self::Stopped(_) => false,
        }
    }
}

/// One lane's report.
#[derive(Clone, Debug)]
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
        let beat = Instant::now();
        let mut lanes = self.lanes.lock();
        match lanes.get_mut(lane) {
            Some(known) => *known = Status { phase, beat },
            None => {
                lanes.insert(lane.clone(), Status { phase, beat });
            }
        }
    }

    /// Takes a lane off the board.
    pub fn remove(&self, lane: &TopicPartition) {
        self.lanes.lock().remove(lane);
    }

    /// Every lane and its report.
    pub fn lanes(&self) -> Vec<(TopicPartition, Status)> {
        let lanes = self.lanes.lock();
        lanes
            .iter()
            .map(|(lane, status)| (lane.clone(), status.clone()))
            .collect()
    }
}
