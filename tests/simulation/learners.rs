//! What learners and matchmaking send in a simulation: a seed's mix of every command, with duplicates,
//! foreign keys, unknown codes and records that nobody can read.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use session_worker::domain::SessionId;
use session_worker::record::OutRecord;
use uuid::Uuid;

use crate::database::SimClock;
use crate::outputs::ResultView;

const USERS: usize = 9;

/// The senders.
pub(crate) struct Learners {
    rng: StdRng,
    sent: Vec<OutRecord>,
    sessions: Vec<String>,
    codes: Vec<String>,
    count: usize,
    /// Every id that was sent as a command or match, with how often.
    pub(crate) ids: std::collections::BTreeMap<String, usize>,
    /// Records that can only become dead letters.
    pub(crate) unreadable: usize,
}

impl Learners {
    /// Senders on `seed`'s schedule.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            sent: Vec::new(),
            sessions: Vec::new(),
            codes: Vec::new(),
            count: 0,
            ids: std::collections::BTreeMap::new(),
            unreadable: 0,
        }
    }

    /// Learns codes from results.
    pub(crate) fn learn(&mut self, results: &[ResultView]) {
        for result in results {
            if let Some(code) = &result.invite_code
                && !self.codes.contains(code)
            {
                self.codes.push(code.clone());
            }
        }
    }

    /// The next record to send.
    pub(crate) fn next(&mut self) -> OutRecord {
        if !self.sent.is_empty() && self.rng.random_bool(0.1) {
            let again = self.sent.choose(&mut self.rng).expect("not empty").clone();
            return self.resend(again);
        }
        if self.rng.random_bool(0.02) {
            self.unreadable += 1;
            return record("session-command", "x", b"{\"not\": \"a command\"}".to_vec());
        }
        self.count += 1;
        let sent = if self.rng.random_bool(0.15) {
            self.found()
        } else {
            self.command()
        };
        self.sent.push(sent.clone());
        sent
    }

    fn resend(&mut self, mut record: OutRecord) -> OutRecord {
        let value: Value =
            serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON");
        let id = value
            .get("commandId")
            .or(value.get("matchId"))
            .expect("an id");
        *self
            .ids
            .entry(id.as_str().expect("text").to_owned())
            .or_default() += 1;
        record.key = Some(format!("other-{}", self.rng.random_range(0..99)).into_bytes());
        record
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

    fn found(&mut self) -> OutRecord {
        let id = format!("match-{}", self.count);
        let size = self.rng.random_range(2..=4);
        let participants: Vec<_> = (0..size)
            .map(|_| json!({"userId": self.user(), "tier": self.tier()}))
            .collect();
        let backfill = self.rng.random_bool(0.3) && !self.sessions.is_empty();
        let session = backfill.then(|| self.sessions.choose(&mut self.rng).cloned());
        if !backfill {
            self.sessions.push(SessionId::of_match(&id).to_string());
        }
        *self.ids.entry(id.clone()).or_default() += 1;
        let value = json!({
            "matchId": id, "matchedAt": SimClock::EPOCH, "targetLanguageCode": "fr",
            "participants": participants, "sessionId": session.flatten(),
        });
        record("match-found", &id, value.to_string().into_bytes())
    }

    fn command(&mut self) -> OutRecord {
        let id = format!("command-{}", self.count);
        *self.ids.entry(id.clone()).or_default() += 1;
        let session = self.sessions.choose(&mut self.rng).cloned();
        let speaking: Option<i64> = self
            .rng
            .random_bool(0.5)
            .then(|| self.rng.random_range(0..90));
        let connection = format!("k{}", self.rng.random_range(0..2));
        let (key, body) = match (self.rng.random_range(0..20), session) {
            (0..=2, _) | (_, None) => {
                let chosen = Uuid::from_u128(self.rng.random()).to_string();
                self.sessions.push(chosen.clone());
                let body = json!({"CreatePrivateSession": {
                    "sessionId": chosen, "targetLanguageCode": "fr",
                    "maxParticipants": self.rng.random_range(2..=6)}});
                (chosen, body)
            }
            (3..=8, Some(_)) => {
                let code = if self.rng.random_bool(0.1) {
                    None
                } else {
                    self.codes.choose(&mut self.rng)
                };
                let code = code.cloned().unwrap_or_else(|| "nosuch".to_owned());
                (id.clone(), json!({"JoinSession": {"inviteCode": code}}))
            }
            (9..=10, Some(s)) => (s.clone(), json!({"StartSession": {"sessionId": s}})),
            (11..=13, Some(s)) => (
                s.clone(),
                json!({"ConnectParticipant":
                {"sessionId": s, "connectionId": connection}}),
            ),
            (14..=15, Some(s)) => (
                s.clone(),
                json!({"DisconnectParticipant":
                {"sessionId": s, "connectionId": connection, "speakingTimeSeconds": speaking}}),
            ),
            (16, Some(s)) => (
                s.clone(),
                json!({"ReportSpeakingTime":
                {"sessionId": s, "speakingTimeSeconds": speaking.unwrap_or(1)}}),
            ),
            (17, Some(s)) => (s.clone(), json!({"EndSession": {"sessionId": s}})),
            (_, Some(s)) => (
                s.clone(),
                json!({"LeaveSession":
                {"sessionId": s, "speakingTimeSeconds": speaking}}),
            ),
        };
        let key = if self.rng.random_bool(0.2) {
            format!("foreign-{}", self.count)
        } else {
            key
        };
        let value = json!({
            "commandId": id, "issuedAt": SimClock::EPOCH, "userId": self.user(),
            "tier": self.tier(), "command": body,
        });
        record("session-command", &key, value.to_string().into_bytes())
    }
}

fn record(topic: &str, key: &str, value: Vec<u8>) -> OutRecord {
    OutRecord {
        topic: Arc::from(topic),
        partition: None,
        key: Some(key.as_bytes().to_vec()),
        value: Some(value),
        headers: Vec::new(),
    }
}
