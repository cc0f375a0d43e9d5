//! Everything that was found about one session, before it is put in order: the state from MongoDB,
//! records from Kafka, memory from the ledger, and what of these could not be had.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::domain::{Action, InviteCode, Message, MessageId, SessionId, Timestamp};
use crate::record::{Origin, TopicNames};
use crate::store::{LedgerEntry, StoredSession};
use crate::wire::{SentEvent, SentResult};

/// What was found.
#[derive(Debug)]
pub(super) struct Trail {
    pub(super) stored: StoredSession,
    /// The database's clock when the state was read.
    pub(super) now: Timestamp,
    /// `rules.disconnectGrace`: deadlines that have fired are not stored any more.
    pub(super) grace: Duration,
    pub(super) topics: TopicNames,
    /// By sequence.
    pub(super) events: BTreeMap<i64, Found<SentEvent>>,
    pub(super) results: Vec<Found<SentResult>>,
    pub(super) inputs: Vec<Input>,
    pub(super) ledger: HashMap<MessageId, LedgerEntry>,
    pub(super) letters: Vec<Died>,
    pub(super) missing: Vec<Missing>,
}

/// A published value with its record.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) record: Origin,
    /// The record's own timestamp.
    pub(super) at: Option<Timestamp>,
    /// Further records with the same content: redeliveries after a crash.
    pub(super) repeats: Vec<Origin>,
}

/// A record of an input topic.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) record: Origin,
    pub(super) at: Option<Timestamp>,
    /// What it says; `Err`: why that is not known.
    pub(super) message: Result<Message, String>,
    /// What it is remembered under, where that is known.
    pub(super) id: Option<MessageId>,
    /// The digest of its content; none where it was not decoded.
    pub(super) fingerprint: Option<[u8; 32]>,
    /// What its `sw-forward` header claims.
    pub(super) claim: Option<Claim>,
    pub(super) correlation_id: Option<String>,
    /// How often it had been sent again from the dead letters.
    pub(super) replays: u32,
    /// Further copies of the same forward.
    pub(super) repeats: Vec<Origin>,
}

/// A claim to be a copy that a lane sent home.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) origin: Origin,
    pub(super) hops: u32,
    /// Whether MongoDB has the evidence; `None`: it was not asked.
    pub(super) holds: Option<bool>,
}

/// A dead letter that concerns the session.
#[derive(Clone, Debug)]
pub(super) struct Died {
    pub(super) record: Origin,
    pub(super) at: Option<Timestamp>,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) origin: Origin,
}

/// Something that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// Of which part.
    pub(super) source: &'static str,
    /// What, why, and what to do.
    pub(super) detail: String,
}

impl Trail {
    /// The state alone.
    pub(super) fn of(
        stored: StoredSession,
        now: Timestamp,
        grace: Duration,
        topics: &TopicNames,
    ) -> Self {
        Self {
            stored,
            now,
            grace,
            topics: topics.clone(),
            events: BTreeMap::new(),
            results: Vec::new(),
            inputs: Vec::new(),
            ledger: HashMap::new(),
            letters: Vec::new(),
            missing: Vec::new(),
        }
    }

    pub(super) fn id(&self) -> &SessionId {
        &self.stored.session.id
    }

    pub(super) fn lacks(&mut self, source: &'static str, detail: impl Into<String>) {
        let detail = detail.into();
        self.missing.push(Missing { source, detail });
    }

    /// What a timer's `causationId` says behind the session's id.
    pub(super) fn timer<'a>(&self, causation_id: &'a str) -> Option<&'a str> {
        let rest = causation_id.strip_prefix("timer:")?;
        rest.strip_prefix(self.id().as_str())?.strip_prefix(':')
    }

    /// Every message that is known to have concerned the session.
    pub(super) fn known_ids(&self) -> BTreeSet<MessageId> {
        let of_events = self
            .events
            .values()
            .map(|event| &event.value.causation_id)
            .filter(|cause| self.timer(cause).is_none())
            // An event does not say which of the two its cause is.
            .flat_map(|cause| {
                [
                    MessageId::Command(cause.clone()),
                    MessageId::Match(cause.clone()),
                ]
            });
        let of_results = self.results.iter().map(|result| result_id(&result.value));
        of_events
            .chain(of_results)
            .chain(self.ledger.keys().cloned())
            .collect()
    }

    /// Whether `message` concerns the session: by its id, its name, its code, or what it makes.
    pub(super) fn concerns(&self, message: &Message, known: &BTreeSet<MessageId>) -> bool {
        let session = &self.stored.session;
        let id = message.id();
        if known.contains(&id) || message.named_session_id().as_deref() == Some(session.id.as_str())
        {
            return true;
        }
        match message {
            Message::Match(found) => {
                found.session_id.is_none() && SessionId::of_match(id.as_str()) == session.id
            }
            Message::Command(command) => match &command.action {
                Action::CreatePrivateSession {
                    session_id: None, ..
                } => SessionId::of_command(id.as_str()) == session.id,
                Action::JoinSession { invite_code } => {
                    session.invite_code.is_some()
                        && InviteCode::from_entered(invite_code) == session.invite_code
                }
                _ => false,
            },
        }
    }
}

/// What a result answers.
pub(super) fn result_id(result: &SentResult) -> MessageId {
    if result.origin == "match" {
        MessageId::Match(result.command_id.clone())
    } else {
        MessageId::Command(result.command_id.clone())
    }
}
