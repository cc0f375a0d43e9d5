//! What readers see of sessions (contract 5): plain values, without anything that only lanes need.

use crate::domain::{
    EndReason, Role, SessionId, SessionSnapshot, SessionStatus, Timestamp, UserId,
};

/// A session without its participants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOutline {
    /// Which.
    pub id: SessionId,
    /// Its state.
    pub snapshot: SessionSnapshot,
    /// Distinct users ever.
    pub total_participants: i32,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
}

/// One user's part in one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The session.
    pub session_id: SessionId,
    /// The role, the last one for who has left.
    pub role: Role,
    /// The first join.
    pub joined_at: Timestamp,
    /// The start of the present stint, or of the last one.
    pub stint_started_at: Timestamp,
    /// When the last stint ended; `None`: it goes on.
    pub left_at: Option<Timestamp>,
    /// Cumulative seconds of speaking.
    pub speaking_time_seconds: i64,
}

/// One line of a user's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The session.
    pub session: SessionOutline,
    /// The user's part in it.
    pub membership: Membership,
}

/// Which part of a user's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Sessions of this status only.
    pub status: Option<SessionStatus>,
    /// Sessions of exactly this language tag only.
    pub target_language_code: Option<String>,
    /// First joined at this instant or later.
    pub from: Option<Timestamp>,
    /// First joined before this instant.
    pub to: Option<Timestamp>,
}

/// The place of a line in a history: newest first join first, then by session. Both never change,
/// so a place stays where it is while sessions are added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPlace {
    /// The first join.
    pub joined_at: Timestamp,
    /// The session.
    pub session_id: SessionId,
}

/// Which public sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Of this status only.
    pub status: Option<SessionStatus>,
    /// Of exactly this language tag only.
    pub target_language_code: Option<String>,
}

/// The place of a session in the list: by status, then language, then id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPlace {
    /// The status by its word.
    pub status: SessionStatus,
    /// The language tag.
    pub target_language_code: String,
    /// The session.
    pub session_id: SessionId,
}

/// Some lines, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewPage<T, P> {
    /// In order; there may be fewer than asked for, or none, and more to come.
    pub items: Vec<T>,
    /// Behind which place the next page begins; `None`: there is none.
    pub next: Option<P>,
}

/// What a user has used of the limits (contract 2, AC9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Whose.
    pub user_id: UserId,
    /// Open participations in sessions that have not ended.
    pub open: usize,
    /// First joins today.
    pub used_today: usize,
    /// When the day ends.
    pub reset_at: Timestamp,
}
