//! What really happened, written down at the seams: every fence, commit and append, in the order in which
//! the database and the brokers saw them. What may never happen is noticed here at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use std::time::Duration;

use session_worker::domain::Timestamp;
use session_worker::record::{OutRecord, TopicPartition};
use session_worker::store::{Commit, LanePosition};

use tokio::time::Instant;

use crate::broker::{Broker, Place};
use crate::pulse;

/// How long an owner lives that counts as sound (`lane::probation`).
const PROOF: Duration = Duration::from_secs(30);

/// A committed batch.
pub(crate) struct Batch {
    pub(crate) number: i64,
    pub(crate) outbox: Arc<[OutRecord]>,
    /// Which records the brokers have.
    appended: Vec<bool>,
    /// Of each record its place in the order of its topic.
    turns: Vec<usize>,
}

/// One lane's history.
#[derive(Default)]
pub(crate) struct LaneHistory {
    epoch: i64,
    fenced_at: Option<Instant>,
    pub(crate) batches: Vec<Batch>,
    /// How many records of each topic are committed, and how many of them appended, in order.
    topics: BTreeMap<Arc<str>, (usize, usize)>,
    /// Processes that died reading the lane since it last moved or an operator changed it.
    pub(crate) deaths: u32,
    /// Owners that ended without a word, for any reason, since the lane last consumed anything.
    pub(crate) killed: u32,
    /// The generation of the log that was consumed last.
    pub(crate) generation: Option<u32>,
}

impl LaneHistory {
    /// A record kills the owner: says how many of them it killed in a row. One that lived for long, or ended
    /// in order, breaks the row.
    pub(crate) fn dies(&mut self) -> u32 {
        if self.fenced_at.is_some_and(|at| at.elapsed() >= PROOF) {
            self.deaths = 0;
        }
        self.deaths += 1;
        self.deaths
    }

    /// The epoch of the present owner.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }
}

#[derive(Default)]
struct Inner {
    lanes: BTreeMap<TopicPartition, LaneHistory>,
    /// How often each record was consumed.
    consumed: BTreeMap<Place, usize>,
    /// Records that an operator stepped over.
    given_up: BTreeSet<Place>,
    /// Forwards that the brokers have, with their places.
    forwards: Vec<(Place, OutRecord)>,
    broken: Vec<String>,
}

/// The history of a simulation.
#[derive(Clone)]
pub(crate) struct History {
    broker: Broker,
    forwarded_to: Arc<str>,
    inner: Arc<Mutex<Inner>>,
}

impl History {
    /// Nothing has happened yet. `forwarded_to`: the topic of records on their way home.
    pub(crate) fn new(broker: Broker, forwarded_to: Arc<str>) -> Self {
        Self {
            broker,
            forwarded_to,
            inner: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("history")
    }

    /// Writes down a broken guarantee.
    pub(crate) fn breaks(&self, what: String) {
        let mut inner = self.lock();
        tracing::error!(what, "broken");
        if inner.broken.len() < 20 {
            inner.broken.push(what);
        }
    }

    /// Every broken guarantee so far.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.lock().broken.clone()
    }

    /// Looks at a lane's history.
    pub(crate) fn lane<T>(
        &self,
        lane: &TopicPartition,
        look: impl FnOnce(&mut LaneHistory) -> T,
    ) -> T {
        look(self.lock().lanes.entry(lane.clone()).or_default())
    }

    /// Every committed batch, lane by lane.
    pub(crate) fn batches<T>(&self, mut look: impl FnMut(&TopicPartition, &Batch) -> T) -> Vec<T> {
        let inner = self.lock();
        let lanes = inner.lanes.iter();
        lanes
            .flat_map(|(lane, history)| history.batches.iter().map(move |batch| (lane, batch)))
            .map(|(lane, batch)| look(lane, batch))
            .collect()
    }

    /// How often a record was consumed.
    pub(crate) fn consumed(&self, place: &Place) -> usize {
        self.lock().consumed.get(place).copied().unwrap_or(0)
    }

    /// Whether an operator stepped over a record.
    pub(crate) fn is_given_up(&self, place: &Place) -> bool {
        self.lock().given_up.contains(place)
    }

    /// The forwards that the brokers have, with their places.
    pub(crate) fn forwards(&self) -> Vec<(Place, OutRecord)> {
        self.lock().forwards.clone()
    }

    /// A process has become a lane's owner.
    pub(crate) fn fenced(&self, lane: &TopicPartition, epoch: i64) {
        tracing::debug!(%lane, epoch, "fenced");
        self.lane(lane, |lane| {
            lane.epoch = lane.epoch.max(epoch);
            lane.fenced_at = Some(Instant::now());
        });
    }

    /// An owner's commit has happened. `before`: the lane's document until then.
    pub(crate) fn committed(
        &self,
        lane: &TopicPartition,
        epoch: i64,
        before: &LanePosition,
        commit: &Commit,
        number: i64,
        now: Timestamp,
    ) {
        tracing::debug!(
            %lane, epoch, number, now = now.0, from = before.next, to = commit.next,
            acked = commit.acked, outbox = commit.outbox.len(), "committed"
        );
        let mut broken = Vec::new();
        let moved = commit.next != before.next;
        let fell = commit.next < before.next;
        let handed = match (before.next, commit.next) {
            (from, Some(to)) if moved && !fell => pulse::handed_in(from.unwrap_or(0)..to),
            _ => Vec::new(),
        };
        if fell {
            let (from, to) = (before.next, commit.next);
            broken.push(format!("the position fell from {from:?} to {to:?}"));
        } else if moved {
            broken.extend(self.skipped(lane, before.next, commit.next, &handed));
        }
        if commit.clock < before.clock {
            broken.push(format!(
                "time fell from {:?} to {:?}",
                before.clock, commit.clock
            ));
        }
        for write in &commit.sessions {
            let session = &write.after.session;
            if session.ended_at.is_some_and(|at| at > now) {
                broken.push(format!("session {} ended early", session.id));
            }
        }
        let mut inner = self.lock();
        for (offset, generation) in &handed {
            let place = Place {
                lane: lane.clone(),
                generation: *generation,
                offset: *offset,
            };
            *inner.consumed.entry(place).or_default() += 1;
        }
        let history = inner.lanes.entry(lane.clone()).or_default();
        if let Some((_, generation)) = handed.first() {
            history.generation = Some(*generation);
            history.deaths = 0;
            history.killed = 0;
        }
        if epoch != history.epoch {
            broken.push(format!(
                "an owner of epoch {epoch} committed in epoch {}",
                history.epoch
            ));
        }
        if let Some(last) = history.batches.last()
            && last.number >= number
        {
            broken.push(format!("batch {number} came after batch {}", last.number));
        }
        broken.extend(history.acknowledged_too_far(commit.acked));
        history.push(number, &commit.outbox);
        drop(inner);
        for what in broken {
            self.breaks(format!("{lane}: {what}"));
        }
    }

    /// Records between `from` and `to` that the log never handed over.
    fn skipped(
        &self,
        lane: &TopicPartition,
        from: Option<i64>,
        to: Option<i64>,
        handed: &[(i64, u32)],
    ) -> Option<String> {
        let (Some((first, generation)), Some(to)) = (handed.first(), to) else {
            return Some(format!(
                "the position moved from {from:?} to {to:?} and nothing was read"
            ));
        };
        let handed: BTreeSet<i64> = handed.iter().map(|(offset, _)| *offset).collect();
        let data = self.broker.data(lane, *generation);
        let skipped: Vec<i64> = data
            .range(from.unwrap_or(*first)..to)
            .filter(|offset| !handed.contains(offset))
            .copied()
            .collect();
        (!skipped.is_empty()).then(|| format!("the records at {skipped:?} were skipped silently"))
    }

    /// An operator has changed a lane, and gave up what lies within `given_up`.
    pub(crate) fn revised(
        &self,
        lane: &TopicPartition,
        epoch: i64,
        given_up: Range<i64>,
        is_moved: bool,
    ) {
        tracing::debug!(%lane, epoch, ?given_up, is_moved, "an operator changed the lane");
        let generation = self.broker.generation(lane);
        let data = self.broker.data(lane, generation);
        let mut inner = self.lock();
        for offset in data.into_iter().filter(|offset| given_up.contains(offset)) {
            let place = Place {
                lane: lane.clone(),
                generation,
                offset,
            };
            inner.given_up.insert(place);
        }
        let history = inner.lanes.entry(lane.clone()).or_default();
        history.epoch = epoch;
        history.deaths = 0;
        history.killed = 0;
        if is_moved {
            history.generation = Some(generation);
        }
    }

    /// An owner hands a batch over to the brokers.
    pub(crate) fn sends(&self, lane: &TopicPartition, outbox: &Arc<[OutRecord]>) {
        let is_committed = self.lane(lane, |lane| lane.index_of(outbox).is_some());
        if !is_committed {
            self.breaks(format!("{lane}: published before the commit"));
        }
    }

    /// The brokers have taken a record of a lane.
    pub(crate) fn appended(
        &self,
        lane: &TopicPartition,
        outbox: &Arc<[OutRecord]>,
        record: usize,
        place: Place,
    ) {
        let mut inner = self.lock();
        if outbox[record].topic == self.forwarded_to {
            inner.forwards.push((place, outbox[record].clone()));
        }
        let history = inner.lanes.entry(lane.clone()).or_default();
        let overtaken = history.append(outbox, record);
        drop(inner);
        if let Some(overtaken) = overtaken {
            self.breaks(format!("{lane}: {overtaken}"));
        }
    }
}

impl LaneHistory {
    fn push(&mut self, number: i64, outbox: &Arc<[OutRecord]>) {
        let turn = |record: &OutRecord| {
            let (committed, _) = self.topics.entry(Arc::clone(&record.topic)).or_default();
            *committed += 1;
            *committed - 1
        };
        let turns = outbox.iter().map(turn).collect();
        self.batches.push(Batch {
            number,
            outbox: Arc::clone(outbox),
            appended: vec![false; outbox.len()],
            turns,
        });
    }

    fn index_of(&self, outbox: &Arc<[OutRecord]>) -> Option<usize> {
        self.batches
            .iter()
            .rposition(|batch| Arc::ptr_eq(&batch.outbox, outbox))
    }

    fn acknowledged_too_far(&self, acked: i64) -> Option<String> {
        let batches = self.batches.iter().rev();
        let unsent = batches
            .skip_while(|batch| batch.number > acked)
            .find(|batch| batch.appended.contains(&false));
        unsent.map(|batch| {
            format!(
                "batch {} is acknowledged and not published whole",
                batch.number
            )
        })
    }

    /// Says what was overtaken.
    fn append(&mut self, outbox: &Arc<[OutRecord]>, record: usize) -> Option<String> {
        let index = self.index_of(outbox)?;
        let batch = &mut self.batches[index];
        batch.appended[record] = true;
        let topic = &outbox[record].topic;
        let (_, appended) = self.topics.get_mut(topic)?;
        let turn = batch.turns[record];
        if turn == *appended {
            *appended += 1;
        }
        (turn > *appended).then(|| {
            format!("record {turn} of {topic} was published while {appended} were before it")
        })
    }

    /// Topics that do not have everything that is committed.
    pub(crate) fn unpublished(&self) -> Vec<Arc<str>> {
        let topics = self.topics.iter();
        topics
            .filter(|(_, (committed, appended))| appended < committed)
            .map(|(topic, _)| Arc::clone(topic))
            .collect()
    }
}
