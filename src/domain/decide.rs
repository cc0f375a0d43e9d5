//! The heart: given a session, its users' limits and a request, what happens. Overdue deadlines of
//! the session take effect first, in order of their instants; then the row of the contract's table.

use super::admission::Request;
use super::event::Event;
use super::ids::{InviteCode, SessionId, UserId};
use super::limits::UserLimits;
use super::result::CommandResult;
use super::rules::Rules;
use super::session::Session;
use super::time::Timestamp;

/// What a decision looks at.
#[derive(Clone, Debug)]
pub struct State<'a> {
    /// The session found (or, for a creation, one that has its id already); `None`: there is none.
    pub session: Option<&'a Session>,
    /// The limits of [`Request::limited_users`]; a user who is absent has used nothing.
    pub users: Vec<&'a UserLimits>,
}

/// What a decision is given besides state.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The database's time, read once a batch.
    pub now: Timestamp,
    /// The rules' settings.
    pub rules: &'a Rules,
    /// A candidate code for a creation; drawn by the shell.
    pub invite_code: Option<InviteCode>,
}

/// What happens to one user's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserChange {
    /// A place is taken; `first` joins count towards the day.
    Joined {
        /// Who.
        user_id: UserId,
        /// Where.
        session_id: SessionId,
        /// Whether this is the user's first join of that session.
        first: bool,
        /// When.
        at: Timestamp,
    },
    /// A place is free again. Idempotent, and right without knowing the user's other places.
    Released {
        /// Who.
        user_id: UserId,
        /// Where.
        session_id: SessionId,
    },
    /// An unknown code was tried.
    FailedCode {
        /// Who.
        user_id: UserId,
        /// When.
        at: Timestamp,
    },
}

/// What happens. The shell carries it out whole or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The session's next state; `None`: unchanged.
    pub session: Option<Session>,
    /// In order.
    pub users: Vec<UserChange>,
    /// In `sequence` order.
    pub events: Vec<Event>,
    /// The answer.
    pub result: CommandResult,
}

/// What the deadlines that are due do by themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Elapsed {
    /// The session's next state; `None`: nothing was due.
    pub session: Option<Session>,
    /// In order.
    pub users: Vec<UserChange>,
    /// In `sequence` order.
    pub events: Vec<Event>,
}

/// Judges a request against its session (contract 2): attempts (join only) → session found → overdue
/// deadlines → the row of the table.
pub fn decide(state: &State<'_>, request: &Request, context: &Context<'_>) -> Decision {
    let _ = (state, request, context);
    todo!()
}

/// The one step before a session is found that needs the user (contract 2, AC3): a join by a user
/// with too many failed codes. A lane that will forward the request takes this step, too.
pub fn refuse_attempts(
    state: &State<'_>,
    request: &Request,
    context: &Context<'_>,
) -> Option<Decision> {
    let _ = (state, request, context);
    todo!()
}

/// Fires the deadlines of `session` that are due, in order of their instants (contract 2, AC4, AC7).
pub fn elapse(session: &Session, context: &Context<'_>) -> Elapsed {
    let _ = (session, context);
    todo!()
}
