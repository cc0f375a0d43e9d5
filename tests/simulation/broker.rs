//! Kafka's brokers as the simulation has them: partitions with records, offsets that hold none, deleted
//! beginnings, damaged batches and records that kill whoever reads them. What was deleted stays known to
//! the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use session_worker::kafka::{Limit, partition_of};
use session_worker::record::{OutRecord, Record, TopicPartition};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Where a record lies: a topic that is recreated starts a new generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) lane: TopicPartition,
    pub(crate) generation: u32,
    pub(crate) offset: i64,
}

/// What a read comes to.
pub(crate) enum Read {
    /// Records, and where to read on.
    Records(Vec<Record>, i64),
    /// Nothing is left; reading stands at this offset.
    End(i64),
    /// The position is not in the log.
    OutOfRange { low: i64, high: i64 },
    /// The next batch is damaged and ends before this offset.
    Damaged(i64),
    /// The topic is not the one that was read.
    Recreated,
    /// The next record kills the process.
    Kills,
}

#[derive(Clone, Default)]
struct Partition {
    generation: u32,
    low: i64,
    /// By offset; `None` is an offset without a record.
    entries: Vec<Option<Record>>,
    /// Batches that cannot be read: from, to.
    damage: Vec<(i64, i64)>,
    killers: BTreeSet<i64>,
}

#[derive(Default)]
struct Inner {
    partitions: BTreeMap<TopicPartition, Partition>,
    /// Data offsets of generations that are gone.
    gone: BTreeMap<(TopicPartition, u32), BTreeSet<i64>>,
    counts: BTreeMap<String, i32>,
}

/// The brokers.
#[derive(Clone)]
pub(crate) struct Broker {
    inner: Arc<Mutex<Inner>>,
    began: Instant,
    /// Wakes readers in the order in which they wait; a watch channel would wake them in any.
    changes: Arc<Notify>,
}

impl Partition {
    fn end(&self) -> i64 {
        i64::try_from(self.entries.len()).expect("short logs")
    }

    fn data(&self) -> BTreeSet<i64> {
        self.entries
            .iter()
            .flatten()
            .map(|record| record.offset)
            .collect()
    }
}

impl Broker {
    /// No topic yet.
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::default(),
            began: Instant::now(),
            changes: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("broker")
    }

    /// Changes a partition and wakes its readers.
    fn change<T>(&self, lane: &TopicPartition, change: impl FnOnce(&mut Partition) -> T) -> T {
        let changed = change(self.lock().partitions.entry(lane.clone()).or_default());
        self.wake();
        changed
    }

    fn look<T>(&self, lane: &TopicPartition, look: impl FnOnce(&Partition) -> T) -> T {
        match self.lock().partitions.get(lane) {
            Some(partition) => look(partition),
            None => look(&Partition::default()),
        }
    }

    /// Wakes every reader.
    pub(crate) fn wake(&self) {
        self.changes.notify_waiters();
    }

    /// Tells of every change.
    pub(crate) fn changes(&self) -> Arc<Notify> {
        Arc::clone(&self.changes)
    }

    /// Creates a topic.
    pub(crate) fn create(&self, topic: &str, partitions: i32) {
        self.lock().counts.insert(topic.to_owned(), partitions);
    }

    /// Appends a record where it names a partition or its key leads.
    pub(crate) fn append(&self, record: &OutRecord) -> Place {
        let count = self.lock().counts[&*record.topic];
        let partition = record
            .partition
            .unwrap_or_else(|| partition_of(record.key.as_deref().unwrap_or_default(), count));
        let lane = TopicPartition::new(Arc::clone(&record.topic), partition);
        let timestamp = i64::try_from(self.began.elapsed().as_millis()).expect("short simulations");
        self.change(&lane.clone(), |partition| {
            let offset = partition.end();
            partition.entries.push(Some(Record {
                lane: lane.clone(),
                offset,
                timestamp: Some(timestamp),
                key: record.key.clone(),
                value: record.value.clone(),
                headers: record.headers.clone(),
            }));
            Place {
                lane,
                generation: partition.generation,
                offset,
            }
        })
    }

    /// Appends an offset without a record: a transaction marker, or a record of an aborted transaction.
    pub(crate) fn mark(&self, lane: &TopicPartition) {
        self.change(lane, |partition| partition.entries.push(None));
    }

    /// Deletes the records before `low`.
    pub(crate) fn retain(&self, lane: &TopicPartition, low: i64) {
        self.change(lane, |partition| {
            partition.low = partition.low.max(low.min(partition.end()));
        });
    }

    /// Deletes the topic and creates it again, empty.
    pub(crate) fn recreate(&self, lane: &TopicPartition) {
        let mut inner = self.lock();
        let partition = inner.partitions.entry(lane.clone()).or_default();
        let (generation, data) = (partition.generation, partition.data());
        *partition = Partition {
            generation: generation + 1,
            ..Partition::default()
        };
        inner.gone.insert((lane.clone(), generation), data);
        drop(inner);
        self.wake();
    }

    /// Makes the batch of the offsets `from` to `to` unreadable.
    pub(crate) fn damage(&self, lane: &TopicPartition, from: i64, to: i64) {
        self.change(lane, |partition| partition.damage.push((from, to)));
    }

    /// Makes every batch readable again.
    pub(crate) fn heal(&self, lane: &TopicPartition) {
        self.change(lane, |partition| partition.damage.clear());
    }

    /// Makes a record kill the process that reads it.
    pub(crate) fn arm(&self, place: &Place) {
        self.change(&place.lane, |partition| {
            partition.killers.insert(place.offset)
        });
    }

    /// Makes the partition's records harmless.
    pub(crate) fn disarm(&self, lane: &TopicPartition) {
        self.change(lane, |partition| partition.killers.clear());
    }

    /// The first damaged batch that ends behind `next`, as far as it holds records.
    pub(crate) fn damage_behind(&self, lane: &TopicPartition, next: i64) -> Option<(i64, i64)> {
        self.look(lane, |partition| {
            let end = partition.end();
            let batches = partition.damage.iter();
            batches
                .map(|(from, to)| (*from, (*to).min(end)))
                .filter(|(from, to)| from < to && *to > next)
                .min()
        })
    }

    /// The first record at or behind `next` that kills.
    pub(crate) fn killer_behind(&self, lane: &TopicPartition, next: i64) -> Option<i64> {
        self.look(lane, |partition| {
            partition.killers.range(next..).next().copied()
        })
    }

    /// Reads generation `generation` of a partition from `position`.
    pub(crate) fn read(
        &self,
        lane: &TopicPartition,
        generation: u32,
        position: i64,
        limit: Limit,
    ) -> Read {
        self.look(lane, |partition| {
            let (low, high) = (partition.low, partition.end());
            if partition.generation != generation {
                return Read::Recreated;
            }
            if position < low || position > high {
                return Read::OutOfRange { low, high };
            }
            let mut records = Vec::new();
            let mut next = position;
            while next < high && records.len() < limit.records {
                let damage = partition.damage.iter();
                let batch = damage
                    .clone()
                    .find(|(from, to)| (*from..*to).contains(&next));
                match batch {
                    Some((_, to)) if records.is_empty() => return Read::Damaged((*to).min(high)),
                    Some(_) => break,
                    None => {}
                }
                if partition.killers.contains(&next) {
                    return Read::Kills;
                }
                let index = usize::try_from(next).expect("not negative");
                records.extend(partition.entries[index].clone());
                next += 1;
            }
            if records.is_empty() {
                Read::End(next)
            } else {
                Read::Records(records, next)
            }
        })
    }

    /// The first offset of a partition and the one after its last.
    pub(crate) fn bounds(&self, lane: &TopicPartition) -> (i64, i64) {
        self.look(lane, |partition| (partition.low, partition.end()))
    }

    /// How often a partition was recreated.
    pub(crate) fn generation(&self, lane: &TopicPartition) -> u32 {
        self.look(lane, |partition| partition.generation)
    }

    /// The offset after the last record at or behind `next`; `next` where there is none.
    pub(crate) fn end_of_data(&self, lane: &TopicPartition, next: i64) -> i64 {
        self.look(lane, |partition| {
            let last = partition.entries.iter().flatten().next_back();
            last.map_or(next, |record| (record.offset + 1).max(next))
        })
    }

    /// The offsets of a generation that hold or held records.
    pub(crate) fn data(&self, lane: &TopicPartition, generation: u32) -> BTreeSet<i64> {
        let inner = self.lock();
        match inner.partitions.get(lane) {
            Some(partition) if partition.generation == generation => partition.data(),
            _ => inner
                .gone
                .get(&(lane.clone(), generation))
                .cloned()
                .unwrap_or_default(),
        }
    }

    /// Everything in a topic, partition by partition.
    pub(crate) fn topic(&self, topic: &str) -> Vec<Record> {
        let inner = self.lock();
        let partitions = inner.partitions.iter();
        partitions
            .filter(|(lane, _)| &*lane.topic == topic)
            .flat_map(|(_, partition)| partition.entries.iter().flatten().cloned())
            .collect()
    }

    /// The records of a partition from `offset` on.
    pub(crate) fn tail(&self, lane: &TopicPartition, offset: i64) -> Vec<Record> {
        self.look(lane, |partition| {
            let from = usize::try_from(offset).expect("not negative");
            partition.entries[from.min(partition.entries.len())..]
                .iter()
                .flatten()
                .cloned()
                .collect()
        })
    }
}
