//! A broker, topics of one's own, raw writing and reading, and lanes that a test holds in its hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use session_worker::kafka::{Assignments, Limit, Log as _, PartitionLog, Settings, Start};
use session_worker::record::{Record, TopicPartition};
use tokio::sync::mpsc;

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const ALL: Limit = Limit {
    records: 10_000,
    bytes: 16 << 20,
};

/// Where the broker listens.
pub(super) fn bootstrap() -> String {
    crate::services::kafka()
}

/// A name that no other test uses, nor this one the next time.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's own topics and database need names that nothing derives from"
)]
pub(super) fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4().simple())
}

pub(super) fn settings(group: &str) -> Settings {
    settings_at(&bootstrap(), group)
}

pub(super) fn settings_at(broker: &str, group: &str) -> Settings {
    Settings {
        brokers: broker.to_owned(),
        group_id: group.to_owned(),
        properties: BTreeMap::new(),
    }
}

pub(super) fn admin() -> AdminClient<DefaultClientContext> {
    admin_at(&bootstrap())
}

pub(super) fn admin_at(broker: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", broker)
        .create()
        .expect("an admin client")
}

/// Makes a topic and returns its name.
pub(super) async fn topic(name: &str, partitions: i32, config: &[(&str, &str)]) -> String {
    topic_at(&bootstrap(), &unique(name), partitions, config).await
}

/// Makes a topic of just this name at `broker`.
pub(super) async fn topic_at(
    broker: &str,
    name: &str,
    partitions: i32,
    config: &[(&str, &str)],
) -> String {
    let mut new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in config {
        new = new.set(key, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for made in admin_at(broker)
        .create_topics([&new], &options)
        .await
        .expect("the broker answers")
    {
        made.expect("the topic is made");
    }
    name.to_owned()
}

/// Deletes what stands before `offset`.
pub(super) async fn delete_before(topic: &str, partition: i32, offset: i64) {
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(topic, partition, Offset::Offset(offset))
        .expect("a legal offset");
    admin()
        .delete_records(&gone, &AdminOptions::new())
        .await
        .expect("the broker deletes");
}

/// Sets a topic's `max.message.bytes`.
pub(super) async fn limit(topic: &str, bytes: &str) {
    let alter = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", bytes);
    for altered in admin()
        .alter_configs([&alter], &AdminOptions::new())
        .await
        .expect("it answers")
    {
        altered.expect("the limit is set");
    }
}

/// Writes the numbers `values` to one partition, in order.
pub(super) async fn write(topic: &str, partition: i32, values: std::ops::Range<u32>) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap())
        .set("enable.idempotence", "true")
        .set("linger.ms", "5");
    write_by(&config, topic, partition, values).await;
}

/// Writes as `config` says.
pub(super) async fn write_by(
    config: &ClientConfig,
    topic: &str,
    partition: i32,
    values: std::ops::Range<u32>,
) {
    let producer: FutureProducer = config.create().expect("a producer is created");
    let sent: Vec<_> = values
        .map(|value| {
            let value = value.to_string();
            let record = FutureRecord::<(), _>::to(topic)
                .partition(partition)
                .payload(&value);
            producer
                .send_result(record)
                .map_err(|(error, _)| error)
                .expect("it is queued")
        })
        .collect();
    for sent in sent {
        sent.await
            .expect("it is reported")
            .map_err(|(error, _)| error)
            .expect("it is written");
    }
}

pub(super) fn values(records: &[Record]) -> Vec<u32> {
    records
        .iter()
        .map(|record| {
            let value = record.value.as_deref().expect("it has a value");
            std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok())
                .expect("a number")
        })
        .collect()
}

/// Reads until a fetch finds the end, and returns what came.
pub(super) async fn to_end(log: &mut PartitionLog) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let more = soon("end", log.records(ALL))
            .await
            .expect("the log is readable");
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// Reads until `count` records are there.
pub(super) async fn take(log: &mut PartitionLog, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        let more = soon("records", log.records(ALL))
            .await
            .expect("the log is readable");
        records.extend(more);
    }
    records
}

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("no {what} in time"))
}

pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// What the consumer told its handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>, bool),
}

/// A handler whose lanes are the test itself.
pub(super) struct Lanes {
    /// Where each lane starts; earliest where nothing is said.
    pub(super) starts: Mutex<BTreeMap<TopicPartition, Start>>,
    pub(super) told: Mutex<Vec<Told>>,
    logs: mpsc::UnboundedSender<PartitionLog>,
}

impl Lanes {
    pub(super) fn new() -> (Arc<Self>, Logs) {
        let (logs, receiver) = mpsc::unbounded_channel();
        let lanes = Self {
            starts: Mutex::default(),
            told: Mutex::default(),
            logs,
        };
        (Arc::new(lanes), Logs { receiver })
    }

    pub(super) fn start(&self, lane: TopicPartition, start: Start) {
        self.starts.lock().expect("unpoisoned").insert(lane, start);
    }

    pub(super) fn told(&self) -> Vec<Told> {
        self.told.lock().expect("unpoisoned").clone()
    }
}

impl Assignments for Lanes {
    fn assigned(
        &self,
        mut lanes: Vec<TopicPartition>,
    ) -> BoxFuture<'_, Vec<(TopicPartition, Start)>> {
        async move {
            // As a lane's fencing does, this takes a moment.
            tokio::time::sleep(Duration::from_millis(20)).await;
            lanes.sort();
            self.told
                .lock()
                .expect("unpoisoned")
                .push(Told::Assigned(lanes.clone()));
            let starts = self.starts.lock().expect("unpoisoned");
            lanes
                .into_iter()
                .map(|lane| {
                    let start = starts.get(&lane).copied().unwrap_or(Start::Earliest);
                    (lane, start)
                })
                .collect()
        }
        .boxed()
    }

    fn started(&self, logs: Vec<PartitionLog>) {
        for log in logs {
            // A test that has seen enough no longer listens.
            let _ = self.logs.send(log);
        }
    }

    fn revoked(&self, mut lanes: Vec<TopicPartition>, lost: bool) -> BoxFuture<'_, ()> {
        lanes.sort();
        async move {
            self.told
                .lock()
                .expect("unpoisoned")
                .push(Told::Revoked(lanes, lost));
        }
        .boxed()
    }
}

/// The logs a consumer handed out.
pub(super) struct Logs {
    receiver: mpsc::UnboundedReceiver<PartitionLog>,
}

impl Logs {
    /// The next `count` logs, by lane.
    pub(super) async fn next(&mut self, count: usize) -> BTreeMap<TopicPartition, PartitionLog> {
        let mut logs = BTreeMap::new();
        while logs.len() < count {
            let log = soon("assignment", self.receiver.recv())
                .await
                .expect("the consumer lives");
            logs.insert(log.lane().clone(), log);
        }
        logs
    }
}

/// How long something took.
pub(super) async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let answer = future.await;
    (answer, started.elapsed())
}
