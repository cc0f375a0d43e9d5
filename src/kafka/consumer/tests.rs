//! The consumer against librdkafka's mock cluster: what it does when the brokers go away.

use std::sync::Mutex;

use futures::FutureExt as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::sync::mpsc;

use super::*;
use crate::kafka::{Limit, Log as _};

const TOPIC: &str = "session-command";
const PATIENCE: Duration = Duration::from_secs(20);
const ALL: Limit = Limit {
    records: 1000,
    bytes: 1 << 20,
};

/// Hands logs to the test; fencing takes for ever where `stuck`.
struct Lanes {
    stuck: bool,
    logs: mpsc::UnboundedSender<PartitionLog>,
    revoked: Mutex<Vec<TopicPartition>>,
}

impl Lanes {
    fn new(stuck: bool) -> (Arc<Self>, mpsc::UnboundedReceiver<PartitionLog>) {
        let (logs, received) = mpsc::unbounded_channel();
        (
            Arc::new(Self {
                stuck,
                logs,
                revoked: Mutex::default(),
            }),
            received,
        )
    }
}

impl Assignments for Lanes {
    fn assigned(&self, lanes: Vec<TopicPartition>) -> BoxFuture<'_, Vec<(TopicPartition, Start)>> {
        async move {
            if self.stuck {
                std::future::pending::<()>().await;
            }
            lanes
                .into_iter()
                .map(|lane| (lane, Start::Earliest))
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

    fn revoked(&self, lanes: Vec<TopicPartition>, _: bool) -> BoxFuture<'_, ()> {
        async move { self.revoked.lock().expect("unpoisoned").extend(lanes) }.boxed()
    }
}

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("a mock cluster starts");
    cluster
        .create_topic(TOPIC, 1, 1)
        .expect("a mock topic is made");
    cluster
}

fn settings(cluster: &MockCluster<'static, DefaultProducerContext>) -> Settings {
    Settings {
        brokers: cluster.bootstrap_servers(),
        group_id: "session-worker".to_owned(),
        properties: [].into(),
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_in_time_when_the_broker_is_gone() {
    let cluster = cluster();
    let (lanes, mut logs) = Lanes::new(false);
    let consumer = Consumer::start(&settings(&cluster), &[TOPIC], Arc::clone(&lanes) as _)
        .await
        .expect("it starts");
    let mut log = tokio::time::timeout(PATIENCE, logs.recv())
        .await
        .expect("in time")
        .expect("the partition is assigned");
    cluster.broker_down(1).expect("the mock broker goes down");
    until("the broker's absence shows", || {
        !consumer.health().brokers_up
    })
    .await;

    let started = Instant::now();
    // Whether the client closes in time is librdkafka's affair; that we answer in time is ours.
    let _ = consumer.stop(Duration::from_secs(5)).await;
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        *lanes.revoked.lock().expect("unpoisoned"),
        [TopicPartition::new(TOPIC, 0)]
    );
    assert!(matches!(log.records(ALL).await, Err(Error::Revoked)));
    assert!(matches!(log.seek(Some(0)).await, Err(Error::Revoked)));
    assert!(matches!(log.bounds().await, Err(Error::Revoked)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_interrupts_the_fencing_of_lanes() {
    let cluster = cluster();
    let (lanes, _logs) = Lanes::new(true);
    let consumer = Consumer::start(&settings(&cluster), &[TOPIC], Arc::clone(&lanes) as _)
        .await
        .expect("it starts");
    // The polling thread stands still only inside `assigned`.
    until("the lanes are being fenced", || {
        consumer.health().since_poll > Duration::from_millis(800)
    })
    .await;
    consumer
        .stop(Duration::from_secs(10))
        .await
        .expect("it closes");
    assert!(!consumer.health().assigned);
    assert_eq!(consumer.health().failure, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_of_brokers_and_assignment() {
    let cluster = cluster();
    let (lanes, mut logs) = Lanes::new(false);
    let consumer = Consumer::start(&settings(&cluster), &[TOPIC], lanes as _)
        .await
        .expect("it starts");
    until("it is well", || {
        consumer.health().brokers_up && consumer.health().assigned
    })
    .await;
    assert!(consumer.health().since_poll < Duration::from_secs(1));
    let log = logs.recv().await.expect("the partition is assigned");
    assert_eq!(log.lane(), &TopicPartition::new(TOPIC, 0));

    cluster.broker_down(1).expect("the mock broker goes down");
    until("the broker's absence shows", || {
        !consumer.health().brokers_up
    })
    .await;
    cluster.broker_up(1).expect("the mock broker comes back");
    until("it is well again", || consumer.health().brokers_up).await;
    consumer.stop(PATIENCE).await.expect("it closes");
}
