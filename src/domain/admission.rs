//! The first steps of judging (contract 2, "How a command is judged"): id valid → replay or conflict →
//! expired → well-formed. They need no session, so any lane can take them; what passes is a
//! well-formed [`Request`] that names its session or the way to it.

use super::command::{Message, Tier};
use super::event::Cause;
use super::ids::{ConnectionId, InviteCode, SessionId, TopicId, UserId, well_formed};
use super::result::{Code, CommandResult, Rejection, ResultOrigin};
use super::rules::Rules;
use super::time::Timestamp;
use super::well_formed::malformed_id;

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

    /// An answer to this request that says nothing yet. It names the session that the sender named;
    /// an id that derives from a creation or a match is named only once something is made of it.
    pub(super) fn answer(&self, now: Timestamp) -> CommandResult {
        let (id, origin, user_id, named) = match self {
            Self::Create {
                command_id,
                user_id,
                session_id,
                ..
            } => {
                let chosen = *session_id != SessionId::of_command(command_id);
                (
                    command_id,
                    ResultOrigin::Command,
                    Some(user_id),
                    chosen.then_some(session_id),
                )
            }
            Self::Join {
                command_id,
                user_id,
                ..
            } => (command_id, ResultOrigin::Command, Some(user_id), None),
            Self::OnSession {
                command_id,
                user_id,
                session_id,
                ..
            } => (
                command_id,
                ResultOrigin::Command,
                Some(user_id),
                Some(session_id),
            ),
            Self::Match { match_id, .. } => (match_id, ResultOrigin::Match, None, None),
            Self::Backfill {
                match_id,
                session_id,
                ..
            } => (match_id, ResultOrigin::Match, None, Some(session_id)),
        };
        CommandResult::blank(
            id.clone(),
            origin,
            user_id.map(|id| id.as_str().to_owned()),
            named.map(|id| id.as_str().to_owned()),
            now,
        )
    }

    /// What events of this request name as their cause.
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Create { command_id, .. }
            | Self::Join { command_id, .. }
            | Self::OnSession { command_id, .. } => Cause::Command {
                command_id: command_id.clone(),
            },
            Self::Match { match_id, .. } | Self::Backfill { match_id, .. } => Cause::Match {
                match_id: match_id.clone(),
            },
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
    let refuse = |rejection, remember| Admission::Settled {
        result: CommandResult::to(message, now).rejected(rejection),
        remember,
    };
    let (id, field) = match message {
        Message::Command(command) => (&command.command_id, "commandId"),
        Message::Match(found) => (&found.match_id, "matchId"),
    };
    let Ok(id) = well_formed(id) else {
        return refuse(malformed_id(field), false);
    };
    if let Some(first) = remembered {
        // A match never conflicts: its id alone says that it is the same again.
        let same = matches!(message, Message::Match(_)) || first.fingerprint == *fingerprint;
        if same {
            let result = CommandResult {
                replayed: true,
                ..first.result.clone()
            };
            return Admission::Settled {
                result,
                remember: false,
            };
        }
        let detail = "another command with this commandId was judged before";
        return refuse(Rejection::new(Code::CommandConflict, detail), false);
    }
    if let Message::Command(command) = message
        && let Some(rejection) = refused_issue(command.issued_at, now, rules)
    {
        return refuse(rejection, true);
    }
    match Request::from_message(message, id) {
        Ok(request) => Admission::Proceed(request),
        Err(rejection) => refuse(rejection, true),
    }
}

fn refused_issue(issued_at: Timestamp, now: Timestamp, rules: &Rules) -> Option<Rejection> {
    if issued_at < now.minus(rules.command_retention) {
        let detail = "issuedAt is further back than commands are remembered";
        return Some(Rejection::new(Code::CommandExpired, detail));
    }
    if issued_at > now.plus(Rules::ISSUED_AHEAD) {
        let detail = "issuedAt is more than 5 minutes ahead";
        return Some(Rejection::new(Code::InvalidArgument, detail));
    }
    None
}
