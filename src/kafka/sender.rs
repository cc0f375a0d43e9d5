//! Sending records one by one, each with where it came to stand, for commands that a person runs.
//! Unlike the lanes' producer it gives up: a record is acknowledged, refused, or in doubt.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use super::admin::Quiet;
use super::producer::{Sizes, headers_of, record_bytes};
use super::settings::{Settings, SetupError};
use crate::record::{Origin, OutRecord, TopicPartition};

/// How long a record may wait for all in-sync replicas.
const PATIENCE: Duration = Duration::from_secs(30);

/// A record was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// It never left.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// It may be written all the same.
    #[error("not acknowledged ({reason}): it may be written all the same")]
    InDoubt {
        /// What the client said.
        reason: String,
    },
}

/// A way to the brokers.
pub struct Sender {
    producer: FutureProducer<Quiet>,
    sizes: Sizes,
}

impl Sender {
    /// Connects, to send to `topics`.
    ///
    /// # Errors
    /// [`SetupError`]: a refused property, a missing topic, or no broker within 15 s.
    pub async fn start(settings: &Settings, topics: &[Arc<str>]) -> Result<Self, SetupError> {
        settings.refuse_owned()?;
        let sizes = Sizes::read(settings, topics).await?;
        let mut config = settings.sender(PATIENCE);
        sizes.configure(&mut config);
        let producer = config.create_with_context(Quiet)?;
        Ok(Self { producer, sizes })
    }

    /// Sends `record` and waits for its acknowledgement; says where it stands.
    ///
    /// # Errors
    /// [`Unsent`].
    pub async fn send(&self, record: &OutRecord) -> Result<Origin, Unsent> {
        let (bytes, limit) = (
            record_bytes(record),
            self.sizes.max_record_bytes(&record.topic),
        );
        if bytes > limit {
            return Err(Unsent::Refused {
                reason: format!("the record has {bytes} bytes, and its topic takes {limit}"),
            });
        }
        let out = FutureRecord {
            topic: &record.topic,
            partition: record.partition,
            payload: record.value.as_deref(),
            key: record.key.as_deref(),
            timestamp: None,
            headers: headers_of(record),
        };
        let sent = self.producer.send(out, Timeout::After(PATIENCE)).await;
        match sent {
            Ok(delivery) => Ok(Origin {
                lane: TopicPartition::new(Arc::clone(&record.topic), delivery.partition),
                offset: delivery.offset,
            }),
            // The topic's limit was lowered since it was asked for.
            Err((error, _))
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) =>
            {
                Err(Unsent::Refused {
                    reason: error.to_string(),
                })
            }
            Err((error, _)) => Err(Unsent::InDoubt {
                reason: error.to_string(),
            }),
        }
    }
}
