//! Which texts are spellings of the same schema.

use serde_json::Value;

use super::stub::{client, stub};
use crate::record::TopicNames;
use crate::wire::*;

/// Every object's keys in reverse order, and no spaces.
fn turned_round(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<_> = object.keys().collect();
            keys.sort_unstable_by(|a, b| b.cmp(a));
            let entries = keys.iter().map(|key| {
                let key_text = Value::String((*key).clone());
                format!("{key_text}:{}", turned_round(&object[*key]))
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(turned_round).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}

fn changed(change: impl Fn(&mut Value)) -> String {
    let mut schema: Value = serde_json::from_str(MATCH_FOUND).expect("it is JSON");
    change(&mut schema);
    schema.to_string()
}

/// Takes `key` out everywhere.
fn without(value: &mut Value, key: &str) {
    match value {
        Value::Object(object) => {
            object.remove(key);
            object.values_mut().for_each(|value| without(value, key));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| without(value, key)),
        _ => {}
    }
}

async fn is_found(text: &str) -> bool {
    let (stub, url) = stub().await;
    stub.add(
        "match-found-value",
        1,
        3,
        r#"{"type":"record","name":"Other","fields":[]}"#,
    );
    stub.add("match-found-value", 2, 5, text);
    let registry = client(&[&url]);
    match registry.lookup("match-found-value", MATCH_FOUND).await {
        Ok(id) => {
            assert_eq!(id, 5);
            true
        }
        Err(LookupError::NotFound) => false,
        Err(fault) => panic!("{fault}"),
    }
}

#[tokio::test]
async fn other_spellings_are_the_same_schema() {
    let schema: Value = serde_json::from_str(MATCH_FOUND).expect("it is JSON");
    for (what, text) in [
        ("order of keys", turned_round(&schema)),
        ("no documentation", changed(|schema| without(schema, "doc"))),
        (
            "other documentation",
            changed(|schema| schema["doc"] = "another".into()),
        ),
        (
            "a name in full",
            changed(|schema| {
                schema["name"] = "sessions.MatchFound".into();
                without(schema, "namespace");
            }),
        ),
        (
            "a type as an object",
            changed(|schema| schema["fields"][0]["type"] = serde_json::json!({"type": "string"})),
        ),
        (
            "what Java adds",
            changed(|schema| {
                schema["fields"][0]["type"] =
                    serde_json::json!({"type": "string", "avro.java.string": "String"});
            }),
        ),
    ] {
        assert!(is_found(&text).await, "{what}");
    }
}

#[tokio::test]
async fn another_schema_is_another_schema() {
    for (what, text) in [
        (
            "a field's name",
            changed(|schema| schema["fields"][0]["name"] = "id".into()),
        ),
        (
            "a type",
            changed(|schema| schema["fields"][0]["type"] = "bytes".into()),
        ),
        (
            "a logical type",
            changed(|schema| schema["fields"][1]["type"] = "long".into()),
        ),
        (
            "a default",
            changed(|schema| schema["fields"][6]["default"] = 3.into()),
        ),
        (
            "no default",
            changed(|schema| without(&mut schema["fields"][6], "default")),
        ),
        (
            "no default null",
            changed(|schema| without(&mut schema["fields"][3], "default")),
        ),
        (
            "an alias",
            changed(|schema| schema["fields"][0]["aliases"] = serde_json::json!(["id"])),
        ),
        (
            "a record's alias",
            changed(|schema| schema["aliases"] = serde_json::json!(["Found"])),
        ),
        (
            "a namespace",
            changed(|schema| schema["namespace"] = "other".into()),
        ),
        (
            "symbols",
            changed(|schema| {
                let tier = &mut schema["fields"][5]["type"]["items"]["fields"][1]["type"];
                tier["symbols"] = serde_json::json!(["premium", "free"]);
            }),
        ),
        (
            "an enum's default",
            changed(|schema| {
                let tier = &mut schema["fields"][5]["type"]["items"]["fields"][1]["type"];
                tier["default"] = "premium".into();
            }),
        ),
        (
            "a field more",
            changed(|schema| {
                let more = serde_json::json!({"name": "more", "type": ["null", "string"], "default": null});
                schema["fields"].as_array_mut().expect("a list").push(more);
            }),
        ),
    ] {
        assert!(!is_found(&text).await, "{what}");
    }
}

#[tokio::test]
async fn registering_adds_no_version_that_is_there_in_another_spelling() {
    let (stub, url) = stub().await;
    let subjects = subjects(&TopicNames::default());
    for (number, subject) in (1..).zip(&subjects) {
        let schema: Value = serde_json::from_str(subject.text).expect("it is JSON");
        stub.add(&subject.name, 1, number, &turned_round(&schema));
    }
    let registry = client(&[&url]);
    let registered = registry.register_all(&subjects).await.expect("it answers");
    let ids: Vec<_> = registered.iter().map(|done| done.id).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    let versions = stub.versions.lock().expect("no test panics here").len();
    assert_eq!(versions, 4);
    let checks = registry.check_all(&subjects).await.expect("it answers");
    assert!(checks.iter().all(registry::SubjectCheck::is_settled));
    let ids = registry
        .output_ids(&subjects)
        .await
        .expect("they are there");
    assert_eq!((ids.command, ids.event, ids.result), (2, 3, 4));
}
