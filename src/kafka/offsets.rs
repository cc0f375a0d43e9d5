//! Where partitions begin and end, for commands that show or move positions. Asks the brokers once
//! and keeps nothing; lanes ask through their own consumer.

use std::collections::BTreeMap;

use super::admin;
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
