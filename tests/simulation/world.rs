//! Two worker processes on one broker and one database, on one thread under paused time. A seed decides
//! what is sent, what fails, and which process is killed, frozen out or handed a lane, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use session_worker::domain::Rules;
use session_worker::lane::{Bounds, Homes, Lane, Shared, StatusBoard};
use session_worker::record::{OutRecord, TopicNames, TopicPartition};
use session_worker::store::LanePosition;
use session_worker::store::memory::MemoryStore;
use session_worker::wire::{Codec, LookupError, OutputIds, SchemaSource};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::database::{Faults, SimClock, SimStore};
use crate::learners::Learners;
use crate::log::{Broker, SimLog, SimProducer};
use crate::outputs;

const PARTITIONS: i32 = 3;

/// What one simulation is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) messages: usize,
    pub(crate) faults: Faults,
    /// How likely a delivery fails, in 1,000.
    pub(crate) delivery_failures: u32,
    /// Kills, hand-overs and double owners while messages are sent.
    pub(crate) upheavals: usize,
    pub(crate) bounds: Bounds,
}

/// What is left when everything has come to rest.
pub(crate) struct Aftermath {
    pub(crate) broker: Broker,
    pub(crate) store: MemoryStore,
    pub(crate) learners: Learners,
    pub(crate) topics: TopicNames,
}

/// A registry that knows what the worker itself writes to its own input: matches on their way home.
struct OwnSchema;

impl SchemaSource for OwnSchema {
    fn writer_schema<'a>(
        &'a self,
        _subject: &'a str,
        id: u32,
    ) -> BoxFuture<'a, Result<Arc<str>, LookupError>> {
        let known = include_str!("../../schemas/session-command-value.avsc");
        let found = if id == IDS.command {
            Ok(Arc::from(known))
        } else {
            Err(LookupError::NotFound)
        };
        Box::pin(std::future::ready(found))
    }
}

const IDS: OutputIds = OutputIds {
    event: 1,
    result: 2,
    command: 3,
};

type SimShared = Shared<SimStore, SimClock>;

struct Owner {
    stop: CancellationToken,
    revoked: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

struct Process {
    shared: Arc<SimShared>,
    producer: SimProducer,
}

struct World {
    plan: Plan,
    rng: StdRng,
    broker: Broker,
    store: MemoryStore,
    topics: TopicNames,
    processes: Vec<Process>,
    clock: Arc<SimClock>,
    owners: BTreeMap<TopicPartition, Owner>,
}

/// Rules with deadlines short enough to fire while messages are sent.
fn rules() -> Rules {
    Rules {
        session_timeout: Duration::from_secs(60),
        waiting_timeout: Duration::from_secs(40),
        disconnect_grace: Duration::from_secs(5),
        no_show_timeout: Some(Duration::from_secs(25)),
        expiry_warnings: vec![Duration::from_secs(20), Duration::from_secs(5)],
        ..Rules::default()
    }
}

/// Runs a simulation to its end.
pub(crate) fn run(plan: Plan) -> Aftermath {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(plan);
        world.live().await
    })
}

impl World {
    fn new(plan: Plan) -> Self {
        let topics = TopicNames::default();
        let broker = Broker::new();
        for topic in [
            &topics.match_found,
            &topics.session_command,
            &topics.session_event,
            &topics.session_command_result,
        ] {
            broker.create(topic, PARTITIONS);
        }
        broker.create(&topics.session_dead_letter, 1);
        let mut world = Self {
            plan,
            rng: StdRng::seed_from_u64(plan.seed),
            broker,
            store: MemoryStore::new(),
            topics,
            processes: Vec::new(),
            clock: Arc::new(SimClock::new()),
            owners: BTreeMap::new(),
        };
        world.processes = vec![world.process(), world.process()];
        world
    }

    fn process(&mut self) -> Process {
        let (store_seed, publisher_seed) = (self.rng.random(), self.rng.random());
        let failures = self.plan.delivery_failures;
        let producer = SimProducer::new(self.broker.clone(), publisher_seed, failures);
        let shared = Arc::new(Shared {
            store: Arc::new(SimStore::new(
                self.store.clone(),
                self.plan.faults,
                store_seed,
            )),
            clock: Arc::clone(&self.clock),
            codec: Arc::new(Codec::new(self.topics.clone(), IDS, Arc::new(OwnSchema))),
            homes: Arc::new(Homes::new(PARTITIONS)),
            rules: Arc::new(rules()),
            topics: self.topics.clone(),
            group: Arc::from("simulation"),
            bounds: self.plan.bounds,
            board: StatusBoard::default(),
            sweeps: tokio::sync::watch::Sender::new(0),
            revisions: tokio::sync::watch::Sender::default(),
            suspects: Arc::new(tokio::sync::Semaphore::new(1)),
        });
        Process { shared, producer }
    }

    fn lanes(&self) -> Vec<TopicPartition> {
        [&self.topics.match_found, &self.topics.session_command]
            .into_iter()
            .flat_map(|topic| (0..PARTITIONS).map(|p| TopicPartition::new(Arc::clone(topic), p)))
            .collect()
    }

    /// Starts a lane in a process.
    fn start(&mut self, lane: &TopicPartition, process: usize) -> Owner {
        let shared = Arc::clone(&self.processes[process].shared);
        let publisher = self.processes[process].producer.publisher();
        let revoked = Arc::new(AtomicBool::new(false));
        let broker = self.broker.clone();
        let log = SimLog::new(broker, lane.clone(), Arc::clone(&revoked));
        let seed = self.rng.random();
        let lane = Lane::new(lane.clone(), shared, log, publisher, seed);
        let stop = CancellationToken::new();
        let child = stop.clone();
        let task = tokio::spawn(async move {
            lane.run(child).await;
        });
        Owner {
            stop,
            revoked,
            task,
        }
    }

    async fn live(&mut self) -> Aftermath {
        for lane in self.lanes() {
            let process = self.rng.random_range(0..self.processes.len());
            let owner = self.start(&lane, process);
            self.owners.insert(lane, owner);
        }
        let mut learners = Learners::new(self.plan.seed);
        let every = (self.plan.messages / (self.plan.upheavals + 1)).max(1);
        for number in 1..=self.plan.messages {
            self.broker.append(&learners.next());
            let pause = self.rng.random_range(0..200);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if number % 20 == 0 {
                let results = self.broker.topic(&self.topics.session_command_result);
                learners.learn(&outputs::results(&results));
            }
            if number % every == 0 {
                self.upheaval().await;
            }
        }
        self.come_to_rest().await;
        Aftermath {
            broker: self.broker.clone(),
            store: self.store.clone(),
            learners,
            topics: self.topics.clone(),
        }
    }

    /// Kills a lane's owner, hands the lane over in order, or lets two owners believe in it.
    async fn upheaval(&mut self) {
        let lanes = self.lanes();
        let lane = lanes[self.rng.random_range(0..lanes.len())].clone();
        let process = self.rng.random_range(0..self.processes.len());
        let before = self.owners.remove(&lane).expect("every lane has an owner");
        match self.rng.random_range(0..3) {
            0 => {
                before.task.abort();
                let _ = before.task.await;
                let away = self.rng.random_range(0..8000);
                tokio::time::sleep(Duration::from_millis(away)).await;
                let owner = self.start(&lane, process);
                self.owners.insert(lane, owner);
            }
            1 => {
                before.stop.cancel();
                let _ = before.task.await;
                let owner = self.start(&lane, process);
                self.owners.insert(lane, owner);
            }
            _ => {
                let owner = self.start(&lane, process);
                let both = self.rng.random_range(0..3000);
                tokio::time::sleep(Duration::from_millis(both)).await;
                before.revoked.store(true, Ordering::Relaxed);
                self.broker.wake();
                let _ = tokio::time::timeout(Duration::from_secs(5), before.task).await;
                self.owners.insert(lane, owner);
            }
        }
    }

    /// Waits until every record is consumed, every deadline has fired and every outbox is empty.
    async fn come_to_rest(&mut self) {
        let limit = tokio::time::Instant::now() + Duration::from_secs(1200);
        loop {
            let consumed = self.lanes().iter().all(|lane| {
                let next = self
                    .store
                    .lanes()
                    .get(lane)
                    .and_then(|position| position.next);
                next.unwrap_or(0) == self.broker.end(lane)
            });
            let ended = self
                .store
                .sessions()
                .values()
                .all(|s| s.session.ended_at.is_some());
            let published = self
                .lanes()
                .iter()
                .all(|lane| self.store.outbox_len(lane) == 0);
            if consumed && ended && published {
                break;
            }
            assert!(
                tokio::time::Instant::now() < limit,
                "seed {}: not at rest (consumed {consumed}, ended {ended}, published {published})",
                self.plan.seed
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        for owner in self.owners.values() {
            owner.stop.cancel();
        }
        for (_, owner) in std::mem::take(&mut self.owners) {
            owner.task.await.expect("a lane ends without a panic");
        }
    }
}

/// Runs a lane on a topic, makes the topic again with other records, and runs the lane on it for a
/// minute: the lane's position before and after.
pub(crate) fn make_topic_again(seed: u64) -> (LanePosition, LanePosition) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let plan = Plan {
            seed,
            messages: 0,
            faults: Faults::default(),
            delivery_failures: 0,
            upheavals: 0,
            bounds: Bounds::default(),
        };
        let mut world = World::new(plan);
        let lane = TopicPartition::new(Arc::clone(&world.topics.session_command), 0);
        let unreadable = |text: &str, count: usize| {
            (0..count)
                .map(|n| OutRecord {
                    topic: Arc::clone(&lane.topic),
                    partition: Some(0),
                    key: None,
                    value: Some(format!("{text} {n}").into_bytes()),
                    headers: Vec::new(),
                })
                .collect::<Vec<_>>()
        };
        for record in unreadable("old", 5) {
            world.broker.append(&record);
        }
        for text in ["old", "new"] {
            if text == "new" {
                world.broker.make_again(&lane);
                for record in unreadable("new", 20) {
                    world.broker.append(&record);
                }
            }
            let before = world.store.lanes().get(&lane).copied();
            let owner = world.start(&lane, 0);
            tokio::time::sleep(Duration::from_secs(60)).await;
            owner.stop.cancel();
            owner.task.await.expect("a lane ends without a panic");
            if text == "new" {
                let before = before.expect("the old topic was consumed");
                return (before, world.store.lanes()[&lane]);
            }
            assert_eq!(
                world.store.lanes()[&lane].next,
                Some(5),
                "the old topic is consumed"
            );
        }
        unreachable!("the second round returns")
    })
}
