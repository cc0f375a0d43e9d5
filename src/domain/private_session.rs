//! Private sessions and their invite codes (contract 2, AC2 and AC3): creating, joining by code, and
//! counting the codes that open nothing.

use super::admission::Request;
use super::command::Tier;
use super::decide::{Context, Decision, State, UserChange};
use super::ids::UserId;
use super::limits::refused_place;
use super::result::{Code, Rejection};
use super::session::{Blueprint, Session, SessionStatus};
use super::step::Step;

/// Judges `CreatePrivateSession`: creating is a join for both limits.
pub(super) fn create(
    blueprint: &Blueprint<'_>,
    user_id: &UserId,
    tier: Tier,
    state: &State<'_>,
    request: &Request,
    context: &Context<'_>,
) -> Decision {
    let &Context { now, rules, .. } = context;
    let mut result = request.answer(now);
    if let Some(session) = state.session {
        result.session_id = Some(session.id.as_str().to_owned());
        result.decided_at = now.max(session.updated_at);
        let conflict = Rejection::new(Code::CommandConflict, "a session of this id exists");
        return Decision::unchanged(result.rejected(conflict));
    }
    let limits = state.limits_of(user_id);
    if let Some(rejection) = refused_place(limits, blueprint.id, tier, true, now, rules) {
        return Decision::unchanged(result.rejected(rejection));
    }
    let invite_code = context.invite_code.clone();
    let invite_code = invite_code.expect("the shell draws a code for every creation");
    let session = Session::new(blueprint, user_id, Some(invite_code.clone()), now, rules);
    let mut step = Step::creating(session, context, request.cause(), Some(user_id.clone()));
    step.join(user_id);
    let mut result = result.accepted(step.session(), "session created");
    result.http_status = 201;
    result.invite_code = Some(invite_code);
    step.into_decision(result)
}

/// Judges `JoinSession`, once the user may try a code at all.
pub(super) fn join(
    user_id: &UserId,
    tier: Tier,
    state: &State<'_>,
    request: &Request,
    context: &Context<'_>,
) -> Decision {
    let Some(session) = state.session else {
        let rejection = Rejection::new(Code::InviteNotFound, "no session has this invite code");
        let result = request.answer(context.now).rejected(rejection);
        let failed = UserChange::FailedCode {
            user_id: user_id.clone(),
            at: context.now,
        };
        return Decision {
            users: vec![failed],
            ..Decision::unchanged(result)
        };
    };
    let mut step = Step::on(session, context);
    step.elapse();
    step.caused_by(request.cause(), Some(user_id.clone()));
    let mut result = request.answer(step.now);
    result.session_id = Some(session.id.as_str().to_owned());
    if step.session().status == SessionStatus::Ended {
        return step.into_decision(result.rejected(Rejection::session_ended()));
    }
    let result = match step.admit_user(user_id, tier, state) {
        Err(rejection) => result.rejected(rejection),
        Ok(came_in) => {
            let detail = if came_in { "joined" } else { "already in" };
            let mut result = result.accepted(step.session(), detail);
            result.invite_code.clone_from(&step.session().invite_code);
            result
        }
    };
    step.into_decision(result)
}
