//! A registry in memory and messages to try things on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::domain::*;
use crate::record::{Record, TopicNames, TopicPartition};
use crate::wire::*;

/// 2025-12-22T11:20:00Z.
pub(super) const NOW: Timestamp = Timestamp(1_766_402_400_000);

pub(super) const IDS: OutputIds = OutputIds {
    event: 11,
    result: 12,
    command: 13,
};

/// What a registry holds, and whether it answers.
#[derive(Default)]
pub(super) struct MemoryRegistry {
    pub(super) schemas: Mutex<HashMap<(String, u32), String>>,
    pub(super) fault: Mutex<Option<String>>,
    pub(super) asked: AtomicUsize,
}

impl MemoryRegistry {
    pub(super) fn register(&self, topic: &str, id: u32, text: &str) {
        let subject = format!("{topic}-value");
        self.schemas
            .lock()
            .expect("no test panics here")
            .insert((subject, id), text.to_owned());
    }

    pub(super) fn fail(&self, fault: Option<&str>) {
        *self.fault.lock().expect("no test panics here") = fault.map(str::to_owned);
    }
}

impl SchemaSource for MemoryRegistry {
    fn writer_schema<'a>(
        &'a self,
        subject: &'a str,
        id: u32,
    ) -> BoxFuture<'a, Result<Arc<str>, LookupError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let fault = self.fault.lock().expect("no test panics here").clone();
        let schemas = self.schemas.lock().expect("no test panics here");
        let text = schemas
            .get(&(subject.to_owned(), id))
            .map(|text| Arc::from(text.as_str()));
        let answer = match fault {
            Some(reason) => Err(LookupError::Unavailable { reason }),
            None => text.ok_or(LookupError::NotFound),
        };
        futures::future::ready(answer).boxed()
    }
}

/// A codec whose registry has our own input schemas as 1 (match-found) and 2 (session-command).
pub(super) fn codec() -> (Codec, Arc<MemoryRegistry>) {
    let registry = Arc::new(MemoryRegistry::default());
    registry.register("match-found", 1, MATCH_FOUND);
    registry.register("session-command", 2, SESSION_COMMAND);
    registry.register("session-command", IDS.command, SESSION_COMMAND);
    (
        Codec::new(TopicNames::default(), IDS, registry.clone()),
        registry,
    )
}

pub(super) fn record(topic: &str, value: impl Into<Vec<u8>>) -> Record {
    Record {
        lane: TopicPartition::new(topic, 3),
        offset: 1201,
        timestamp: Some(1_766_402_399_000),
        key: Some(b"a-key".to_vec()),
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

/// Prepares and decodes.
pub(super) fn decode(codec: &Codec, record: &Record) -> Result<Decoded, Poison> {
    let ready = codec.prepare(std::slice::from_ref(record)).now_or_never();
    ready
        .expect("the registry in memory never waits")
        .expect("and it answers");
    codec.decode(record)
}

pub(super) fn framed(id: u32, avro: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], avro].concat()
}

/// A value written by apache-avro with the schema `text`.
pub(super) fn written(text: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(text).expect("the test's schema parses");
    let writer = GenericDatumWriter::builder(&schema)
        .build()
        .expect("and resolves");
    writer
        .write_value_to_vec(value)
        .expect("the test's value fits its schema")
}

/// A record value for apache-avro.
pub(super) fn fields<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Record(
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

pub(super) fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

pub(super) fn null() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

pub(super) fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

pub(super) fn a_match() -> Match {
    Match {
        match_id: "m-1".to_owned(),
        matched_at: NOW,
        target_language_code: "fr".to_owned(),
        topic_id: Some("travel".to_owned()),
        topic_title: Some("Voyages à l’étranger".to_owned()),
        participants: vec![
            MatchedUser {
                user_id: "u1".to_owned(),
                tier: Tier::Premium,
            },
            MatchedUser {
                user_id: "u2".to_owned(),
                tier: Tier::Free,
            },
        ],
        min_participants: 2,
        max_participants: 4,
        session_id: None,
    }
}

pub(super) fn a_command(action: Action) -> Command {
    Command {
        command_id: "c-1".to_owned(),
        issued_at: NOW,
        user_id: "u1".to_owned(),
        tier: Tier::Premium,
        action,
    }
}

/// Every branch that a sender may use.
pub(super) fn actions() -> Vec<Action> {
    let session_id = || "6b8c3a52-6f0e-5f5e-9d65-0f2f6f6d8a11".to_owned();
    let connection_id = || "conn-7".to_owned();
    vec![
        Action::CreatePrivateSession {
            session_id: Some(session_id()),
            target_language_code: "pt-BR".to_owned(),
            topic_id: None,
            topic_title: Some("Futebol".to_owned()),
            max_participants: 5,
        },
        Action::JoinSession {
            invite_code: "K7PQ2M".to_owned(),
        },
        Action::StartSession {
            session_id: session_id(),
        },
        Action::EndSession {
            session_id: session_id(),
        },
        Action::LeaveSession {
            session_id: session_id(),
            speaking_time_seconds: Some(61),
        },
        Action::ConnectParticipant {
            session_id: session_id(),
            connection_id: connection_id(),
        },
        Action::DisconnectParticipant {
            session_id: session_id(),
            connection_id: connection_id(),
            speaking_time_seconds: None,
        },
        Action::ReportSpeakingTime {
            session_id: session_id(),
            speaking_time_seconds: 300,
        },
    ]
}

fn optional_text(text: Option<&String>) -> Value {
    text.map_or_else(null, |text| some(string(text)))
}

fn optional_long(number: Option<i64>) -> Value {
    number.map_or_else(null, |number| some(Value::Long(number)))
}

pub(super) fn tier(tier: Tier) -> Value {
    match tier {
        Tier::Free => Value::Enum(0, "free".to_owned()),
        Tier::Premium => Value::Enum(1, "premium".to_owned()),
    }
}

/// A match as apache-avro's value of `MatchFound` or `AdmitMatch`.
pub(super) fn match_value(found: &Match) -> Value {
    let users = found.participants.iter();
    fields([
        ("matchId", string(&found.match_id)),
        ("matchedAt", Value::TimestampMillis(found.matched_at.0)),
        ("targetLanguageCode", string(&found.target_language_code)),
        ("topicId", optional_text(found.topic_id.as_ref())),
        ("topicTitle", optional_text(found.topic_title.as_ref())),
        (
            "participants",
            Value::Array(
                users
                    .map(|user| {
                        fields([("userId", string(&user.user_id)), ("tier", tier(user.tier))])
                    })
                    .collect(),
            ),
        ),
        ("minParticipants", Value::Int(found.min_participants)),
        ("maxParticipants", Value::Int(found.max_participants)),
        ("sessionId", optional_text(found.session_id.as_ref())),
    ])
}

/// A command as apache-avro's value of `SessionCommand`.
pub(super) fn command_value(command: &Command) -> Value {
    let (branch, body) = match &command.action {
        Action::CreatePrivateSession {
            session_id,
            target_language_code,
            topic_id,
            topic_title,
            max_participants,
        } => (
            0,
            fields([
                ("sessionId", optional_text(session_id.as_ref())),
                ("targetLanguageCode", string(target_language_code)),
                ("topicId", optional_text(topic_id.as_ref())),
                ("topicTitle", optional_text(topic_title.as_ref())),
                ("maxParticipants", Value::Int(*max_participants)),
            ]),
        ),
        Action::JoinSession { invite_code } => (1, fields([("inviteCode", string(invite_code))])),
        Action::StartSession { session_id } => (2, fields([("sessionId", string(session_id))])),
        Action::EndSession { session_id } => (3, fields([("sessionId", string(session_id))])),
        Action::LeaveSession {
            session_id,
            speaking_time_seconds,
        } => (
            4,
            fields([
                ("sessionId", string(session_id)),
                ("speakingTimeSeconds", optional_long(*speaking_time_seconds)),
            ]),
        ),
        Action::ConnectParticipant {
            session_id,
            connection_id,
        } => (
            5,
            fields([
                ("sessionId", string(session_id)),
                ("connectionId", string(connection_id)),
            ]),
        ),
        Action::DisconnectParticipant {
            session_id,
            connection_id,
            speaking_time_seconds,
        } => (
            6,
            fields([
                ("sessionId", string(session_id)),
                ("connectionId", string(connection_id)),
                ("speakingTimeSeconds", optional_long(*speaking_time_seconds)),
            ]),
        ),
        Action::ReportSpeakingTime {
            session_id,
            speaking_time_seconds,
        } => (
            7,
            fields([
                ("sessionId", string(session_id)),
                ("speakingTimeSeconds", Value::Long(*speaking_time_seconds)),
            ]),
        ),
    };
    fields([
        ("commandId", string(&command.command_id)),
        ("issuedAt", Value::TimestampMillis(command.issued_at.0)),
        ("userId", string(&command.user_id)),
        ("tier", tier(command.tier)),
        ("command", Value::Union(branch, Box::new(body))),
    ])
}

/// A command as JSON, every field present.
pub(super) fn command_json(command: &Command) -> serde_json::Value {
    use serde_json::json;

    let (branch, body) = match &command.action {
        Action::CreatePrivateSession {
            session_id,
            target_language_code,
            topic_id,
            topic_title,
            max_participants,
        } => (
            "CreatePrivateSession",
            json!({
                "sessionId": session_id, "targetLanguageCode": target_language_code,
                "topicId": topic_id, "topicTitle": topic_title, "maxParticipants": max_participants,
            }),
        ),
        Action::JoinSession { invite_code } => {
            ("JoinSession", json!({ "inviteCode": invite_code }))
        }
        Action::StartSession { session_id } => ("StartSession", json!({ "sessionId": session_id })),
        Action::EndSession { session_id } => ("EndSession", json!({ "sessionId": session_id })),
        Action::LeaveSession {
            session_id,
            speaking_time_seconds,
        } => (
            "LeaveSession",
            json!({ "sessionId": session_id, "speakingTimeSeconds": speaking_time_seconds }),
        ),
        Action::ConnectParticipant {
            session_id,
            connection_id,
        } => (
            "ConnectParticipant",
            json!({ "sessionId": session_id, "connectionId": connection_id }),
        ),
        Action::DisconnectParticipant {
            session_id,
            connection_id,
            speaking_time_seconds,
        } => (
            "DisconnectParticipant",
            json!({
                "sessionId": session_id, "connectionId": connection_id,
                "speakingTimeSeconds": speaking_time_seconds,
            }),
        ),
        Action::ReportSpeakingTime {
            session_id,
            speaking_time_seconds,
        } => (
            "ReportSpeakingTime",
            json!({ "sessionId": session_id, "speakingTimeSeconds": speaking_time_seconds }),
        ),
    };
    json!({
        "commandId": command.command_id, "issuedAt": command.issued_at.0, "userId": command.user_id,
        "tier": match command.tier { Tier::Free => "free", Tier::Premium => "premium" },
        "command": { branch: body },
    })
}

/// A match as JSON, every field present.
pub(super) fn match_json(found: &Match) -> serde_json::Value {
    use serde_json::json;

    let users = found.participants.iter();
    let users: Vec<_> = users
        .map(|user| {
            let tier = match user.tier {
                Tier::Free => "free",
                Tier::Premium => "premium",
            };
            json!({ "userId": user.user_id, "tier": tier })
        })
        .collect();
    json!({
        "matchId": found.match_id, "matchedAt": found.matched_at.0,
        "targetLanguageCode": found.target_language_code, "topicId": found.topic_id,
        "topicTitle": found.topic_title, "participants": users,
        "minParticipants": found.min_participants, "maxParticipants": found.max_participants,
        "sessionId": found.session_id,
    })
}

fn user(id: &str) -> UserId {
    UserId::from_stored(id.to_owned())
}

pub(super) fn session_id() -> SessionId {
    SessionId::from_stored("6b8c3a52-6f0e-5f5e-9d65-0f2f6f6d8a11".to_owned())
}

pub(super) fn a_snapshot() -> SessionSnapshot {
    SessionSnapshot {
        kind: SessionKind::Public,
        status: SessionStatus::Active,
        target_language_code: "fr".to_owned(),
        topic_id: Some(TopicId::from_stored("travel".to_owned())),
        topic_title: Some("Voyages".to_owned()),
        host_user_id: user("u1"),
        min_participants: 2,
        max_participants: 4,
        participant_count: 2,
        created_at: Timestamp(NOW.0 - 1000),
        started_at: Some(NOW),
        expires_at: Some(Timestamp(NOW.0 + 1_800_000)),
        ended_at: None,
    }
}

/// `participant.joined` by a match.
pub(super) fn a_join() -> Event {
    Event {
        kind: EventKind::ParticipantJoined,
        session_id: session_id(),
        sequence: 2,
        occurred_at: NOW,
        cause: Cause::Match {
            match_id: "m-1".to_owned(),
        },
        session: SessionSnapshot {
            status: SessionStatus::Waiting,
            started_at: None,
            expires_at: None,
            topic_id: None,
            topic_title: None,
            participant_count: 1,
            ..a_snapshot()
        },
        participant: Some(ParticipantSnapshot {
            user_id: user("u1"),
            role: Role::Host,
            status: ParticipantStatus::Waiting,
            joined_at: NOW,
            left_at: None,
            present_seconds: 0,
            speaking_time_seconds: 0,
            rejoin: false,
        }),
        reason: None,
        actor_user_id: None,
        previous_host_user_id: None,
        seconds_left: None,
        statistics: None,
    }
}

/// `session.ended` with everything an event can carry.
pub(super) fn an_end() -> Event {
    let line = |id: &str, role, speaking_time_seconds, talk_share| ParticipantStatistics {
        user_id: user(id),
        role,
        joined_at: NOW,
        left_at: Some(Timestamp(NOW.0 + 1_800_000)),
        present_seconds: 1800,
        speaking_time_seconds,
        talk_share,
        leave_reason: LeaveReason::SessionEnded,
        rejoin_count: 1,
    };
    Event {
        kind: EventKind::SessionEnded,
        session_id: session_id(),
        sequence: 9,
        occurred_at: Timestamp(NOW.0 + 1_800_250),
        cause: Cause::Command {
            command_id: "c-9".to_owned(),
        },
        session: SessionSnapshot {
            kind: SessionKind::Private,
            status: SessionStatus::Ended,
            participant_count: 0,
            ended_at: Some(Timestamp(NOW.0 + 1_800_000)),
            ..a_snapshot()
        },
        participant: None,
        reason: Some(Reason::End(EndReason::HostEnded)),
        actor_user_id: Some(user("u1")),
        previous_host_user_id: Some(user("u3")),
        seconds_left: Some(60),
        statistics: Some(SessionStatistics {
            duration_seconds: 1800,
            total_participants: 2,
            peak_participants: 2,
            talk_balance: 0.5,
            silent_user_ids: vec![user("u2")],
            participants: vec![
                line("u1", Role::Host, 400, 1.0),
                line("u2", Role::Participant, 0, 0.0),
            ],
        }),
    }
}

pub(super) fn an_acceptance() -> CommandResult {
    CommandResult {
        id: "c-1".to_owned(),
        origin: ResultOrigin::Command,
        user_id: Some("u1".to_owned()),
        code: None,
        http_status: 201,
        detail: "the session is made".to_owned(),
        session_id: Some(session_id().as_str().to_owned()),
        invite_code: Some(InviteCode::from_stored("K7PQ2M".to_owned())),
        sequence: Some(2),
        limit: None,
        used: None,
        reset_at: None,
        rejected_users: Vec::new(),
        eligible_user_ids: Vec::new(),
        replayed: false,
        decided_at: NOW,
    }
}

pub(super) fn a_rejected_match() -> CommandResult {
    CommandResult {
        id: "m-1".to_owned(),
        origin: ResultOrigin::Match,
        user_id: None,
        code: Some(Code::MatchRejected),
        http_status: 403,
        detail: "too few users remain".to_owned(),
        session_id: None,
        invite_code: None,
        sequence: None,
        limit: Some(3),
        used: Some(4),
        reset_at: Some(Timestamp(NOW.0 + 60_000)),
        rejected_users: vec![RejectedUser {
            user_id: user("u2"),
            code: Code::LimitDaily,
            reset_at: Some(Timestamp(1_766_448_000_000)),
        }],
        eligible_user_ids: vec![user("u1"), user("u3")],
        replayed: true,
        decided_at: NOW,
    }
}

/// The value of the last header called `name`, as text.
pub(super) fn header_text<'a>(record: &'a OutRecord, name: &str) -> Option<&'a str> {
    let value = record
        .headers
        .iter()
        .rev()
        .find(|(n, _)| n == name)?
        .1
        .as_deref()?;
    Some(std::str::from_utf8(value).expect("the header is text"))
}
