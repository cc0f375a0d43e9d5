//! A lane: one input partition, one task, one writer. It batches, routes, decides, commits in one
//! transaction, publishes and acknowledges, and fires the deadlines of its own heap.
//!
//! Log, store, publisher and clock are traits here and nothing is random but a seeded generator, so a
//! lane on one thread is deterministic. What a lane may do next follows from its states: ownership,
//! intake, outbox window and pacing. A fault stops only what it touches; which failure does what stands
//! in one table ([`failure`]).

pub mod failure;

mod cache;
mod homes;
mod intake;
mod judge;
mod lanes;
mod meter;
mod ownership;
mod pacing;
mod probation;
mod run;
#[cfg(test)]
mod samples;
mod status;
mod timers;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::domain::Rules;
use crate::record::{TopicNames, TopicPartition};
use crate::wire::Codec;

pub use homes::Homes;
pub use lanes::Lanes;
pub use run::{Ending, Lane};
pub use status::{Phase, Status, StatusBoard};

/// The bounds of a lane's batches and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Records per batch at most; 1 is one transaction per message, for comparisons.
    pub batch_records: usize,
    /// Bytes of input per batch at most.
    pub batch_bytes: usize,
    /// Bytes of output per batch at most, of MongoDB's 16 MiB per document.
    pub outbox_bytes: usize,
    /// Due sessions per batch at most.
    pub timers: usize,
    /// Committed batches whose records the broker has not acknowledged, at most.
    pub unacknowledged: usize,
    /// Sessions kept in memory per lane.
    pub cached_sessions: usize,
    /// Bytes of sessions kept in memory per lane, estimated.
    pub cache_bytes: usize,
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
            cache_bytes: 32 << 20,
        }
    }
}

/// The stored revision of each lane that this process runs.
pub type Revisions = BTreeMap<TopicPartition, i64>;

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
    /// What lanes report about themselves.
    pub board: StatusBoard,
    /// Raised by the sweep: every lane compares its heap with the stored deadlines.
    pub sweeps: watch::Sender<u64>,
    /// What is stored of the lanes' revisions: a lane behind its own starts again.
    pub revisions: watch::Sender<Arc<Revisions>>,
    /// One permit: partitions whose owners died are read one at a time.
    pub suspects: Arc<Semaphore>,
}

impl<S: crate::store::Store, C> Shared<S, C> {
    /// Looks up the revisions of the lanes on the board and tells the lanes.
    ///
    /// # Errors
    /// [`crate::store::Error::Unavailable`].
    pub async fn refresh_revisions(&self) -> Result<(), crate::store::Error> {
        let lanes: Vec<TopicPartition> = self
            .board
            .lanes()
            .into_iter()
            .map(|(lane, _)| lane)
            .collect();
        let stored: Revisions = self.store.revisions(&lanes).await?.into_iter().collect();
        self.revisions.send_if_modified(|known| {
            let changed = **known != stored;
            if changed {
                *known = Arc::new(stored);
            }
            changed
        });
        Ok(())
    }
}
