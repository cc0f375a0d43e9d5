//! A shell without I/O: it loads, calls the domain, carries out what comes back and checks every
//! invariant on the way.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::told::Told;
use crate::domain::{
    Admission, CommandResult, Context, Event, InviteCode, Message, MessageId, Remembered, Request,
    Rules, Session, State, Timestamp, UserChange, UserId, UserLimits, admit, decide, elapse,
    limit_violations, violations,
};

/// 2026-01-01T12:00:00Z; midnight is 43200 seconds away.
pub(super) const T0: Timestamp = Timestamp(1_767_268_800_000);

/// Everything a shell keeps.
#[derive(Clone)]
pub(super) struct World {
    pub(super) rules: Rules,
    pub(super) now: Timestamp,
    /// In order of creation; a script calls them s1, s2, …
    pub(super) sessions: Vec<Session>,
    pub(super) users: Vec<UserLimits>,
    /// Everything ever published.
    pub(super) events: Vec<Event>,
    pub(super) ledger: Vec<(MessageId, Remembered)>,
    /// How many commands a script has sent.
    pub(super) commands: u32,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Rules::default())
    }

    pub(super) fn with(rules: Rules) -> Self {
        Self {
            rules,
            now: T0,
            sessions: Vec::new(),
            users: Vec::new(),
            events: Vec::new(),
            ledger: Vec::new(),
            commands: 0,
        }
    }

    /// Judges a message as a lane does.
    pub(super) fn send(&mut self, message: &Message) -> Told {
        let fingerprint = fingerprint(message);
        let remembered = self.remembered(&message.id());
        match admit(message, &fingerprint, remembered, self.now, &self.rules) {
            Admission::Settled { result, remember } => {
                if remember {
                    let result = result.clone();
                    self.ledger.push((
                        message.id(),
                        Remembered {
                            fingerprint,
                            result,
                        },
                    ));
                }
                self.told(Some(result), Vec::new(), Vec::new(), false)
            }
            Admission::Proceed(request) => {
                let told = self.judge(&request);
                let result = told.result.clone().expect("a decision answers");
                self.ledger.push((
                    message.id(),
                    Remembered {
                        fingerprint,
                        result,
                    },
                ));
                told
            }
        }
    }

    pub(super) fn remembered(&self, id: &MessageId) -> Option<&Remembered> {
        self.ledger
            .iter()
            .find(|(known, _)| known == id)
            .map(|(_, remembered)| remembered)
    }

    /// Judges a request, and carries the decision out.
    pub(super) fn judge(&mut self, request: &Request) -> Told {
        let found = match request {
            Request::Join { invite_code, .. } => self
                .sessions
                .iter()
                .position(|session| session.invite_code.as_ref() == Some(invite_code)),
            _ => {
                let id = request.session_id().expect("only a join knows no session");
                self.sessions.iter().position(|session| session.id == *id)
            }
        };
        let limited = request.limited_users();
        let state = State {
            session: found.map(|index| &self.sessions[index]),
            users: self
                .users
                .iter()
                .filter(|user| limited.contains(&&user.user_id))
                .collect(),
        };
        let context = self.context();
        let decision = decide(&state, request, &context);
        assert_eq!(
            decision,
            decide(&state, request, &context),
            "the same input, the same output"
        );
        if let Some(session) = state.session {
            overdue_deadlines_come_first(session, &state, request, &context);
        }
        self.carry_out(
            decision.session,
            decision.events,
            decision.users,
            Some(decision.result),
        )
    }

    /// Fires the deadlines of session number `index` that are due.
    pub(super) fn tick(&mut self, index: usize) -> Told {
        let elapsed = elapse(&self.sessions[index], &self.context());
        self.carry_out(elapsed.session, elapsed.events, elapsed.users, None)
    }

    fn context(&self) -> Context<'_> {
        let drawn = u32::try_from(self.sessions.len()).expect("few sessions");
        let indices = [0, 0, 0, 0, (drawn / 28 % 28) as u8, (drawn % 28) as u8];
        Context {
            now: self.now,
            rules: &self.rules,
            invite_code: Some(InviteCode::from_indices(indices)),
        }
    }

    fn carry_out(
        &mut self,
        after: Option<Session>,
        events: Vec<Event>,
        users: Vec<UserChange>,
        result: Option<CommandResult>,
    ) -> Told {
        let changed = after.is_some();
        if let Some(after) = after {
            assert_eq!(violations(&after), [], "after {events:?}");
            let place = self
                .sessions
                .iter()
                .position(|session| session.id == after.id);
            let before = place.map(|index| &self.sessions[index]);
            let last = before.map_or(0, |session| session.sequence);
            let numbers: Vec<i64> = events.iter().map(|event| event.sequence).collect();
            assert_eq!(
                numbers,
                (last + 1..=after.sequence).collect::<Vec<_>>(),
                "no gap"
            );
            assert!(before.is_none_or(|session| session.updated_at <= after.updated_at));
            assert!(
                events
                    .iter()
                    .all(|event| event.occurred_at == after.updated_at)
            );
            match place {
                Some(index) => self.sessions[index] = after,
                None => self.sessions.push(after),
            }
        } else {
            assert_eq!(events, [], "what has no next state has no event");
        }
        for change in &users {
            let (UserChange::Joined { user_id, .. }
            | UserChange::Released { user_id, .. }
            | UserChange::FailedCode { user_id, .. }) = change;
            let index = self.user(user_id);
            self.users[index].apply(change, &self.rules);
            assert_eq!(limit_violations(&self.users[index]), []);
        }
        self.events.extend(events.iter().cloned());
        self.told(result, events, users, changed)
    }

    fn user(&mut self, user_id: &UserId) -> usize {
        self.users
            .iter()
            .position(|user| user.user_id == *user_id)
            .unwrap_or_else(|| {
                self.users
                    .push(UserLimits::unused(user_id.clone(), self.now.day()));
                self.users.len() - 1
            })
    }

    pub(super) fn told(
        &self,
        result: Option<CommandResult>,
        events: Vec<Event>,
        users: Vec<UserChange>,
        changed: bool,
    ) -> Told {
        let names = self
            .sessions
            .iter()
            .map(|session| session.id.clone())
            .collect();
        Told {
            result,
            events,
            users,
            changed,
            names,
        }
    }
}

/// Deciding on a session with overdue deadlines is firing them, then deciding.
fn overdue_deadlines_come_first(
    session: &Session,
    state: &State<'_>,
    request: &Request,
    context: &Context<'_>,
) {
    if matches!(request, Request::Create { .. } | Request::Match { .. }) {
        return;
    }
    let elapsed = elapse(session, context);
    let Some(later) = &elapsed.session else {
        return;
    };
    let whole = decide(state, request, context);
    let mut limits: Vec<UserLimits> = state.users.iter().map(|user| (*user).clone()).collect();
    for change in &elapsed.users {
        if let UserChange::Released { user_id, .. } = change {
            let freed = limits.iter_mut().filter(|user| user.user_id == *user_id);
            freed.for_each(|user| user.apply(change, context.rules));
        }
    }
    let state = State {
        session: Some(later),
        users: limits.iter().collect(),
    };
    let rest = decide(&state, request, context);
    assert_eq!(whole.result, rest.result);
    if whole.events.is_empty() {
        return; // Refused before the session was found.
    }
    assert_eq!(whole.events, [elapsed.events, rest.events].concat());
    assert_eq!(
        whole.session,
        Some(rest.session.unwrap_or_else(|| later.clone()))
    );
}

/// Stands for the digest of a message's content.
pub(super) fn fingerprint(message: &Message) -> [u8; 32] {
    let content = match message {
        Message::Command(c) => format!("{:?} {:?} {:?}", c.user_id, c.tier, c.action),
        Message::Match(found) => format!("{found:?}"),
    };
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let mut fingerprint = [0; 32];
    fingerprint[..8].copy_from_slice(&hasher.finish().to_be_bytes());
    fingerprint
}
