//! The loop of one lane: become the owner, then read, decide, commit, publish, acknowledge, until the
//! partition is revoked. Every failure goes through the disposition table and leaves the lane in one
//! of the states that the loop looks at; nothing in here decides about sessions.

mod ownership;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::{InviteCode, SessionId, Timestamp};
use crate::kafka::{Limit, Log, Publisher};
use crate::record::{Record, TopicPartition};
use crate::store::{Ask, Commit, LanePosition, LaneStore, LastRecord, Loaded, Store};
use crate::wire::LookupError;

use super::Shared;
use super::cache::Cache;
use super::disposition::{self, Disposition};
use super::intake::Item;
use super::judge::{self, Bench, Plan};
use super::meter::Meter;
use super::status::Phase;
use super::timers::Timers;
use super::window::Window;

/// How often deadlines are looked at even if the clock promised more time.
const LOOK: Duration = Duration::from_millis(500);
/// How long acknowledgements wait for a batch to ride in.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(250);
/// How long a stopping lane waits for the broker's acknowledgements.
const FLUSH: Duration = Duration::from_secs(2);
/// Conflicts in a row before a batch is halved.
const CONFLICTS_BEFORE_HALVING: u32 = 3;
/// How much a batch grows after a success.
const GROWTH: usize = 16;

/// The proof that this process owns a lane, and where the lane stands.
pub struct Fenced<L> {
    /// The owner's handle.
    pub store: L,
    /// The position as read behind the fence.
    pub position: LanePosition,
}

impl<L> Fenced<L> {
    /// Where to read first: the last record consumed, to see that it is still the same one.
    pub fn read_from(&self) -> Option<i64> {
        self.position
            .last
            .map(|last| last.offset)
            .or(self.position.next)
    }
}

/// How a lane came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was told to stop, and finished what was in flight.
    Stopped,
    /// The partition is gone.
    Revoked,
}

/// One lane.
pub struct Lane<S: Store, L, P, C> {
    name: TopicPartition,
    home: Option<i32>,
    shared: Arc<Shared<S, C>>,
    log: L,
    meter: Meter,
    rng: StdRng,

    /// `None`: to be fenced (again) before anything else.
    owner: Option<S::Lane>,
    position: LanePosition,
    /// Outbox and deadlines are in memory.
    loaded: bool,
    /// The log stands where the position says.
    placed: bool,
    /// The position was compared with the log's bounds.
    checked: bool,
    /// The last record of an earlier batch, to be compared when it is read again.
    unverified: Option<LastRecord>,

    cache: Cache,
    timers: Timers,
    window: Window<P>,
    /// The last batch that had anything to publish.
    last_published: i64,
    /// When an acknowledgement that no batch took along is written by itself.
    acknowledge_at: Option<Instant>,

    /// Read, but its writer schema could not be looked up yet.
    undecoded: Arc<Vec<Record>>,
    /// The look-up that `undecoded` waits for, if one is under way.
    lookup: Option<BoxFuture<'static, Result<(), LookupError>>>,
    /// Decoded, to be judged.
    items: VecDeque<Item>,
    batch_records: usize,
    conflicts: u32,
    faults: u32,
    /// Nothing that needs what failed is tried before this instant.
    held_until: Option<Instant>,
    intake_held_until: Option<Instant>,
    sweeps: tokio::sync::watch::Receiver<u64>,
    adrift: bool,
    look_again_at: Option<Instant>,
}

impl<S, L, P, C> Lane<S, L, P, C>
where
    S: Store,
    L: Log,
    P: Publisher,
    C: Clock,
{
    /// A lane for the partition `name` that `fenced` owns, reading `log` from
    /// [`Fenced::read_from`]; without `fenced` the log is placed once the lane is fenced. `seed`: of the generator
    /// behind invite codes and jitter; from the operating system except in a simulation.
    pub fn new(
        name: TopicPartition,
        shared: Arc<Shared<S, C>>,
        fenced: Option<Fenced<S::Lane>>,
        log: L,
        publisher: P,
        seed: [u8; 32],
    ) -> Self {
        let home = home_of_lane(&shared.topics.session_command, &name);
        let placed = fenced.is_some();
        let (owner, position) = match fenced {
            Some(fenced) => (Some(fenced.store), fenced.position),
            None => (None, LanePosition::unread()),
        };
        Self {
            home,
            log,
            meter: Meter::new(&name),
            rng: StdRng::from_seed(seed),
            owner,
            position,
            placed,
            loaded: false,
            checked: false,
            unverified: position.last,
            cache: Cache::new(shared.bounds.cached_sessions),
            timers: Timers::default(),
            window: Window::new(publisher),
            last_published: 0,
            acknowledge_at: None,
            undecoded: Arc::default(),
            lookup: None,
            items: VecDeque::new(),
            batch_records: shared.bounds.batch_records.max(1),
            conflicts: 0,
            faults: 0,
            held_until: None,
            intake_held_until: None,
            sweeps: shared.sweeps.subscribe(),
            adrift: false,
            look_again_at: None,
            name,
            shared,
        }
    }

    /// Runs until `stop` is cancelled or the partition is revoked.
    pub async fn run(mut self, stop: CancellationToken) -> Ending {
        let ending = loop {
            self.note();
            if stop.is_cancelled() {
                self.finish().await;
                break Ending::Stopped;
            }
            if self.look_again_at.is_some_and(|at| at <= Instant::now()) && self.window.is_empty() {
                self.look_again_at = None;
                self.owner = None;
            }
            if !self.is_held() && !self.is_started() {
                self.start().await;
                continue;
            }
            if let Err(error) = self.window.hand_over().await {
                self.meter
                    .failed("publish", &error, disposition::of_kafka(&error));
            }
            if !self.is_held() && self.has_work() {
                self.step().await;
                continue;
            }
            if let Some(ending) = self.wait(&stop).await {
                break ending;
            }
        };
        self.shared.board.remove(&self.name);
        ending
    }

    fn is_started(&self) -> bool {
        self.owner.is_some() && self.loaded && self.checked
    }

    fn note(&self) {
        let phase = if self.adrift {
            Phase::Adrift
        } else if self.faults > 0 || self.intake_held_until.is_some() {
            Phase::Held
        } else if self.is_started() {
            Phase::Running
        } else {
            Phase::Starting
        };
        self.shared.board.note(&self.name, phase);
        if let Some(lag) = self.log.lag(self.position.next) {
            self.meter.lag(lag);
        }
    }

    fn is_held(&self) -> bool {
        self.held_until.is_some_and(|until| Instant::now() < until)
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now().max(self.position.clock)
    }

    /// Whether there is something to commit and room for it.
    fn has_work(&mut self) -> bool {
        if self.adrift || self.window.len() >= self.shared.bounds.unacknowledged.max(1) {
            return false;
        }
        let now = self.now();
        !self.items.is_empty()
            || self.timers.next().is_some_and(|at| at <= now)
            || self.acknowledge_at.is_some_and(|at| at <= Instant::now())
    }

    /// Waits for whatever comes first. Everything that is waited for is safe to be dropped half-way.
    async fn wait(&mut self, stop: &CancellationToken) -> Option<Ending> {
        let now = Instant::now();
        let mut wake = now + LOOK;
        for at in [self.held_until, self.intake_held_until, self.acknowledge_at] {
            if let Some(at) = at.filter(|at| *at > now) {
                wake = wake.min(at);
            }
        }
        let room = self.window.len() < self.shared.bounds.unacknowledged.max(1);
        if let (true, Some(at)) = (room, self.timers.next()) {
            let millis = u64::try_from(at.millis_since(self.now())).unwrap_or(0);
            wake = wake.min(now + Duration::from_millis(millis + 1));
        }
        let intake_held = self.intake_held_until.is_some_and(|until| now < until);
        let intake = self.is_started()
            && room
            && !intake_held
            && self.placed
            && (!self.adrift || self.unverified.is_some())
            && self.items.is_empty()
            && self.lookup.is_none();
        let limit = Limit {
            records: self.batch_records,
            bytes: self.shared.bounds.batch_bytes,
        };
        if intake && !self.undecoded.is_empty() {
            self.look_up().await;
            return None;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            progress = self.window.progress() => match progress {
                Ok(()) => self.acknowledged(),
                Err(error) => {
                    self.meter.failed("publish", &error, disposition::of_kafka(&error));
                }
            },
            outcome = async { self.lookup.as_mut().expect("checked before").await },
                if self.lookup.is_some() => self.looked_up(outcome),
            records = self.log.records(limit), if intake => match records {
                Ok(records) => self.take(records).await,
                Err(error) => {
                    let disposition = disposition::of_kafka(&error);
                    self.meter.failed("read", &error, disposition);
                    if disposition == Disposition::End {
                        return Some(Ending::Revoked);
                    }
                    if disposition == Disposition::Restart {
                        self.owner = None;
                        self.placed = false;
                    }
                    // The log may have been made again meanwhile: compare before going on.
                    self.checked = false;
                    self.hold();
                }
            },
            Ok(()) = self.sweeps.changed() => self.sweep().await,
            () = tokio::time::sleep_until(wake) => {}
        }
        None
    }

    /// Compares the heap with the stored deadlines: what is missing there is a bug, counted and mended.
    async fn sweep(&mut self) {
        let (true, true, Some(owner)) = (self.is_started(), self.home.is_some(), &self.owner)
        else {
            return;
        };
        match owner.deadlines().await {
            Ok(stored) => {
                let adopted = |(id, at): &(SessionId, Timestamp)| self.timers.adopt(id, *at);
                let missing = stored
                    .sessions
                    .iter()
                    .map(adopted)
                    .filter(|lost| *lost)
                    .count();
                self.meter.swept(missing);
            }
            Err(error) => {
                self.meter
                    .failed("sweep", &error, disposition::of_store(&error));
            }
        }
    }

    fn acknowledged(&mut self) {
        self.meter.unacknowledged(self.window.len());
        if self.owes_acknowledgement() && self.acknowledge_at.is_none() {
            self.acknowledge_at = Some(Instant::now() + ACKNOWLEDGE_AFTER);
        }
    }

    /// Whether outbox documents are stored that need no publishing any more.
    fn owes_acknowledgement(&self) -> bool {
        self.position.acked < self.window.acked().min(self.last_published)
    }

    /// Decodes records behind the position; the rest was consumed before.
    async fn take(&mut self, mut records: Vec<Record>) {
        if let Some(last) = self.unverified
            && let Some(first) = records.first()
        {
            if first.offset <= last.offset && fingerprint_of(first) != Some(last) {
                self.go_adrift("the last record consumed is not the one in the log");
                return;
            }
            self.unverified = None;
            self.adrift = false;
        }
        let next = self.position.next.unwrap_or(i64::MIN);
        records.retain(|record| record.offset >= next);
        if records.is_empty() {
            return;
        }
        self.undecoded = Arc::new(records);
        self.look_up().await;
    }

    /// Looks up the writer schemas of what was read. Known ones are found at once; a slow registry is
    /// waited for beside timers and publishing, not in front of them.
    async fn look_up(&mut self) {
        let codec = Arc::clone(&self.shared.codec);
        let records = Arc::clone(&self.undecoded);
        let mut lookup = async move { codec.prepare(&records).await }.boxed();
        match futures::poll!(&mut lookup) {
            Poll::Ready(outcome) => {
                drop(lookup);
                self.looked_up(outcome);
            }
            Poll::Pending => self.lookup = Some(lookup),
        }
    }

    fn looked_up(&mut self, outcome: Result<(), LookupError>) {
        self.lookup = None;
        match outcome {
            Ok(()) => {
                self.intake_held_until = None;
                let homeward = self.home.is_some();
                let codec = &self.shared.codec;
                let records = Arc::unwrap_or_clone(std::mem::take(&mut self.undecoded));
                let items = records.into_iter().map(|r| Item::new(r, codec, homeward));
                self.items.extend(items);
            }
            Err(error) => {
                let disposition = disposition::of_lookup(&error);
                self.meter.failed("look up", &error, disposition);
                let wait = self.backoff(1);
                self.intake_held_until = Some(Instant::now() + wait);
            }
        }
    }

    /// Forgets what was read ahead of the position.
    fn forget_intake(&mut self) {
        self.items.clear();
        self.undecoded = Arc::default();
        self.lookup = None;
    }

    /// One attempt at one batch.
    async fn step(&mut self) {
        let now = self.now();
        let due = self.timers.take_due(now, self.shared.bounds.timers);
        let due_ids: Vec<SessionId> = due.iter().map(|(id, _)| id.clone()).collect();
        let count = self.items.len().min(self.batch_records);
        self.items.make_contiguous();
        let outcome = self.attempt(now, &due_ids, count).await;
        match outcome {
            Ok(plan) => {
                // What the outbox had no room for is still due.
                for (id, at) in due.iter().skip(plan.timers_taken) {
                    self.timers.set(id, Some(*at));
                }
                self.conflicts = 0;
                self.faults = 0;
                self.batch_records =
                    (self.batch_records + GROWTH).min(self.shared.bounds.batch_records.max(1));
            }
            Err(error) => {
                for (id, at) in &due {
                    self.timers.set(id, Some(*at));
                }
                let disposition = disposition::of_store(&error);
                self.meter.failed("commit", &error, disposition);
                self.recover(disposition, count, &due_ids);
            }
        }
    }

    fn recover(&mut self, disposition: Disposition, count: usize, due: &[SessionId]) {
        match disposition {
            Disposition::DecideAgain => {
                self.conflicts += 1;
                if self.conflicts.is_multiple_of(CONFLICTS_BEFORE_HALVING) {
                    self.halve(count);
                }
                // Somebody else may have written what the cache holds.
                self.cache.clear();
                let most = 1 << self.conflicts.min(6);
                let jitter = Duration::from_millis(self.rng.random_range(1..=2 + most));
                self.held_until = Some(Instant::now() + jitter);
            }
            Disposition::Split => match (count, due) {
                (0, []) => self.hold(),
                (0, [only]) => {
                    self.meter.parked(only);
                    self.timers.park(only);
                }
                (0, several) => {
                    // Timers are refused as a group: look at them one batch each.
                    for id in &several[1..] {
                        let later = self.now().plus(LOOK);
                        self.timers.set(id, Some(later));
                    }
                }
                (1, _) => {
                    let item = self.items.front_mut().expect("the batch had one message");
                    if std::mem::replace(&mut item.failing, true) {
                        // Even its dead letter is refused: nothing is lost by waiting for somebody.
                        self.hold();
                    }
                }
                _ => self.halve(count),
            },
            Disposition::Restart => {
                self.owner = None;
                let wait = Duration::from_millis(self.rng.random_range(50..500));
                self.held_until = Some(Instant::now() + wait);
            }
            Disposition::Wait | Disposition::Republish | Disposition::End => self.hold(),
        }
    }

    fn halve(&mut self, count: usize) {
        self.batch_records = (count / 2).max(1);
        self.meter.split();
    }

    /// Loads, judges and commits the first `count` items and the due sessions.
    async fn attempt(
        &mut self,
        now: Timestamp,
        due: &[SessionId],
        count: usize,
    ) -> Result<Plan, crate::store::Error> {
        let shared = Arc::clone(&self.shared);
        let publisher = self.window.publisher();
        let bench = Bench {
            lane: &self.name,
            home: self.home,
            homes: &shared.homes,
            codec: &shared.codec,
            rules: &shared.rules,
            group: &shared.group,
            now,
            outbox_bytes: shared.bounds.outbox_bytes,
            record_bytes: &|topic| publisher.max_record_bytes(topic),
        };
        let items = &self.items.as_slices().0[..count];
        let ask = judge::ask(&bench, &self.cache, items, due);
        let owner = self
            .owner
            .as_mut()
            .expect("a lane commits only while it is the owner");
        let loaded = if ask == Ask::default() {
            Loaded::default()
        } else {
            owner.load(&ask).await?
        };
        let rng = &mut self.rng;
        let mut draw =
            || InviteCode::from_indices(std::array::from_fn(|_| rng.random_range(0..28)));
        let mut plan = judge::judge(&bench, &mut self.cache, &loaded, items, due, &mut draw);
        let last = plan.taken.checked_sub(1).map(|index| &items[index].record);
        let outbox: Arc<[_]> = std::mem::take(&mut plan.outbox).into();
        let acked = self.window.acked();
        let commit = Commit {
            next: last.map_or(self.position.next, |record| Some(record.offset + 1)),
            last: last.and_then(fingerprint_of).or(self.position.last),
            clock: now,
            acked,
            ledger: std::mem::take(&mut plan.ledger),
            forwards: std::mem::take(&mut plan.forwards),
            settled: Vec::new(),
            users: std::mem::take(&mut plan.users),
            sessions: std::mem::take(&mut plan.sessions),
            outbox: Arc::clone(&outbox),
        };
        let changes_nothing = plan.taken == 0 && commit.sessions.is_empty() && outbox.is_empty();
        if changes_nothing && acked <= self.position.acked {
            self.note_committed(&plan, &commit);
            return Ok(plan);
        }
        let began = Instant::now();
        let batch = owner.commit(&commit).await?;
        self.meter.committed(plan.taken, began.elapsed());
        self.position = LanePosition {
            batch,
            next: commit.next,
            acked,
            clock: now,
            last: commit.last,
            deaths: 0,
            ..self.position
        };
        self.acknowledge_at = None;
        if !outbox.is_empty() {
            self.last_published = batch;
        }
        self.window.push(batch, outbox);
        self.cache.learn(&loaded);
        for item in self.items.drain(..plan.taken) {
            self.meter.age(&item.record, now);
        }
        self.note_committed(&plan, &commit);
        if let Some(next) = commit.next {
            self.log.report(next);
        }
        Ok(plan)
    }

    fn note_committed(&mut self, plan: &Plan, commit: &Commit) {
        for write in &commit.sessions {
            self.timers
                .set(&write.after.session.id, write.after.session.next_deadline());
            self.cache.insert(Arc::clone(&write.after));
        }
        for (id, next) in &plan.looked_at {
            self.timers.set(id, *next);
        }
        for id in &plan.parked {
            self.meter.parked(id);
            self.timers.park(id);
        }
        self.meter.judged(plan);
        self.meter.unacknowledged(self.window.len());
        self.meter.timers(self.timers.len());
    }

    /// Holds everything that needs what failed, with backoff and jitter.
    fn hold(&mut self) {
        self.faults += 1;
        let wait = self.backoff(self.faults);
        self.held_until = Some(Instant::now() + wait);
    }

    fn backoff(&mut self, attempt: u32) -> Duration {
        let most = 100u64 << attempt.min(6);
        Duration::from_millis(self.rng.random_range(most / 2..=most))
    }

    /// Publishes what is committed and acknowledges what the broker has, within bounds.
    async fn finish(&mut self) {
        let deadline = Instant::now() + FLUSH;
        while !self.window.is_empty() && Instant::now() < deadline {
            if self.window.hand_over().await.is_err() {
                continue;
            }
            if tokio::time::timeout_at(deadline, self.window.progress())
                .await
                .is_err()
            {
                break;
            }
        }
        let (owes, acked) = (self.owes_acknowledgement(), self.window.acked());
        if let (true, Some(owner)) = (owes, self.owner.as_mut()) {
            let commit = Commit {
                acked,
                ..Commit::at(&self.position)
            };
            let outcome = tokio::time::timeout(FLUSH, owner.commit(&commit)).await;
            if let Ok(Err(error)) = outcome {
                // The next owner publishes once more what stays unacknowledged: the same bytes.
                self.meter
                    .failed("acknowledge", &error, disposition::of_store(&error));
            }
        }
    }
}

/// The partition of `session-command` that a lane is the home of, if any.
pub(super) fn home_of_lane(session_command: &str, lane: &TopicPartition) -> Option<i32> {
    (*lane.topic == *session_command).then_some(lane.partition)
}

/// What is stored of the last record consumed; always `Some` for a record.
fn fingerprint_of(record: &Record) -> Option<LastRecord> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(record.key.as_deref().unwrap_or_default());
    crc.update(record.value.as_deref().unwrap_or_default());
    Some(LastRecord {
        offset: record.offset,
        timestamp: record.timestamp.unwrap_or(-1),
        crc: crc.finalize(),
    })
}
