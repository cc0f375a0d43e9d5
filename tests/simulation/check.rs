//! The guarantees of the contract's section 3, checked over everything that was sent, consumed, committed
//! and published. The oracle is a history, not a return value.

use std::collections::{BTreeMap, BTreeSet};

use session_worker::domain::{MessageId, SessionStatus, limit_violations, violations};
use session_worker::record::OutRecord;
use session_worker::store::memory::Document;

use crate::broker::Place;
use crate::learners::{Kind, Subject};
use crate::outputs::{self, EventView, ResultView};
use crate::world::Aftermath;

/// Every broken guarantee, in words; empty is what the contract promises.
pub(crate) fn broken_guarantees(aftermath: &Aftermath) -> Vec<String> {
    let mut broken = aftermath.history.broken();
    if !broken.is_empty() {
        // What was not finished cannot be counted.
        return broken;
    }
    states(aftermath, &mut broken);
    places(aftermath, &mut broken);
    consumption(aftermath, &mut broken);
    results(aftermath, &mut broken);
    events(aftermath, &mut broken);
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
    for (id, stored) in aftermath.store.sessions() {
        for participant in &stored.session.participants {
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

/// Why a record that nobody consumed is gone.
fn is_explained(aftermath: &Aftermath, place: &Place) -> bool {
    let (low, _) = aftermath.broker.bounds(&place.lane);
    place.generation < aftermath.broker.generation(&place.lane)
        || place.offset < low
        || aftermath.history.is_given_up(place)
}

/// Nothing is skipped silently: what nobody consumed was deleted, or an operator stepped over it.
fn consumption(aftermath: &Aftermath, broken: &mut Vec<String>) {
    let sent = aftermath.learners.sent.iter().map(|sent| &sent.place);
    let forwards = aftermath.history.forwards();
    for place in sent.chain(forwards.iter().map(|(place, _)| place)) {
        if aftermath.history.consumed(place) == 0 && !is_explained(aftermath, place) {
            broken.push(format!("{place:?} was skipped silently"));
        }
    }
}

/// What happened to the messages of one id.
#[derive(Default)]
struct Trail {
    /// How often a message of it was consumed where it was sent to.
    consumed: usize,
    /// How many of its messages were consumed.
    messages: usize,
    /// One of its messages or forwards was never consumed.
    is_cut: bool,
    /// One of its messages or forwards was consumed more than once.
    is_repeated: bool,
    /// Where its records lie.
    places: Vec<Place>,
}

fn trails(aftermath: &Aftermath) -> BTreeMap<String, Trail> {
    let mut trails: BTreeMap<String, Trail> = BTreeMap::new();
    let mut follow = |id: &str, place: &Place, is_sent: bool| {
        let trail = trails.entry(id.to_owned()).or_default();
        let consumed = aftermath.history.consumed(place);
        trail.is_cut |= consumed == 0;
        trail.is_repeated |= consumed > 1;
        trail.places.push(place.clone());
        if is_sent {
            trail.consumed += consumed;
            trail.messages += usize::from(consumed > 0);
        }
    };
    for sent in &aftermath.learners.sent {
        if let Kind::Message(id) = &sent.kind {
            follow(id, &sent.place, true);
        }
    }
    for (place, record) in aftermath.history.forwards() {
        let (id, _) = outputs::forwarded(record.value.as_deref());
        follow(&id, &place, false);
    }
    trails
}

/// Guarantee 1: exactly one result for every message that was consumed, and one more, replayed, for each
/// duplicate; and the dead letters that go with them.
fn results(aftermath: &Aftermath, broken: &mut Vec<String>) {
    let mut by_id: BTreeMap<String, Vec<ResultView>> = BTreeMap::new();
    let mut letters: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let topics = &aftermath.topics;
    aftermath.history.batches(|_, batch| {
        for record in batch.outbox.iter() {
            if record.topic == topics.session_command_result {
                let result = outputs::result(record.value.as_deref());
                by_id
                    .entry(result.command_id.clone())
                    .or_default()
                    .push(result);
            } else if record.topic == topics.session_dead_letter {
                let (reason, place) = letter(record);
                letters.entry(reason).or_default().insert(place);
            }
        }
    });
    let trails = trails(aftermath);
    for (id, trail) in &trails {
        let results = by_id.remove(id).unwrap_or_default();
        broken.extend(miscounted(aftermath, id, trail, &results).map(|why| {
            format!(
                "{id}: {why}; consumed {} times: {results:?}",
                trail.consumed
            )
        }));
        if !memory_was_spoiled(aftermath, id, trail) {
            broken.extend(unlike(&results).map(|why| format!("{id}: {why}")));
        }
        let failed = results
            .iter()
            .any(|result| result.code.as_deref() == Some("internal_error"));
        if failed && !may_fail(aftermath, id, trail) {
            broken.push(format!("{id}: a correct message ended as internal_error"));
        }
    }
    for id in by_id.keys() {
        broken.push(format!("{id}: answered, but never sent"));
    }
    for (kind, reason) in [
        (Kind::Unreadable, "undecodable"),
        (Kind::Forbidden, "forbidden"),
    ] {
        let found = letters.remove(reason).unwrap_or_default();
        let sent = aftermath.learners.sent.iter();
        let expected: BTreeSet<String> = sent
            .filter(|sent| sent.kind == kind && aftermath.history.consumed(&sent.place) > 0)
            .map(|sent| format!("{}/{}", sent.place.lane, sent.place.offset))
            .collect();
        if found != expected {
            broken.push(format!(
                "dead letters, {reason}: {found:?}, not {expected:?}"
            ));
        }
    }
    letters.remove("bug");
    if !letters.is_empty() {
        broken.push(format!("dead letters of other reasons: {letters:?}"));
    }
}

/// Reason and place of a dead letter.
fn letter(record: &OutRecord) -> (String, String) {
    let header = |name: &str| {
        let found = record.headers.iter().find(|(header, _)| header == name);
        let value = found
            .and_then(|(_, value)| value.clone())
            .unwrap_or_default();
        String::from_utf8(value).expect("text")
    };
    let place = ["dlq-topic", "dlq-partition", "dlq-offset"].map(header);
    (header("dlq-reason"), place.join("/"))
}

fn miscounted(
    aftermath: &Aftermath,
    id: &str,
    trail: &Trail,
    results: &[ResultView],
) -> Option<String> {
    let (count, firsts) = (
        results.len(),
        results.iter().filter(|result| result.is_first()).count(),
    );
    // What a message is remembered by could not be read: it is answered as new.
    if memory_was_spoiled(aftermath, id, trail) {
        return (count < trail.messages && !trail.is_cut).then(|| format!("{count} results"));
    }
    // What an operator has had read again may be forwarded again, and each copy be answered.
    if count > trail.consumed && !trail.is_repeated {
        return Some(format!("answered {count} times"));
    }
    if !trail.is_cut && count < trail.messages {
        return Some(format!("answered {count} times"));
    }
    if !trail.is_cut && !trail.is_repeated && count != trail.consumed {
        return Some(format!("answered {count} times"));
    }
    (count > 0 && firsts != 1).then(|| format!("{firsts} first results"))
}

fn memory_was_spoiled(aftermath: &Aftermath, id: &str, trail: &Trail) -> bool {
    aftermath
        .weather
        .now()
        .ever
        .spoiled
        .iter()
        .any(|document| match document {
            Document::Ledger(MessageId::Command(spoiled) | MessageId::Match(spoiled)) => {
                spoiled == id
            }
            Document::Forward(origin, _) => {
                let mut places = trail.places.iter();
                places.any(|place| place.lane == origin.lane && place.offset == origin.offset)
            }
            Document::Session(_)
            | Document::Home(_)
            | Document::Deadline(_)
            | Document::User(_) => false,
        })
}

/// A replay repeats the first result.
fn unlike(results: &[ResultView]) -> Option<String> {
    let first = results.iter().find(|result| result.is_first())?;
    let other = results.iter().find(|result| {
        let repeated = ResultView {
            replayed: false,
            ..(*result).clone()
        };
        result.replayed && repeated != *first
    });
    other.map(|other| format!("answered {first:?} and {other:?}"))
}

/// Whether a fault stood in the way of this very message.
fn may_fail(aftermath: &Aftermath, id: &str, trail: &Trail) -> bool {
    let subject = aftermath.learners.subjects.get(id).cloned();
    let subject = subject.unwrap_or_else(Subject::default);
    let of_code = subject
        .code
        .and_then(|code| aftermath.learners.code_of.get(&code).cloned());
    let sessions = [subject.session, of_code];
    let concerns = |session: &str| sessions.iter().flatten().any(|one| one == session);
    let ever = aftermath.weather.now().ever.clone();
    ever.culprits.contains(id)
        || ever
            .culprit_sessions
            .iter()
            .any(|session| concerns(session.as_str()))
        || memory_was_spoiled(aftermath, id, trail)
        || ever.spoiled.iter().any(|document| match document {
            Document::Session(session) | Document::Home(session) => concerns(session.as_str()),
            Document::User(user) => subject.users.iter().any(|one| one == user.as_str()),
            Document::Deadline(_) | Document::Ledger(_) | Document::Forward(..) => false,
        })
}

/// Guarantee 2: every event once by `sequence`, in order within its partition, repeats byte-identical.
fn events(aftermath: &Aftermath, broken: &mut Vec<String>) {
    let records = aftermath.broker.topic(&aftermath.topics.session_event);
    let mut seen: BTreeMap<String, BTreeMap<i64, (EventView, Vec<u8>)>> = BTreeMap::new();
    let mut partitions: BTreeMap<String, i32> = BTreeMap::new();
    for record in records {
        let (event, partition) = (
            outputs::event(record.value.as_deref()),
            record.lane.partition,
        );
        let bytes = record.value.unwrap_or_default();
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
