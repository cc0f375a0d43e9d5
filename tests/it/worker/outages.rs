//! Outages of one part each, its own so that no other test notices: the worker waits, says so, and
//! goes on; nothing is lost and nothing becomes a dead letter (contract 1, Dead letters).

use dev::{Mongo, Options, Services, Source};
use serde_json::json;

use super::client::{Client, avro_match, found, schema_id, text, unique};
use super::deployment::{Deployment, Parts};
use crate::services;

async fn own(options: Options) -> Services {
    let options = Options {
        source: Source::Own,
        ..options
    };
    Services::start(options).await.expect("an own part")
}

async fn create(client: &Client) -> String {
    let body = json!({"targetLanguageCode": "fr"});
    client
        .send(&unique("user"), "CreatePrivateSession", &body)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_outage_loses_nothing() {
    let _undisturbed = services::undisturbed().await;
    let own = own(Options {
        kafka: true,
        ..Options::none()
    })
    .await;
    let parts = Parts {
        kafka: own.kafka().to_owned(),
        ..Parts::shared()
    };
    let deployment = Deployment::prepared(parts, &[]).await;
    let client = Client::new(&deployment);
    let mut worker = deployment.worker(&[]).await;
    let mut sent = Vec::new();
    for _ in 0..10 {
        sent.push(create(&client).await);
    }
    own.broker().kill().await;
    worker.readiness(503).await;
    own.broker().restart().await.expect("it starts again");
    for _ in 0..10 {
        sent.push(create(&client).await);
    }
    client.guarantees_hold(&sent).await;
    worker.readiness(200).await;
    assert!(worker.is_running());
    worker.stop().await;
    deployment.is_sound().await;
    drop(client);
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_outage_holds_only_what_needs_the_registry() {
    let _undisturbed = services::undisturbed().await;
    let own = own(Options {
        registry: true,
        ..Options::none()
    })
    .await;
    let parts = Parts {
        registry: own.registry_url().to_owned(),
        ..Parts::shared()
    };
    let deployment = Deployment::prepared(parts, &[]).await;
    let schema = schema_id(&deployment, "match-found").await;
    let client = Client::new(&deployment);
    let worker = deployment.worker(&[]).await;
    own.registry_process().freeze().await;

    // The worker does not write matches, so it has not looked their schema up yet.
    let [ann, bob] = ["ann", "bob"].map(unique);
    let mut held = found(&[&ann, &bob]);
    for (name, value) in [("minParticipants", 2), ("maxParticipants", 6)] {
        held[name] = json!(value);
    }
    for name in ["topicId", "topicTitle", "sessionId"] {
        held[name] = json!(null);
    }
    for user in held["participants"].as_array_mut().expect("a list") {
        user["tier"] = json!("free");
    }
    let held_id = text(&held["matchId"]);
    let avro = avro_match(schema, &held);
    client.write("match-found", &held_id, &avro, &[]).await;
    let mut sent = Vec::new();
    for _ in 0..8 {
        sent.push(create(&client).await);
    }
    worker.readiness(503).await;
    client.any_result(&sent).await;
    assert!(!client.is_answered(&held_id), "it could not be read yet");
    assert_eq!(client.dead_letters(), 0);
    own.registry_process().thaw().await;
    sent.push(held_id);
    client.guarantees_hold(&sent).await;
    worker.readiness(200).await;
    worker.stop().await;
    deployment.is_sound().await;
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_outage_loses_nothing() {
    let _undisturbed = services::undisturbed().await;
    let own = own(Options {
        mongo: Mongo::Single,
        ..Options::none()
    })
    .await;
    let parts = Parts {
        mongo: own.mongo_uri().to_owned(),
        ..Parts::shared()
    };
    let deployment = Deployment::prepared(parts, &[]).await;
    let client = Client::new(&deployment);
    let worker = deployment.worker(&[]).await;
    let mut sent = Vec::new();
    for _ in 0..10 {
        sent.push(create(&client).await);
    }
    own.member(0).freeze().await;
    for _ in 0..10 {
        sent.push(create(&client).await);
    }
    worker.readiness(503).await;
    own.member(0).thaw().await;
    client.guarantees_hold(&sent).await;
    worker.readiness(200).await;
    worker.stop().await;
    deployment.is_sound().await;
    own.stop().await;
}
