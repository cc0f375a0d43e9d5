//! The output: an idempotent producer for each topic, so that what is wrong with one delays no other,
//! and a [`KafkaPublisher`] for each lane. A record that is not acknowledged ends the generation of its
//! topic's producer, and each lane sends again what was not acknowledged. A lane with a record that is
//! not taken tries it again through a producer of its own. Nothing is given up by time; nothing here
//! blocks a worker.

mod generation;
mod publisher;
mod sizes;
mod topic;
mod tracker;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rdkafka::message::{Header, OwnedHeaders};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::publisher::KafkaPublisher;
pub(super) use self::sizes::Sizes;
pub use self::sizes::record_bytes;
use self::topic::TopicProducer;
pub(super) use self::tracker::{Extent, Failure};
use super::Error;
use super::settings::{Settings, SetupError};
use crate::record::OutRecord;

/// The producers of a process. Dropping it stops them without flushing.
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    topics: Vec<Arc<str>>,
    /// One a topic.
    producers: Mutex<Vec<Arc<TopicProducer>>>,
    /// Those of single lanes, while they have one.
    own: Mutex<Vec<Weak<TopicProducer>>>,
    sizes: Arc<Sizes>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

const UNPOISONED: &str = "nothing panics while it holds this lock";

impl Producer {
    /// Builds the producers for records to `topics`, whose size limits it asks the brokers for.
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
        let producer = Self {
            shared: Arc::new(Shared {
                settings: settings.clone(),
                topics: topics.to_vec(),
                producers: Mutex::default(),
                own: Mutex::default(),
                sizes: Arc::new(sizes),
                stopping: CancellationToken::new(),
                tasks: TaskTracker::new(),
            }),
        };
        for topic in topics {
            let started = TopicProducer::start(&producer.shared, topic).await?;
            producer.shared.producers().push(started);
        }
        Ok(producer)
    }

    /// A handle for one lane.
    #[must_use]
    pub fn publisher(&self) -> KafkaPublisher {
        KafkaPublisher::new(&self.shared, &self.shared.producers())
    }

    /// The largest record that `topic` takes, as [`record_bytes`] counts, as far as the brokers told
    /// (at start, and again after they refused one for its size). A larger one must not be stored in
    /// an outbox: it could never be published.
    #[must_use]
    pub fn max_record_bytes(&self, topic: &str) -> usize {
        self.shared.sizes.max_record_bytes(topic)
    }

    /// At least one broker is connected and nothing is wrong with a topic.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.faults().is_empty() && self.brokers_up()
    }

    /// At least one broker is connected.
    #[must_use]
    pub fn brokers_up(&self) -> bool {
        self.shared.producers().iter().any(|one| one.brokers_up())
    }

    /// The topics that records cannot be published to at the moment, and why: what is refused, or what
    /// the client said.
    #[must_use]
    pub fn faults(&self) -> Vec<(String, String)> {
        let all = self.shared.all().into_iter();
        all.filter_map(|one| Some((one.topic.to_string(), one.fault()?)))
            .collect()
    }

    /// Waits for outstanding records, then closes the producers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when that took longer than `deadline`; what was not acknowledged is
    /// still in the outboxes.
    pub async fn stop(&self, deadline: Duration) -> Result<(), Error> {
        let outstanding = || self.shared.all().iter().any(|one| one.outstanding() > 0);
        let started = Instant::now();
        // Half for the acknowledgements, half for closing.
        while outstanding() && started.elapsed() < deadline / 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, self.shared.tasks.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::Unavailable {
                reason: format!("the producers did not close within {deadline:?}"),
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
    fn producers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<TopicProducer>>> {
        self.producers.lock().expect(UNPOISONED)
    }

    fn producer(&self, topic: &str) -> Option<Arc<TopicProducer>> {
        let producers = self.producers();
        producers.iter().find(|one| &*one.topic == topic).cloned()
    }

    /// Remembers a single lane's producer, for as long as it lives.
    fn keep(&self, own: &Arc<TopicProducer>) {
        self.own.lock().expect(UNPOISONED).push(Arc::downgrade(own));
    }

    /// Every producer, those of single lanes too.
    fn all(&self) -> Vec<Arc<TopicProducer>> {
        let mut all = self.producers().clone();
        let mut own = self.own.lock().expect(UNPOISONED);
        own.retain(|one| one.strong_count() > 0);
        let live = own.iter().filter_map(Weak::upgrade);
        all.extend(live.filter(|one| !one.is_stopped()));
        all
    }

    async fn refresh_sizes(&self) {
        match Sizes::read(&self.settings, &self.topics).await {
            Ok(sizes) => self.sizes.replace(sizes),
            Err(error) => tracing::warn!(%error, "the topics' size limits cannot be read"),
        }
    }
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
