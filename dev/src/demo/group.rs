//! Who reads which input partition and how far behind, as the broker tells any client: the consumer
//! group's members, its committed offsets and the logs' ends. Knows nothing of the worker but the name
//! of its group. What the broker does not say in time is unknown until it is asked again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const BOUND: Duration = Duration::from_secs(5);

/// An input topic and one of its partitions.
pub(super) type Lane = (String, i32);

/// A client that looks at one consumer group, and never joins it.
pub(super) struct Group {
    client: BaseConsumer,
    name: String,
    lanes: Vec<Lane>,
}

/// What the broker said at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// The client id of each lane's owner.
    pub(super) owners: BTreeMap<Lane, String>,
    /// Records behind the log's end.
    pub(super) lags: BTreeMap<Lane, u64>,
}

impl Group {
    /// Looks at a group that reads these topics. Blocks.
    pub(super) fn new(brokers: &str, name: &str, topics: &[String]) -> anyhow::Result<Self> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", name)
            .set("enable.auto.commit", "false")
            .create()
            .context("make a client for the consumer group")?;
        let mut lanes = Vec::new();
        for topic in topics {
            let metadata = client.fetch_metadata(Some(topic), BOUND)?;
            let partitions = metadata
                .topics()
                .iter()
                .flat_map(|known| known.partitions());
            lanes.extend(partitions.map(|partition| (topic.clone(), partition.id())));
        }
        lanes.sort();
        Ok(Self {
            client,
            name: name.to_owned(),
            lanes,
        })
    }

    pub(super) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Asks who owns what. Blocks.
    pub(super) fn owners(&self) -> anyhow::Result<BTreeMap<Lane, String>> {
        let groups = self.client.fetch_group_list(Some(&self.name), BOUND)?;
        let members = groups.groups().iter().flat_map(|group| group.members());
        let mut owners = BTreeMap::new();
        for member in members {
            for lane in assigned(member.assignment().unwrap_or_default()) {
                owners.insert(lane, member.client_id().to_owned());
            }
        }
        Ok(owners)
    }

    /// Asks for everything. Blocks.
    pub(super) fn standing(&self) -> anyhow::Result<Standing> {
        let owners = self.owners()?;
        let mut asked = TopicPartitionList::new();
        for (topic, partition) in &self.lanes {
            asked.add_partition(topic, *partition);
        }
        let committed = self.client.committed_offsets(asked, BOUND)?;
        let mut lags = BTreeMap::new();
        for element in committed.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let (first, end) = self.client.fetch_watermarks(topic, partition, BOUND)?;
            let next = match element.offset() {
                Offset::Offset(next) => next,
                // Nothing was decided there yet.
                _ => first,
            };
            let lag = u64::try_from(end - next).unwrap_or(0);
            lags.insert((topic.to_owned(), partition), lag);
        }
        Ok(Standing { owners, lags })
    }
}

/// Reads the consumer protocol's assignment: version, then topics with their partitions.
fn assigned(bytes: &[u8]) -> Vec<Lane> {
    fn take<'bytes>(bytes: &mut &'bytes [u8], count: usize) -> Option<&'bytes [u8]> {
        let (head, rest) = bytes.split_at_checked(count)?;
        *bytes = rest;
        Some(head)
    }
    let read = |mut bytes: &[u8]| {
        let rest = &mut bytes;
        take(rest, 2)?;
        let mut found = Vec::new();
        for _ in 0..i32::from_be_bytes(take(rest, 4)?.try_into().ok()?) {
            let length = i16::from_be_bytes(take(rest, 2)?.try_into().ok()?);
            let topic = take(rest, usize::try_from(length).ok()?)?;
            let topic = String::from_utf8_lossy(topic).into_owned();
            for _ in 0..i32::from_be_bytes(take(rest, 4)?.try_into().ok()?) {
                let partition = i32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
                found.push((topic.clone(), partition));
            }
        }
        Some(found)
    };
    read(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_anything_else_is_none() {
        let mut bytes = vec![0, 1, 0, 0, 0, 2];
        bytes.extend(b"\0\x02in\0\0\0\x02\0\0\0\0\0\0\0\x07");
        bytes.extend(b"\0\x05other\0\0\0\x01\0\0\0\x03");
        let lanes = [("in", 0), ("in", 7), ("other", 3)];
        let lanes = lanes.map(|(topic, partition)| (topic.to_owned(), partition));
        assert_eq!(assigned(&bytes), lanes);
        for length in 0..bytes.len() {
            assert_eq!(assigned(&bytes[..length]), []);
        }
        assert_eq!(assigned(&[0xff; 64]), []);
    }
}
