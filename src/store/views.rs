//! What readers see of sessions (contract 5): plain values, without anything that only lanes need.
//! Words (kind, status, role, reason) are as stored: a later version may have written others than this
//! one knows, and they are shown as they are.

use crate::domain::{self, SessionId, SessionStatus, Timestamp, UserId};

/// A session without its participants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOutline {
    /// Which.
    pub id: SessionId,
    /// `public` or `private`.
    pub kind: String,
    /// `waiting`, `active` or `ended`.
    pub status: String,
    /// The language tag.
    pub target_language_code: String,
    /// The topic's id.
    pub topic_id: Option<String>,
    /// The topic's title as given at creation.
    pub topic_title: Option<String>,
    /// The present host.
    pub host_user_id: UserId,
    /// How many it takes to start a public session.
    pub min_participants: i32,
    /// Seats.
    pub max_participants: i32,
    /// Open participants.
    pub participant_count: i32,
    /// Distinct users ever.
    pub total_participants: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it will end; `None` until the start.
    pub expires_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub end_reason: Option<String>,
    /// What opens a private session; for its open members alone.
    pub invite_code: Option<String>,
}

impl SessionOutline {
    /// Seconds from start to end, for an active session until `now`; 0 if it never started.
    pub fn duration_seconds(&self, now: Timestamp) -> i64 {
        domain::duration_seconds(self.started_at, self.ended_at, now)
    }
}

/// One user's part in one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The session.
    pub session_id: SessionId,
    /// The role, the last one for who has left: `host` or `participant`.
    pub role: String,
    /// The first join.
    pub joined_at: Timestamp,
    /// The start of the present stint, or of the last one.
    pub stint_started_at: Timestamp,
    /// When the last stint ended; `None`: it goes on.
    pub left_at: Option<Timestamp>,
    /// Cumulative seconds of speaking.
    pub speaking_time_seconds: i64,
}

/// A participant as the other members see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// The place in order of first join.
    pub ordinal: i64,
    /// The presence: `waiting`, `connected` or `disconnected`.
    pub status: String,
    /// Milliseconds of presence in stints that are over.
    pub present_before_ms: i64,
    /// When the open participant dropped.
    pub disconnected_at: Option<Timestamp>,
    /// How often the participant came back after leaving.
    pub rejoin_count: i64,
    /// The part in the session.
    pub membership: Membership,
}

impl Member {
    /// Whole seconds of presence by `at` (contract 2, AC6).
    pub fn present_seconds(&self, at: Timestamp) -> i64 {
        let is_open = self.membership.left_at.is_none();
        let open_since = is_open.then_some(self.membership.stint_started_at);
        domain::presence_ms(
            self.present_before_ms,
            open_since,
            self.disconnected_at.unwrap_or(at),
        ) / 1000
    }
}

/// A session and one user's part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participation {
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
    /// With so many free seats or more, before the end.
    pub min_seats: Option<i32>,
}

impl ListFilter {
    /// Whether `session` has the seats that are asked for.
    pub fn has_seats(&self, session: &SessionOutline) -> bool {
        let Some(seats) = self.min_seats else {
            return true;
        };
        let free = i64::from(session.max_participants) - i64::from(session.participant_count);
        session.ended_at.is_none() && free >= i64::from(seats)
    }
}

/// The place of a session in the list. Those that wait come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListPlace {
    /// Among those that wait: longest first, then by id.
    Waiting {
        /// When the session was made.
        created_at: Timestamp,
        /// The session.
        session_id: SessionId,
    },
    /// Among all others: by status, then language, then id.
    Other {
        /// The status.
        status: String,
        /// The language tag.
        target_language_code: String,
        /// The session.
        session_id: SessionId,
    },
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
