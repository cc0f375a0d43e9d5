//! Faults of the database: documents that cannot be read, errors of the server, and times without it.

use std::time::{Duration, Instant};

use dev::Services;
use mongodb::bson::{Bson, Document, doc};
use serde_json::json;

use crate::client::{command, text, unique};
use crate::deployment::Parts;
use crate::load::{LANE, LANES, session_in};
use crate::scene::{Scene, creation_of, on};
use crate::services;
use crate::table::Measured;

/// Sets a field of a document to what no worker writes, and returns what it was.
async fn spoil(scene: &Scene, collection: &str, id: &str, field: &str) -> Bson {
    let by_id = doc! { "_id": id };
    let collection = scene.collection(collection).await;
    let stored = collection
        .find_one(by_id.clone())
        .await
        .expect("it answers");
    let stored = stored.expect("the document is there");
    let newer = doc! { "$set": { field: "of a later version" } };
    let updated = collection.update_one(by_id, newer).await;
    updated.expect("it is written");
    stored.get(field).cloned().unwrap_or(Bson::Null)
}

async fn repair(scene: &Scene, collection: &str, id: &str, field: &str, before: Bson) {
    let repaired = doc! { "$set": { field: before } };
    let collection = scene.collection(collection).await;
    let updated = collection.update_one(doc! { "_id": id }, repaired).await;
    assert_eq!(updated.expect("it is written").matched_count, 1);
}

/// What goes on beside one document that cannot be read.
async fn others_go_on(scene: &mut Scene) {
    scene.same_lane_answers().await;
    scene.other_lanes_answer().await;
    scene.deadlines_fire().await;
    scene.probes_answer().await;
    scene.worker().readiness(200).await;
}

pub(crate) async fn participant_deleted() -> Measured {
    let mut scene = Scene::calm().await;
    let (session, host, _) = scene.session().await;
    let id = format!("{}:{host}", session.session);
    // A worker that has the session in memory would not notice.
    scene.stop().await;
    let participants = scene.collection("participants").await;
    let deleted = participants.find_one_and_delete(doc! { "_id": &id }).await;
    let deleted = deleted.expect("it answers").expect("it was there");
    scene.start().await;
    let start = command(&host, "StartSession", &on(&session.session));
    scene.unreadable(&session.session, &start, 0).await;
    others_go_on(&mut scene).await;
    scene.worker().says("parked").await;
    scene.also("its own deadline was parked");
    let restored = participants.insert_one(deleted).await;
    restored.expect("it is written");
    let began = Instant::now();
    scene.client.events(&session.session, "session.ended").await;
    let whole = began.elapsed();
    scene.end(whole).await
}

pub(crate) async fn newer_end_reason() -> Measured {
    let mut scene = Scene::calm().await;
    let (session, host, made) = scene.session().await;
    let code = json!({"inviteCode": made["inviteCode"]});
    scene.stop().await;
    let before = spoil(&scene, "sessions", &session.session, "endReason").await;
    scene.start().await;
    let join = command(&unique("guest"), "JoinSession", &code);
    // Any other lane gets it first.
    let elsewhere = session_in((LANE + 1) % LANES);
    scene.unreadable(&elsewhere, &join, 0).await;
    others_go_on(&mut scene).await;
    let history = format!("/sessions/history?userId={host}");
    scene.worker().answers(&history, "\"items\"").await;
    scene.also("the host's history answered");
    repair(&scene, "sessions", &session.session, "endReason", before).await;
    let began = Instant::now();
    let guest = unique("guest");
    let result = scene.ask(&elsewhere, &guest, "JoinSession", &code).await;
    // Its deadline has passed meanwhile.
    assert_eq!(result["code"], "session_ended", "{result}");
    let whole = began.elapsed();
    scene.end(whole).await
}

pub(crate) async fn user_spoiled() -> Measured {
    let mut scene = Scene::calm().await;
    let (session, host, _) = scene.session().await;
    scene.stop().await;
    let before = spoil(&scene, "users", &host, "used").await;
    scene.start().await;
    let (create, _) = creation_of(&host);
    scene.unreadable(&session.session, &create, 0).await;
    others_go_on(&mut scene).await;
    repair(&scene, "users", &host, "used", before).await;
    let began = Instant::now();
    let body = json!({"targetLanguageCode": "fr"});
    let key = &session.session;
    let result = scene.ask(key, &host, "CreatePrivateSession", &body).await;
    assert_eq!(result["outcome"], "accepted", "{result}");
    let whole = began.elapsed();
    // The deadline of the user's session was parked and is taken back.
    scene.client.events(&session.session, "session.ended").await;
    scene.end(whole).await
}

pub(crate) async fn ledger_spoiled() -> Measured {
    let mut scene = Scene::calm().await;
    let (create, sent) = creation_of(&unique("host"));
    let first = scene.again(&sent.session, &create, 1).await;
    assert_eq!(first["outcome"], "accepted", "{first}");
    let entry = format!("command:{}", text(&create["commandId"]));
    scene.stop().await;
    let before = spoil(&scene, "ledger", &entry, "result").await;
    scene.start().await;
    scene.unreadable(&sent.session, &create, 1).await;
    others_go_on(&mut scene).await;
    repair(&scene, "ledger", &entry, "result", before).await;
    let began = Instant::now();
    let replayed = scene.again(&sent.session, &create, 3).await;
    let whole = began.elapsed();
    assert_eq!(replayed["outcome"], "accepted", "{replayed}");
    assert_eq!(replayed["sessionId"], first["sessionId"], "{replayed}");
    scene.end(whole).await
}

async fn admin(uri: &str, command: Document) {
    let client = mongodb::Client::with_uri_str(uri).await;
    let admin = client.expect("a client").database("admin");
    let answer = admin.run_command(command).await;
    answer.expect("the server obeys");
}

async fn plain(command: Document) {
    admin(services::plain().mongo_uri(), command).await;
}

/// Ends the faults of this file.
pub(crate) async fn recover() {
    plain(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await;
    plain(doc! { "setUserWriteBlockMode": 1, "global": false }).await;
}

/// The database fails while `fault` lasts.
async fn without_database(scene: &mut Scene, fault: Duration) {
    let began = Instant::now();
    scene.readiness_says(&["held"]).await;
    scene.probes_answer().await;
    // The fault itself takes its time.
    tokio::time::sleep(fault.saturating_sub(began.elapsed())).await;
}

pub(crate) async fn server_errors() -> Measured {
    let mut scene = Scene::calm().await;
    for code in [8000, 371, 8] {
        let commands = [
            "find",
            "insert",
            "update",
            "findAndModify",
            "commitTransaction",
        ];
        plain(doc! {
            "configureFailPoint": "failCommand",
            "mode": "alwaysOn",
            "data": { "failCommands": commands.as_slice(), "appName": "session-worker", "errorCode": code },
        })
        .await;
        without_database(&mut scene, Duration::from_secs(3)).await;
    }
    plain(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await;
    let whole = scene.all_work(Instant::now()).await;
    scene.end(whole).await
}

pub(crate) async fn writes_blocked() -> Measured {
    let mut scene = Scene::calm().await;
    plain(doc! { "setUserWriteBlockMode": 1, "global": true }).await;
    without_database(&mut scene, Duration::from_secs(15)).await;
    plain(doc! { "setUserWriteBlockMode": 1, "global": false }).await;
    let whole = scene.all_work(Instant::now()).await;
    scene.end(whole).await
}

pub(crate) async fn frozen() -> Measured {
    let mut scene = Scene::calm().await;
    services::plain().member(0).freeze().await;
    without_database(&mut scene, Duration::from_secs(10)).await;
    services::plain().member(0).thaw().await;
    let whole = scene.all_work(Instant::now()).await;
    scene.end(whole).await
}

/// Parts of which only the database is another.
pub(crate) fn parts_on(members: &Services) -> Parts {
    Parts {
        mongo: members.mongo_uri().to_owned(),
        ..Parts::shared()
    }
}

pub(crate) async fn step_down() -> Measured {
    let members = services::three_members().await;
    let mut scene = Scene::with(parts_on(&members), &[], 1).await;
    let began = Instant::now();
    admin(members.mongo_uri(), doc! { "replSetStepDown": 10 }).await;
    scene.probes_answer().await;
    let whole = scene.all_work(began).await;
    let measured = scene.end(whole).await;
    members.stop().await;
    measured
}

pub(crate) async fn primary_killed() -> Measured {
    let members = services::three_members().await;
    let mut scene = Scene::with(parts_on(&members), &[], 1).await;
    let began = Instant::now();
    let primary = members.primary().await.expect("one is primary");
    primary.kill().await;
    scene.probes_answer().await;
    let whole = scene.all_work(began).await;
    primary.restart().await.expect("it starts again");
    let measured = scene.end(whole).await;
    members.stop().await;
    measured
}
