//! JSON inputs: what a person with kcat may write, and what becomes a dead letter.

use super::support::*;
use crate::domain::{Action, Message, Tier, Timestamp};
use crate::wire::*;

const COMMAND: &str = "session-command";
const MATCH: &str = "match-found";

fn command(body: &str) -> String {
    format!(r#"{{"commandId":"c","issuedAt":5,"userId":"u","command":{body}}}"#)
}

#[test]
fn the_contracts_example_decodes() {
    let (codec, registry) = codec();
    let value = r#"{"commandId":"…","issuedAt":1766400000000,"userId":"u1","command":{"JoinSession":{"inviteCode":"K7PQ2M"}}}"#;
    let decoded = decode(&codec, &record(COMMAND, value)).expect("it decodes");
    let Message::Command(command) = decoded.message else {
        panic!("a command")
    };
    assert_eq!(command.command_id, "…");
    assert_eq!(command.issued_at, Timestamp(1_766_400_000_000));
    assert_eq!((command.user_id.as_str(), command.tier), ("u1", Tier::Free));
    assert_eq!(
        command.action,
        Action::JoinSession {
            invite_code: "K7PQ2M".to_owned()
        }
    );
    assert!(!decoded.admitted);
    assert_eq!(registry.asked.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn what_a_sender_may_write_decodes() {
    let (codec, _) = codec();
    let commands = [
        command(r#"{"StartSession":{"sessionId":"s"}}"#),
        command(r#"{"EndSession":{"sessionId":""}}"#),
        command(r#"{"LeaveSession":{"sessionId":"s"}}"#),
        command(r#"{"LeaveSession":{"sessionId":"s","speakingTimeSeconds":null}}"#),
        command(r#"{"LeaveSession":{"sessionId":"s","speakingTimeSeconds":-7}}"#),
        command(r#"{"ReportSpeakingTime":{"speakingTimeSeconds":9223372036854775807,"sessionId":"s"}}"#),
        command(r#"{"CreatePrivateSession":{"targetLanguageCode":"fr","maxParticipants":-2147483648}}"#),
        command(r#"{"JoinSession":{"inviteCode":"é – \ud83d\ude00"}}"#),
        "{ \"userId\" : \"u\",\n\"tier\":\"premium\", \"command\":{\"JoinSession\":{\"inviteCode\":\"\"}}, \"issuedAt\":-1, \"commandId\":\"\"}\n ".to_owned(),
    ];
    for value in &commands {
        let decoded = decode(&codec, &record(COMMAND, value.as_str()));
        assert!(decoded.is_ok(), "{value}: {decoded:?}");
    }
    let matches = [
        r#"{"matchId":"m","matchedAt":5,"targetLanguageCode":"fr","participants":[]}"#,
        r#"{"matchId":"m","matchedAt":5,"targetLanguageCode":"fr","participants":[{"userId":"u","tier":"premium"}],"minParticipants":0,"maxParticipants":99,"topicId":null,"topicTitle":"","sessionId":"s"}"#,
    ];
    for value in matches {
        let decoded = decode(&codec, &record(MATCH, value));
        assert!(decoded.is_ok(), "{value}: {decoded:?}");
    }
}

#[test]
fn an_admitted_match_decodes_from_json_too() {
    let (codec, _) = codec();
    let body = match_json(&a_match());
    let value = command(&format!(r#"{{"AdmitMatch":{body}}}"#));
    let admitted = decode(&codec, &record(COMMAND, value)).expect("it decodes");
    let found = decode(&codec, &record(MATCH, body.to_string())).expect("it decodes");
    assert_eq!(admitted.message, Message::Match(a_match()));
    assert!(admitted.admitted && !found.admitted);
    assert_eq!(admitted.fingerprint, found.fingerprint);
}

#[test]
fn missing_unknown_duplicate_and_ill_typed_fields_and_unknown_symbols_and_branches_are_dead_letters()
 {
    let (codec, _) = codec();
    let join = r#"{"JoinSession":{"inviteCode":"K"}}"#;
    let commands = [
        ("{}".to_owned(), "missing field `commandId`"),
        ("{".to_owned(), "EOF while parsing an object"),
        ("{]".to_owned(), "key must be a string"),
        (command(join) + "x", "trailing characters"),
        (command(join) + &command(join), "trailing characters"),
        (command("null"), "expected value"),
        (command("[]"), "expected value"),
        (command("{}"), "expected value"),
        (command("\"JoinSession\""), "invalid type"),
        (
            command(r#"{"JoinSession":null}"#),
            "invalid type, expected an object",
        ),
        (
            command(r#"{"JoinSession":["K7PQ2M"]}"#),
            "invalid type, expected an object",
        ),
        (
            command(r#"{"JoinSession":{}}"#),
            "missing field `inviteCode`",
        ),
        (
            command(r#"{"JoinSession":{"inviteCode":null}}"#),
            "invalid type, expected a string",
        ),
        (
            command(r#"{"JoinSession":{"inviteCode":7}}"#),
            "invalid type, expected a string",
        ),
        (
            command(r#"{"JoinSession":{"inviteCode":"K","inviteCode":"K"}}"#),
            "duplicate field",
        ),
        (
            command(r#"{"JoinSession":{"inviteCode":"K","invitecode":1}}"#),
            "unknown field `invitecode`, expected `inviteCode`",
        ),
        (
            command(r#"{"JoinSession":{"inviteCode":"K"},"EndSession":{"sessionId":"s"}}"#),
            "expected value",
        ),
        (
            command(r#"{"joinSession":{"inviteCode":"K"}}"#),
            "unknown variant `joinSession`, expected one of `CreatePrivateSession`, `JoinSession`",
        ),
        (
            command(r#"{"sessions.JoinSession":{"inviteCode":"K"}}"#),
            "unknown variant `sessions.JoinSession`, expected one of",
        ),
        (
            command(r#"{"JoinSession":{"inviteCode":{"string":"K"}}}"#),
            "invalid type",
        ),
        (
            command(r#"{"LeaveSession":{"sessionId":"s","speakingTimeSeconds":{"long":1}}}"#),
            "invalid type",
        ),
        (
            command(r#"{"LeaveSession":{"sessionId":"s","speakingTimeSeconds":1.5}}"#),
            "invalid type",
        ),
        (
            command(r#"{"LeaveSession":{"sessionId":"s","speakingTimeSeconds":1.0}}"#),
            "invalid type",
        ),
        (
            command(
                r#"{"LeaveSession":{"sessionId":"s","speakingTimeSeconds":9223372036854775808}}"#,
            ),
            "invalid",
        ),
        (
            command(
                r#"{"CreatePrivateSession":{"targetLanguageCode":"fr","maxParticipants":2147483648}}"#,
            ),
            "invalid value",
        ),
        (
            command(
                r#"{"CreatePrivateSession":{"targetLanguageCode":"fr","maxParticipants":null}}"#,
            ),
            "invalid type",
        ),
        (
            command(r#"{"CreatePrivateSession":{}}"#),
            "missing field `targetLanguageCode`",
        ),
        (
            command(r#"{"JoinSession":{"inviteCode":"\ud800"}}"#),
            "unexpected end of hex escape",
        ),
        (
            format!(r#"{{"tier":"gold",{}"#, &command(join)[1..]),
            "invalid value, expected free or premium",
        ),
        (
            format!(r#"{{"tier":{{"free":null}},{}"#, &command(join)[1..]),
            "invalid type, expected free or premium",
        ),
        (
            format!(r#"{{"tier":null,{}"#, &command(join)[1..]),
            "invalid type, expected free or premium",
        ),
        (
            format!(r#"{{"key":1,{}"#, &command(join)[1..]),
            "unknown field `key`, expected one of `commandId`",
        ),
        (
            format!(r#"{{"userId":"v",{}"#, &command(join)[1..]),
            "duplicate field `userId`",
        ),
        (
            command(join).replace("5", "\"2025-12-22T11:20:00Z\""),
            "invalid type, expected i64",
        ),
        (
            command(join).replace("5", "5e0"),
            "invalid type, expected i64",
        ),
    ];
    for (value, reason) in commands {
        match decode(&codec, &record(COMMAND, value.as_str())) {
            Err(Poison::Undecodable { reason: why }) => {
                assert!(
                    why.starts_with(&format!("JSON: {reason}")),
                    "{value}: {why}"
                );
                assert!(why.contains(" at line 1 column "), "{value}: {why}");
            }
            other => panic!("{value}: {other:?}"),
        }
    }
    let matches = [
        r#"{"matchId":"m","matchedAt":5,"targetLanguageCode":"fr","participants":["u"]}"#,
        r#"{"matchId":"m","matchedAt":5,"targetLanguageCode":"fr","participants":[["u","free"]]}"#,
        r#"{"matchId":"m","matchedAt":5,"targetLanguageCode":"fr","participants":[{"userId":"u","age":3}]}"#,
        r#"{"matchId":"m","matchedAt":5,"targetLanguageCode":"fr","participants":{}}"#,
        r#"{"matchId":"m","matchedAt":5,"targetLanguageCode":"fr"}"#,
    ];
    for value in matches {
        let decoded = decode(&codec, &record(MATCH, value));
        assert!(
            matches!(decoded, Err(Poison::Undecodable { .. })),
            "{value}: {decoded:?}"
        );
    }
}

#[test]
fn why_a_value_is_undecodable_quotes_no_value_and_nothing_that_is_no_plain_name() {
    let (codec, _) = codec();
    let long = "HUSH".repeat(17);
    for value in [
        command(r#"{"JoinSession":{"inviteCode":{"HUSH":1}}}"#),
        command(r#"{"HUSH and HUSH":{}}"#),
        command(&format!(r#"{{"{long}":{{}}}}"#)),
        command(r#"{"JoinSession":{"inviteCode":"K","HUSH, expected HUSH at line 1":1}}"#),
        command(r#""HUSH, expected HUSH at line 1""#),
        command(r#"{"JoinSession":"HUSH, expected "}"#),
        format!(r#"{{"tier":"HUSH",{}"#, &command("1")[1..]),
        format!(r#"{{"issuedAt":"HUSH",{}"#, &command("1")[1..]),
        format!(r#"{{"other":"HUSH",{}"#, &command("1")[1..]),
        format!(r#"{{"HUSH\u001b":"HUSH",{}"#, &command("1")[1..]),
        format!(r#"{{"":"HUSH",{}"#, &command("1")[1..]),
        format!(r#"{{"` HUSH":"HUSH",{}"#, &command("1")[1..]),
        format!(r#"{{"missing field HUSH":"HUSH",{}"#, &command("1")[1..]),
    ] {
        match decode(&codec, &record(COMMAND, value.as_str())) {
            Err(Poison::Undecodable { reason }) => {
                assert!(!reason.contains("HUSH"), "{value}: {reason}");
            }
            other => panic!("{value}: {other:?}"),
        }
    }
}

#[test]
fn only_a_brace_as_first_byte_makes_json() {
    let (codec, _) = codec();
    let json = command(r#"{"JoinSession":{"inviteCode":"K"}}"#);
    for value in [
        format!(" {json}"),
        format!("\u{feff}{json}"),
        format!("[{json}]"),
        String::new(),
    ] {
        let decoded = decode(&codec, &record(COMMAND, value.as_str()));
        assert!(
            matches!(decoded, Err(Poison::Undecodable { .. })),
            "{value}: {decoded:?}"
        );
    }
}

#[test]
fn a_tombstone_is_undecodable() {
    let (codec, _) = codec();
    for topic in [COMMAND, MATCH] {
        let tombstone = Record {
            value: None,
            ..record(topic, "")
        };
        assert!(matches!(
            decode(&codec, &tombstone),
            Err(Poison::Undecodable { .. })
        ));
    }
}

#[test]
fn a_value_of_64_kib_decodes_and_one_byte_more_is_too_large() {
    let (codec, _) = codec();
    let empty = command(r#"{"JoinSession":{"inviteCode":""}}"#);
    let padding = "7".repeat(MAX_VALUE - empty.len());
    let value = command(&format!(
        r#"{{"JoinSession":{{"inviteCode":"{padding}"}}}}"#
    ));
    assert_eq!(value.len(), 65_536);
    assert!(decode(&codec, &record(COMMAND, value.as_str())).is_ok());
    let decoded = decode(&codec, &record(COMMAND, value.clone() + " "));
    assert_eq!(decoded, Err(Poison::TooLarge { size: 65_537 }));
    let claimed = Record {
        headers: vec![("sw-forward".to_owned(), Some(b"match-found/1/2/1".to_vec()))],
        ..record(COMMAND, value + " ")
    };
    let decoded = decode(&codec, &claimed);
    assert_eq!(
        decoded,
        Err(Poison::TooLarge { size: 65_537 }),
        "a header gives a command no room"
    );
}

#[test]
fn a_fingerprint_covers_the_content_and_nothing_else() {
    let (codec, _) = codec();
    let of = |topic, value: &serde_json::Value| {
        decode(&codec, &record(topic, value.to_string()))
            .expect("it decodes")
            .fingerprint
    };
    let mut all = std::collections::HashSet::new();
    for action in actions() {
        let value = command_json(&a_command(action));
        let first = of(COMMAND, &value);
        for (field, other) in [("commandId", "c-2".into()), ("issuedAt", 0.into())] {
            let mut changed = value.clone();
            changed[field] = other;
            assert_eq!(of(COMMAND, &changed), first, "{field} is no content");
        }
        let mut changes = vec![value.clone()];
        for (field, other) in [("userId", "u2"), ("tier", "free"), ("userId", "u1 ")] {
            let mut changed = value.clone();
            changed[field] = other.into();
            changes.push(changed);
        }
        let (branch, body) = value["command"]
            .as_object()
            .expect("a branch")
            .iter()
            .next()
            .expect("one");
        for (field, inner) in body.as_object().expect("a record") {
            let mut changed = value.clone();
            changed["command"][branch][field] = if inner.is_number() {
                3.into()
            } else {
                "other".into()
            };
            if field == "speakingTimeSeconds" {
                changed["command"][branch][field] = 3.into();
            }
            changes.push(changed);
        }
        for changed in changes {
            assert!(
                all.insert(of(COMMAND, &changed)),
                "{changed} looks like another"
            );
        }
    }
    let value = match_json(&a_match());
    assert!(all.insert(of(MATCH, &value)));
    for field in value.as_object().expect("a record").keys() {
        let mut changed = value.clone();
        changed[field] = match field.as_str() {
            "matchedAt" | "minParticipants" | "maxParticipants" => 3.into(),
            "participants" => serde_json::json!([{ "userId": "u1u2" }]),
            _ => "other".into(),
        };
        assert!(all.insert(of(MATCH, &changed)), "{field} is content");
    }
}
