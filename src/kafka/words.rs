//! What an error of the client means for an operator: the topic, the operation, and the cure.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::record::TopicPartition;

/// Reading `lane` failed.
pub(super) fn reading(error: &KafkaError, lane: &TopicPartition) -> String {
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => not_allowed("READ", &lane.topic),
        _ => common(error, lane),
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
