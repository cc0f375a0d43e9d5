//! Kafka's two ends as traits that lanes see, and their librdkafka implementations. Knows no schema,
//! no rule and no database; positions come in from outside, committed offsets are only a lag gauge.

mod access;
mod admin;
mod consumer;
mod health;
mod offsets;
mod partitioner;
mod producer;
mod reach;
mod scan;
mod security;
mod sender;
mod settings;
mod tail;
pub mod topics;
mod words;

pub use self::access::{Answer, Operation, Permission, Questions, Resource, permissions};
pub use self::consumer::{Assignments, Consumer, PartitionLog, REVOKE_LIMIT, Start};
pub use self::health::Health;
pub use self::offsets::{at_the_end, bounds};
pub use self::partitioner::partition_of;
pub use self::producer::{KafkaPublisher, Producer, record_bytes};
pub use self::reach::{ListenerFound, Obstacle, listeners};
pub use self::scan::{Scan, Span, spans};
pub use self::security::{SecurityFault, security_fault};
pub use self::sender::{Sender, Unsent};
pub use self::settings::{Settings, SetupError};
pub use self::tail::Tail;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::record::{OutRecord, Record};

/// How much one batch may take from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Records at most.
    pub records: usize,
    /// Bytes of input at most; one record is always taken.
    pub bytes: usize,
}

/// What went wrong at the broker or on the way to it. A fault of Kafka is waited out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker or the way to it fails; try again later. Covers a missing permission, too: an
    /// operator can grant it.
    #[error("kafka is unavailable: {reason}")]
    Unavailable {
        /// What the client said, and for a missing permission what to grant.
        reason: String,
    },
    /// The bytes at `offset` are no records: a batch is damaged on the broker's disk. Seek there to try
    /// again, or beyond it to give them up.
    #[error("the log is damaged at offset {offset}: {reason}")]
    Damaged {
        /// The offset to read next when the damage was met; the damage begins there or behind it.
        offset: i64,
        /// What the client said.
        reason: String,
    },
    /// The position is not in the log. A seek into the log helps.
    #[error("the position is outside the log, which holds {low} to {high}")]
    OutOfRange {
        /// The first offset in the log.
        low: i64,
        /// The offset after its last.
        high: i64,
    },
    /// A record was not acknowledged, or the producer died: wait for [`Publisher::recovered`], then
    /// send again everything of that topic from the lowest unacknowledged batch.
    #[error("delivery failed: {reason}")]
    Delivery {
        /// What the client said.
        reason: String,
    },
    /// The broker refuses a record of this very lane for good (its permission, its policy, its
    /// partition): [`Publisher::recovered`] resolves after a pause that grows. Other lanes go on.
    #[error("the broker refuses a record of this lane: {reason}")]
    Refused {
        /// What the client said, and what to do.
        reason: String,
    },
    /// The partition was taken away.
    #[error("the partition was revoked")]
    Revoked,
}

/// One input partition, read by one lane.
pub trait Log: Send + 'static {
    /// Waits for at least one record and takes what is there, within `limit`. No record: a fetch has
    /// worked and found the end of the log. Cancel-safe: a record is either returned or still to come.
    ///
    /// After an error the log may have stepped over records: the caller seeks to its position before it
    /// reads on.
    ///
    /// # Errors
    /// [`Error::Revoked`] once the partition is gone; [`Error::OutOfRange`], [`Error::Damaged`];
    /// [`Error::Unavailable`] for a fault to wait out.
    fn records(&mut self, limit: Limit) -> impl Future<Output = Result<Vec<Record>, Error>> + Send;

    /// Continues reading at `offset`, whatever was met before; `None` is the earliest record.
    ///
    /// # Errors
    /// [`Error::Revoked`] or [`Error::Unavailable`].
    fn seek(&mut self, offset: Option<i64>) -> impl Future<Output = Result<(), Error>> + Send;

    /// The first offset in the log and the one after its last.
    ///
    /// # Errors
    /// [`Error::Revoked`] or [`Error::Unavailable`].
    fn bounds(&mut self) -> impl Future<Output = Result<(i64, i64), Error>> + Send;

    /// How many records wait at and behind `next` (`None`: from the earliest), as last heard of: 0 once
    /// the end was read, though transaction markers may stand behind `next`. Asks no broker.
    fn lag(&self, next: Option<i64>) -> Option<i64>;

    /// Reports the position for lag tools. Never decides anything; failures are only counted.
    fn report(&mut self, next: i64);
}

/// Resolves when every record of one `send` is acknowledged by all in-sync replicas.
pub type Receipt = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// One lane's way to the output. Topics are independent: what happens to one delays no other.
pub trait Publisher: Send + Sync + 'static {
    /// Hands over those of `records` that go to `topic`, in order and behind everything handed over for
    /// that topic before by this caller.
    ///
    /// # Errors
    /// [`Error::Delivery`] or [`Error::Refused`]: nothing of this call counts as sent.
    fn send(
        &self,
        topic: &str,
        records: Arc<[OutRecord]>,
    ) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// Resolves when records of `topic` can be sent again after a failed delivery. Cancel-safe.
    fn recovered(&self, topic: &str) -> impl Future<Output = ()> + Send;

    /// The largest record that `topic` takes, as [`record_bytes`] counts.
    fn max_record_bytes(&self, topic: &str) -> usize;
}
