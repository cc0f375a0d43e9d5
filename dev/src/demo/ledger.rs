//! What was asked and what the worker published: counts for people, and the checks of the contract's
//! guarantees that a client can make (contract 1 and 3). A breach is kept as a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tokio::sync::oneshot;

use super::pulse::Pulse;
use super::scene::Figures;
use super::summary::Summary;

pub(super) struct Ledger {
    began: Instant,
    pulse: Pulse,
    /// By origin and id.
    asked: BTreeMap<(String, String), Asked>,
    /// Results by code.
    codes: BTreeMap<String, u64>,
    /// Events by type.
    types: BTreeMap<String, u64>,
    /// The events of each session, by sequence.
    sessions: BTreeMap<String, BTreeMap<i64, Json>>,
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
    /// From the kill to the first answer from one of the partitions.
    taken_over: Option<Duration>,
}

/// A learner's part in a session, as the events told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) session: String,
    pub(super) joined_at: i64,
    /// The last event's, which is the end's once the session has ended.
    pub(super) reason: String,
    pub(super) participants: i64,
    pub(super) duration: i64,
    pub(super) speaking: i64,
}

impl Ledger {
    /// Opens the ledger; rates and windows count from `began`.
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            pulse: Pulse::default(),
            asked: BTreeMap::new(),
            codes: BTreeMap::new(),
            types: BTreeMap::new(),
            sessions: BTreeMap::new(),
            redelivered: 0,
            garbage: 0,
            dead_letters: 0,
            kill: None,
            notes: Vec::new(),
            faults: Vec::new(),
        }
    }

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
            taken_over: None,
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
            self.pulse.answered(self.began.elapsed(), None);
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
            let waited = asked.at.map(|at| at.elapsed());
            self.pulse.answered(self.began.elapsed(), waited);
            if let (Some(kill), Some(partition), Some(at)) =
                (&mut self.kill, asked.partition, asked.at)
                && kill.taken_over.is_none()
                && at > kill.at
                && kill.partitions.contains(&partition)
            {
                let after = kill.at.elapsed();
                kill.taken_over = Some(after);
                self.notes.push(format!(
                    "taken over: the first answer from partition {partition}, {:.1} s after the kill",
                    after.as_secs_f64()
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
        self.pulse.event(self.began.elapsed(), &event);
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

    /// From the kill to the take-over, once there was one.
    pub(super) fn taken_over(&self) -> Option<Duration> {
        self.kill.as_ref().and_then(|kill| kill.taken_over)
    }

    /// How it stands.
    pub(super) fn figures(&self) -> Figures {
        let now = self.began.elapsed();
        let mut codes: Vec<_> = self.codes.clone().into_iter().collect();
        codes.sort_by(|(_, one), (_, other)| other.cmp(one));
        Figures {
            waiting: self.status("waiting"),
            active: self.status("active"),
            ended: self.status("ended"),
            asked: self.asked.values().map(|asked| asked.times).sum(),
            answered: self.codes.values().sum(),
            events: self.types.values().sum(),
            answers_by_second: self.pulse.answers_by_second(now),
            events_by_second: self.pulse.events_by_second(now),
            recent: self.pulse.recent(now),
            all: self.pulse.all(),
            codes,
            passing: self.pulse.passing(),
            faults: self.faults.clone(),
        }
    }

    /// The session with the most kinds of events.
    pub(super) fn most_eventful(&self) -> Option<&str> {
        let richness = |events: &BTreeMap<i64, Json>| {
            let kinds: BTreeSet<_> = events
                .values()
                .map(|event| event["type"].as_str())
                .collect();
            (kinds.len(), events.len())
        };
        let best = self
            .sessions
            .iter()
            .max_by_key(|(_, events)| richness(events));
        best.map(|(session, _)| session.as_str())
    }

    /// Every learner's sessions, as `participant.joined` and the last event of each told them.
    pub(super) fn parts(&self) -> BTreeMap<String, Vec<Part>> {
        let mut parts: BTreeMap<String, BTreeMap<String, Part>> = BTreeMap::new();
        for (session, events) in &self.sessions {
            let Some((_, last)) = events.last_key_value() else {
                continue;
            };
            let statistics = &last["statistics"];
            let number = |value: &Json| value.as_i64().unwrap_or_default();
            let joined = events
                .values()
                .filter(|event| event["type"] == "participant.joined")
                .map(|event| &event["participant"]);
            for participant in joined {
                let user = participant["userId"].as_str().unwrap_or_default();
                let own = statistics["participants"].as_array();
                let own = own.and_then(|all| all.iter().find(|own| own["userId"] == user));
                let part = Part {
                    session: session.clone(),
                    joined_at: number(&participant["joinedAt"]),
                    reason: last["reason"].as_str().unwrap_or_default().to_owned(),
                    participants: number(&statistics["totalParticipants"]),
                    duration: number(&statistics["durationSeconds"]),
                    speaking: own.map_or(0, |own| number(&own["speakingTimeSeconds"])),
                };
                let known = parts.entry(user.to_owned()).or_default();
                known.entry(session.clone()).or_insert(part);
            }
        }
        let list = |parts: BTreeMap<_, _>| parts.into_values().collect();
        let parts = parts.into_iter();
        parts.map(|(user, parts)| (user, list(parts))).collect()
    }

    /// What came of it, and every fault.
    pub(super) fn summary(&self, took: Duration) -> Summary {
        let mut faults = self.faults.clone();
        for ((origin, id), asked) in &self.asked {
            if asked.first.is_none() {
                faults.push(format!("{origin} {id} was never answered"));
            } else if asked.replays + 1 < asked.times {
                // More than that is no fault: a replayed answer may be redelivered after a crash.
                faults.push(format!("a duplicate of {origin} {id} was never answered"));
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
        if self.taken_over().is_none() {
            faults.push("nobody took over the killed worker's partitions".to_owned());
        }
        Summary {
            figures: self.figures(),
            types: self.types.clone(),
            redelivered: self.redelivered,
            dead_letters: self.dead_letters,
            taken_over: self.taken_over(),
            faults,
            took,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(sequence: i64, kind: &str, more: &Json) -> Json {
        let mut event = json!({"sessionId": "s", "sequence": sequence, "type": kind});
        for (key, value) in more.as_object().into_iter().flatten() {
            event[key] = value.clone();
        }
        event
    }

    fn result(id: &str, detail: &str) -> Json {
        json!({"origin": "command", "commandId": id, "code": null, "replayed": false, "detail": detail})
    }

    fn ledger() -> Ledger {
        Ledger::new(Instant::now())
    }

    #[test]
    fn an_event_that_comes_again_is_redelivered_if_equal_and_a_fault_if_not() {
        let mut ledger = ledger();
        let created = event(1, "session.created", &Json::Null);
        ledger.event(created.clone());
        ledger.event(created);
        assert_eq!((ledger.redelivered, ledger.faults.len()), (1, 0));
        ledger.event(event(1, "session.ended", &Json::Null));
        assert_eq!(ledger.faults, ["two different events 1 of session s"]);
        ledger.event(event(3, "session.ended", &Json::Null));
        assert_eq!(ledger.faults[1], "event 3 of session s came after 1");
    }

    #[test]
    fn a_second_answer_is_a_fault_if_it_is_another_one() {
        let mut ledger = ledger();
        let _answer = ledger.ask("command", "c");
        ledger.result(result("c", "once"));
        ledger.result(result("c", "once"));
        assert_eq!((ledger.redelivered, ledger.faults.len()), (1, 0));
        ledger.result(result("c", "otherwise"));
        ledger.result(result("d", ""));
        assert_eq!(
            ledger.faults,
            [
                "two different answers to command c",
                "an answer to command d, which nobody sent"
            ]
        );
    }

    #[test]
    fn the_takeover_is_an_answer_from_a_killed_lane_to_what_was_asked_after_the_kill() {
        let mut ledger = ledger();
        let ask = |ledger: &mut Ledger, id: &str, partition| {
            let _answer = ledger.ask("command", id);
            ledger.sent("command", id, partition);
        };
        ask(&mut ledger, "before", 3);
        ledger.killed(vec![2, 3]);
        ledger.result(result("before", ""));
        ask(&mut ledger, "elsewhere", 4);
        ledger.result(result("elsewhere", ""));
        assert_eq!(ledger.taken_over(), None);
        let faults = ledger.summary(Duration::ZERO).faults;
        assert_eq!(faults, ["nobody took over the killed worker's partitions"]);
        ask(&mut ledger, "after", 2);
        ledger.result(result("after", ""));
        assert!(ledger.taken_over().is_some());
        assert_eq!(ledger.summary(Duration::ZERO).faults, [""; 0]);
    }

    #[test]
    fn a_learners_part_is_the_first_join_and_the_end() {
        let mut ledger = ledger();
        let joined = |at: i64| json!({"participant": {"userId": "ann", "joinedAt": at}});
        ledger.event(event(1, "participant.joined", &joined(7)));
        ledger.event(event(2, "participant.joined", &joined(7)));
        let own = json!([{"userId": "bob", "speakingTimeSeconds": 9}, {"userId": "ann", "speakingTimeSeconds": 4}]);
        let statistics =
            json!({"totalParticipants": 2, "durationSeconds": 12, "participants": own});
        let end = json!({"reason": "timeout", "statistics": statistics});
        ledger.event(event(3, "session.ended", &end));
        let part = Part {
            session: "s".to_owned(),
            joined_at: 7,
            reason: "timeout".to_owned(),
            participants: 2,
            duration: 12,
            speaking: 4,
        };
        let expected = BTreeMap::from([("ann".to_owned(), vec![part])]);
        assert_eq!(ledger.parts(), expected);
    }
}
