//! Dead letters read back and sent again: nothing of the original is lost, nothing of ours goes along,
//! and the count of replays survives another death.

use super::support::*;
use crate::record::{Header, OutRecord, TopicPartition};
use crate::wire::*;

const UNREADABLE: &[u8] = b"\xff\x00";

/// `record` dead, as it stands in the topic.
fn dead(record: &Record, reason: &DeadLetterReason, offset: i64) -> Record {
    let OutRecord {
        topic,
        key,
        value,
        headers,
        ..
    } = codec().0.dead_letter(record, reason, "session-worker", NOW);
    Record {
        lane: TopicPartition::new(topic, 0),
        offset,
        timestamp: Some(NOW.0),
        key,
        value,
        headers,
    }
}

fn poison() -> DeadLetterReason {
    DeadLetterReason::Poison(Poison::Undecodable {
        reason: "why".to_owned(),
    })
}

fn original(headers: Vec<Header>) -> Record {
    Record {
        headers,
        ..record("session-command", UNREADABLE)
    }
}

/// What a replay arrives as.
fn arrived(out: OutRecord, offset: i64) -> Record {
    Record {
        lane: TopicPartition::new(out.topic, 3),
        offset,
        timestamp: Some(NOW.0),
        key: out.key,
        value: out.value,
        headers: out.headers,
    }
}

fn text(name: &str, value: &str) -> Header {
    (name.to_owned(), Some(value.as_bytes().to_vec()))
}

#[test]
fn a_letter_reads_back_what_the_contract_says_of_it() {
    let original = original(vec![text("mine", "kept"), ("none".to_owned(), None)]);
    let letter = Letter::read(dead(&original, &poison(), 9)).expect("a dead letter");
    assert_eq!(letter.place.to_string(), "session-dead-letter/0/9");
    assert_eq!(letter.origin, original.origin());
    assert_eq!(
        (letter.reason.as_str(), letter.message.as_str()),
        ("undecodable", "why")
    );
    assert_eq!(letter.sent_at, original.timestamp);
    assert_eq!(
        letter.failed_at.as_deref(),
        Some("2025-12-22T11:20:00.000Z")
    );
    assert_eq!((letter.replays, letter.replay_of.clone()), (0, None));
    assert_eq!(letter.original(), original);
    assert_eq!(letter.reasons.len(), 12);
}

#[test]
fn a_replay_has_the_original_and_one_more_replay_counted() {
    let sent = original(vec![text("mine", "kept"), ("none".to_owned(), None)]);
    let letter = Letter::read(dead(&sent, &poison(), 9)).expect("a dead letter");
    let again = letter.replay().expect("it is whole");
    assert_eq!((&*again.topic, again.partition), ("session-command", None));
    assert_eq!((&again.key, &again.value), (&sent.key, &sent.value));
    assert_eq!(
        again.headers,
        [
            text("sw-replay-count", "1"),
            text("sw-replay-of", "session-dead-letter/0/9"),
            text("mine", "kept"),
            ("none".to_owned(), None),
        ]
    );
}

#[test]
fn the_count_survives_another_death_even_among_headers_that_do_not_fit() {
    let large = ("large".to_owned(), Some(vec![0; 600 * 1024]));
    let sent = original(vec![large]);
    let letter = Letter::read(dead(&sent, &poison(), 9)).expect("a dead letter");
    assert_eq!(letter.headers_dropped, Some(1));
    let again = arrived(letter.replay().expect("it is whole"), 5);
    let filler: Vec<Header> = (0..600)
        .map(|number| (format!("filler-{number}"), Some(vec![0; 1000])))
        .collect();
    let again = Record {
        headers: [again.headers.clone(), filler].concat(),
        ..again
    };
    let letter = Letter::read(dead(&again, &poison(), 10)).expect("a dead letter");
    assert_eq!(letter.replays, 1);
    let of = letter.replay_of.as_ref().expect("it says so");
    assert_eq!(of.to_string(), "session-dead-letter/0/9");
    let third = letter.replay().expect("it is whole");
    let counts: Vec<_> = third
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("sw-replay"))
        .collect();
    assert_eq!(
        counts,
        [
            &text("sw-replay-count", "2"),
            &text("sw-replay-of", "session-dead-letter/0/10")
        ]
    );
}

#[test]
fn a_count_that_is_no_count_begins_anew() {
    for count in ["", "-1", "many", "99999999999"] {
        let sent = original(vec![text("sw-replay-count", count)]);
        let letter = Letter::read(dead(&sent, &poison(), 9)).expect("a dead letter");
        assert_eq!(letter.replays, 0, "{count}");
        let again = letter.replay().expect("it is whole");
        assert_eq!(again.headers[0], text("sw-replay-count", "1"));
    }
}

#[test]
fn what_was_cut_is_not_sent_again() {
    let large = Record {
        value: Some(vec![1; 1024 * 1024 + 1]),
        ..original(Vec::new())
    };
    let long_key = Record {
        key: Some(vec![b'k'; 256 * 1024 + 1]),
        ..original(Vec::new())
    };
    for (record, value, key) in [
        (large, Some(1_048_577), None),
        (long_key, None, Some(262_145)),
    ] {
        let letter = Letter::read(dead(&record, &poison(), 9)).expect("a dead letter");
        assert_eq!((letter.value_size, letter.key_size), (value, key));
        assert_eq!(letter.replay(), Err(Unreplayable::Cut));
    }
}

#[test]
fn a_forwards_header_stays_behind() {
    let sent = original(vec![
        text("sw-forward", "match-found/1/2/1"),
        text("mine", "kept"),
    ]);
    let letter = Letter::read(dead(&sent, &DeadLetterReason::Bug, 9)).expect("a dead letter");
    assert!(letter.was_forwarded());
    let again = letter.replay().expect("it is whole");
    assert!(again.headers.iter().all(|(name, _)| name != "sw-forward"));
    assert!(again.headers.contains(&text("mine", "kept")));
}

#[test]
fn a_record_that_says_nothing_of_its_death_is_no_letter() {
    let whole = dead(&original(Vec::new()), &poison(), 9);
    assert!(Letter::read(original(Vec::new())).is_none());
    for missing in ["dlq-reason", "dlq-topic", "dlq-partition", "dlq-offset"] {
        let mut less = whole.clone();
        less.headers.retain(|(name, _)| name != missing);
        assert!(Letter::read(less).is_none(), "{missing}");
    }
}
