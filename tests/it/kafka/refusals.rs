//! What the brokers refuse for good: it delays its own topic, or its own lane, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dev::{Acl, Operation, Options, Protection, Resource, Services, WORKER};
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use session_worker::kafka::{Consumer, Error, KafkaPublisher, Producer, Publisher as _, Settings};
use session_worker::record::OutRecord;

use super::support::{
    Lanes, PATIENCE, admin, bootstrap, settings, settings_at, soon, to_end, topic, topic_at,
    unique, until,
};

fn record(topic: &str, partition: i32, key: Option<&str>, value: &str) -> OutRecord {
    OutRecord {
        topic: topic.into(),
        partition: Some(partition),
        key: key.map(|key| key.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
    }
}

async fn publish(publisher: &KafkaPublisher, records: &Arc<[OutRecord]>) -> Result<(), Error> {
    let topic = Arc::clone(&records[0].topic);
    let sent = publisher.send(&topic, Arc::clone(records));
    soon("receipt", soon("hand-over", sent).await?).await
}

/// Sends again until it is taken, as a lane does; returns the faults.
async fn until_published(publisher: &KafkaPublisher, records: &Arc<[OutRecord]>) -> Vec<Error> {
    let mut faults = Vec::new();
    while let Err(fault) = publish(publisher, records).await {
        faults.push(fault);
        publisher.recovered(&records[0].topic).await;
    }
    faults
}

/// What a lane that has nothing to do with it meets while `stop` is not set: one record after another
/// to `topic`, which must stand there once, in order.
async fn steady(publisher: KafkaPublisher, topic: String, stop: Arc<AtomicBool>) -> (u32, usize) {
    let (mut sent, mut faults) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let records = [record(&topic, 0, Some("key"), &sent.to_string())].into();
        faults += until_published(&publisher, &records).await.len();
        sent += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (sent, faults)
}

/// Everything that `topic` holds.
async fn read(settings: &Settings, topic: &str) -> Vec<(Option<Vec<u8>>, String)> {
    let (lanes, mut logs) = Lanes::new();
    let _consumer = Consumer::start(settings, &[topic], lanes as _)
        .await
        .expect("it starts");
    let mut all = Vec::new();
    let count = consumer_partitions(settings, topic);
    for (_, mut log) in logs.next(count).await {
        for record in to_end(&mut log).await {
            let value = record.value.expect("it has a value");
            all.push((record.key, String::from_utf8(value).expect("text")));
        }
    }
    all
}

fn consumer_partitions(settings: &Settings, topic: &str) -> usize {
    let metadata = super::support::admin_at(&settings.brokers)
        .inner()
        .fetch_metadata(Some(topic), PATIENCE)
        .expect("the broker answers");
    metadata.topics()[0].partitions().len()
}

async fn alter(topic: &str, key: &str, value: &str) {
    let alter = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
    for altered in admin()
        .alter_configs([&alter], &AdminOptions::new())
        .await
        .expect("it answers")
    {
        altered.expect("it is set");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a_topic_that_may_not_be_written_delays_no_other_and_is_named() {
    let options = Options {
        kafka: true,
        source: dev::Source::Own,
        protection: Protection::Full,
        ..Options::none()
    };
    let services = Services::start(options).await.expect("a broker starts");
    let mut settings = settings_at(&services.listeners().sasl_plaintext, "group");
    for (key, value) in [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", WORKER),
        ("sasl.password", &services.secrets().password(WORKER)),
    ] {
        settings.properties.insert(key.to_owned(), value.to_owned());
    }
    let acl = |topic, operation| Acl {
        user: WORKER,
        resource: Resource::Topic(topic),
        operation,
    };
    let (refused, other) = ("dead-letter", "event");
    for topic in [refused, other] {
        topic_at(services.kafka(), topic, 1, &[]).await;
        for operation in [
            Operation::Describe,
            Operation::DescribeConfigs,
            Operation::Write,
        ] {
            let granted = services.acls().grant(&[acl(topic, operation)]).await;
            granted.expect("granted");
        }
    }
    let producer = Producer::start(&settings, &[refused.into(), other.into()])
        .await
        .expect("it starts");
    let one = producer.publisher();
    let first = [record(refused, 0, Some("key"), "first")].into();
    publish(&one, &first).await.expect("it is allowed");

    let write = [acl(refused, Operation::Write)];
    services.acls().revoke(&write).await.expect("revoked");
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(steady(
        producer.publisher(),
        other.to_owned(),
        Arc::clone(&stop),
    ));
    let second: Arc<[OutRecord]> = [record(refused, 0, Some("key"), "second")].into();
    let mut words = Vec::new();
    for _ in 0..3 {
        let fault = publish(&one, &second).await.expect_err("it is not allowed");
        assert!(matches!(fault, Error::Refused { .. }), "{fault}");
        words.push(fault.to_string());
        assert!(
            producer
                .faults()
                .iter()
                .any(|(topic, why)| topic == refused && why.contains("WRITE")),
            "{:?}",
            producer.faults()
        );
        soon("another try", one.recovered(refused)).await;
    }
    assert!(
        words
            .iter()
            .all(|words| words.contains("WRITE on topic dead-letter")),
        "{words:?}"
    );
    services.acls().grant(&write).await.expect("granted");
    soon("publication", until_published(&one, &second)).await;
    until("nothing is wrong", || producer.faults().is_empty()).await;
    stop.store(true, Ordering::Relaxed);
    let (sent, faults) = soon("end of the load", load)
        .await
        .expect("it does not panic");
    assert_eq!(faults, 0, "of {sent}");

    let plain = settings_at(services.kafka(), "reader");
    let values = |found: Vec<(_, String)>| found.into_iter().map(|(_, v)| v).collect::<Vec<_>>();
    assert_eq!(values(read(&plain, refused).await), ["first", "second"]);
    assert!(
        values(read(&plain, other).await)
            .into_iter()
            .eq((0..sent).map(|value| value.to_string()))
    );
    producer.stop(PATIENCE).await.expect("it closes");
    services.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_refused_holds_up_its_own_lane_and_is_not_multiplied() {
    // A topic that is compacted takes no record without a key.
    let name = topic("refused", 2, &[("cleanup.policy", "compact")]).await;
    let settings = settings(&unique("group"));
    let producer = Producer::start(&settings, &[name.as_str().into()])
        .await
        .expect("it starts");
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(steady(
        producer.publisher(),
        name.clone(),
        Arc::clone(&stop),
    ));
    let one = producer.publisher();
    let good = record(&name, 1, Some("good"), "good");
    let records: Arc<[OutRecord]> = [good, record(&name, 0, None, "bad")].into();
    let behind: Arc<[OutRecord]> = [record(&name, 0, None, "behind")].into();
    for _ in 0..4 {
        let fault = publish(&one, &records).await.expect_err("it is refused");
        assert!(matches!(fault, Error::Refused { .. }), "{fault}");
        assert!(fault.to_string().contains("cleanup.policy"), "{fault}");
        let fault = publish(&one, &behind).await;
        assert!(fault.is_err(), "nothing overtakes it");
        soon("another try", one.recovered(&name)).await;
    }
    let faults = producer.faults();
    assert!(
        faults.iter().any(|(_, why)| why.contains("cleanup.policy")),
        "{faults:?}"
    );
    alter(&name, "cleanup.policy", "delete").await;
    soon("publication", until_published(&one, &records)).await;
    soon("publication", until_published(&one, &behind)).await;
    until("nothing is wrong", || producer.faults().is_empty()).await;
    stop.store(true, Ordering::Relaxed);
    let (sent, faults) = soon("end of the load", load)
        .await
        .expect("it does not panic");
    // The first refusal ended the generation that all lanes shared, and no later one did.
    assert!(faults <= 1, "{faults} of {sent}");

    let found = read(&settings, &name).await;
    let of = |wanted: &str| found.iter().filter(|(_, value)| value == wanted).count();
    assert_eq!((of("good"), of("bad"), of("behind")), (1, 1, 1));
    let mut load: Vec<u32> = found
        .iter()
        .filter_map(|(_, value)| value.parse().ok())
        .collect();
    assert!(load.len() <= sent as usize + 1, "{} of {sent}", load.len());
    load.dedup();
    assert!(load.into_iter().eq(0..sent));
    producer.stop(PATIENCE).await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_does_not_exist_holds_up_its_own_lane_until_it_does() {
    let name = topic("partitions", 1, &[]).await;
    let settings = settings(&unique("group"));
    let producer = Producer::start(&settings, &[name.as_str().into()])
        .await
        .expect("it starts");
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(steady(
        producer.publisher(),
        name.clone(),
        Arc::clone(&stop),
    ));
    let one = producer.publisher();
    let records: Arc<[OutRecord]> = [record(&name, 1, Some("key"), "forward")].into();
    for _ in 0..2 {
        let fault = publish(&one, &records).await.expect_err("it is refused");
        assert!(matches!(fault, Error::Refused { .. }), "{fault}");
        assert!(fault.to_string().contains("partition"), "{fault}");
        soon("another try", one.recovered(&name)).await;
    }
    let grown = rdkafka::admin::NewPartitions::new(&name, 2);
    for made in admin()
        .create_partitions([&grown], &AdminOptions::new())
        .await
        .expect("it answers")
    {
        made.expect("it grows");
    }
    soon("publication", until_published(&one, &records)).await;
    stop.store(true, Ordering::Relaxed);
    let (sent, faults) = soon("end of the load", load)
        .await
        .expect("it does not panic");
    assert_eq!(faults, 0, "of {sent}");
    let found = read(&settings, &name).await;
    assert_eq!(found.len(), sent as usize + 1);
    producer.stop(PATIENCE).await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_is_named_and_waited_for() {
    let (name, other) = (topic("deleted", 1, &[]).await, topic("kept", 1, &[]).await);
    let mut settings = settings(&unique("group"));
    settings.properties.insert(
        "topic.metadata.refresh.interval.ms".to_owned(),
        "1000".to_owned(),
    );
    let producer = Producer::start(&settings, &[name.as_str().into(), other.as_str().into()])
        .await
        .expect("it starts");
    let one = producer.publisher();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for deleted in admin()
        .delete_topics(&[name.as_str()], &options)
        .await
        .expect("the broker answers")
    {
        deleted.expect("it is deleted");
    }
    let records: Arc<[OutRecord]> = [record(&name, 0, Some("key"), "value")].into();
    let mut fault = None;
    soon("refusal", async {
        loop {
            match publish(&one, &records)
                .await
                .expect_err("the topic is gone")
            {
                Error::Refused { reason } => return fault = Some(reason),
                Error::Delivery { .. } => one.recovered(&name).await,
                error => panic!("{error}"),
            }
        }
    })
    .await;
    let fault = fault.expect("it was set");
    assert!(fault.contains("does not exist"), "{fault}");
    let kept = [record(&other, 0, Some("key"), "value")].into();
    publish(&producer.publisher(), &kept)
        .await
        .expect("another topic is taken");
    topic_at(&bootstrap(), &name, 1, &[]).await;
    soon("another try", one.recovered(&name)).await;
    soon("publication", until_published(&one, &records)).await;
    assert_eq!(read(&settings, &name).await.len(), 1);
    producer.stop(PATIENCE).await.expect("it closes");
}
