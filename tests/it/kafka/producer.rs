//! What is published arrives byte for byte, and what the broker refuses for its size is known before.

use std::sync::Arc;
use std::time::Duration;

use session_worker::kafka::{
    Consumer, Error, KafkaPublisher, Producer, Publisher as _, SetupError, record_bytes,
};
use session_worker::record::{Header, OutRecord};

use super::support::{Lanes, limit, settings, soon, take, topic, unique};

fn record(topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> OutRecord {
    OutRecord {
        topic: topic.into(),
        partition: Some(0),
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: headers.to_vec(),
    }
}

async fn publish(publisher: &KafkaPublisher, records: Vec<OutRecord>) -> Result<(), Error> {
    let topic = Arc::clone(&records[0].topic);
    let receipt = soon("hand-over", publisher.send(&topic, records.into())).await?;
    soon("receipt", receipt).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_values_and_headers_arrive_as_they_were_sent() {
    let topic = topic("bytes", 1, &[]).await;
    let settings = settings(&unique("group"));
    let producer = Producer::start(&settings, &[topic.as_str().into()])
        .await
        .expect("the producer starts");
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let sent = vec![
        record(&topic, None, Some(b"no key"), &[]),
        record(&topic, Some(b""), Some(b""), &[]),
        record(&topic, Some(b"tombstone"), None, &[]),
        record(
            &topic,
            Some(&[0, 255, 0]),
            Some(&[0, 0, 0, 1, 200]),
            &[
                header("traceparent", Some(b"00-1-2-01")),
                header("null", None),
                header("empty", Some(b"")),
                header("repeated", Some(b"1")),
                header("repeated", Some(&[0, 159])),
                header("é", Some(b"not ascii")),
            ],
        ),
    ];
    publish(&producer.publisher(), sent.clone())
        .await
        .expect("it is acknowledged");

    let (lanes, mut logs) = Lanes::new();
    let consumer = Consumer::start(&settings, &[&topic], lanes as _)
        .await
        .expect("it starts");
    let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
    let found = take(&mut log, sent.len()).await;
    for (found, sent) in found.into_iter().zip(sent) {
        assert_eq!(found.key, sent.key);
        assert_eq!(found.value, sent.value);
        assert_eq!(found.headers, sent.headers);
        assert!(found.timestamp.is_some());
    }
    soon("stop", consumer.stop(Duration::from_secs(10)))
        .await
        .expect("it closes");
    producer
        .stop(Duration::from_secs(10))
        .await
        .expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_record_is_taken_and_batches_keep_within_the_smallest_limit() {
    let small = topic("small", 1, &[("max.message.bytes", "20000")]).await;
    let large = topic("large", 1, &[("max.message.bytes", "2097152")]).await;
    let topics: Vec<Arc<str>> = vec![small.as_str().into(), large.as_str().into()];
    let producer = Producer::start(&settings("group"), &topics)
        .await
        .expect("it starts");
    let publisher = producer.publisher();
    for (topic, limit) in [(&small, 20_000), (&large, 2_097_152)] {
        assert_eq!(publisher.max_record_bytes(topic), limit);
        let headers = [("name".to_owned(), Some(b"value".to_vec()))];
        let empty = record_bytes(&record(topic, Some(b"key"), Some(b""), &headers));
        let full = record(topic, Some(b"key"), Some(&vec![7; limit - empty]), &headers);
        assert_eq!(record_bytes(&full), limit);
        publish(&publisher, vec![full])
            .await
            .expect("the largest record is taken");
    }
    // Many small records together are more than the small topic takes at once.
    let many = (0..2000)
        .map(|_| record(&small, None, Some(&[7; 100]), &[]))
        .collect();
    publish(&publisher, many)
        .await
        .expect("batches keep within the smallest limit");

    producer
        .stop(Duration::from_secs(10))
        .await
        .expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_lowered_under_way_holds_its_lane_until_it_is_raised_and_no_other_lane() {
    let name = topic("lowered", 1, &[("max.message.bytes", "100000")]).await;
    let producer = Producer::start(&settings("group"), &[name.as_str().into()])
        .await
        .expect("starts");
    let (one, other) = (producer.publisher(), producer.publisher());
    let text = |text: &str| record(&name, None, Some(text.as_bytes()), &[]);
    let large = || record(&name, None, Some(&[b'1'; 50_000]), &[]);
    publish(&one, vec![text("0")]).await.expect("it is taken");
    limit(&name, "20000").await;

    // The broker itself refuses it first: a failed generation. From then on it is known.
    let fault = publish(&one, vec![large(), text("2")])
        .await
        .expect_err("it is too large");
    assert!(matches!(fault, Error::Refused { .. }), "{fault}");
    soon("new producer", one.recovered(&name)).await;
    soon("new producer", other.recovered(&name)).await;
    let fault = publish(&one, vec![large(), text("2")])
        .await
        .expect_err("it is too large");
    assert!(fault.to_string().contains("20000"), "{fault}");
    publish(&other, vec![text("other")])
        .await
        .expect("another lane goes on");

    limit(&name, "100000").await;
    soon("the limit is seen", async {
        while publish(&one, vec![large(), text("2")]).await.is_err() {
            one.recovered(&name).await;
        }
    })
    .await;

    let (lanes, mut logs) = Lanes::new();
    let _consumer = Consumer::start(&settings(&unique("group")), &[&name], lanes as _)
        .await
        .expect("it starts");
    let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
    let firsts: Vec<_> = take(&mut log, 4)
        .await
        .iter()
        .map(|record| record.value.as_ref().expect("it has a value")[0])
        .collect();
    assert_eq!(
        firsts, *b"0o12",
        "nothing overtook the record that was held"
    );
    producer
        .stop(Duration::from_secs(10))
        .await
        .expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_at_the_start() {
    let missing = unique("missing");
    let fault = Producer::start(&settings("group"), &[missing.as_str().into()])
        .await
        .err();
    assert_eq!(fault, Some(SetupError::MissingTopic { topic: missing }));
}
