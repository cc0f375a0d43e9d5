//! `schemas check` and `schemas register`: several at once, and schemas in other spellings.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{ask, deployment, register, versions};
use crate::services;
use crate::worker::deployment::{Deployment, Parts};

const INPUTS: [(&str, &str); 2] = [
    (
        "match-found",
        include_str!("../../../schemas/match-found-value.avsc"),
    ),
    (
        "session-command",
        include_str!("../../../schemas/session-command-value.avsc"),
    ),
];
const OUTPUTS: [(&str, &str); 2] = [
    (
        "session-event",
        include_str!("../../../schemas/session-event-value.avsc"),
    ),
    (
        "session-command-result",
        include_str!("../../../schemas/session-command-result-value.avsc"),
    ),
];

fn subject(deployment: &Deployment, topic: &str) -> String {
    format!("{}-value", deployment.topic(topic))
}

/// Every version of each of our subjects is our schema, under its level. Apicurio may make two versions
/// of one text if two requests arrive at the same moment.
async fn are_registered(deployment: &Deployment) {
    let inputs = INPUTS.map(|(topic, text)| (topic, text, "BACKWARD_TRANSITIVE"));
    let outputs = OUTPUTS.map(|(topic, text)| (topic, text, "FULL_TRANSITIVE"));
    for (topic, text, level) in inputs.into_iter().chain(outputs) {
        let subject = subject(deployment, topic);
        for version in versions(&subject).await {
            let path = format!("subjects/{subject}/versions/{version}");
            let (_, answer) = ask(reqwest::Method::GET, &path, None).await;
            assert_eq!(answer["schema"], text, "{subject}");
        }
        let (_, config) = ask(reqwest::Method::GET, &format!("config/{subject}"), None).await;
        assert_eq!(config["compatibilityLevel"], level, "{subject}: {config}");
    }
}

/// One version of each of our subjects, under its level.
async fn are_registered_once(deployment: &Deployment) {
    let inputs = INPUTS.map(|(topic, _)| (topic, "BACKWARD_TRANSITIVE"));
    let outputs = OUTPUTS.map(|(topic, _)| (topic, "FULL_TRANSITIVE"));
    for (topic, level) in inputs.into_iter().chain(outputs) {
        let subject = subject(deployment, topic);
        assert_eq!(versions(&subject).await, [1], "{subject}");
        let (_, config) = ask(reqwest::Method::GET, &format!("config/{subject}"), None).await;
        assert_eq!(config["compatibilityLevel"], level, "{subject}: {config}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_that_register_at_once_all_succeed() {
    for _ in 0..3 {
        let deployment = deployment();
        let registering = (0..4).map(|_| deployment.run(&["schemas", "register"], &[]));
        for ended in join_all(registering).await {
            assert_eq!(ended.code, Some(0), "{}", ended.text);
        }
        are_registered(&deployment).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_start_at_once_on_an_empty_registry_all_start() {
    let _undisturbed = services::undisturbed().await;
    let deployment = deployment();
    let ended = deployment.run(&["topics", "apply"], &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let workers = (0..3).map(|_| deployment.worker(&["registry.autoRegister=on"]));
    for worker in join_all(workers).await {
        worker.stop().await;
    }
    are_registered(&deployment).await;
}

/// The schema with its keys in another order, without spaces and documentation.
fn in_another_spelling(text: &str) -> String {
    fn rewritten(value: &Value) -> String {
        match value {
            Value::Object(object) => {
                let entries = object.iter().filter(|(key, _)| *key != "doc").rev();
                let entries =
                    entries.map(|(key, value)| format!("{}:{}", json!(key), rewritten(value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(rewritten).collect();
                format!("[{}]", items.join(","))
            }
            other => other.to_string(),
        }
    }
    rewritten(&serde_json::from_str(text).expect("it is JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_in_another_spelling_are_found_and_not_registered_again() {
    let _undisturbed = services::undisturbed().await;
    let deployment = deployment();
    for (topic, text) in INPUTS.into_iter().chain(OUTPUTS) {
        let other = in_another_spelling(text);
        assert_ne!(other, text);
        register(&subject(&deployment, topic), &other, &[]).await;
    }
    let ended = deployment.run(&["schemas", "check"], &[]).await;
    assert!(!ended.text.contains("not registered"), "{}", ended.text);
    let ended = deployment.run(&["schemas", "register"], &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    are_registered_once(&deployment).await;
    let ended = deployment.run(&["schemas", "check"], &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let ended = deployment.run(&["topics", "apply"], &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    deployment.worker(&[]).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incompatible_schema_is_refused() {
    let deployment = Deployment::named(Parts::shared(), &[]);
    let (topic, _) = OUTPUTS[0];
    let subject = subject(&deployment, topic);
    let other = r#"{"type":"record","name":"SessionEvent","namespace":"sessions","fields":[{"name":"other","type":"int"}]}"#;
    register(&subject, other, &[]).await;
    let ended = deployment.run(&["schemas", "register"], &[]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(
        ended.text.contains("schema registry refuses"),
        "{}",
        ended.text
    );
    assert_eq!(versions(&subject).await, [1]);
}
