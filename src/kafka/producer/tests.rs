//! The producer against librdkafka's mock cluster, where a broker can be made to misbehave.

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::kafka::{Publisher as _, partition_of};

const TOPIC: &str = "session-event";
const PATIENCE: Duration = Duration::from_secs(20);
/// Refusals of the mock, more than a producer can ask for before it is replaced.
const MANY: usize = 100;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).expect("a mock cluster starts");
    cluster
        .create_topic(TOPIC, partitions, 1)
        .expect("a mock topic is made");
    cluster
}

async fn producer(cluster: &Cluster) -> Producer {
    let settings = Settings {
        brokers: cluster.bootstrap_servers(),
        group_id: "session-worker".to_owned(),
        properties: [(
            "topic.metadata.refresh.interval.ms".to_owned(),
            "1000".to_owned(),
        )]
        .into(),
    };
    // The mock cluster cannot describe settings.
    Producer::with_sizes(&settings, &[TOPIC.into()], Sizes::new([].into()))
        .await
        .expect("a producer needs no broker to start")
}

fn record(key: &str, value: &str) -> OutRecord {
    OutRecord {
        topic: TOPIC.into(),
        partition: None,
        key: Some(key.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
    }
}

fn records(values: std::ops::Range<u32>) -> Arc<[OutRecord]> {
    values
        .map(|value| record("one-session", &value.to_string()))
        .collect()
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("no {what} in time"))
}

/// Fails as a whole, whether at once or by its receipt.
async fn publish(publisher: &KafkaPublisher, records: Arc<[OutRecord]>) -> Result<(), Error> {
    let receipt = publisher.send(TOPIC, records).await?;
    soon("receipt", receipt).await
}

/// What one partition of the mock holds, up to `last`.
fn read(cluster: &Cluster, partition: i32, last: &str) -> Vec<(String, String)> {
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "reader")
        .create()
        .expect("a consumer is created");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, partition, Offset::Beginning)
        .expect("a legal offset");
    consumer.assign(&list).expect("an assignment is taken");
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let mut found = Vec::new();
    let started = Instant::now();
    while found.last().is_none_or(|(_, value)| value != last) {
        assert!(started.elapsed() < PATIENCE, "{last} is missing: {found:?}");
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            found.push((text(message.key()), text(message.payload())));
        }
    }
    found
}

fn values(found: &[(String, String)]) -> Vec<u32> {
    found
        .iter()
        .map(|(_, value)| value.parse().expect("values are numbers"))
        .collect()
}

/// Contract 3.2: who keeps the last sequence sees each exactly once, in order.
fn assert_a_reader_sees_each_once(found: &[u32], expected: std::ops::Range<u32>) {
    let mut seen: Vec<u32> = Vec::new();
    for value in found {
        if seen.last().is_none_or(|last| value > last) {
            seen.push(*value);
        }
    }
    let first = found
        .iter()
        .zip(expected.clone())
        .position(|(found, expected)| *found != expected);
    assert!(
        seen.iter().copied().eq(expected),
        "the first surprise is at {first:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_resolves_when_every_record_is_acknowledged() {
    let cluster = cluster(1);
    let producer = producer(&cluster).await;
    let publisher = producer.publisher();
    let first = publisher
        .send(TOPIC, records(0..500))
        .await
        .expect("the producer is up");
    let second = publisher
        .send(TOPIC, records(500..501))
        .await
        .expect("the producer is up");
    soon("receipt", second).await.expect("it is acknowledged");
    soon("receipt", first).await.expect("it is acknowledged");
    assert_eq!(
        values(&read(&cluster, 0, "500")),
        (0..501).collect::<Vec<_>>()
    );
    let nothing = publisher
        .send(TOPIC, records(0..0))
        .await
        .expect("the producer is up");
    soon("receipt for nothing", nothing)
        .await
        .expect("nothing is acknowledged at once");
    producer.stop(PATIENCE).await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_1_keys_are_partitioned_by_murmur2_random_unless_the_record_says_where() {
    let cluster = cluster(8);
    let producer = producer(&cluster).await;
    let publisher = producer.publisher();
    let mut sent: Vec<OutRecord> = (0..64)
        .map(|key| record(&format!("key-{key}"), "1"))
        .collect();
    sent.extend((0..8).map(|partition| OutRecord {
        partition: Some(partition),
        ..record("forwarded", "last")
    }));
    let receipt = publisher
        .send(TOPIC, sent.into())
        .await
        .expect("the producer is up");
    soon("receipt", receipt).await.expect("it is acknowledged");
    let mut keyed = 0;
    for partition in 0..8 {
        for (key, value) in read(&cluster, partition, "last") {
            if value == "1" {
                assert_eq!(partition_of(key.as_bytes(), 8), partition, "{key}");
                keyed += 1;
            }
        }
    }
    assert_eq!(keyed, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_producer_is_rebuilt_and_order_holds_across_it() {
    let cluster = cluster(1);
    let producer = producer(&cluster).await;
    let publisher = producer.publisher();
    let receipt = publisher
        .send(TOPIC, records(0..10))
        .await
        .expect("the producer is up");
    soon("receipt", receipt).await.expect("it is acknowledged");

    // A broker refuses whatever comes behind the first, too; the mock has to be told to, for as long
    // as anything of the old producer may be on its way.
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER; MANY],
    );
    let fault = publish(&publisher, records(10..20))
        .await
        .expect_err("the sequence is wrong");
    assert!(matches!(fault, Error::Delivery { .. }), "{fault}");

    // Another lane has noticed and goes on; this one must not overtake what it has to repeat.
    let other = producer.publisher();
    soon("new producer", other.recovered(TOPIC)).await;
    let receipt = other
        .send(TOPIC, records(0..0))
        .await
        .expect("the new producer is up");
    soon("receipt", receipt)
        .await
        .expect("nothing is acknowledged at once");
    assert!(matches!(
        publisher.send(TOPIC, records(20..30)).await,
        Err(Error::Delivery { .. })
    ));

    soon("new producer", publisher.recovered(TOPIC)).await;
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    let repeated = publisher
        .send(TOPIC, records(10..20))
        .await
        .expect("the new producer is up");
    let next = publisher
        .send(TOPIC, records(20..30))
        .await
        .expect("the new producer is up");
    soon("receipt", repeated).await.expect("it is acknowledged");
    soon("receipt", next).await.expect("it is acknowledged");
    assert_a_reader_sees_each_once(&values(&read(&cluster, 0, "29")), 0..30);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_outstanding_fails_with_the_generation_and_nothing_overtakes() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as TOO_LARGE,
        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER as OUT_OF_ORDER,
    };
    let cluster = cluster(1);
    let producer = producer(&cluster).await;
    let publisher = producer.publisher();
    publish(&publisher, records(0..1))
        .await
        .expect("it is acknowledged");

    // The first is refused for good. A broker refuses what is in flight behind it for its sequence;
    // the mock does not look at sequences, so that it is told to. What is queued must not follow.
    let mut in_flight = [OUT_OF_ORDER; MANY];
    in_flight[0] = TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &in_flight);
    let (mut outstanding, mut faults) = (Vec::new(), Vec::new());
    for batch in 0..4 {
        let from = 1 + batch * 1000;
        match publisher.send(TOPIC, records(from..from + 1000)).await {
            Ok(receipt) => outstanding.push(receipt),
            Err(fault @ (Error::Delivery { .. } | Error::Refused { .. })) => {
                faults.push(fault);
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    for receipt in outstanding {
        let fault = soon("failed receipt", receipt)
            .await
            .expect_err("its generation failed");
        faults.push(fault);
    }
    // The lane whose record it is learns it.
    assert!(
        faults
            .iter()
            .any(|fault| matches!(fault, Error::Refused { .. })),
        "{faults:?}"
    );
    soon("new producer", publisher.recovered(TOPIC)).await;
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    publish(&publisher, records(1..4001))
        .await
        .expect("it is acknowledged");
    assert_a_reader_sees_each_once(&values(&read(&cluster, 0, "4000")), 0..4001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_waited_for() {
    let cluster = cluster(1);
    let producer = producer(&cluster).await;
    let publisher = producer.publisher();
    let receipt = publisher
        .send(TOPIC, records(0..5))
        .await
        .expect("the producer is up");
    soon("receipt", receipt).await.expect("it is acknowledged");

    cluster.broker_down(1).expect("the mock broker goes down");
    let mut waiting = publisher
        .send(TOPIC, records(5..10))
        .await
        .expect("it is queued");
    let early = tokio::time::timeout(Duration::from_millis(500), &mut waiting).await;
    assert!(early.is_err(), "nobody can have acknowledged it");
    cluster.broker_up(1).expect("the mock broker comes back");
    soon("receipt", waiting)
        .await
        .expect("it is acknowledged, by the same producer");
    assert_eq!(values(&read(&cluster, 0, "9")), (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_waited_for_in_order() {
    let cluster = cluster(1);
    let mut settings = Settings {
        brokers: cluster.bootstrap_servers(),
        group_id: "session-worker".to_owned(),
        properties: [].into(),
    };
    settings
        .properties
        .insert("queue.buffering.max.messages".to_owned(), "10".to_owned());
    let producer = Producer::with_sizes(&settings, &[TOPIC.into()], Sizes::new([].into()))
        .await
        .expect("a producer needs no broker to start");
    let receipt = soon("room", producer.publisher().send(TOPIC, records(0..200))).await;
    soon("receipt", receipt.expect("it is queued"))
        .await
        .expect("it is acknowledged");
    assert_eq!(
        values(&read(&cluster, 0, "199")),
        (0..200).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_closes_in_time_without_a_broker_and_fails_what_is_outstanding() {
    let cluster = cluster(1);
    let producer = producer(&cluster).await;
    let publisher = producer.publisher();
    cluster.broker_down(1).expect("the mock broker goes down");
    let receipt = publisher
        .send(TOPIC, records(0..5))
        .await
        .expect("it is queued");
    producer
        .stop(Duration::from_secs(5))
        .await
        .expect("it closes within the deadline");
    assert!(matches!(
        soon("failed receipt", receipt).await,
        Err(Error::Delivery { .. })
    ));
    assert!(matches!(
        publisher.send(TOPIC, records(0..5)).await,
        Err(Error::Delivery { .. })
    ));
}
