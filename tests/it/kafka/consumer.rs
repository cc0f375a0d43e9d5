//! One consumer: positions, limits, seeking, ends of the log, reporting and stopping.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use session_worker::kafka::{Consumer, Error, Limit, Log as _, SetupError, Start};
use session_worker::record::TopicPartition;

use super::support::{
    ALL, Lanes, Told, admin, bootstrap, settings, soon, take, timed, topic, unique, until, values,
    write,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_lane_starts_where_its_handler_says_and_reads_in_order() {
    let topic = topic("start", 3, &[]).await;
    for partition in 0..3 {
        write(&topic, partition, 0..5000).await;
    }
    let lane = |partition| TopicPartition::new(topic.as_str(), partition);
    let (lanes, mut logs) = Lanes::new();
    lanes.start(lane(0), Start::At(40));
    lanes.start(lane(1), Start::Earliest);
    lanes.start(lane(2), Start::Held);
    let consumer = Consumer::start(
        &settings(&unique("group")),
        &[&topic],
        Arc::clone(&lanes) as _,
    )
    .await
    .expect("it starts");
    let mut logs = logs.next(3).await;
    let mut log = |partition| logs.remove(&lane(partition)).expect("it was assigned");
    let (mut first, mut second, mut third) = (log(0), log(1), log(2));

    assert_eq!(
        values(&take(&mut first, 4960).await),
        (40..5000).collect::<Vec<_>>()
    );
    let records = take(&mut second, 5000).await;
    assert_eq!(values(&records), (0..5000).collect::<Vec<_>>());
    assert_eq!(records[7].origin().to_string(), format!("{topic}/1/7"));
    assert!(records[7].timestamp.is_some());

    // A held lane is given nothing, not even what comes in, until it says from where.
    write(&topic, 2, 5000..5010).await;
    let early = tokio::time::timeout(Duration::from_millis(500), third.records(ALL)).await;
    assert!(early.is_err(), "{early:?}");
    soon("seek", third.seek(Some(4990)))
        .await
        .expect("it seeks");
    assert_eq!(
        values(&take(&mut third, 20).await),
        (4990..5010).collect::<Vec<_>>()
    );

    assert_eq!(consumer.health().failure, None);
    soon("stop", consumer.stop(Duration::from_secs(10)))
        .await
        .expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_within_its_limit_but_takes_at_least_one_record() {
    let topic = topic("limit", 1, &[]).await;
    write(&topic, 0, 1000..1100).await;
    let (lanes, mut logs) = Lanes::new();
    let _consumer = Consumer::start(&settings(&unique("group")), &[&topic], lanes as _)
        .await
        .expect("it starts");
    let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
    let mut seen = Vec::new();
    // Every value has four bytes.
    for (limit, most) in [
        (
            Limit {
                records: 7,
                bytes: 1 << 20,
            },
            7,
        ),
        (
            Limit {
                records: 100,
                bytes: 10,
            },
            2,
        ),
        (
            Limit {
                records: 100,
                bytes: 1,
            },
            1,
        ),
        (
            Limit {
                records: 100,
                bytes: 8,
            },
            2,
        ),
    ] {
        let batch = soon("records", log.records(limit))
            .await
            .expect("the log is readable");
        assert!(
            (1..=most).contains(&batch.len()),
            "{limit:?}: {}",
            batch.len()
        );
        seen.extend(values(&batch));
    }
    while seen.len() < 100 {
        seen.extend(values(&take(&mut log, 1).await));
    }
    assert_eq!(seen, (1000..1100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_can_be_cancelled_without_losing_a_record() {
    let topic = topic("cancel", 1, &[]).await;
    let (lanes, mut logs) = Lanes::new();
    let _consumer = Consumer::start(&settings(&unique("group")), &[&topic], lanes as _)
        .await
        .expect("it starts");
    let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
    let writing = tokio::spawn({
        let topic = topic.clone();
        async move {
            for from in (0..2000).step_by(100) {
                write(&topic, 0, from..from + 100).await;
            }
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 2000 {
        let limit = Limit {
            records: 3,
            bytes: 1 << 20,
        };
        let tried = tokio::time::timeout(Duration::from_micros(200), log.records(limit)).await;
        if let Ok(records) = tried {
            seen.extend(values(&records.expect("the log is readable")));
        }
    }
    assert_eq!(seen, (0..2000).collect::<Vec<_>>());
    writing.await.expect("the writer ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_seek_nothing_of_before_arrives() {
    let topic = topic("seek", 1, &[]).await;
    write(&topic, 0, 0..20_000).await;
    let (lanes, mut logs) = Lanes::new();
    let _consumer = Consumer::start(&settings(&unique("group")), &[&topic], lanes as _)
        .await
        .expect("it starts");
    let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
    for (records, to) in [(10, 5u32), (100, 19_000), (1, 0), (500, 10), (3, 19_990)] {
        // A record polled beyond the byte limit is put back, and must not survive either.
        let limit = Limit { records, bytes: 10 };
        soon("records", log.records(limit))
            .await
            .expect("the log is readable");
        soon("seek", log.seek(Some(i64::from(to))))
            .await
            .expect("it seeks");
        let next = soon("records", log.records(limit))
            .await
            .expect("the log is readable");
        assert_eq!(values(&next[..1]), [to]);
    }
    soon("seek", log.seek(None)).await.expect("it seeks");
    assert_eq!(
        values(&take(&mut log, 20_000).await),
        (0..20_000).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_outside_the_log_is_told_and_stands() {
    let topic = topic("range", 2, &[]).await;
    for partition in 0..2 {
        write(&topic, partition, 0..100).await;
    }
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(&topic, 1, Offset::Offset(50))
        .expect("a legal offset");
    admin()
        .delete_records(&gone, &AdminOptions::new())
        .await
        .expect("the broker deletes");

    let lane = |partition| TopicPartition::new(topic.as_str(), partition);
    let (lanes, mut logs) = Lanes::new();
    lanes.start(lane(0), Start::At(1_000));
    lanes.start(lane(1), Start::At(10));
    let _consumer = Consumer::start(&settings(&unique("group")), &[&topic], lanes as _)
        .await
        .expect("it starts");
    let mut logs = logs.next(2).await;
    for (partition, bounds) in [(0, (0, 100)), (1, (50, 100))] {
        let mut log = logs.remove(&lane(partition)).expect("it was assigned");
        assert_eq!(
            soon("bounds", log.bounds())
                .await
                .expect("the broker answers"),
            bounds
        );
        assert_eq!(log.lag(Some(0)), Some(100 - bounds.0));
        for _ in 0..2 {
            let answer = soon("answer", log.records(ALL)).await;
            assert!(
                matches!(answer, Err(Error::OutOfRange { low, high }) if (low, high) == bounds),
                "{answer:?}"
            );
        }
        // A seek out of it is met the same way, and one into it helps at once.
        soon("seek", log.seek(Some(bounds.1 + 7)))
            .await
            .expect("it seeks");
        let answer = soon("answer", log.records(ALL)).await;
        assert!(
            matches!(answer, Err(Error::OutOfRange { .. })),
            "{answer:?}"
        );
        let (sought, took) = timed(log.seek(None)).await;
        sought.expect("it seeks");
        assert!(took < Duration::from_secs(2), "{took:?}");
        let low = u32::try_from(bounds.0).expect("small");
        assert_eq!(
            values(&take(&mut log, 100 - bounds.0 as usize).await),
            (low..100).collect::<Vec<_>>()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_lane_can_look_at_the_bounds_before_it_seeks() {
    let topic = topic("bounds", 1, &[]).await;
    write(&topic, 0, 0..100).await;
    let lane = TopicPartition::new(topic.as_str(), 0);
    let (lanes, mut logs) = Lanes::new();
    lanes.start(lane, Start::Held);
    let _consumer = Consumer::start(&settings(&unique("group")), &[&topic], lanes as _)
        .await
        .expect("it starts");
    let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
    let (bounds, took) = timed(log.bounds()).await;
    assert_eq!(bounds.expect("the broker answers"), (0, 100));
    assert!(took < Duration::from_secs(2), "{took:?}");
    // The end is within the bounds: there is nothing yet, then there is.
    soon("seek", log.seek(Some(100))).await.expect("it seeks");
    write(&topic, 0, 100..101).await;
    assert_eq!(values(&take(&mut log, 1).await), [100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reported_positions_are_committed_for_lag_tools_and_decide_nothing() {
    let topic = topic("report", 1, &[]).await;
    write(&topic, 0, 0..10).await;
    let settings = settings(&unique("group"));
    for _ in 0..2 {
        let (lanes, mut logs) = Lanes::new();
        let consumer = Consumer::start(&settings, &[&topic], lanes as _)
            .await
            .expect("it starts");
        let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
        // The second time, too: what was committed is not where reading starts.
        assert_eq!(
            values(&take(&mut log, 10).await),
            (0..10).collect::<Vec<_>>()
        );
        log.report(7);
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
        until("the commit shows", || committed() == Offset::Offset(7)).await;
        until("the high watermark shows", || log.lag(Some(0)) == Some(10)).await;
        soon("stop", consumer.stop(Duration::from_secs(10)))
            .await
            .expect("it closes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_consumer_revokes_its_lanes_and_leaves_its_group_at_once() {
    let topic = topic("stop", 2, &[]).await;
    let settings = settings(&unique("group"));
    let (lanes, mut logs) = Lanes::new();
    let consumer = Consumer::start(&settings, &[&topic], Arc::clone(&lanes) as _)
        .await
        .expect("it starts");
    let mut held = logs.next(2).await;
    let waiting = tokio::spawn(async move {
        let (_, log) = held.iter_mut().next().expect("two logs");
        let waited = log.records(ALL).await;
        (waited, held)
    });
    let (stopped, took) = timed(consumer.stop(Duration::from_secs(10))).await;
    stopped.expect("it closes");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let (waited, _held) = soon("answer", waiting)
        .await
        .expect("the lane does not panic");
    assert!(matches!(waited, Err(Error::Revoked)), "{waited:?}");
    let both = vec![
        TopicPartition::new(topic.as_str(), 0),
        TopicPartition::new(topic.as_str(), 1),
    ];
    assert_eq!(
        lanes.told(),
        [Told::Assigned(both.clone()), Told::Revoked(both, false)]
    );

    // The next member need not wait for a session to time out.
    let (lanes, mut logs) = Lanes::new();
    let next = Consumer::start(&settings, &[&topic], lanes as _)
        .await
        .expect("it starts");
    let (_, took) = timed(logs.next(2)).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    soon("stop", next.stop(Duration::from_secs(10)))
        .await
        .expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_at_the_start() {
    let (missing, (lanes, _logs)) = (unique("missing"), Lanes::new());
    let fault = Consumer::start(&settings("group"), &[&missing], lanes as _)
        .await
        .err();
    assert_eq!(fault, Some(SetupError::MissingTopic { topic: missing }));
}
