//! What the operator may choose about Kafka, and what the worker's guarantees choose for him: builds
//! the client configurations and refuses a property that the worker owns. Reads no environment.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::reach::Obstacle;

/// How to reach the brokers: `kafka.*` of contract section 6.
#[derive(Clone)]
pub struct Settings {
    /// `kafka.brokers`: `host:port`, by commas.
    pub brokers: String,
    /// `kafka.groupId`
    pub group_id: String,
    /// `kafka.properties.*`: librdkafka's own names and values; may hold secrets.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("brokers", &self.brokers)
            .field("group_id", &self.group_id)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

/// Why a client could not be set up. Each says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The property belongs to the worker: its guarantees rest on it.
    #[error("kafka.properties.{key} cannot be set: {reason}")]
    OwnedProperty {
        /// librdkafka's name of it.
        key: String,
        /// Why, or what to set instead.
        reason: &'static str,
    },
    /// librdkafka refused a property. The value is left out: it may be a secret.
    #[error("kafka.properties.{key} is refused: {reason}")]
    BadProperty {
        /// librdkafka's name of it.
        key: String,
        /// What librdkafka said.
        reason: String,
    },
    /// librdkafka refused the properties together.
    #[error("the kafka client cannot be created: {reason}")]
    Client {
        /// What librdkafka said.
        reason: String,
    },
    /// The broker does not know the topic, or it has no partitions.
    #[error(
        "topic {topic} does not exist: create it, for example with `session-worker topics apply`"
    )]
    MissingTopic {
        /// The topic as it is called in the broker.
        topic: String,
    },
    /// The brokers refused a change of a topic.
    #[error("cannot {change}: {reason}")]
    Change {
        /// The step, in words.
        change: String,
        /// What the brokers said.
        reason: String,
    },
    /// No broker answered in time.
    #[error("no broker of {brokers} answered: {reason}")]
    Unavailable {
        /// `kafka.brokers`
        brokers: String,
        /// What the client said.
        reason: String,
    },
    /// Brokers were found, and cannot be used as the settings say.
    #[error("the brokers at {brokers} cannot be used: {obstacle} ({detail})")]
    Unusable {
        /// `kafka.brokers`
        brokers: String,
        /// The cause, which knows the cure.
        obstacle: Obstacle,
        /// What the client said.
        detail: String,
    },
}

impl SetupError {
    /// Whether it may pass by itself: brokers that come back, or that somebody corrects.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unusable { .. })
    }
}

/// Properties that the worker's guarantees rest on, with the reason for each.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set kafka.brokers"),
    ("metadata.broker.list", "set kafka.brokers"),
    ("group.id", "set kafka.groupId"),
    ("group.protocol", "lanes rest on the classic group protocol"),
    (
        "group.protocol.type",
        "lanes rest on the classic group protocol",
    ),
    (
        "group.remote.assignor",
        "lanes rest on the classic group protocol",
    ),
    (
        "partition.assignment.strategy",
        "lanes rest on the range assignor",
    ),
    ("enable.auto.commit", "positions live in MongoDB"),
    ("auto.commit.enable", "positions live in MongoDB"),
    ("auto.commit.interval.ms", "positions live in MongoDB"),
    ("enable.auto.offset.store", "positions live in MongoDB"),
    ("offset.store.method", "positions live in MongoDB"),
    (
        "auto.offset.reset",
        "positions live in MongoDB; use `session-worker lanes seek`",
    ),
    ("enable.partition.eof", "the worker's readiness rests on it"),
    ("isolation.level", "a lane reads committed records only"),
    ("consume.callback.max.messages", "a lane reads records only"),
    ("check.crcs", "damaged records must not pass for good ones"),
    ("statistics.interval.ms", "the worker's health rests on it"),
    (
        "allow.auto.create.topics",
        "topics are created by `session-worker topics apply`",
    ),
    ("enable.idempotence", "the order of events rests on it"),
    (
        "enable.gapless.guarantee",
        "the order of events rests on it",
    ),
    ("acks", "the order of events rests on it"),
    ("request.required.acks", "the order of events rests on it"),
    ("max.in.flight", "the order of events rests on it"),
    (
        "max.in.flight.requests.per.connection",
        "the order of events rests on it",
    ),
    ("retries", "the order of events rests on it"),
    (
        "message.send.max.retries",
        "the order of events rests on it",
    ),
    ("message.timeout.ms", "an event is never given up"),
    ("delivery.timeout.ms", "an event is never given up"),
    ("queuing.strategy", "the order of events rests on it"),
    (
        "transactional.id",
        "the worker publishes after MongoDB's commit",
    ),
    ("partitioner", "keys are partitioned by murmur2_random"),
    (
        "delivery.report.only.error",
        "the outbox rests on acknowledgements",
    ),
    (
        "message.max.bytes",
        "it follows the topics' max.message.bytes",
    ),
    ("batch.size", "it follows the topics' max.message.bytes"),
    ("log.queue", "logs go through the worker"),
];

impl Settings {
    /// The properties that both ends share, the operator's merged over `defaults`.
    fn client(&self, defaults: &[(&str, &str)], owned: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        // CONFWARN and the like are sorted by the contexts' `log`.
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("client.id", "session-worker");
        for (key, value) in SHARED_DEFAULTS.iter().chain(defaults) {
            config.set(*key, *value);
        }
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config.set("allow.auto.create.topics", "false");
        for (key, value) in owned {
            config.set(*key, *value);
        }
        config
    }

    /// Refuses properties that the worker owns.
    ///
    /// # Errors
    /// Every [`SetupError::OwnedProperty`] at once (contract 6: all faults are reported at once).
    pub fn check_properties(&self) -> Result<(), Vec<SetupError>> {
        let faults: Vec<_> = self
            .properties
            .keys()
            .filter_map(|key| {
                let (_, reason) = OWNED.iter().find(|(owned, _)| owned == key)?;
                Some(SetupError::OwnedProperty {
                    key: key.clone(),
                    reason,
                })
            })
            .collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }

    /// [`Settings::check_properties`] for a caller that can name one fault only.
    pub(crate) fn refuse_owned(&self) -> Result<(), SetupError> {
        self.check_properties()
            .map_err(|mut faults| faults.swap_remove(0))
    }

    /// The consumer's configuration.
    pub(crate) fn consumer(&self) -> ClientConfig {
        let mut config = self.client(
            CONSUMER_DEFAULTS,
            &[
                ("group.protocol", "classic"),
                ("partition.assignment.strategy", "range"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                // `error` would stop the partition for good. The lane's log notices the jump.
                ("auto.offset.reset", "earliest"),
                // A fetch that works says so, even where it brings no record.
                ("enable.partition.eof", "true"),
                ("isolation.level", "read_committed"),
                ("check.crcs", "true"),
                ("statistics.interval.ms", "1000"),
            ],
        );
        config.set("group.id", &self.group_id);
        config
    }

    /// The producer's configuration, but for the sizes that follow the topics.
    pub(crate) fn producer(&self) -> ClientConfig {
        self.client(
            PRODUCER_DEFAULTS,
            &[
                ("enable.idempotence", "true"),
                // Without it a batch behind a failed one is still appended: a gap, then a step back.
                ("enable.gapless.guarantee", "true"),
                ("acks", "all"),
                ("message.timeout.ms", "0"),
                ("partitioner", "murmur2_random"),
                ("statistics.interval.ms", "1000"),
            ],
        )
    }

    /// The configuration of a reader that joins no group and keeps no position.
    pub(crate) fn reader(&self) -> ClientConfig {
        let mut config = self.client(
            READER_DEFAULTS,
            &[
                // What was deleted since it was asked for is gone; the rest is read all the same.
                ("auto.offset.reset", "earliest"),
                ("isolation.level", "read_committed"),
                ("enable.auto.commit", "false"),
                ("enable.partition.eof", "true"),
            ],
        );
        // Named only because librdkafka asks for a name: nothing joins it.
        config.set("group.id", &self.group_id);
        config.set_log_level(RDKafkaLogLevel::Emerg);
        config
    }

    /// The producer's configuration for a sender that gives up a record after `patience`.
    pub(crate) fn sender(&self, patience: std::time::Duration) -> ClientConfig {
        let mut config = self.producer();
        config
            .set("message.timeout.ms", patience.as_millis().to_string())
            .set("statistics.interval.ms", "0");
        config.set_log_level(RDKafkaLogLevel::Emerg);
        config
    }

    /// The configuration of short-lived clients for topics, offsets and metadata.
    pub(crate) fn admin(&self) -> ClientConfig {
        let mut config = self.client(&[], &[]);
        // Nobody polls this client's main queue, so its log would pile up there.
        config.set_log_level(RDKafkaLogLevel::Emerg);
        config
    }
}

const SHARED_DEFAULTS: &[(&str, &str)] = &[
    ("reconnect.backoff.ms", "50"),
    // The default of 10 s would add up to that to every broker restart.
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
    // New partitions of an input topic are noticed after this long.
    ("topic.metadata.refresh.interval.ms", "60000"),
];

const CONSUMER_DEFAULTS: &[(&str, &str)] = &[
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "1000"),
    // A broker answers a connection's requests one after another: a partition that was just
    // assigned, sought or drained waits for the outstanding fetch, so it is kept short.
    ("fetch.wait.max.ms", "100"),
    ("fetch.min.bytes", "1"),
    ("fetch.error.backoff.ms", "100"),
    // The default of 1 s stalls a partition for that long whenever its queue is full.
    ("fetch.queue.backoff.ms", "20"),
    // With a queue per partition these bound each partition by itself.
    ("queued.min.messages", "2000"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.message.max.bytes", "524288"),
    ("fetch.max.bytes", "8388608"),
];

const READER_DEFAULTS: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "100"),
    ("fetch.error.backoff.ms", "100"),
    ("fetch.queue.backoff.ms", "20"),
    ("queued.max.messages.kbytes", "16384"),
    ("check.crcs", "true"),
];

const PRODUCER_DEFAULTS: &[(&str, &str)] = &[
    ("linger.ms", "0"),
    ("request.timeout.ms", "10000"),
    // A topic that is gone is named before its records look stalled.
    ("topic.metadata.propagation.max.ms", "5000"),
    ("retry.backoff.ms", "50"),
    ("retry.backoff.max.ms", "1000"),
    // Lanes bound what is outstanding (4 batches each), so this is only the net below them.
    ("queue.buffering.max.messages", "500000"),
    ("queue.buffering.max.kbytes", "524288"),
];

impl From<KafkaError> for SetupError {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, reason, key, _) => Self::BadProperty { key, reason },
            other => Self::Client {
                reason: other.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::consumer::BaseConsumer;

    fn settings(properties: &[(&str, &str)]) -> Settings {
        Settings {
            brokers: "localhost:9092".to_owned(),
            group_id: "session-worker".to_owned(),
            properties: properties
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn session_timeout_defaults_to_ten_seconds_and_gives_way_to_the_operator() {
        assert_eq!(
            settings(&[]).consumer().get("session.timeout.ms"),
            Some("10000")
        );
        let chosen = settings(&[("session.timeout.ms", "6000")]).consumer();
        assert_eq!(chosen.get("session.timeout.ms"), Some("6000"));
    }

    #[test]
    fn only_committed_records_are_read() {
        for config in [settings(&[]).consumer(), settings(&[]).reader()] {
            assert_eq!(config.get("isolation.level"), Some("read_committed"));
        }
    }

    #[test]
    fn every_owned_property_is_refused_by_name_and_all_at_once() {
        let all: Vec<_> = OWNED.iter().map(|(key, _)| (*key, "1")).collect();
        let faults = settings(&all)
            .check_properties()
            .expect_err("owned properties are refused");
        assert_eq!(faults.len(), OWNED.len());
        for (key, _) in OWNED {
            assert!(
                faults.iter().any(|fault| fault.to_string().contains(key)),
                "{key}"
            );
        }
        assert_eq!(settings(&[("linger.ms", "5")]).check_properties(), Ok(()));
    }

    #[test]
    fn an_unknown_property_is_refused_without_its_value() {
        let created: Result<BaseConsumer, _> = settings(&[("no.such.property", "hunter2")])
            .consumer()
            .create();
        let fault = SetupError::from(created.err().expect("librdkafka knows no such property"));
        assert!(fault.to_string().contains("no.such.property"), "{fault}");
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
    }

    #[test]
    fn debug_shows_no_property_values() {
        let shown = format!("{:?}", settings(&[("sasl.password", "hunter2")]));
        assert!(
            shown.contains("sasl.password") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
