//! The output: one idempotent producer for all lanes, and a [`KafkaPublisher`] for each. A record
//! that is not acknowledged ends the producer's generation: everything outstanding fails, a new one
//! is built, and each lane sends again from its lowest unacknowledged record. Nothing is given up by
//! time; nothing here blocks a worker.

mod generation;
mod sizes;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::generation::{Generation, Tracker};
pub(super) use self::sizes::Sizes;
pub use self::sizes::record_bytes;
use super::health;
use super::settings::{Settings, SetupError};
use super::{Error, Publisher, Receipt};
use crate::record::OutRecord;
use crate::telemetry::names;

/// The one producer of a process and its rebuilding. Dropping it stops it without flushing.
pub struct Producer {
    shared: Arc<Shared>,
    done: watch::Receiver<bool>,
}

struct Shared {
    settings: Settings,
    topics: Vec<Arc<str>>,
    /// `None` while it is being rebuilt, and after the stop.
    current: watch::Sender<Option<Arc<Generation>>>,
    sizes: Arc<Sizes>,
    health: Arc<health::State>,
    stopping: CancellationToken,
}

/// One lane's way to the producer.
///
/// Each lane has its own: after a rebuilding it refuses to send until this very handle has been told
/// by [`Publisher::recovered`], so that nothing new overtakes what its lane has to send again. A
/// handle shared by two lanes would lose that.
pub struct KafkaPublisher {
    shared: Arc<Shared>,
    /// The generation this handle's caller knows of.
    seen: AtomicU64,
    /// The last `send` was refused for the size of a record.
    refused: AtomicBool,
}

/// How often a full queue is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(2);
/// How often the limits are asked for while a record exceeds them.
const SIZES_PAUSE: Duration = Duration::from_secs(2);
/// How long records may wait for an acknowledgement while brokers are connected; longer than a request
/// may take (10 s).
const STALLED: Duration = Duration::from_secs(15);
/// A generation that lived this long starts the backoff anew.
const STEADY: Duration = Duration::from_secs(30);

impl Producer {
    /// Builds the producer for records to `topics`, whose size limits it asks the brokers for.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SetupError`]: a refused property, a missing topic, or no broker within 15 s.
    pub async fn start(settings: &Settings, topics: &[Arc<str>]) -> Result<Self, SetupError> {
        settings.refuse_owned()?;
        let sizes = Sizes::read(settings, topics).await?;
        Self::with_sizes(settings, topics, sizes).await
    }

    async fn with_sizes(
        settings: &Settings,
        topics: &[Arc<str>],
        sizes: Sizes,
    ) -> Result<Self, SetupError> {
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            topics: topics.to_vec(),
            current: watch::Sender::new(None),
            sizes: Arc::new(sizes),
            health: Arc::new(health::State::default()),
            stopping: CancellationToken::new(),
        });
        let first = shared.build(1).await?;
        shared.current.send_replace(Some(first));
        let (done_sender, done) = watch::channel(false);
        let supervised = Arc::clone(&shared);
        tokio::spawn(async move {
            supervise(&supervised).await;
            done_sender.send_replace(true);
        });
        Ok(Self { shared, done })
    }

    /// A handle for one lane.
    #[must_use]
    pub fn publisher(&self) -> KafkaPublisher {
        let seen = self
            .shared
            .current
            .borrow()
            .as_ref()
            .map_or(0, |current| current.number);
        KafkaPublisher {
            shared: Arc::clone(&self.shared),
            seen: AtomicU64::new(seen),
            refused: AtomicBool::new(false),
        }
    }

    /// The largest record that `topic` takes, as [`record_bytes`] counts, as far as the brokers told
    /// (at start, and again after they refused one for its size). A larger one must not be stored in
    /// an outbox: it could never be published.
    #[must_use]
    pub fn max_record_bytes(&self, topic: &str) -> usize {
        self.shared.sizes.max_record_bytes(topic)
    }

    /// At least one broker is connected and the producer is not being rebuilt.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.shared
            .current
            .borrow()
            .as_ref()
            .is_some_and(|current| !current.has_failed())
            && self.shared.health.read().brokers_up
    }

    /// Waits for outstanding records, then closes the producer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when that took longer than `deadline`; what was not acknowledged is
    /// still in the outboxes.
    pub async fn stop(&self, deadline: Duration) -> Result<(), Error> {
        let outstanding = || {
            self.shared
                .current
                .borrow()
                .as_ref()
                .is_some_and(|current| current.outstanding() > 0)
        };
        let started = Instant::now();
        // Half for the acknowledgements, half for closing.
        while outstanding() && started.elapsed() < deadline / 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.shared.stopping.cancel();
        let mut done = self.done.clone();
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, done.wait_for(|done| *done)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Unavailable {
                reason: format!("the producer did not close within {deadline:?}"),
            }),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
    }
}

impl Shared {
    async fn build(&self, number: u64) -> Result<Arc<Generation>, SetupError> {
        let mut config = self.settings.producer();
        self.sizes.configure(&mut config);
        let health = Arc::clone(&self.health);
        tokio::task::spawn_blocking(move || Generation::build(number, &config, health))
            .await
            .map_err(|error| SetupError::Client {
                reason: error.to_string(),
            })?
    }
}

/// Replaces each generation that fails, until the stop.
async fn supervise(shared: &Arc<Shared>) {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let Some(current) = shared.current.borrow().clone() else {
            return;
        };
        let (number, born) = (current.number, current.born);
        let stopped = tokio::select! {
            () = shared.stopping.cancelled() => true,
            () = current.failed() => false,
            () = current.watch(STALLED) => false,
        };
        shared.current.send_replace(None);
        if stopped {
            retire(current).await;
            return;
        }
        let failure = current.failure();
        tracing::warn!(
            generation = number,
            reason = failure.reason,
            "kafka producer failed"
        );
        metrics::counter!(names::PRODUCER_REBUILDS).increment(1);
        // What is queued behind the failed record must not be appended before it is sent again.
        let purged = Arc::clone(&current);
        let purging = tokio::task::spawn_blocking(move || purged.purge());
        if purging.await.is_err() {
            tracing::error!("the purge of a failed producer panicked");
        }
        tokio::spawn(retire(current));

        if born.elapsed() > STEADY {
            backoff = BACKOFF_FIRST;
        }
        let next = loop {
            let pause = backoff.mul_f64(rand::random_range(0.5..1.5));
            backoff = (backoff * 2).min(BACKOFF_LAST);
            tokio::select! {
                () = shared.stopping.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if failure.too_large {
                shared.refresh_sizes().await;
            }
            match shared.build(number + 1).await {
                Ok(next) => break next,
                Err(error) => tracing::error!(%error, "kafka producer cannot be rebuilt"),
            }
        };
        tracing::info!(generation = next.number, "kafka producer rebuilt");
        shared.current.send_replace(Some(next));
    }
}

impl Shared {
    async fn refresh_sizes(&self) {
        match Sizes::read(&self.settings, &self.topics).await {
            Ok(sizes) => self.sizes.replace(sizes),
            Err(error) => tracing::warn!(%error, "the topics' size limits cannot be read"),
        }
    }
}

/// Drops a generation on a blocking thread, once no `send` holds it any more.
#[expect(
    clippy::disallowed_methods,
    reason = "a blocking thread; the last `send` lets go within milliseconds and tells nobody"
)]
async fn retire(generation: Arc<Generation>) {
    let closing = tokio::task::spawn_blocking(move || {
        while Arc::strong_count(&generation) > 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(generation);
    });
    if closing.await.is_err() {
        tracing::error!("the closing of a producer panicked");
    }
}

impl KafkaPublisher {
    /// As [`Producer::max_record_bytes`].
    #[must_use]
    pub fn max_record_bytes(&self, topic: &str) -> usize {
        self.shared.sizes.max_record_bytes(topic)
    }

    fn generation(&self) -> Result<Arc<Generation>, Error> {
        let current = self.shared.current.borrow();
        match current.as_ref() {
            Some(generation)
                if generation.number == self.seen.load(Ordering::Acquire)
                    && !generation.has_failed() =>
            {
                Ok(Arc::clone(generation))
            }
            _ => Err(Error::Delivery {
                reason: "the producer is being rebuilt".to_owned(),
            }),
        }
    }

    /// A broker that lowered its limit refuses such a record for ever, and would take what comes behind
    /// it from a new producer: it stays here, and the other lanes go on.
    fn refuse_too_large(&self, records: &[OutRecord]) -> Result<(), Error> {
        let too_large = records
            .iter()
            .find(|record| record_bytes(record) > self.max_record_bytes(&record.topic));
        let Some(record) = too_large else {
            self.refused.store(false, Ordering::Relaxed);
            return Ok(());
        };
        let (topic, bytes) = (&record.topic, record_bytes(record));
        let limit = self.max_record_bytes(topic);
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::error!(%topic, bytes, limit, "a record exceeds its topic's max.message.bytes");
        }
        let reason = format!("a record of {bytes} bytes exceeds the {limit} that {topic} takes");
        Err(Error::Delivery { reason })
    }

    async fn hand_over(&self, topic: &str, records: Arc<[OutRecord]>) -> Result<Receipt, Error> {
        let generation = self.generation()?;
        self.refuse_too_large(&records)?;
        let of_topic = || records.iter().filter(|record| &*record.topic == topic);
        let (tracker, acknowledged) = Tracker::new(of_topic().count());
        for record in of_topic() {
            while let Err(error) = enqueue(&generation, record, &tracker) {
                match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) if !generation.has_failed() => {
                        tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                    }
                    code => {
                        let too_large = code == Some(RDKafkaErrorCode::MessageSizeTooLarge);
                        generation.fail(&error, &record.topic, too_large);
                        return Err(generation.error());
                    }
                }
            }
        }
        drop(tracker);
        // The receipt keeps the verdict alive, not the producer.
        let fate = generation.fate();
        Ok(Box::pin(async move {
            tokio::select! {
                biased;
                answer = acknowledged => match answer {
                    Ok(()) => Ok(()),
                    Err(_) => {
                        // The report that dropped the sender tells the generation next.
                        fate.failed().await;
                        Err(fate.error())
                    }
                },
                () = fate.failed() => Err(fate.error()),
            }
        }))
    }
}

fn enqueue(
    generation: &Generation,
    record: &OutRecord,
    tracker: &Arc<Tracker>,
) -> Result<(), KafkaError> {
    let mut out = BaseRecord::with_opaque_to(&record.topic, Arc::clone(tracker));
    out.partition = record.partition;
    out.key = record.key.as_deref();
    out.payload = record.value.as_deref();
    out.headers = headers_of(record);
    generation.send(out)
}

/// The headers of `record` as the client takes them.
pub(super) fn headers_of(record: &OutRecord) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    let all = record.headers.iter().fold(headers, |all, (name, value)| {
        all.insert(Header {
            key: name,
            value: value.as_deref(),
        })
    });
    Some(all)
}

impl Publisher for KafkaPublisher {
    /// Not cancel-safe: dropped while the client's queue is full, some of the records are sent; they
    /// are sent again with the rest from the outbox.
    async fn send(&self, topic: &str, records: Arc<[OutRecord]>) -> Result<Receipt, Error> {
        self.hand_over(topic, records).await
    }

    fn max_record_bytes(&self, topic: &str) -> usize {
        Self::max_record_bytes(self, topic)
    }

    async fn recovered(&self, _topic: &str) {
        if self.refused.load(Ordering::Relaxed) {
            tokio::time::sleep(SIZES_PAUSE).await;
            self.shared.refresh_sizes().await;
        }
        let mut current = self.shared.current.subscribe();
        let up = current
            .wait_for(|current| {
                current
                    .as_ref()
                    .is_some_and(|current| !current.has_failed())
            })
            .await;
        if let Ok(up) = up
            && let Some(generation) = up.as_ref()
        {
            self.seen.store(generation.number, Ordering::Release);
        }
    }
}
