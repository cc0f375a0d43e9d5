//! Kafka as the simulation has it: partitions as vectors, records appended and read in order, and two
//! ends that can be made to fail on a seed's schedule.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use session_worker::kafka::{Error, Limit, Log, Publisher, Receipt, partition_of};
use session_worker::record::{OutRecord, Record, TopicPartition};
use tokio::sync::watch;

/// The brokers: every topic's partitions.
#[derive(Clone)]
pub(crate) struct Broker {
    logs: Arc<Mutex<BTreeMap<TopicPartition, Vec<Record>>>>,
    partitions: Arc<Mutex<BTreeMap<String, i32>>>,
    /// Counts appends and revocations, so that no reader misses one.
    changes: Arc<watch::Sender<u64>>,
}

impl Broker {
    /// No topic yet.
    pub(crate) fn new() -> Self {
        Self {
            logs: Arc::default(),
            partitions: Arc::default(),
            changes: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Wakes every reader, for a revocation.
    pub(crate) fn wake(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Makes a topic.
    pub(crate) fn create(&self, topic: &str, partitions: i32) {
        self.partitions
            .lock()
            .expect("broker")
            .insert(topic.to_owned(), partitions);
    }

    /// Appends a record where it names a partition or its key leads.
    pub(crate) fn append(&self, record: &OutRecord) {
        let count = self.partitions.lock().expect("broker")[&*record.topic];
        let partition = record
            .partition
            .unwrap_or_else(|| partition_of(record.key.as_deref().unwrap_or_default(), count));
        let lane = TopicPartition::new(Arc::clone(&record.topic), partition);
        let mut logs = self.logs.lock().expect("broker");
        let log = logs.entry(lane.clone()).or_default();
        log.push(Record {
            lane,
            offset: i64::try_from(log.len()).expect("short logs"),
            timestamp: Some(0),
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record.headers.clone(),
        });
        drop(logs);
        self.wake();
    }

    /// Deletes a partition's records, as if its topic was made again.
    pub(crate) fn make_again(&self, lane: &TopicPartition) {
        self.logs.lock().expect("broker").remove(lane);
        self.wake();
    }

    /// Everything in one partition.
    pub(crate) fn partition(&self, lane: &TopicPartition) -> Vec<Record> {
        self.logs
            .lock()
            .expect("broker")
            .get(lane)
            .cloned()
            .unwrap_or_default()
    }

    /// Everything in a topic, partition by partition.
    pub(crate) fn topic(&self, topic: &str) -> Vec<Record> {
        let logs = self.logs.lock().expect("broker");
        logs.iter()
            .filter(|(lane, _)| &*lane.topic == topic)
            .flat_map(|(_, l)| l.clone())
            .collect()
    }

    /// The offset after a partition's last record.
    pub(crate) fn end(&self, lane: &TopicPartition) -> i64 {
        let logs = self.logs.lock().expect("broker");
        i64::try_from(logs.get(lane).map_or(0, Vec::len)).expect("short logs")
    }
}

/// One partition as a lane reads it.
pub(crate) struct SimLog {
    broker: Broker,
    lane: TopicPartition,
    position: i64,
    revoked: Arc<AtomicBool>,
}

impl SimLog {
    /// Reads `lane`, once it is placed.
    pub(crate) fn new(broker: Broker, lane: TopicPartition, revoked: Arc<AtomicBool>) -> Self {
        Self {
            broker,
            lane,
            position: 0,
            revoked,
        }
    }
}

impl Log for SimLog {
    async fn records(&mut self, limit: Limit) -> Result<Vec<Record>, Error> {
        let mut changes = self.broker.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if self.revoked.load(Ordering::Relaxed) {
                return Err(Error::Revoked);
            }
            let log = self.broker.partition(&self.lane);
            let from = usize::try_from(self.position).expect("not negative");
            let records: Vec<_> = log.into_iter().skip(from).take(limit.records).collect();
            if let Some(last) = records.last() {
                self.position = last.offset + 1;
                return Ok(records);
            }
            changes
                .changed()
                .await
                .expect("the broker lives as long as its logs");
        }
    }

    async fn seek(&mut self, offset: Option<i64>) -> Result<(), Error> {
        self.position = offset.unwrap_or(0);
        Ok(())
    }

    async fn bounds(&mut self) -> Result<(i64, i64), Error> {
        Ok((0, self.broker.end(&self.lane)))
    }

    fn lag(&self, next: Option<i64>) -> Option<i64> {
        Some(self.broker.end(&self.lane) - next.unwrap_or(0))
    }

    fn report(&mut self, _next: i64) {}
}

/// One process's producer: when it fails, all its lanes have to send again.
pub(crate) struct SimProducer {
    inner: Arc<Producer>,
}

struct Producer {
    broker: Broker,
    rng: Mutex<StdRng>,
    /// How likely a delivery fails, in 1,000.
    failures: u32,
    generation: AtomicU64,
}

impl SimProducer {
    /// A producer that fails on `seed`'s schedule.
    pub(crate) fn new(broker: Broker, seed: u64, failures: u32) -> Self {
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        let inner = Producer {
            broker,
            rng,
            failures,
            generation: AtomicU64::new(0),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A lane's way to it.
    pub(crate) fn publisher(&self) -> SimPublisher {
        let seen = AtomicU64::new(self.inner.generation.load(Ordering::Relaxed));
        SimPublisher {
            inner: Arc::clone(&self.inner),
            seen,
        }
    }
}

/// A lane's way to its process's producer.
pub(crate) struct SimPublisher {
    inner: Arc<Producer>,
    seen: AtomicU64,
}

impl Producer {
    fn draw(&self, below: u32) -> u32 {
        self.rng.lock().expect("publisher").random_range(0..below)
    }
}

fn failed() -> Error {
    Error::Delivery {
        reason: "simulated".to_owned(),
    }
}

impl Publisher for SimPublisher {
    async fn send(&self, topic: &str, records: Arc<[OutRecord]>) -> Result<Receipt, Error> {
        let records: Vec<_> = records
            .iter()
            .filter(|record| &*record.topic == topic)
            .collect();
        let inner = Arc::clone(&self.inner);
        let generation = self.seen.load(Ordering::Relaxed);
        if inner.generation.load(Ordering::Relaxed) != generation {
            return Err(failed());
        }
        // A failing delivery appends nothing, a part, or everything: the lost answer looks the same.
        let fails = inner.draw(1000) < inner.failures;
        let all = u32::try_from(records.len()).expect("small batches");
        let appended = if fails { inner.draw(all + 1) } else { all };
        for record in records
            .into_iter()
            .take(usize::try_from(appended).expect("small batches"))
        {
            inner.broker.append(record);
        }
        if fails {
            inner.generation.fetch_add(1, Ordering::Relaxed);
        }
        let delay = Duration::from_millis(u64::from(inner.draw(30)));
        Ok(Box::pin(async move {
            tokio::time::sleep(delay).await;
            let current = inner.generation.load(Ordering::Relaxed);
            if current == generation {
                Ok(())
            } else {
                Err(failed())
            }
        }))
    }

    async fn recovered(&self, _topic: &str) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.seen.store(
            self.inner.generation.load(Ordering::Relaxed),
            Ordering::Relaxed,
        );
    }

    fn max_record_bytes(&self, _topic: &str) -> usize {
        1 << 20
    }
}
