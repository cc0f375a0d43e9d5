//! The two ends of a log: retention, transaction markers, aborted records, and a topic made again.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use session_worker::kafka::{Consumer, Error, Log as _, PartitionLog, Start, at_the_end};
use session_worker::record::TopicPartition;

use super::support::{
    ALL, Lanes, PATIENCE, admin, bootstrap, delete_before, settings, soon, take, to_end, topic,
    topic_at, unique, until, values, write,
};

/// The only partition's log, from `start`.
async fn log(topic: &str, start: Start) -> (Consumer, PartitionLog) {
    let (lanes, mut logs) = Lanes::new();
    lanes.start(TopicPartition::new(topic, 0), start);
    let consumer = Consumer::start(&settings(&unique("group")), &[topic], lanes as _)
        .await
        .expect("it starts");
    let (_, log) = logs.next(1).await.pop_first().expect("one log");
    (consumer, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_log_that_retention_emptied_up_to_the_position_is_read_on() {
    let topic = topic("emptied", 1, &[]).await;
    write(&topic, 0, 0..1).await;
    delete_before(&topic, 0, 1).await;
    let (_consumer, mut log) = log(&topic, Start::At(1)).await;
    assert!(to_end(&mut log).await.is_empty());
    assert_eq!(log.lag(Some(1)), Some(0));

    // Where the position itself was deleted, the lane learns it, and may go on from what is left.
    soon("seek", log.seek(Some(0))).await.expect("it seeks");
    let answer = soon("answer", log.records(ALL)).await;
    assert!(
        matches!(answer, Err(Error::OutOfRange { low: 1, high: 1 })),
        "{answer:?}"
    );
    soon("seek", log.seek(Some(1))).await.expect("it seeks");
    write(&topic, 0, 1..2).await;
    assert_eq!(values(&take(&mut log, 1).await), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_records_deleted_beyond_a_position_are_told_of_and_none_behind_them_is_returned() {
    let topic = topic("deleted", 1, &[]).await;
    write(&topic, 0, 0..20).await;
    let (_consumer, mut log) = log(&topic, Start::Held).await;
    soon("seek", log.seek(Some(0))).await.expect("it seeks");
    assert_eq!(to_end(&mut log).await.len(), 20);
    delete_before(&topic, 0, 15).await;
    soon("seek", log.seek(Some(10))).await.expect("it seeks");
    for _ in 0..2 {
        let answer = soon("answer", log.records(ALL)).await;
        assert!(
            matches!(answer, Err(Error::OutOfRange { low: 15, high: 20 })),
            "{answer:?}"
        );
    }
    soon("seek", log.seek(None)).await.expect("it seeks");
    assert_eq!(
        values(&take(&mut log, 5).await),
        (15..20).collect::<Vec<_>>()
    );
}

/// Writes a transaction of `values`, each in a batch of its own, and ends it.
fn transaction(producer: &BaseProducer, topic: &str, values: std::ops::Range<u32>, commit: bool) {
    producer.begin_transaction().expect("it begins");
    for value in values {
        let value = value.to_string();
        let record = BaseRecord::<(), _>::to(topic).partition(0).payload(&value);
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("it is queued");
        producer.flush(PATIENCE).expect("it is written");
    }
    if commit {
        producer.commit_transaction(PATIENCE).expect("it commits");
    } else {
        producer.abort_transaction(PATIENCE).expect("it aborts");
    }
}

fn transactional(topic: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap())
        .set("transactional.id", topic)
        .create()
        .expect("a producer is created");
    producer
        .init_transactions(PATIENCE)
        .expect("transactions work");
    producer
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_b8_aborted_records_are_never_returned_and_count_as_no_lag() {
    let topic = topic("transactions", 1, &[]).await;
    let settings = settings(&unique("group"));
    let (lanes, mut logs) = Lanes::new();
    let _consumer = Consumer::start(&settings, &[&topic], lanes as _)
        .await
        .expect("it starts");
    let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap())
        .set("group.id", &settings.group_id)
        .create()
        .expect("a consumer is created");
    let committed = || {
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, 0);
        let list = reader
            .committed_offsets(list, Duration::from_secs(5))
            .expect("it answers");
        list.elements()[0].offset()
    };
    let producer = transactional(&topic);

    // Offsets 0 to 2, and the marker at 3.
    transaction(&producer, &topic, 0..3, true);
    assert_eq!(values(&take(&mut log, 3).await), [0, 1, 2]);
    log.report(3);
    assert!(to_end(&mut log).await.is_empty());
    until("no lag", || log.lag(Some(3)) == Some(0)).await;
    until("the end is reported", || committed() == Offset::Offset(4)).await;

    // Aborted at 4 and 5, the marker at 6: the end has moved, and nothing waits.
    transaction(&producer, &topic, 900..902, false);
    assert!(to_end(&mut log).await.is_empty());
    until("no lag", || log.lag(Some(3)) == Some(0)).await;
    until("the end is reported", || committed() == Offset::Offset(7)).await;
    // A command that asks the brokers can tell as well.
    let lane = log.lane().clone();
    for (next, is_end) in [(3, true), (2, false)] {
        let positions = [(lane.clone(), next)].into();
        let found = at_the_end(&settings, positions)
            .await
            .expect("the broker answers");
        assert_eq!(found.contains(&lane), is_end, "{next}");
    }

    // One that nobody has read waits.
    write(&topic, 0, 3..4).await;
    until("a lag", || log.lag(Some(3)) == Some(1)).await;
    let next = take(&mut log, 1).await;
    assert_eq!((values(&next), next[0].offset), (vec![3], 7));
    log.report(8);
    until("the end is reported", || committed() == Offset::Offset(8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_of_transactions_are_no_loss() {
    let topic = topic("gaps", 1, &[]).await;
    let producer = transactional(&topic);
    for value in 0..50 {
        transaction(&producer, &topic, value..value + 1, value % 3 != 0);
    }
    let expected: Vec<u32> = (0..50).filter(|value| value % 3 != 0).collect();
    let (_consumer, mut log) = log(&topic, Start::Earliest).await;
    let found = take(&mut log, expected.len()).await;
    assert_eq!(values(&found), expected);
    // From a marker or an aborted record, too.
    for from in [0, 1, 3, 50, 99] {
        soon("seek", log.seek(Some(from))).await.expect("it seeks");
        let rest = to_end(&mut log).await;
        assert!(rest.iter().all(|record| record.offset >= from), "{from}");
        assert_eq!(
            values(&rest)[..],
            expected[expected.len() - rest.len()..],
            "{from}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_is_noticed_and_leaves_no_stale_lag() {
    let topic = topic("again", 1, &[]).await;
    write(&topic, 0, 0..10).await;
    let (lanes, mut logs) = Lanes::new();
    let consumer = Consumer::start(
        &settings(&unique("group")),
        &[&topic],
        std::sync::Arc::clone(&lanes) as _,
    )
    .await
    .expect("it starts");
    let (lane, mut log) = logs.next(1).await.pop_first().expect("one log");
    assert_eq!(to_end(&mut log).await.len(), 10);
    lanes.start(lane, Start::At(10));

    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for deleted in admin()
        .delete_topics(&[topic.as_str()], &options)
        .await
        .expect("the broker answers")
    {
        deleted.expect("it is deleted");
    }
    soon("fault", async { while log.records(ALL).await.is_ok() {} }).await;
    topic_at(&bootstrap(), &topic, 1, &[]).await;
    write(&topic, 0, 0..3).await;
    // As a lane does: it seeks to its position again, here or with a new log.
    soon("the position is outside", async {
        loop {
            match log.records(ALL).await {
                Ok(records) => assert!(records.is_empty(), "{records:?}"),
                Err(Error::OutOfRange { low: 0, high: 3 }) => break,
                Err(Error::Revoked) => {
                    (_, log) = logs.next(1).await.pop_first().expect("one log");
                }
                Err(_) => drop(log.seek(Some(10)).await),
            }
        }
    })
    .await;
    assert_eq!(log.lag(None), Some(3));
    soon("seek", log.seek(None)).await.expect("it seeks");
    assert_eq!(values(&take(&mut log, 3).await), [0, 1, 2]);
    assert_eq!(consumer.health().failure, None);
}
