//! The answer to a message: the contract's `CommandResult`, and the stable codes of a rejection.

use super::command::{Message, MessageId};
use super::ids::{InviteCode, UserId};
use super::session::Session;
use super::time::Timestamp;

/// Whether a result answers a command or a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultOrigin {
    /// A `SessionCommand`.
    Command,
    /// A `MatchFound`.
    Match,
}

/// Why a message was rejected: stable codes (contract 1, the table of codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// 400
    InvalidArgument,
    /// 403
    NotHost,
    /// 403
    NotParticipant,
    /// 403
    LimitConcurrent,
    /// 403
    LimitDaily,
    /// 403
    MatchRejected,
    /// 404
    SessionNotFound,
    /// 404
    InviteNotFound,
    /// 409
    InvalidState,
    /// 409
    SessionFull,
    /// 409
    CommandConflict,
    /// 410
    SessionEnded,
    /// 410
    CommandExpired,
    /// 429
    TooManyAttempts,
    /// 500
    InternalError,
}

impl Code {
    /// Every code, in the contract's order.
    pub const ALL: [Self; 15] = [
        Self::InvalidArgument,
        Self::NotHost,
        Self::NotParticipant,
        Self::LimitConcurrent,
        Self::LimitDaily,
        Self::MatchRejected,
        Self::SessionNotFound,
        Self::InviteNotFound,
        Self::InvalidState,
        Self::SessionFull,
        Self::CommandConflict,
        Self::SessionEnded,
        Self::CommandExpired,
        Self::TooManyAttempts,
        Self::InternalError,
    ];

    /// The code's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotHost => "not_host",
            Self::NotParticipant => "not_participant",
            Self::LimitConcurrent => "limit_concurrent",
            Self::LimitDaily => "limit_daily",
            Self::MatchRejected => "match_rejected",
            Self::SessionNotFound => "session_not_found",
            Self::InviteNotFound => "invite_not_found",
            Self::InvalidState => "invalid_state",
            Self::SessionFull => "session_full",
            Self::CommandConflict => "command_conflict",
            Self::SessionEnded => "session_ended",
            Self::CommandExpired => "command_expired",
            Self::TooManyAttempts => "too_many_attempts",
            Self::InternalError => "internal_error",
        }
    }

    /// The HTTP status the gateway answers with.
    pub fn http_status(self) -> i32 {
        match self {
            Self::InvalidArgument => 400,
            Self::NotHost
            | Self::NotParticipant
            | Self::LimitConcurrent
            | Self::LimitDaily
            | Self::MatchRejected => 403,
            Self::SessionNotFound | Self::InviteNotFound => 404,
            Self::InvalidState | Self::SessionFull | Self::CommandConflict => 409,
            Self::SessionEnded | Self::CommandExpired => 410,
            Self::TooManyAttempts => 429,
            Self::InternalError => 500,
        }
    }
}

/// The answer to one message (contract 1, Results).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandResult {
    /// `commandId` or `matchId`: trimmed where well-formed, else as it came.
    pub id: String,
    /// Which of the two.
    pub origin: ResultOrigin,
    /// Who acted; `None` for a match.
    pub user_id: Option<String>,
    /// `None`: accepted.
    pub code: Option<Code>,
    /// 201 where a session was created, 200 accepted otherwise, else the code's.
    pub http_status: i32,
    /// For people.
    pub detail: String,
    /// Wherever a session was named, found or made.
    pub session_id: Option<String>,
    /// On an accepted create and join.
    pub invite_code: Option<InviteCode>,
    /// On acceptance: the session's, after the step.
    pub sequence: Option<i64>,
    /// The limit that refused.
    pub limit: Option<i32>,
    /// What was used of it.
    pub used: Option<i32>,
    /// When trying again makes sense.
    pub reset_at: Option<Timestamp>,
    /// Users of a match who were left out.
    pub rejected_users: Vec<RejectedUser>,
    /// On `match_rejected`: those without a fault of their own.
    pub eligible_user_ids: Vec<UserId>,
    /// Whether this repeats the first result for a sender's duplicate.
    pub replayed: bool,
    /// The time of the decision.
    pub decided_at: Timestamp,
}

/// A user of a match who was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedUser {
    /// Who.
    pub user_id: UserId,
    /// Why.
    pub code: Code,
    /// When trying again makes sense, where that is known.
    pub reset_at: Option<Timestamp>,
}

impl CommandResult {
    /// The answer to a message that makes the worker fail by itself (contract 1, `internal_error`).
    pub fn internal_error(message: &Message, now: Timestamp) -> Self {
        Self::to(message, now).rejected(Rejection::new(
            Code::InternalError,
            "the worker failed on this message",
        ))
    }

    /// An answer to `message` that says nothing yet.
    pub(super) fn to(message: &Message, now: Timestamp) -> Self {
        let (id, origin) = match message.id() {
            MessageId::Command(id) => (id, ResultOrigin::Command),
            MessageId::Match(id) => (id, ResultOrigin::Match),
        };
        Self::blank(
            id,
            origin,
            message.user_id(),
            message.named_session_id(),
            now,
        )
    }

    /// An answer that says nothing yet: accepted, 200.
    pub(super) fn blank(
        id: String,
        origin: ResultOrigin,
        user_id: Option<String>,
        session_id: Option<String>,
        decided_at: Timestamp,
    ) -> Self {
        Self {
            id,
            origin,
            user_id,
            code: None,
            http_status: 200,
            detail: String::new(),
            session_id,
            invite_code: None,
            sequence: None,
            limit: None,
            used: None,
            reset_at: None,
            rejected_users: Vec::new(),
            eligible_user_ids: Vec::new(),
            replayed: false,
            decided_at,
        }
    }

    /// The answer once a rule said no.
    pub(super) fn rejected(mut self, rejection: Rejection) -> Self {
        self.code = Some(rejection.code);
        self.http_status = rejection.code.http_status();
        self.detail = rejection.detail;
        self.limit = rejection.limit;
        self.used = rejection.used;
        self.reset_at = rejection.reset_at;
        self
    }

    /// The answer once every rule said yes; `session` as it is after the step.
    pub(super) fn accepted(mut self, session: &Session, detail: &str) -> Self {
        detail.clone_into(&mut self.detail);
        self.session_id = Some(session.id.as_str().to_owned());
        self.sequence = Some(session.sequence);
        self
    }
}

/// A rule said no: the code, and what a sender can learn from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// Why.
    pub(super) code: Code,
    /// For people; names fields, never repeats values.
    pub(super) detail: String,
    /// The limit that refused.
    pub(super) limit: Option<i32>,
    /// What was used of it.
    pub(super) used: Option<i32>,
    /// When trying again makes sense.
    pub(super) reset_at: Option<Timestamp>,
}

impl Rejection {
    /// A rejection that knows no limit.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            limit: None,
            used: None,
            reset_at: None,
        }
    }

    /// What is answered where a session is over.
    pub(super) fn session_ended() -> Self {
        Self::new(Code::SessionEnded, "the session has ended")
    }

    /// What is answered where there is no such session.
    pub(super) fn session_not_found() -> Self {
        Self::new(Code::SessionNotFound, "there is no such session")
    }

    /// A rejection by a limit.
    pub(super) fn by_limit(
        code: Code,
        detail: impl Into<String>,
        limit: u32,
        used: usize,
        reset_at: Option<Timestamp>,
    ) -> Self {
        Self {
            limit: Some(i32::try_from(limit).unwrap_or(i32::MAX)),
            used: Some(i32::try_from(used).unwrap_or(i32::MAX)),
            reset_at,
            ..Self::new(code, detail)
        }
    }
}
