//! The database as the simulation has it: the memory store behind a door that refuses, delays, or does
//! the work and then reports otherwise, on a seed's schedule.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use session_worker::clock::Clock;
use session_worker::domain::Timestamp;
use session_worker::record::TopicPartition;
use session_worker::store::memory::MemoryStore;
use session_worker::store::{
    Ask, Commit, Conflict, Deadlines, Error, LanePosition, LaneStore, Loaded, Note, OutboxBatch,
    Store,
};
use tokio::time::Instant;

/// How likely each fault is, in 1,000 calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Nothing happened, and the caller knows.
    pub(crate) unavailable: u32,
    /// Another writer was in the way.
    pub(crate) conflict: u32,
    /// The commit happened, its answer was lost.
    pub(crate) lost_answer: u32,
    /// The commit did not happen, and nobody knows.
    pub(crate) lost_request: u32,
    /// The caller is frozen before its commit for up to this many milliseconds.
    pub(crate) freeze_ms: u64,
}

/// The door to the memory store that one process goes through.
#[derive(Clone)]
pub(crate) struct SimStore {
    inner: MemoryStore,
    faults: Faults,
    rng: Arc<Mutex<StdRng>>,
}

impl SimStore {
    /// A door with `faults` on `seed`'s schedule.
    pub(crate) fn new(inner: MemoryStore, faults: Faults, seed: u64) -> Self {
        Self {
            inner,
            faults,
            rng: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
        }
    }

    fn happens(&self, in_thousand: u32) -> bool {
        self.rng.lock().expect("store").random_range(0..1000) < in_thousand
    }

    async fn delay(&self, most_ms: u64) {
        let ms = self.rng.lock().expect("store").random_range(0..=most_ms);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    async fn reach(&self) -> Result<(), Error> {
        self.delay(3).await;
        if self.happens(self.faults.unavailable) {
            return Err(Error::unavailable("simulated"));
        }
        Ok(())
    }
}

/// A lane's door.
pub(crate) struct SimLaneStore {
    door: SimStore,
    inner: <MemoryStore as Store>::Lane,
}

impl Store for SimStore {
    type Lane = SimLaneStore;

    async fn fence(
        &self,
        lane: &TopicPartition,
        home: Option<i32>,
    ) -> Result<(SimLaneStore, LanePosition), Error> {
        self.reach().await?;
        let (inner, position) = self.inner.fence(lane, home).await?;
        Ok((
            SimLaneStore {
                door: self.clone(),
                inner,
            },
            position,
        ))
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
        self.inner.load(ask).await
    }

    async fn commit(&mut self, commit: &Commit) -> Result<i64, Error> {
        let faults = self.door.faults;
        self.door.reach().await?;
        if self.door.happens(20) {
            self.door.delay(faults.freeze_ms).await;
        }
        if self.door.happens(faults.conflict) {
            return Err(Error::Conflict(Conflict::Contention));
        }
        if self.door.happens(faults.lost_request) {
            return Err(Error::unknown("simulated, lost on the way there"));
        }
        let batch = self.inner.commit(commit).await?;
        if self.door.happens(faults.lost_answer) {
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

/// The database's clock under paused time: it goes as the simulation's does.
pub(crate) struct SimClock {
    began: Instant,
}

impl SimClock {
    /// Begins at [`SimClock::EPOCH`].
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// A moment in 2026, some minutes before a UTC midnight.
    pub(crate) const EPOCH: i64 = 1_795_391_400_000;
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).expect("short simulations");
        Timestamp(Self::EPOCH + elapsed)
    }
}
