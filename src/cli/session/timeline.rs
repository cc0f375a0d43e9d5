//! One line of time out of everything that was found, in the order in which it took effect: what a
//! session's home judged comes in the order of sequences, what senders dated comes before what it led
//! to, whatever their clocks say. Pure.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::said::{arguments, command_name, issued_at, plain, tier};
use super::timers::{timer_fired, upcoming};
use super::trail::{Claim, Input, Trail, result_id};
use crate::cli::output::{clock_time, place};
use crate::domain::{Message, MessageId, Timestamp};
use crate::record::Origin;
use crate::store::LedgerEntry;
use crate::wire::{SentEvent, rfc3339};

/// Kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Command,
    Match,
    Forward,
    Timer,
    Event,
    Result,
    DeadLetter,
    Upcoming,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Match => "match",
            Self::Forward => "forward",
            Self::Timer => "timer",
            Self::Event => "event",
            Self::Result => "result",
            Self::DeadLetter => "deadLetter",
            Self::Upcoming => "upcoming",
        }
    }
}

/// One entry of the timeline.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// The record's timestamp of what was sent, the database's time of what was decided.
    pub(super) at: Option<Timestamp>,
    /// The command, the event's type, the timer …
    pub(super) what: String,
    pub(super) record: Option<Origin>,
    pub(super) repeats: Vec<Origin>,
    pub(super) message_id: Option<String>,
    pub(super) user_id: Option<String>,
    /// What only this kind has.
    pub(super) more: Map<String, Value>,
    /// For people.
    pub(super) detail: String,
    pub(super) order: Order,
}

/// Instant, then sequence, then rank, then place.
pub(super) type Order = (i64, i64, u8);

pub(super) mod rank {
    pub(in crate::cli::session) const CAUSE: u8 = 0;
    pub(in crate::cli::session) const SENT_HOME: u8 = 1;
    pub(in crate::cli::session) const TIMER: u8 = 2;
    pub(in crate::cli::session) const EVENT: u8 = 3;
    /// A message without events comes after those of the decision before it.
    pub(in crate::cli::session) const IDLE_CAUSE: u8 = 4;
    pub(in crate::cli::session) const IDLE_SENT_HOME: u8 = 5;
    pub(in crate::cli::session) const RESULT: u8 = 6;
    pub(in crate::cli::session) const DIED: u8 = 7;
}

/// When a message was judged, and where among the session's sequences.
#[derive(Clone, Copy, Debug)]
struct Judged {
    at: Timestamp,
    sequence: i64,
    has_events: bool,
}

/// The session's entries in order; upcoming timers last.
pub(super) fn timeline(trail: &Trail) -> Vec<Entry> {
    let judged = judged(trail);
    let mut entries = Vec::new();
    events(trail, &mut entries);
    inputs(trail, &judged, &mut entries);
    results(trail, &mut entries);
    let letters = trail.letters.iter().map(|letter| {
        let at = letter.at;
        Entry {
            at,
            record: Some(letter.record.clone()),
            more: fields([
                ("reason", json!(letter.reason)),
                ("message", json!(letter.message)),
                ("of", json!(place(&letter.origin))),
            ]),
            detail: format!("{} of {}", letter.message, place(&letter.origin)),
            ..Entry::new(
                Kind::DeadLetter,
                format!("dead letter: {}", letter.reason),
                (millis(at), i64::MAX, rank::DIED),
            )
        }
    });
    entries.extend(letters);
    entries.sort_by(|a, b| (a.order, &a.record).cmp(&(b.order, &b.record)));
    entries.extend(upcoming(&trail.stored.session, trail.now));
    entries
}

impl Entry {
    pub(super) fn new(kind: Kind, what: impl Into<String>, order: Order) -> Self {
        Self {
            kind,
            at: None,
            what: what.into(),
            record: None,
            repeats: Vec::new(),
            message_id: None,
            user_id: None,
            more: Map::new(),
            detail: String::new(),
            order,
        }
    }
}

pub(super) fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

pub(super) fn instant(at: Option<i64>) -> Value {
    json!(at.map(|at| rfc3339(Timestamp(at))))
}

fn millis(at: Option<Timestamp>) -> i64 {
    at.map_or(i64::MAX, |at| at.0)
}

fn judged(trail: &Trail) -> HashMap<MessageId, Judged> {
    let mut first_events: HashMap<&str, i64> = HashMap::new();
    for (sequence, event) in &trail.events {
        let cause = event.value.causation_id.as_str();
        first_events.entry(cause).or_insert(*sequence);
    }
    let mut judged = HashMap::new();
    let mut note = |id: MessageId, at: Timestamp, sequence: Option<i64>| {
        let first = first_events.get(id.as_str()).copied();
        judged.entry(id).or_insert(Judged {
            at,
            sequence: first.or(sequence).unwrap_or(i64::MAX),
            has_events: first.is_some(),
        });
    };
    for (id, entry) in &trail.ledger {
        let result = &entry.remembered.result;
        note(id.clone(), result.decided_at, result.sequence);
    }
    for result in &trail.results {
        let value = &result.value;
        // A conflict is judged in its own right; what came first under the id is not known from it.
        if !value.replayed && value.code.as_deref() != Some("command_conflict") {
            note(
                result_id(value),
                Timestamp(value.decided_at),
                value.sequence,
            );
        }
    }
    judged
}

fn events(trail: &Trail, entries: &mut Vec<Entry>) {
    let mut fired = "";
    for event in trail.events.values() {
        let value = &event.value;
        let timer = trail.timer(&value.causation_id);
        if let Some(timer) = timer.filter(|_| value.causation_id != fired) {
            entries.push(timer_fired(trail, timer, event));
        }
        fired = &value.causation_id;
        let participant = value.participant.as_ref();
        entries.push(Entry {
            at: Some(Timestamp(value.occurred_at)),
            record: Some(event.record.clone()),
            repeats: event.repeats.clone(),
            message_id: timer.is_none().then(|| value.causation_id.clone()),
            user_id: participant
                .map(|participant| participant.user_id.clone())
                .or_else(|| value.actor_user_id.clone()),
            more: fields([
                ("sequence", json!(value.sequence)),
                ("causationId", json!(value.causation_id)),
                ("correlationId", json!(value.correlation_id)),
                ("actorUserId", json!(value.actor_user_id)),
                ("reason", json!(value.reason)),
                ("previousHostUserId", json!(value.previous_host_user_id)),
                ("hostUserId", json!(value.session.host_user_id)),
                ("secondsLeft", json!(value.seconds_left)),
                ("status", json!(value.session.status)),
                ("participantCount", json!(value.session.participant_count)),
                (
                    "participantStatus",
                    json!(participant.map(|participant| &participant.status)),
                ),
            ]),
            detail: event_detail(value),
            ..Entry::new(
                Kind::Event,
                value.r#type.clone(),
                (value.occurred_at, value.sequence, rank::EVENT),
            )
        });
    }
}

fn event_detail(event: &SentEvent) -> String {
    let session = &event.session;
    let reason = event.reason.as_deref().unwrap_or_default();
    let who = event.participant.as_ref();
    match event.r#type.as_str() {
        "session.created" => format!("host {}", session.host_user_id),
        "session.started" => session.expires_at.map_or_else(String::new, |at| {
            format!("until {}", clock_time(Timestamp(at)))
        }),
        "session.expiring" => format!("{} s left", event.seconds_left.unwrap_or(0)),
        "session.host_changed" => format!(
            "{} → {} ({reason})",
            event.previous_host_user_id.as_deref().unwrap_or_default(),
            session.host_user_id
        ),
        "session.ended" => reason.to_owned(),
        _ => {
            let mut text = who.map_or_else(String::new, |who| who.user_id.clone());
            if who.is_some_and(|who| who.rejoin) && event.r#type == "participant.joined" {
                text.push_str(", again");
            }
            if !reason.is_empty() {
                text.push_str(&format!(" ({reason})"));
            }
            text.push_str(&format!(
                ", {} of {} in",
                session.participant_count, session.max_participants
            ));
            text
        }
    }
}

fn inputs(trail: &Trail, judged: &HashMap<MessageId, Judged>, entries: &mut Vec<Entry>) {
    let mut seen: BTreeMap<&Origin, i64> = BTreeMap::new();
    let mut told: HashMap<&MessageId, bool> = HashMap::new();
    // Copies come after what they are copies of, whatever the topics are called.
    let (copies, own): (Vec<_>, Vec<_>) = trail
        .inputs
        .iter()
        .partition(|input| input.claim.as_ref().is_some_and(Claim::counts));
    for input in own.into_iter().chain(copies) {
        let memory = input.id.as_ref().and_then(|id| trail.ledger.get(id));
        let claim = input.claim.as_ref().filter(|claim| claim.counts());
        let origin = claim.map_or(&input.record, |claim| &claim.origin);
        let died = trail
            .letters
            .iter()
            .any(|letter| letter.origin == input.record);
        // What died was never judged, whatever became of its id later.
        let first = memory
            .filter(|_| !died)
            .map(|memory| memory.origin == *origin);
        if let Some(id) = &input.id {
            *told.entry(id).or_default() |= first.unwrap_or(false) && claim.is_none();
        }
        let judged = input
            .id
            .as_ref()
            .and_then(|id| judged.get(id))
            .filter(|_| first != Some(false));
        let mut at = millis(input.at);
        if let Some(judged) = judged {
            at = at.min(judged.at.0);
        }
        if let Some(before) = claim.and_then(|claim| seen.get(&claim.origin)) {
            at = at.max(*before);
        }
        seen.insert(&input.record, at);
        let idle = judged.is_none_or(|judged| !judged.has_events);
        let rank = match (claim.is_some(), idle) {
            (false, false) => rank::CAUSE,
            (true, false) => rank::SENT_HOME,
            (false, true) => rank::IDLE_CAUSE,
            (true, true) => rank::IDLE_SENT_HOME,
        };
        let order = (at, judged.map_or(i64::MAX, |judged| judged.sequence), rank);
        entries.push(match claim {
            Some(claim) => sent_home(input, claim, order),
            None => sent(input, first, order),
        });
    }
    for (id, memory) in &trail.ledger {
        if told.get(id).copied().unwrap_or(false) {
            continue;
        }
        // What is remembered was read once, though it cannot be any more.
        entries.push(unseen(id, memory, judged.get(id)));
    }
}

impl Claim {
    /// Whether the record is a lane's copy: without evidence the header counts as absent.
    fn counts(&self) -> bool {
        self.holds != Some(false)
    }
}

fn sent(input: &Input, first: Option<bool>, order: Order) -> Entry {
    let id = input.id.as_ref().map(|id| id.as_str().to_owned());
    let (kind, what) = match (&input.message, &input.id) {
        (Ok(Message::Match(found)), _) if found.session_id.is_some() => {
            (Kind::Match, "MatchFound (backfill)".to_owned())
        }
        (Ok(Message::Match(_)), _) | (Err(_), Some(MessageId::Match(_))) => {
            (Kind::Match, "MatchFound".to_owned())
        }
        (Ok(Message::Command(command)), _) => {
            (Kind::Command, command_name(&command.action).to_owned())
        }
        (Err(_), _) => (Kind::Command, "not decoded".to_owned()),
    };
    let arguments = input.message.as_ref().ok().map(arguments);
    let mut words = Vec::new();
    if first == Some(false) {
        words.push("a duplicate".to_owned());
    }
    if input.replays > 0 {
        words.push(format!("from the dead letters, {}×", input.replays));
    }
    if input.claim.is_some() {
        words.push("claims to be forwarded, without evidence".to_owned());
    }
    match &input.message {
        Ok(Message::Command(command)) => words.push(command.user_id.clone()),
        Ok(Message::Match(_)) => {}
        Err(reason) => words.push(reason.clone()),
    }
    words.extend(arguments.iter().flat_map(|arguments| {
        let given = arguments.iter().filter(|(_, value)| !value.is_null());
        given.map(|(name, value)| format!("{name}={}", plain(value)))
    }));
    Entry {
        at: input.at,
        record: Some(input.record.clone()),
        repeats: input.repeats.clone(),
        message_id: id,
        user_id: input.message.as_ref().ok().and_then(Message::user_id),
        more: fields([
            ("arguments", json!(arguments)),
            ("issuedAt", instant(issued_at(input))),
            ("tier", json!(tier(input))),
            (
                "judged",
                json!(first.map(|first| if first { "first" } else { "duplicate" })),
            ),
            ("correlationId", json!(input.correlation_id)),
            ("replays", json!(input.replays)),
            ("unread", json!(input.message.as_ref().err())),
        ]),
        detail: words.join(" "),
        ..Entry::new(kind, what, order)
    }
}

fn sent_home(input: &Input, claim: &Claim, order: Order) -> Entry {
    let id = input.id.as_ref().map(|id| id.as_str().to_owned());
    let doubt = match claim.holds {
        Some(_) => "",
        None => ", evidence not looked at",
    };
    let what = match &input.message {
        Ok(Message::Command(command)) => {
            format!("{} of {} ", command_name(&command.action), command.user_id)
        }
        Ok(Message::Match(_)) => "the match ".to_owned(),
        Err(_) => String::new(),
    };
    Entry {
        at: input.at,
        record: Some(input.record.clone()),
        repeats: input.repeats.clone(),
        message_id: id,
        user_id: input.message.as_ref().ok().and_then(Message::user_id),
        more: fields([
            ("from", json!(place(&claim.origin))),
            ("home", json!(input.record.lane.to_string())),
            ("hops", json!(claim.hops)),
            ("evidence", json!(claim.holds)),
        ]),
        detail: format!("{what}from {}{doubt}", place(&claim.origin)),
        ..Entry::new(Kind::Forward, "sent home", order)
    }
}

fn unseen(id: &MessageId, memory: &LedgerEntry, judged: Option<&Judged>) -> Entry {
    let (kind, what) = match id {
        MessageId::Command(_) => (Kind::Command, "a command"),
        MessageId::Match(_) => (Kind::Match, "MatchFound"),
    };
    let decided = memory.remembered.result.decided_at;
    let (sequence, rank) = judged.map_or((i64::MAX, rank::IDLE_CAUSE), |judged| {
        let cause = if judged.has_events {
            rank::CAUSE
        } else {
            rank::IDLE_CAUSE
        };
        (judged.sequence, cause)
    });
    let user_id = memory.remembered.result.user_id.clone();
    let who = user_id
        .as_ref()
        .map_or_else(String::new, |user| format!("{user} "));
    let unread = "its record was not read";
    Entry {
        record: Some(memory.origin.clone()),
        message_id: Some(id.as_str().to_owned()),
        detail: format!("{who}{unread}"),
        user_id,
        more: fields([
            ("arguments", Value::Null),
            ("issuedAt", Value::Null),
            ("tier", Value::Null),
            ("judged", json!("first")),
            ("correlationId", Value::Null),
            ("replays", json!(0)),
            ("unread", json!(unread)),
        ]),
        ..Entry::new(kind, what, (decided.0, sequence, rank))
    }
}

fn results(trail: &Trail, entries: &mut Vec<Entry>) {
    let names: HashMap<&MessageId, &str> = trail
        .inputs
        .iter()
        .filter_map(|input| {
            let Ok(Message::Command(command)) = &input.message else {
                return None;
            };
            Some((input.id.as_ref()?, command_name(&command.action)))
        })
        .collect();
    let answers = |id: &MessageId, user: Option<&str>| {
        let what = match id {
            MessageId::Match(_) => "the match",
            MessageId::Command(_) => names.get(id).copied().unwrap_or("a command"),
        };
        user.map_or_else(|| what.to_owned(), |user| format!("{what} of {user}"))
    };
    let mut answered = std::collections::HashSet::new();
    for result in &trail.results {
        let value = &result.value;
        let id = result_id(value);
        // The time of a replay is its record's: `decidedAt` is the first one's.
        let at = if value.replayed {
            result.at
        } else {
            Some(Timestamp(value.decided_at))
        };
        let shown = Answer {
            outcome: &value.outcome,
            code: value.code.as_deref(),
            http_status: value.http_status,
            detail: &value.detail,
            sequence: value.sequence,
            replayed: value.replayed,
            source: "kafka",
        };
        let order = match value.sequence {
            Some(sequence) if !value.replayed => (millis(at), sequence, rank::RESULT),
            _ => (millis(at), i64::MAX, rank::RESULT),
        };
        entries.push(Entry {
            at,
            record: Some(result.record.clone()),
            repeats: result.repeats.clone(),
            message_id: Some(value.command_id.clone()),
            user_id: value.user_id.clone(),
            ..shown.entry(&answers(&id, value.user_id.as_deref()), order)
        });
        if !value.replayed {
            answered.insert(id);
        }
    }
    for (id, memory) in &trail.ledger {
        if answered.contains(id) {
            continue;
        }
        let first = &memory.remembered.result;
        let shown = Answer {
            outcome: if first.code.is_none() {
                "accepted"
            } else {
                "rejected"
            },
            code: first.code.map(|code| code.as_str()),
            http_status: first.http_status,
            detail: &first.detail,
            sequence: first.sequence,
            replayed: false,
            source: "ledger",
        };
        let order = (
            first.decided_at.0,
            first.sequence.unwrap_or(i64::MAX),
            rank::RESULT,
        );
        entries.push(Entry {
            at: Some(first.decided_at),
            message_id: Some(id.as_str().to_owned()),
            user_id: first.user_id.clone(),
            ..shown.entry(&answers(id, first.user_id.as_deref()), order)
        });
    }
}

struct Answer<'a> {
    outcome: &'a str,
    code: Option<&'a str>,
    http_status: i32,
    detail: &'a str,
    sequence: Option<i64>,
    replayed: bool,
    source: &'static str,
}

impl Answer<'_> {
    fn entry(&self, answers: &str, order: Order) -> Entry {
        let what = format!("{} {}", self.http_status, self.code.unwrap_or(self.outcome));
        let again = if self.replayed { ", replayed" } else { "" };
        Entry {
            more: fields([
                ("outcome", json!(self.outcome)),
                ("code", json!(self.code)),
                ("httpStatus", json!(self.http_status)),
                ("detail", json!(self.detail)),
                ("sequence", json!(self.sequence)),
                ("replayed", json!(self.replayed)),
                ("source", json!(self.source)),
            ]),
            detail: format!("{answers}: {}{again}", self.detail),
            ..Entry::new(Kind::Result, what, order)
        }
    }
}
