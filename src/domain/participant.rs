//! One learner's part in one session: a stint opens with a join and closes with a leave; the same
//! participant reopens on a rejoin (contract 2, AC3–AC6).

use super::event::ParticipantSnapshot;
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

    /// Whole seconds of presence by `at`: the sum of the stints, the present one up to `at`, or up to
    /// the drop where the participant is disconnected (contract 2, AC6).
    pub fn present_seconds(&self, at: Timestamp) -> i64 {
        self.present_ms(at) / 1000
    }

    /// The participant as an event shows it at `at`.
    pub fn snapshot(&self, at: Timestamp) -> ParticipantSnapshot {
        ParticipantSnapshot {
            user_id: self.user_id.clone(),
            role: self.role,
            status: self.status,
            joined_at: self.joined_at,
            left_at: self.left_at,
            present_seconds: self.present_seconds(at),
            speaking_time_seconds: self.speaking_time_seconds,
            rejoin: self.rejoin_count > 0,
        }
    }

    /// The speaking time once `reported` has come in at `at`: cumulative, never falling, and no more
    /// than presence (contract 2, AC6).
    pub(super) fn speaking_time_after(&self, reported: i64, at: Timestamp) -> i64 {
        self.speaking_time_seconds
            .max(reported.min(self.present_seconds(at)))
    }

    /// Opens a stint: the first, or another one of a participant who came back (contract 2, AC3).
    pub(super) fn open_stint(
        &mut self,
        seniority: i64,
        at: Timestamp,
        deadline: Option<Timestamp>,
    ) {
        self.status = ParticipantStatus::Waiting;
        self.left_at = None;
        self.leave_reason = None;
        self.stint_started_at = at;
        self.seniority = seniority;
        self.deadline = deadline;
    }

    /// Closes the stint; who is disconnected was present only until the drop (contract 2, AC6).
    pub(super) fn close_stint(&mut self, reason: LeaveReason, left_at: Timestamp) {
        self.present_before_ms = self.present_ms(left_at);
        self.status = ParticipantStatus::Disconnected;
        self.left_at = Some(left_at);
        self.leave_reason = Some(reason);
        self.connection_id = None;
        self.disconnected_at = None;
        self.deadline = None;
    }

    fn present_ms(&self, at: Timestamp) -> i64 {
        let open_since = self.is_open().then_some(self.stint_started_at);
        presence_ms(
            self.present_before_ms,
            open_since,
            self.disconnected_at.unwrap_or(at),
        )
    }
}

/// Milliseconds of presence: those of stints that are over, and those of the open stint until `until`.
pub fn presence_ms(before_ms: i64, open_since: Option<Timestamp>, until: Timestamp) -> i64 {
    before_ms.saturating_add(open_since.map_or(0, |since| until.millis_since(since).max(0)))
}
