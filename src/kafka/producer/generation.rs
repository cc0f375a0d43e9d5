//! One life of a topic's producer: from its building to the first record that is not acknowledged. The
//! verdict over it outlives it, in the receipts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use tokio_util::sync::CancellationToken;

use super::tracker::{Extent, Failure, Tracker};
use crate::kafka::health::{self, Statistics, log_client};
use crate::kafka::settings::SetupError;
use crate::kafka::words;

/// How often a generation is looked at for progress.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The verdict over a generation.
#[derive(Default)]
pub(super) struct Fate {
    failure: OnceLock<Failure>,
    failed: CancellationToken,
    /// librdkafka takes no more records. The report of the record that is to blame comes before or next.
    ended: AtomicBool,
    /// A record was not taken, which need not be the end: librdkafka may not even have sent it.
    refused: OnceLock<Failure>,
}

impl Fate {
    pub(super) fn fail(&self, failure: Failure) {
        // The first reason is the cause; what follows are its consequences.
        self.failure.get_or_init(|| failure);
        self.failed.cancel();
    }

    /// What the client says of one record.
    fn report(&self, failure: Failure) {
        match failure.extent {
            Extent::Record if !self.ended.load(Ordering::Acquire) => {
                self.refused.get_or_init(|| failure);
            }
            _ => self.fail(failure),
        }
    }

    /// librdkafka gives up.
    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        if let Some(refused) = self.refused.get() {
            self.fail(refused.clone());
        }
    }

    pub(super) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    pub(super) fn failure(&self) -> Failure {
        let failure = self.failure.get().cloned();
        failure.unwrap_or_else(|| Failure::new(Extent::Producer, "the producer was closed"))
    }
}

/// The records of a `send`, and which of them.
pub(super) type Sent = Box<(Arc<Tracker>, usize)>;

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

    pub(super) fn send(&self, record: BaseRecord<'_, [u8], [u8], Sent>) -> Result<(), KafkaError> {
        self.producer.send(record).map_err(|(error, _)| error)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.fate.failed.is_cancelled()
    }

    /// Fails the generation when brokers are connected and records are on their way, and yet none has
    /// been acknowledged for `patience`: after a broker was silent for longer than a request may take,
    /// librdkafka has been seen to wait forever. Also when librdkafka has given up, and blames no
    /// record.
    pub(super) async fn watch(&self, patience: Duration) {
        let mut progress = (self.acknowledged(), Instant::now());
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            if let Some((code, reason)) = self.producer.client().fatal_error() {
                self.fate.fail(words::dead_producer(code, &reason));
                return;
            }
            let acknowledged = self.acknowledged();
            let waiting = self.outstanding() > 0 && self.health.read().brokers_up;
            if !waiting || acknowledged != progress.0 {
                progress = (acknowledged, Instant::now());
            } else if progress.1.elapsed() >= patience {
                let reason = format!("nothing was acknowledged for {patience:?}");
                self.fate.fail(Failure::new(Extent::Producer, reason));
                return;
            }
        }
    }

    pub(super) fn fate(&self) -> &Arc<Fate> {
        &self.fate
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
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
        match error.rdkafka_error_code() {
            // `watch` finds whatever else is fatal.
            Some(RDKafkaErrorCode::GaplessGuarantee) => self.fate.end(),
            _ => self.health.error(&error, reason),
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Sent;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Sent) {
        let (tracker, index) = *sent;
        match result {
            Ok(_) => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                tracker.acknowledge(index);
            }
            Err((error, record)) => {
                let failure = words::sending(error, record.topic());
                tracker.fail(1, &failure);
                match error.rdkafka_error_code() {
                    // What befalls the others once one record was not taken.
                    Some(
                        RDKafkaErrorCode::Fatal
                        | RDKafkaErrorCode::PurgeQueue
                        | RDKafkaErrorCode::PurgeInflight,
                    ) => self.fate.end(),
                    _ => self.fate.report(failure),
                }
            }
        }
    }
}
