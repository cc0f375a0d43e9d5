//! The heart: given a session, its users' limits and a request, what happens. Overdue deadlines of
//! the session take effect first, in order of their instants; then the row of the contract's table.

use super::admission::{Request, SessionAction};
use super::event::Event;
use super::ids::{InviteCode, SessionId, UserId};
use super::limits::{UserLimits, refused_attempt};
use super::result::{CommandResult, Rejection};
use super::rules::Rules;
use super::session::{Blueprint, Session, SessionKind};
use super::step::Step;
use super::time::Timestamp;
use super::{match_found, private_session};

/// The least participants of a private session; it decides nothing (contract 2, AC5).
const PRIVATE_MIN_PARTICIPANTS: i32 = 2;

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
    match request {
        Request::Create {
            user_id,
            tier,
            session_id,
            target_language_code,
            topic_id,
            topic_title,
            max_participants,
            ..
        } => {
            let blueprint = Blueprint {
                id: session_id,
                kind: SessionKind::Private,
                target_language_code,
                topic_id: topic_id.as_ref(),
                topic_title: topic_title.as_deref(),
                min_participants: PRIVATE_MIN_PARTICIPANTS,
                max_participants: *max_participants,
            };
            private_session::create(&blueprint, user_id, *tier, state, request, context)
        }
        Request::Join { user_id, tier, .. } => refuse_attempts(state, request, context)
            .unwrap_or_else(|| private_session::join(user_id, *tier, state, request, context)),
        Request::OnSession {
            user_id, action, ..
        } => on_session(user_id, action, state, request, context),
        Request::Match {
            session_id,
            target_language_code,
            topic_id,
            topic_title,
            users,
            min_participants,
            max_participants,
            ..
        } => {
            let blueprint = Blueprint {
                id: session_id,
                kind: SessionKind::Public,
                target_language_code,
                topic_id: topic_id.as_ref(),
                topic_title: topic_title.as_deref(),
                min_participants: *min_participants,
                max_participants: *max_participants,
            };
            match_found::make(&blueprint, users, state, request, context)
        }
        Request::Backfill { users, .. } => match_found::backfill(users, state, request, context),
    }
}

/// The one step before a session is found that needs the user (contract 2, AC3): a join by a user
/// with too many failed codes. A lane that will forward the request takes this step, too.
pub fn refuse_attempts(
    state: &State<'_>,
    request: &Request,
    context: &Context<'_>,
) -> Option<Decision> {
    let Request::Join { user_id, .. } = request else {
        return None;
    };
    let rejection = refused_attempt(state.limits_of(user_id), context.now, context.rules)?;
    Some(Decision::unchanged(
        request.answer(context.now).rejected(rejection),
    ))
}

/// Fires the deadlines of `session` that are due, in order of their instants (contract 2, AC4, AC7).
pub fn elapse(session: &Session, context: &Context<'_>) -> Elapsed {
    let mut step = Step::on(session, context);
    step.elapse();
    step.into_elapsed()
}

fn on_session(
    user_id: &UserId,
    action: &SessionAction,
    state: &State<'_>,
    request: &Request,
    context: &Context<'_>,
) -> Decision {
    let Some(session) = state.session else {
        let result = request
            .answer(context.now)
            .rejected(Rejection::session_not_found());
        return Decision::unchanged(result);
    };
    let mut step = Step::on(session, context);
    step.elapse();
    step.caused_by(request.cause(), Some(user_id.clone()));
    let outcome = step.act(user_id, action);
    let result = request.answer(step.now);
    let result = match outcome {
        Ok(detail) => result.accepted(step.session(), detail),
        Err(rejection) => result.rejected(rejection),
    };
    step.into_decision(result)
}

impl State<'_> {
    /// The limits of `user_id`; `None`: nothing used.
    pub(super) fn limits_of(&self, user_id: &UserId) -> Option<&UserLimits> {
        self.users
            .iter()
            .find(|limits| limits.user_id == *user_id)
            .copied()
    }
}

impl Decision {
    /// Nothing happens but the answer.
    pub(super) fn unchanged(result: CommandResult) -> Self {
        Self {
            session: None,
            users: Vec::new(),
            events: Vec::new(),
            result,
        }
    }
}
