//! A session and everybody who was ever in it: the state that decisions turn into the next state.

use std::time::Duration;

use super::event::SessionSnapshot;
use super::ids::{InviteCode, SessionId, TopicId, UserId};
use super::participant::Participant;
use super::rules::Rules;
use super::time::Timestamp;

/// How a session came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionKind {
    /// By a match.
    Public,
    /// By a learner, with an invite code.
    Private,
}

/// Where a session stands: `waiting → active → ended` or `waiting → ended`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionStatus {
    /// Not started.
    Waiting,
    /// Started.
    Active,
    /// Over, for good.
    Ended,
}

/// Why a session ended (contract 2, AC7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The host ended it.
    HostEnded,
    /// Nobody was open any more.
    AllLeft,
    /// `expiresAt` passed.
    Timeout,
    /// The waiting timeout passed without a start.
    NeverStarted,
}

/// A `session.expiring` still to come, stored at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// When it fires.
    pub at: Timestamp,
    /// The configured warning: how long before the end.
    pub before_end: Duration,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Public or private.
    pub kind: SessionKind,
    /// Where it stands.
    pub status: SessionStatus,
    /// Of BCP 47 shape.
    pub target_language_code: String,
    /// The topic's id.
    pub topic_id: Option<TopicId>,
    /// The topic's title as given at creation.
    pub topic_title: Option<String>,
    /// The present host; of a public session the first matched, also after leaving.
    pub host_user_id: UserId,
    /// How many it takes to start a public session; 2 and without effect for a private one.
    pub min_participants: i32,
    /// Seats, 2–6.
    pub max_participants: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it will end, set once at the start.
    pub expires_at: Option<Timestamp>,
    /// When it ended: for a deadline the deadline's instant.
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
    /// Private sessions only; never in an event.
    pub invite_code: Option<InviteCode>,
    /// The number of its last event.
    pub sequence: i64,
    /// The time of its last decision: time never falls within a session.
    pub updated_at: Timestamp,
    /// When it ends without a start, stored at creation; `None` once started or ended.
    pub waiting_deadline: Option<Timestamp>,
    /// Warnings still to come, earliest first.
    pub warnings: Vec<Warning>,
    /// The most participants that were open at once.
    pub peak_participants: i32,
    /// The seniority the next stint gets.
    pub next_seniority: i64,
    /// Everybody who was ever in, in order of first join, ties in match order.
    pub participants: Vec<Participant>,
}

/// What a new session is made of, besides its host.
pub(super) struct Blueprint<'a> {
    /// Its id.
    pub(super) id: &'a SessionId,
    /// Public or private.
    pub(super) kind: SessionKind,
    /// Of BCP 47 shape.
    pub(super) target_language_code: &'a str,
    /// The topic's id.
    pub(super) topic_id: Option<&'a TopicId>,
    /// The topic's title.
    pub(super) topic_title: Option<&'a str>,
    /// How many it takes to start a public session.
    pub(super) min_participants: i32,
    /// Seats, 2–6.
    pub(super) max_participants: i32,
}

impl Session {
    /// A session at `now`, before its first event and with nobody in it.
    pub(super) fn new(
        blueprint: &Blueprint<'_>,
        host: &UserId,
        invite_code: Option<InviteCode>,
        now: Timestamp,
        rules: &Rules,
    ) -> Self {
        Self {
            id: blueprint.id.clone(),
            kind: blueprint.kind,
            status: SessionStatus::Waiting,
            target_language_code: blueprint.target_language_code.to_owned(),
            topic_id: blueprint.topic_id.cloned(),
            topic_title: blueprint.topic_title.map(str::to_owned),
            host_user_id: host.clone(),
            min_participants: blueprint.min_participants,
            max_participants: blueprint.max_participants,
            created_at: now,
            started_at: None,
            expires_at: None,
            ended_at: None,
            end_reason: None,
            invite_code,
            sequence: 0,
            updated_at: now,
            waiting_deadline: Some(now.plus(rules.waiting_timeout)),
            warnings: Vec::new(),
            peak_participants: 0,
            next_seniority: 0,
            participants: Vec::new(),
        }
    }

    /// How many participants are open: what capacity and `participantCount` count.
    pub fn open_count(&self) -> usize {
        self.participants
            .iter()
            .filter(|participant| participant.is_open())
            .count()
    }

    /// The participant `user_id`, open or not; `None`: never in.
    pub fn participant(&self, user_id: &UserId) -> Option<&Participant> {
        self.participants
            .iter()
            .find(|participant| participant.user_id == *user_id)
    }

    /// `endedAt` − `startedAt` in whole seconds, up to `now` while active, 0 if never started
    /// (contract 2, AC7 and AC8).
    pub fn duration_seconds(&self, now: Timestamp) -> i64 {
        duration_seconds(self.started_at, self.ended_at, now)
    }

    /// The session as an event shows it.
    pub fn snapshot(&self) -> SessionSnapshot {
        SessionSnapshot {
            kind: self.kind,
            status: self.status,
            target_language_code: self.target_language_code.clone(),
            topic_id: self.topic_id.clone(),
            topic_title: self.topic_title.clone(),
            host_user_id: self.host_user_id.clone(),
            min_participants: self.min_participants,
            max_participants: self.max_participants,
            participant_count: count(self.open_count()),
            created_at: self.created_at,
            started_at: self.started_at,
            expires_at: self.expires_at,
            ended_at: self.ended_at,
        }
    }

    /// Whether another open participant fits.
    pub(super) fn has_seat(&self) -> bool {
        count(self.open_count()) < self.max_participants
    }
}

impl SessionSnapshot {
    /// As [`Session::duration_seconds`].
    pub fn duration_seconds(&self, now: Timestamp) -> i64 {
        duration_seconds(self.started_at, self.ended_at, now)
    }
}

/// The whole seconds from a session's start to its end, up to `now` while it is active, 0 if it never
/// started.
pub fn duration_seconds(
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    now: Timestamp,
) -> i64 {
    started_at.map_or(0, |started_at| {
        ended_at.unwrap_or(now).millis_since(started_at).max(0) / 1000
    })
}

/// A number of participants as the contract counts them; a session never holds more than
/// [`Rules::DISTINCT_USERS`].
pub(super) fn count(participants: usize) -> i32 {
    i32::try_from(participants).unwrap_or(i32::MAX)
}
