//! One life of the producer: from its building to the first record that is not acknowledged. The
//! verdict over it outlives it, in the receipts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::kafka::Error;
use crate::kafka::health::{self, Statistics, log_client};
use crate::kafka::settings::SetupError;

/// How often a generation is looked at for progress.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Counts the acknowledgements of one `send`.
pub(super) struct Tracker {
    remaining: AtomicUsize,
    all_acknowledged: Mutex<Option<oneshot::Sender<()>>>,
}

const UNPOISONED: &str = "nothing panics while it holds this lock";

impl Tracker {
    pub(super) fn new(records: usize) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let tracker = Self {
            remaining: AtomicUsize::new(records),
            all_acknowledged: Mutex::new(Some(sender)),
        };
        if records == 0 {
            tracker.answer();
        }
        (Arc::new(tracker), receiver)
    }

    fn acknowledge(&self) {
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.answer();
        }
    }

    fn answer(&self) {
        if let Some(sender) = self.all_acknowledged.lock().expect(UNPOISONED).take() {
            // The receipt may have been dropped: nobody asks any more.
            let _ = sender.send(());
        }
    }

    fn fail(&self) {
        drop(self.all_acknowledged.lock().expect(UNPOISONED).take());
    }
}

/// Why a generation ended.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// The brokers' size limits are not what they were.
    pub(super) too_large: bool,
}

/// The verdict over a generation.
#[derive(Default)]
pub(super) struct Fate {
    failure: OnceLock<Failure>,
    failed: CancellationToken,
}

impl Fate {
    fn fail(&self, failure: Failure) {
        // The first reason is the cause; what follows are its consequences.
        self.failure.get_or_init(|| failure);
        self.failed.cancel();
    }

    pub(super) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    fn failure(&self) -> Failure {
        self.failure.get().cloned().unwrap_or_else(|| Failure {
            reason: "the producer was closed".to_owned(),
            too_large: false,
        })
    }

    pub(super) fn error(&self) -> Error {
        Error::Delivery {
            reason: self.failure().reason,
        }
    }
}

pub(super) struct Context {
    fate: Arc<Fate>,
    /// Counts acknowledged records.
    acknowledged: Arc<AtomicU64>,
    health: Arc<health::State>,
}

/// A producer and its fate.
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) born: Instant,
    producer: ThreadedProducer<Context>,
    fate: Arc<Fate>,
    acknowledged: Arc<AtomicU64>,
    health: Arc<health::State>,
}

impl Generation {
    pub(super) fn build(
        number: u64,
        config: &ClientConfig,
        health: Arc<health::State>,
    ) -> Result<Arc<Self>, SetupError> {
        let fate = Arc::new(Fate::default());
        let acknowledged = Arc::new(AtomicU64::new(0));
        let context = Context {
            fate: Arc::clone(&fate),
            acknowledged: Arc::clone(&acknowledged),
            health: Arc::clone(&health),
        };
        let producer = ThreadedProducer::from_config_and_context(config, context)?;
        Ok(Arc::new(Self {
            number,
            born: Instant::now(),
            producer,
            fate,
            acknowledged,
            health,
        }))
    }

    pub(super) fn send(
        &self,
        record: BaseRecord<'_, [u8], [u8], Arc<Tracker>>,
    ) -> Result<(), KafkaError> {
        self.producer.send(record).map_err(|(error, _)| error)
    }

    pub(super) fn fail(&self, error: &KafkaError, topic: &str, too_large: bool) {
        self.fate.fail(Failure {
            reason: format!("{error} (topic {topic})"),
            too_large,
        });
    }

    pub(super) fn has_failed(&self) -> bool {
        self.fate.failed.is_cancelled()
    }

    pub(super) async fn failed(&self) {
        self.fate.failed().await;
    }

    /// Fails the generation when brokers are connected and records are on their way, and yet none has
    /// been acknowledged for `patience`: after a broker was silent for longer than a request may take,
    /// librdkafka has been seen to wait for ever.
    pub(super) async fn watch(&self, patience: Duration) {
        let mut progress = (self.acknowledged.load(Ordering::Relaxed), Instant::now());
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            let acknowledged = self.acknowledged.load(Ordering::Relaxed);
            let waiting = self.outstanding() > 0 && self.health.read().brokers_up;
            if !waiting || acknowledged != progress.0 {
                progress = (acknowledged, Instant::now());
            } else if progress.1.elapsed() >= patience {
                self.fate.fail(Failure {
                    reason: format!("nothing was acknowledged for {patience:?}"),
                    too_large: false,
                });
                return;
            }
        }
    }

    pub(super) fn failure(&self) -> Failure {
        self.fate.failure()
    }

    pub(super) fn error(&self) -> Error {
        self.fate.error()
    }

    pub(super) fn fate(&self) -> Arc<Fate> {
        Arc::clone(&self.fate)
    }

    pub(super) fn outstanding(&self) -> i32 {
        self.producer.in_flight_count()
    }

    /// Blocks until nothing more will be sent.
    pub(super) fn purge(&self) {
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // Its queue is purged by the client's own drop; no receipt may wait for it.
        self.fate.failed.cancel();
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_client(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(statistics) = Statistics::read(statistics) {
            self.health.brokers(statistics.broker_up());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            // From here on every record fails: said at once, also when none is outstanding.
            self.fate.fail(Failure {
                reason: reason.to_owned(),
                too_large: false,
            });
        } else {
            self.health.error(&error, reason);
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Tracker>;

    fn delivery(&self, result: &DeliveryResult<'_>, tracker: Arc<Tracker>) {
        match result {
            Ok(_) => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                tracker.acknowledge();
            }
            Err((error, record)) => {
                let too_large = matches!(
                    error.rdkafka_error_code(),
                    Some(
                        RDKafkaErrorCode::MessageSizeTooLarge
                            | RDKafkaErrorCode::MessageBatchTooLarge
                    )
                );
                self.fate.fail(Failure {
                    reason: format!("{error} (topic {})", record.topic()),
                    too_large,
                });
                tracker.fail();
            }
        }
    }
}
