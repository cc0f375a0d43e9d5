//! Faults of the input log: retention, deleted and damaged records, a recreated topic, compression,
//! markers of transactions.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer as _};

use crate::client::{found, text, unique};
use crate::deployment::PATIENCE;
use crate::load::{LANE, Sent, creation};
use crate::scene::Scene;
use crate::services;
use crate::table::Measured;

/// The offset after the last record of the touched lane.
fn end_offset(scene: &Scene) -> i64 {
    let consumer: BaseConsumer = config(scene).create().expect("a consumer is created");
    let topic = scene.deployment.topic("session-command");
    let bounds = consumer.fetch_watermarks(&topic, LANE, PATIENCE);
    bounds.expect("the broker answers").1
}

fn config(scene: &Scene) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &scene.deployment.parts.kafka);
    config
}

/// Deletes everything that the touched lane has.
async fn delete_all(scene: &Scene) {
    let topic = scene.deployment.topic("session-command");
    let deleted = services::plain().delete_records(&topic, LANE, end_offset(scene));
    deleted.await.expect("the broker deletes");
}

pub(crate) async fn emptied() -> Measured {
    let mut scene = Scene::calm().await;
    scene.quiet().await;
    scene.stop().await;
    delete_all(&scene).await;
    let began = Instant::now();
    scene.start().await;
    let first = scene.create(LANE).await;
    let whole = scene.answered(began, &[first]).await;
    scene.other_lanes_answer().await;
    scene.probes_answer().await;
    scene.load.resume().await;
    scene.end(whole).await
}

pub(crate) async fn deleted_before_a_running_worker() -> Measured {
    let mut scene = Scene::calm().await;
    scene.quiet().await;
    scene.worker().signal("-STOP");
    // Whatever the worker had asked the broker for is answered now: it gets nothing of what follows.
    scene.more_load(12).await;
    for _ in 0..3 {
        scene.lost(LANE).await;
    }
    delete_all(&scene).await;
    scene.worker().signal("-CONT");
    position_is_lost(scene).await
}

pub(crate) async fn deleted_before_a_stopped_worker() -> Measured {
    let mut scene = Scene::calm().await;
    scene.quiet().await;
    scene.stop().await;
    for _ in 0..3 {
        scene.lost(LANE).await;
    }
    delete_all(&scene).await;
    scene.start().await;
    position_is_lost(scene).await
}

async fn position_is_lost(mut scene: Scene) -> Measured {
    let waiting = scene.create(LANE).await;
    let lane = scene.lane();
    let remedy = format!("lanes seek {lane} earliest --yes");
    scene.readiness_says(&["position_lost", &remedy]).await;
    stopped(&mut scene, std::slice::from_ref(&waiting)).await;
    let began = Instant::now();
    scene
        .fix(&["lanes", "seek", &lane, "earliest", "--yes"])
        .await;
    let whole = scene.answered(began, &[waiting]).await;
    scene.load.resume().await;
    scene.end(whole).await
}

/// The intake stands, and nothing else does.
async fn stopped(scene: &mut Scene, waiting: &[Sent]) {
    scene.other_lanes_answer().await;
    scene.deadlines_fire().await;
    scene.probes_answer().await;
    scene.none_is_answered(waiting);
}

pub(crate) async fn recreated() -> Measured {
    let mut scene = Scene::calm().await;
    let topic = scene.deployment.topic("match-found");
    let lane = session_worker::kafka::partition_of(b"key", 8);
    let first = send_match(&mut scene).await;
    scene.client.result(&first).await;
    scene.stop().await;
    let kafka = session_worker::kafka::Settings {
        brokers: services::kafka(),
        group_id: "nobody".to_owned(),
        properties: std::collections::BTreeMap::new(),
    };
    let deleted = session_worker::kafka::topics::delete(&kafka, &[&topic]).await;
    deleted.expect("the topic is deleted");
    // Each broker hears of it a moment later.
    while scene.deployment.run(&["topics", "plan"], &[]).await.code == Some(0) {}
    let applied = scene.deployment.run(&["topics", "apply"], &[]).await;
    assert_eq!(applied.code, Some(0), "{}", applied.text);
    let waiting = [send_match(&mut scene).await, send_match(&mut scene).await];
    scene.start().await;
    scene
        .readiness_says(&["recreated", &format!("lanes seek {topic}/{lane} earliest")])
        .await;
    scene.all_lanes_answer().await;
    scene.deadlines_fire().await;
    scene.probes_answer().await;
    let [first, second] = &waiting;
    assert!(!scene.client.is_answered(first) && !scene.client.is_answered(second));
    let began = Instant::now();
    let lane = format!("{topic}/{lane}");
    scene
        .fix(&["lanes", "seek", &lane, "earliest", "--yes"])
        .await;
    scene.client.settled(&waiting).await;
    let whole = began.elapsed();
    scene.end(whole).await
}

/// Sends a match, always to the same partition.
async fn send_match(scene: &mut Scene) -> String {
    let found = found(&[&unique("ann"), &unique("bob")]);
    let value = found.to_string();
    scene
        .client
        .write("match-found", "key", value.as_bytes(), &[])
        .await;
    let id = text(&found["matchId"]);
    scene.counts(&id);
    id
}

/// Flips bits of the checksum of the batch that begins at `offset`; how many records it has.
fn damage(scene: &Scene, offset: i64) -> i64 {
    let topic = scene.deployment.topic("session-command");
    let path = Path::new(&services::plain().broker().data())
        .join(format!("{topic}-{LANE}"))
        .join("00000000000000000000.log");
    let bytes = std::fs::read(&path).expect("the segment is there");
    let number = |at: usize| {
        let four = bytes[at..at + 4].try_into().expect("four bytes");
        u32::from_be_bytes(four)
    };
    let mut start = 0;
    while bytes[start..start + 8] != offset.to_be_bytes() {
        start += 12 + usize::try_from(number(start + 8)).expect("small");
    }
    let checksum = start + 18;
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.write_all_at(&[bytes[checksum] ^ 0x5a], checksum as u64))
        .expect("the byte is changed");
    number(start + 57).into()
}

pub(crate) async fn damaged_record() -> Measured {
    let mut scene = Scene::calm().await;
    scene.quiet().await;
    scene.stop().await;
    let begins = end_offset(&scene);
    let mut before = Vec::new();
    for _ in 0..9 {
        before.push(scene.create(LANE).await);
    }
    scene.lost(LANE).await;
    assert_eq!(damage(&scene, begins + 9), 1);
    damage_is_passed(scene, &before, begins + 9, begins + 10).await
}

pub(crate) async fn damaged_batch() -> Measured {
    let mut scene = Scene::calm().await;
    scene.quiet().await;
    scene.stop().await;
    let begins = end_offset(&scene);
    let mut slow = config(&scene);
    one_batch(&scene, slow.set("linger.ms", "1000")).await;
    let count = damage(&scene, begins);
    assert_eq!(count, 20, "one batch");
    damage_is_passed(scene, &[], begins, begins + count).await
}

/// Writes 20 creations to the touched lane as one batch.
async fn one_batch(scene: &Scene, config: &ClientConfig) -> Vec<Sent> {
    let producer: FutureProducer = config.create().expect("a producer is created");
    let topic = scene.deployment.topic("session-command");
    let all: Vec<_> = (0..20).map(|_| creation(&unique("user"), LANE)).collect();
    let written = all.iter().map(async |(command, sent)| {
        let value = command.to_string();
        let record = FutureRecord::to(&topic)
            .partition(LANE)
            .key(&sent.session)
            .payload(&value);
        let written = producer.send(record, PATIENCE).await;
        written.map_err(|(error, _)| error).expect("it is written");
    });
    futures::future::join_all(written).await;
    all.into_iter().map(|(_, sent)| sent).collect()
}

async fn damage_is_passed(mut scene: Scene, before: &[Sent], offset: i64, behind: i64) -> Measured {
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(scene.create(LANE).await);
    }
    scene.start().await;
    let lane = scene.lane();
    let named = format!("lanes seek {lane} <");
    scene
        .readiness_says(&["damaged", &format!("offset {offset}"), &named])
        .await;
    scene.answered(Instant::now(), before).await;
    stopped(&mut scene, &waiting).await;
    let began = Instant::now();
    scene
        .fix(&["lanes", "seek", &lane, &behind.to_string(), "--yes"])
        .await;
    let whole = scene.answered(began, &waiting).await;
    scene.load.resume().await;
    scene.end(whole).await
}

pub(crate) async fn zstd() -> Measured {
    let mut scene = Scene::calm().await;
    let began = Instant::now();
    let mut config = config(&scene);
    config
        .set("compression.type", "zstd")
        .set("linger.ms", "100");
    let sent = one_batch(&scene, &config).await;
    let whole = scene.answered(began, &sent).await;
    for sent in &sent {
        scene.counts(&sent.command);
    }
    scene.other_lanes_answer().await;
    scene.probes_answer().await;
    scene.end(whole).await
}

pub(crate) async fn marker() -> Measured {
    let mut scene = Scene::calm().await;
    scene.quiet().await;
    let topic = scene.deployment.topic("session-command");
    let (command, sent) = creation(&unique("user"), LANE);
    let mut config = config(&scene);
    config.set("transactional.id", &topic);
    let began = tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = config.create().expect("a producer is created");
        let done = producer.init_transactions(PATIENCE);
        done.expect("transactions work");
        for commits in [true, false] {
            producer.begin_transaction().expect("it begins");
            let value = command.to_string();
            let record = BaseRecord::<(), _>::to(&topic)
                .partition(LANE)
                .payload(&value);
            let queued = producer.send(record).map_err(|(error, _)| error);
            queued.expect("it is queued");
            producer.flush(PATIENCE).expect("it is written");
            let ended = if commits {
                producer.commit_transaction(PATIENCE)
            } else {
                producer.abort_transaction(PATIENCE)
            };
            ended.expect("it ends");
        }
        Instant::now()
    });
    let began = began.await.expect("it does not panic");
    scene.counts(&sent.command);
    scene.answered(began, &[sent]).await;
    let lane = scene.lane();
    let is_caught_up = async || {
        let shown = scene.deployment.run(&["lanes", "show"], &[]).await;
        let mut lines = shown.text.lines();
        let line = lines.find(|line| line.starts_with(&format!("{lane} ")));
        line.is_some_and(|line| line.split_whitespace().nth(8) == Some("0"))
    };
    while !is_caught_up().await {
        assert!(began.elapsed() < PATIENCE, "there is still lag");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let topic = scene.deployment.topic("session-command");
    let gauge = format!("session_worker_lag_records{{topic=\"{topic}\",partition=\"{LANE}\"}} 0");
    scene.worker().answers("/metrics", &gauge).await;
    let whole = began.elapsed();
    scene.also("lag 0 in the metric and in `lanes show`");
    scene.other_lanes_answer().await;
    scene.probes_answer().await;
    scene.load.resume().await;
    scene.end(whole).await
}
