//! `sessions` and `participants` (contract 4).

use std::borrow::Cow;
use std::time::Duration;

use mongodb::bson::DateTime;
use mongodb::bson::raw::{RawBsonRef, RawDocument};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::malformed::OUT_OF_RANGE;
use super::{Malformed, Name, date, few, instant, named, present};
use crate::domain::{
    ConnectionId, EndReason, InviteCode, LeaveReason, Participant, ParticipantStatus, Role,
    Session, SessionId, SessionKind, SessionStatus, TopicId, UserId, Warning,
};
use crate::store::mongo::indexes::{PARTICIPANTS, SESSIONS};
use crate::store::{StoredSession, Unreadable};

named!(SessionKind, "a session's type", Public => "public", Private => "private");
named!(
    SessionStatus,
    "a session's status",
    Waiting => "waiting",
    Active => "active",
    Ended => "ended",
);
named!(
    EndReason,
    "an end reason",
    HostEnded => "host_ended",
    AllLeft => "all_left",
    Timeout => "timeout",
    NeverStarted => "never_started",
);
named!(Role, "a role", Host => "host", Participant => "participant");
named!(
    ParticipantStatus,
    "a participant's status",
    Waiting => "waiting",
    Connected => "connected",
    Disconnected => "disconnected",
);
named!(
    LeaveReason,
    "a leave reason",
    Left => "left",
    DisconnectTimeout => "disconnect_timeout",
    NoShow => "no_show",
    SessionEnded => "session_ended",
);

/// A document of `sessions`; absent values are stored as null (contract 4).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionDocument<'a> {
    #[serde(rename = "_id")]
    id: Cow<'a, str>,
    r#type: Name<SessionKind>,
    status: Name<SessionStatus>,
    target_language_code: Cow<'a, str>,
    #[serde(deserialize_with = "present")]
    topic_id: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "present")]
    topic_title: Option<Cow<'a, str>>,
    host_user_id: Cow<'a, str>,
    min_participants: i32,
    max_participants: i32,
    participant_count: i32,
    total_participants: i32,
    peak_participants: i32,
    created_at: DateTime,
    #[serde(deserialize_with = "present")]
    started_at: Option<DateTime>,
    #[serde(deserialize_with = "present")]
    expires_at: Option<DateTime>,
    #[serde(deserialize_with = "present")]
    ended_at: Option<DateTime>,
    updated_at: DateTime,
    #[serde(deserialize_with = "present")]
    end_reason: Option<Name<EndReason>>,
    #[serde(deserialize_with = "present")]
    invite_code: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "present")]
    waiting_deadline: Option<DateTime>,
    #[serde(deserialize_with = "few")]
    warnings: Vec<WarningDocument>,
    #[serde(deserialize_with = "present")]
    next_deadline: Option<DateTime>,
    next_seniority: i64,
    sequence: i64,
    #[serde(deserialize_with = "super::version")]
    version: i64,
    #[serde(deserialize_with = "partition")]
    home: i32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WarningDocument {
    at: DateTime,
    #[serde(deserialize_with = "not_negative")]
    before_end_ms: i64,
}

fn not_negative<'de, D: Deserializer<'de>>(field: D) -> Result<i64, D::Error> {
    let number = i64::deserialize(field)?;
    if number < 0 {
        return Err(D::Error::custom(format_args!(
            "{OUT_OF_RANGE} for a duration"
        )));
    }
    Ok(number)
}

/// The home of the session in `document`: all that the lanes that are not its home read of it.
pub(crate) fn home_of(document: &RawDocument) -> Result<i32, Malformed> {
    let stored = match document.get("home") {
        Ok(Some(RawBsonRef::Int32(home))) => Some(home),
        Ok(Some(RawBsonRef::Int64(home))) => i32::try_from(home).ok(),
        _ => None,
    };
    let home = stored.filter(|home| *home >= 0);
    home.ok_or_else(|| Malformed::new("home: no number of a partition"))
}

fn partition<'de, D: Deserializer<'de>>(field: D) -> Result<i32, D::Error> {
    let partition = i32::deserialize(field)?;
    if partition < 0 {
        return Err(D::Error::custom(format_args!(
            "{OUT_OF_RANGE} for a partition"
        )));
    }
    Ok(partition)
}

/// A document of `participants`; absent values are stored as null (contract 4).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParticipantDocument<'a> {
    #[serde(rename = "_id")]
    id: Cow<'a, str>,
    session_id: Cow<'a, str>,
    user_id: Cow<'a, str>,
    /// The place in order of first join.
    ordinal: i32,
    role: Name<Role>,
    status: Name<ParticipantStatus>,
    joined_at: DateTime,
    #[serde(deserialize_with = "present")]
    left_at: Option<DateTime>,
    #[serde(deserialize_with = "present")]
    leave_reason: Option<Name<LeaveReason>>,
    speaking_time_seconds: i64,
    #[serde(deserialize_with = "present")]
    connection_id: Option<Cow<'a, str>>,
    stint_started_at: DateTime,
    seniority: i64,
    present_before_ms: i64,
    #[serde(deserialize_with = "present")]
    disconnected_at: Option<DateTime>,
    #[serde(deserialize_with = "present")]
    deadline: Option<DateTime>,
    rejoin_count: i32,
}

/// The `_id` of a participant (contract 4).
pub(crate) fn participant_key(session_id: &SessionId, user_id: &UserId) -> String {
    format!("{session_id}:{user_id}")
}

impl<'a> SessionDocument<'a> {
    /// The document of `stored`, without its participants.
    pub(crate) fn new(stored: &'a StoredSession) -> Self {
        let session = &stored.session;
        let open = session.participants.iter().filter(|p| p.is_open()).count();
        Self {
            id: session.id.as_str().into(),
            r#type: Name(session.kind),
            status: Name(session.status),
            target_language_code: session.target_language_code.as_str().into(),
            topic_id: session.topic_id.as_ref().map(|id| id.as_str().into()),
            topic_title: session.topic_title.as_deref().map(Cow::from),
            host_user_id: session.host_user_id.as_str().into(),
            min_participants: session.min_participants,
            max_participants: session.max_participants,
            participant_count: count(open),
            total_participants: count(session.participants.len()),
            peak_participants: session.peak_participants,
            created_at: date(session.created_at),
            started_at: session.started_at.map(date),
            expires_at: session.expires_at.map(date),
            ended_at: session.ended_at.map(date),
            updated_at: date(session.updated_at),
            end_reason: session.end_reason.map(Name),
            invite_code: session
                .invite_code
                .as_ref()
                .map(|code| code.as_str().into()),
            waiting_deadline: session.waiting_deadline.map(date),
            warnings: session.warnings.iter().map(WarningDocument::new).collect(),
            next_deadline: session.next_deadline().map(date),
            next_seniority: session.next_seniority,
            sequence: session.sequence,
            version: stored.version,
            home: stored.home,
        }
    }

    /// The session's home partition.
    pub(crate) fn home(&self) -> i32 {
        self.home
    }
}

/// A stored session from its document and its participants' documents, in any order.
pub(crate) fn assemble(
    document: SessionDocument<'_>,
    mut participants: Vec<ParticipantDocument<'_>>,
) -> Result<StoredSession, Unreadable> {
    participants.sort_by_key(|participant| participant.ordinal);
    check_participants(&document, &participants)?;
    let session = Session {
        id: SessionId::from_stored(document.id.into_owned()),
        kind: document.r#type.0,
        status: document.status.0,
        target_language_code: document.target_language_code.into_owned(),
        topic_id: document
            .topic_id
            .map(|id| TopicId::from_stored(id.into_owned())),
        topic_title: document.topic_title.map(Cow::into_owned),
        host_user_id: UserId::from_stored(document.host_user_id.into_owned()),
        min_participants: document.min_participants,
        max_participants: document.max_participants,
        created_at: instant(document.created_at),
        started_at: document.started_at.map(instant),
        expires_at: document.expires_at.map(instant),
        ended_at: document.ended_at.map(instant),
        end_reason: document.end_reason.map(|name| name.0),
        invite_code: document
            .invite_code
            .map(|code| InviteCode::from_stored(code.into_owned())),
        sequence: document.sequence,
        updated_at: instant(document.updated_at),
        waiting_deadline: document.waiting_deadline.map(instant),
        warnings: document
            .warnings
            .iter()
            .map(WarningDocument::warning)
            .collect(),
        peak_participants: document.peak_participants,
        next_seniority: document.next_seniority,
        participants: participants
            .into_iter()
            .map(ParticipantDocument::participant)
            .collect(),
    };
    Ok(StoredSession {
        session,
        home: document.home,
        version: document.version,
    })
}

/// Whether `participants`, by their ordinals, are all of the session's and nothing else.
fn check_participants(
    session: &SessionDocument<'_>,
    participants: &[ParticipantDocument<'_>],
) -> Result<(), Unreadable> {
    for (place, participant) in participants.iter().enumerate() {
        participant.check_key()?;
        if usize::try_from(participant.ordinal) == Ok(place) {
            continue;
        }
        let twin = place
            .checked_sub(1)
            .map(|before| &participants[before])
            .filter(|before| before.ordinal == participant.ordinal);
        if let Some(twin) = twin {
            let reason = format!("ordinal: the same as that of {PARTICIPANTS}/{}", twin.id);
            return Err(Malformed::new(reason).under(PARTICIPANTS, &participant.id));
        }
        return Err(missing_participants(session, participants));
    }
    if usize::try_from(session.total_participants) != Ok(participants.len()) {
        return Err(missing_participants(session, participants));
    }
    Ok(())
}

/// Names what is known of the participants that are not there: the host, if it is the host.
fn missing_participants(
    session: &SessionDocument<'_>,
    found: &[ParticipantDocument<'_>],
) -> Unreadable {
    let total = session.total_participants;
    let count = format!("{} of {total} found", found.len());
    let host = &session.host_user_id;
    if found.is_empty() || found.iter().any(|participant| participant.user_id == *host) {
        return Unreadable {
            document: format!("{PARTICIPANTS} of {SESSIONS}/{}", session.id),
            reason: count,
        };
    }
    let reason = format!("missing: {count}");
    Malformed::new(reason).under(PARTICIPANTS, &format!("{}:{host}", session.id))
}

impl WarningDocument {
    fn new(warning: &Warning) -> Self {
        let before_end_ms = i64::try_from(warning.before_end.as_millis()).unwrap_or(i64::MAX);
        Self {
            at: date(warning.at),
            before_end_ms,
        }
    }

    fn warning(&self) -> Warning {
        Warning {
            at: instant(self.at),
            before_end: Duration::from_millis(self.before_end_ms.unsigned_abs()),
        }
    }
}

impl<'a> ParticipantDocument<'a> {
    /// The document of the participant at `ordinal` of `session_id`.
    pub(crate) fn new(session_id: &'a SessionId, ordinal: usize, of: &'a Participant) -> Self {
        Self {
            id: participant_key(session_id, &of.user_id).into(),
            session_id: session_id.as_str().into(),
            user_id: of.user_id.as_str().into(),
            ordinal: count(ordinal),
            role: Name(of.role),
            status: Name(of.status),
            joined_at: date(of.joined_at),
            left_at: of.left_at.map(date),
            leave_reason: of.leave_reason.map(Name),
            speaking_time_seconds: of.speaking_time_seconds,
            connection_id: of.connection_id.as_ref().map(|id| id.as_str().into()),
            stint_started_at: date(of.stint_started_at),
            seniority: of.seniority,
            present_before_ms: of.present_before_ms,
            disconnected_at: of.disconnected_at.map(date),
            deadline: of.deadline.map(date),
            rejoin_count: of.rejoin_count,
        }
    }

    /// The session the participant belongs to.
    pub(crate) fn session_id(&self) -> &str {
        &self.session_id
    }

    /// Writes find a participant by the key that its session and user give.
    fn check_key(&self) -> Result<(), Unreadable> {
        let user = self
            .id
            .strip_prefix(&*self.session_id)
            .and_then(|rest| rest.strip_prefix(':'));
        if user == Some(&*self.user_id) {
            return Ok(());
        }
        let reason = Malformed::new("_id: not that of its sessionId and userId");
        Err(reason.under(PARTICIPANTS, &self.id))
    }

    fn participant(self) -> Participant {
        Participant {
            user_id: UserId::from_stored(self.user_id.into_owned()),
            role: self.role.0,
            status: self.status.0,
            joined_at: instant(self.joined_at),
            left_at: self.left_at.map(instant),
            leave_reason: self.leave_reason.map(|name| name.0),
            speaking_time_seconds: self.speaking_time_seconds,
            connection_id: self
                .connection_id
                .map(|id| ConnectionId::from_stored(id.into_owned())),
            stint_started_at: instant(self.stint_started_at),
            seniority: self.seniority,
            present_before_ms: self.present_before_ms,
            disconnected_at: self.disconnected_at.map(instant),
            deadline: self.deadline.map(instant),
            rejoin_count: self.rejoin_count,
        }
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).expect("a session has at most 100 participants")
}
