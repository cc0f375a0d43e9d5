//! Headers and keys of what goes out, and what of an input's headers counts.

use super::support::*;
use crate::domain::Timestamp;
use crate::record::{Header, Origin, TopicNames, TopicPartition};
use crate::wire::header::rfc3339;
use crate::wire::*;

fn headers(list: &[(&str, &str)]) -> Vec<Header> {
    list.iter()
        .map(|(name, value)| header::text(name, *value))
        .collect()
}

fn traced() -> Passthrough {
    Passthrough {
        traceparent: Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec()),
        tracestate: Some(b"vendor=1".to_vec()),
        correlation_id: Some(b"req-7".to_vec()),
    }
}

#[test]
fn an_event_is_keyed_by_its_session_and_headed_as_a_cloud_event() {
    let (codec, _) = codec();
    let event = codec.event(&a_join(), Some(&traced()));
    assert_eq!(&*event.topic, "session-event");
    assert_eq!(event.partition, None);
    assert_eq!(event.key.as_deref(), Some(session_id().as_str().as_bytes()));
    let event_id = session_id().event_id(2);
    let expected = headers(&[
        ("content-type", "application/avro"),
        ("ce_specversion", "1.0"),
        ("ce_id", &event_id),
        ("ce_source", "session-worker"),
        ("ce_type", "participant.joined"),
        ("ce_time", "2025-12-22T11:20:00.000Z"),
        ("ce_subject", session_id().as_str()),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("tracestate", "vendor=1"),
        ("correlation-id", "req-7"),
    ]);
    assert_eq!(event.headers, expected);
    assert_eq!(
        codec.event(&a_join(), None).headers,
        expected[..7],
        "a timer's has no trace"
    );
}

#[test]
fn a_result_is_keyed_by_its_command_or_match_and_headed_as_a_cloud_event() {
    let (codec, _) = codec();
    let result = codec.result(&an_acceptance(), &traced());
    assert_eq!(&*result.topic, "session-command-result");
    assert_eq!(result.key.as_deref(), Some(&b"c-1"[..]));
    for (name, value) in [
        ("ce_id", "c-1"),
        ("ce_type", "session.command.result"),
        ("ce_time", "2025-12-22T11:20:00.000Z"),
        ("ce_subject", session_id().as_str()),
        ("correlation-id", "req-7"),
    ] {
        assert_eq!(header_text(&result, name), Some(value));
    }
    let result = codec.result(&a_rejected_match(), &Passthrough::default());
    assert_eq!(result.key.as_deref(), Some(&b"m-1"[..]));
    assert_eq!(
        header_text(&result, "ce_subject"),
        None,
        "no session is concerned"
    );
    assert_eq!(result.headers.len(), 6);
}

#[test]
fn outputs_go_to_renamed_topics() {
    let topics = TopicNames {
        match_found: "a".into(),
        session_command: "b".into(),
        session_event: "c".into(),
        session_command_result: "d".into(),
        session_dead_letter: "e".into(),
    };
    let codec = Codec::new(topics, IDS, std::sync::Arc::new(MemoryRegistry::default()));
    let value = record(
        "b",
        command_json(&a_command(actions().remove(1))).to_string(),
    );
    let decoded = decode(&codec, &value).expect("it decodes");
    let forward = codec.forward(&value, &decoded, &session_id(), 1, &value.origin(), 1);
    let dead = codec.dead_letter(&value, &DeadLetterReason::Bug, "g", NOW);
    assert_eq!(&*codec.event(&a_join(), None).topic, "c");
    assert_eq!(&*codec.result(&an_acceptance(), &traced()).topic, "d");
    assert_eq!((&*forward.topic, &*dead.topic), ("b", "e"));
}

#[test]
fn what_comes_back_is_the_last_of_each_header_without_nulls_and_of_bounded_length() {
    let list = headers(&[
        ("correlation-id", "first"),
        ("traceparent", "tp"),
        ("correlation-id", "last"),
        ("Traceparent", "names are case-sensitive"),
    ]);
    let found = Passthrough::of(&Record {
        headers: list,
        ..record("match-found", "")
    });
    assert_eq!(found.correlation_id.as_deref(), Some(&b"last"[..]));
    assert_eq!(found.traceparent.as_deref(), Some(&b"tp"[..]));
    assert_eq!(found.tracestate, None);

    let list = vec![
        ("correlation-id".to_owned(), None),
        ("traceparent".to_owned(), Some(vec![b'x'; 4096])),
        ("tracestate".to_owned(), Some(vec![b'x'; 4097])),
    ];
    let found = Passthrough::of(&Record {
        headers: list,
        ..record("match-found", "")
    });
    assert_eq!((found.correlation_id, found.tracestate), (None, None));
    assert_eq!(found.traceparent.map(|value| value.len()), Some(4096));
}

#[test]
fn a_correlation_id_that_is_not_text_comes_back_as_header_but_not_as_field() {
    let (codec, _) = codec();
    let passthrough = Passthrough {
        correlation_id: Some(vec![0xff, 0xfe]),
        ..Passthrough::default()
    };
    let event = codec.event(&a_join(), Some(&passthrough));
    assert_eq!(
        event.headers.last(),
        Some(&("correlation-id".to_owned(), Some(vec![0xff, 0xfe])))
    );
    let without = codec.event(&a_join(), None);
    assert_eq!(event.value, without.value);
}

#[test]
fn a_command_travels_home_with_its_own_bytes_and_headers() {
    let (codec, _) = codec();
    let value = command_json(&a_command(actions().remove(1))).to_string();
    let list = headers(&[
        ("sw-forward", "session-command/9/9/9"),
        ("correlation-id", "a"),
        ("x", ""),
        ("correlation-id", "b"),
        ("sw-forward", "forged"),
    ]);
    let mut original = Record {
        headers: list,
        ..record("session-command", value.clone())
    };
    original.headers.push(("null".to_owned(), None));
    let decoded = decode(&codec, &original).expect("it decodes");
    let origin = Origin {
        lane: TopicPartition::new("session-command", 3),
        offset: 1201,
    };
    let forward = codec.forward(&original, &decoded, &session_id(), 5, &origin, 2);
    assert_eq!(&*forward.topic, "session-command");
    assert_eq!(forward.partition, Some(5));
    assert_eq!(
        forward.key.as_deref(),
        Some(session_id().as_str().as_bytes())
    );
    assert_eq!(forward.value, Some(value.into_bytes()));
    let mut expected = headers(&[("correlation-id", "a"), ("x", ""), ("correlation-id", "b")]);
    expected.push(("null".to_owned(), None));
    expected.push(header::text("sw-forward", "session-command/3/1201/2"));
    assert_eq!(forward.headers, expected);

    let home = Record {
        headers: forward.headers,
        ..record("session-command", "")
    };
    assert_eq!(claimed_forward(&home), Some((origin, 2)));
}

#[test]
fn an_admitted_match_travels_on_with_its_own_bytes() {
    let (codec, _) = codec();
    let body = match_json(&a_match());
    let value = format!(
        r#"{{"commandId":"m-1","issuedAt":0,"userId":"","command":{{"AdmitMatch":{body}}}}}"#
    );
    let original = record("session-command", value.clone());
    let decoded = decode(&codec, &original).expect("it decodes");
    let forward = codec.forward(&original, &decoded, &session_id(), 5, &original.origin(), 2);
    assert_eq!(forward.value, Some(value.into_bytes()));
}

#[test]
fn only_a_header_as_the_worker_writes_it_claims_a_forward() {
    let of = |values: &[&[u8]]| {
        let headers = values
            .iter()
            .map(|value| ("sw-forward".to_owned(), Some(value.to_vec())))
            .collect();
        claimed_forward(&Record {
            headers,
            ..record("session-command", "")
        })
    };
    let origin = |topic: &str, partition, offset| Origin {
        lane: TopicPartition::new(topic, partition),
        offset,
    };
    assert_eq!(
        of(&[b"match-found/3/1201/1"]),
        Some((origin("match-found", 3, 1201), 1))
    );
    assert_eq!(
        of(&[b"a/0/9223372036854775807/4294967295"]),
        Some((origin("a", 0, i64::MAX), u32::MAX))
    );
    let malformed: [&[&[u8]]; 17] = [
        &[],
        &[b""],
        &[b"forward"],
        &[b"a/1/2"],
        &[b"/1/2/3"],
        &[b"a/-1/2/3"],
        &[b"a/1/-2/3"],
        &[b"a/1/2/-3"],
        &[b"a/+1/2/3"],
        &[b"a/01/2/3"],
        &[b"a/1/2/3/"],
        &[b"a/1/2/3 "],
        &[b"a/1/2/4294967296"],
        &[b"a/2147483648/2/3"],
        &[b"a/1/9223372036854775808/3"],
        &[b"a\xff/1/2/3"],
        &[b"a/1/2/3", b"a/1/2/3"],
    ];
    for values in malformed {
        assert_eq!(of(values), None, "{values:?}");
    }
    let headers = vec![("sw-forward".to_owned(), None)];
    assert_eq!(
        claimed_forward(&Record {
            headers,
            ..record("session-command", "")
        }),
        None
    );
}

#[test]
fn instants_are_shown_as_rfc_3339_in_utc_with_milliseconds() {
    for (millis, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_007, "2000-02-29T00:00:00.007Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (1_766_402_400_000, "2025-12-22T11:20:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (i64::MAX, "9999-12-31T23:59:59.999Z"),
        (i64::MIN, "0000-01-01T00:00:00.000Z"),
    ] {
        assert_eq!(rfc3339(Timestamp(millis)), expected);
    }
}
