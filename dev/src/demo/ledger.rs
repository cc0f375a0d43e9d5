//! What was asked and what the worker published: counts for people, and the checks of the contract's
//! guarantees that a client can make (contract 1 and 3). A breach is kept as a fault.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tokio::sync::oneshot;

use super::lines::say;

#[derive(Default)]
pub(super) struct Ledger {
    /// By origin and id.
    asked: BTreeMap<(String, String), Asked>,
    /// Results by code.
    codes: BTreeMap<String, u64>,
    /// Events by type.
    types: BTreeMap<String, u64>,
    /// The events of each session, by sequence.
    sessions: BTreeMap<String, BTreeMap<i64, Json>>,
    /// Milliseconds from command to first result.
    latencies: Vec<u128>,
    redelivered: u64,
    garbage: u64,
    dead_letters: u64,
    kill: Option<Kill>,
    notes: Vec<String>,
    faults: Vec<String>,
}

#[derive(Default)]
struct Asked {
    at: Option<Instant>,
    times: u64,
    partition: Option<i32>,
    first: Option<Json>,
    replays: u64,
    waiting: Vec<oneshot::Sender<Json>>,
}

struct Kill {
    at: Instant,
    partitions: Vec<i32>,
    is_taken_over: bool,
}

impl Ledger {
    /// Notes a command or match that is about to be sent.
    pub(super) fn ask(&mut self, origin: &str, id: &str) -> oneshot::Receiver<Json> {
        let (sender, receiver) = oneshot::channel();
        let asked = self
            .asked
            .entry((origin.to_owned(), id.to_owned()))
            .or_default();
        asked.at = Some(Instant::now());
        asked.times += 1;
        asked.waiting.push(sender);
        receiver
    }

    pub(super) fn sent(&mut self, origin: &str, id: &str, partition: i32) {
        if let Some(asked) = self.asked.get_mut(&(origin.to_owned(), id.to_owned())) {
            asked.partition = Some(partition);
        }
    }

    pub(super) fn garbage(&mut self) {
        self.garbage += 1;
    }

    pub(super) fn dead_letter(&mut self) {
        self.dead_letters += 1;
    }

    pub(super) fn fault(&mut self, fault: String) {
        self.notes.push(format!("FAULT: {fault}"));
        self.faults.push(fault);
    }

    pub(super) fn killed(&mut self, partitions: Vec<i32>) {
        self.kill = Some(Kill {
            at: Instant::now(),
            partitions,
            is_taken_over: false,
        });
    }

    pub(super) fn result(&mut self, result: Json) {
        let field = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
        let (origin, id) = (field("origin"), field("commandId"));
        let code = result["code"].as_str().unwrap_or("accepted").to_owned();
        let Some(asked) = self.asked.get_mut(&(origin.clone(), id.clone())) else {
            self.fault(format!("an answer to {origin} {id}, which nobody sent"));
            return;
        };
        let is_conflict = code == "command_conflict" && asked.first.is_some();
        if result["replayed"] == true || is_conflict {
            asked.replays += 1;
            let note = if is_conflict { "" } else { ", replayed" };
            *self.codes.entry(format!("{code}{note}")).or_default() += 1;
        } else if let Some(first) = &asked.first {
            // A crash between publishing and noting it repeats the same bytes (contract 3.2).
            if *first == result {
                self.redelivered += 1;
            } else {
                self.fault(format!("two different answers to {origin} {id}"));
            }
            return;
        } else {
            *self.codes.entry(code).or_default() += 1;
            asked.first = Some(result.clone());
            if let Some(at) = asked.at {
                self.latencies.push(at.elapsed().as_millis());
            }
            if let (Some(kill), Some(partition), Some(at)) =
                (&mut self.kill, asked.partition, asked.at)
                && !kill.is_taken_over
                && at > kill.at
                && kill.partitions.contains(&partition)
            {
                kill.is_taken_over = true;
                let after = kill.at.elapsed().as_secs_f64();
                self.notes.push(format!(
                    "taken over: the first answer from partition {partition}, {after:.1} s after the kill"
                ));
            }
        }
        if !asked.waiting.is_empty() {
            // Whoever waited too long is gone.
            let _ = asked.waiting.remove(0).send(result);
        }
    }

    pub(super) fn event(&mut self, event: Json) {
        let session = event["sessionId"].as_str().unwrap_or_default().to_owned();
        let sequence = event["sequence"].as_i64().unwrap_or_default();
        let known = self.sessions.entry(session.clone()).or_default();
        if let Some(before) = known.get(&sequence) {
            if *before == event {
                self.redelivered += 1;
            } else {
                self.fault(format!(
                    "two different events {sequence} of session {session}"
                ));
            }
            return;
        }
        let last = known.last_key_value().map_or(0, |(last, _)| *last);
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        known.insert(sequence, event);
        *self.types.entry(kind).or_default() += 1;
        if sequence != last + 1 {
            self.fault(format!(
                "event {sequence} of session {session} came after {last}"
            ));
        }
    }

    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Whether everything asked is answered, every session ended, every bad record put aside.
    pub(super) fn is_over(&self) -> bool {
        self.asked
            .values()
            .all(|asked| asked.first.is_some() && asked.replays + 1 >= asked.times)
            && self.status("ended") == self.sessions.len()
            && self.dead_letters >= self.garbage
    }

    fn status(&self, status: &str) -> usize {
        let last = |events: &BTreeMap<i64, Json>| {
            events
                .last_key_value()
                .is_some_and(|(_, event)| event["session"]["status"] == status)
        };
        self.sessions.values().filter(|events| last(events)).count()
    }

    /// A line about how it goes.
    pub(super) fn progress(&self, elapsed: Duration) -> String {
        let (p50, p99, _) = percentiles(&self.latencies);
        let answered: u64 = self.codes.values().sum();
        let refused: Vec<_> = self
            .codes
            .iter()
            .filter(|(code, _)| !code.starts_with("accepted"))
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        format!(
            "{:>3} s  sessions: {} waiting, {} active, {} ended · {} asked, {answered} answered (p50 {p50} ms, p99 {p99} ms) · {} events · refused: {}",
            elapsed.as_secs(),
            self.status("waiting"),
            self.status("active"),
            self.status("ended"),
            self.asked.values().map(|asked| asked.times).sum::<u64>(),
            self.types.values().sum::<u64>(),
            if refused.is_empty() {
                "none".to_owned()
            } else {
                refused.join(", ")
            },
        )
    }

    /// What came of it, and every fault.
    pub(super) fn summary(&self, took: Duration) -> Summary {
        let mut faults = self.faults.clone();
        for ((origin, id), asked) in &self.asked {
            if asked.first.is_none() {
                faults.push(format!("{origin} {id} was never answered"));
            } else if asked.replays + 1 != asked.times {
                // A replayed answer may itself be redelivered after a crash.
                if asked.replays + 1 < asked.times {
                    faults.push(format!("a duplicate of {origin} {id} was never answered"));
                }
            }
        }
        for (session, events) in &self.sessions {
            let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
            if !events.keys().copied().eq(1..=count) {
                faults.push(format!("the events of session {session} have a gap"));
            }
            let ends = events
                .values()
                .filter(|event| event["type"] == "session.ended")
                .count();
            let last = events.last_key_value().map(|(_, event)| &event["type"]);
            if ends != 1 || last.is_none_or(|kind| *kind != "session.ended") {
                faults.push(format!("session {session} has not ended last, and once"));
            }
        }
        if self.dead_letters < self.garbage {
            faults.push("a record that is no command was not put aside".to_owned());
        }
        if self
            .kill
            .as_ref()
            .is_none_or(|kill| !kill.is_taken_over && !kill.partitions.is_empty())
        {
            faults.push("nobody took over the killed worker's partitions".to_owned());
        }
        let interesting = self.sessions.values().max_by_key(|events| {
            let kinds: std::collections::BTreeSet<_> = events
                .values()
                .map(|event| event["type"].to_string())
                .collect();
            (kinds.len(), events.len())
        });
        Summary {
            codes: self.codes.clone(),
            types: self.types.clone(),
            sessions: self.sessions.len(),
            asked: self.asked.values().map(|asked| asked.times).sum(),
            latencies: percentiles(&self.latencies),
            redelivered: self.redelivered,
            dead_letters: self.dead_letters,
            story: interesting
                .map(|events| events.values().cloned().collect())
                .unwrap_or_default(),
            faults,
            took,
        }
    }
}

/// p50, p99 and the worst.
pub(crate) fn percentiles(latencies: &[u128]) -> (u128, u128, u128) {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let last = sorted.len().saturating_sub(1);
        sorted
            .get(last * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    (at(50), at(99), at(100))
}

/// What came of a run.
pub(super) struct Summary {
    codes: BTreeMap<String, u64>,
    types: BTreeMap<String, u64>,
    sessions: usize,
    asked: u64,
    latencies: (u128, u128, u128),
    redelivered: u64,
    dead_letters: u64,
    story: Vec<Json>,
    faults: Vec<String>,
    took: Duration,
}

impl Summary {
    pub(super) fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn print(&self) {
        say("\nresults");
        for (code, count) in &self.codes {
            say(&format!("  {count:>6}  {code}"));
        }
        say("events");
        for (kind, count) in &self.types {
            say(&format!("  {count:>6}  {kind}"));
        }
        say(&format!(
            "  {:>6}  redelivered, equal to the first",
            self.redelivered
        ));
        say(&format!("  {:>6}  dead letters", self.dead_letters));
        say("\none session");
        let instant = |event: &Json| event["occurredAt"].as_i64().unwrap_or_default();
        let began = self.story.first().map(instant).unwrap_or_default();
        for event in &self.story {
            #[expect(clippy::cast_precision_loss, reason = "a session's seconds are few")]
            let seconds = (instant(event) - began) as f64 / 1000.0;
            let word = |value: &Json| value.as_str().unwrap_or_default().to_owned();
            let who = event["participant"]["userId"]
                .as_str()
                .map_or_else(|| word(&event["actorUserId"]), str::to_owned);
            say(&format!(
                "  {:>3}  +{seconds:>6.3} s  {:<24} {who:<12} {}",
                event["sequence"].as_i64().unwrap_or_default(),
                word(&event["type"]),
                word(&event["reason"]),
            ));
        }
        let (p50, p99, worst) = self.latencies;
        let seconds = self.took.as_secs_f64();
        let events: u64 = self.types.values().sum();
        #[expect(clippy::cast_precision_loss, reason = "a minute's counts are small")]
        let rates = (self.asked as f64 / seconds, events as f64 / seconds);
        say(&format!(
            "\n{} sessions, {} commands and matches, {events} events in {seconds:.0} s: {:.0} commands/s, {:.0} events/s (the learners' pace, not the worker's)",
            self.sessions, self.asked, rates.0, rates.1
        ));
        say(&format!(
            "command to result: p50 {p50} ms, p99 {p99} ms, worst {worst} ms (the kill is in it)"
        ));
        if self.faults.is_empty() {
            say(
                "every command answered exactly once, every session's events gapless and ended last",
            );
        }
        for fault in &self.faults {
            say(&format!("FAULT: {fault}"));
        }
    }
}
