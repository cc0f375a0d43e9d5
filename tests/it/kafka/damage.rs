//! Bytes that changed on the broker's disk: told with their offset, never skipped, and left behind by a
//! seek. The broker need not be stopped for it: it sends what the file holds.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use dev::{Options, Services};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use session_worker::kafka::{Consumer, Error, Log as _, PartitionLog, Start};
use session_worker::record::TopicPartition;

use super::support::{
    ALL, Lanes, PATIENCE, settings_at, soon, take, to_end, topic_at, unique, values, write_by,
};

async fn broker() -> Services {
    let options = Options {
        kafka: true,
        source: dev::Source::Own,
        ..Options::none()
    };
    Services::start(options).await.expect("a broker starts")
}

/// Records 0 to 20, in single batches or in one, and behind them one batch up to 25.
async fn fill(services: &Services, topic: &str, single: bool, compression: &str) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", services.kafka())
        .set("compression.type", compression)
        .set("linger.ms", "100");
    if single {
        for value in 0..20 {
            write_by(
                config.clone().set("linger.ms", "0"),
                topic,
                0,
                value..value + 1,
            )
            .await;
        }
    } else {
        write_by(&config, topic, 0, 0..20).await;
    }
    write_by(&config, topic, 0, 20..25).await;
}

/// Flips bits of byte `at` (from the end where it is negative) of the `index`th batch of partition 0.
fn damage(services: &Services, topic: &str, index: usize, at: i64) {
    let path = Path::new(&services.broker().data())
        .join(format!("{topic}-0"))
        .join("00000000000000000000.log");
    let bytes = std::fs::read(&path).expect("the segment is there");
    let mut batches = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let length = bytes[start + 8..start + 12].try_into().expect("four bytes");
        let end = start + 12 + usize::try_from(u32::from_be_bytes(length)).expect("small");
        batches.push((start, end));
        start = end;
    }
    let (start, end) = batches[index];
    let from = if at < 0 { end } else { start };
    let at = from
        .checked_add_signed(isize::try_from(at).expect("small"))
        .expect("inside");
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.write_all_at(&[bytes[at] ^ 0x5a], at as u64))
        .expect("the byte is changed");
}

async fn log(services: &Services, topic: &str, start: Start) -> (Consumer, PartitionLog) {
    let (lanes, mut logs) = Lanes::new();
    lanes.start(TopicPartition::new(topic, 0), start);
    let settings = settings_at(services.kafka(), &unique("group"));
    let consumer = Consumer::start(&settings, &[topic], lanes as _)
        .await
        .expect("it starts");
    let (_, log) = logs.next(1).await.pop_first().expect("one log");
    (consumer, log)
}

/// Bytes of a batch, by what they mean.
const CRC: i64 = 18;
const MAGIC: i64 = 16;
const ATTRIBUTES: i64 = 22;
const LAST_OFFSET: i64 = 26;
const COUNT: i64 = 60;
const RECORDS: i64 = 61;
const LAST: i64 = -1;

#[tokio::test(flavor = "multi_thread")]
async fn a3_damage_is_told_with_its_offset_and_a_seek_gets_past_it() {
    let services = broker().await;
    let mut cases = Vec::new();
    for at in [CRC, MAGIC, ATTRIBUTES, LAST_OFFSET, COUNT, RECORDS, LAST] {
        cases.push(("none", true, at));
        cases.push(("none", false, at));
    }
    for compression in ["gzip", "snappy", "lz4", "zstd"] {
        cases.push((compression, false, ATTRIBUTES));
        cases.push((compression, false, LAST));
    }
    let all = cases
        .into_iter()
        .map(|(compression, single, at)| stands_until_passed(&services, compression, single, at));
    futures::future::join_all(all).await;
    services.stop().await;
}

async fn stands_until_passed(services: &Services, compression: &str, single: bool, at: i64) {
    let case = format!("{compression}, single: {single}, byte {at}");
    let name = unique("damage");
    let topic = topic_at(services.kafka(), &name, 1, &[]).await;
    fill(services, &topic, single, compression).await;
    let (index, offset, behind) = if single { (9, 9, 10) } else { (0, 0, 20) };
    damage(services, &topic, index, at);

    let (_consumer, mut log) = log(services, &topic, Start::Earliest).await;
    let good = u32::try_from(offset).expect("small");
    if good > 0 {
        let before = take(&mut log, good as usize).await;
        assert_eq!(values(&before), (0..good).collect::<Vec<_>>(), "{case}");
    }
    for _ in 0..2 {
        // It stands, before a seek to it and after.
        for _ in 0..2 {
            let answer = soon("answer", log.records(ALL)).await;
            assert!(
                matches!(answer, Err(Error::Damaged { offset: told, .. }) if told == offset),
                "{case}: {answer:?}"
            );
        }
        soon("seek", log.seek(Some(offset)))
            .await
            .expect("it seeks");
    }
    soon("seek", log.seek(Some(behind)))
        .await
        .expect("it seeks");
    let rest = to_end(&mut log).await;
    let from = u32::try_from(behind).expect("small");
    assert_eq!(values(&rest), (from..25).collect::<Vec<_>>(), "{case}");
}

/// No checksum covers a batch's offset.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_claims_an_offset_beyond_the_log_is_damage() {
    let services = broker().await;
    let topic = topic_at(services.kafka(), "offset", 1, &[]).await;
    fill(&services, &topic, true, "none").await;
    damage(&services, &topic, 9, 7);
    let (_consumer, mut log) = log(&services, &topic, Start::Earliest).await;
    let good = take(&mut log, 9).await;
    assert_eq!(values(&good), (0..9).collect::<Vec<_>>());
    let answer = soon("answer", log.records(ALL)).await;
    assert!(
        matches!(answer, Err(Error::Damaged { offset: 9, .. })),
        "{answer:?}"
    );
    services.stop().await;
}

/// librdkafka steps over a batch whose checksum fails to a wrong place, and what it takes for a batch
/// there may end the process by an assertion, whether anybody polls or not.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_held_partition_is_fetched_though_its_bytes_would_end_the_process() {
    let services = broker().await;
    let deadly = topic_at(services.kafka(), "deadly", 1, &[]).await;
    let other = topic_at(services.kafka(), "other", 1, &[]).await;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", services.kafka());
    let sender: FutureProducer = config.create().expect("a producer is created");
    for _ in 0..20 {
        let record = FutureRecord::<(), _>::to(&deadly)
            .partition(0)
            .payload(&[0; 100]);
        sender
            .send(record, PATIENCE)
            .await
            .map_err(|(error, _)| error)
            .expect("it is written");
    }
    damage(&services, &deadly, 9, CRC);

    let (lanes, mut logs) = Lanes::new();
    lanes.start(TopicPartition::new(deadly.as_str(), 0), Start::Held);
    let settings = settings_at(services.kafka(), "group");
    let consumer = Consumer::start(&settings, &[&deadly, &other], lanes as _)
        .await
        .expect("it starts");
    let mut logs = logs.next(2).await;
    let (_, mut held) = logs.pop_first().expect("two logs");
    let (_, mut reading) = logs.pop_first().expect("two logs");
    // One fetch asks for all partitions that are fetched, so the deadly one is not among them.
    for value in 0..20 {
        write_by(&config, &other, 0, value..value + 1).await;
        assert_eq!(values(&take(&mut reading, 1).await), [value]);
    }
    let early = tokio::time::timeout(Duration::from_millis(200), held.records(ALL)).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(
        soon("bounds", held.bounds()).await.expect("they are told"),
        (0, 20)
    );
    soon("seek", held.seek(Some(10))).await.expect("it seeks");
    let offsets: Vec<_> = take(&mut held, 10)
        .await
        .iter()
        .map(|record| record.offset)
        .collect();
    assert_eq!(offsets, (10..20).collect::<Vec<_>>());
    consumer.stop(PATIENCE).await.expect("it closes");
    services.stop().await;
}
