//! The invariants over what is stored, as pure comparisons: one document with itself, and documents
//! with each other in both directions. Reads no database; whoever reads passes what belongs together.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use crate::domain::{
    Participant, Session, SessionId, SessionStatus, Timestamp, UserId, UserLimits,
    limit_violations, violations,
};
use crate::store::{LanePosition, LedgerEntry};

#[cfg(test)]
mod tests;

/// A deadline later than this has been parked or forgotten.
const OVERDUE: Duration = Duration::from_secs(2 * 60);
/// Acknowledged batches that may wait in the outbox for being swept.
const UNSWEPT: i64 = 64;

/// What an offence is about: one document, to be looked at again before it is reported.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A session, with its participants.
    Session(String),
    /// A participant whose session does not exist.
    Participant(String),
    /// A user's limits.
    User(String),
    /// A remembered message.
    Ledger(String),
    /// A lane, with its outbox.
    Lane(String),
}

impl Subject {
    /// The collection of the document.
    pub fn collection(&self) -> &'static str {
        match self {
            Self::Session(_) => "sessions",
            Self::Participant(_) => "participants",
            Self::User(_) => "users",
            Self::Ledger(_) => "ledger",
            Self::Lane(_) => "lanes",
        }
    }

    /// The document's `_id`.
    pub fn id(&self) -> &str {
        match self {
            Self::Session(id)
            | Self::Participant(id)
            | Self::User(id)
            | Self::Ledger(id)
            | Self::Lane(id) => id,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection(), self.id())
    }
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    /// What breaks it.
    pub subject: Subject,
    /// Its stable name.
    pub invariant: &'static str,
    /// What is wrong, for people.
    pub detail: String,
}

/// A session as stored, with what is stored around it.
#[derive(Clone, Debug)]
pub struct SessionFacts<'a> {
    /// The state.
    pub session: &'a Session,
    /// Its version.
    pub version: i64,
    /// Fields whose stored value is not what the state says (`participantCount`, …).
    pub differing: &'a [String],
    /// Every session that has its invite code.
    pub code_holders: &'a [SessionId],
    /// The limits of its open participants, where there are any.
    pub users: &'a HashMap<UserId, UserLimits>,
}

/// What is wrong with a session at `now`.
pub fn of_session(facts: &SessionFacts<'_>, now: Timestamp) -> Vec<Offence> {
    let session = facts.session;
    let mut offences = Offences::of(Subject::Session(session.id.to_string()));
    for violation in violations(session) {
        offences.add(violation.invariant, violation.detail);
    }
    if !facts.differing.is_empty() {
        let fields = facts.differing.join(", ");
        offences.add(
            "stored_fields_agree",
            format!("the state says otherwise than: {fields}"),
        );
    }
    let (sequence, version) = (session.sequence, facts.version);
    if sequence < 1 || version < 1 {
        offences.add(
            "counted_from_one",
            format!("sequence {sequence}, version {version}"),
        );
    }
    if facts
        .code_holders
        .iter()
        .any(|holder| *holder != session.id)
    {
        let holders: Vec<_> = facts.code_holders.iter().map(SessionId::as_str).collect();
        offences.add(
            "invite_code_unique",
            format!("held by {}", holders.join(", ")),
        );
    }
    if let Some(deadline) = session.next_deadline()
        && deadline.plus(OVERDUE) < now
    {
        let late = now.millis_since(deadline) / 1000;
        offences.add(
            "deadline_fired",
            format!("a deadline is {late} s overdue: its lane is down, or the timer is parked"),
        );
    }
    if session.status != SessionStatus::Ended {
        for participant in session.participants.iter().filter(|p| p.is_open()) {
            let holds = facts
                .users
                .get(&participant.user_id)
                .is_some_and(|limits| limits.open.contains(&session.id));
            if !holds {
                let user = &participant.user_id;
                offences.add(
                    "open_place_counted",
                    format!("{user} is open, users.open has it not"),
                );
            }
        }
    }
    offences.found
}

/// What is wrong with a user's limits, given the sessions that `open` names, where they exist.
pub fn of_user(limits: &UserLimits, sessions: &HashMap<SessionId, Session>) -> Vec<Offence> {
    let mut offences = Offences::of(Subject::User(limits.user_id.to_string()));
    for violation in limit_violations(limits) {
        offences.add(violation.invariant, violation.detail);
    }
    for id in &limits.open {
        let why = match sessions.get(id) {
            None => "it does not exist or cannot be read",
            Some(session) if session.status == SessionStatus::Ended => "it has ended",
            Some(session) => match session
                .participant(&limits.user_id)
                .map(Participant::is_open)
            {
                None => "the user was never in it",
                Some(false) => "the user has left it",
                Some(true) => continue,
            },
        };
        offences.add(
            "counted_place_open",
            format!("users.open has session {id}, but {why}"),
        );
    }
    offences.found
}

/// What is wrong with a remembered message; `session_exists` tells of the session it was accepted for.
pub fn of_ledger(key: &str, entry: &LedgerEntry, session_exists: bool) -> Vec<Offence> {
    let mut offences = Offences::of(Subject::Ledger(key.to_owned()));
    let result = &entry.remembered.result;
    if let (None, Some(session)) = (result.code, &result.session_id)
        && !session_exists
    {
        offences.add(
            "accepted_session_exists",
            format!("session {session} does not exist"),
        );
    }
    if result.replayed {
        offences.add(
            "first_result_remembered",
            "what is remembered is a replay".to_owned(),
        );
    }
    offences.found
}

/// What is wrong with a lane; `position` is `None` where only its outbox exists.
pub fn of_lane(
    lane: &str,
    position: Option<&LanePosition>,
    outbox: &BTreeSet<i64>,
) -> Vec<Offence> {
    let mut offences = Offences::of(Subject::Lane(lane.to_owned()));
    let Some(position) = position else {
        offences.add(
            "outbox_has_lane",
            format!("{} batches without a lane", outbox.len()),
        );
        return offences.found;
    };
    let LanePosition {
        epoch,
        batch,
        next,
        acked,
        ..
    } = *position;
    let sane =
        epoch >= 0 && batch >= 0 && (0..=batch).contains(&acked) && next.is_none_or(|n| n >= 0);
    if !sane {
        let detail = format!("epoch {epoch}, batch {batch}, acked {acked}, next {next:?}");
        offences.add("lane_position_sane", detail);
    }
    let ahead: Vec<_> = outbox.iter().filter(|number| **number > batch).collect();
    if !ahead.is_empty() {
        offences.add(
            "outbox_is_committed",
            format!("batches {ahead:?}, but the last is {batch}"),
        );
    }
    // Acknowledged batches are swept a few at a time.
    let left = outbox
        .iter()
        .filter(|number| **number <= acked - UNSWEPT)
        .count();
    if left > 0 {
        offences.add(
            "outbox_is_swept",
            format!("{left} batches far before {acked}, the acknowledged"),
        );
    }
    if let (Some(last), Some(next)) = (position.last, next)
        && last.offset >= next
    {
        let detail = format!("last record {}, next {next}", last.offset);
        offences.add("lane_position_sane", detail);
    }
    offences.found
}

/// What is wrong with a participant whose session does not exist.
pub fn of_orphan(key: &str, session_id: &str) -> Offence {
    Offence {
        subject: Subject::Participant(key.to_owned()),
        invariant: "participant_has_session",
        detail: format!("session {session_id} does not exist"),
    }
}

/// What is wrong with a document that cannot be read.
pub fn unreadable(subject: Subject, reason: &str) -> Offence {
    Offence {
        subject,
        invariant: "document_readable",
        detail: reason.to_owned(),
    }
}

struct Offences {
    subject: Subject,
    found: Vec<Offence>,
}

impl Offences {
    fn of(subject: Subject) -> Self {
        Self {
            subject,
            found: Vec::new(),
        }
    }

    fn add(&mut self, invariant: &'static str, detail: String) {
        self.found.push(Offence {
            subject: self.subject.clone(),
            invariant,
            detail,
        });
    }
}
