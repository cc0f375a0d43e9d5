//! Faults of the schema registry: a URL that lags, one that does not answer, and three workers that
//! register at once.

use std::time::Instant;

use serde_json::{Value, json};

use crate::client::{avro_match, found, schema_id, text, unique};
use crate::deployment::{Deployment, Parts};
use crate::proxy::{Behavior, Proxy};
use crate::scene::{DEADLINES, Scene};
use crate::services;
use crate::table::Measured;

/// A match with every field, as Avro wants it.
fn whole_match() -> Value {
    let mut found = found(&[&unique("ann"), &unique("bob")]);
    for (name, value) in [("minParticipants", 2), ("maxParticipants", 6)] {
        found[name] = json!(value);
    }
    for name in ["topicId", "topicTitle", "sessionId"] {
        found[name] = json!(null);
    }
    for user in found["participants"].as_array_mut().expect("a list") {
        user["tier"] = json!("free");
    }
    found
}

/// Sends a match in Avro, which the worker can only read with the registry's help.
async fn send(scene: &mut Scene) -> String {
    let schema = schema_id(&scene.deployment, "match-found").await;
    send_as(scene, schema).await
}

async fn send_as(scene: &mut Scene, schema: u32) -> String {
    let found = whole_match();
    let id = text(&found["matchId"]);
    let value = avro_match(schema, &found);
    scene.client.write("match-found", &id, &value, &[]).await;
    scene.counts(&id);
    id
}

async fn behind(behavior: Behavior) -> Measured {
    let proxy = Proxy::new(behavior).await;
    let urls = format!("registry.urls={},{}", proxy.url(), services::registry_url());
    let mut scene = Scene::with(Parts::shared(), &[&urls], 1).await;
    let began = Instant::now();
    let id = send(&mut scene).await;
    let result = scene.client.result(&id).await;
    let whole = began.elapsed();
    assert_eq!(result["outcome"], "accepted", "{result}");
    assert!(proxy.requests() > 0, "the first URL was not asked");
    scene.all_lanes_answer().await;
    scene.probes_answer().await;
    scene.end(whole).await
}

pub(crate) async fn first_url_is_empty() -> Measured {
    behind(Behavior::Empty).await
}

pub(crate) async fn first_url_answers_502() -> Measured {
    behind(Behavior::Answer(502, "<html>")).await
}

pub(crate) async fn frozen() -> Measured {
    let mut scene = Scene::calm().await;
    let schema = schema_id(&scene.deployment, "match-found").await;
    scene.fault_begins();
    services::plain().registry_process().freeze().await;
    let id = send_as(&mut scene, schema).await;
    scene.readiness_says(&["held", "match-found"]).await;
    scene.all_lanes_answer().await;
    scene.deadlines_fire().await;
    scene.probes_answer().await;
    assert!(!scene.client.is_answered(&id), "it could not be read yet");
    services::plain().registry_process().thaw().await;
    let began = Instant::now();
    let result = scene.client.result(&id).await;
    let whole = began.elapsed();
    assert_eq!(result["outcome"], "accepted", "{result}");
    scene.end(whole).await
}

pub(crate) async fn three_register_at_once() -> Measured {
    let deployment = Deployment::named(Parts::shared(), &[DEADLINES]);
    let applied = deployment.run(&["topics", "apply"], &[]).await;
    assert_eq!(applied.code, Some(0), "{}", applied.text);
    let began = Instant::now();
    let register = ["registry.autoRegister=true"];
    let workers = futures::future::join_all((0..3).map(|_| deployment.unready_worker(&register)));
    let workers = workers.await;
    for worker in &workers {
        worker.readiness(200).await;
    }
    let mut scene = Scene::of(deployment, &[], 0).await;
    scene.workers = workers;
    scene.all_lanes_answer().await;
    let whole = began.elapsed();
    scene.probes_answer().await;
    scene.end(whole).await
}
