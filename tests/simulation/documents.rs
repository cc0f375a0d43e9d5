//! Documents that cannot be read: what the simulation's database replaces in what it loads.

use session_worker::domain::{MessageId, SessionId, UserId};
use session_worker::record::Origin;
use session_worker::store::{Deadlines, Found, Loaded, Unreadable};

use crate::weather::Conditions;

/// A document, to be made unreadable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Document {
    /// A session with its participants; its home stays readable.
    Session(SessionId),
    /// The deadline of a session; the session itself stays readable.
    Deadline(SessionId),
    /// A user's limits.
    User(UserId),
    /// A judged message.
    Ledger(MessageId),
    /// The evidence that the record of an origin was sent home.
    Forward(Origin),
}

fn unreadable(document: &Document) -> Unreadable {
    Unreadable {
        document: format!("{document:?}"),
        reason: "spoiled".to_owned(),
    }
}

/// Replaces in `loaded` what cannot be read.
pub(crate) fn spoil(conditions: &Conditions, loaded: &mut Loaded) {
    for document in &conditions.spoiled {
        let reason = unreadable(document);
        match document {
            Document::Session(id) => {
                if let Some(found @ Found::Here(_)) = loaded.sessions.get_mut(id) {
                    *found = Found::Unreadable(reason);
                }
            }
            Document::Deadline(_) => {}
            Document::User(id) => {
                if let Some(user) = loaded.users.get_mut(id) {
                    *user = Err(reason);
                }
            }
            Document::Ledger(id) => {
                if let Some(entry) = loaded.ledger.get_mut(id) {
                    *entry = Err(reason);
                }
            }
            Document::Forward(origin) => {
                for (forward, evidence) in &mut loaded.forwards {
                    if forward.origin == *origin {
                        *evidence = Err(reason.clone());
                    }
                }
            }
        }
    }
}

/// Replaces in `deadlines` what cannot be read.
pub(crate) fn spoil_deadlines(conditions: &Conditions, deadlines: &mut Deadlines) {
    for document in &conditions.spoiled {
        let Document::Deadline(id) = document else {
            continue;
        };
        let before = deadlines.sessions.len();
        deadlines.sessions.retain(|(session, _)| session != id);
        if deadlines.sessions.len() < before {
            deadlines.unreadable.push(unreadable(document));
        }
    }
}
