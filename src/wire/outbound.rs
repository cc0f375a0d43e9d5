//! The shapes of output values: one a subject, its fields as in the `.avsc`, borrowed from the domain.
//! An output that does not fit its schema is a bug, found by the golden tests.

use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;

use super::schema::{COMMAND_WRITER, EVENT_WRITER, RESULT_WRITER};
use crate::domain::{
    Cause, CommandResult, EndReason, Event, EventKind, LeaveReason, Match, ParticipantStatus,
    Reason, ResultOrigin, Role, SessionKind, SessionStatus, Tier, TimerKind,
};

/// The Confluent wire format: a zero byte, the schema's id, the Avro value.
fn framed<T: Serialize>(writer: &GenericDatumWriter<'_>, id: u32, value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(0);
    bytes.extend_from_slice(&id.to_be_bytes());
    writer
        .write_ser(&mut bytes, value)
        .expect("our shapes fit our schemas");
    bytes
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionEvent<'a> {
    event_id: &'a str,
    r#type: &'static str,
    session_id: &'a str,
    sequence: i64,
    occurred_at: i64,
    causation_id: &'a str,
    correlation_id: Option<&'a str>,
    session: SessionSnapshot<'a>,
    participant: Option<ParticipantSnapshot<'a>>,
    reason: Option<&'static str>,
    actor_user_id: Option<&'a str>,
    previous_host_user_id: Option<&'a str>,
    seconds_left: Option<i32>,
    statistics: Option<SessionStatistics<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionSnapshot<'a> {
    r#type: &'static str,
    status: &'static str,
    target_language_code: &'a str,
    topic_id: Option<&'a str>,
    topic_title: Option<&'a str>,
    host_user_id: &'a str,
    min_participants: i32,
    max_participants: i32,
    participant_count: i32,
    created_at: i64,
    started_at: Option<i64>,
    expires_at: Option<i64>,
    ended_at: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ParticipantSnapshot<'a> {
    user_id: &'a str,
    role: &'static str,
    status: &'static str,
    joined_at: i64,
    left_at: Option<i64>,
    present_seconds: i64,
    speaking_time_seconds: i64,
    rejoin: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionStatistics<'a> {
    duration_seconds: i64,
    total_participants: i32,
    peak_participants: i32,
    talk_balance: f64,
    silent_user_ids: Vec<&'a str>,
    participants: Vec<ParticipantStatistics<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ParticipantStatistics<'a> {
    user_id: &'a str,
    role: &'static str,
    joined_at: i64,
    left_at: Option<i64>,
    present_seconds: i64,
    speaking_time_seconds: i64,
    talk_share: f64,
    leave_reason: &'static str,
    rejoin_count: i32,
}

/// The `type` of an event (contract 1, the table of events).
pub fn event_type(kind: EventKind) -> &'static str {
    match kind {
        EventKind::SessionCreated => "session.created",
        EventKind::SessionStarted => "session.started",
        EventKind::SessionExpiring => "session.expiring",
        EventKind::SessionHostChanged => "session.host_changed",
        EventKind::SessionEnded => "session.ended",
        EventKind::ParticipantJoined => "participant.joined",
        EventKind::ParticipantConnected => "participant.connected",
        EventKind::ParticipantDisconnected => "participant.disconnected",
        EventKind::ParticipantReconnected => "participant.reconnected",
        EventKind::ParticipantLeft => "participant.left",
    }
}

/// The `causationId` of an event (contract 1, Events).
pub(super) fn causation_id(event: &Event) -> String {
    let what = match &event.cause {
        Cause::Command { command_id } => return command_id.clone(),
        Cause::Match { match_id } => return match_id.clone(),
        Cause::Timer(TimerKind::Timeout) => "timeout".to_owned(),
        Cause::Timer(TimerKind::NeverStarted) => "never_started".to_owned(),
        Cause::Timer(TimerKind::Expiring { seconds }) => format!("expiring:{seconds}"),
        Cause::Timer(TimerKind::Disconnect(user_id)) => format!("disconnect:{user_id}"),
        Cause::Timer(TimerKind::NoShow(user_id)) => format!("no_show:{user_id}"),
    };
    format!("timer:{}:{what}", event.session_id)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Host => "host",
        Role::Participant => "participant",
    }
}

fn participant_status(status: ParticipantStatus) -> &'static str {
    match status {
        ParticipantStatus::Waiting => "waiting",
        ParticipantStatus::Connected => "connected",
        ParticipantStatus::Disconnected => "disconnected",
    }
}

fn leave_reason(reason: LeaveReason) -> &'static str {
    match reason {
        LeaveReason::Left => "left",
        LeaveReason::DisconnectTimeout => "disconnect_timeout",
        LeaveReason::NoShow => "no_show",
        LeaveReason::SessionEnded => "session_ended",
    }
}

fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::HostEnded => "host_ended",
        EndReason::AllLeft => "all_left",
        EndReason::Timeout => "timeout",
        EndReason::NeverStarted => "never_started",
    }
}

/// The value of an event.
pub(super) fn event(event: &Event, event_id: &str, correlation: Option<&str>, id: u32) -> Vec<u8> {
    let session = &event.session;
    let value = SessionEvent {
        event_id,
        r#type: event_type(event.kind),
        session_id: event.session_id.as_str(),
        sequence: event.sequence,
        occurred_at: event.occurred_at.0,
        causation_id: &causation_id(event),
        correlation_id: correlation,
        session: SessionSnapshot {
            r#type: match session.kind {
                SessionKind::Public => "public",
                SessionKind::Private => "private",
            },
            status: match session.status {
                SessionStatus::Waiting => "waiting",
                SessionStatus::Active => "active",
                SessionStatus::Ended => "ended",
            },
            target_language_code: &session.target_language_code,
            topic_id: session.topic_id.as_ref().map(|id| id.as_str()),
            topic_title: session.topic_title.as_deref(),
            host_user_id: session.host_user_id.as_str(),
            min_participants: session.min_participants,
            max_participants: session.max_participants,
            participant_count: session.participant_count,
            created_at: session.created_at.0,
            started_at: session.started_at.map(|at| at.0),
            expires_at: session.expires_at.map(|at| at.0),
            ended_at: session.ended_at.map(|at| at.0),
        },
        participant: event
            .participant
            .as_ref()
            .map(|participant| ParticipantSnapshot {
                user_id: participant.user_id.as_str(),
                role: role(participant.role),
                status: participant_status(participant.status),
                joined_at: participant.joined_at.0,
                left_at: participant.left_at.map(|at| at.0),
                present_seconds: participant.present_seconds,
                speaking_time_seconds: participant.speaking_time_seconds,
                rejoin: participant.rejoin,
            }),
        reason: event.reason.map(|reason| match reason {
            Reason::Leave(reason) => leave_reason(reason),
            Reason::End(reason) => end_reason(reason),
        }),
        actor_user_id: event.actor_user_id.as_ref().map(|id| id.as_str()),
        previous_host_user_id: event.previous_host_user_id.as_ref().map(|id| id.as_str()),
        seconds_left: event.seconds_left,
        statistics: event
            .statistics
            .as_ref()
            .map(|statistics| SessionStatistics {
                duration_seconds: statistics.duration_seconds,
                total_participants: statistics.total_participants,
                peak_participants: statistics.peak_participants,
                talk_balance: statistics.talk_balance,
                silent_user_ids: statistics
                    .silent_user_ids
                    .iter()
                    .map(|id| id.as_str())
                    .collect(),
                participants: statistics
                    .participants
                    .iter()
                    .map(|line| ParticipantStatistics {
                        user_id: line.user_id.as_str(),
                        role: role(line.role),
                        joined_at: line.joined_at.0,
                        left_at: line.left_at.map(|at| at.0),
                        present_seconds: line.present_seconds,
                        speaking_time_seconds: line.speaking_time_seconds,
                        talk_share: line.talk_share,
                        leave_reason: leave_reason(line.leave_reason),
                        rejoin_count: line.rejoin_count,
                    })
                    .collect(),
            }),
    };
    framed(&EVENT_WRITER, id, &value)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultValue<'a> {
    command_id: &'a str,
    origin: &'static str,
    user_id: Option<&'a str>,
    outcome: &'static str,
    code: Option<&'static str>,
    http_status: i32,
    detail: &'a str,
    session_id: Option<&'a str>,
    invite_code: Option<&'a str>,
    sequence: Option<i64>,
    limit: Option<i32>,
    used: Option<i32>,
    reset_at: Option<i64>,
    rejected_users: Vec<RejectedUser<'a>>,
    eligible_user_ids: Vec<&'a str>,
    replayed: bool,
    decided_at: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RejectedUser<'a> {
    user_id: &'a str,
    code: &'static str,
    reset_at: Option<i64>,
}

/// The value of a result.
pub(super) fn result(result: &CommandResult, id: u32) -> Vec<u8> {
    let value = ResultValue {
        command_id: &result.id,
        origin: match result.origin {
            ResultOrigin::Command => "command",
            ResultOrigin::Match => "match",
        },
        user_id: result.user_id.as_deref(),
        outcome: if result.code.is_none() {
            "accepted"
        } else {
            "rejected"
        },
        code: result.code.map(|code| code.as_str()),
        http_status: result.http_status,
        detail: &result.detail,
        session_id: result.session_id.as_deref(),
        invite_code: result.invite_code.as_ref().map(|code| code.as_str()),
        sequence: result.sequence,
        limit: result.limit,
        used: result.used,
        reset_at: result.reset_at.map(|at| at.0),
        rejected_users: result
            .rejected_users
            .iter()
            .map(|user| RejectedUser {
                user_id: user.user_id.as_str(),
                code: user.code.as_str(),
                reset_at: user.reset_at.map(|at| at.0),
            })
            .collect(),
        eligible_user_ids: result
            .eligible_user_ids
            .iter()
            .map(|id| id.as_str())
            .collect(),
        replayed: result.replayed,
        decided_at: result.decided_at.0,
    };
    framed(&RESULT_WRITER, id, &value)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionCommand<'a> {
    command_id: &'a str,
    issued_at: i64,
    user_id: &'static str,
    tier: Subscription,
    command: AdmitMatch<'a>,
}

#[derive(Serialize)]
#[serde(rename = "Tier", rename_all = "camelCase")]
enum Subscription {
    Free,
    Premium,
}

/// The struct's name picks the branch of the union.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AdmitMatch<'a> {
    match_id: &'a str,
    matched_at: i64,
    target_language_code: &'a str,
    topic_id: Option<&'a str>,
    topic_title: Option<&'a str>,
    participants: Vec<MatchedUser<'a>>,
    min_participants: i32,
    max_participants: i32,
    session_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MatchedUser<'a> {
    user_id: &'a str,
    tier: Subscription,
}

/// The value of a match on its way home; `command_id` is the trimmed `matchId`.
pub(super) fn admit_match(found: &Match, command_id: &str, id: u32) -> Vec<u8> {
    let value = SessionCommand {
        command_id,
        issued_at: found.matched_at.0,
        user_id: "",
        tier: Subscription::Free,
        command: AdmitMatch {
            match_id: &found.match_id,
            matched_at: found.matched_at.0,
            target_language_code: &found.target_language_code,
            topic_id: found.topic_id.as_deref(),
            topic_title: found.topic_title.as_deref(),
            participants: found
                .participants
                .iter()
                .map(|user| MatchedUser {
                    user_id: &user.user_id,
                    tier: match user.tier {
                        Tier::Free => Subscription::Free,
                        Tier::Premium => Subscription::Premium,
                    },
                })
                .collect(),
            min_participants: found.min_participants,
            max_participants: found.max_participants,
            session_id: found.session_id.as_deref(),
        },
    };
    framed(&COMMAND_WRITER, id, &value)
}
