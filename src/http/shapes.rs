//! What the views answer with: the contract's names, words as they are stored, absent values as null,
//! instants as RFC 3339, durations in whole seconds. OpenAPI is written from the same.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use utoipa::ToSchema;

use super::query::Status;
use crate::domain::{SessionStatus, Timestamp};
use crate::store::views::{Member, Participation, SessionOutline, Usage};

const INSTANT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// An instant as RFC 3339 in UTC, to the millisecond.
fn instant(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|at| at.format(INSTANT).ok())
        .expect("the database's clock tells a year of four digits")
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

/// A session's state, as `SessionSnapshot` of the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionView {
    session_id: String,
    /// `public` or `private`; more words may be added.
    #[schema(example = "public")]
    r#type: String,
    /// `waiting`, `active` or `ended`; more words may be added.
    #[schema(example = "waiting")]
    status: String,
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

impl From<SessionOutline> for SessionView {
    fn from(outline: SessionOutline) -> Self {
        Self {
            session_id: outline.id.to_string(),
            r#type: outline.kind,
            status: outline.status,
            target_language_code: outline.target_language_code,
            topic_id: outline.topic_id,
            topic_title: outline.topic_title,
            host_user_id: outline.host_user_id.to_string(),
            min_participants: outline.min_participants,
            max_participants: outline.max_participants,
            participant_count: outline.participant_count,
            created_at: instant(outline.created_at),
            started_at: outline.started_at.map(instant),
            expires_at: outline.expires_at.map(instant),
            ended_at: outline.ended_at.map(instant),
        }
    }
}

/// A session as a member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberView {
    #[serde(flatten)]
    session: SessionView,
    /// The caller's, the last one for who has left: `host` or `participant`; more words may be added.
    #[schema(example = "host")]
    role: String,
    /// For open members of a private session; null for whoever has left.
    #[schema(required)]
    invite_code: Option<String>,
}

impl From<Participation> for MemberView {
    fn from(participation: Participation) -> Self {
        let Participation {
            mut session,
            membership,
        } = participation;
        let code = session.invite_code.take();
        Self {
            session: SessionView::from(session),
            role: membership.role,
            invite_code: code.filter(|_| membership.left_at.is_none()),
        }
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
    /// `host` or `participant`; more words may be added.
    #[schema(example = "participant")]
    role: String,
    /// `waiting`, `connected` or `disconnected`; more words may be added.
    #[schema(example = "connected")]
    status: String,
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
    /// `member` at `now`.
    pub(super) fn at(member: Member, now: Timestamp) -> Self {
        Self {
            present_seconds: member.present_seconds(now),
            user_id: member.user_id.to_string(),
            role: member.membership.role,
            status: member.status,
            joined_at: instant(member.membership.joined_at),
            left_at: member.membership.left_at.map(instant),
            speaking_time_seconds: member.membership.speaking_time_seconds,
            rejoin: member.rejoin_count > 0,
        }
    }
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct HistoryLine {
    session_id: String,
    /// `public` or `private`; more words may be added.
    #[schema(example = "public")]
    r#type: String,
    /// `waiting`, `active` or `ended`; more words may be added.
    #[schema(example = "waiting")]
    status: String,
    target_language_code: String,
    #[schema(required)]
    topic_id: Option<String>,
    /// As given at creation.
    #[schema(required)]
    topic_title: Option<String>,
    /// The caller's, the last one for who has left: `host` or `participant`; more words may be added.
    #[schema(example = "participant")]
    role: String,
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
    /// `host_ended`, `all_left`, `timeout` or `never_started`; more words may be added.
    #[schema(required, example = "host_ended")]
    end_reason: Option<String>,
}

impl HistoryLine {
    /// `participation` at `now` (contract 2, AC8).
    pub(super) fn at(participation: Participation, now: Timestamp) -> Self {
        let Participation {
            session,
            membership,
        } = participation;
        Self {
            duration: session.duration_seconds(now),
            session_id: session.id.to_string(),
            r#type: session.kind,
            status: session.status,
            target_language_code: session.target_language_code,
            topic_id: session.topic_id,
            topic_title: session.topic_title,
            role: membership.role,
            participant_count: session.total_participants,
            speaking_time_seconds: membership.speaking_time_seconds,
            joined_at: instant(membership.joined_at),
            left_at: membership.left_at.map(instant),
            started_at: session.started_at.map(instant),
            ended_at: session.ended_at.map(instant),
            end_reason: session.end_reason,
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
