//! The registry's client and the commands about schemas against a real registry, behind proxies that
//! ask for credentials, lag behind, or answer wrongly.

mod credentials;
mod lagging;
mod proxy;
mod references;
mod releases;
mod tls;

use std::sync::Arc;

use serde_json::{Value, json};
use session_worker::record::{Record, TopicNames, TopicPartition};
use session_worker::wire::registry::{Confirmation, Connection};
use session_worker::wire::{Decoded, Decoder, LookupError, Poison, Registry};

use crate::services;
use crate::worker::client::{avro_match, found, unique};
use crate::worker::deployment::{Deployment, Parts};

/// Subjects that no other test has.
fn deployment() -> Deployment {
    Deployment::named(Parts::shared(), &[])
}

/// The same behind `urls`.
fn behind(deployment: &Deployment, urls: &str) -> Deployment {
    deployment.on(Parts {
        registry: urls.to_owned(),
        ..Parts::shared()
    })
}

/// Asks the registry itself.
async fn ask(method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.expect("a client");
    let mut request = client.request(method, format!("{}/{path}", services::registry_url()));
    if let Some(body) = body {
        request = request
            .header("content-type", "application/vnd.schemaregistry.v1+json")
            .body(body.to_string());
    }
    let answer = request.send().await.expect("the registry answers");
    let status = answer.status().as_u16();
    let body = answer.bytes().await.expect("it answers in full");
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Registers `text` with the schemas that it refers to, each a name and a subject; its id.
async fn register(subject: &str, text: &str, references: &[(&str, &str)]) -> u32 {
    let references = references
        .iter()
        .map(|(name, subject)| json!({"name": name, "subject": subject, "version": 1}));
    let references: Vec<_> = references.collect();
    let body = json!({"schema": text, "schemaType": "AVRO", "references": references});
    let path = format!("subjects/{subject}/versions");
    let (status, answer) = ask(reqwest::Method::POST, &path, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    serde_json::from_value(answer["id"].clone()).expect("an id")
}

/// The versions of `subject`.
async fn versions(subject: &str) -> Vec<u32> {
    let path = format!("subjects/{subject}/versions");
    let (_, answer) = ask(reqwest::Method::GET, &path, None).await;
    serde_json::from_value(answer).expect("a list")
}

/// The topics of `deployment`.
fn topics(deployment: &Deployment) -> TopicNames {
    TopicNames {
        match_found: deployment.topic("match-found").into(),
        session_command: deployment.topic("session-command").into(),
        ..TopicNames::default()
    }
}

/// A worker's decoder that looks schemas up at `urls`.
fn decoder(deployment: &Deployment, urls: &[&str]) -> Decoder {
    let connection = Connection {
        urls: urls.iter().map(|&url| url.to_owned()).collect(),
        ..Connection::default()
    };
    let registry = Registry::new(&connection, Confirmation::WORKER).expect("the URLs are good");
    Decoder::new(topics(deployment), Arc::new(registry))
}

/// A match written with our own schema under the id of another.
fn a_match(deployment: &Deployment, id: u32) -> Record {
    let mut found = found(&["ann", "bob"]);
    found["matchId"] = json!(unique("match"));
    for (name, value) in [("minParticipants", 2), ("maxParticipants", 6)] {
        found[name] = json!(value);
    }
    for name in ["topicId", "topicTitle", "sessionId"] {
        found[name] = json!(null);
    }
    for user in found["participants"].as_array_mut().expect("a list") {
        user["tier"] = json!("free");
    }
    Record {
        lane: TopicPartition::new(deployment.topic("match-found"), 0),
        offset: 1,
        timestamp: None,
        key: None,
        value: Some(avro_match(id, &found)),
        headers: Vec::new(),
    }
}

/// What becomes of a match under schema `id`.
async fn decoded(
    decoder: &Decoder,
    deployment: &Deployment,
    id: u32,
) -> Result<Result<Decoded, Poison>, LookupError> {
    let record = a_match(deployment, id);
    decoder.prepare(std::slice::from_ref(&record)).await?;
    Ok(decoder.decode(&record))
}
