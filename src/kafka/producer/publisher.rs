//! One lane's way to the output topics. After a failure it refuses to send until its lane has waited for
//! [`Publisher::recovered`], so that nothing new overtakes what the lane has to send again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::BaseRecord;

use super::generation::{Fate, Generation};
use super::topic::{Share, TopicProducer};
use super::tracker::{Extent, Failure, Tracker};
use super::{Shared, UNPOISONED, headers_of, record_bytes};
use crate::kafka::{Error, Publisher, Receipt, words};
use crate::record::OutRecord;

/// One lane's way to the output. Each lane has its own.
pub struct KafkaPublisher {
    shared: Arc<Shared>,
    topics: BTreeMap<Arc<str>, Mutex<Handle>>,
}

/// This lane and one topic.
struct Handle {
    producer: Arc<TopicProducer>,
    /// The generation that the lane knows of.
    seen: u64,
    /// What was sent since the lane last waited for `recovered`.
    sent: Vec<Arc<Tracker>>,
    /// What had failed by then: what is acknowledged of it is not sent again.
    failed: Vec<Arc<Tracker>>,
    /// A record was refused here, before it left.
    refused: Option<Refused>,
    /// The next pause for a record that is too large.
    pause: Duration,
}

/// The record is refused by the client itself.
#[derive(Clone)]
enum Refused {
    TooLarge,
    /// The client takes it for impossible; another may know better.
    Locally(Failure),
}

/// How often a full queue is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);
/// How long the report of a record may take to follow the end of its generation.
const LAST_REPORTS: Duration = Duration::from_secs(2);
const TOO_LARGE_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Failed sends that are remembered, for a lane that never comes back to them.
const REMEMBERED: usize = 16;

impl Handle {
    fn new(producer: &Arc<TopicProducer>) -> Self {
        Self {
            producer: Arc::clone(producer),
            seen: producer.current().map_or(0, |current| current.number),
            sent: Vec::new(),
            failed: Vec::new(),
            refused: None,
            pause: TOO_LARGE_PAUSE.0,
        }
    }

    /// The lane's own producer is done when everything that had failed went through it, or when it has
    /// worked for long.
    fn rejoin(&mut self, shared: &Arc<TopicProducer>) {
        let tried = !self.sent.is_empty();
        self.sent.retain(|sent| !sent.is_acknowledged());
        let done = tried && self.failed.is_empty() || self.producer.is_steady();
        if self.producer.share == Share::OneLane && self.sent.is_empty() && done {
            *self = Self::new(shared);
        }
    }

    fn generation(&self) -> Result<Arc<Generation>, Error> {
        let failure = match (&self.refused, self.producer.current()) {
            (None, Some(current)) if current.number == self.seen => return Ok(current),
            (Some(Refused::Locally(failure)), _) => Some(failure.clone()),
            _ => self.producer.last_failure().map(Failure::of_another),
        };
        let being_rebuilt = || Failure::new(Extent::Producer, "the producer is being rebuilt");
        Err(failure.unwrap_or_else(being_rebuilt).error())
    }

    fn track(&mut self, records: &Arc<[OutRecord]>) -> Arc<Tracker> {
        let before = self.failed.iter().position(|sent| sent.is_of(records));
        let before = before.map(|index| self.failed.remove(index));
        let tracker = Tracker::new(records, &self.producer.topic, before.as_deref());
        self.sent.push(Arc::clone(&tracker));
        tracker
    }

    /// The lane knows of what has failed: it sends it again.
    fn forget(&mut self) {
        self.failed.append(&mut self.sent);
        self.failed.retain(|sent| !sent.is_acknowledged());
        let too_many = self.failed.len().saturating_sub(REMEMBERED);
        self.failed.drain(..too_many);
        self.refused = None;
    }

    /// Why a record of this lane was not taken, if one was not.
    fn refusal(&self) -> Option<Failure> {
        if let Some(Refused::Locally(failure)) = &self.refused {
            return Some(failure.clone());
        }
        let mut failures = self.sent.iter().filter_map(|sent| sent.failure());
        failures.find(|failure| failure.extent == Extent::Record)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.producer.share == Share::OneLane {
            self.producer.stop();
        }
    }
}

impl KafkaPublisher {
    pub(super) fn new(shared: &Arc<Shared>, producers: &[Arc<TopicProducer>]) -> Self {
        let handle = |producer: &Arc<TopicProducer>| {
            let topic = Arc::clone(&producer.topic);
            (topic, Mutex::new(Handle::new(producer)))
        };
        Self {
            shared: Arc::clone(shared),
            topics: producers.iter().map(handle).collect(),
        }
    }

    /// As [`Producer::max_record_bytes`](super::Producer::max_record_bytes).
    #[must_use]
    pub fn max_record_bytes(&self, topic: &str) -> usize {
        self.shared.sizes.max_record_bytes(topic)
    }

    fn handle(&self, topic: &str) -> Result<MutexGuard<'_, Handle>, Error> {
        let handle = self.topics.get(topic).ok_or_else(|| Error::Refused {
            reason: format!("{topic} is no output of this worker"),
        })?;
        Ok(handle.lock().expect(UNPOISONED))
    }

    /// The generation to send through, and what becomes of `records`.
    fn begin(
        &self,
        topic: &str,
        records: &Arc<[OutRecord]>,
    ) -> Result<(Arc<Generation>, Arc<Tracker>), Error> {
        let mut handle = self.handle(topic)?;
        if let Some(shared) = self.shared.producer(topic) {
            handle.rejoin(&shared);
        }
        let generation = handle.generation()?;
        self.refuse_too_large(topic, records, &mut handle)?;
        Ok((generation, handle.track(records)))
    }

    /// A broker that lowered its limit refuses such a record forever, and would take what comes behind
    /// it: it stays here, and the other lanes go on.
    fn refuse_too_large(
        &self,
        topic: &str,
        records: &[OutRecord],
        handle: &mut Handle,
    ) -> Result<(), Error> {
        let limit = self.max_record_bytes(topic);
        let of_topic = records.iter().filter(|record| &*record.topic == topic);
        let Some(bytes) = of_topic.map(record_bytes).find(|bytes| *bytes > limit) else {
            handle.pause = TOO_LARGE_PAUSE.0;
            return Ok(());
        };
        if handle.pause == TOO_LARGE_PAUSE.0 {
            tracing::error!(%topic, bytes, limit, "a record exceeds its topic's max.message.bytes");
        }
        handle.refused = Some(Refused::TooLarge);
        Err(Error::Refused {
            reason: format!(
                "a record of {bytes} bytes exceeds the {limit} that {topic} takes: raise its \
                 max.message.bytes"
            ),
        })
    }

    async fn hand_over(&self, topic: &str, records: Arc<[OutRecord]>) -> Result<Receipt, Error> {
        let (generation, tracker) = self.begin(topic, &records)?;
        let unsent = tracker.unsent();
        for (handed, index) in unsent.iter().enumerate() {
            while let Err(error) = enqueue(&generation, &records[*index], *index, &tracker) {
                let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                if is_full && !generation.has_failed() {
                    tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                    continue;
                }
                let left = unsent.len() - handed;
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                    // Which record is to blame comes next.
                    let _ = tokio::time::timeout(LAST_REPORTS, generation.fate().failed()).await;
                }
                if generation.has_failed() {
                    tracker.fail(left, &generation.fate().failure().of_another());
                    return Err(verdict(&tracker, generation.fate())
                        .await
                        .expect_err("not all was handed over"));
                }
                let mut failure = words::sending(&error, topic);
                if failure.too_large {
                    // Its topic takes it: the client was built for a lower limit.
                    failure.extent = Extent::Producer;
                }
                tracker.fail(left, &failure);
                match failure.extent {
                    Extent::Record => {
                        self.handle(topic)?.refused = Some(Refused::Locally(failure.clone()));
                    }
                    Extent::Topic | Extent::Producer => generation.fate().fail(failure.clone()),
                }
                return Err(failure.error());
            }
        }
        // The receipt keeps the verdict alive, not the producer.
        let fate = Arc::clone(generation.fate());
        Ok(Box::pin(async move { verdict(&tracker, &fate).await }))
    }

    /// How long a record that is too large waits for its topic's limit.
    fn pause(&self, topic: &str) -> Option<Duration> {
        let mut handle = self.handle(topic).ok()?;
        let Some(Refused::TooLarge) = handle.refused else {
            return None;
        };
        let pause = handle.pause;
        handle.pause = (pause * 2).min(TOO_LARGE_PAUSE.1);
        Some(pause)
    }

    /// The producer that takes this lane's records from now on: one of its own once a record of it was
    /// refused.
    fn go_on(&self, topic: &str) -> Result<Arc<TopicProducer>, Error> {
        let mut handle = self.handle(topic)?;
        match (handle.refusal(), handle.producer.share) {
            (None, _) => {}
            (Some(failure), Share::All) => {
                tracing::error!(%topic, reason = failure.reason, "a record is refused");
                let topic = &handle.producer.topic;
                let own = TopicProducer::for_one_lane(&self.shared, topic, failure);
                self.shared.keep(&own);
                handle.producer = own;
            }
            // The next one comes after a longer pause, and knows nothing of what this one has heard.
            (Some(failure), Share::OneLane) => {
                if let Some(current) = handle.producer.current() {
                    current.fate().fail(failure);
                }
            }
        }
        handle.forget();
        Ok(Arc::clone(&handle.producer))
    }

    /// Waits out what this lane has under way, so that nothing is sent again beside it.
    async fn settle(&self, topic: &str) {
        let Ok(sent) = self.handle(topic).map(|handle| handle.sent.clone()) else {
            return;
        };
        for sent in sent {
            // A generation that is gone reports nothing any more.
            let _ = tokio::time::timeout(LAST_REPORTS, sent.settled()).await;
        }
    }
}

/// What became of a `send`, once every record of it was reported.
async fn verdict(tracker: &Tracker, fate: &Fate) -> Result<(), Error> {
    let given_up = async {
        fate.failed().await;
        tokio::time::sleep(LAST_REPORTS).await;
    };
    tokio::select! {
        biased;
        () = tracker.settled() => {}
        () = given_up => {}
    }
    if tracker.is_acknowledged() {
        return Ok(());
    }
    let failure = tracker.failure();
    Err(failure
        .unwrap_or_else(|| fate.failure().of_another())
        .error())
}

fn enqueue(
    generation: &Generation,
    record: &OutRecord,
    index: usize,
    tracker: &Arc<Tracker>,
) -> Result<(), KafkaError> {
    let sent = Box::new((Arc::clone(tracker), index));
    let mut out = BaseRecord::with_opaque_to(&record.topic, sent);
    out.partition = record.partition;
    out.key = record.key.as_deref();
    out.payload = record.value.as_deref();
    out.headers = headers_of(record);
    generation.send(out)
}

impl Publisher for KafkaPublisher {
    /// Not cancel-safe: dropped while the client's queue is full, some of the records are sent; they
    /// are sent again with the rest from the outbox.
    async fn send(&self, topic: &str, records: Arc<[OutRecord]>) -> Result<Receipt, Error> {
        self.hand_over(topic, records).await
    }

    async fn recovered(&self, topic: &str) {
        self.settle(topic).await;
        if let Some(pause) = self.pause(topic) {
            tokio::time::sleep(pause).await;
            self.shared.refresh_sizes().await;
        }
        let Ok(producer) = self.go_on(topic) else {
            return;
        };
        if let Some(number) = producer.up().await
            && let Ok(mut handle) = self.handle(topic)
        {
            handle.seen = number;
        }
    }

    fn max_record_bytes(&self, topic: &str) -> usize {
        Self::max_record_bytes(self, topic)
    }
}
