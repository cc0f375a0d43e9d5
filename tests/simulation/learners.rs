//! What learners and matchmaking send in a simulation: a seed's mix of every command, with duplicates,
//! foreign keys, unknown codes and records that nobody can read; among the senders are forgers.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use session_worker::domain::SessionId;
use session_worker::record::{OutRecord, TopicPartition};
use uuid::Uuid;

use crate::broker::{Broker, Place};
use crate::database::SimClock;
use crate::outputs::{self, ResultView};

const USERS: usize = 9;

/// What a record is to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One result under this id.
    Message(String),
    /// Nothing: a copy of a forward.
    Copy,
    /// A dead letter: nobody can read it.
    Unreadable,
    /// A dead letter: it claims a right that it does not have.
    Forbidden,
}

/// A record that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

/// What a message is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    pub(crate) users: Vec<String>,
    pub(crate) session: Option<String>,
    pub(crate) code: Option<String>,
}

/// A record to send.
pub(crate) struct Draft {
    pub(crate) record: OutRecord,
    pub(crate) kind: Kind,
}

/// The senders.
pub(crate) struct Learners {
    pub(crate) rng: StdRng,
    /// Messages that may be sent again.
    messages: Vec<OutRecord>,
    sessions: Vec<String>,
    codes: Vec<String>,
    count: usize,
    /// Everything that was sent.
    pub(crate) sent: Vec<Sent>,
    /// By id; of an id that forgers use, too, everything that any of its messages is about.
    pub(crate) subjects: BTreeMap<String, Subject>,
    /// Where each session whose code is known was made known.
    pub(crate) code_of: BTreeMap<String, String>,
    learned: BTreeMap<i32, i64>,
}

impl Learners {
    /// Senders on `seed`'s schedule.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            messages: Vec::new(),
            sessions: Vec::new(),
            codes: Vec::new(),
            count: 0,
            sent: Vec::new(),
            subjects: BTreeMap::new(),
            code_of: BTreeMap::new(),
            learned: BTreeMap::new(),
        }
    }

    /// Learns codes from the results that were published since the last time.
    pub(crate) fn learn(&mut self, broker: &Broker, results: &Arc<str>, partitions: i32) {
        for partition in 0..partitions {
            let from = self.learned.entry(partition).or_default();
            let lane = TopicPartition::new(Arc::clone(results), partition);
            let published = broker.tail(&lane, *from);
            *from += i64::try_from(published.len()).expect("short logs");
            for record in published {
                self.learn_from(&outputs::result(record.value.as_deref()));
            }
        }
    }

    fn learn_from(&mut self, result: &ResultView) {
        if let (Some(code), Some(session)) = (&result.invite_code, &result.session_id)
            && self.code_of.insert(code.clone(), session.clone()).is_none()
        {
            self.codes.push(code.clone());
        }
    }

    /// Takes note of what was sent.
    pub(crate) fn sent(&mut self, place: Place, kind: Kind) {
        self.sent.push(Sent { place, kind });
    }

    /// The next record to send. `forwards`: what anybody can read of the worker's own topic.
    pub(crate) fn next(&mut self, forwards: &[(Place, OutRecord)]) -> Draft {
        if self.rng.random_bool(0.06) {
            return self.forge(forwards);
        }
        if !self.messages.is_empty() && self.rng.random_bool(0.12) {
            // Duplicates come soon after their first, or much later.
            let again = if self.rng.random_bool(0.5) {
                self.messages.last()
            } else {
                self.messages.choose(&mut self.rng)
            };
            return self.again(again.expect("not empty").clone());
        }
        if self.rng.random_bool(0.02) {
            let value = b"{\"not\": \"a command\"}".to_vec();
            return Draft {
                record: record("session-command", "x", value),
                kind: Kind::Unreadable,
            };
        }
        let draft = if self.rng.random_bool(0.15) {
            self.found()
        } else {
            self.command()
        };
        self.messages.push(draft.record.clone());
        draft
    }

    fn again(&mut self, mut record: OutRecord) -> Draft {
        let id = id_of(&record);
        if record.topic.as_ref() == "session-command" && self.rng.random_bool(0.7) {
            record.key = Some(format!("other-{}", self.rng.random_range(0..99)).into_bytes());
        }
        Draft {
            record,
            kind: Kind::Message(id),
        }
    }

    fn user(&mut self) -> String {
        format!("u{}", self.rng.random_range(0..USERS))
    }

    fn tier(&mut self) -> &'static str {
        if self.rng.random_bool(0.3) {
            "premium"
        } else {
            "free"
        }
    }

    /// A match's content.
    pub(crate) fn found_value(&mut self) -> (String, Value) {
        self.count += 1;
        let id = format!("match-{}", self.count);
        let size = self.rng.random_range(2..=4);
        let users: Vec<String> = (0..size).map(|_| self.user()).collect();
        let participants: Vec<_> = users
            .iter()
            .map(|user| json!({"userId": user, "tier": self.tier()}))
            .collect();
        let backfill = self.rng.random_bool(0.3) && !self.sessions.is_empty();
        let session = backfill.then(|| self.sessions.choose(&mut self.rng).cloned());
        let session = session.flatten();
        let subject = Subject {
            users,
            session: Some(match &session {
                Some(session) => session.clone(),
                None => SessionId::of_match(&id).to_string(),
            }),
            code: None,
        };
        self.subjects.insert(id.clone(), subject);
        let value = json!({
            "matchId": id, "matchedAt": SimClock::EPOCH, "targetLanguageCode": "fr",
            "participants": participants, "sessionId": session,
        });
        (id, value)
    }

    fn found(&mut self) -> Draft {
        let (id, value) = self.found_value();
        if value["sessionId"].is_null() {
            self.sessions.push(SessionId::of_match(&id).to_string());
        }
        Draft {
            record: record("match-found", &id, value.to_string().into_bytes()),
            kind: Kind::Message(id),
        }
    }

    /// A new command.
    pub(crate) fn command(&mut self) -> Draft {
        self.count += 1;
        let id = format!("command-{}", self.count);
        let session = self.sessions.choose(&mut self.rng).cloned();
        let (key, body, subject) = self.body(&id, session);
        let key = if self.rng.random_bool(0.25) {
            format!("foreign-{}", self.count)
        } else {
            key
        };
        let user = self.user();
        let value = json!({
            "commandId": id, "issuedAt": SimClock::EPOCH, "userId": user,
            "tier": self.tier(), "command": body,
        });
        let subject = Subject {
            users: vec![user],
            ..subject
        };
        self.subjects.insert(id.clone(), subject);
        Draft {
            record: record("session-command", &key, value.to_string().into_bytes()),
            kind: Kind::Message(id),
        }
    }

    fn body(&mut self, id: &str, session: Option<String>) -> (String, Value, Subject) {
        let speaking: Option<i64> = self
            .rng
            .random_bool(0.5)
            .then(|| self.rng.random_range(0..90));
        let connection = format!("k{}", self.rng.random_range(0..2));
        let (turn, session) = match (self.rng.random_range(0..20), session) {
            (turn @ 3.., Some(session)) => (turn, session),
            _ => (0, Uuid::from_u128(self.rng.random()).to_string()),
        };
        let on = |body: Value| {
            let subject = Subject {
                session: Some(session.clone()),
                ..Subject::default()
            };
            (session.clone(), body, subject)
        };
        match turn {
            0 => {
                self.sessions.push(session.clone());
                on(json!({"CreatePrivateSession": {
                    "sessionId": session, "targetLanguageCode": "fr",
                    "maxParticipants": self.rng.random_range(2..=6)}}))
            }
            3..=8 => {
                let known = self.rng.random_bool(0.9);
                let code = self.codes.choose(&mut self.rng).filter(|_| known).cloned();
                let code = code.unwrap_or_else(|| "nosuch".to_owned());
                let body = json!({"JoinSession": {"inviteCode": code}});
                let subject = Subject {
                    code: Some(code),
                    ..Subject::default()
                };
                (id.to_owned(), body, subject)
            }
            9..=10 => on(json!({"StartSession": {"sessionId": session}})),
            11..=13 => on(json!({"ConnectParticipant":
                {"sessionId": session, "connectionId": connection}})),
            14..=15 => on(json!({"DisconnectParticipant":
                {"sessionId": session, "connectionId": connection, "speakingTimeSeconds": speaking}})),
            16 => on(json!({"ReportSpeakingTime":
                {"sessionId": session, "speakingTimeSeconds": speaking.unwrap_or(1)}})),
            17 => on(json!({"EndSession": {"sessionId": session}})),
            _ => on(json!({"LeaveSession":
                {"sessionId": session, "speakingTimeSeconds": speaking}})),
        }
    }
}

/// The id of a message in JSON.
pub(crate) fn id_of(record: &OutRecord) -> String {
    let value = record.value.as_deref().expect("a value");
    let value: Value = serde_json::from_slice(value).expect("JSON");
    let id = value.get("commandId").or(value.get("matchId"));
    id.and_then(Value::as_str).expect("an id").to_owned()
}

/// A record without headers.
pub(crate) fn record(topic: &str, key: &str, value: Vec<u8>) -> OutRecord {
    OutRecord {
        topic: Arc::from(topic),
        partition: None,
        key: Some(key.as_bytes().to_vec()),
        value: Some(value),
        headers: Vec::new(),
    }
}
