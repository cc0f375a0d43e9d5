//! What an error of the client means for an operator: the topic, the operation, and the cure.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::producer::{Extent, Failure};
use crate::record::TopicPartition;

/// Reading `lane` failed.
pub(super) fn reading(error: &KafkaError, lane: &TopicPartition) -> String {
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => not_allowed("READ", &lane.topic),
        _ => common(error, lane),
    }
}

/// The group does not give partitions.
pub(super) fn joining(code: Code, reason: &str) -> String {
    match code {
        Code::GroupAuthorizationFailed => {
            format!(
                "READ on the group kafka.groupId is not allowed: grant it to this worker's user ({reason})"
            )
        }
        Code::TopicAuthorizationFailed => {
            format!("a topic may not be read: grant READ on it to this worker's user ({reason})")
        }
        _ => format!("a topic does not exist: create it again ({reason})"),
    }
}

/// Asking for the ends of `lane` failed.
pub(super) fn asking(error: &KafkaError, lane: &TopicPartition) -> String {
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => not_allowed("DESCRIBE", &lane.topic),
        _ => common(error, lane),
    }
}

/// The bytes at a position are no records.
pub(super) fn damage(code: Code) -> Option<&'static str> {
    match code {
        Code::BadMessage => Some("a batch's checksum does not match its bytes"),
        Code::BadCompression => Some("a batch cannot be decompressed"),
        Code::NotImplemented => Some("a batch has a format or compression that is not known"),
        Code::InvalidMessage => Some("the broker finds a batch corrupt"),
        Code::InvalidMessageSize => Some("a batch has a size that cannot be"),
        _ => None,
    }
}

/// Publishing a record to `topic` failed.
pub(super) fn sending(error: &KafkaError, topic: &str) -> Failure {
    let code = error.rdkafka_error_code();
    let (extent, reason) = match code {
        Some(Code::TopicAuthorizationFailed) => (Extent::Topic, not_allowed("WRITE", topic)),
        Some(Code::ClusterAuthorizationFailed) => (Extent::Topic, not_idempotent()),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => (
            Extent::Topic,
            format!(
                "topic {topic} does not exist: create it, as `session-worker topics apply` does"
            ),
        ),
        Some(Code::InvalidTopic | Code::PolicyViolation | Code::UnsupportedForMessageFormat) => (
            Extent::Topic,
            format!("topic {topic} takes no records of this kind: {error}"),
        ),
        Some(Code::UnknownPartition) => (
            Extent::Record,
            format!("topic {topic} lacks the partition of a record: give it back its partitions"),
        ),
        Some(Code::InvalidRecord | Code::InvalidTimestamp) => (
            Extent::Record,
            format!(
                "topic {topic} takes a record for invalid: see that its cleanup.policy is delete, and \
                 its limits of timestamps are Kafka's own"
            ),
        ),
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => (
            Extent::Record,
            format!("a record is too large for topic {topic}: raise its max.message.bytes"),
        ),
        _ => (Extent::Producer, format!("{error} (topic {topic})")),
    };
    Failure {
        extent,
        reason,
        too_large: matches!(
            code,
            Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge)
        ),
    }
}

/// A producer takes no more records.
pub(super) fn dead_producer(code: Code, reason: &str) -> Failure {
    match code {
        Code::ClusterAuthorizationFailed => Failure::new(Extent::Topic, not_idempotent()),
        _ => Failure::new(Extent::Producer, reason),
    }
}

fn not_idempotent() -> String {
    "an idempotent producer is not allowed: grant WRITE on the output topics, or IDEMPOTENT_WRITE on \
     the cluster, to this worker's user"
        .to_owned()
}

pub(super) fn not_allowed(operation: &str, topic: &str) -> String {
    format!("{operation} on topic {topic} is not allowed: grant it to this worker's user")
}

fn common(error: &KafkaError, lane: &TopicPartition) -> String {
    let TopicPartition { topic, partition } = lane;
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            format!("partition {partition} of topic {topic} does not exist: create it again")
        }
        Some(
            Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::MessageTimedOut
            | Code::TimedOutQueue
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition,
        ) => format!(
            "the broker that leads {lane} does not answer: start it, or make its advertised listener \
             reachable from here"
        ),
        _ => format!("{lane}: {error}"),
    }
}
