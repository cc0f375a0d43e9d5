//! The guarantees of the contract's section 3, checked over everything that was read, stored and
//! published. The oracle is a history, not a return value.

use std::collections::{BTreeMap, BTreeSet};

use session_worker::domain::{SessionStatus, limit_violations, violations};

use crate::outputs::{self, EventView, ResultView};
use crate::world::Aftermath;

/// Every broken guarantee, in words; empty is what the contract promises.
pub(crate) fn broken_guarantees(aftermath: &Aftermath) -> Vec<String> {
    let mut broken = Vec::new();
    states(aftermath, &mut broken);
    places(aftermath, &mut broken);
    results(aftermath, &mut broken);
    events(aftermath, &mut broken);
    dead_letters(aftermath, &mut broken);
    broken
}

fn states(aftermath: &Aftermath, broken: &mut Vec<String>) {
    for (id, stored) in aftermath.store.sessions() {
        for violation in violations(&stored.session) {
            broken.push(format!(
                "session {id}: {}: {}",
                violation.invariant, violation.detail
            ));
        }
    }
    for (id, user) in aftermath.store.users() {
        for violation in limit_violations(&user.limits) {
            broken.push(format!(
                "user {id}: {}: {}",
                violation.invariant, violation.detail
            ));
        }
    }
}

/// Guarantee of AC9: a user holds exactly the places that sessions give.
fn places(aftermath: &Aftermath, broken: &mut Vec<String>) {
    let mut given: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut first_joins: BTreeMap<String, usize> = BTreeMap::new();
    for (id, stored) in aftermath.store.sessions() {
        for participant in &stored.session.participants {
            *first_joins
                .entry(participant.user_id.to_string())
                .or_default() += 1;
            if participant.is_open() && stored.session.status != SessionStatus::Ended {
                given
                    .entry(participant.user_id.to_string())
                    .or_default()
                    .insert(id.to_string());
            }
        }
    }
    for (id, user) in aftermath.store.users() {
        let held: BTreeSet<_> = user.limits.open.iter().map(ToString::to_string).collect();
        let given = given.remove(id.as_str()).unwrap_or_default();
        if held != given {
            broken.push(format!("user {id} holds {held:?}, sessions give {given:?}"));
        }
    }
    if !given.is_empty() {
        broken.push(format!("places without a user document: {given:?}"));
    }
}

/// Guarantee 1: exactly one result for every message, and one more, replayed, for each duplicate.
fn results(aftermath: &Aftermath, broken: &mut Vec<String>) {
    let records = aftermath
        .broker
        .topic(&aftermath.topics.session_command_result);
    let mut by_id: BTreeMap<String, Vec<ResultView>> = BTreeMap::new();
    for result in outputs::results(&records) {
        by_id
            .entry(result.command_id.clone())
            .or_default()
            .push(result);
    }
    for (id, sent) in &aftermath.learners.ids {
        let results = by_id.remove(id).unwrap_or_default();
        let firsts: Vec<_> = results.iter().filter(|result| !result.replayed).collect();
        let Some(first) = firsts.first() else {
            broken.push(format!("{id}: no result"));
            continue;
        };
        // A crash may repeat a record, byte for byte; another content would be a second effect.
        for result in &results {
            let unlike = ResultView {
                replayed: first.replayed,
                ..result.clone()
            } != **first;
            if unlike {
                broken.push(format!("{id}: answered {first:?} and {result:?}"));
            }
        }
        let replayed = results.iter().filter(|result| result.replayed).count();
        if replayed < sent - 1 || (*sent == 1 && replayed > 0) {
            broken.push(format!(
                "{id}: sent {sent} times, replayed {replayed} times"
            ));
        }
    }
    for id in by_id.keys() {
        broken.push(format!("{id}: answered, but never sent"));
    }
}

/// Guarantee 2: every event once by `sequence`, in order within its partition, repeats byte-identical.
fn events(aftermath: &Aftermath, broken: &mut Vec<String>) {
    let records = aftermath.broker.topic(&aftermath.topics.session_event);
    let mut seen: BTreeMap<String, BTreeMap<i64, (EventView, Vec<u8>)>> = BTreeMap::new();
    let mut partitions: BTreeMap<String, i32> = BTreeMap::new();
    for (partition, events) in outputs::events(&records) {
        for (event, bytes) in events {
            let session = event.session_id.clone();
            if *partitions.entry(session.clone()).or_insert(partition) != partition {
                broken.push(format!("session {session}: events in two partitions"));
            }
            let of_session = seen.entry(session.clone()).or_default();
            match of_session.get(&event.sequence) {
                Some((_, first)) if *first != bytes => {
                    broken.push(format!(
                        "session {session}: {} has two contents",
                        event.sequence
                    ));
                }
                Some(_) => {}
                None => {
                    let expected = of_session.keys().last().map_or(1, |last| last + 1);
                    if event.sequence != expected {
                        broken.push(format!(
                            "session {session}: {} came where {expected} was due",
                            event.sequence
                        ));
                    }
                    of_session.insert(event.sequence, (event, bytes));
                }
            }
        }
    }
    for (id, stored) in aftermath.store.sessions() {
        let published = seen.remove(id.as_str()).unwrap_or_default();
        let last = published.values().last().map(|(event, _)| event);
        if last.map(|event| event.sequence) != Some(stored.session.sequence) {
            broken.push(format!(
                "session {id}: {} events are stored, published up to {last:?}",
                stored.session.sequence
            ));
        }
        if last.map(|event| event.r#type.as_str()) != Some("session.ended") {
            broken.push(format!("session {id}: the last event is {last:?}"));
        }
    }
    for session in seen.keys() {
        broken.push(format!("session {session}: published, but not stored"));
    }
}

fn dead_letters(aftermath: &Aftermath, broken: &mut Vec<String>) {
    let mut places: BTreeSet<Vec<u8>> = BTreeSet::new();
    for record in aftermath
        .broker
        .topic(&aftermath.topics.session_dead_letter)
    {
        let place = ["dlq-topic", "dlq-partition", "dlq-offset"]
            .map(|name| record.header(name).unwrap_or_default())
            .join(&b'/');
        places.insert(place);
        if record.header("dlq-reason") != Some(b"undecodable") {
            broken.push(format!(
                "a dead letter of another reason: {:?}",
                record.headers
            ));
        }
    }
    if places.len() != aftermath.learners.unreadable {
        broken.push(format!(
            "{} unreadable records were sent, {} became dead letters",
            aftermath.learners.unreadable,
            places.len()
        ));
    }
}
