//! How a client of the brokers is: what probes ask, and the one place that logs its changes of state.
//! Decides nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use serde::Deserialize;
use tokio::sync::watch;

use super::words;

/// A reading for `/livez` and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// How long ago the polling thread last came around; it does so every 100 ms, but for the time
    /// that the application takes to fence or drain lanes.
    pub since_poll: Duration,
    /// At least one broker is connected.
    pub brokers_up: bool,
    /// The group has given this member its partitions (which may be none).
    pub assigned: bool,
    /// What keeps the group from giving this member its partitions, as far as the client says.
    pub fault: Option<String>,
    /// Why the consumer stopped by itself, if it did.
    pub failure: Option<String>,
}

/// The live state behind [`Health`].
pub(crate) struct State {
    polled: Mutex<Instant>,
    brokers_up: AtomicBool,
    assigned: AtomicBool,
    fault: Mutex<Option<String>>,
    failure: watch::Sender<Option<String>>,
    /// The last error that was logged, until the brokers are well again.
    logged: Mutex<Option<RDKafkaErrorCode>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            polled: Mutex::new(Instant::now()),
            brokers_up: AtomicBool::new(false),
            assigned: AtomicBool::new(false),
            fault: Mutex::new(None),
            failure: watch::Sender::new(None),
            logged: Mutex::new(None),
        }
    }
}

const UNPOISONED: &str = "nothing panics while it holds this lock";

impl State {
    pub(crate) fn read(&self) -> Health {
        Health {
            since_poll: self.polled.lock().expect(UNPOISONED).elapsed(),
            brokers_up: self.brokers_up.load(Ordering::Relaxed),
            assigned: self.assigned.load(Ordering::Relaxed),
            fault: self.fault.lock().expect(UNPOISONED).clone(),
            failure: self.failure.borrow().clone(),
        }
    }

    pub(crate) fn polled(&self) {
        *self.polled.lock().expect(UNPOISONED) = Instant::now();
    }

    pub(crate) fn assigned(&self) {
        self.assigned.store(true, Ordering::Relaxed);
        *self.fault.lock().expect(UNPOISONED) = None;
    }

    pub(crate) fn unassigned(&self) {
        self.assigned.store(false, Ordering::Relaxed);
    }

    /// The first failure stands.
    pub(crate) fn fail(&self, reason: &str) {
        let first = self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| reason.to_owned());
            first
        });
        if first {
            tracing::error!(reason, "kafka consumer stopped by itself");
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    pub(crate) async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        let failed = failure
            .wait_for(Option::is_some)
            .await
            .expect("the sender lives in self");
        failed.clone().unwrap_or_default()
    }

    /// An error event of the client: a fault to wait out, since librdkafka goes on by itself.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        let code = error
            .rdkafka_error_code()
            .unwrap_or(RDKafkaErrorCode::Unknown);
        match code {
            // One broker of several; that all are down is said separately.
            RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve => {
                tracing::debug!(%error, reason, "kafka connection lost");
                return;
            }
            RDKafkaErrorCode::AllBrokersDown => {
                self.brokers_up.store(false, Ordering::Relaxed);
            }
            RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic => {
                *self.fault.lock().expect(UNPOISONED) = Some(words::joining(code, reason));
            }
            _ => {}
        }
        let mut logged = self.logged.lock().expect(UNPOISONED);
        if logged.replace(code) != Some(code) {
            tracing::warn!(%error, reason, "kafka client reports a fault");
        }
    }

    /// What the statistics say about connections.
    pub(crate) fn brokers(&self, up: bool) {
        let was_up = self.brokers_up.swap(up, Ordering::Relaxed);
        if up {
            let recovered = self.logged.lock().expect(UNPOISONED).take().is_some();
            if recovered || !was_up {
                tracing::info!("kafka brokers are reachable");
            }
        }
    }
}

/// librdkafka's own log lines: those that ask for an operator, as errors; the rest only on demand,
/// since [`State`] logs each change of state once.
pub(crate) fn log_client(level: RDKafkaLogLevel, facility: &str, line: &str) {
    use RDKafkaLogLevel as Level;
    match level {
        Level::Emerg | Level::Alert | Level::Critical => {
            tracing::error!(target: "librdkafka", facility, line, "kafka client");
        }
        Level::Error | Level::Warning | Level::Notice | Level::Info | Level::Debug => {
            tracing::debug!(target: "librdkafka", facility, line, "kafka client");
        }
    }
}

/// The few of librdkafka's statistics that are read (its STATISTICS.md).
#[derive(Deserialize)]
pub(crate) struct Statistics {
    #[serde(default)]
    brokers: BTreeMap<String, BrokerStatistics>,
    #[serde(default)]
    topics: BTreeMap<String, TopicStatistics>,
}

impl Statistics {
    /// Reads an emission; `None` (and a debug line) where it is unreadable.
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json)
            .inspect_err(|error| tracing::debug!(%error, "kafka client statistics are unreadable"))
            .ok()
    }

    /// What they say about a partition.
    pub(crate) fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionStatistics> {
        let topic = self.topics.get(topic)?;
        topic.partitions.get(&partition.to_string())
    }

    /// A broker proper is connected (bootstrap addresses and coordinators are entries, too).
    pub(crate) fn broker_up(&self) -> bool {
        self.brokers.values().any(|broker| broker.state == "UP")
    }
}

#[derive(Deserialize)]
struct BrokerStatistics {
    state: String,
}

#[derive(Deserialize)]
struct TopicStatistics {
    #[serde(default)]
    partitions: BTreeMap<String, PartitionStatistics>,
}

/// Offsets are negative where the client does not know them.
#[derive(Deserialize)]
pub(crate) struct PartitionStatistics {
    /// The first offset in the log.
    pub(crate) lo_offset: i64,
    /// The offset after the last record that is committed.
    pub(crate) ls_offset: i64,
    /// The end of the log that the client last told of.
    pub(crate) eof_offset: i64,
    /// What waits in the partition's queue.
    pub(crate) fetchq_cnt: i64,
}
