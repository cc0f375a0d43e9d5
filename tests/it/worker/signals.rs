//! SIGTERM in every phase: one drains, a second ends the process at once (contract 6).

use std::time::Instant;

use dev::{FailPoints, Mongo, Options, Services, Source};
use mongodb::bson::{Document, doc};

use super::deployment::{Deployment, PATIENCE, Parts};
use crate::services;

/// The server's answers to a look-up of participants come late; the views alone ask for those.
async fn slow_views(admin: &mongodb::Database, deployment: &Deployment) {
    let data = doc! {
        "failCommands": ["find"],
        "namespace": format!("worker_{}.participants", deployment.name),
        "blockConnection": true,
        "blockTimeMS": 20_000,
    };
    let fail_point = doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data };
    admin.run_command(fail_point).await.expect("it is set");
}

/// Waits until a look-up is under way.
async fn looked_up(admin: &mongodb::Database) {
    let ask = doc! { "getParameter": 1, "failpoint.failCommand": 1 };
    let began = Instant::now();
    loop {
        let answer = admin.run_command(ask.clone()).await.expect("it answers");
        let state = answer.get_document("failpoint.failCommand");
        let entered = state
            .ok()
            .and_then(|state: &Document| state.get("timesEntered"));
        let entered = entered.and_then(|times| times.as_i64().or(times.as_i32().map(i64::from)));
        if entered.is_some_and(|times| times > 0) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "no look-up: {answer}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_a_second_signal_ends_the_worker_while_an_answer_is_slow() {
    let _undisturbed = services::undisturbed().await;
    let own = Services::start(Options {
        mongo: Mongo::Single,
        fail_points: FailPoints::On,
        source: Source::Own,
        ..Options::none()
    });
    let own = own.await.expect("an own database");
    let parts = Parts {
        mongo: own.mongo_uri().to_owned(),
        ..Parts::shared()
    };
    let deployment = Deployment::prepared(parts, &[]).await;
    let mut command = deployment.command(&["run"], &["http.listen=127.0.0.1:0"]);
    command.env_remove("RUST_LOG");
    let worker = Deployment::started(command).await;
    worker.readiness(200).await;
    let client = mongodb::Client::with_uri_str(own.mongo_uri()).await;
    let admin = client.expect("a client").database("admin");
    slow_views(&admin, &deployment).await;
    let answer = tokio::spawn(reqwest::get(worker.url("/sessions/current?userId=amina")));
    looked_up(&admin).await;
    worker.signal("-TERM");
    worker.says("answers under way may finish").await;
    worker.signal("-TERM");
    let ended = worker.ended().await;
    assert!(answer.await.expect("no panic").is_err(), "{}", ended.text);
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.text.contains("second signal"), "{}", ended.text);
    assert!(!ended.text.contains("\"stopped\""), "{}", ended.text);
    // Without RUST_LOG, the scheduler of jobs says nothing that the jobs do not.
    assert!(!ended.text.contains("cron"), "{}", ended.text);
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_worker_whose_start_waits() {
    let nowhere = Parts {
        kafka: "127.0.0.1:1".to_owned(),
        registry: "http://127.0.0.1:1".to_owned(),
        mongo: "mongodb://127.0.0.1:1/?replicaSet=rs0".to_owned(),
    };
    let deployment = Deployment::named(nowhere, &[]);
    let worker = deployment.unready_worker(&[]).await;
    worker.says("the start waits").await;
    worker.signal("-TERM");
    let ended = worker.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
}
