//! Writer schemas other than ours: older and newer ones of the same subject resolve, and what does
//! not is undecodable, never misread.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use proptest::prelude::*;
use serde_json::json;

use super::support::*;
use crate::domain::{Action, Command, Match, MatchedUser, Message, Tier};
use crate::wire::schema::COMMAND_SCHEMA;
use crate::wire::*;

const MATCH: &str = "match-found";
const COMMAND: &str = "session-command";

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("it is JSON")
}

/// Decodes `avro`, written with the schema `writer`.
fn read(topic: &str, writer: &str, avro: &[u8]) -> Result<Message, Poison> {
    let (codec, registry) = codec();
    registry.register(topic, 7, writer);
    decode(&codec, &record(topic, framed(7, avro))).map(|decoded| decoded.message)
}

/// Decodes `value`, written with the schema `writer`.
fn resolve(topic: &str, writer: &serde_json::Value, value: Value) -> Result<Message, Poison> {
    let writer = writer.to_string();
    read(topic, &writer, &written(&writer, value))
}

fn reason(result: Result<Message, Poison>) -> String {
    match result {
        Err(Poison::Undecodable { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

/// The position of a field in the schema of `SessionCommand` or `MatchFound`.
fn field<'a>(schema: &'a mut serde_json::Value, name: &str) -> &'a mut serde_json::Value {
    let fields = schema["fields"]
        .as_array_mut()
        .expect("a record has fields");
    fields
        .iter_mut()
        .find(|field| field["name"] == name)
        .expect("the field is there")
}

fn without(schema: &mut serde_json::Value, name: &str) {
    let fields = schema["fields"]
        .as_array_mut()
        .expect("a record has fields");
    fields.retain(|field| field["name"] != name);
}

fn set(value: &mut Value, name: &str, to: Option<Value>) {
    let Value::Record(fields) = value else {
        panic!("a record")
    };
    fields.retain(|(field, _)| field != name);
    if let Some(to) = to {
        fields.push((name.to_owned(), to));
    }
}

#[test]
fn every_branch_decodes_from_our_own_schema_and_equals_its_json() {
    let (codec, _) = codec();
    for action in actions() {
        let command = a_command(action);
        let avro = written(SESSION_COMMAND, command_value(&command));
        let avro = decode(&codec, &record(COMMAND, framed(2, &avro))).expect("it decodes");
        let json = record(COMMAND, command_json(&command).to_string());
        assert_eq!(
            decode(&codec, &json),
            Ok(avro.clone()),
            "same content, same fingerprint"
        );
        assert_eq!(avro.message, Message::Command(command));
    }
    let avro = written(MATCH_FOUND, match_value(&a_match()));
    let avro = decode(&codec, &record(MATCH, framed(1, &avro))).expect("it decodes");
    let json = decode(&codec, &record(MATCH, match_json(&a_match()).to_string()));
    assert_eq!(json, Ok(avro.clone()));
    assert_eq!(avro.message, Message::Match(a_match()));
}

/// apache-avro 0.22 takes the first branch of the same shape: this is why resolution is ours.
#[test]
fn a_branch_is_resolved_by_its_name_not_by_its_shape() {
    let mut writer = json(SESSION_COMMAND);
    writer["fields"]
        .as_array_mut()
        .expect("fields")
        .push(json!({"name": "extra", "type": "int"}));
    for action in actions() {
        let command = a_command(action);
        let mut value = command_value(&command);
        set(&mut value, "extra", Some(Value::Int(1)));
        assert_eq!(
            resolve(COMMAND, &writer, value),
            Ok(Message::Command(command))
        );
    }

    let end = a_command(Action::EndSession {
        session_id: "s".to_owned(),
    });
    let library = command_value(&end)
        .resolve(&COMMAND_SCHEMA)
        .expect("it resolves");
    let Value::Record(fields) = library else {
        panic!("a record")
    };
    assert!(
        matches!(fields[4].1, Value::Union(2, _)),
        "apache-avro still makes it a StartSession"
    );
}

#[test]
fn branches_in_another_order_and_unknown_ones_that_are_not_written_resolve() {
    let mut writer = json(SESSION_COMMAND);
    let branches = field(&mut writer, "command")["type"]
        .as_array_mut()
        .expect("a union");
    // The last branch refers to types that stay defined before it.
    branches[..8].reverse();
    branches.insert(
        0,
        json!({"type": "record", "name": "MuteParticipant", "fields": [{"name": "x", "type": "int"}]}),
    );
    for (index, action) in actions().into_iter().enumerate() {
        let command = a_command(action);
        let mut value = command_value(&command);
        let Value::Record(fields) = &mut value else {
            panic!("a record")
        };
        let Value::Union(branch, _) = &mut fields[4].1 else {
            panic!("a union")
        };
        *branch = 8 - u32::try_from(index).expect("small");
        assert_eq!(
            resolve(COMMAND, &writer, value),
            Ok(Message::Command(command))
        );
    }
    let mut value = command_value(&a_command(actions().remove(1)));
    let unknown = Value::Union(0, Box::new(fields([("x", Value::Int(1))])));
    set(&mut value, "command", Some(unknown));
    let reason = reason(resolve(COMMAND, &writer, value));
    assert!(reason.contains("MuteParticipant"), "{reason}");
}

#[test]
fn fields_may_be_added_removed_and_moved() {
    let mut writer = json(MATCH_FOUND);
    for name in ["topicId", "topicTitle", "minParticipants", "sessionId"] {
        without(&mut writer, name);
    }
    let fields = writer["fields"].as_array_mut().expect("fields");
    fields.reverse();
    for extra in [
        json!({"name": "bool", "type": "boolean"}),
        json!({"name": "map", "type": {"type": "map", "values": ["null", "double", {"type": "array", "items": "long"}]}}),
        json!({"name": "fixed", "type": {"type": "fixed", "name": "F", "size": 5}}),
        json!({"name": "nested", "type": {"type": "record", "name": "N", "fields": [
            {"name": "f", "type": "F"}, {"name": "t", "type": "Tier"}, {"name": "b", "type": "bytes"},
            {"name": "l", "type": "float"}, {"name": "u", "type": {"type": "string", "logicalType": "uuid"}},
        ]}}),
    ] {
        fields.insert(fields.len() - 1, extra);
    }
    let found = a_match();
    let mut value = match_value(&found);
    for name in ["topicId", "topicTitle", "minParticipants", "sessionId"] {
        set(&mut value, name, None);
    }
    let array = Value::Array(vec![Value::Long(-1), Value::Long(i64::MIN)]);
    let map = [
        (
            "a".to_owned(),
            Value::Union(1, Box::new(Value::Double(0.5))),
        ),
        ("b".to_owned(), Value::Union(2, Box::new(array))),
    ];
    set(&mut value, "bool", Some(Value::Boolean(true)));
    set(
        &mut value,
        "map",
        Some(Value::Map(map.into_iter().collect())),
    );
    set(&mut value, "fixed", Some(Value::Fixed(5, vec![9; 5])));
    let nested = [
        ("f", Value::Fixed(5, vec![9; 5])),
        ("t", tier(Tier::Free)),
        ("b", Value::Bytes(vec![1, 2])),
        ("l", Value::Float(1.0)),
        ("u", Value::Uuid(uuid::Uuid::nil())),
    ];
    set(&mut value, "nested", Some(super::support::fields(nested)));
    // apache-avro writes records in the value's order of fields, whatever the schema's.
    let Value::Record(values) = &mut value else {
        panic!("a record")
    };
    let order: Vec<_> = writer["fields"]
        .as_array()
        .expect("fields")
        .iter()
        .map(|f| f["name"].clone())
        .collect();
    values.sort_by_key(|(name, _)| order.iter().position(|field| field == name));

    let expected = Match {
        topic_id: None,
        topic_title: None,
        ..found
    };
    assert_eq!(resolve(MATCH, &writer, value), Ok(Message::Match(expected)));
}

#[test]
fn a_field_we_need_and_the_writer_has_not_does_not_resolve() {
    let mut writer = json(MATCH_FOUND);
    without(&mut writer, "matchedAt");
    let mut value = match_value(&a_match());
    set(&mut value, "matchedAt", None);
    let reason = reason(resolve(MATCH, &writer, value));
    assert!(reason.contains("it has no field matchedAt"), "{reason}");
}

#[test]
fn a_value_where_we_have_a_nullable_and_an_int_where_we_have_a_long_resolve() {
    let mut writer = json(MATCH_FOUND);
    field(&mut writer, "topicTitle")["type"] =
        json!({"type": "string", "avro.java.string": "String"});
    field(&mut writer, "topicTitle")["default"] = json!("");
    field(&mut writer, "sessionId")["type"] = json!(["string", "null"]);
    field(&mut writer, "sessionId")["default"] = json!("");
    field(&mut writer, "matchedAt")["type"] = json!("int");
    field(&mut writer, "topicId")["type"] = json!("bytes");
    field(&mut writer, "topicId")["default"] = json!("");
    let mut value = match_value(&a_match());
    set(&mut value, "topicTitle", Some(string("t")));
    set(
        &mut value,
        "sessionId",
        Some(Value::Union(0, Box::new(string("s")))),
    );
    set(&mut value, "matchedAt", Some(Value::Int(7)));
    set(&mut value, "topicId", Some(Value::Bytes(b"id".to_vec())));
    let Value::Record(values) = &mut value else {
        panic!("a record")
    };
    let order: Vec<_> = writer["fields"]
        .as_array()
        .expect("fields")
        .iter()
        .map(|f| f["name"].clone())
        .collect();
    values.sort_by_key(|(name, _)| order.iter().position(|field| field == name));
    let expected = Match {
        topic_title: Some("t".to_owned()),
        session_id: Some("s".to_owned()),
        matched_at: crate::domain::Timestamp(7),
        topic_id: Some("id".to_owned()),
        ..a_match()
    };
    assert_eq!(resolve(MATCH, &writer, value), Ok(Message::Match(expected)));
}

#[test]
fn a_null_where_we_have_a_value_is_undecodable_only_where_it_is_written() {
    let mut writer = json(MATCH_FOUND);
    field(&mut writer, "targetLanguageCode")["type"] = json!(["null", "string"]);
    let mut value = match_value(&a_match());
    let Value::Record(values) = &mut value else {
        panic!("a record")
    };
    values[2].1 = some(string("fr"));
    assert_eq!(
        resolve(MATCH, &writer, value.clone()),
        Ok(Message::Match(a_match()))
    );
    let Value::Record(values) = &mut value else {
        panic!("a record")
    };
    values[2].1 = null();
    assert!(reason(resolve(MATCH, &writer, value)).contains("does not resolve"));
}

#[test]
fn an_unknown_symbol_becomes_the_default_of_our_enum() {
    let mut writer = json(SESSION_COMMAND);
    field(&mut writer, "tier")["type"]["symbols"] = json!(["gold", "premium", "free"]);
    field(&mut writer, "tier")["type"]["default"] = json!("gold");
    field(&mut writer, "tier")["default"] = json!("gold");
    for (index, symbol, expected) in [
        (0, "gold", Tier::Free),
        (1, "premium", Tier::Premium),
        (2, "free", Tier::Free),
    ] {
        let command = Command {
            tier: expected,
            ..a_command(actions().remove(1))
        };
        let mut value = command_value(&command);
        let Value::Record(values) = &mut value else {
            panic!("a record")
        };
        values[3].1 = Value::Enum(index, symbol.to_owned());
        assert_eq!(
            resolve(COMMAND, &writer, value),
            Ok(Message::Command(command))
        );
    }
}

#[test]
fn types_that_are_not_ours_do_not_resolve() {
    let cases = [
        ("matchId", json!("long")),
        (
            "matchId",
            json!({"type": "enum", "name": "E", "symbols": ["a"]}),
        ),
        ("matchedAt", json!("string")),
        (
            "matchedAt",
            json!({"type": "long", "logicalType": "timestamp-micros"}),
        ),
        (
            "matchedAt",
            json!({"type": "long", "logicalType": "local-timestamp-millis"}),
        ),
        ("matchedAt", json!("double")),
        ("maxParticipants", json!("long")),
        ("participants", json!({"type": "array", "items": "string"})),
        ("participants", json!({"type": "map", "values": "string"})),
        ("topicId", json!(["null", "int"])),
        ("topicId", json!(["int", "boolean"])),
    ];
    for (name, kind) in cases {
        let mut writer = json(MATCH_FOUND);
        field(&mut writer, name)["type"] = kind.clone();
        let fields = field(&mut writer, name).as_object_mut().expect("a field");
        fields.remove("default");
        let result = read(MATCH, &writer.to_string(), &[0; 64]);
        let reason = match result {
            Err(Poison::Undecodable { reason }) => reason,
            // Of a union one branch may resolve: then the other is refused where it is written.
            Ok(_) if kind.is_array() => continue,
            other => panic!("{name} {kind}: {other:?}"),
        };
        assert!(
            reason.contains("does not resolve") || kind.is_array(),
            "{name} {kind}: {reason}"
        );
    }
}

#[test]
fn another_record_under_the_same_subject_is_undecodable() {
    let command = written(
        SESSION_COMMAND,
        command_value(&a_command(actions().remove(0))),
    );
    let reason = reason(read(MATCH, SESSION_COMMAND, &command));
    assert!(
        reason.contains("SessionCommand stands where ours has MatchFound"),
        "{reason}"
    );
}

#[test]
fn a_namespace_of_the_writers_own_resolves() {
    let mut writer = json(MATCH_FOUND);
    writer["namespace"] = json!("com.example.matchmaking");
    let found = resolve(MATCH, &writer, match_value(&a_match()));
    assert_eq!(found, Ok(Message::Match(a_match())));
}

#[test]
fn texts_that_are_no_schema_do_not_resolve() {
    for text in [
        "",
        "nonsense",
        "\"string\"",
        "string",
        "[]",
        "{}",
        "null",
        "[\"null\"]",
        r#"{"type":"record","name":"MatchFound"}"#,
        r#"{"type":"record","name":"MatchFound","fields":[]}"#,
        r#"{"type":"record","name":"MatchFound","fields":[{"name":"matchId","type":"Elsewhere"}]}"#,
        r#"{"type":"object","properties":{}}"#,
        "syntax = \"proto3\";",
    ] {
        let (codec, registry) = codec();
        registry.register(MATCH, 7, text);
        let decoded = decode(&codec, &record(MATCH, framed(7, &[0])));
        let Err(Poison::Undecodable { reason }) = decoded else {
            panic!("{text}: {decoded:?}")
        };
        assert!(
            reason.starts_with("writer schema 7 does not resolve"),
            "{text}: {reason}"
        );
    }
}

#[test]
fn an_id_of_another_subject_is_an_unknown_schema() {
    let (codec, _) = codec();
    let value = written(
        SESSION_COMMAND,
        command_value(&a_command(actions().remove(0))),
    );
    let decoded = decode(&codec, &record(MATCH, framed(2, &value)));
    assert_eq!(decoded, Err(Poison::UnknownSchema { id: 2 }));
    let decoded = decode(&codec, &record(COMMAND, framed(u32::MAX, &value)));
    assert_eq!(decoded, Err(Poison::UnknownSchema { id: u32::MAX }));
}

#[test]
fn a_schema_that_is_registered_later_is_found_with_the_next_record() {
    let (codec, registry) = codec();
    let value = record(
        MATCH,
        framed(9, &written(MATCH_FOUND, match_value(&a_match()))),
    );
    assert_eq!(decode(&codec, &value), Err(Poison::UnknownSchema { id: 9 }));
    registry.register(MATCH, 9, MATCH_FOUND);
    assert!(decode(&codec, &value).is_ok());
}

#[test]
fn a_registered_schema_is_asked_for_once_and_outlives_a_faulty_registry() {
    let (codec, registry) = codec();
    let value = record(
        MATCH,
        framed(1, &written(MATCH_FOUND, match_value(&a_match()))),
    );
    let records = vec![value.clone(); 500];
    for _ in 0..3 {
        futures::executor::block_on(codec.prepare(&records)).expect("it answers");
        assert!(codec.decode(&value).is_ok());
        registry.fail(Some("down"));
    }
    assert_eq!(registry.asked.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn a_faulty_registry_is_no_poison() {
    let (codec, registry) = codec();
    registry.fail(Some("down"));
    let value = record(
        MATCH,
        framed(1, &written(MATCH_FOUND, match_value(&a_match()))),
    );
    let prepared = futures::executor::block_on(codec.prepare(std::slice::from_ref(&value)));
    assert_eq!(
        prepared,
        Err(LookupError::Unavailable {
            reason: "down".to_owned()
        })
    );
    registry.fail(None);
    assert!(decode(&codec, &value).is_ok());
}

#[test]
fn renamed_topics_are_read_under_their_own_subjects() {
    let registry = std::sync::Arc::new(MemoryRegistry::default());
    registry.register("eu.matches", 1, MATCH_FOUND);
    let topics = crate::record::TopicNames {
        match_found: "eu.matches".into(),
        ..crate::record::TopicNames::default()
    };
    let codec = Codec::new(topics, IDS, registry);
    let value = framed(1, &written(MATCH_FOUND, match_value(&a_match())));
    assert!(decode(&codec, &record("eu.matches", value)).is_ok());
}

fn text() -> impl Strategy<Value = String> {
    ".{0,20}"
}

fn any_match() -> impl Strategy<Value = Match> {
    let user = (text(), any::<bool>());
    (
        (text(), any::<i64>(), text()),
        proptest::option::of(text()),
        proptest::option::of(text()),
        proptest::collection::vec(user, 0..8),
        any::<(i32, i32)>(),
        proptest::option::of(text()),
    )
        .prop_map(
            |(head, topic_id, topic_title, users, (min, max), session_id)| Match {
                match_id: head.0,
                matched_at: crate::domain::Timestamp(head.1),
                target_language_code: head.2,
                topic_id,
                topic_title,
                participants: users
                    .into_iter()
                    .map(|(user_id, premium)| MatchedUser {
                        user_id,
                        tier: if premium { Tier::Premium } else { Tier::Free },
                    })
                    .collect(),
                min_participants: min,
                max_participants: max,
                session_id,
            },
        )
}

proptest! {
    /// apache-avro writes, we read; JSON says the same; what we forward says the same.
    #[test]
    fn any_match_means_the_same_in_every_encoding(found in any_match()) {
        let (codec, _) = codec();
        let avro = written(MATCH_FOUND, match_value(&found));
        let avro = record(MATCH, framed(1, &avro));
        let decoded = decode(&codec, &avro).expect("it decodes");
        prop_assert_eq!(&decoded.message, &Message::Match(found.clone()));
        let json = decode(&codec, &record(MATCH, match_json(&found).to_string()));
        prop_assert_eq!(json.as_ref(), Ok(&decoded));
        let forward = codec.forward(&avro, &decoded, &session_id(), 5, &avro.origin(), 1);
        let home = record(COMMAND, forward.value.expect("it has a value"));
        let home = decode(&codec, &Record { headers: forward.headers, ..home }).expect("it decodes");
        prop_assert!(home.admitted);
        prop_assert_eq!(home.message, decoded.message);
        prop_assert_eq!(home.fingerprint, decoded.fingerprint);
    }

    /// Of our own schema, whatever we read apache-avro's serde reader reads, too, and alike.
    #[test]
    fn what_we_read_the_library_reads_alike(
        branch in 0_u8..10,
        tail in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let head = [2, b'c', 2, 2, b'u', 2, branch * 2];
        let bytes = [&head[..], &tail].concat();
        let ours = read(COMMAND, SESSION_COMMAND, &bytes);
        let reader = GenericDatumReader::builder(&COMMAND_SCHEMA).build().expect("it resolves");
        let mut rest = &bytes[..];
        let theirs = reader.read_deser::<serde_json::Value>(&mut rest);
        let theirs = theirs.ok().filter(|_| rest.is_empty());
        prop_assert_eq!(ours.is_ok(), theirs.is_some(), "{:?} {:?}", ours, theirs);
        if let (Ok(Message::Command(command)), Some(theirs)) = (ours, theirs) {
            let Value::Record(value) = command_value(&command) else { panic!("a record") };
            let schema = Schema::parse_str(SESSION_COMMAND).expect("it parses");
            let again = apache_avro::writer::datum::GenericDatumWriter::builder(&schema)
                .build().expect("it resolves").write_value_to_vec(Value::Record(value)).expect("it fits");
            let mut rest = &again[..];
            prop_assert_eq!(reader.read_deser::<serde_json::Value>(&mut rest).ok(), Some(theirs));
        }
    }
}
