//! Where partitions begin and end, and whether a record is left behind a position, for commands that
//! show or move positions. Asks the brokers once and keeps nothing; lanes ask through their own consumer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::Offset;

use super::admin::{self, Quiet};
use super::settings::{Settings, SetupError};
use crate::record::TopicPartition;

/// The first offset and the one after the last, of every partition of `topics` that exists.
///
/// # Errors
/// [`SetupError::Unavailable`] and refused properties.
pub async fn bounds(
    settings: &Settings,
    topics: &[&str],
) -> Result<BTreeMap<TopicPartition, (i64, i64)>, SetupError> {
    let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let brokers = settings.brokers.clone();
    admin::with_client(settings, move |client, _| {
        let unavailable = |error: rdkafka::error::KafkaError| SetupError::Unavailable {
            brokers: brokers.clone(),
            reason: error.to_string(),
        };
        let mut bounds = BTreeMap::new();
        let metadata = client
            .inner()
            .fetch_metadata(None, admin::TIMEOUT)
            .map_err(unavailable)?;
        let wanted = metadata
            .topics()
            .iter()
            .filter(|topic| topics.iter().any(|t| t == topic.name()));
        for topic in wanted {
            for partition in topic.partitions() {
                let lane = TopicPartition::new(topic.name(), partition.id());
                let found = client
                    .inner()
                    .fetch_watermarks(topic.name(), partition.id(), admin::TIMEOUT)
                    .map_err(unavailable)?;
                bounds.insert(lane, found);
            }
        }
        Ok(bounds)
    })
    .await
}

const POLL: Duration = Duration::from_millis(100);

/// Those of `positions` behind which no record is left, though their logs go on: with transaction
/// markers or aborted records. Reads one record of each of the others.
///
/// # Errors
/// [`SetupError::Unavailable`] and refused properties.
pub async fn without_records(
    settings: &Settings,
    positions: &BTreeMap<TopicPartition, i64>,
) -> Result<BTreeSet<TopicPartition>, SetupError> {
    settings.refuse_owned()?;
    let mut config = settings.reader();
    // Nothing of the records is used, and librdkafka's way of meeting a wrong checksum may be its end.
    config.set("check.crcs", "false");
    let (positions, brokers) = (positions.clone(), settings.brokers.clone());
    let found = tokio::task::spawn_blocking(move || {
        let mut found = BTreeSet::new();
        let topics: BTreeSet<_> = positions.keys().map(|lane| lane.topic.clone()).collect();
        for topic in topics {
            // The news of an end names the partition, and not its topic.
            let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet)?;
            let of_topic = positions.iter().filter(|(lane, _)| lane.topic == topic);
            let mut left: BTreeMap<i32, &TopicPartition> = BTreeMap::new();
            let mut wanted = TopicPartitionList::new();
            for (lane, next) in of_topic {
                wanted.add_partition_offset(&topic, lane.partition, Offset::Offset(*next))?;
                left.insert(lane.partition, lane);
            }
            consumer.assign(&wanted)?;
            let started = Instant::now();
            while !left.is_empty() {
                match consumer.poll(POLL) {
                    Some(Ok(record)) => drop(left.remove(&record.partition())),
                    Some(Err(KafkaError::PartitionEOF(partition))) => {
                        found.extend(left.remove(&partition).cloned());
                    }
                    // librdkafka goes on by itself.
                    Some(Err(_)) | None if started.elapsed() < admin::TIMEOUT => {}
                    Some(Err(_)) | None => {
                        return Err(SetupError::Unavailable {
                            brokers,
                            reason: format!("nothing of topic {topic} could be read"),
                        });
                    }
                }
            }
        }
        Ok(found)
    });
    found.await.map_err(|error| SetupError::Client {
        reason: error.to_string(),
    })?
}
