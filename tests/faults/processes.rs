//! Processes that die, freeze, are stopped or crowded, and a broker that starts again.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::client::unique;
use crate::deployment::Parts;
use crate::load::LANE;
use crate::scene::Scene;
use crate::services;
use crate::table::Measured;

pub(crate) async fn crash_loop() -> Measured {
    let mut scene = Scene::calm().await;
    scene.quiet().await;
    scene.stop().await;
    let lane = scene.lane();
    let lanes = scene.collection("lanes").await;
    let five = doc! { "$set": { "deaths": 5 } };
    let updated = lanes.update_one(doc! { "_id": &lane }, five).await;
    assert_eq!(updated.expect("it is written").matched_count, 1);
    let waiting = scene.create(LANE).await;
    scene.start().await;
    scene
        .readiness_says(&["suspect", &format!("lanes resume {lane}")])
        .await;
    scene.other_lanes_answer().await;
    scene.deadlines_fire().await;
    scene.probes_answer().await;
    scene.none_is_answered(std::slice::from_ref(&waiting));
    let began = Instant::now();
    scene.fix(&["lanes", "resume", &lane]).await;
    let whole = scene.answered(began, &[waiting]).await;
    scene.load.resume().await;
    scene.end(whole).await
}

pub(crate) async fn crowd() -> Measured {
    let mut scene = Scene::calm().await;
    let history = format!("/sessions/history?userId={}", unique("ann"));
    let request = format!("GET {history} HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut crowd = Vec::new();
    for _ in 0..512 + 64 {
        let stream = TcpStream::connect(scene.worker().address()).await;
        crowd.push(stream.expect("it listens"));
    }
    for stream in &mut crowd {
        // Those that came too late may be closed already.
        let _ = stream.write_all(request.as_bytes()).await;
    }
    scene.probes_answer().await;
    scene.all_lanes_answer().await;
    let began = Instant::now();
    scene.worker().answers(&history, "\"items\"").await;
    let whole = began.elapsed();
    scene.also("one more reader is answered while all 576 stay connected");
    drop(crowd);
    scene.end(whole).await
}

pub(crate) async fn broker_restarted() -> Measured {
    without_broker(false).await
}

pub(crate) async fn broker_killed() -> Measured {
    without_broker(true).await
}

async fn without_broker(kills: bool) -> Measured {
    let mut scene = Scene::calm().await;
    let broker = services::plain().broker();
    if kills {
        broker.kill().await;
    } else {
        broker.stop().await;
    }
    scene.readiness_says(&["broker"]).await;
    scene.probes_answer().await;
    broker.restart().await.expect("it starts again");
    let whole = scene.all_work(Instant::now()).await;
    scene.end(whole).await
}

async fn two_workers() -> Scene {
    let scene = Scene::with(Parts::shared(), &[], 2).await;
    for worker in &scene.workers {
        worker.readiness(200).await;
    }
    scene.more_load(16).await;
    scene
}

pub(crate) async fn killed() -> Measured {
    let mut scene = two_workers().await;
    let began = Instant::now();
    scene.workers.remove(0).kill().await;
    scene.probes_answer().await;
    let whole = scene.all_work(began).await;
    scene.end(whole).await
}

pub(crate) async fn frozen() -> Measured {
    let mut scene = two_workers().await;
    let began = Instant::now();
    scene.workers[0].signal("-STOP");
    scene.probes_answer().await;
    // Longer than `session.timeout.ms`, so that the other worker gets its lanes.
    let whole = scene.all_work(began).await;
    tokio::time::sleep(Duration::from_secs(15).saturating_sub(began.elapsed())).await;
    scene.workers[0].signal("-CONT");
    scene.also("the frozen one woke up, lost nothing and works again");
    scene.all_work(began).await;
    scene.end(whole).await
}

pub(crate) async fn stopped_at_once() -> Measured {
    let mut scene = two_workers().await;
    let began = Instant::now();
    let stopped = scene.workers.remove(0);
    stopped.signal("-TERM");
    stopped.signal("-TERM");
    let ended = stopped.ended().await;
    assert!(ended.code.is_some(), "it ended by itself: {}", ended.text);
    scene.probes_answer().await;
    let whole = scene.all_work(began).await;
    scene.end(whole).await
}
