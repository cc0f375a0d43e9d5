//! What Kafka delivers and takes, as plain values: the vocabulary that `kafka`, `wire`, `store` and
//! `lane` share. It knows no client library, no schema and no rule, and cannot fail.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One input partition, and so the name of one lane: `topic/partition`, without the group's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic as it is called in the broker (after `topics.<name>` renames).
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Where a record was first read: the identity that survives forwarding and every redelivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The partition the record was sent to.
    pub lane: TopicPartition,
    /// Its offset there.
    pub offset: i64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.lane, self.offset)
    }
}

/// The text was not `topic/partition/offset`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin reads topic/partition/offset")]
pub struct MalformedOrigin;

impl FromStr for Origin {
    type Err = MalformedOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.rsplitn(3, '/');
        let (offset, partition, topic) = (parts.next(), parts.next(), parts.next());
        match (topic, partition.map(str::parse), offset.map(str::parse)) {
            (Some(topic), Some(Ok(partition)), Some(Ok(offset)))
                if !topic.is_empty() && partition >= 0 && offset >= 0 =>
            {
                Ok(Self {
                    lane: TopicPartition::new(topic, partition),
                    offset,
                })
            }
            _ => Err(MalformedOrigin),
        }
    }
}

/// The topics as they are called in the broker (after `topics.<name>` renames).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNames {
    /// `match-found`
    pub match_found: Arc<str>,
    /// `session-command`
    pub session_command: Arc<str>,
    /// `session-event`
    pub session_event: Arc<str>,
    /// `session-command-result`
    pub session_command_result: Arc<str>,
    /// `session-dead-letter`
    pub session_dead_letter: Arc<str>,
}

impl Default for TopicNames {
    fn default() -> Self {
        Self {
            match_found: "match-found".into(),
            session_command: "session-command".into(),
            session_event: "session-event".into(),
            session_command_result: "session-command-result".into(),
            session_dead_letter: "session-dead-letter".into(),
        }
    }
}

/// A header: its name and its bytes (`None` is Kafka's null value).
pub type Header = (String, Option<Vec<u8>>);

/// A raw record as Kafka delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The partition it was read from.
    pub lane: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// The broker's or sender's timestamp, milliseconds since the epoch; `None` where Kafka has none.
    pub timestamp: Option<i64>,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers, in order, repeats kept.
    pub headers: Vec<Header>,
}

impl Record {
    /// The record's own place in the log.
    pub fn origin(&self) -> Origin {
        Origin {
            lane: self.lane.clone(),
            offset: self.offset,
        }
    }

    /// The last header called `name`, if its value is not null.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .and_then(|(_, v)| v.as_deref())
    }

    /// The bytes this record occupies in a batch: key, value and headers.
    pub fn size(&self) -> usize {
        size(self.key.as_deref(), self.value.as_deref(), &self.headers)
    }
}

/// A record to publish, complete: a redelivery after a crash repeats exactly these bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutRecord {
    /// The topic as it is called in the broker.
    pub topic: Arc<str>,
    /// The partition to write to, where it is not the partitioner's choice (forwarding).
    pub partition: Option<i32>,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<Header>,
}

impl OutRecord {
    /// The bytes this record occupies in an outbox document: key, value and headers.
    pub fn size(&self) -> usize {
        size(self.key.as_deref(), self.value.as_deref(), &self.headers)
    }
}

fn size(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> usize {
    let headers: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len))
        .sum();
    key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_reads_back_what_it_shows() {
        let origin = Origin {
            lane: TopicPartition::new("match-found", 3),
            offset: 1201,
        };
        assert_eq!(origin.to_string().parse(), Ok(origin));
    }

    #[test]
    fn a_malformed_origin_is_refused() {
        for text in [
            "", "a", "a/1", "/1/2", "a/-1/2", "a/1/-2", "a/x/2", "a/1/2x",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(MalformedOrigin), "{text}");
        }
    }
}
