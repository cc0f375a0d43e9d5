//! What the views answer with: the contract's names and words, absent values as null, instants as
//! RFC 3339, durations in whole seconds. Made from what was read; OpenAPI is written from the same.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use utoipa::ToSchema;

use super::query::Status;
use crate::domain::{
    EndReason, Participant, ParticipantStatus, Role, Session, SessionId, SessionKind,
    SessionSnapshot, SessionStatus, Timestamp, UserId,
};
use crate::store::views::{HistoryEntry, SessionOutline, Usage};

const INSTANT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// An instant as RFC 3339 in UTC, to the millisecond.
fn instant(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|at| at.format(INSTANT).ok())
        .expect("the database's clock tells a year of four digits")
}

/// `type` of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Public,
    Private,
}

impl From<SessionKind> for Kind {
    fn from(kind: SessionKind) -> Self {
        match kind {
            SessionKind::Public => Self::Public,
            SessionKind::Private => Self::Private,
        }
    }
}

impl From<SessionStatus> for Status {
    fn from(status: SessionStatus) -> Self {
        match status {
            SessionStatus::Waiting => Self::Waiting,
            SessionStatus::Active => Self::Active,
            SessionStatus::Ended => Self::Ended,
        }
    }
}

impl From<Status> for SessionStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Waiting => Self::Waiting,
            Status::Active => Self::Active,
            Status::Ended => Self::Ended,
        }
    }
}

/// `role` of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RoleName {
    Host,
    Participant,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Host => Self::Host,
            Role::Participant => Self::Participant,
        }
    }
}

/// `status` of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Presence {
    Waiting,
    Connected,
    Disconnected,
}

impl From<ParticipantStatus> for Presence {
    fn from(status: ParticipantStatus) -> Self {
        match status {
            ParticipantStatus::Waiting => Self::Waiting,
            ParticipantStatus::Connected => Self::Connected,
            ParticipantStatus::Disconnected => Self::Disconnected,
        }
    }
}

/// `endReason` of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Ending {
    HostEnded,
    AllLeft,
    Timeout,
    NeverStarted,
}

impl From<EndReason> for Ending {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::HostEnded => Self::HostEnded,
            EndReason::AllLeft => Self::AllLeft,
            EndReason::Timeout => Self::Timeout,
            EndReason::NeverStarted => Self::NeverStarted,
        }
    }
}

/// A session's state, as `SessionSnapshot` of the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionView {
    session_id: String,
    r#type: Kind,
    status: Status,
    target_language_code: String,
    #[schema(required)]
    topic_id: Option<String>,
    #[schema(required)]
    topic_title: Option<String>,
    host_user_id: String,
    #[schema(minimum = 2, maximum = 6)]
    min_participants: i32,
    #[schema(minimum = 2, maximum = 6)]
    max_participants: i32,
    /// Open participants.
    #[schema(minimum = 0, maximum = 6)]
    participant_count: i32,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(required, format = DateTime)]
    started_at: Option<String>,
    /// Null until the start.
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    #[schema(required, format = DateTime)]
    ended_at: Option<String>,
}

impl SessionView {
    fn new(id: &SessionId, snapshot: SessionSnapshot) -> Self {
        Self {
            session_id: id.to_string(),
            r#type: snapshot.kind.into(),
            status: snapshot.status.into(),
            target_language_code: snapshot.target_language_code,
            topic_id: snapshot.topic_id.map(|id| id.to_string()),
            topic_title: snapshot.topic_title,
            host_user_id: snapshot.host_user_id.to_string(),
            min_participants: snapshot.min_participants,
            max_participants: snapshot.max_participants,
            participant_count: snapshot.participant_count,
            created_at: instant(snapshot.created_at),
            started_at: snapshot.started_at.map(instant),
            expires_at: snapshot.expires_at.map(instant),
            ended_at: snapshot.ended_at.map(instant),
        }
    }
}

impl From<SessionOutline> for SessionView {
    fn from(outline: SessionOutline) -> Self {
        Self::new(&outline.id, outline.snapshot)
    }
}

/// A session as a member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberView {
    #[serde(flatten)]
    session: SessionView,
    /// The caller's, the last one for who has left.
    role: RoleName,
    /// For open members of a private session; null for whoever has left.
    #[schema(required)]
    invite_code: Option<String>,
}

impl MemberView {
    /// `session` as `user_id` sees it; `None` for whoever was never in.
    pub(super) fn of(session: &Session, user_id: &UserId) -> Option<Self> {
        let member = session.participant(user_id)?;
        let code = session.invite_code.as_ref().filter(|_| member.is_open());
        Some(Self {
            session: SessionView::new(&session.id, session.snapshot()),
            role: member.role.into(),
            invite_code: code.map(|code| code.as_str().to_owned()),
        })
    }
}

/// The caller's open session, and the ids of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CurrentView {
    #[serde(flatten)]
    pub(super) session: MemberView,
    /// The caller's other open sessions, in the same order.
    pub(super) also_in: Vec<String>,
}

/// A participant's state, as `ParticipantSnapshot` of the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ParticipantView {
    user_id: String,
    role: RoleName,
    status: Presence,
    /// The first join.
    #[schema(format = DateTime)]
    joined_at: String,
    #[schema(required, format = DateTime)]
    left_at: Option<String>,
    /// Until now for whoever is connected.
    #[schema(minimum = 0)]
    present_seconds: i64,
    #[schema(minimum = 0)]
    speaking_time_seconds: i64,
    /// Whether the participant ever came back.
    rejoin: bool,
}

impl ParticipantView {
    /// `participant` at `now`.
    pub(super) fn at(participant: &Participant, now: Timestamp) -> Self {
        let snapshot = participant.snapshot(now);
        Self {
            user_id: snapshot.user_id.to_string(),
            role: snapshot.role.into(),
            status: snapshot.status.into(),
            joined_at: instant(snapshot.joined_at),
            left_at: snapshot.left_at.map(instant),
            present_seconds: snapshot.present_seconds,
            speaking_time_seconds: snapshot.speaking_time_seconds,
            rejoin: snapshot.rejoin,
        }
    }
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct HistoryLine {
    session_id: String,
    r#type: Kind,
    status: Status,
    target_language_code: String,
    #[schema(required)]
    topic_id: Option<String>,
    /// As given at creation.
    #[schema(required)]
    topic_title: Option<String>,
    role: RoleName,
    /// Distinct users ever.
    #[schema(minimum = 1)]
    participant_count: i32,
    /// Seconds from start to end, for an active session until now; 0 if it never started.
    #[schema(minimum = 0)]
    duration: i64,
    #[schema(minimum = 0)]
    speaking_time_seconds: i64,
    /// The first join.
    #[schema(format = DateTime)]
    joined_at: String,
    #[schema(required, format = DateTime)]
    left_at: Option<String>,
    #[schema(required, format = DateTime)]
    started_at: Option<String>,
    #[schema(required, format = DateTime)]
    ended_at: Option<String>,
    #[schema(required)]
    end_reason: Option<Ending>,
}

impl HistoryLine {
    /// `entry` at `now` (contract 2, AC8).
    pub(super) fn at(entry: HistoryEntry, now: Timestamp) -> Self {
        let HistoryEntry {
            session,
            membership,
        } = entry;
        let snapshot = session.snapshot;
        Self {
            session_id: session.id.to_string(),
            r#type: snapshot.kind.into(),
            status: snapshot.status.into(),
            duration: snapshot.duration_seconds(now),
            target_language_code: snapshot.target_language_code,
            topic_id: snapshot.topic_id.map(|id| id.to_string()),
            topic_title: snapshot.topic_title,
            role: membership.role.into(),
            participant_count: session.total_participants,
            speaking_time_seconds: membership.speaking_time_seconds,
            joined_at: instant(membership.joined_at),
            left_at: membership.left_at.map(instant),
            started_at: snapshot.started_at.map(instant),
            ended_at: snapshot.ended_at.map(instant),
            end_reason: session.end_reason.map(Ending::from),
        }
    }
}

/// Lines, all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<T> {
    /// In order.
    pub(super) items: Vec<T>,
}

/// Lines, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page<T> {
    /// In order; there may be fewer than asked for, or none, and more to come.
    pub(super) items: Vec<T>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    pub(super) next_cursor: Option<String>,
}

/// What a user has used of the limits of the free tier (contract 2, AC9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LimitsView {
    /// Open participations in sessions that have not ended.
    #[schema(minimum = 0)]
    open: usize,
    #[schema(minimum = 0)]
    concurrent_limit: u32,
    /// First joins today.
    #[schema(minimum = 0)]
    used_today: usize,
    #[schema(minimum = 0)]
    daily_limit: u32,
    /// Next midnight in UTC.
    #[schema(format = DateTime)]
    reset_at: String,
}

impl LimitsView {
    /// `usage` under these limits.
    pub(super) fn new(usage: &Usage, concurrent_limit: u32, daily_limit: u32) -> Self {
        Self {
            open: usage.open,
            concurrent_limit,
            used_today: usage.used_today,
            daily_limit,
            reset_at: instant(usage.reset_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_rfc_3339_to_the_millisecond() {
        assert_eq!(instant(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            instant(Timestamp(1_769_893_200_500)),
            "2026-01-31T21:00:00.500Z"
        );
    }
}
