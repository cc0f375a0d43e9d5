//! Golden bytes: what was once written is read, and what is written is what was. The files hold the
//! whole value in hexadecimal, white space ignored; the contract's readers rely on every byte.

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;

use super::support::*;
use crate::domain::{Cause, Event, EventKind, Message, TimerKind, Timestamp, UserId};
use crate::wire::schema::{COMMAND_SCHEMA, EVENT_SCHEMA, RESULT_SCHEMA};
use crate::wire::*;

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/src/wire/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the golden file is there");
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hexadecimal digits");
            u8::from_str_radix(pair, 16).expect("hexadecimal digits")
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    lines.join("\n")
}

#[track_caller]
fn check(bytes: &[u8], name: &str) {
    assert!(bytes == golden(name), "{name} is now:\n{}", hex(bytes));
}

/// The fields of an output, read back by apache-avro.
fn read_back(schema: &apache_avro::Schema, id: u32, value: &[u8]) -> Vec<(String, Value)> {
    assert_eq!(value[..5], framed(id, &[]));
    let reader = GenericDatumReader::builder(schema)
        .build()
        .expect("it resolves");
    let mut rest = &value[5..];
    let value = reader.read_value(&mut rest).expect("it reads");
    assert!(rest.is_empty());
    assert!(value.validate(schema));
    match value {
        Value::Record(fields) => fields,
        other => panic!("{other:?}"),
    }
}

#[test]
fn match_found_is_read_from_its_golden_bytes() {
    check(
        &framed(1, &written(MATCH_FOUND, match_value(&a_match()))),
        "match-found",
    );
    let (codec, _) = codec();
    let decoded = decode(&codec, &record("match-found", golden("match-found")));
    let decoded = decoded.expect("it decodes");
    assert_eq!(decoded.message, Message::Match(a_match()));
    check(&decoded.fingerprint, "match-found.fingerprint");
}

#[test]
fn session_command_is_read_from_its_golden_bytes_in_every_branch() {
    let files = [
        "create-private-session",
        "join-session",
        "start-session",
        "end-session",
        "leave-session",
        "connect-participant",
        "disconnect-participant",
        "report-speaking-time",
    ];
    let (codec, _) = codec();
    for (action, file) in actions().into_iter().zip(files) {
        // Each file holds the value and, last, the 32 bytes of its fingerprint.
        let command = a_command(action);
        let value = framed(2, &written(SESSION_COMMAND, command_value(&command)));
        let decoded = decode(&codec, &record("session-command", value.clone()));
        let decoded = decoded.expect("it decodes");
        check(&[&value[..], &decoded.fingerprint].concat(), file);
        let bytes = golden(file);
        let (value, _) = bytes.split_at(bytes.len() - 32);
        let decoded = decode(&codec, &record("session-command", value)).expect("it decodes");
        assert_eq!(decoded.message, Message::Command(command));
    }
}

#[test]
fn an_admission_is_written_as_its_golden_bytes_and_read_back() {
    let (codec, _) = codec();
    let found = record("match-found", match_json(&a_match()).to_string());
    let decoded = decode(&codec, &found).expect("it decodes");
    let forward = codec.forward(&found, &decoded, &session_id(), 5, &found.origin(), 1);
    let value = forward.value.expect("it has a value");
    check(&value, "admit-match");
    let fields = read_back(&COMMAND_SCHEMA, IDS.command, &value);
    assert_eq!(fields[0], ("commandId".to_owned(), string("m-1")));
    assert_eq!(fields[1].1, Value::TimestampMillis(NOW.0));
    assert_eq!(
        (&fields[2].1, &fields[3].1),
        (&string(""), &Value::Enum(0, "free".to_owned()))
    );
    assert_eq!(
        fields[4].1,
        Value::Union(8, Box::new(match_value(&a_match())))
    );
}

#[test]
fn session_event_is_written_as_its_golden_bytes() {
    let (codec, _) = codec();
    let passthrough = Passthrough {
        correlation_id: Some("req-é".into()),
        ..Passthrough::default()
    };
    let join = codec.event(&a_join(), None).value.expect("a value");
    check(&join, "participant-joined");
    let end = codec
        .event(&an_end(), Some(&passthrough))
        .value
        .expect("a value");
    check(&end, "session-ended");

    let join = read_back(&EVENT_SCHEMA, IDS.event, &join);
    let field = |fields: &[(String, Value)], name: &str| {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .expect("it is there")
            .1
            .clone()
    };
    assert_eq!(
        field(&join, "eventId"),
        string(&a_join().session_id.event_id(2))
    );
    assert_eq!(field(&join, "type"), string("participant.joined"));
    assert_eq!(field(&join, "sequence"), Value::Long(2));
    assert_eq!(field(&join, "causationId"), string("m-1"));
    assert_eq!(field(&join, "correlationId"), null());
    assert_eq!(field(&join, "statistics"), null());
    let end = read_back(&EVENT_SCHEMA, IDS.event, &end);
    assert_eq!(field(&end, "correlationId"), some(string("req-é")));
    assert_eq!(field(&end, "reason"), some(string("host_ended")));
    assert_eq!(field(&end, "previousHostUserId"), some(string("u3")));
    assert_eq!(field(&end, "secondsLeft"), some(Value::Int(60)));
    let Value::Union(1, statistics) = field(&end, "statistics") else {
        panic!("statistics")
    };
    let Value::Record(statistics) = *statistics else {
        panic!("a record")
    };
    assert_eq!(
        statistics[3],
        ("talkBalance".to_owned(), Value::Double(0.5))
    );
    assert_eq!(statistics[4].1, Value::Array(vec![string("u2")]));
}

#[test]
fn session_command_result_is_written_as_its_golden_bytes() {
    let (codec, _) = codec();
    let acceptance = codec
        .result(&an_acceptance(), &Passthrough::default())
        .value;
    check(&acceptance.expect("a value"), "result-accepted");
    let rejection = codec
        .result(&a_rejected_match(), &Passthrough::default())
        .value;
    let rejection = rejection.expect("a value");
    check(&rejection, "result-match-rejected");
    let fields = read_back(&RESULT_SCHEMA, IDS.result, &rejection);
    let values: Vec<Value> = fields.into_iter().map(|(_, value)| value).collect();
    let at = Value::TimestampMillis(1_766_448_000_000);
    let rejected = super::support::fields([
        ("userId", string("u2")),
        ("code", string("limit_daily")),
        ("resetAt", some(at)),
    ]);
    let expected = [
        string("m-1"),
        string("match"),
        null(),
        string("rejected"),
        some(string("match_rejected")),
        Value::Int(403),
        string("too few users remain"),
        null(),
        null(),
        null(),
        some(Value::Int(3)),
        some(Value::Int(4)),
        some(Value::TimestampMillis(NOW.0 + 60_000)),
        Value::Array(vec![rejected]),
        Value::Array(vec![string("u1"), string("u3")]),
        Value::Boolean(true),
        Value::TimestampMillis(NOW.0),
    ];
    assert_eq!(values, expected);
}

#[test]
fn every_cause_has_the_contracts_causation_id_and_every_kind_its_type() {
    let user = |id: &str| UserId::from_stored(id.to_owned());
    let id = session_id();
    for (cause, expected) in [
        (
            Cause::Command {
                command_id: "c-1".to_owned(),
            },
            "c-1".to_owned(),
        ),
        (
            Cause::Match {
                match_id: "m-1".to_owned(),
            },
            "m-1".to_owned(),
        ),
        (
            Cause::Timer(TimerKind::Timeout),
            format!("timer:{id}:timeout"),
        ),
        (
            Cause::Timer(TimerKind::NeverStarted),
            format!("timer:{id}:never_started"),
        ),
        (
            Cause::Timer(TimerKind::Expiring { seconds: 300 }),
            format!("timer:{id}:expiring:300"),
        ),
        (
            Cause::Timer(TimerKind::Disconnect(user("u:1"))),
            format!("timer:{id}:disconnect:u:1"),
        ),
        (
            Cause::Timer(TimerKind::NoShow(user("u2"))),
            format!("timer:{id}:no_show:u2"),
        ),
    ] {
        assert_eq!(
            outbound::causation_id(&Event { cause, ..a_join() }),
            expected
        );
    }
    let (codec, _) = codec();
    for (kind, expected) in [
        (EventKind::SessionCreated, "session.created"),
        (EventKind::SessionStarted, "session.started"),
        (EventKind::SessionExpiring, "session.expiring"),
        (EventKind::SessionHostChanged, "session.host_changed"),
        (EventKind::SessionEnded, "session.ended"),
        (EventKind::ParticipantJoined, "participant.joined"),
        (EventKind::ParticipantConnected, "participant.connected"),
        (
            EventKind::ParticipantDisconnected,
            "participant.disconnected",
        ),
        (EventKind::ParticipantReconnected, "participant.reconnected"),
        (EventKind::ParticipantLeft, "participant.left"),
    ] {
        let event = codec.event(&Event { kind, ..a_join() }, None);
        assert_eq!(header_text(&event, "ce_type"), Some(expected));
        let fields = read_back(&EVENT_SCHEMA, IDS.event, &event.value.expect("a value"));
        assert_eq!(fields[1].1, string(expected));
    }
}

#[test]
fn a_redelivery_encodes_the_same_bytes_again() {
    let (codec, _) = codec();
    let again = super::support::codec().0;
    assert_eq!(codec.event(&an_end(), None), again.event(&an_end(), None));
    let at = Event {
        occurred_at: Timestamp(NOW.0 + 1),
        ..an_end()
    };
    let (first, second) = (codec.event(&an_end(), None), codec.event(&at, None));
    assert_eq!(header_text(&first, "ce_id"), header_text(&second, "ce_id"));
}
