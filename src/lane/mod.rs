//! A lane: one input partition, one task, one writer. It batches, routes, decides, commits in one
//! transaction, publishes and acknowledges, and looks at its own heap of deadlines.
//!
//! Log, store, publisher and clock are traits here and nothing is random but a seeded generator, so a
//! lane on one thread is deterministic. A fault of Kafka, MongoDB or the registry holds the lane and
//! nothing else; which failure does what stands in one table ([`disposition`]).

pub mod disposition;

mod cache;
mod homes;
mod intake;
mod judge;
mod lanes;
mod meter;
mod run;
mod status;
mod timers;
mod window;

use std::sync::Arc;

use crate::domain::Rules;
use crate::record::TopicNames;
use crate::wire::Codec;

pub use homes::Homes;
pub use lanes::Lanes;
pub use run::{Ending, Fenced, Lane};
pub use status::{Phase, Status, StatusBoard};

/// The bounds of a lane's batches and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Records a batch at most; 1 is one transaction a message, for comparisons.
    pub batch_records: usize,
    /// Bytes of input a batch at most.
    pub batch_bytes: usize,
    /// Bytes of output a batch at most, of MongoDB's 16 MiB a document.
    pub outbox_bytes: usize,
    /// Due sessions a batch at most.
    pub timers: usize,
    /// Committed batches whose records the broker has not acknowledged, at most.
    pub unacknowledged: usize,
    /// Sessions kept in memory.
    pub cached_sessions: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            batch_records: 256,
            batch_bytes: 4 << 20,
            outbox_bytes: 8 << 20,
            timers: 500,
            unacknowledged: 4,
            cached_sessions: 10_000,
        }
    }
}

/// What all lanes of a process share.
pub struct Shared<S, C> {
    /// The database.
    pub store: Arc<S>,
    /// The database's clock.
    pub clock: Arc<C>,
    /// Decoding and encoding.
    pub codec: Arc<Codec>,
    /// Where sessions are at home.
    pub homes: Arc<Homes>,
    /// The rules' settings.
    pub rules: Arc<Rules>,
    /// The topics' names.
    pub topics: TopicNames,
    /// The consumer group, named in dead letters.
    pub group: Arc<str>,
    /// The bounds of batches.
    pub bounds: Bounds,
    /// What lanes say of themselves.
    pub board: StatusBoard,
    /// Raised by the sweep: every lane compares its heap with the stored deadlines.
    pub sweeps: tokio::sync::watch::Sender<u64>,
}
