//! Following a topic from its beginning for as long as somebody listens, for commands that wait for
//! what is published: without a group and without a position that is kept.

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use super::admin::Quiet;
use super::consumer::to_record;
use super::settings::{Settings, SetupError};
use crate::record::{Record, TopicPartition};

/// Every record of a topic, as it comes.
pub struct Tail {
    consumer: StreamConsumer<Quiet>,
}

impl Tail {
    /// Follows all of the `partitions` of `topic`.
    ///
    /// # Errors
    /// Refused properties.
    pub fn start(settings: &Settings, topic: &str, partitions: i32) -> Result<Self, SetupError> {
        settings.refuse_owned()?;
        let consumer: StreamConsumer<Quiet> = settings.reader().create_with_context(Quiet)?;
        let mut wanted = TopicPartitionList::new();
        for partition in 0..partitions {
            wanted.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&wanted)?;
        Ok(Self { consumer })
    }

    /// The next record; waits through faults, as librdkafka does.
    pub async fn next(&self) -> Record {
        loop {
            match self.consumer.recv().await {
                Ok(message) => {
                    use rdkafka::Message as _;
                    let lane = TopicPartition::new(message.topic(), message.partition());
                    return to_record(&lane, &message);
                }
                // The end for the moment.
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => tracing::debug!(error = %error, "the brokers are waited for"),
            }
        }
    }
}
