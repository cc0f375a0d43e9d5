//! Kafka's two ends as traits that lanes see, and their librdkafka implementations. Knows no schema,
//! no rule and no database; positions come in from outside, committed offsets are only a lag gauge.

mod admin;
mod consumer;
mod health;
mod offsets;
mod partitioner;
mod producer;
mod scan;
mod sender;
mod settings;
mod tail;
pub mod topics;

pub use self::consumer::{Assignments, Consumer, PartitionLog, REVOKE_LIMIT, Start};
pub use self::health::Health;
pub use self::offsets::bounds;
pub use self::partitioner::partition_of;
pub use self::producer::{KafkaPublisher, Producer, record_bytes};
pub use self::scan::{Scan, Span, spans};
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
    /// The broker or the way to it fails; try again later.
    #[error("kafka is unavailable: {reason}")]
    Unavailable {
        /// What the client said.
        reason: String,
    },
    /// A record was not acknowledged, or the producer died: wait for [`Publisher::recovered`], then
    /// send again everything from the lowest unacknowledged record.
    #[error("delivery failed: {reason}")]
    Delivery {
        /// What the client said.
        reason: String,
    },
    /// The partition was taken away.
    #[error("the partition was revoked")]
    Revoked,
    /// The position is not in the log: older than its first record or beyond its end. Stands until
    /// the partition is assigned anew: neither waiting nor seeking helps. Who starts
    /// [`Start::Held`], looks at [`Log::bounds`] and then seeks, never meets it at the start.
    #[error("the position is outside the log")]
    OutOfRange,
}

/// One input partition, read by one lane.
pub trait Log: Send + 'static {
    /// Waits for at least one record and takes what is there, within `limit`. Cancel-safe: a record
    /// is either returned or still to come.
    ///
    /// # Errors
    /// [`Error::Revoked`] once the partition is gone; [`Error::Unavailable`] for a fault to wait out.
    fn records(&mut self, limit: Limit) -> impl Future<Output = Result<Vec<Record>, Error>> + Send;

    /// Continues reading at `offset`; `None` is the earliest record.
    ///
    /// # Errors
    /// As [`Log::records`].
    fn seek(&mut self, offset: Option<i64>) -> impl Future<Output = Result<(), Error>> + Send;

    /// The first offset in the log and the one after its last.
    ///
    /// # Errors
    /// As [`Log::records`].
    fn bounds(&mut self) -> impl Future<Output = Result<(i64, i64), Error>> + Send;

    /// The offset after the log's last record, as last heard of; asks nobody.
    fn high_watermark(&self) -> Option<i64>;

    /// Reports the position for lag tools. Never decides anything; failures are only counted.
    fn report(&mut self, next: i64);
}

/// Resolves when every record of one `send` is acknowledged by all in-sync replicas.
pub type Receipt = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// One lane's way to the output.
pub trait Publisher: Send + Sync + 'static {
    /// Hands `records` over, in order and behind everything handed over before by this caller.
    ///
    /// # Errors
    /// [`Error::Delivery`]: the producer is being rebuilt, nothing of this call counts as sent.
    fn send(
        &self,
        records: Arc<[OutRecord]>,
    ) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// Resolves when a new producer is up after a failed delivery.
    fn recovered(&self) -> impl Future<Output = ()> + Send;

    /// The largest record that `topic` takes, as [`record_bytes`] counts.
    fn max_record_bytes(&self, topic: &str) -> usize;
}
