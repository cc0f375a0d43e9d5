//! The loop of one lane: become the owner, then read, decide, commit, publish, acknowledge, until the
//! partition is revoked. Every failure goes through the interpreter ([`super::failure`]) and moves one of
//! the lane's states; nothing in here decides about sessions.

mod batch;
mod guide;
mod start;

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::kafka::{Limit, Log, Publisher};
use crate::planted::{self, Bug};
use crate::record::TopicPartition;
use crate::store::{Commit, LaneStore, Note, Store};

use super::cache::Cache;
use super::failure::{DatabaseStep, Disposition, Failure, interpret};
use super::intake::{Intake, State, home_of_lane};
use super::meter::Meter;
use super::ownership::Ownership;
use super::pacing::{CONFLICTS_REPORTED, Hold, Pacing};
use super::probation::Probation;
use super::status::Phase;
use super::timers::{Adopted, Timers};
use super::window::{OutboxWindow, Progress};
use super::{Revisions, Shared};

/// How often states are looked at even if nothing happens.
const TICK: Duration = Duration::from_millis(500);
/// How long a stopping lane waits for the brokers' acknowledgements.
const FLUSH: Duration = Duration::from_secs(2);
/// Batches that may wait for a topic that refuses records while deadlines go on firing.
const DEADLINE_WINDOW: usize = 1_024;
/// Bytes of output that may wait likewise: a next owner loads them all.
const DEADLINE_WINDOW_BYTES: usize = 64 << 20;

/// How a lane came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was stopped, and finished what was in flight.
    Stopped,
    /// The partition is gone.
    Revoked,
}

/// What other parts of the process tell the lanes.
struct Signals {
    /// Raised when deadlines are to be compared with the database.
    sweeps: watch::Receiver<u64>,
    /// The stored revisions of all lanes.
    revisions: watch::Receiver<Arc<Revisions>>,
}

/// One lane.
pub struct Lane<S: Store, L: Log, P, C> {
    name: TopicPartition,
    /// The partition of `session-command` that this lane is the home of.
    home: Option<i32>,
    shared: Arc<Shared<S, C>>,
    ownership: Ownership<S::Lane>,
    intake: Intake<L>,
    window: OutboxWindow<P>,
    pacing: Pacing,
    hold: Hold,
    probation: Probation,
    cache: Cache,
    timers: Timers,
    meter: Meter,
    rng: StdRng,
    signals: Signals,
}

impl<S, L, P, C> Lane<S, L, P, C>
where
    S: Store,
    L: Log,
    P: Publisher,
    C: Clock,
{
    /// A lane for the partition `name`, whose log is read nowhere yet. `seed`: of the generator behind
    /// invite codes and jitter; from the operating system except in a simulation.
    pub fn new(
        name: TopicPartition,
        shared: Arc<Shared<S, C>>,
        log: L,
        publisher: P,
        seed: [u8; 32],
    ) -> Self {
        let bounds = shared.bounds;
        Self {
            home: home_of_lane(&shared.topics.session_command, &name),
            ownership: Ownership::NotOwned,
            intake: Intake::new(log),
            window: OutboxWindow::new(publisher),
            pacing: Pacing::new(bounds.batch_records, bounds.timers),
            hold: Hold::Free,
            probation: Probation::Off,
            cache: Cache::new(bounds.cached_sessions, bounds.cache_bytes),
            timers: Timers::default(),
            meter: Meter::new(&name),
            rng: StdRng::from_seed(seed),
            signals: Signals {
                sweeps: shared.sweeps.subscribe(),
                revisions: shared.revisions.subscribe(),
            },
            name,
            shared,
        }
    }

    /// Runs until `stop` is cancelled or the partition is revoked.
    pub async fn run(mut self, stop: CancellationToken) -> Ending {
        let ending = loop {
            self.report();
            if stop.is_cancelled() {
                self.finish().await;
                break Ending::Stopped;
            }
            let may_use_database = !self.hold.is_waiting(Instant::now());
            if may_use_database && self.ownership.owned().is_none() {
                self.start().await;
                continue;
            }
            // What is committed is handed over even while the database is down.
            for (topic, error) in self.window.hand_over().await {
                self.publish_failed(&topic, &error);
            }
            if may_use_database {
                self.guide_intake().await;
                if self.has_work() {
                    self.batch().await;
                    continue;
                }
            }
            if let Some(ending) = self.wait(&stop).await {
                break ending;
            }
        };
        self.shared.board.remove(&self.name);
        ending
    }

    /// The database's time, never below the lane's own.
    fn now(&self) -> Timestamp {
        let stored = self.ownership.owned();
        let stored = stored
            .filter(|_| !planted::has(Bug::ClockFallsBack))
            .map_or(Timestamp(0), |owner| owner.position.clock);
        self.shared.clock.now().max(stored)
    }

    /// Whether the intake may add to the window.
    fn has_room(&self) -> bool {
        self.window.len() < self.shared.bounds.unacknowledged.max(1)
    }

    /// Whether deadlines may add to the window: longer than the intake may, because a topic that refuses
    /// records must not stop sessions from ending.
    fn has_room_for_deadlines(&self) -> bool {
        !(planted::has(Bug::IntakeStopStopsDeadlines) && self.intake.stop().is_some())
            && self.window.len() < DEADLINE_WINDOW
            && self.window.stored_bytes() < DEADLINE_WINDOW_BYTES
    }

    /// Whether there is something to commit and room for it.
    fn has_work(&mut self) -> bool {
        if self.ownership.owned().is_none() || self.pacing.paused_until().is_some() {
            return false;
        }
        let now = self.now();
        let due = self.timers.next().is_some_and(|at| at <= now);
        let acknowledge = self.window.acknowledge_at();
        let waiting = self.intake.reader().is_some_and(|r| !r.items().is_empty());
        (waiting && self.has_room())
            || (due && self.has_room_for_deadlines())
            || acknowledge.is_some_and(|at| at <= Instant::now())
    }

    /// Waits for whatever comes first. Everything that is waited for is safe to be dropped half-way.
    ///
    /// The order is by what may starve what. A stop comes first, so that a busy lane lets go. Deliveries
    /// come before the intake: they make room, and a full window reads nothing. The intake comes before
    /// the signals, which are rare and lose nothing by waiting. Time comes last, because deadlines are
    /// looked at before every wait anyway.
    async fn wait(&mut self, stop: &CancellationToken) -> Option<Ending> {
        let wake = self.wake_at();
        let limit = Limit {
            records: self.pacing.records(),
            bytes: self.shared.bounds.batch_bytes,
        };
        let waiting = self.intake.reader().is_some_and(|r| !r.items().is_empty());
        let idle = waiting || !self.has_room() || self.ownership.owned().is_none();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            progress = self.window.progress() => self.delivered(progress),
            progress = self.intake.progress(limit, idle) => {
                return self.intake_progressed(progress);
            }
            Ok(()) = self.signals.revisions.changed() => self.take_up_revision(),
            Ok(()) = self.signals.sweeps.changed() => self.sweep().await,
            () = tokio::time::sleep_until(wake) => {}
        }
        None
    }

    fn wake_at(&mut self) -> Instant {
        let now = Instant::now();
        let mut wake = now + TICK;
        let paused = self.pacing.paused_until();
        for at in [self.hold.until(), self.window.acknowledge_at(), paused] {
            if let Some(at) = at.filter(|at| *at > now) {
                wake = wake.min(at);
            }
        }
        // A deadline that is due does not hurry a lane that may not commit.
        let may_commit = !self.hold.is_waiting(now) && paused.is_none();
        let may_fire = may_commit && self.has_room_for_deadlines();
        if let (true, Some(at)) = (may_fire, self.timers.next()) {
            let millis = u64::try_from(at.millis_since(self.now())).unwrap_or(0);
            wake = wake.min(now + Duration::from_millis(millis + 1));
        }
        wake
    }

    fn delivered(&mut self, progress: Progress) {
        match progress {
            Progress::Acknowledged => {
                if let Some(owner) = self.ownership.owned() {
                    self.window.plan_acknowledgement(owner.position.acked);
                }
                self.meter.delivered(self.window.len());
            }
            Progress::Recovered => {}
            Progress::Failed(topic, error) => self.publish_failed(&topic, &error),
        }
    }

    fn publish_failed(&mut self, topic: &str, error: &crate::kafka::Error) {
        let failure = Failure::Publish(error);
        self.meter.failed(&failure, interpret(failure), Some(topic));
    }

    /// An operator may have changed the lane: then its owner starts again from what is stored.
    fn take_up_revision(&mut self) {
        let stored = self.signals.revisions.borrow().get(&self.name).copied();
        let own = self.ownership.owned().map(|owner| owner.position.revision);
        if let (Some(stored), Some(own)) = (stored, own)
            && stored > own
            && !planted::has(Bug::SeekNotTakenUp)
        {
            self.meter.revised();
            self.lose_ownership();
        }
    }

    /// Compares the heap with the stored deadlines: what is missing there is a bug, counted and added;
    /// what is parked is tried again.
    async fn sweep(&mut self) {
        let (Some(owner), Some(_)) = (self.ownership.owned(), self.home) else {
            return;
        };
        match owner.store.deadlines().await {
            Ok(stored) => {
                let adopted: Vec<Adopted> = stored
                    .sessions
                    .iter()
                    .map(|(id, at)| self.timers.adopt(id, *at))
                    .collect();
                let count = |what| adopted.iter().filter(|adopted| **adopted == what).count();
                self.meter.swept(count(Adopted::Missing));
                self.meter.unreadable_deadlines(&stored.unreadable);
            }
            Err(error) => {
                let failure = Failure::Database(DatabaseStep::Sweep, &error);
                self.meter.failed(&failure, interpret(failure), None);
            }
        }
    }

    /// A step that uses the database failed outside of a batch, or means the end of the ownership.
    fn database_failed(&mut self, step: DatabaseStep, error: &crate::store::Error) {
        let failure = Failure::Database(step, error);
        let verdict = interpret(failure);
        self.meter.failed(&failure, verdict, None);
        match verdict.disposition {
            Disposition::TakeAgain => self.lose_ownership(),
            Disposition::TryLater => return,
            Disposition::DecideAgain { .. }
            | Disposition::FindCulprit
            | Disposition::Wait
            | Disposition::PlaceAgain
            | Disposition::Damaged
            | Disposition::SendAgain
            | Disposition::End => {}
        }
        self.hold(&failure);
    }

    /// Holds everything that needs the database, with backoff and jitter.
    fn hold(&mut self, failure: &Failure<'_>) {
        let (step, reason) = (failure.step(), failure.reason());
        self.hold.hold(step, reason, Instant::now(), &mut self.rng);
    }

    /// The lane has another owner or position than this process knows: what was read and loaded counts
    /// for nothing.
    fn lose_ownership(&mut self) {
        self.ownership.lost();
        if planted::has(Bug::DeathsCountedTwice) {
            self.probation = Probation::Off;
        }
        self.intake.owner_changed();
    }

    fn report(&self) {
        self.shared.board.note(&self.name, self.phase());
        if let Some(owner) = self.ownership.owned()
            && let Some(lag) = self.intake.lag(owner.position.next)
        {
            self.meter.lag(lag);
        }
    }

    /// What the lane is doing, read from its states; the most severe comes first.
    fn phase(&self) -> Phase {
        if let Hold::Held { step, reason, .. } = &self.hold {
            return held(step.as_str(), reason);
        }
        if self.ownership.owned().is_none() {
            return Phase::Starting;
        }
        if let Some(stop) = self.intake.stop() {
            return Phase::Stopped(stop);
        }
        if let Some((topic, why)) = self.window.failing().next() {
            return held("publish", &format!("{topic}: {why}"));
        }
        if let Some(trouble) = self.intake.trouble() {
            return held(trouble.step, &trouble.reason);
        }
        if self.pacing.conflicts() >= CONFLICTS_REPORTED {
            return Phase::Contended {
                conflicts: self.pacing.conflicts(),
            };
        }
        match self.intake.state() {
            State::Reading(_) => Phase::Running,
            _ => Phase::Starting,
        }
    }

    /// Publishes what is committed and acknowledges what the brokers have, within bounds.
    async fn finish(&mut self) {
        let deadline = Instant::now() + FLUSH;
        while !self.window.is_empty() && Instant::now() < deadline {
            drop(self.window.hand_over().await);
            let progress = self.window.progress();
            if tokio::time::timeout_at(deadline, progress).await.is_err() {
                break;
            }
        }
        let (acked, on_probation) = (self.window.acked(), self.probation.is_on());
        let Some(owner) = self.ownership.owned_mut() else {
            return;
        };
        let owes = self.window.owes_acknowledgement(owner.position.acked);
        let last_words = async {
            if owes {
                let deaths = if on_probation {
                    0
                } else {
                    owner.position.deaths
                };
                let commit = Commit {
                    acked,
                    deaths,
                    ..Commit::at(&owner.position)
                };
                owner.store.commit(&commit).await.map(|_| ())
            } else if on_probation {
                owner.store.note(Note::Sound).await
            } else {
                Ok(())
            }
        };
        if let Ok(Err(error)) = tokio::time::timeout(FLUSH, last_words).await {
            // The next owner publishes once more what stays unacknowledged: the same bytes.
            let failure = Failure::Database(DatabaseStep::Finish, &error);
            self.meter.failed(&failure, interpret(failure), None);
        }
    }
}

fn held(step: &'static str, reason: &str) -> Phase {
    Phase::Held {
        step,
        reason: reason.to_owned(),
    }
}
