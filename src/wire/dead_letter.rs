//! A dead letter: the record as it came beside why it can never succeed (contract 1, Dead letters),
//! within the 2 MiB that its topic takes, whatever the record's size.

use super::header::{rfc3339, text};
use super::{DeadLetterReason, Poison, frame_id};
use crate::domain::Timestamp;
use crate::record::{Header, OutRecord, Record};

/// The bytes of the original value that are kept.
const MAX_VALUE: usize = 1024 * 1024;
/// The bytes of the original key that are kept. With the value's, the other headers' and ours they
/// leave the record well under 2 MiB.
const MAX_KEY: usize = 256 * 1024;
/// The bytes of the original headers that are kept, with what the protocol adds to each.
const MAX_HEADERS: usize = 512 * 1024;
/// What the protocol adds to a header at most: two lengths.
const HEADER_OVERHEAD: usize = 10;
/// The bytes of `dlq-message` that are kept.
const MAX_MESSAGE: usize = 1024;

impl DeadLetterReason {
    /// The value of `dlq-reason`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Poison(Poison::Undecodable { .. }) => "undecodable",
            Self::Poison(Poison::UnknownSchema { .. }) => "unknown_schema",
            Self::Poison(Poison::TooLarge { .. }) => "too_large",
            Self::Forbidden => "forbidden",
            Self::Bug => "bug",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Poison(poison) => poison.to_string(),
            Self::Forbidden => "an AdmitMatch that the worker did not send home itself".to_owned(),
            Self::Bug => "the worker fails on this message, see its log".to_owned(),
        }
    }
}

/// `record` as a dead letter on `topic`. A timestamp that Kafka does not have is -1, as in Kafka.
pub(super) fn dead_letter(
    topic: &std::sync::Arc<str>,
    record: &Record,
    reason: &DeadLetterReason,
    group: &str,
    failed_at: Timestamp,
) -> OutRecord {
    let (mut headers, dropped) = kept(&record.headers);
    let lane = &record.lane;
    let timestamp = record.timestamp.unwrap_or(-1);
    headers.extend([
        text("dlq-reason", reason.as_str()),
        text("dlq-message", cut_text(reason.message(), MAX_MESSAGE)),
        text("dlq-topic", &*lane.topic),
        text("dlq-partition", lane.partition.to_string()),
        text("dlq-offset", record.offset.to_string()),
        text("dlq-timestamp", timestamp.to_string()),
        text("dlq-group", group),
        text("dlq-failed-at", rfc3339(failed_at)),
    ]);
    if let Some(id) = record.value.as_deref().and_then(frame_id) {
        headers.push(text("dlq-schema-id", id.to_string()));
    }
    let bytes = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    headers.extend([
        text("kafka_dlt-original-topic", &*lane.topic),
        bytes(
            "kafka_dlt-original-partition",
            &lane.partition.to_be_bytes(),
        ),
        bytes("kafka_dlt-original-offset", &record.offset.to_be_bytes()),
        bytes("kafka_dlt-original-timestamp", &timestamp.to_be_bytes()),
    ]);
    let (value, value_size) = cut(record.value.as_deref(), MAX_VALUE);
    let (key, key_size) = cut(record.key.as_deref(), MAX_KEY);
    let cuts = [
        ("dlq-truncated", value_size),
        ("dlq-key-truncated", key_size),
        ("dlq-headers-dropped", dropped),
    ];
    headers.extend(
        cuts.into_iter()
            .filter_map(|(name, size)| Some(text(name, size?.to_string()))),
    );
    OutRecord {
        topic: topic.clone(),
        partition: None,
        key,
        value,
        headers,
    }
}

/// The original headers in order as far as they fit, and how many do not.
fn kept(headers: &[Header]) -> (Vec<Header>, Option<usize>) {
    let mut room = MAX_HEADERS;
    let mut fits = |(name, value): &&Header| {
        let size = name.len() + value.as_ref().map_or(0, Vec::len) + HEADER_OVERHEAD;
        let left = room.checked_sub(size);
        room = left.unwrap_or(room);
        left.is_some()
    };
    let kept: Vec<_> = headers
        .iter()
        .filter(|header| fits(header))
        .cloned()
        .collect();
    let dropped = headers.len() - kept.len();
    (kept, (dropped > 0).then_some(dropped))
}

/// The first `max` bytes, and the whole size where there are more.
fn cut(bytes: Option<&[u8]>, max: usize) -> (Option<Vec<u8>>, Option<usize>) {
    match bytes {
        Some(bytes) if bytes.len() > max => (Some(bytes[..max].to_vec()), Some(bytes.len())),
        _ => (bytes.map(<[u8]>::to_vec), None),
    }
}

fn cut_text(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}
