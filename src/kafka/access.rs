//! What the brokers let this worker's user do, found out without leaving a trace: reading at the end of
//! a partition, committing to a partition that does not exist, sending a record that is too large for
//! its topic. The brokers look at the permission first and refuse the rest, so nothing is ever written.

use std::fmt;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::topic_partition_list::Offset;

use super::admin::Quiet;
use super::settings::{Settings, SetupError};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the group's coordinator is looked for.
const COORDINATOR: Duration = Duration::from_secs(6);
const POLL: Duration = Duration::from_millis(100);
/// How much larger than its topic's limit a record is that asks for the permission to write.
const EXCESS: usize = 4_096;
/// Topics that take larger records than this are not asked: the brokers would end the connection.
const ASKED_MAX: usize = 32 << 20;

/// What is done with a resource, as the brokers' ACLs call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read records, or join a group.
    Read,
    /// Write records.
    Write,
    /// See a topic's partitions.
    Describe,
    /// See a topic's settings.
    DescribeConfigs,
    /// Write with sequence numbers.
    IdempotentWrite,
}

/// What an operation is done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The topic of this name.
    Topic(String),
    /// The consumer group of this name.
    Group(String),
    /// The cluster.
    Cluster,
}

/// One operation that the worker needs, and whether it may do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The operation.
    pub operation: Operation,
    /// With what.
    pub resource: Resource,
    /// The brokers' answer.
    pub answer: Answer,
}

/// Whether an operation is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is.
    Allowed,
    /// It is not.
    Denied,
    /// The brokers did not say; why.
    Unknown(String),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::Describe => "DESCRIBE",
            Self::DescribeConfigs => "DESCRIBE_CONFIGS",
            Self::IdempotentWrite => "IDEMPOTENT_WRITE",
        })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::Cluster => f.write_str("the cluster"),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// Topics that are read.
    pub read: Vec<String>,
    /// Topics that are written, each with its `max.message.bytes`, where that is known.
    pub written: Vec<(String, Option<usize>)>,
}

/// Asks the brokers. The topics have to exist.
///
/// # Errors
/// Refused properties.
pub async fn permissions(
    settings: &Settings,
    questions: Questions,
) -> Result<Vec<Permission>, SetupError> {
    settings.refuse_owned()?;
    let reads = questions.read.iter().map(|topic| read(settings, topic));
    let reads = join(join_all(reads), group(settings, &questions.read));
    let ((reads, group), writes) = join(reads, write(settings, &questions.written)).await;
    Ok([reads, vec![group], writes?].concat())
}

/// Fetches once at the end of a partition: the end is found, or the permission is missing.
async fn read(settings: &Settings, topic: &str) -> Permission {
    let mut config = settings.reader();
    config.set("auto.offset.reset", "latest");
    let name = topic.to_owned();
    let answer = blocking(move || {
        let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet)?;
        let mut end = TopicPartitionList::new();
        end.add_partition_offset(&name, 0, Offset::End)?;
        consumer.assign(&end)?;
        let mut last = no_answer();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match consumer.poll(POLL) {
                None => {}
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(Answer::Allowed),
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(Code::TopicAuthorizationFailed) => return Ok(Answer::Denied),
                    _ => last = error.to_string(),
                },
            }
        }
        Ok(Answer::Unknown(last))
    });
    Permission {
        operation: Operation::Read,
        resource: Resource::Topic(topic.to_owned()),
        answer: answer.await,
    }
}

/// Commits a position of a partition that no topic has: the brokers look at the group's permission
/// first, and then know no such partition.
async fn group(settings: &Settings, topics: &[String]) -> Permission {
    let mut config = settings.reader();
    // A commit waits for this long for the group's coordinator.
    config.set("session.timeout.ms", COORDINATOR.as_millis().to_string());
    let topic = topics.first().cloned();
    let answer = blocking(move || {
        let Some(topic) = topic else {
            return Ok(Answer::Unknown("no topic is readable".to_owned()));
        };
        let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet)?;
        let mut nowhere = TopicPartitionList::new();
        nowhere.add_partition_offset(&topic, i32::MAX, Offset::Offset(0))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the partition does not exist: no position is committed"
        )]
        let committed = consumer.commit(&nowhere, CommitMode::Sync);
        let Err(error) = committed else {
            return Ok(Answer::Allowed);
        };
        // Where not even the coordinator may be asked for, the reason waits in the client's queue.
        let queued = std::iter::from_fn(|| consumer.poll(POLL));
        let queued = queued.filter_map(|polled| polled.err()?.rdkafka_error_code());
        let codes: Vec<Code> = error
            .rdkafka_error_code()
            .into_iter()
            .chain(queued)
            .collect();
        Ok(if codes.contains(&Code::GroupAuthorizationFailed) {
            Answer::Denied
        } else if codes.iter().any(|code| REFUSED_BEHIND_GROUP.contains(code)) {
            Answer::Allowed
        } else {
            Answer::Unknown(error.to_string())
        })
    });
    Permission {
        operation: Operation::Read,
        resource: Resource::Group(settings.group_id.clone()),
        answer: answer.await,
    }
}

/// What the brokers say of a commit once they have found that the group may be read.
const REFUSED_BEHIND_GROUP: [Code; 6] = [
    Code::UnknownTopicOrPartition,
    Code::UnknownPartition,
    Code::TopicAuthorizationFailed,
    Code::UnknownMemberId,
    Code::IllegalGeneration,
    Code::RebalanceInProgress,
];

/// Sends each topic a record that is larger than it takes, and then one with a sequence number: for that
/// brokers before Kafka 3.0 ask for a permission of its own.
async fn write(
    settings: &Settings,
    topics: &[(String, Option<usize>)],
) -> Result<Vec<Permission>, SetupError> {
    let sizes = topics.iter().filter_map(|(_, limit)| *limit);
    let largest = sizes.filter(|limit| *limit <= ASKED_MAX).max().unwrap_or(0);
    let producer: FutureProducer<Quiet> =
        oversize(settings, largest, false).create_with_context(Quiet)?;
    let asked = topics.iter().map(async |(topic, limit)| Permission {
        operation: Operation::Write,
        resource: Resource::Topic(topic.clone()),
        answer: match limit {
            None => Answer::Unknown("its max.message.bytes cannot be read".to_owned()),
            Some(limit) if *limit > ASKED_MAX => Answer::Unknown(format!(
                "its max.message.bytes of {limit} is too large to try"
            )),
            Some(limit) => send(&producer, topic, *limit).await,
        },
    });
    let mut permissions = join_all(asked).await;
    let writable = permissions
        .iter()
        .zip(topics)
        .filter(|(permission, _)| permission.answer == Answer::Allowed)
        .filter_map(|(_, (topic, limit))| Some((topic, (*limit)?)))
        .min_by_key(|(_, limit)| *limit);
    let answer = match writable {
        None => Answer::Unknown("no topic is writable".to_owned()),
        Some((topic, limit)) => {
            let producer: FutureProducer<Quiet> =
                oversize(settings, limit, true).create_with_context(Quiet)?;
            let answer = send(&producer, topic, limit).await;
            // A client that gets no number to write with fails as a whole.
            match producer.client().fatal_error() {
                Some((Code::ClusterAuthorizationFailed, _)) => Answer::Denied,
                _ => answer,
            }
        }
    };
    permissions.push(Permission {
        operation: Operation::IdempotentWrite,
        resource: Resource::Cluster,
        answer,
    });
    Ok(permissions)
}

/// A producer that lets records of more than `limit` bytes pass, as they are.
fn oversize(settings: &Settings, limit: usize, idempotent: bool) -> ClientConfig {
    let mut config = settings.sender(PATIENCE);
    // Compressed, a record might be small enough to be taken.
    for alias in ["compression.codec", "compression.type", "compression.level"] {
        config.remove(alias);
    }
    let most = (limit + EXCESS) * 2;
    config
        .set("compression.codec", "none")
        .set("message.max.bytes", most.max(1_000_000).to_string())
        .set("queue.buffering.max.kbytes", "1048576")
        .set("batch.num.messages", "1")
        .set("enable.gapless.guarantee", "false")
        .set("enable.idempotence", idempotent.to_string());
    if !idempotent {
        // Else brokers look at the in-sync replicas before they look at the record.
        config.set("acks", "1");
    }
    config
}

/// Sends `topic` a record that is larger than its `limit`.
async fn send(producer: &FutureProducer<Quiet>, topic: &str, limit: usize) -> Answer {
    let bytes = incompressible(limit + EXCESS);
    let record = FutureRecord::<[u8], [u8]> {
        topic,
        partition: Some(0),
        payload: Some(&bytes),
        key: Some(b"session-worker check"),
        timestamp: None,
        headers: None,
    };
    let queued = match producer.send_result(record) {
        Ok(delivery) => delivery,
        Err((error, _)) => return denied_or_unknown(&error),
    };
    match tokio::time::timeout(PATIENCE, queued).await {
        Err(_) | Ok(Err(_)) => Answer::Unknown(no_answer()),
        Ok(Ok(Ok(delivery))) => Answer::Unknown(format!(
            "the brokers took a record of {} bytes over its max.message.bytes of {limit}: it stands in \
             partition {} at {}",
            bytes.len(),
            delivery.partition,
            delivery.offset
        )),
        Ok(Ok(Err((error, _)))) => match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge) => Answer::Allowed,
            _ => denied_or_unknown(&error),
        },
    }
}

fn denied_or_unknown(error: &KafkaError) -> Answer {
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => Answer::Denied,
        _ => Answer::Unknown(error.to_string()),
    }
}

/// Bytes that stay as many if a client or a broker compresses them.
fn incompressible(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

fn no_answer() -> String {
    "no answer".to_owned()
}

async fn blocking(work: impl FnOnce() -> KafkaResult<Answer> + Send + 'static) -> Answer {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer::Unknown(error.to_string()),
        Err(error) => Answer::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn brokers_that_ask_for_idempotent_write_are_told_from_those_that_do_not() {
        // As brokers before 3.0 answer.
        for (refusals, answer) in [(0, Answer::Allowed), (5, Answer::Denied)] {
            let cluster = MockCluster::new(1).expect("a cluster");
            cluster.create_topic("t", 1, 1).expect("a topic");
            let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
            cluster.request_errors(RDKafkaApiKey::Produce, &[too_large; 2]);
            let forbidden = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
            let refusals = vec![forbidden; refusals];
            if !refusals.is_empty() {
                cluster.request_errors(RDKafkaApiKey::InitProducerId, &refusals);
            }
            let settings = Settings {
                brokers: cluster.bootstrap_servers(),
                group_id: "g".to_owned(),
                properties: BTreeMap::new(),
            };
            let asked = write(&settings, &[("t".to_owned(), Some(1_000))]).await;
            let asked = asked.expect("the properties are right");
            let answers: Vec<_> = asked.into_iter().map(|asked| asked.answer).collect();
            assert_eq!(answers, [Answer::Allowed, answer]);
        }
    }

    #[test]
    fn a_record_that_asks_is_sent_as_it_is_whatever_compression_is_set() {
        let properties = [
            ("compression.codec", "zstd"),
            ("compression.type", "gzip"),
            ("queue.buffering.max.kbytes", "1"),
        ];
        let settings = Settings {
            brokers: "localhost:1".to_owned(),
            group_id: "g".to_owned(),
            properties: properties
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let config = oversize(&settings, 1 << 20, false);
        assert_eq!(config.get("compression.codec"), Some("none"));
        assert_eq!(config.get("compression.type"), None);
        let created: Result<FutureProducer<Quiet>, _> = config.create_with_context(Quiet);
        assert!(created.is_ok(), "{:?}", created.err());
    }
}
