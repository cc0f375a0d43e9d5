//! Two worker processes on one broker and one database, on one thread under paused time. A seed decides
//! what is sent, what fails, and which process is killed, frozen out or handed a lane, and when.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use session_worker::domain::Rules;
use session_worker::lane::{Homes, Lane, Phase, Shared, StatusBoard};
use session_worker::record::{TopicNames, TopicPartition};
use session_worker::store::memory::MemoryStore;
use session_worker::wire::{Codec, LookupError, OutputIds, SchemaSource};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::database::{SimClock, SimStore};
use crate::history::{History, LaneHistory};
use crate::incidents::End;
use crate::learners::{self, Kind, Learners};
use crate::liveness::SWEEP;
use crate::log::{Death, SimLog};
use crate::plan::Plan;
use crate::producer::SimProducer;
use crate::pulse;
use crate::weather::Weather;

/// Partitions of every topic but the dead letters'.
pub(crate) const PARTITIONS: i32 = 3;
/// How often a process looks for what operators did, as the worker does.
const LOOK: Duration = Duration::from_secs(2);
/// How long a revoked lane may take to finish, as in the worker.
const DRAIN: Duration = Duration::from_secs(5);
/// Processes that may die of one record in a row: five that are counted, the one that was reading before
/// anything was suspected, and one that died of something else first.
const DEATHS_PER_RECORD: u32 = 7;

/// What is left when everything has come to rest.
pub(crate) struct Aftermath {
    pub(crate) broker: Broker,
    pub(crate) store: MemoryStore,
    pub(crate) history: History,
    pub(crate) weather: Weather,
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

/// A process that runs a lane.
struct Owner {
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

/// What happens at a moment.
pub(crate) enum Action {
    /// The next message is sent.
    Send,
    /// The next incident happens.
    Incident,
    /// A lane that nobody owns is started.
    Start(TopicPartition),
    /// A lane that was told to stop is joined, at the latest at the instant.
    Join(TopicPartition, Instant),
    /// A second owner learns that its partition is gone.
    Revoke(u64),
    /// A second owner's task ends, whatever it does.
    Drop(u64),
    /// A condition ends.
    End(End),
    /// What an operator did in an epoch has been taken up.
    TakenUp(TopicPartition, i64),
}

/// Everything.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: StdRng,
    pub(crate) broker: Broker,
    pub(crate) weather: Weather,
    pub(crate) history: History,
    pub(crate) store: MemoryStore,
    pub(crate) topics: TopicNames,
    pub(crate) clock: SimClock,
    pub(crate) processes: Vec<Process>,
    /// The next message kills its readers.
    pub(crate) arm_next: bool,
    /// The next message leads to what the database refuses.
    pub(crate) blame_next: bool,
    learners: Learners,
    left: usize,
    owners: BTreeMap<TopicPartition, Owner>,
    /// Owners that were replaced and do not know it yet.
    former: BTreeMap<u64, Owner>,
    agenda: BTreeMap<(Instant, u64), Action>,
    planned: u64,
    deaths: (mpsc::UnboundedSender<Death>, mpsc::UnboundedReceiver<Death>),
    /// No fault begins any more.
    pub(crate) is_calm: bool,
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

/// Runs a simulation to its end.
pub(crate) fn run(plan: Plan) -> Aftermath {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(Box::pin(async { World::new(plan).live().await }))
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
            rng: StdRng::seed_from_u64(plan.seed),
            weather: Weather::new(plan.rates),
            history: History::new(broker.clone(), Arc::clone(&topics.session_command)),
            broker,
            store: MemoryStore::new(),
            topics,
            clock: SimClock::new(Instant::now(), Duration::ZERO),
            processes: Vec::new(),
            arm_next: false,
            blame_next: false,
            learners: Learners::new(plan.seed),
            left: plan.messages,
            owners: BTreeMap::new(),
            former: BTreeMap::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            deaths: mpsc::unbounded_channel(),
            is_calm: false,
            plan,
        };
        world.processes = vec![world.process(), world.process()];
        world
    }

    fn process(&mut self) -> Process {
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

    /// Every lane.
    pub(crate) fn lanes(&self) -> Vec<TopicPartition> {
        [&self.topics.match_found, &self.topics.session_command]
            .into_iter()
            .flat_map(|topic| (0..PARTITIONS).map(|p| TopicPartition::new(Arc::clone(topic), p)))
            .collect()
    }

    /// What a lane's owner says of it.
    pub(crate) fn phase(&self, lane: &TopicPartition) -> Option<Phase> {
        let owner = self.owners.get(lane)?;
        let board = self.processes[owner.process].board.lanes();
        let reported = board.into_iter().find(|(name, _)| name == lane);
        reported.map(|(_, status)| status.phase)
    }

    /// Whether a guarantee is broken already.
    pub(crate) fn is_broken(&self) -> bool {
        !self.history.broken().is_empty()
    }

    /// Plans an action.
    pub(crate) fn later(&mut self, after: Duration, action: Action) {
        self.planned += 1;
        let at = Instant::now() + after;
        self.agenda.insert((at, self.planned), action);
    }

    fn later_within(&mut self, most_ms: u64, action: Action) {
        let after = Duration::from_millis(self.rng.random_range(0..=most_ms));
        self.later(after, action);
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

    fn start(&mut self, lane: TopicPartition) {
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

    fn join(&mut self, lane: TopicPartition, latest: Instant) {
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

    fn revoke(&mut self, former: u64) {
        if let Some(owner) = self.former.get(&former) {
            owner.revoked.store(true, Ordering::Relaxed);
            self.broker.wake();
            self.later(DRAIN, Action::Drop(former));
        }
    }

    fn send(&mut self) {
        let forwards = self.history.forwards();
        let draft = self.learners.next(&forwards);
        if let (true, Kind::Message(id)) = (self.blame_next, &draft.kind) {
            self.blame_next = false;
            let mut conditions = self.weather.now();
            conditions.culprits.insert(id.clone());
            conditions.ever.culprits.insert(id.clone());
        }
        let place = self.broker.append(&draft.record);
        if std::mem::take(&mut self.arm_next) {
            self.broker.arm(&place);
        }
        self.learners.sent(place, draft.kind);
        self.left -= 1;
        if self.left.is_multiple_of(10) {
            let results = Arc::clone(&self.topics.session_command_result);
            self.learners.learn(&self.broker, &results, PARTITIONS);
        }
        if self.left > 0 {
            self.later_within(self.plan.pause_ms, Action::Send);
        }
    }

    /// Sends a partition `count` records that nobody can read.
    pub(crate) fn fill(&mut self, lane: &TopicPartition, count: i64) {
        for _ in 0..count {
            let mut record = learners::record(&lane.topic, "x", b"{}".to_vec());
            record.partition = Some(lane.partition);
            let place = self.broker.append(&record);
            self.learners.sent(place, Kind::Unreadable);
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Send => self.send(),
            Action::Incident => {
                self.incident().await;
                self.later_within(self.plan.incident_ms, Action::Incident);
            }
            Action::Start(lane) => self.start(lane),
            Action::Join(lane, latest) => self.join(lane, latest),
            Action::Revoke(former) => self.revoke(former),
            Action::Drop(former) => {
                if let Some(owner) = self.former.remove(&former) {
                    owner.task.abort();
                }
            }
            Action::End(end) => self.end(end).await,
            Action::TakenUp(lane, epoch) => self.check_taken_up(&lane, epoch),
        }
    }

    /// The owner has started again by now.
    fn check_taken_up(&self, lane: &TopicPartition, epoch: i64) {
        let present = self.history.lane(lane, |lane| lane.epoch());
        if present <= epoch {
            self.history.breaks(format!(
                "{lane}: what an operator did in epoch {epoch} was not taken up"
            ));
        }
    }

    fn died(&mut self, death: &Death) {
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
    fn look_for_bugs(&mut self) {
        let ended: Vec<TopicPartition> = (self.owners.iter())
            .filter(|(_, owner)| owner.task.is_finished() && !owner.stop.is_cancelled())
            .map(|(lane, _)| lane.clone())
            .collect();
        for lane in ended {
            let owner = self.owners.remove(&lane).expect("it was there");
            let outcome = owner.task.now_or_never().expect("it is finished");
            let why = outcome.map_or_else(
                |error| match error.try_into_panic() {
                    Ok(panic) => panicked(&*panic),
                    Err(error) => error.to_string(),
                },
                |()| "it returned".to_owned(),
            );
            self.history
                .breaks(format!("{lane}: the lane ended by itself: {why}"));
        }
    }

    /// Lets time pass and does what is planned.
    pub(crate) async fn pass(&mut self, until: Instant) {
        loop {
            self.look_for_bugs();
            if self.is_broken() {
                return;
            }
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let next = next.filter(|at| *at <= until);
            tokio::select! {
                biased;
                Some(death) = self.deaths.1.recv() => self.died(&death),
                () = tokio::time::sleep_until(next.unwrap_or(until)) => match next {
                    None => return,
                    Some(_) => {
                        let (_, action) = self.agenda.pop_first().expect("it is planned");
                        self.act(action).await;
                    }
                },
            }
        }
    }

    async fn live(mut self) -> Aftermath {
        for lane in self.lanes() {
            self.start(lane);
        }
        self.later(Duration::ZERO, Action::Send);
        self.later_within(self.plan.incident_ms, Action::Incident);
        while self.left > 0 && !self.is_broken() {
            self.pass(Instant::now() + Duration::from_secs(1)).await;
        }
        self.pass(Instant::now() + self.plan.afterwards).await;
        if !self.is_broken() {
            self.come_to_rest().await;
        }
        self.stop().await;
        Aftermath {
            broker: self.broker,
            store: self.store,
            history: self.history,
            weather: self.weather,
            learners: self.learners,
            topics: self.topics,
        }
    }

    /// Ends every fault that does not last.
    pub(crate) async fn end_what_does_not_last(&mut self) {
        let planned = std::mem::take(&mut self.agenda);
        for ((at, number), action) in planned {
            match action {
                Action::Send | Action::Incident | Action::TakenUp(..) => {}
                Action::End(end) => self.end(end).await,
                other => {
                    self.agenda.insert((at, number), other);
                }
            }
        }
        let last = self.weather.calm_down();
        self.pass(last).await;
        self.is_calm = true;
        let now = self.clock.truth().0;
        tracing::debug!(now, "the last fault has ended that does not last");
    }

    async fn stop(&mut self) {
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

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic".to_owned())
}
