//! A session and everybody who was ever in it: the state that decisions turn into the next state.

use std::time::Duration;

use super::ids::{InviteCode, SessionId, TopicId, UserId};
use super::participant::Participant;
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
