//! The store in memory: the same promises as MongoDB without the database, deterministic, for the
//! simulation and for tests. It knows no time but the clocks of commits, and never is unavailable.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Ask, Commit, Conflict, Deadlines, Error, Evidence, Forward, ForwardEntry, Found, IntakeStop,
    LanePosition, LaneStore, LedgerEntry, Loaded, Note, OutboxBatch, Store, StoredSession,
    StoredUser, Unreadable, UserWrite,
};
use crate::domain::{InviteCode, MessageId, SessionId, SessionStatus, Timestamp, UserId};
use crate::planted::{self, Bug};
use crate::record::{Origin, OutRecord, TopicPartition};

/// A database that lives as long as its clones.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

/// A document, to be made unreadable (see [`MemoryStore::spoil`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Document {
    /// A session with its participants; its home stays readable.
    Session(SessionId),
    /// The home of a session, and with it all of the session.
    Home(SessionId),
    /// The deadline of a session that has not ended; the session itself stays readable.
    Deadline(SessionId),
    /// A user's limits.
    User(UserId),
    /// A judged message.
    Ledger(MessageId),
    /// The evidence that the record of an origin was sent to a home.
    Forward(Origin, i32),
}

impl Document {
    fn unreadable(&self) -> Unreadable {
        let (collection, id, field) = match self {
            Self::Session(id) => ("sessions", id.to_string(), "status"),
            Self::Home(id) => ("sessions", id.to_string(), "home"),
            Self::Deadline(id) => ("sessions", id.to_string(), "nextDeadline"),
            Self::User(id) => ("users", id.to_string(), "used"),
            Self::Ledger(MessageId::Command(id)) => ("ledger", format!("command:{id}"), "result"),
            Self::Ledger(MessageId::Match(id)) => ("ledger", format!("match:{id}"), "result"),
            Self::Forward(origin, home) => ("forwards", format!("{origin}>{home}"), "fingerprint"),
        };
        Unreadable {
            document: format!("{collection}/{id}"),
            reason: format!("{field}: spoiled"),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inner {
    spoiled: BTreeSet<Document>,
    sessions: BTreeMap<SessionId, Arc<StoredSession>>,
    invite_codes: BTreeMap<InviteCode, SessionId>,
    users: BTreeMap<UserId, StoredUser>,
    ledger: BTreeMap<MessageId, LedgerEntry>,
    forwards: BTreeMap<(Origin, i32), ForwardEntry>,
    settled: BTreeSet<(Origin, i32)>,
    stops: BTreeMap<TopicPartition, IntakeStop>,
    lanes: BTreeMap<TopicPartition, LanePosition>,
    outbox: BTreeMap<(TopicPartition, i64), Arc<[OutRecord]>>,
}

/// The handle of a lane's owner.
#[derive(Debug)]
pub struct MemoryLane {
    inner: Arc<Mutex<Inner>>,
    lane: TopicPartition,
    home: Option<i32>,
    epoch: i64,
    batch: i64,
}

impl MemoryStore {
    /// An empty database.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every session, by id.
    pub fn sessions(&self) -> BTreeMap<SessionId, Arc<StoredSession>> {
        lock(&self.inner).sessions.clone()
    }

    /// Every user who has used anything.
    pub fn users(&self) -> BTreeMap<UserId, StoredUser> {
        lock(&self.inner).users.clone()
    }

    /// Every remembered message.
    pub fn ledger(&self) -> BTreeMap<MessageId, LedgerEntry> {
        lock(&self.inner).ledger.clone()
    }

    /// Every forward, by origin and home.
    pub fn forwards(&self) -> Vec<ForwardEntry> {
        lock(&self.inner).forwards.values().cloned().collect()
    }

    /// Every lane's document.
    pub fn lanes(&self) -> BTreeMap<TopicPartition, LanePosition> {
        lock(&self.inner).lanes.clone()
    }

    /// The stored batches of `lane`, in order.
    pub fn outbox(&self, lane: &TopicPartition) -> Vec<OutboxBatch> {
        lock(&self.inner).outbox_after(lane, i64::MIN)
    }

    /// How many batches of `lane` are stored.
    pub fn outbox_len(&self, lane: &TopicPartition) -> usize {
        self.outbox(lane).len()
    }

    /// The stopped intakes.
    pub fn stops(&self) -> BTreeMap<TopicPartition, IntakeStop> {
        lock(&self.inner).stops.clone()
    }

    /// Makes `document` unreadable until it is repaired, or written again as a whole.
    pub fn spoil(&self, document: Document) {
        lock(&self.inner).spoiled.insert(document);
    }

    /// Makes `document` readable again, as it was.
    pub fn repair(&self, document: &Document) {
        lock(&self.inner).spoiled.remove(document);
    }

    /// Raises the version of a session, as a writer other than its lane does that repairs a document.
    pub fn rewrite_session(&self, id: &SessionId) {
        if let Some(stored) = lock(&self.inner).sessions.get_mut(id) {
            Arc::make_mut(stored).version += 1;
        }
    }

    /// Deletes what may be forgotten at `now` and returns how many entries went.
    pub fn forget(&self, now: Timestamp) -> usize {
        let mut inner = lock(&self.inner);
        let before = inner.ledger.len() + inner.forwards.len();
        inner.ledger.retain(|_, entry| !is_forgotten(entry, now));
        inner.forwards.retain(|_, entry| entry.forget_at > now);
        before - inner.ledger.len() - inner.forwards.len()
    }
}

impl Store for MemoryStore {
    type Lane = MemoryLane;

    async fn fence(
        &self,
        lane: &TopicPartition,
        home: Option<i32>,
    ) -> Result<(Self::Lane, LanePosition), Error> {
        let mut inner = lock(&self.inner);
        let position = inner
            .lanes
            .entry(lane.clone())
            .or_insert(LanePosition::unread());
        position.epoch += 1;
        let position = *position;
        let handle = MemoryLane {
            inner: Arc::clone(&self.inner),
            lane: lane.clone(),
            home,
            epoch: position.epoch,
            batch: position.batch,
        };
        Ok((handle, position))
    }

    async fn revisions(
        &self,
        lanes: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, i64>, Error> {
        let inner = lock(&self.inner);
        let stored = |lane: &TopicPartition| Some((lane.clone(), inner.lanes.get(lane)?.revision));
        Ok(lanes.iter().filter_map(stored).collect())
    }
}

impl LaneStore for MemoryLane {
    async fn load(&self, ask: &Ask) -> Result<Loaded, Error> {
        let inner = lock(&self.inner);
        let clock = inner
            .lanes
            .get(&self.lane)
            .map_or(Timestamp(0), |position| position.clock);
        let mut loaded = Loaded::default();
        for id in &ask.ids {
            if let Some(entry) = inner
                .ledger
                .get(id)
                .filter(|entry| !is_forgotten(entry, clock))
            {
                let read = inner.read(Document::Ledger(id.clone()), || entry.clone());
                loaded.ledger.insert(id.clone(), read);
            }
        }
        for id in &ask.users {
            if let Some(user) = inner.users.get(id) {
                let read = inner.read(Document::User(id.clone()), || user.clone());
                loaded.users.insert(id.clone(), read);
            }
        }
        let mut sought: Vec<&SessionId> = ask.sessions.iter().collect();
        for code in &ask.invite_codes {
            if let Some(id) = inner.invite_codes.get(code) {
                loaded.invite_codes.insert(code.clone(), id.clone());
                sought.push(id);
            }
        }
        for id in sought {
            if let Some(stored) = inner.sessions.get(id) {
                let found = inner.found(stored, self.home);
                loaded.sessions.insert(id.clone(), found);
            }
        }
        for forward in &ask.forwards {
            if let Some(evidence) = inner.evidence_of(forward) {
                loaded.forwards.insert(forward.clone(), evidence);
            }
        }
        Ok(loaded)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<i64, Error> {
        let mut inner = lock(&self.inner);
        let batch = inner.commit(&self.lane, self.epoch, self.batch, commit)?;
        self.batch = batch;
        Ok(batch)
    }

    async fn outbox(&self, acked: i64) -> Result<Vec<OutboxBatch>, Error> {
        Ok(lock(&self.inner).outbox_after(&self.lane, acked))
    }

    async fn deadlines(&self) -> Result<Deadlines, Error> {
        let Some(home) = self.home else {
            return Ok(Deadlines::default());
        };
        let inner = lock(&self.inner);
        let live = inner.sessions.values().filter(|stored| {
            let is_located = !inner
                .spoiled
                .contains(&Document::Home(stored.session.id.clone()));
            is_located && stored.home == home && stored.session.status != SessionStatus::Ended
        });
        let mut deadlines = Deadlines::default();
        for StoredSession { session, .. } in live.map(|stored| &**stored) {
            let Some(at) = session.next_deadline() else {
                continue;
            };
            match inner.read(Document::Deadline(session.id.clone()), || at) {
                Ok(at) => deadlines.sessions.push((session.id.clone(), at)),
                Err(unreadable) => deadlines.unreadable.push(unreadable),
            }
        }
        Ok(deadlines)
    }

    async fn note(&self, note: Note) -> Result<(), Error> {
        let mut inner = lock(&self.inner);
        let position = inner.lanes.get_mut(&self.lane);
        let Some(position) = position.filter(|position| position.epoch == self.epoch) else {
            return Err(Error::Fenced);
        };
        match note {
            Note::Reading => position.deaths += 1,
            Note::Sound => position.deaths = 0,
            Note::Intake(Some(stop)) => {
                inner.stops.insert(self.lane.clone(), stop);
            }
            Note::Intake(None) => {
                inner.stops.remove(&self.lane);
            }
            Note::Revised => {
                position.revision += 1;
                position.deaths = 0;
                inner.stops.remove(&self.lane);
            }
        }
        Ok(())
    }
}

impl Inner {
    fn read<T>(&self, document: Document, value: impl FnOnce() -> T) -> Result<T, Unreadable> {
        if self.spoiled.contains(&document) {
            return Err(document.unreadable());
        }
        Ok(value())
    }

    fn found(&self, stored: &Arc<StoredSession>, home: Option<i32>) -> Found {
        let id = &stored.session.id;
        let located = self.read(Document::Home(id.clone()), || stored.home);
        let found = located.and_then(|at| {
            if home != Some(at) {
                return Ok(Found::Elsewhere { home: at });
            }
            self.read(Document::Session(id.clone()), || {
                Found::Here(Arc::clone(stored))
            })
        });
        found.unwrap_or_else(Found::Unreadable)
    }

    fn evidence_of(&self, forward: &Forward) -> Option<Result<Evidence, Unreadable>> {
        let key = (forward.origin.clone(), forward.home);
        let entry = self.forwards.get(&key)?;
        let document = Document::Forward(key.0.clone(), key.1);
        if self.spoiled.contains(&document) {
            return Some(Err(document.unreadable()));
        }
        let is_settled = self.settled.contains(&key);
        (entry.forward.fingerprint == forward.fingerprint).then_some(Ok(if is_settled {
            Evidence::Settled
        } else {
            Evidence::Sent
        }))
    }

    fn outbox_after(&self, lane: &TopicPartition, acked: i64) -> Vec<OutboxBatch> {
        self.outbox
            .range((lane.clone(), i64::MIN)..=(lane.clone(), i64::MAX))
            .filter(|((_, batch), _)| *batch > acked)
            .map(|((_, batch), records)| OutboxBatch {
                batch: *batch,
                records: Arc::clone(records),
            })
            .collect()
    }

    /// All or nothing: every comparison comes before the first change.
    fn commit(
        &mut self,
        lane: &TopicPartition,
        epoch: i64,
        batch: i64,
        commit: &Commit,
    ) -> Result<i64, Error> {
        commit.assert_consistent();
        let owned = |position: &&LanePosition| position.epoch == epoch && position.batch == batch;
        let Some(before) = self
            .lanes
            .get(lane)
            .copied()
            .filter(|p| owned(&p) || planted::has(Bug::EpochNotCompared))
        else {
            return Err(Error::Fenced);
        };
        self.compare(commit)?;
        let batch = batch + 1;
        let position = LanePosition {
            batch,
            next: commit.next,
            acked: commit.acked,
            clock: commit.clock,
            last: commit.last,
            deaths: commit.deaths,
            ..before
        };
        self.lanes.insert(lane.clone(), position);
        for user in &commit.users {
            self.write_user(user);
        }
        for write in &commit.sessions {
            let session = &write.after.session;
            if let Some(code) = &session.invite_code {
                self.invite_codes.insert(code.clone(), session.id.clone());
            }
            self.sessions
                .insert(session.id.clone(), Arc::clone(&write.after));
        }
        for entry in &commit.ledger {
            self.ledger.insert(entry.id.clone(), entry.clone());
        }
        for entry in &commit.forwards {
            let key = (entry.forward.origin.clone(), entry.forward.home);
            self.settled.remove(&key);
            self.spoiled
                .remove(&Document::Forward(key.0.clone(), key.1));
            self.forwards.insert(key, entry.clone());
        }
        let settled = commit.settled.iter();
        self.settled
            .extend(settled.map(|forward| (forward.origin.clone(), forward.home)));
        if !commit.outbox.is_empty() {
            self.outbox
                .insert((lane.clone(), batch), Arc::clone(&commit.outbox));
        }
        let acked = commit.acked;
        self.outbox
            .retain(|(owner, batch), _| owner != lane || *batch > acked);
        Ok(batch)
    }

    fn compare(&self, commit: &Commit) -> Result<(), Error> {
        for user in &commit.users {
            if let UserWrite::Replace { expected, limits } = user {
                let stored = self.users.get(&limits.user_id).map(|user| user.version);
                if stored != *expected && !planted::has(Bug::LimitsNotCompared) {
                    return Err(Error::Conflict(Conflict::User));
                }
            }
        }
        for write in &commit.sessions {
            let session = &write.after.session;
            let stored = self.sessions.get(&session.id).map(|stored| stored.version);
            if stored != write.before.as_ref().map(|before| before.version) {
                return Err(Error::Conflict(Conflict::Session));
            }
            if let Some(code) = &session.invite_code
                && self
                    .invite_codes
                    .get(code)
                    .is_some_and(|holder| *holder != session.id)
            {
                return Err(Error::Conflict(Conflict::Session));
            }
        }
        for entry in &commit.ledger {
            if self
                .ledger
                .get(&entry.id)
                .is_some_and(|known| !is_forgotten(known, commit.clock))
            {
                return Err(Error::Conflict(Conflict::Ledger));
            }
        }
        Ok(())
    }

    fn write_user(&mut self, write: &UserWrite) {
        match write {
            UserWrite::Replace { expected, limits } => {
                let version = expected.unwrap_or(0) + 1;
                let user = StoredUser {
                    limits: limits.clone(),
                    version,
                };
                self.spoiled.remove(&Document::User(limits.user_id.clone()));
                self.users.insert(limits.user_id.clone(), user);
            }
            UserWrite::Release { user_id, sessions } => {
                if let Some(user) = self.users.get_mut(user_id) {
                    user.limits.open.retain(|open| !sessions.contains(open));
                    user.version += 1;
                }
            }
        }
    }
}

fn is_forgotten(entry: &LedgerEntry, now: Timestamp) -> bool {
    entry.forget_at.is_some_and(|forget_at| forget_at <= now)
}

/// No method panics between two changes, so what a poisoned lock guards is whole.
fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}
