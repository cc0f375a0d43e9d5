//! The database as the simulation has it: the memory store behind a door that refuses, delays, or does
//! the work and then reports otherwise, as the weather and a seed's schedule say.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use session_worker::clock::Clock;
use session_worker::domain::{Code, SessionId, Timestamp};
use session_worker::record::TopicPartition;
use session_worker::store::memory::MemoryStore;
use session_worker::store::{
    Ask, Commit, Conflict, Deadlines, Error, Found, LanePosition, LaneStore, Loaded, Note,
    OutboxBatch, Store,
};
use tokio::time::Instant;

use crate::history::History;
use crate::pulse;
use crate::weather::{Rates, Weather};

/// How long a call to a database that is down may take.
const LONGEST_CALL_MS: u64 = 3_000;

/// The door to the memory store that one process goes through.
#[derive(Clone)]
pub(crate) struct SimStore {
    inner: MemoryStore,
    weather: Weather,
    history: History,
    clock: SimClock,
    rng: Arc<Mutex<StdRng>>,
}

impl SimStore {
    /// A door with faults on `seed`'s schedule.
    pub(crate) fn new(
        inner: MemoryStore,
        weather: Weather,
        history: History,
        clock: SimClock,
        seed: u64,
    ) -> Self {
        Self {
            inner,
            weather,
            history,
            clock,
            rng: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
        }
    }

    fn draw(&self, most: u64) -> u64 {
        self.rng.lock().expect("store").random_range(0..=most)
    }

    fn happens(&self, rate: impl Fn(&Rates) -> u32) -> bool {
        let rate = rate(&self.weather.rates());
        rate > 0 && self.draw(999) < u64::from(rate)
    }

    async fn delay(&self, most_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.draw(most_ms))).await;
    }

    async fn reach(&self) -> Result<(), Error> {
        pulse::beat();
        self.delay(3).await;
        if self.weather.is_down() {
            self.delay(LONGEST_CALL_MS).await;
            return Err(Error::unavailable("simulated outage"));
        }
        if self.happens(|rates| rates.unavailable) {
            return Err(Error::unavailable("simulated"));
        }
        Ok(())
    }

    /// What stands in the way of a commit.
    fn obstacle(&self, commit: &Commit) -> Result<(), Error> {
        if self.weather.refuses_all() {
            return Err(Error::refused("simulated, whatever it is"));
        }
        let conditions = self.weather.now();
        let culprit = commit.ledger.iter().any(|entry| {
            let failed = entry.remembered.result.code == Some(Code::InternalError);
            !failed && conditions.culprits.contains(entry.id.as_str())
        });
        let session = (commit.sessions.iter()).any(|write| {
            conditions
                .culprit_sessions
                .contains(&write.after.session.id)
        });
        if culprit || session {
            return Err(Error::refused("simulated, the content"));
        }
        drop(conditions);
        if self.happens(|rates| rates.conflict) {
            const KINDS: [Conflict; 4] = [
                Conflict::User,
                Conflict::Session,
                Conflict::Ledger,
                Conflict::Contention,
            ];
            let kind = usize::try_from(self.draw(3)).expect("a small number");
            return Err(Error::Conflict(KINDS[kind]));
        }
        if self.weather.is_silent() || self.happens(|rates| rates.lost_request) {
            return Err(Error::unknown("simulated, lost on the way there"));
        }
        Ok(())
    }
}

/// A lane's door.
pub(crate) struct SimLaneStore {
    door: SimStore,
    inner: <MemoryStore as Store>::Lane,
    lane: TopicPartition,
    epoch: i64,
    /// Sessions that were read or written through this door.
    known: Mutex<BTreeSet<SessionId>>,
}

impl SimLaneStore {
    fn note_known(&self, id: &SessionId) {
        self.known.lock().expect("store").insert(id.clone());
    }

    /// A cache belongs to one epoch: what is written was read by this owner.
    fn check_known(&self, commit: &Commit) {
        for write in &commit.sessions {
            let id = &write.after.session.id;
            if write.before.is_some() && !self.known.lock().expect("store").contains(id) {
                let (lane, epoch) = (&self.lane, self.epoch);
                self.door.history.breaks(format!(
                    "{lane}: session {id} was decided in epoch {epoch} on what an earlier one read"
                ));
            }
        }
    }
}

impl Store for SimStore {
    type Lane = SimLaneStore;

    async fn fence(
        &self,
        lane: &TopicPartition,
        home: Option<i32>,
    ) -> Result<(SimLaneStore, LanePosition), Error> {
        self.reach().await?;
        if self.happens(|rates| rates.fence) {
            return Err(Error::unavailable("simulated"));
        }
        let (inner, position) = self.inner.fence(lane, home).await?;
        self.history.fenced(lane, position.epoch);
        let owned = SimLaneStore {
            door: self.clone(),
            inner,
            lane: lane.clone(),
            epoch: position.epoch,
            known: Mutex::default(),
        };
        Ok((owned, position))
    }

    async fn revisions(
        &self,
        lanes: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, i64>, Error> {
        self.reach().await?;
        self.inner.revisions(lanes).await
    }
}

impl LaneStore for SimLaneStore {
    async fn load(&self, ask: &Ask) -> Result<Loaded, Error> {
        self.door.reach().await?;
        let loaded = self.inner.load(ask).await?;
        for (id, found) in &loaded.sessions {
            if matches!(found, Found::Here(_)) {
                self.note_known(id);
            }
        }
        self.door.delay(3).await;
        Ok(loaded)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<i64, Error> {
        self.door.reach().await?;
        if self.door.happens(|rates| rates.freeze) {
            let most = self.door.weather.rates().freeze_ms;
            let frozen = Duration::from_millis(self.door.draw(most));
            self.door.weather.begins(frozen);
            tokio::time::sleep(frozen).await;
        }
        self.door.obstacle(commit)?;
        let before = self.door.inner.lanes()[&self.lane];
        let batch = self.inner.commit(commit).await?;
        let now = self.door.clock.truth();
        self.check_known(commit);
        let history = &self.door.history;
        history.committed(&self.lane, self.epoch, &before, commit, batch, now);
        for write in &commit.sessions {
            self.note_known(&write.after.session.id);
        }
        if self.door.happens(|rates| rates.lost_answer) {
            return Err(Error::unknown("simulated, lost on the way back"));
        }
        self.door.delay(3).await;
        Ok(batch)
    }

    async fn outbox(&self, acked: i64) -> Result<Vec<OutboxBatch>, Error> {
        self.door.reach().await?;
        self.inner.outbox(acked).await
    }

    async fn deadlines(&self) -> Result<Deadlines, Error> {
        self.door.reach().await?;
        self.inner.deadlines().await
    }

    async fn note(&self, note: Note) -> Result<(), Error> {
        self.door.reach().await?;
        self.inner.note(note).await
    }
}

/// The database's clock under paused time, as one process knows it: up to some seconds late, never early.
#[derive(Clone)]
pub(crate) struct SimClock {
    began: Instant,
    late: Duration,
}

impl SimClock {
    /// A moment in 2026, some minutes before a UTC midnight.
    pub(crate) const EPOCH: i64 = 1_795_391_400_000;

    /// A clock that began at [`SimClock::EPOCH`] when `began` was and is `late`.
    pub(crate) fn new(began: Instant, late: Duration) -> Self {
        Self { began, late }
    }

    /// The same clock as a process knows it that hears of it `late`.
    pub(crate) fn later_by(&self, late: Duration) -> Self {
        Self {
            late,
            ..self.clone()
        }
    }

    /// The database's own time.
    pub(crate) fn truth(&self) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).expect("short simulations");
        Timestamp(Self::EPOCH + elapsed)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        pulse::beat();
        let late = i64::try_from(self.late.as_millis()).expect("some seconds");
        Timestamp(self.truth().0 - late)
    }
}
