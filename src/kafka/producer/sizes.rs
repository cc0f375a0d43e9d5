//! How large a record may be: what the brokers tell about the topics, and how a record is counted.
//! A record over its topic's limit is refused forever, so that it must never be stored to be sent.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use rdkafka::ClientConfig;
use rdkafka::admin::ResourceSpecifier;

use crate::kafka::admin;
use crate::kafka::settings::{Settings, SetupError};
use crate::record::OutRecord;

/// A batch's own bytes in Kafka's format version 2.
const BATCH_BYTES: usize = 61;
/// Length, attributes, timestamp delta, offset delta, key length, value length, header count: each a
/// varint of at most this many bytes together.
const RECORD_BYTES: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
/// Name length and value length of a header.
const HEADER_BYTES: usize = 5 + 5;
/// Kafka's own default of `max.message.bytes`.
const DEFAULT: usize = 1_048_588;
/// librdkafka's default of `batch.size`.
const BATCH: usize = 1_000_000;
/// librdkafka counts with a margin of its own before it hands a record to a broker.
const CLIENT_MARGIN: usize = 16 * 1024;
/// librdkafka's bounds of `message.max.bytes`.
const CLIENT_BOUNDS: (usize, usize) = (1_000, 1_000_000_000);

/// The most bytes that `record` can take up in a batch of its own, uncompressed: what a topic's
/// `max.message.bytes` is compared with.
#[must_use]
pub fn record_bytes(record: &OutRecord) -> usize {
    BATCH_BYTES + RECORD_BYTES + record.headers.len() * HEADER_BYTES + record.size()
}

/// Each topic's `max.message.bytes`.
pub(in crate::kafka) struct Sizes {
    topics: RwLock<BTreeMap<Arc<str>, usize>>,
}

const UNPOISONED: &str = "nothing panics while it holds this lock";

impl Sizes {
    pub(super) fn new(topics: BTreeMap<Arc<str>, usize>) -> Self {
        Self {
            topics: RwLock::new(topics),
        }
    }

    /// Asks the brokers.
    pub(in crate::kafka) async fn read(
        settings: &Settings,
        topics: &[Arc<str>],
    ) -> Result<Self, SetupError> {
        let brokers = settings.brokers.clone();
        let topics = topics.to_vec();
        admin::with_client(settings, move |client, runtime| {
            let unavailable = |reason: String| SetupError::Unavailable {
                brokers: brokers.clone(),
                reason,
            };
            // A topic that does not exist is described, too: without any settings.
            let found = admin::counts(client).map_err(|error| unavailable(error.to_string()))?;
            if let Some(missing) = topics.iter().find(|topic| !found.contains_key(&***topic)) {
                return Err(SetupError::MissingTopic {
                    topic: missing.to_string(),
                });
            }
            let wanted: Vec<_> = topics
                .iter()
                .map(|name| ResourceSpecifier::Topic(name))
                .collect();
            let described = runtime
                .block_on(client.describe_configs(&wanted, &admin::options()))
                .map_err(|error| unavailable(error.to_string()))?;
            let mut sizes = BTreeMap::new();
            for (name, described) in topics.iter().zip(described) {
                // rdkafka drops a resource's own error and leaves it without settings.
                let limit = described.ok().and_then(|resource| {
                    resource
                        .get("max.message.bytes")?
                        .value
                        .as_deref()?
                        .parse()
                        .ok()
                });
                if limit.is_none() {
                    // Describing needs a permission that publishing does not.
                    tracing::warn!(topic = %name, "a topic's size limit cannot be read");
                }
                sizes.insert(Arc::clone(name), limit.unwrap_or(DEFAULT));
            }
            Ok(Self::new(sizes))
        })
        .await
    }

    pub(super) fn replace(&self, other: Self) {
        let other = other.topics.into_inner().expect(UNPOISONED);
        *self.topics.write().expect(UNPOISONED) = other;
    }

    pub(in crate::kafka) fn max_record_bytes(&self, topic: &str) -> usize {
        self.topics
            .read()
            .expect(UNPOISONED)
            .get(topic)
            .copied()
            .unwrap_or(DEFAULT)
    }

    /// For a client that sends to `topic` only.
    pub(super) fn configure_for(&self, topic: &str, config: &mut ClientConfig) {
        let limit = self.max_record_bytes(topic);
        bound(config, limit, limit);
    }

    /// The client must let pass what the largest topic takes, and must not build batches that the
    /// smallest refuses: it would never take them apart.
    pub(in crate::kafka) fn configure(&self, config: &mut ClientConfig) {
        let topics = self.topics.read().expect(UNPOISONED);
        let largest = topics.values().copied().max().unwrap_or(DEFAULT);
        let smallest = topics.values().copied().min().unwrap_or(DEFAULT);
        bound(config, smallest, largest);
    }
}

fn bound(config: &mut ClientConfig, smallest: usize, largest: usize) {
    let message = largest
        .saturating_add(CLIENT_MARGIN)
        .clamp(CLIENT_BOUNDS.0, CLIENT_BOUNDS.1);
    config.set("message.max.bytes", message.to_string());
    config.set("batch.size", smallest.clamp(1, BATCH).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_never_outgrows_the_smallest_topic_and_a_record_may_fill_the_largest() {
        let sizes = Sizes::new(BTreeMap::from([
            (Arc::from("session-event"), 65_536),
            (Arc::from("session-dead-letter"), 2_097_152),
        ]));
        let mut config = ClientConfig::new();
        sizes.configure(&mut config);
        assert_eq!(config.get("batch.size"), Some("65536"));
        let client: usize = config
            .get("message.max.bytes")
            .and_then(|value| value.parse().ok())
            .expect("it was set to a number");
        assert!(client > 2_097_152);
        assert_eq!(sizes.max_record_bytes("session-event"), 65_536);
        assert_eq!(sizes.max_record_bytes("another"), DEFAULT);
    }
}
