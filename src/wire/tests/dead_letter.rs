//! Dead letters: everything the contract names, within what the topic takes.

use super::support::*;
use crate::record::{Header, OutRecord, TopicPartition};
use crate::wire::*;

/// `max.message.bytes` of `session-dead-letter`.
const TOPIC_TAKES: usize = 2 * 1024 * 1024;

fn dead(record: &Record, reason: &DeadLetterReason) -> OutRecord {
    codec().0.dead_letter(record, reason, "session-worker", NOW)
}

fn header(record: &OutRecord, name: &str) -> Option<Vec<u8>> {
    let mut found = record.headers.iter().filter(|(n, _)| n == name);
    let value = found.next_back().and_then(|(_, value)| value.clone());
    assert!(found.next().is_none(), "{name} stands once");
    value
}

#[test]
fn a_dead_letter_has_the_original_and_every_header_of_the_contract() {
    let poison = Poison::Undecodable {
        reason: "why".to_owned(),
    };
    let mut original = record("match-found", framed(77, b"\x01\x02"));
    original.headers = vec![
        ("correlation-id".to_owned(), Some(b"req-7".to_vec())),
        ("n".to_owned(), None),
    ];
    let dead = dead(&original, &DeadLetterReason::Poison(poison));
    assert_eq!(&*dead.topic, "session-dead-letter");
    assert_eq!((&dead.key, &dead.value), (&original.key, &original.value));
    let text = |name: &str, value: &str| header::text(name, value);
    let bytes = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    let expected: Vec<Header> = vec![
        text("correlation-id", "req-7"),
        ("n".to_owned(), None),
        text("dlq-reason", "undecodable"),
        text("dlq-message", "why"),
        text("dlq-topic", "match-found"),
        text("dlq-partition", "3"),
        text("dlq-offset", "1201"),
        text("dlq-timestamp", "1766402399000"),
        text("dlq-group", "session-worker"),
        text("dlq-failed-at", "2025-12-22T11:20:00.000Z"),
        text("dlq-schema-id", "77"),
        text("kafka_dlt-original-topic", "match-found"),
        bytes("kafka_dlt-original-partition", &[0, 0, 0, 3]),
        bytes("kafka_dlt-original-offset", &[0, 0, 0, 0, 0, 0, 4, 177]),
        bytes(
            "kafka_dlt-original-timestamp",
            &1_766_402_399_000_i64.to_be_bytes(),
        ),
    ];
    assert_eq!(dead.headers, expected);
}

#[test]
fn every_reason_has_the_contracts_name() {
    let poison = |poison| DeadLetterReason::Poison(poison);
    let original = record("session-command", "x");
    for (reason, name, message) in [
        (
            poison(Poison::Undecodable {
                reason: "why".to_owned(),
            }),
            "undecodable",
            "why",
        ),
        (
            poison(Poison::UnknownSchema { id: 5 }),
            "unknown_schema",
            "schema id 5 is not registered under the topic's subject",
        ),
        (
            poison(Poison::TooLarge { size: 70_000 }),
            "too_large",
            "the value has 70000 bytes, more than 65536",
        ),
        (
            DeadLetterReason::Forbidden,
            "forbidden",
            "an AdmitMatch that the worker did not send home itself",
        ),
        (
            DeadLetterReason::Bug,
            "bug",
            "the worker fails on this message, see its log",
        ),
    ] {
        let dead = dead(&original, &reason);
        assert_eq!(header(&dead, "dlq-reason"), Some(name.into()));
        assert_eq!(header(&dead, "dlq-message"), Some(message.into()));
        assert_eq!(header(&dead, "dlq-schema-id"), None);
    }
}

#[test]
fn a_record_without_key_value_and_timestamp_keeps_being_one() {
    let original = Record {
        key: None,
        value: None,
        timestamp: None,
        ..record("match-found", "")
    };
    let dead = dead(&original, &DeadLetterReason::Bug);
    assert_eq!((&dead.key, &dead.value), (&None, &None));
    assert_eq!(header(&dead, "dlq-timestamp"), Some(b"-1".to_vec()));
    assert_eq!(
        header(&dead, "kafka_dlt-original-timestamp"),
        Some(vec![0xff; 8])
    );
    assert_eq!(header(&dead, "dlq-truncated"), None);
}

#[test]
fn a_value_beyond_1_mib_is_cut_and_says_its_size() {
    let mebibyte = 1024 * 1024;
    let reason = DeadLetterReason::Poison(Poison::TooLarge { size: mebibyte });
    let whole = dead(&record("match-found", vec![7; mebibyte]), &reason);
    assert_eq!(whole.value.as_ref().map(Vec::len), Some(mebibyte));
    assert_eq!(header(&whole, "dlq-truncated"), None);
    let cut = dead(&record("match-found", vec![7; mebibyte + 1]), &reason);
    assert_eq!(cut.value, Some(vec![7; mebibyte]));
    assert_eq!(header(&cut, "dlq-truncated"), Some(b"1048577".to_vec()));
}

#[test]
fn whatever_the_record_its_dead_letter_fits_the_topic() {
    let huge = 3 * 1024 * 1024;
    let headers = |count: usize, size: usize| -> Vec<Header> {
        (0..count)
            .map(|n| (format!("h{n}"), Some(vec![b'x'; size])))
            .collect()
    };
    for (key, headers, dropped) in [
        (huge, Vec::new(), None),
        (0, headers(1, huge), Some("1")),
        (huge, headers(100, 10_000), Some("48")),
        (0, headers(100_000, 0), Some("66538")),
    ] {
        let original = Record {
            lane: TopicPartition::new("t".repeat(249), i32::MAX),
            key: Some(vec![b'k'; key]),
            headers,
            ..record("match-found", vec![0; huge])
        };
        let reason = Poison::Undecodable {
            reason: "é".repeat(5000),
        };
        let dead = dead(&original, &DeadLetterReason::Poison(reason));
        // A header costs two lengths on top.
        assert!(
            dead.size() + 10 * dead.headers.len() < TOPIC_TAKES - 64 * 1024,
            "{}",
            dead.size()
        );
        assert_eq!(
            header(&dead, "dlq-headers-dropped"),
            dropped.map(Into::into)
        );
        let cut = (key > 0).then(|| huge.to_string().into_bytes());
        assert_eq!(header(&dead, "dlq-key-truncated"), cut);
        assert_eq!(
            header(&dead, "dlq-message").map(|message| message.len()),
            Some(1024)
        );
        assert_eq!(
            header(&dead, "dlq-truncated"),
            Some(huge.to_string().into_bytes())
        );
    }
}

#[test]
fn a_small_header_is_kept_behind_a_huge_one() {
    let mut original = record("match-found", "x");
    original.headers = vec![
        ("huge".to_owned(), Some(vec![0; 1024 * 1024])),
        ("correlation-id".to_owned(), Some(b"req-7".to_vec())),
    ];
    let dead = dead(&original, &DeadLetterReason::Bug);
    assert_eq!(header(&dead, "correlation-id"), Some(b"req-7".to_vec()));
    assert_eq!(header(&dead, "huge"), None);
}
