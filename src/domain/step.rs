//! One step of one session: its state as it changes, with the events and the freed or taken places
//! that the change brings. A step that changes nothing copies nothing.

use std::borrow::Cow;

use super::decide::{Context, Decision, Elapsed, UserChange};
use super::event::{Cause, Event, EventKind};
use super::ids::UserId;
use super::result::CommandResult;
use super::rules::Rules;
use super::session::Session;
use super::time::Timestamp;

/// A step under way.
pub(super) struct Step<'a> {
    /// The time of the decision: the clock's, but never before the session's last.
    pub(super) now: Timestamp,
    /// The rules' settings.
    pub(super) rules: &'a Rules,
    session: Cow<'a, Session>,
    cause: Option<Cause>,
    actor: Option<UserId>,
    users: Vec<UserChange>,
    events: Vec<Event>,
}

impl<'a> Step<'a> {
    /// A step of a session that exists; [`Step::caused_by`] comes before anything happens in it.
    pub(super) fn on(session: &'a Session, context: &Context<'a>) -> Self {
        Self {
            now: context.now.max(session.updated_at),
            rules: context.rules,
            session: Cow::Borrowed(session),
            cause: None,
            actor: None,
            users: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The first step of a session: it is created.
    pub(super) fn creating(
        session: Session,
        context: &Context<'a>,
        cause: Cause,
        actor: Option<UserId>,
    ) -> Self {
        let mut step = Self {
            now: context.now,
            rules: context.rules,
            session: Cow::Owned(session),
            cause: Some(cause),
            actor,
            users: Vec::new(),
            events: Vec::new(),
        };
        step.emit(EventKind::SessionCreated, None);
        step
    }

    /// Says what causes the events from here on, and who commanded it.
    pub(super) fn caused_by(&mut self, cause: Cause, actor: Option<UserId>) {
        self.cause = Some(cause);
        self.actor = actor;
    }

    /// The session as it stands.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The session, to be changed now.
    pub(super) fn change(&mut self) -> &mut Session {
        let session = self.session.to_mut();
        session.updated_at = self.now;
        session
    }

    /// Notes what happens to a user's limits.
    pub(super) fn note(&mut self, change: UserChange) {
        self.users.push(change);
    }

    /// Records an event about the state as it stands; `concerning` is a participant's index. The
    /// caller adds what else the event carries.
    pub(super) fn emit(&mut self, kind: EventKind, concerning: Option<usize>) -> &mut Event {
        self.change().sequence += 1;
        let session = &self.session;
        let event = Event {
            kind,
            session_id: session.id.clone(),
            sequence: session.sequence,
            occurred_at: self.now,
            cause: self
                .cause
                .clone()
                .expect("a step names its cause before anything happens"),
            session: session.snapshot(),
            participant: concerning.map(|index| session.participants[index].snapshot(self.now)),
            reason: None,
            actor_user_id: self.actor.clone(),
            previous_host_user_id: None,
            seconds_left: None,
            statistics: None,
        };
        self.events.push(event);
        let last = self.events.len() - 1;
        &mut self.events[last]
    }

    /// The step as the decision that answers `result`.
    pub(super) fn into_decision(self, result: CommandResult) -> Decision {
        let Elapsed {
            session,
            users,
            events,
        } = self.into_elapsed();
        Decision {
            session,
            users,
            events,
            result,
        }
    }

    /// The step as what deadlines did by themselves.
    pub(super) fn into_elapsed(self) -> Elapsed {
        let session = match self.session {
            Cow::Borrowed(_) => None,
            Cow::Owned(session) => Some(session),
        };
        Elapsed {
            session,
            users: self.users,
            events: self.events,
        }
    }
}
