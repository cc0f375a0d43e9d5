//! Several consumers in one group: partitions move, positions are asked anew, no record strays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use session_worker::kafka::{Consumer, Error, Log as _, PartitionLog, Start};
use session_worker::record::TopicPartition;

use super::support::{
    ALL, Lanes, Logs, Told, settings, soon, take, topic, unique, until, values, write,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_takes_its_share_from_where_the_lanes_say() {
    let topic = topic("share", 4, &[]).await;
    for partition in 0..4 {
        write(&topic, partition, 0..3000).await;
    }
    let settings = settings(&unique("group"));
    let lane = |partition| TopicPartition::new(topic.as_str(), partition);
    let all: Vec<_> = (0..4).map(lane).collect();

    let (first, mut first_logs) = Lanes::new();
    let one = Consumer::start(&settings, &[&topic], Arc::clone(&first) as _)
        .await
        .expect("starts");
    let mut old = first_logs.next(4).await;
    for log in old.values_mut() {
        // Some are read to the end, the others leave a filled queue behind.
        if log.lane().partition % 2 == 0 {
            take(log, 3000).await;
        }
    }

    let (second, mut second_logs) = Lanes::new();
    for (partition, from) in [(0, 100), (1, 200), (2, 300), (3, 400)] {
        first.start(lane(partition), Start::At(from));
        second.start(lane(partition), Start::At(from));
    }
    let two = Consumer::start(&settings, &[&topic], Arc::clone(&second) as _)
        .await
        .expect("starts");
    let mut shares = second_logs.next(2).await;
    let mut rest = first_logs.next(2).await;
    shares.append(&mut rest);
    assert_eq!(
        shares.keys().cloned().collect::<Vec<_>>(),
        all,
        "each lane has one owner"
    );
    for log in old.values_mut() {
        let answer = soon("answer", log.records(ALL)).await;
        assert!(matches!(answer, Err(Error::Revoked)), "{answer:?}");
    }
    assert_eq!(
        first.told()[..2],
        [Told::Assigned(all.clone()), Told::Revoked(all, false)]
    );

    // The old logs go only now: their end must not silence the new ones.
    drop(old);
    for (partition, mut log) in (0..4u32).zip(shares.into_values()) {
        write(&topic, i32::try_from(partition).expect("small"), 3000..3100).await;
        let from = (partition + 1) * 100;
        let found = take(&mut log, usize::try_from(3100 - from).expect("small")).await;
        assert_eq!(values(&found), (from..3100).collect::<Vec<_>>());
    }
    for consumer in [one, two] {
        assert_eq!(
            consumer.health().failure,
            None,
            "no record strayed to the main queue"
        );
        soon("stop", consumer.stop(Duration::from_secs(10)))
            .await
            .expect("it closes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_lose_and_repeat_nothing_of_what_the_lanes_remember() {
    const RECORDS: u32 = 20_000;
    let topic = topic("storm", 4, &[]).await;
    let settings = settings(&unique("group"));
    let writing = tokio::spawn({
        let topic = topic.clone();
        async move {
            for from in (0..RECORDS).step_by(2000) {
                for partition in 0..4 {
                    write(&topic, partition, from..from + 2000).await;
                }
            }
        }
    });

    // What the lanes of all members have taken: as MongoDB would, it outlives each of them.
    let memory: Arc<Memory> = Arc::default();
    let (steady, logs) = Lanes::new();
    let consumer = Consumer::start(&settings, &[&topic], remembering(&steady, &memory))
        .await
        .expect("starts");
    let reading = tokio::spawn(read_all(logs, Arc::clone(&memory)));
    for _ in 0..4 {
        let (lanes, logs) = Lanes::new();
        let visitor = Consumer::start(&settings, &[&topic], remembering(&lanes, &memory))
            .await
            .expect("starts");
        let visiting = tokio::spawn(read_all(logs, Arc::clone(&memory)));
        until(
            "the visitor has its share",
            || matches!(lanes.told().last(), Some(Told::Assigned(lanes)) if lanes.len() == 2),
        )
        .await;
        soon("stop", visitor.stop(Duration::from_secs(10)))
            .await
            .expect("it closes");
        assert_eq!(visitor.health().failure, None);
        visiting.abort();
    }
    soon("end of writing", writing)
        .await
        .expect("the writer ends");
    until("everything is read", || {
        let memory = memory.taken.lock().expect("unpoisoned");
        memory.len() == 4 && memory.values().all(|taken| taken.len() >= RECORDS as usize)
    })
    .await;
    for (lane, taken) in memory.taken.lock().expect("unpoisoned").iter() {
        assert!(taken.iter().copied().eq(0..RECORDS), "{lane}");
    }
    assert_eq!(consumer.health().failure, None);
    reading.abort();
    soon("stop", consumer.stop(Duration::from_secs(10)))
        .await
        .expect("it closes");
}

#[derive(Default)]
struct Memory {
    taken: std::sync::Mutex<BTreeMap<TopicPartition, Vec<u32>>>,
}

/// A handler that starts each lane behind what memory holds of it.
struct Remembering {
    lanes: Arc<Lanes>,
    memory: Arc<Memory>,
}

fn remembering(
    lanes: &Arc<Lanes>,
    memory: &Arc<Memory>,
) -> Arc<dyn session_worker::kafka::Assignments> {
    Arc::new(Remembering {
        lanes: Arc::clone(lanes),
        memory: Arc::clone(memory),
    })
}

impl session_worker::kafka::Assignments for Remembering {
    fn assigned(
        &self,
        lanes: Vec<TopicPartition>,
    ) -> futures::future::BoxFuture<'_, Vec<(TopicPartition, Start)>> {
        for lane in &lanes {
            let taken = self.memory.taken.lock().expect("unpoisoned");
            let next = taken.get(lane).map_or(0, Vec::len);
            self.lanes
                .start(lane.clone(), Start::At(i64::try_from(next).expect("small")));
        }
        self.lanes.assigned(lanes)
    }

    fn started(&self, logs: Vec<PartitionLog>) {
        self.lanes.started(logs);
    }

    fn revoked(
        &self,
        lanes: Vec<TopicPartition>,
        lost: bool,
    ) -> futures::future::BoxFuture<'_, ()> {
        self.lanes.revoked(lanes, lost)
    }
}

/// Each log is read by a task that remembers, as one step with taking, what it took.
async fn read_all(mut logs: Logs, memory: Arc<Memory>) {
    loop {
        for (lane, mut log) in logs.next(1).await {
            let memory = Arc::clone(&memory);
            tokio::spawn(async move {
                while let Ok(records) = log.records(ALL).await {
                    let mut taken = memory.taken.lock().expect("unpoisoned");
                    let taken = taken.entry(lane.clone()).or_default();
                    for (record, value) in records.iter().zip(values(&records)) {
                        // The epoch's part: what an old owner took late does not count.
                        if record.offset == i64::try_from(taken.len()).expect("small") {
                            taken.push(value);
                        }
                    }
                }
            });
        }
    }
}
