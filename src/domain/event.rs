//! Facts that decisions produce: the contract's `SessionEvent`, without its wire shape.

use super::ids::{SessionId, TopicId, UserId};
use super::participant::{LeaveReason, ParticipantStatus, Role};
use super::session::{EndReason, SessionKind, SessionStatus};
use super::time::Timestamp;

/// What happened (contract 1, the table of events).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// `session.created`
    SessionCreated,
    /// `session.started`
    SessionStarted,
    /// `session.expiring`
    SessionExpiring,
    /// `session.host_changed`
    SessionHostChanged,
    /// `session.ended`
    SessionEnded,
    /// `participant.joined`
    ParticipantJoined,
    /// `participant.connected`
    ParticipantConnected,
    /// `participant.disconnected`
    ParticipantDisconnected,
    /// `participant.reconnected`
    ParticipantReconnected,
    /// `participant.left`
    ParticipantLeft,
}

/// Which deadline fired (contract 1, `causationId`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// `timeout`
    Timeout,
    /// `never_started`
    NeverStarted,
    /// `expiring:<seconds>`
    Expiring {
        /// The configured warning in seconds.
        seconds: i64,
    },
    /// `disconnect:<userId>`
    Disconnect(UserId),
    /// `no_show:<userId>`
    NoShow(UserId),
}

/// What caused an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The command being judged.
    Command {
        /// Its trimmed `commandId`.
        command_id: String,
    },
    /// The match being judged.
    Match {
        /// Its trimmed `matchId`.
        match_id: String,
    },
    /// A deadline of the session.
    Timer(TimerKind),
}

/// The `reason` an event carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// On `participant.left` and `session.host_changed`.
    Leave(LeaveReason),
    /// On `session.ended`.
    End(EndReason),
}

/// An event of one session. Its id derives from `session_id` and `sequence`
/// ([`SessionId::event_id`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Where.
    pub session_id: SessionId,
    /// 1, 2, 3 … without a gap.
    pub sequence: i64,
    /// The time of the decision.
    pub occurred_at: Timestamp,
    /// What caused it; correlation and trace headers go only with the message being judged.
    pub cause: Cause,
    /// The session after this event.
    pub session: SessionSnapshot,
    /// The participant concerned, after this event.
    pub participant: Option<ParticipantSnapshot>,
    /// Why.
    pub reason: Option<Reason>,
    /// Who commanded; `None` for matches and timers.
    pub actor_user_id: Option<UserId>,
    /// On `session.host_changed`.
    pub previous_host_user_id: Option<UserId>,
    /// On `session.expiring`: the configured warning in seconds.
    pub seconds_left: Option<i32>,
    /// On `session.ended`.
    pub statistics: Option<SessionStatistics>,
}

/// The session as an event shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSnapshot {
    /// Public or private.
    pub kind: SessionKind,
    /// Of an ending only `session.ended` says ended.
    pub status: SessionStatus,
    /// Of BCP 47 shape.
    pub target_language_code: String,
    /// The topic's id.
    pub topic_id: Option<TopicId>,
    /// The topic's title.
    pub topic_title: Option<String>,
    /// The host after this event.
    pub host_user_id: UserId,
    /// How many it takes to start.
    pub min_participants: i32,
    /// Seats.
    pub max_participants: i32,
    /// Open ones.
    pub participant_count: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it will end; `None` until the start.
    pub expires_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A participant as an event shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParticipantSnapshot {
    /// Who.
    pub user_id: UserId,
    /// The role after this event.
    pub role: Role,
    /// The presence after this event.
    pub status: ParticipantStatus,
    /// The first join.
    pub joined_at: Timestamp,
    /// When the last stint ended.
    pub left_at: Option<Timestamp>,
    /// Whole seconds of presence so far.
    pub present_seconds: i64,
    /// Cumulative seconds of speaking.
    pub speaking_time_seconds: i64,
    /// Whether the participant ever came back.
    pub rejoin: bool,
}

/// What `session.ended` sums up.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionStatistics {
    /// `endedAt` − `startedAt`, 0 if never started.
    pub duration_seconds: i64,
    /// Distinct users ever.
    pub total_participants: i32,
    /// The most open at once.
    pub peak_participants: i32,
    /// Shannon entropy of the shares over ln(total), 0 with fewer than 2 speakers.
    pub talk_balance: f64,
    /// Whose share is under 5 %.
    pub silent_user_ids: Vec<UserId>,
    /// Everybody ever in, in order of first join.
    pub participants: Vec<ParticipantStatistics>,
}

/// One participant's line of the statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct ParticipantStatistics {
    /// Who.
    pub user_id: UserId,
    /// The last role.
    pub role: Role,
    /// The first join.
    pub joined_at: Timestamp,
    /// When the last stint ended.
    pub left_at: Option<Timestamp>,
    /// Whole seconds of presence.
    pub present_seconds: i64,
    /// Cumulative seconds of speaking.
    pub speaking_time_seconds: i64,
    /// Own over all speaking time, 0 where nobody spoke.
    pub talk_share: f64,
    /// Why the last stint ended.
    pub leave_reason: LeaveReason,
    /// How often they came back.
    pub rejoin_count: i32,
}
