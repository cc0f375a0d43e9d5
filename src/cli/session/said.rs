//! What senders said, as the timeline shows it: the command's name and its arguments. Pure.

use serde_json::{Map, Value, json};

use super::timeline::fields;
use super::trail::Input;
use crate::domain::{Action, Message, Tier};

/// The branch of a command (contract 1).
pub(super) fn command_name(action: &Action) -> &'static str {
    match action {
        Action::CreatePrivateSession { .. } => "CreatePrivateSession",
        Action::JoinSession { .. } => "JoinSession",
        Action::StartSession { .. } => "StartSession",
        Action::EndSession { .. } => "EndSession",
        Action::LeaveSession { .. } => "LeaveSession",
        Action::ConnectParticipant { .. } => "ConnectParticipant",
        Action::DisconnectParticipant { .. } => "DisconnectParticipant",
        Action::ReportSpeakingTime { .. } => "ReportSpeakingTime",
    }
}

/// What a message says, but for its session, who acts, and the invite code: that stands once, in the
/// state, so that a timeline can be shown to somebody who must not have it.
pub(super) fn arguments(message: &Message) -> Map<String, Value> {
    match message {
        Message::Match(found) => fields([
            (
                "userIds",
                found
                    .participants
                    .iter()
                    .map(|user| json!(user.user_id))
                    .collect(),
            ),
            ("targetLanguageCode", json!(found.target_language_code)),
            ("topicId", json!(found.topic_id)),
            ("topicTitle", json!(found.topic_title)),
            ("minParticipants", json!(found.min_participants)),
            ("maxParticipants", json!(found.max_participants)),
        ]),
        Message::Command(command) => match &command.action {
            Action::CreatePrivateSession {
                session_id: _,
                target_language_code,
                topic_id,
                topic_title,
                max_participants,
            } => fields([
                ("targetLanguageCode", json!(target_language_code)),
                ("topicId", json!(topic_id)),
                ("topicTitle", json!(topic_title)),
                ("maxParticipants", json!(max_participants)),
            ]),
            Action::JoinSession { .. }
            | Action::StartSession { .. }
            | Action::EndSession { .. } => Map::new(),
            Action::LeaveSession {
                speaking_time_seconds,
                ..
            } => fields([("speakingTimeSeconds", json!(speaking_time_seconds))]),
            Action::ConnectParticipant { connection_id, .. } => {
                fields([("connectionId", json!(connection_id))])
            }
            Action::DisconnectParticipant {
                connection_id,
                speaking_time_seconds,
                ..
            } => fields([
                ("connectionId", json!(connection_id)),
                ("speakingTimeSeconds", json!(speaking_time_seconds)),
            ]),
            Action::ReportSpeakingTime {
                speaking_time_seconds,
                ..
            } => fields([("speakingTimeSeconds", json!(speaking_time_seconds))]),
        },
    }
}

pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

pub(super) fn issued_at(input: &Input) -> Option<i64> {
    match input.message.as_ref().ok()? {
        Message::Command(command) => Some(command.issued_at.0),
        Message::Match(found) => Some(found.matched_at.0),
    }
}

pub(super) fn tier(input: &Input) -> Option<&'static str> {
    match input.message.as_ref().ok()? {
        Message::Command(command) => Some(match command.tier {
            Tier::Free => "free",
            Tier::Premium => "premium",
        }),
        Message::Match(_) => None,
    }
}
