//! One learner's part in one session: a stint opens with a join and closes with a leave; the same
//! participant reopens on a rejoin (contract 2, AC3–AC6).

use super::ids::{ConnectionId, UserId};
use super::time::Timestamp;

/// A participant's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// May start and end the session.
    Host,
    /// Everybody else.
    Participant,
}

/// A participant's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParticipantStatus {
    /// Joined, not yet connected in this stint.
    Waiting,
    /// Connected.
    Connected,
    /// Dropped, or gone.
    Disconnected,
}

/// Why a participant left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaveReason {
    /// By command.
    Left,
    /// Dropped for longer than the grace.
    DisconnectTimeout,
    /// Never connected within the no-show timeout.
    NoShow,
    /// The session ended around them.
    SessionEnded,
}

/// A participant, ever in the session; open while `left_at` is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Who.
    pub user_id: UserId,
    /// The present role; an ended stint keeps its last.
    pub role: Role,
    /// The presence; `Disconnected` once left.
    pub status: ParticipantStatus,
    /// The first join; a rejoin does not move it.
    pub joined_at: Timestamp,
    /// When the last stint ended; `None` while open.
    pub left_at: Option<Timestamp>,
    /// Why the last stint ended; `None` while open.
    pub leave_reason: Option<LeaveReason>,
    /// Cumulative seconds as reported, never falling, clamped to presence.
    pub speaking_time_seconds: i64,
    /// The present connection; `None` unless connected.
    pub connection_id: Option<ConnectionId>,
    /// When the present stint began.
    pub stint_started_at: Timestamp,
    /// Rank of the present stint among all stints of the session: seniority (contract 2, AC6).
    pub seniority: i64,
    /// Milliseconds of presence in stints that are over.
    pub present_before_ms: i64,
    /// When the open participant dropped; `None` unless dropped.
    pub disconnected_at: Option<Timestamp>,
    /// When the grace (dropped) or the no-show timeout (waiting) is over; stored when it arises.
    pub deadline: Option<Timestamp>,
    /// How often the participant came back after leaving.
    pub rejoin_count: i32,
}

impl Participant {
    /// Whether the participant counts towards capacity and `participantCount`.
    pub fn is_open(&self) -> bool {
        self.left_at.is_none()
    }
}
