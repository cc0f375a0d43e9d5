//! The first steps of judging (contract 2, "How a command is judged"): id valid → replay or conflict →
//! expired → well-formed. They need no session, so any lane can take them; what passes is a
//! well-formed [`Request`] that names its session or the way to it.

use super::command::{Message, Tier};
use super::ids::{ConnectionId, InviteCode, SessionId, TopicId, UserId};
use super::result::CommandResult;
use super::rules::Rules;
use super::time::Timestamp;

/// What is remembered of a message that was judged before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The digest of the first content (`userId`, `tier`, `command` as decoded).
    pub fingerprint: [u8; 32],
    /// The first result.
    pub result: CommandResult,
}

/// What the first steps came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The answer is known: a replay, a conflict, or a refusal.
    Settled {
        /// The answer.
        result: CommandResult,
        /// Whether to remember it under the message's id.
        remember: bool,
    },
    /// The message goes on to its session.
    Proceed(Request),
}

/// A well-formed message: ids trimmed and checked, values within their ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `CreatePrivateSession` (AC2).
    Create {
        /// The command.
        command_id: String,
        /// Who creates, and becomes host.
        user_id: UserId,
        /// Whether the daily limit applies.
        tier: Tier,
        /// Chosen by the sender or derived from the command.
        session_id: SessionId,
        /// Of BCP 47 shape.
        target_language_code: String,
        /// The topic's id.
        topic_id: Option<TopicId>,
        /// The topic's title.
        topic_title: Option<String>,
        /// 2–6.
        max_participants: i32,
    },
    /// `JoinSession` (AC3).
    Join {
        /// The command.
        command_id: String,
        /// Who joins.
        user_id: UserId,
        /// Whether the daily limit applies.
        tier: Tier,
        /// Normalised.
        invite_code: InviteCode,
    },
    /// A command on a session it names (AC4–AC7).
    OnSession {
        /// The command.
        command_id: String,
        /// Who acts.
        user_id: UserId,
        /// The session.
        session_id: SessionId,
        /// What to do there.
        action: SessionAction,
    },
    /// `MatchFound` for a new public session (AC1).
    Match {
        /// The match.
        match_id: String,
        /// Derived from the match.
        session_id: SessionId,
        /// Of BCP 47 shape.
        target_language_code: String,
        /// The topic's id.
        topic_id: Option<TopicId>,
        /// The topic's title.
        topic_title: Option<String>,
        /// 2–6 distinct users in match order.
        users: Vec<(UserId, Tier)>,
        /// 2…`max_participants`.
        min_participants: i32,
        /// 2–6, at least as many as users.
        max_participants: i32,
    },
    /// `MatchFound` for seats of a public session that exists.
    Backfill {
        /// The match.
        match_id: String,
        /// The session to fill.
        session_id: SessionId,
        /// 1–6 distinct users in match order.
        users: Vec<(UserId, Tier)>,
    },
}

/// A command on a session that the command names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionAction {
    /// `StartSession`
    Start,
    /// `EndSession`
    End,
    /// `LeaveSession`
    Leave {
        /// Not negative.
        speaking_time_seconds: Option<i64>,
    },
    /// `ConnectParticipant`
    Connect {
        /// The new connection.
        connection_id: ConnectionId,
    },
    /// `DisconnectParticipant`
    Disconnect {
        /// The connection that dropped.
        connection_id: ConnectionId,
        /// Not negative.
        speaking_time_seconds: Option<i64>,
    },
    /// `ReportSpeakingTime`
    ReportSpeakingTime {
        /// Not negative.
        speaking_time_seconds: i64,
    },
}

impl Request {
    /// The session the request names or will make; `None` for a join, which only knows a code.
    pub fn session_id(&self) -> Option<&SessionId> {
        match self {
            Self::Join { .. } => None,
            Self::Create { session_id, .. }
            | Self::OnSession { session_id, .. }
            | Self::Match { session_id, .. }
            | Self::Backfill { session_id, .. } => Some(session_id),
        }
    }

    /// The users whose limits the decision needs to know.
    pub fn limited_users(&self) -> Vec<&UserId> {
        match self {
            Self::Create { user_id, .. } | Self::Join { user_id, .. } => vec![user_id],
            Self::OnSession { .. } => Vec::new(),
            Self::Match { users, .. } | Self::Backfill { users, .. } => {
                users.iter().map(|(user_id, _)| user_id).collect()
            }
        }
    }
}

/// Takes a message through the steps before its session is looked for.
///
/// `fingerprint` is the digest of the message's content as decoded; `remembered` what is known under
/// the message's id, if anything.
pub fn admit(
    message: &Message,
    fingerprint: &[u8; 32],
    remembered: Option<&Remembered>,
    now: Timestamp,
    rules: &Rules,
) -> Admission {
    let _ = (message, fingerprint, remembered, now, rules);
    todo!()
}
