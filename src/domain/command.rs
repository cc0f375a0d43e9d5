//! Messages as decoded: what a sender said, before anything about it was judged. Ids are raw text
//! here; [`crate::domain::admit`] turns a message into a well-formed [`crate::domain::Request`].

use super::ids::well_formed;
use super::time::Timestamp;

/// A learner's tier; an absent or unknown one is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The daily limit applies.
    Free,
    /// The daily limit does not apply.
    Premium,
}

/// A decoded input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A `SessionCommand` of one of the contract's eight branches.
    Command(Command),
    /// A `MatchFound`, read from its own topic or travelling home as `AdmitMatch`.
    Match(Match),
}

/// The id under which a message's result is remembered. Commands and matches have spaces of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MessageId {
    /// A `commandId`, trimmed if well-formed.
    Command(String),
    /// A `matchId`, trimmed if well-formed.
    Match(String),
}

impl Message {
    /// The message's id: trimmed where well-formed, else as it came.
    pub fn id(&self) -> MessageId {
        match self {
            Self::Command(command) => MessageId::Command(trimmed(&command.command_id)),
            Self::Match(found) => MessageId::Match(trimmed(&found.match_id)),
        }
    }

    /// Who acts: trimmed where well-formed, else as it came; `None` for a match.
    pub fn user_id(&self) -> Option<String> {
        match self {
            Self::Command(command) => Some(trimmed(&command.user_id)),
            Self::Match(_) => None,
        }
    }

    /// The session the sender named: trimmed where well-formed, else as it came.
    pub fn named_session_id(&self) -> Option<String> {
        let named = match self {
            Self::Match(found) => found.session_id.as_ref(),
            Self::Command(command) => match &command.action {
                Action::CreatePrivateSession { session_id, .. } => session_id.as_ref(),
                Action::JoinSession { .. } => None,
                Action::StartSession { session_id }
                | Action::EndSession { session_id }
                | Action::LeaveSession { session_id, .. }
                | Action::ConnectParticipant { session_id, .. }
                | Action::DisconnectParticipant { session_id, .. }
                | Action::ReportSpeakingTime { session_id, .. } => Some(session_id),
            },
        };
        named.map(|text| trimmed(text))
    }
}

fn trimmed(text: &str) -> String {
    well_formed(text).unwrap_or(text).to_owned()
}

impl MessageId {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Command(id) | Self::Match(id) => id,
        }
    }
}

/// A decoded `SessionCommand`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// `commandId` as it came.
    pub command_id: String,
    /// `issuedAt`.
    pub issued_at: Timestamp,
    /// `userId` as it came: who acts.
    pub user_id: String,
    /// `tier` of who acts.
    pub tier: Tier,
    /// `command`.
    pub action: Action,
}

/// The branch of a `SessionCommand`, fields as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `CreatePrivateSession`.
    CreatePrivateSession {
        /// The sender's own choice of id, if any.
        session_id: Option<String>,
        /// Of BCP 47 shape.
        target_language_code: String,
        /// The topic's id.
        topic_id: Option<String>,
        /// The topic's title, stored as given.
        topic_title: Option<String>,
        /// 2–6, 4 where absent.
        max_participants: i32,
    },
    /// `JoinSession`.
    JoinSession {
        /// The code as entered.
        invite_code: String,
    },
    /// `StartSession`.
    StartSession {
        /// The session.
        session_id: String,
    },
    /// `EndSession`.
    EndSession {
        /// The session.
        session_id: String,
    },
    /// `LeaveSession`.
    LeaveSession {
        /// The session.
        session_id: String,
        /// Cumulative seconds; `None` keeps the last.
        speaking_time_seconds: Option<i64>,
    },
    /// `ConnectParticipant`.
    ConnectParticipant {
        /// The session.
        session_id: String,
        /// The new connection.
        connection_id: String,
    },
    /// `DisconnectParticipant`.
    DisconnectParticipant {
        /// The session.
        session_id: String,
        /// The connection that dropped.
        connection_id: String,
        /// Cumulative seconds; `None` keeps the last.
        speaking_time_seconds: Option<i64>,
    },
    /// `ReportSpeakingTime`.
    ReportSpeakingTime {
        /// The session.
        session_id: String,
        /// Cumulative seconds.
        speaking_time_seconds: i64,
    },
}

/// A decoded `MatchFound`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// `matchId` as it came.
    pub match_id: String,
    /// `matchedAt`.
    pub matched_at: Timestamp,
    /// Of BCP 47 shape.
    pub target_language_code: String,
    /// The topic's id.
    pub topic_id: Option<String>,
    /// The topic's title, stored as given.
    pub topic_title: Option<String>,
    /// The matched users in match order.
    pub participants: Vec<MatchedUser>,
    /// 2 where absent.
    pub min_participants: i32,
    /// 6 where absent.
    pub max_participants: i32,
    /// `None`: a new session; set: a backfill of that public session.
    pub session_id: Option<String>,
}

/// A user of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchedUser {
    /// `userId` as it came.
    pub user_id: String,
    /// The user's tier.
    pub tier: Tier,
}
