//! Where partitions begin and end, and whether a record is left behind a position, for commands that
//! show or move positions. Asks the brokers once and keeps nothing; lanes ask through their own consumer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientConfig, TopicPartitionList};

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

/// How long the partitions are read for [`at_the_end`].
const READ_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// Those of `positions` behind which no committed record stands, though the log may go on there with
/// markers of transactions and aborted records. Reads up to the first record of each.
///
/// # Errors
/// Refused properties.
pub async fn at_the_end(
    settings: &Settings,
    positions: BTreeMap<TopicPartition, i64>,
) -> Result<BTreeSet<TopicPartition>, SetupError> {
    settings.refuse_owned()?;
    // An end is reported by its partition's number alone, so each topic has a client of its own.
    let mut topics: BTreeMap<Arc<str>, BTreeMap<i32, i64>> = BTreeMap::new();
    for (lane, next) in positions {
        let partitions = topics.entry(Arc::clone(&lane.topic)).or_default();
        partitions.insert(lane.partition, next);
    }
    let reads = topics.into_iter().map(|(topic, positions)| {
        let mut config = settings.reader();
        // Nothing of the records is used, and librdkafka may die of a wrong checksum.
        config.set("check.crcs", "false");
        tokio::task::spawn_blocking(move || ends_of(&config, &topic, positions))
    });
    let mut ends = BTreeSet::new();
    for read in join_all(reads).await {
        let read = read.map_err(|error| SetupError::Client {
            reason: error.to_string(),
        });
        ends.extend(read??);
    }
    Ok(ends)
}

fn ends_of(
    config: &ClientConfig,
    topic: &Arc<str>,
    mut positions: BTreeMap<i32, i64>,
) -> Result<BTreeSet<TopicPartition>, SetupError> {
    let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet)?;
    let mut wanted = TopicPartitionList::new();
    for (partition, next) in &positions {
        wanted.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
    }
    consumer.assign(&wanted)?;
    let mut ends = BTreeSet::new();
    let began = Instant::now();
    while !positions.is_empty() && began.elapsed() < READ_WITHIN {
        match consumer.poll(POLL) {
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                if positions.remove(&partition).is_some() {
                    ends.insert(TopicPartition::new(Arc::clone(topic), partition));
                }
            }
            Some(Ok(message)) => {
                // A record waits; the others of this partition need not be fetched.
                if positions.remove(&message.partition()).is_some() {
                    let mut done = TopicPartitionList::new();
                    done.add_partition(topic, message.partition());
                    consumer.incremental_unassign(&done)?;
                }
            }
            // What cannot be read waits.
            Some(Err(_)) | None => {}
        }
    }
    Ok(ends)
}
