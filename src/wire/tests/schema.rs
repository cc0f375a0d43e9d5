//! The four `.avsc` against the contract's lists.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use serde_json::Value;

use super::support::*;
use crate::domain::{Action, Tier};
use crate::record::TopicNames;
use crate::wire::schema::{COMMAND_SCHEMA, MATCH_FOUND_SCHEMA};
use crate::wire::*;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("a schema is JSON")
}

/// Every record of a schema by name: its fields as `name type` or `name type = default`, in order.
fn records(schema: &Value, found: &mut BTreeMap<String, Vec<String>>) {
    match schema {
        Value::Array(branches) => branches.iter().for_each(|branch| records(branch, found)),
        Value::Object(object) if object.get("type") == Some(&Value::from("record")) => {
            let name = object["name"].as_str().expect("a name is text").to_owned();
            let mut lines = Vec::new();
            for field in object["fields"].as_array().expect("a record has fields") {
                records(&field["type"], found);
                let mut line = format!(
                    "{} {}",
                    field["name"].as_str().expect("a name is text"),
                    shape(&field["type"])
                );
                if let Some(default) = field.get("default") {
                    line += &format!(" = {default}");
                }
                lines.push(line);
            }
            found.insert(name, lines);
        }
        Value::Object(object) => {
            for part in ["type", "items", "values"] {
                if let Some(part) = object.get(part) {
                    records(part, found);
                }
            }
        }
        _ => {}
    }
}

/// A type with the records in it by name only.
fn shape(schema: &Value) -> String {
    match schema {
        Value::String(name) => name.clone(),
        Value::Array(branches) => {
            let shapes: Vec<_> = branches.iter().map(shape).collect();
            shapes.join("|")
        }
        Value::Object(object) => match object["type"].as_str() {
            Some("array") => format!("[{}]", shape(&object["items"])),
            Some("record" | "enum") => object["name"].as_str().expect("a name").to_owned(),
            Some("long") => object["logicalType"]
                .as_str()
                .expect("only instants")
                .to_owned(),
            _ => schema.to_string(),
        },
        _ => schema.to_string(),
    }
}

fn check(text: &str, expected: &[(&str, &str)]) {
    let mut found = BTreeMap::new();
    records(&json(text), &mut found);
    let expected: BTreeMap<String, Vec<String>> = expected
        .iter()
        .map(|(name, fields)| {
            let fields = fields.split(", ").map(|field| {
                field
                    .replace("null|string?", "null|string = null")
                    .replace("null|long?", "null|long = null")
                    .replace("null|int?", "null|int = null")
                    .replace("instant?", "null|timestamp-millis = null")
                    .replace("instant", "timestamp-millis")
            });
            ((*name).to_owned(), fields.collect())
        })
        .collect();
    assert_eq!(found, expected);
}

const MATCH_FIELDS: &str = "matchId string, matchedAt instant, targetLanguageCode string, \
    topicId null|string?, topicTitle null|string?, participants [MatchedUser], \
    minParticipants int = 2, maxParticipants int = 6, sessionId null|string?";
const MATCHED_USER: (&str, &str) = ("MatchedUser", "userId string, tier Tier = \"free\"");

#[test]
fn match_found_has_the_contracts_fields() {
    check(MATCH_FOUND, &[("MatchFound", MATCH_FIELDS), MATCHED_USER]);
}

#[test]
fn session_command_has_the_contracts_fields_and_nine_branches() {
    check(
        SESSION_COMMAND,
        &[
            (
                "SessionCommand",
                "commandId string, issuedAt instant, userId string, tier Tier = \"free\", command \
                 CreatePrivateSession|JoinSession|StartSession|EndSession|LeaveSession|\
                 ConnectParticipant|DisconnectParticipant|ReportSpeakingTime|AdmitMatch",
            ),
            (
                "CreatePrivateSession",
                "sessionId null|string?, targetLanguageCode string, topicId null|string?, \
                 topicTitle null|string?, maxParticipants int = 4",
            ),
            ("JoinSession", "inviteCode string"),
            ("StartSession", "sessionId string"),
            ("EndSession", "sessionId string"),
            (
                "LeaveSession",
                "sessionId string, speakingTimeSeconds null|long?",
            ),
            (
                "ConnectParticipant",
                "sessionId string, connectionId string",
            ),
            (
                "DisconnectParticipant",
                "sessionId string, connectionId string, speakingTimeSeconds null|long?",
            ),
            (
                "ReportSpeakingTime",
                "sessionId string, speakingTimeSeconds long",
            ),
            ("AdmitMatch", MATCH_FIELDS),
            MATCHED_USER,
        ],
    );
}

#[test]
fn session_event_has_the_contracts_fields() {
    check(
        SESSION_EVENT,
        &[
            (
                "SessionEvent",
                "eventId string, type string, sessionId string, sequence long, occurredAt instant, \
                 causationId string, correlationId null|string?, session SessionSnapshot, \
                 participant null|ParticipantSnapshot = null, reason null|string?, \
                 actorUserId null|string?, previousHostUserId null|string?, secondsLeft null|int?, \
                 statistics null|SessionStatistics = null",
            ),
            (
                "SessionSnapshot",
                "type string, status string, targetLanguageCode string, topicId null|string?, \
                 topicTitle null|string?, hostUserId string, minParticipants int, \
                 maxParticipants int, participantCount int, createdAt instant, startedAt instant?, \
                 expiresAt instant?, endedAt instant?",
            ),
            (
                "ParticipantSnapshot",
                "userId string, role string, status string, joinedAt instant, leftAt instant?, \
                 presentSeconds long, speakingTimeSeconds long, rejoin boolean",
            ),
            (
                "SessionStatistics",
                "durationSeconds long, totalParticipants int, peakParticipants int, \
                 talkBalance double, silentUserIds [string], participants [ParticipantStatistics]",
            ),
            (
                "ParticipantStatistics",
                "userId string, role string, joinedAt instant, leftAt instant?, \
                 presentSeconds long, speakingTimeSeconds long, talkShare double, \
                 leaveReason string, rejoinCount int",
            ),
        ],
    );
}

#[test]
fn command_result_has_the_contracts_fields() {
    check(
        SESSION_COMMAND_RESULT,
        &[
            (
                "CommandResult",
                "commandId string, origin string, userId null|string?, outcome string, \
                 code null|string?, httpStatus int, detail string, sessionId null|string?, \
                 inviteCode null|string?, sequence null|long?, limit null|int?, used null|int?, \
                 resetAt instant?, rejectedUsers [RejectedUser], eligibleUserIds [string], \
                 replayed boolean, decidedAt instant",
            ),
            (
                "RejectedUser",
                "userId string, code string, resetAt instant?",
            ),
        ],
    );
}

#[test]
fn every_named_type_is_in_namespace_sessions_and_every_record_and_field_has_a_doc() {
    fn walk(value: &Value, at: &str) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| walk(item, at)),
            Value::Object(object) => {
                let name = object
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let at = if name.is_empty() {
                    at.to_owned()
                } else {
                    format!("{at}/{name}")
                };
                if !name.is_empty() {
                    let doc = object
                        .get("doc")
                        .and_then(Value::as_str)
                        .unwrap_or_default();
                    assert!(!doc.trim().is_empty(), "{at} has no doc");
                }
                let is_root = at.matches('/').count() == 1;
                let namespace = object.get("namespace").and_then(Value::as_str);
                assert_eq!(
                    namespace,
                    is_root.then_some("sessions"),
                    "{at}: nested types inherit"
                );
                let logical = object.get("logicalType").and_then(Value::as_str);
                assert!(
                    matches!(logical, None | Some("timestamp-millis")),
                    "{at}: {logical:?}"
                );
                object.values().for_each(|value| walk(value, &at));
            }
            _ => {}
        }
    }
    for subject in subjects(&TopicNames::default()) {
        walk(&json(subject.text), "");
    }
}

#[test]
fn tier_is_the_one_enum_with_default_free_inside_the_type() {
    fn enums(value: &Value, found: &mut Vec<Value>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| enums(item, found)),
            Value::Object(object) => {
                if object.get("type") == Some(&Value::from("enum")) {
                    found.push(value.clone());
                }
                object.values().for_each(|value| enums(value, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for subject in subjects(&TopicNames::default()) {
        enums(&json(subject.text), &mut found);
    }
    assert_eq!(found.len(), 2, "one in each input");
    for tier in found {
        assert_eq!(tier["name"], "Tier");
        assert_eq!(tier["symbols"], serde_json::json!(["free", "premium"]));
        assert_eq!(tier["default"], "free");
    }
}

#[test]
fn the_files_in_schemas_are_the_subjects() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "avsc")
        })
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    files.sort();
    let mut names: Vec<String> = subjects(&TopicNames::default())
        .map(|subject| subject.name)
        .into();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn renamed_topics_rename_their_subjects() {
    let topics = TopicNames {
        session_event: "eu.session-event".into(),
        ..TopicNames::default()
    };
    let names = subjects(&topics).map(|subject| subject.name);
    assert_eq!(
        names,
        [
            "match-found-value",
            "session-command-value",
            "eu.session-event-value",
            "session-command-result-value"
        ]
    );
}

#[test]
fn outputs_are_under_full_transitive_and_inputs_under_backward_transitive() {
    let levels = subjects(&TopicNames::default()).map(|subject| subject.level.as_str());
    let (input, output) = ("BACKWARD_TRANSITIVE", "FULL_TRANSITIVE");
    assert_eq!(levels, [input, input, output, output]);
}

/// Every version that was ever released stands in `published/<subject>/`; today's schema must
/// read them all, and of outputs each must read today's.
#[test]
fn todays_schemas_are_compatible_with_every_published_version() {
    for subject in subjects(&TopicNames::default()) {
        let folder = format!(
            "{}/src/wire/published/{}",
            env!("CARGO_MANIFEST_DIR"),
            subject.name
        );
        let today = Schema::parse_str(subject.text).expect("it parses");
        let mut versions = 0;
        for entry in std::fs::read_dir(&folder).expect("every subject has a published version") {
            let path = entry.expect("it can be read").path();
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let published = Schema::parse_str(&text).expect("it parses");
            let full = Ok(Compatibility::Full);
            let at = path.display();
            assert_eq!(
                SchemaCompatibility::can_read(&published, &today),
                full,
                "reads {at}"
            );
            if subject.level == Level::FullTransitive {
                assert_eq!(
                    SchemaCompatibility::can_read(&today, &published),
                    full,
                    "is read by {at}"
                );
            }
            versions += 1;
        }
        assert!(versions > 0, "{}", subject.name);
    }
}

/// JSON takes its defaults from the shapes, Avro leaves out what a writer does not have: both must be
/// the `.avsc`'s.
#[test]
fn an_absent_field_has_the_default_of_its_schema() {
    fn default_of<'a>(schema: &'a Schema, field: &str) -> &'a Value {
        let Schema::Record(record) = schema else {
            panic!("a record")
        };
        let field = record
            .fields
            .iter()
            .find(|ours| ours.name == field)
            .expect("it is there");
        field.default.as_ref().expect("it has a default")
    }
    let (codec, _) = codec();

    let value = r#"{"matchId":"m","matchedAt":0,"targetLanguageCode":"fr","participants":[{"userId":"u"}]}"#;
    let found = decode(&codec, &record("match-found", value))
        .expect("it decodes")
        .message;
    let Message::Match(found) = found else {
        panic!("a match")
    };
    let default = |field| default_of(&MATCH_FOUND_SCHEMA, field);
    assert_eq!(default("minParticipants"), found.min_participants);
    assert_eq!(default("maxParticipants"), found.max_participants);
    for (field, value) in [
        ("topicId", &found.topic_id),
        ("topicTitle", &found.topic_title),
        ("sessionId", &found.session_id),
    ] {
        assert_eq!((default(field), value), (&Value::Null, &None));
    }
    assert_eq!(found.participants[0].tier, Tier::Free);

    let value = r#"{"commandId":"c","issuedAt":0,"userId":"u","command":{"CreatePrivateSession":{"targetLanguageCode":"fr"}}}"#;
    let command = decode(&codec, &record("session-command", value))
        .expect("it decodes")
        .message;
    let Message::Command(command) = command else {
        panic!("a command")
    };
    assert_eq!(
        (default_of(&COMMAND_SCHEMA, "tier"), command.tier),
        (&Value::from("free"), Tier::Free)
    );
    let Schema::Record(root) = &*COMMAND_SCHEMA else {
        panic!("a record")
    };
    let Schema::Union(branches) = &root.fields[4].schema else {
        panic!("a union")
    };
    let Action::CreatePrivateSession {
        session_id,
        topic_id,
        topic_title,
        max_participants,
        ..
    } = command.action
    else {
        panic!("a creation")
    };
    assert_eq!(
        *default_of(&branches.variants()[0], "maxParticipants"),
        max_participants
    );
    assert_eq!((session_id, topic_id, topic_title), (None, None, None));
}

#[test]
fn the_avro_librarys_allocation_is_limited_before_the_first_decoding() {
    limit_allocation();
    assert_eq!(
        apache_avro::util::max_allocation_bytes(usize::MAX),
        1024 * 1024
    );
}
