//! Reading a topic once, and sending records one by one, against a real broker.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use session_worker::kafka::{
    Scan, Sender, Settings, SetupError, Span, Unsent, partition_of, spans,
};
use session_worker::record::{OutRecord, Record};

use super::support::{PATIENCE, admin, bootstrap, settings, soon, topic, unique, values, write};

async fn read(settings: &Settings, topic: &str, spans: &BTreeMap<i32, Span>) -> Vec<Record> {
    let mut scan = Scan::start(settings, topic, spans).expect("the settings are right");
    let mut records = Vec::new();
    while let Some(batch) = soon("records", scan.next()).await {
        records.extend(batch.expect("the broker answers"));
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_reads_every_partition_in_order_from_its_beginning_to_where_it_ended() {
    let settings = settings("nobody");
    let topic = topic("scan", 3, &[]).await;
    write(&topic, 0, 0..3_000).await;
    write(&topic, 2, 0..10).await;
    let mut found = spans(&settings, &topic, None).await.expect("it is there");
    write(&topic, 0, 3_000..3_010).await;
    write(&topic, 1, 0..10).await;
    if let Some(span) = found.get_mut(&2) {
        span.from = 4;
    }
    let records = read(&settings, &topic, &found).await;
    let of = |partition: i32| {
        let records = records
            .iter()
            .filter(|record| record.lane.partition == partition);
        values(&records.cloned().collect::<Vec<_>>())
    };
    assert_eq!(of(0), (0..3_000).collect::<Vec<_>>());
    assert!(of(1).is_empty());
    assert_eq!(of(2), [4, 5, 6, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stretch_begins_with_the_first_record_since_an_instant() {
    let settings = settings("nobody");
    let topic = topic("scan", 2, &[]).await;
    write(&topic, 0, 0..5).await;
    let all = spans(&settings, &topic, None).await.expect("it is there");
    let last = read(&settings, &topic, &all).await;
    let last = last.last().and_then(|record| record.timestamp);
    let after = last.map(|at| at + 1);
    let later = spans(&settings, &topic, after).await.expect("it is there");
    assert_eq!((later[&0].from, later[&0].end), (5, 5));
    assert_eq!((later[&1].from, later[&1].end), (0, 0));
    let before = spans(&settings, &topic, Some(0)).await;
    assert_eq!(before.expect("it is there"), all);
    assert_eq!(read(&settings, &topic, &later).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_known_to_be_and_does_not_stop_a_scan() {
    let settings = settings("nobody");
    let topic = topic("scan", 1, &[]).await;
    write(&topic, 0, 0..10).await;
    let before = spans(&settings, &topic, None).await.expect("it is there");
    assert!(!before[&0].may_lack());
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(&topic, 0, Offset::Offset(4))
        .expect("an offset");
    admin()
        .delete_records(&gone, &AdminOptions::new())
        .await
        .expect("the broker deletes");
    let after = spans(&settings, &topic, None).await.expect("it is there");
    assert_eq!((after[&0].low, after[&0].from), (4, 4));
    assert!(after[&0].may_lack());
    // Asked for before they went.
    let records = read(&settings, &topic, &before).await;
    assert_eq!(values(&records), [4, 5, 6, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_ends_behind_a_transactions_markers() {
    let settings = settings("nobody");
    let topic = topic("scan", 1, &[]).await;
    let name = unique("transaction");
    let written = topic.clone();
    let transactions = tokio::task::spawn_blocking(move || {
        let producer: ThreadedProducer<_> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap())
            .set("transactional.id", &name)
            .create()
            .expect("a producer is created");
        producer.init_transactions(PATIENCE).expect("it may");
        for (value, commits) in [("1", true), ("2", false)] {
            producer.begin_transaction().expect("it may");
            let record: BaseRecord<'_, (), str> = BaseRecord::to(&written).payload(value);
            producer
                .send(record)
                .map_err(|(error, _)| error)
                .expect("it is queued");
            if commits {
                producer.commit_transaction(PATIENCE).expect("it commits");
            } else {
                producer.flush(PATIENCE).expect("it is written");
                producer.abort_transaction(PATIENCE).expect("it aborts");
            }
        }
    });
    transactions.await.expect("the transactions are done");
    let all = spans(&settings, &topic, None).await.expect("it is there");
    assert_eq!(all[&0].end, 4);
    assert_eq!(values(&read(&settings, &topic, &all).await), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_and_brokers_that_are_not_are_told_apart() {
    let here = settings("nobody");
    let missing = spans(&here, &unique("missing"), None).await;
    assert!(
        matches!(missing, Err(SetupError::MissingTopic { .. })),
        "{missing:?}"
    );
    let nowhere = Settings {
        brokers: "127.0.0.1:1".to_owned(),
        ..here
    };
    let down = spans(&nowhere, "any", None).await;
    assert!(
        matches!(down, Err(SetupError::Unavailable { .. })),
        "{down:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sent_record_stands_where_it_is_said_to_with_all_it_had() {
    let settings = settings("nobody");
    let topic = topic("sent", 4, &[("max.message.bytes", "65536")]).await;
    let topic: Arc<str> = topic.into();
    let sender = Sender::start(&settings, &[Arc::clone(&topic)])
        .await
        .expect("the broker answers");
    let record = OutRecord {
        topic: Arc::clone(&topic),
        partition: None,
        key: Some(b"a-key".to_vec()),
        value: None,
        headers: vec![
            ("first".to_owned(), Some(b"1".to_vec())),
            ("none".to_owned(), None),
            ("first".to_owned(), Some(b"\xff".to_vec())),
        ],
    };
    let place = sender.send(&record).await.expect("it is acknowledged");
    assert_eq!(place.lane.partition, partition_of(b"a-key", 4));
    let second = sender.send(&record).await.expect("it is acknowledged");
    assert_eq!(second.offset, place.offset + 1);
    let all = spans(&settings, &topic, None).await.expect("it is there");
    let found = read(&settings, &topic, &all).await;
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].origin(), place);
    assert_eq!(
        (&found[0].key, &found[0].value),
        (&record.key, &record.value)
    );
    assert_eq!(found[0].headers, record.headers);

    let large = OutRecord {
        value: Some(vec![0; 70_000]),
        ..record
    };
    let refused = sender.send(&large).await;
    assert!(
        matches!(refused, Err(Unsent::Refused { .. })),
        "{refused:?}"
    );
}
