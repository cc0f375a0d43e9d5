//! What goes wrong at a moment: kills, hand-overs, outages, damage, deletions. Each incident picks its
//! victim by the seed, begins, and ends by itself or lasts until it is repaired.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use session_worker::domain::{MessageId, SessionId, UserId};
use session_worker::record::{OutRecord, TopicPartition};
use session_worker::store::memory::Document;
use tokio::time::Instant;

use crate::weather::Refusal;
use crate::world::{Action, World};

/// A kind of incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incident {
    /// A lane's task ends between two steps.
    LaneDies,
    /// A process ends, with all of its lanes and what its producer had under way.
    ProcessDies,
    /// A lane moves to another process in order.
    HandOver,
    /// Two processes believe that they own a lane.
    TwoOwners,
    /// Records are deleted that were read.
    Retention,
    /// Records are deleted, also unread ones.
    Truncation,
    /// A topic is deleted and created again.
    Recreation,
    /// A batch is damaged.
    Damage,
    /// Offsets hold no records.
    Markers,
    /// A record kills every process that reads it.
    Killer,
    /// The database answers nobody.
    Outage,
    /// The database answers no commit.
    Silence,
    /// The database blames the content, whatever it is.
    WrongBlame,
    /// The database refuses what one message leads to.
    Culprit,
    /// The database refuses what one session becomes.
    CulpritSession,
    /// A document cannot be read.
    Spoiled,
    /// A topic refuses records.
    Refusal,
    /// A producer fails with all that it has under way.
    ProducerFails,
    /// Another writer changes a session's document.
    Rewrite,
    /// An operator resumes or moves a lane.
    Operator,
}

/// The condition that ends.
#[derive(Debug)]
pub(crate) enum End {
    /// An operator does what the lane's state asks for.
    RepairLane(TopicPartition),
    /// The damage heals: another replica leads.
    Heal(TopicPartition),
    /// The session may be written again.
    CulpritSession(SessionId),
    /// The document can be read again.
    Spoiled(Document),
    /// The topic takes records again.
    Refusal(Refusal),
}

impl Incident {
    /// Every kind.
    pub(crate) const ALL: [Self; 20] = [
        Self::LaneDies,
        Self::ProcessDies,
        Self::HandOver,
        Self::TwoOwners,
        Self::Retention,
        Self::Truncation,
        Self::Recreation,
        Self::Damage,
        Self::Markers,
        Self::Killer,
        Self::Outage,
        Self::Silence,
        Self::WrongBlame,
        Self::Culprit,
        Self::CulpritSession,
        Self::Spoiled,
        Self::Refusal,
        Self::ProducerFails,
        Self::Rewrite,
        Self::Operator,
    ];

    /// In which share of storms it happens.
    pub(crate) fn share(self) -> f64 {
        match self {
            Self::Truncation | Self::Killer | Self::Operator => 0.15,
            Self::Recreation | Self::Silence | Self::WrongBlame | Self::CulpritSession => 0.25,
            Self::LaneDies | Self::TwoOwners => 0.6,
            _ => 0.4,
        }
    }
}

impl World {
    /// Makes one of the plan's incidents happen.
    pub(crate) async fn incident(&mut self) {
        let Some(incident) = self.plan.incidents.choose(&mut self.rng).copied() else {
            return;
        };
        let lanes = self.lanes();
        let lane = lanes
            .choose(&mut self.rng)
            .expect("there are lanes")
            .clone();
        tracing::debug!(?incident, %lane, now = self.clock.truth().0, "incident");
        match incident {
            Incident::LaneDies => self.kill_lane(&lane),
            Incident::ProcessDies => {
                let process = self.rng.random_range(0..self.processes.len());
                self.kill_process(process);
            }
            Incident::HandOver => self.hand_over(&lane),
            Incident::TwoOwners => self.double(&lane),
            Incident::Retention | Incident::Truncation => self.delete(&lane, incident),
            Incident::Recreation => self.recreate(&lane),
            Incident::Damage => self.damage(&lane),
            Incident::Markers => {
                for _ in 0..self.rng.random_range(1..3) {
                    self.broker.mark(&lane);
                }
            }
            Incident::Killer => self.arm_next = true,
            Incident::Outage => {
                let length = Duration::from_millis(self.rng.random_range(500..15_000));
                self.weather.now().down_until = Some(Instant::now() + length);
            }
            Incident::Silence => {
                let length = Duration::from_millis(self.rng.random_range(2_000..20_000));
                self.weather.now().silent_until = Some(Instant::now() + length);
            }
            Incident::WrongBlame => self.blame_everything(),
            Incident::Culprit => self.blame_next = true,
            Incident::CulpritSession => self.blame_session(),
            Incident::Spoiled => self.spoil(),
            Incident::Refusal => self.refuse(lane),
            Incident::ProducerFails => {
                let process = self.rng.random_range(0..self.processes.len());
                self.processes[process].producer.fail();
            }
            Incident::Rewrite => {
                let sessions: Vec<_> = self.store.sessions().into_keys().collect();
                if let Some(id) = sessions.choose(&mut self.rng) {
                    self.store.rewrite_session(id);
                }
            }
            Incident::Operator => self.operate(&lane).await,
        }
    }

    /// Ends a condition after up to `most`, unless it is to last.
    fn end_later(&mut self, most: Duration, end: End) {
        if !self.rng.random_ratio(self.plan.lasting, 1000) {
            let most = u64::try_from(most.as_millis()).expect("short");
            let after = Duration::from_millis(self.rng.random_range(500..most));
            self.later(after, Action::End(end));
        }
    }

    /// Where a lane stands, from the first offset on.
    pub(crate) fn next_of(&self, lane: &TopicPartition) -> i64 {
        let position = self.store.lanes().get(lane).and_then(|p| p.next);
        position.unwrap_or_else(|| self.broker.bounds(lane).0)
    }

    fn delete(&mut self, lane: &TopicPartition, incident: Incident) {
        let next = self.next_of(lane);
        let (_, high) = self.broker.bounds(lane);
        let low = if incident == Incident::Retention {
            // Up to the position at most; often all that was read, with the last record.
            if self.rng.random_bool(0.5) {
                next
            } else {
                self.rng.random_range(0..=next.max(0))
            }
        } else {
            self.rng.random_range(next.min(high)..=high)
        };
        self.broker.retain(lane, low);
        if low > next {
            self.end_later(Duration::from_secs(20), End::RepairLane(lane.clone()));
        }
    }

    fn recreate(&mut self, lane: &TopicPartition) {
        // Where retention took the last record, or an operator set the position, nothing can be compared.
        let (low, _) = self.broker.bounds(lane);
        let comparable = self
            .store
            .lanes()
            .get(lane)
            .and_then(|p| p.last)
            .is_some_and(|last| last.offset >= low);
        // A new topic uses its offsets again: what names a record of the old one must have arrived.
        let origin = format!("{lane}/");
        let arrived = self.store.outbox_len(lane) == 0
            && self.history.forwards().iter().all(|(place, record)| {
                self.history.consumed(place) > 0 || !is_forwarded_from(record, &origin)
            });
        if comparable && arrived && self.cause(lane).is_none() {
            let next = self.next_of(lane);
            self.broker.recreate(lane);
            if self.rng.random_bool(0.7) {
                self.fill(lane, next + 2);
            }
            self.end_later(Duration::from_secs(20), End::RepairLane(lane.clone()));
        }
    }

    fn damage(&mut self, lane: &TopicPartition) {
        if self.cause(lane).is_some() {
            return;
        }
        let (_, high) = self.broker.bounds(lane);
        let from = self.next_of(lane).max(high - 3) + self.rng.random_range(0..2);
        let to = from + self.rng.random_range(1..5);
        self.broker.damage(lane, from, to);
        let end = if self.rng.random_bool(0.5) {
            End::Heal(lane.clone())
        } else {
            End::RepairLane(lane.clone())
        };
        self.end_later(Duration::from_secs(60), end);
    }

    /// Only once: two such times in a row look like a culprit to any lane.
    fn blame_everything(&mut self) {
        let mut conditions = self.weather.now();
        if !conditions.ever.refused_all {
            conditions.ever.refused_all = true;
            let length = Duration::from_millis(self.rng.random_range(2_000..20_000));
            conditions.refuse_until = Some(Instant::now() + length);
        }
    }

    fn blame_session(&mut self) {
        let sessions: Vec<_> = self.store.sessions().into_keys().collect();
        let Some(id) = sessions.choose(&mut self.rng).cloned() else {
            return;
        };
        let mut conditions = self.weather.now();
        conditions.culprit_sessions.insert(id.clone());
        conditions.ever.culprit_sessions.insert(id.clone());
        drop(conditions);
        self.end_later(Duration::from_secs(40), End::CulpritSession(id));
    }

    fn spoil(&mut self) {
        let Some(document) = self.pick_document() else {
            return;
        };
        let mut conditions = self.weather.now();
        self.store.spoil(document.clone());
        conditions.spoiled.insert(document.clone());
        conditions.ever.spoiled.insert(document.clone());
        drop(conditions);
        self.end_later(Duration::from_secs(40), End::Spoiled(document));
    }

    fn pick_document(&mut self) -> Option<Document> {
        let rng = &mut self.rng;
        let mut session = || -> Option<SessionId> {
            let sessions: Vec<_> = self.store.sessions().into_keys().collect();
            sessions.choose(rng).cloned()
        };
        let session = session()?;
        Some(match rng.random_range(0..6) {
            0 | 1 => Document::Session(session),
            2 => Document::Deadline(session),
            3 => Document::Home(session),
            4 => {
                let users: Vec<UserId> = self.store.users().into_keys().collect();
                Document::User(users.choose(rng)?.clone())
            }
            _ if rng.random_bool(0.5) => {
                let ids: Vec<MessageId> = self.store.ledger().into_keys().collect();
                Document::Ledger(ids.choose(rng)?.clone())
            }
            _ => {
                let forwards = self.store.forwards();
                let forward = &forwards.choose(rng)?.forward;
                Document::Forward(forward.origin.clone(), forward.home)
            }
        })
    }

    fn refuse(&mut self, lane: TopicPartition) {
        let topics = [
            &self.topics.session_event,
            &self.topics.session_command_result,
            &self.topics.session_dead_letter,
            &self.topics.session_command,
        ];
        let topic = topics.choose(&mut self.rng).expect("four").to_string();
        let lane = self.rng.random_bool(0.5).then_some(lane);
        let refusal = Refusal { topic, lane };
        *self
            .weather
            .now()
            .refused
            .entry(refusal.clone())
            .or_default() += 1;
        self.end_later(Duration::from_secs(30), End::Refusal(refusal));
    }

    /// Ends a condition.
    pub(crate) async fn end(&mut self, end: End) {
        tracing::debug!(?end, now = self.clock.truth().0, "a condition ends");
        match end {
            End::RepairLane(lane) => self.repair_lane(&lane).await,
            End::Heal(lane) => self.broker.heal(&lane),
            End::CulpritSession(id) => {
                self.weather.now().culprit_sessions.remove(&id);
            }
            End::Spoiled(document) => {
                self.store.repair(&document);
                self.weather.now().spoiled.remove(&document);
            }
            End::Refusal(refusal) => {
                let refused = &mut self.weather.now().refused;
                if let Some(count) = refused.get_mut(&refusal) {
                    *count -= 1;
                    if *count == 0 {
                        refused.remove(&refusal);
                    }
                }
            }
        }
    }
}

/// Whether a record on its way home was first read in the partition that `origin` begins with.
fn is_forwarded_from(record: &OutRecord, origin: &str) -> bool {
    let mut headers = record.headers.iter();
    headers.any(|(name, value)| {
        let value = value.as_deref().unwrap_or_default();
        name == "sw-forward" && value.starts_with(origin.as_bytes())
    })
}
