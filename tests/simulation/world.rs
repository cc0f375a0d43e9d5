//! Two worker processes on one broker and one database, on one thread under paused time. A seed decides
//! what is sent, what fails, and which process is killed, frozen out or handed a lane, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use session_worker::record::{TopicNames, TopicPartition};
use session_worker::store::memory::MemoryStore;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::database::SimClock;
use crate::history::History;
use crate::incidents::End;
use crate::learners::{self, Kind, Learners};
use crate::log::Death;
use crate::owners::{Owner, Process};
use crate::plan::Plan;
use crate::weather::Weather;

/// Partitions of every topic but the dead letters'.
pub(crate) const PARTITIONS: i32 = 3;

/// What is left when everything has come to rest.
pub(crate) struct Aftermath {
    pub(crate) broker: Broker,
    pub(crate) store: MemoryStore,
    pub(crate) history: History,
    pub(crate) weather: Weather,
    pub(crate) learners: Learners,
    pub(crate) topics: TopicNames,
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
    pub(crate) owners: BTreeMap<TopicPartition, Owner>,
    /// Owners that were replaced and do not know it yet.
    pub(crate) former: BTreeMap<u64, Owner>,
    agenda: BTreeMap<(Instant, u64), Action>,
    pub(crate) planned: u64,
    pub(crate) deaths: (mpsc::UnboundedSender<Death>, mpsc::UnboundedReceiver<Death>),
    /// No fault begins any more.
    pub(crate) is_calm: bool,
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

    /// Every lane.
    pub(crate) fn lanes(&self) -> Vec<TopicPartition> {
        [&self.topics.match_found, &self.topics.session_command]
            .into_iter()
            .flat_map(|topic| (0..PARTITIONS).map(|p| TopicPartition::new(Arc::clone(topic), p)))
            .collect()
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

    pub(crate) fn later_within(&mut self, most_ms: u64, action: Action) {
        let after = Duration::from_millis(self.rng.random_range(0..=most_ms));
        self.later(after, action);
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
            Action::Drop(former) => self.drop_former(former),
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
}
