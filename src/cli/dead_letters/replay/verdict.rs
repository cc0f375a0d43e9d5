//! What sending a letter again would come to, from what is known of it. Pure.

use std::time::Duration;

use super::super::Address;
use super::until;
use crate::domain::{Message, Timestamp};
use crate::record::{OutRecord, TopicNames};
use crate::store::LedgerEntry;
use crate::wire::{Decoded, Letter, MAX_VALUE, Unreplayable};

/// What was seen of a letter.
#[derive(Debug)]
pub(in crate::cli::dead_letters) struct Seen {
    /// Decoded by what the registry has by now; `None`: the registry does not answer, or the topic is no
    /// input.
    pub(in crate::cli::dead_letters) decoded: Option<Result<Decoded, String>>,
    /// What is remembered under its id; `None`: MongoDB does not answer.
    pub(in crate::cli::dead_letters) remembered: Option<Option<LedgerEntry>>,
}

/// What else matters.
pub(in crate::cli::dead_letters) struct Circumstances<'a> {
    pub(in crate::cli::dead_letters) topics: &'a TopicNames,
    /// The operator named this very letter.
    pub(in crate::cli::dead_letters) by_address: bool,
    /// By the database's clock, where it answers.
    pub(in crate::cli::dead_letters) now: Option<Timestamp>,
    /// `rules.commandRetention`
    pub(in crate::cli::dead_letters) retention: Duration,
    /// The letter that stands for this one, since it was sent again and died again.
    pub(in crate::cli::dead_letters) died_again_as: Option<Address>,
}

/// What to do with a letter.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli::dead_letters) enum Verdict {
    Send {
        record: OutRecord,
        /// What will come of it, in words.
        notes: Vec<String>,
    },
    Skip(String),
    Refuse(String),
}

/// Judges `letter`.
pub(in crate::cli::dead_letters) fn judge(
    letter: &Letter,
    seen: &Seen,
    circumstances: &Circumstances<'_>,
) -> Verdict {
    let topics = circumstances.topics;
    let topic = &letter.origin.lane.topic;
    if let Some(later) = circumstances.died_again_as
        && !circumstances.by_address
    {
        return Verdict::Skip(format!("sent again before, and died again as {later}"));
    }
    if *topic != topics.match_found && *topic != topics.session_command {
        return Verdict::Refuse(format!(
            "it came from {topic}, which is no input here; see topics.<name>"
        ));
    }
    let decoded = seen.decoded.as_ref();
    let message = decoded.and_then(|decoded| decoded.as_ref().ok());
    if letter.reason == "forbidden" || message.is_some_and(|decoded| decoded.admitted) {
        return Verdict::Refuse(Unreplayable::Admission.to_string());
    }
    if letter.was_forwarded() && decoded.is_none() {
        return Verdict::Refuse(
            "it was on its way home, and whether it is the worker's own AdmitMatch cannot be told \
             while the registry cannot be asked; fix that first"
                .to_owned(),
        );
    }
    let record = match letter.replay() {
        Ok(record) => record,
        Err(why) => return Verdict::Refuse(why.to_string()),
    };
    let notes = notes(letter, seen, circumstances);
    Verdict::Send { record, notes }
}

fn notes(letter: &Letter, seen: &Seen, circumstances: &Circumstances<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(later) = circumstances.died_again_as {
        notes.push(format!(
            "it was sent again before, and died again as {later}"
        ));
    }
    match &seen.decoded {
        None => notes.push("what comes of it is not known: it is not decoded".to_owned()),
        Some(Err(poison)) => notes.push(format!("it will die again: {poison}")),
        Some(Ok(decoded)) => notes.push(prospect(letter, decoded, seen, circumstances)),
    }
    let size = letter.value.as_ref().map_or(0, Vec::len);
    if letter.reason == "too_large" && size > MAX_VALUE && seen.decoded.is_none() {
        notes.push(format!("it will die again: it has {size} bytes"));
    }
    if letter.was_forwarded() {
        notes.push("without sw-forward, as a record of its own".to_owned());
    }
    if let Some(dropped) = letter.headers_dropped {
        notes.push(format!("{dropped} of its headers were not kept"));
    }
    notes
}

/// What comes of a message that can be decoded.
fn prospect(
    letter: &Letter,
    decoded: &Decoded,
    seen: &Seen,
    circumstances: &Circumstances<'_>,
) -> String {
    let new_id = match decoded.message {
        Message::Command(_) => "a sender who wants it done sends it under a new commandId",
        Message::Match(_) => "matchmaking sends a match that is wanted under a new matchId",
    };
    match &seen.remembered {
        Some(Some(entry)) => {
            let result = &entry.remembered.result;
            let result_is = result.code.map_or("accepted", |code| code.as_str());
            format!(
                "its id is remembered as {result_is}{}: it gets that result again, replayed, and \
                 nothing else happens; {new_id}",
                until(entry)
            )
        }
        Some(None) if is_expired(&decoded.message, circumstances) => {
            format!("its issuedAt is too old: it gets command_expired; {new_id}")
        }
        Some(None) => "it will be judged".to_owned(),
        None if letter.reason == "bug" => format!(
            "its id is probably remembered as internal_error: then it gets that result again, \
             replayed, and nothing else happens; {new_id}"
        ),
        None => "it will be judged, or answered as replayed if its id was judged before".to_owned(),
    }
}

fn is_expired(message: &Message, circumstances: &Circumstances<'_>) -> bool {
    match (message, circumstances.now) {
        (Message::Command(command), Some(now)) => {
            command.issued_at < now.minus(circumstances.retention)
        }
        _ => false,
    }
}
