//! One assigned partition as the polling thread and its log share it: the queue, the calls of the
//! client, and what is known of the partition's ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::assignment::Context;
use super::marks::Marks;
use super::watermarks::Watermarks;
use crate::kafka::Error;
use crate::record::TopicPartition;

pub(super) struct Partition {
    pub(super) name: TopicPartition,
    /// Taken by the polling thread on revocation: a log that is still held cannot keep the queue, and
    /// so the client, alive.
    queue: Mutex<Option<PartitionQueue<Context>>>,
    consumer: Weak<BaseConsumer<Context>>,
    watermarks: Weak<Watermarks>,
    pub(super) ready: Arc<Notify>,
    pub(super) revoked: CancellationToken,
    /// The client fetches nothing of it.
    parked: AtomicBool,
    marks: Mutex<Marks>,
}

const UNPOISONED: &str = "nothing panics while it holds this lock";
const WAKE: Duration = Duration::from_millis(100);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_BUDGET: Duration = Duration::from_secs(15);
const CALL_PAUSE: Duration = Duration::from_millis(20);

impl Partition {
    pub(super) fn new(
        name: TopicPartition,
        mut queue: PartitionQueue<Context>,
        consumer: Weak<BaseConsumer<Context>>,
        watermarks: Weak<Watermarks>,
    ) -> Self {
        let ready = Arc::new(Notify::new());
        let wake = Arc::clone(&ready);
        queue.set_nonempty_callback(move || wake.notify_one());
        Self {
            name,
            queue: Mutex::new(Some(queue)),
            consumer,
            watermarks,
            ready,
            revoked: CancellationToken::new(),
            parked: AtomicBool::new(false),
            marks: Mutex::default(),
        }
    }

    pub(super) fn revoke(&self) {
        self.revoked.cancel();
    }

    pub(super) fn drop_queue(&self) {
        let queue = self.queue.lock().expect(UNPOISONED).take();
        drop(queue);
    }

    pub(super) fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().expect(UNPOISONED)
    }

    /// Runs `work` on the queue.
    pub(super) fn with_queue<T>(
        &self,
        work: impl FnOnce(&PartitionQueue<Context>) -> T,
    ) -> Result<T, Error> {
        let queue = self.queue.lock().expect(UNPOISONED);
        queue.as_ref().map(work).ok_or(Error::Revoked)
    }

    /// It is assigned as a paused one.
    pub(super) fn hold(&self) {
        self.parked.store(true, Ordering::Release);
    }

    /// Continues at `next`, whatever state the client's partition is in.
    pub(super) async fn place(&self, next: i64) -> Result<(), Error> {
        let parked = self.parked.load(Ordering::Acquire);
        self.call(move |consumer, name| {
            let offset = Offset::Offset(next);
            let seek = || consumer.seek(&name.topic, name.partition, offset, CALL_TIMEOUT);
            seek()?;
            if parked {
                resume(consumer, [name])?;
                // The thread that fetches may sleep for a second. A seek wakes it, one to 0 does not.
                match next {
                    0 => drop(consumer.fetch_watermarks(&name.topic, name.partition, WAKE)),
                    _ => seek()?,
                }
            }
            Ok(())
        })
        .await?;
        self.parked.store(false, Ordering::Release);
        self.marks().moved();
        Ok(())
    }

    /// Fetches nothing more until it is placed again.
    pub(super) async fn park(&self) -> Result<(), Error> {
        self.parked.store(true, Ordering::Release);
        self.call(|consumer, name| pause(consumer, [name])).await
    }

    /// Asks the broker for the partition's ends.
    pub(super) async fn ask(self: Arc<Self>) -> Result<(i64, i64), Error> {
        let watermarks = self.watermarks.upgrade().ok_or(Error::Revoked)?;
        let lane = self.name.clone();
        let asked = tokio::task::spawn_blocking(move || watermarks.ask(&lane)).await;
        let (low, high) = asked.map_err(|error| Error::Unavailable {
            reason: error.to_string(),
        })??;
        self.marks().bounds(low, high);
        Ok((low, high))
    }

    /// Runs a blocking call of the client off the workers, again and again while librdkafka is
    /// between two states, within a budget.
    async fn call(
        &self,
        call: impl Fn(&BaseConsumer<Context>, &TopicPartition) -> KafkaResult<()>
        + Send
        + Sync
        + 'static,
    ) -> Result<(), Error> {
        let call = Arc::new(call);
        let started = Instant::now();
        loop {
            if self.revoked.is_cancelled() {
                return Err(Error::Revoked);
            }
            let consumer = self.consumer.upgrade().ok_or(Error::Revoked)?;
            let (name, call) = (self.name.clone(), Arc::clone(&call));
            let answer = tokio::task::spawn_blocking(move || call(&consumer, &name))
                .await
                .map_err(|error| Error::Unavailable {
                    reason: error.to_string(),
                })?;
            match answer {
                Ok(()) => return Ok(()),
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

/// Fetches nothing of `lanes` any more, and drops what is queued. It outlives a reassignment.
#[expect(
    clippy::disallowed_methods,
    reason = "only of a partition whose lane must seek before it reads"
)]
pub(super) fn pause<'a>(
    consumer: &BaseConsumer<Context>,
    lanes: impl IntoIterator<Item = &'a TopicPartition>,
) -> KafkaResult<()> {
    consumer.pause(&list(lanes))
}

/// Ends what [`pause`] began.
#[expect(
    clippy::disallowed_methods,
    reason = "a partition whose lane had to seek is paused"
)]
pub(super) fn resume<'a>(
    consumer: &BaseConsumer<Context>,
    lanes: impl IntoIterator<Item = &'a TopicPartition>,
) -> KafkaResult<()> {
    consumer.resume(&list(lanes))
}

/// `lanes` as librdkafka takes them.
fn list<'a>(lanes: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for lane in lanes {
        list.add_partition(&lane.topic, lane.partition);
    }
    list
}
