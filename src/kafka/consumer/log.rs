//! One assigned partition as a lane reads it. Back-pressure is not polling: a lane that asks for
//! nothing lets its queue fill to its bound. Fails with `Revoked` for ever once the partition is gone.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::Offset;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::assignment::Context;
use crate::kafka::{Error, Limit, Log};
use crate::record::{Header, Record, TopicPartition};

/// The part of a partition that the polling thread and its log share.
pub(super) struct Partition {
    pub(super) name: TopicPartition,
    /// Taken by the polling thread on revocation: whoever still holds the log cannot keep the queue,
    /// and so the client, alive.
    queue: Mutex<Option<PartitionQueue<Context>>>,
    consumer: Weak<BaseConsumer<Context>>,
    ready: Arc<Notify>,
    revoked: CancellationToken,
    /// Nothing is read before the lane's own seek.
    pub(super) held: AtomicBool,
    /// The position is not in the log: librdkafka says so once and then stays silent.
    out_of_range: AtomicBool,
    reported: AtomicI64,
    pub(super) high_watermark: AtomicI64,
}

const NONE: i64 = -1;
const UNPOISONED: &str = "nothing panics while it holds this lock";
/// librdkafka wakes a queue when it stops being empty; should that get lost, the lane looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_BUDGET: Duration = Duration::from_secs(15);
const CALL_PAUSE: Duration = Duration::from_millis(20);

impl Partition {
    pub(super) fn new(
        name: TopicPartition,
        mut queue: PartitionQueue<Context>,
        consumer: Weak<BaseConsumer<Context>>,
    ) -> Self {
        let ready = Arc::new(Notify::new());
        let wake = Arc::clone(&ready);
        queue.set_nonempty_callback(move || wake.notify_one());
        Self {
            name,
            queue: Mutex::new(Some(queue)),
            consumer,
            ready,
            revoked: CancellationToken::new(),
            held: AtomicBool::new(false),
            out_of_range: AtomicBool::new(false),
            reported: AtomicI64::new(NONE),
            high_watermark: AtomicI64::new(NONE),
        }
    }

    pub(super) fn revoke(&self) {
        self.revoked.cancel();
    }

    pub(super) fn drop_queue(&self) {
        let queue = self.queue.lock().expect(UNPOISONED).take();
        drop(queue);
    }

    /// What was reported since the last call.
    pub(super) fn take_reported(&self) -> Option<i64> {
        let next = self.reported.swap(NONE, Ordering::Relaxed);
        (next != NONE).then_some(next)
    }
}

/// One assigned partition: the [`Log`] of one lane.
pub struct PartitionLog {
    partition: Arc<Partition>,
    /// Polled, but too large for the batch it was polled for.
    put_back: Option<Record>,
    /// Met behind records that were returned first.
    fault: Option<Error>,
}

impl PartitionLog {
    pub(super) fn new(partition: Arc<Partition>) -> Self {
        Self {
            partition,
            put_back: None,
            fault: None,
        }
    }

    /// The partition that is read.
    #[must_use]
    pub fn lane(&self) -> &TopicPartition {
        &self.partition.name
    }

    /// The offset after the log's last record as the client last heard (within about a second), for
    /// lag; `None` before it heard any. Asks no broker.
    #[must_use]
    pub fn high_watermark(&self) -> Option<i64> {
        let offset = self.partition.high_watermark.load(Ordering::Relaxed);
        (offset != NONE).then_some(offset)
    }

    /// Takes what is there, within `limit`, without waiting.
    fn take(&mut self, limit: Limit) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        let mut bytes = 0;
        if let Some(record) = self.put_back.take() {
            bytes = record.size();
            records.push(record);
        }
        let queue = self.partition.queue.lock().expect(UNPOISONED);
        let Some(queue) = queue.as_ref() else {
            return Err(Error::Revoked);
        };
        while records.len() < limit.records.max(1) && bytes < limit.bytes {
            match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let record = to_record(&self.partition.name, &message);
                    let size = record.size();
                    if !records.is_empty() && bytes.saturating_add(size) > limit.bytes {
                        self.put_back = Some(record);
                        break;
                    }
                    bytes += size;
                    records.push(record);
                }
                Some(Err(error)) => {
                    self.fault = self.classify(&error);
                    break;
                }
            }
        }
        if let Some(last) = records.last() {
            self.partition
                .high_watermark
                .fetch_max(last.offset + 1, Ordering::Relaxed);
        }
        Ok(records)
    }

    fn classify(&self, error: &KafkaError) -> Option<Error> {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation,
            ) => {
                self.partition.out_of_range.store(true, Ordering::Release);
                None
            }
            Some(RDKafkaErrorCode::PartitionEOF) => None,
            _ => Some(Error::Unavailable {
                reason: error.to_string(),
            }),
        }
    }

    /// Runs a blocking call of the client off the workers, again and again while librdkafka is
    /// between two states, within a budget.
    async fn call<T: Send + 'static>(
        &self,
        call: impl Fn(&BaseConsumer<Context>, &TopicPartition) -> KafkaResult<T> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let call = Arc::new(call);
        let started = Instant::now();
        loop {
            if self.partition.revoked.is_cancelled() {
                return Err(Error::Revoked);
            }
            let consumer = self.partition.consumer.upgrade().ok_or(Error::Revoked)?;
            let (name, call) = (self.partition.name.clone(), Arc::clone(&call));
            let answer = tokio::task::spawn_blocking(move || call(&consumer, &name))
                .await
                .map_err(|error| Error::Unavailable {
                    reason: error.to_string(),
                })?;
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if started.elapsed() > CALL_BUDGET => {
                    return Err(Error::Unavailable {
                        reason: error.to_string(),
                    });
                }
                Err(_) => tokio::time::sleep(CALL_PAUSE).await,
            }
        }
    }
}

impl Log for PartitionLog {
    async fn records(&mut self, limit: Limit) -> Result<Vec<Record>, Error> {
        loop {
            if self.partition.revoked.is_cancelled() {
                return Err(Error::Revoked);
            }
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            if !self.partition.held.load(Ordering::Acquire) {
                let records = self.take(limit)?;
                if !records.is_empty() {
                    return Ok(records);
                }
                if self.fault.is_some() {
                    continue;
                }
                if self.partition.out_of_range.load(Ordering::Acquire) {
                    let (low, high) = self.bounds().await?;
                    return Err(Error::OutOfRange { low, high });
                }
            }
            tokio::select! {
                () = self.partition.ready.notified() => {}
                () = self.partition.revoked.cancelled() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    async fn seek(&mut self, offset: Option<i64>) -> Result<(), Error> {
        if self.partition.out_of_range.load(Ordering::Acquire) {
            // librdkafka has stopped the partition, and takes no seek for it any more.
            let reason = "the partition was stopped".to_owned();
            return Err(Error::Unavailable { reason });
        }
        let offset = offset.map_or(Offset::Beginning, Offset::Offset);
        self.call(move |consumer, name| {
            consumer.seek(&name.topic, name.partition, offset, CALL_TIMEOUT)
        })
        .await?;
        // librdkafka's version barrier drops what its queue still holds of before the seek.
        self.put_back = None;
        self.fault = None;
        self.partition.held.store(false, Ordering::Release);
        Ok(())
    }

    async fn bounds(&mut self) -> Result<(i64, i64), Error> {
        let (low, high) = self
            .call(|consumer, name| {
                consumer.fetch_watermarks(&name.topic, name.partition, CALL_TIMEOUT)
            })
            .await?;
        self.partition
            .high_watermark
            .fetch_max(high, Ordering::Relaxed);
        Ok((low, high))
    }

    fn lag(&self, next: Option<i64>) -> Option<i64> {
        let high = self.high_watermark()?;
        next.map(|next| (high - next).max(0))
    }

    fn report(&mut self, next: i64) {
        self.partition.reported.store(next, Ordering::Relaxed);
    }
}

/// `message` as a record of `lane`.
pub(in crate::kafka) fn to_record(lane: &TopicPartition, message: &BorrowedMessage<'_>) -> Record {
    let mut headers: Vec<Header> = Vec::new();
    if let Some(found) = message.headers() {
        headers.reserve(found.count());
        for index in 0..found.count() {
            // rdkafka panics at a header name that is not UTF-8 (Kafka's names are). Such a header
            // is left out: a lane never stops for bytes that a sender chose (contract 3, 6).
            let header = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let header = found.get(index);
                (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
            }));
            match header {
                Ok(header) => headers.push(header),
                Err(_) => tracing::debug!(%lane, "a header's name is not UTF-8"),
            }
        }
    }
    Record {
        lane: lane.clone(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
