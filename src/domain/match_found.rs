//! What a match brings about (contract 2, AC1): a new public session, or a backfill of one that has
//! seats. Users who may not come in are named, so that matchmaking can requeue the innocent.

use super::admission::Request;
use super::command::Tier;
use super::decide::{Context, Decision, State};
use super::ids::UserId;
use super::limits::refused_place;
use super::result::{Code, CommandResult, RejectedUser, Rejection};
use super::session::{Blueprint, Session, SessionKind, SessionStatus, count};
use super::step::Step;

/// Judges a match for a new public session.
pub(super) fn make(
    blueprint: &Blueprint<'_>,
    users: &[(UserId, Tier)],
    state: &State<'_>,
    request: &Request,
    context: &Context<'_>,
) -> Decision {
    let mut result = request.answer(context.now);
    if let Some(session) = state.session {
        return Decision::unchanged(meet(session, users, result, context));
    }
    let mut admitted = Vec::with_capacity(users.len());
    for (user_id, tier) in users {
        let limits = state.limits_of(user_id);
        match refused_place(
            limits,
            blueprint.id,
            *tier,
            true,
            context.now,
            context.rules,
        ) {
            None => admitted.push(user_id),
            Some(rejection) => result.rejected_users.push(left_out(user_id, &rejection)),
        }
    }
    let made = result.rejected_users.is_empty()
        || (context.rules.partial_match && count(admitted.len()) >= blueprint.min_participants);
    if !made {
        result.eligible_user_ids = admitted.into_iter().cloned().collect();
        let rejection = Rejection::new(Code::MatchRejected, "users of the match are over a limit");
        return Decision::unchanged(result.rejected(rejection));
    }
    let host = admitted.first().expect("minParticipants is at least 2");
    let session = Session::new(blueprint, host, None, context.now, context.rules);
    let mut step = Step::creating(session, context, request.cause(), None);
    for user_id in admitted {
        step.join(user_id);
    }
    step.start_if_ready();
    let mut result = result.accepted(step.session(), "session created");
    result.http_status = 201;
    step.into_decision(result)
}

/// Judges a backfill: users are judged one by one as joins.
pub(super) fn backfill(
    users: &[(UserId, Tier)],
    state: &State<'_>,
    request: &Request,
    context: &Context<'_>,
) -> Decision {
    let Some(session) = state
        .session
        .filter(|session| session.kind == SessionKind::Public)
    else {
        return Decision::unchanged(
            request
                .answer(context.now)
                .rejected(Rejection::session_not_found()),
        );
    };
    let mut step = Step::on(session, context);
    step.elapse();
    step.caused_by(request.cause(), None);
    let mut result = request.answer(step.now);
    if step.session().status == SessionStatus::Ended {
        return step.into_decision(result.rejected(Rejection::session_ended()));
    }
    for (user_id, tier) in users {
        if let Err(rejection) = step.admit_user(user_id, *tier, state) {
            result.rejected_users.push(left_out(user_id, &rejection));
        }
    }
    if result.rejected_users.len() == users.len() {
        result.eligible_user_ids = result
            .rejected_users
            .iter()
            .filter(|user| user.code == Code::SessionFull)
            .map(|user| user.user_id.clone())
            .collect();
        let rejection = Rejection::new(Code::MatchRejected, "no user of the match could come in");
        return step.into_decision(result.rejected(rejection));
    }
    step.start_if_ready();
    let result = result.accepted(step.session(), "session filled");
    step.into_decision(result)
}

/// The answer to a match whose session exists already: it is made. A private session under that id
/// was put there by somebody who guessed it; then nothing is made and everybody can be requeued,
/// which the contract leaves open.
fn meet(
    session: &Session,
    users: &[(UserId, Tier)],
    mut result: CommandResult,
    context: &Context<'_>,
) -> CommandResult {
    result.decided_at = context.now.max(session.updated_at);
    match session.kind {
        SessionKind::Public => result.accepted(session, "the match's session exists"),
        SessionKind::Private => {
            result.eligible_user_ids = users.iter().map(|(user_id, _)| user_id.clone()).collect();
            let detail = "the match's session id is taken";
            result.rejected(Rejection::new(Code::MatchRejected, detail))
        }
    }
}

fn left_out(user_id: &UserId, rejection: &Rejection) -> RejectedUser {
    RejectedUser {
        user_id: user_id.clone(),
        code: rejection.code,
        reset_at: rejection.reset_at,
    }
}
