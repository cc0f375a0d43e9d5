//! Worker processes and the lanes that they own: started, killed, handed over in order, owned twice, and
//! joined. A lane that ends although nobody asked it to has found a bug.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rand::Rng;
use session_worker::domain::Rules;
use session_worker::lane::{Homes, Lane, Phase, Shared, StatusBoard};
use session_worker::record::TopicPartition;
use session_worker::wire::{Codec, LookupError, OutputIds, SchemaSource};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::database::{SimClock, SimStore};
use crate::history::LaneHistory;
use crate::liveness::SWEEP;
use crate::log::{Death, SimLog};
use crate::producer::SimProducer;
use crate::pulse;
use crate::world::{Action, PARTITIONS, World};

/// How often a process looks for what operators did, as the worker does.
const LOOK: Duration = Duration::from_secs(2);
/// How long a revoked lane may take to finish, as in the worker.
const DRAIN: Duration = Duration::from_secs(5);
/// Processes that may die of one record in a row: five that are counted, the one that was reading before
/// anything was suspected, and one that died of something else first.
const DEATHS_PER_RECORD: u32 = 7;

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

/// A process that runs a lane.
pub(crate) struct Owner {
    process: usize,
    stop: CancellationToken,
    revoked: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// A worker process. Each of its lanes has what they share on channels of its own: a channel with several
/// receivers would wake them in any order.
pub(crate) struct Process {
    /// Which one of those that took this place.
    number: u64,
    store: Arc<SimStore>,
    clock: Arc<SimClock>,
    board: StatusBoard,
    suspects: Arc<Semaphore>,
    lanes: Arc<Mutex<Vec<Arc<SimShared>>>>,
    pub(crate) producer: SimProducer,
    upkeep: JoinHandle<()>,
}

/// Rules with deadlines short enough to fire while messages are sent.
fn rules() -> Rules {
    Rules {
        session_timeout: Duration::from_secs(30),
        waiting_timeout: Duration::from_secs(20),
        disconnect_grace: Duration::from_secs(4),
        no_show_timeout: Some(Duration::from_secs(15)),
        expiry_warnings: vec![Duration::from_secs(10), Duration::from_secs(3)],
        ..Rules::default()
    }
}

impl Owner {
    /// What a finished task panicked of.
    fn died_of(self) -> Option<String> {
        let error = self.task.now_or_never()?.err()?;
        let panic = error.try_into_panic().ok()?;
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Some(text.unwrap_or_else(|| "a panic".to_owned()))
    }
}

impl World {
    pub(crate) fn process(&mut self) -> Process {
        let (store_seed, producer_seed) = (self.rng.random(), self.rng.random());
        let late = Duration::from_millis(self.rng.random_range(0..2_000));
        let producer = SimProducer::new(
            self.broker.clone(),
            self.weather.clone(),
            self.history.clone(),
            producer_seed,
        );
        let store = SimStore::new(
            self.store.clone(),
            self.weather.clone(),
            self.history.clone(),
            self.clock.clone(),
            store_seed,
        );
        let lanes = Arc::default();
        self.planned += 1;
        Process {
            number: self.planned,
            store: Arc::new(store),
            clock: Arc::new(self.clock.later_by(late)),
            board: StatusBoard::default(),
            suspects: Arc::new(Semaphore::new(1)),
            producer,
            upkeep: tokio::spawn(upkeep(Arc::clone(&lanes))),
            lanes,
        }
    }

    /// What a lane shares with the others of its process.
    fn shared(&self, process: &Process) -> Arc<SimShared> {
        let shared = Arc::new(Shared {
            store: Arc::clone(&process.store),
            clock: Arc::clone(&process.clock),
            codec: Arc::new(Codec::new(self.topics.clone(), IDS, Arc::new(OwnSchema))),
            homes: Arc::new(Homes::new(PARTITIONS)),
            rules: Arc::new(rules()),
            topics: self.topics.clone(),
            group: Arc::from("simulation"),
            bounds: self.plan.bounds,
            board: process.board.clone(),
            sweeps: tokio::sync::watch::Sender::new(0),
            revisions: tokio::sync::watch::Sender::default(),
            suspects: Arc::clone(&process.suspects),
        });
        process
            .lanes
            .lock()
            .expect("lanes")
            .push(Arc::clone(&shared));
        shared
    }

    /// What a lane's owner says of it.
    pub(crate) fn phase(&self, lane: &TopicPartition) -> Option<Phase> {
        let owner = self.owners.get(lane)?;
        let board = self.processes[owner.process].board.lanes();
        let reported = board.into_iter().find(|(name, _)| name == lane);
        reported.map(|(_, status)| status.phase)
    }

    /// Starts a lane in a process.
    fn own(&mut self, lane: &TopicPartition) -> Owner {
        let process = self.rng.random_range(0..self.processes.len());
        let shared = self.shared(&self.processes[process]);
        let publisher = self.processes[process].producer.publisher(lane.clone());
        let revoked = Arc::new(AtomicBool::new(false));
        let log = SimLog::new(
            self.broker.clone(),
            self.weather.clone(),
            lane.clone(),
            Arc::clone(&revoked),
            (
                (process, self.processes[process].number),
                self.deaths.0.clone(),
            ),
            self.rng.random(),
        );
        let lane = Lane::new(lane.clone(), shared, log, publisher, self.rng.random());
        let stop = CancellationToken::new();
        let child = stop.clone();
        let task = tokio::spawn(pulse::watched(async move {
            lane.run(child).await;
        }));
        Owner {
            process,
            stop,
            revoked,
            task,
        }
    }

    pub(crate) fn start(&mut self, lane: TopicPartition) {
        if !self.owners.contains_key(&lane) {
            let owner = self.own(&lane);
            self.owners.insert(lane, owner);
        }
    }

    /// Ends a lane's task wherever it is.
    pub(crate) fn kill_lane(&mut self, lane: &TopicPartition) {
        if let Some(owner) = self.owners.remove(lane) {
            owner.task.abort();
            self.history.lane(lane, |lane| lane.killed += 1);
            self.later_within(8_000, Action::Start(lane.clone()));
        }
    }

    /// Ends a process with all of its lanes; another one takes its place.
    pub(crate) fn kill_process(&mut self, process: usize) {
        tracing::debug!(process, "the process ends");
        let killed = &self.processes[process];
        killed.producer.kill();
        killed.upkeep.abort();
        for owner in self.former.values().filter(|o| o.process == process) {
            owner.task.abort();
        }
        let lanes: Vec<TopicPartition> = (self.owners.iter())
            .filter(|(_, owner)| owner.process == process)
            .map(|(lane, _)| lane.clone())
            .collect();
        for lane in lanes {
            if let Some(owner) = self.owners.remove(&lane) {
                owner.task.abort();
            }
            self.history.lane(&lane, |lane| lane.killed += 1);
            self.later_within(3_000, Action::Start(lane));
        }
        self.processes[process] = self.process();
    }

    /// Moves a lane in order.
    pub(crate) fn hand_over(&mut self, lane: &TopicPartition) {
        if let Some(owner) = self.owners.get(lane) {
            owner.stop.cancel();
            // What it has to say may not reach the database.
            self.history.lane(lane, |lane| lane.killed += 1);
            let latest = Instant::now() + DRAIN;
            self.later(Duration::ZERO, Action::Join(lane.clone(), latest));
        }
    }

    pub(crate) fn join(&mut self, lane: TopicPartition, latest: Instant) {
        let Some(owner) = self.owners.get(&lane) else {
            return;
        };
        if !owner.stop.is_cancelled() {
            return;
        }
        if owner.task.is_finished() || Instant::now() >= latest {
            owner.task.abort();
            self.owners.remove(&lane);
            self.history.lane(&lane, |lane| lane.deaths = 0);
            self.start(lane);
        } else {
            self.later(Duration::from_millis(50), Action::Join(lane, latest));
        }
    }

    /// Gives a lane a second owner; the first one learns of it later.
    pub(crate) fn double(&mut self, lane: &TopicPartition) {
        if let Some(first) = self.owners.remove(lane) {
            // It ends without a word, which counts like a death.
            self.history.lane(lane, |lane| lane.killed += 1);
            self.start(lane.clone());
            self.planned += 1;
            let number = self.planned;
            self.former.insert(number, first);
            self.later_within(6_000, Action::Revoke(number));
        }
    }

    pub(crate) fn revoke(&mut self, former: u64) {
        if let Some(owner) = self.former.get(&former) {
            owner.revoked.store(true, Ordering::Relaxed);
            self.broker.wake();
            self.later(DRAIN, Action::Drop(former));
        }
    }

    pub(crate) fn died(&mut self, death: &Death) {
        let (process, number) = death.process;
        if self.processes[process].number != number {
            return;
        }
        let now = self.clock.truth().0;
        tracing::debug!(lane = %death.lane, process, now, "a record killed a process");
        let deaths = self.history.lane(&death.lane, LaneHistory::dies);
        if deaths > DEATHS_PER_RECORD {
            let lane = &death.lane;
            self.history
                .breaks(format!("{lane}: {deaths} processes died of one record"));
        }
        self.kill_process(process);
    }

    /// Owners that ended although nobody asked them to.
    pub(crate) fn look_for_bugs(&mut self) {
        let ended: Vec<TopicPartition> = (self.owners.iter())
            .filter(|(_, owner)| owner.task.is_finished() && !owner.stop.is_cancelled())
            .map(|(lane, _)| lane.clone())
            .collect();
        for lane in ended {
            let owner = self.owners.remove(&lane).expect("it was there");
            let why = owner.died_of().unwrap_or_else(|| "it returned".to_owned());
            self.history
                .breaks(format!("{lane}: the lane ended by itself: {why}"));
        }
    }

    /// Ends an owner that was replaced.
    pub(crate) fn drop_former(&mut self, former: u64) {
        let Some(owner) = self.former.remove(&former) else {
            return;
        };
        owner.task.abort();
        if owner.task.is_finished()
            && let Some(why) = owner.died_of()
        {
            self.history.breaks(format!("a former owner died: {why}"));
        }
    }

    pub(crate) async fn stop(&mut self) {
        for owner in self.owners.values() {
            owner.stop.cancel();
        }
        for (lane, owner) in std::mem::take(&mut self.owners) {
            let ended = tokio::time::timeout(DRAIN, owner.task).await;
            if !matches!(ended, Ok(Ok(()))) && !self.is_broken() {
                self.history
                    .breaks(format!("{lane}: it did not stop: {ended:?}"));
            }
        }
    }
}

/// What a process does for its lanes: it looks for what operators did, and sweeps.
async fn upkeep(lanes: Arc<Mutex<Vec<Arc<SimShared>>>>) {
    let mut swept = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let lanes = lanes.lock().expect("lanes").clone();
        let Some(first) = lanes.first() else {
            continue;
        };
        // What fails is tried again at the next look.
        let _ = first.refresh_revisions().await;
        let found = Arc::clone(&first.revisions.borrow());
        let sweeps = swept.elapsed() >= SWEEP;
        if sweeps {
            swept = Instant::now();
        }
        for lane in lanes {
            lane.revisions.send_if_modified(|known| {
                let is_new = **known != *found;
                *known = Arc::clone(&found);
                is_new
            });
            if sweeps {
                lane.sweeps.send_modify(|count| *count += 1);
            }
        }
    }
}
