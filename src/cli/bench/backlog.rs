//! Commands as a day brings them: one create and eight small ones a session, keyed by a `sessionId`
//! that the sender chose, the sessions interleaved, each session's own commands in order.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::domain::SessionId;
use crate::kafka::Sender;
use crate::record::{OutRecord, TopicNames};

/// Commands a session.
const SESSION: u32 = 9;
/// Sessions whose commands are interleaved.
const ABREAST: u32 = 50;
/// Records on their way to the brokers at once.
const ON_THE_WAY: usize = 2_000;

/// Commands in the order in which they are written.
pub(super) struct Backlog {
    commands: Vec<Planned>,
}

/// One of them.
pub(super) struct Planned {
    /// Its `commandId`.
    pub(super) id: String,
    key: String,
    user: String,
    command: Value,
}

impl Backlog {
    /// `count` commands whose ids begin with `name`.
    pub(super) fn of(count: u32, name: &str) -> Self {
        let sessions = count.div_ceil(SESSION);
        let mut commands = Vec::new();
        for first in (0..sessions).step_by(usize::try_from(ABREAST).unwrap_or(1)) {
            let some = first..(first + ABREAST).min(sessions);
            for step in 0..SESSION {
                commands.extend(some.clone().map(|number| planned(name, number, step)));
            }
        }
        commands.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Self { commands }
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn commands(&self) -> &[Planned] {
        &self.commands
    }

    /// Writes all of them, in order.
    pub(super) async fn write(&self, sender: &Sender, topics: &TopicNames) -> Result<(), Failure> {
        for some in self.commands.chunks(ON_THE_WAY) {
            let records: Vec<OutRecord> =
                some.iter().map(|planned| planned.record(topics)).collect();
            let mut sent: FuturesUnordered<_> =
                records.iter().map(|record| sender.send(record)).collect();
            while let Some(outcome) = sent.next().await {
                outcome.map_err(|error| Failure::operation(error, "see the brokers' log"))?;
            }
        }
        Ok(())
    }
}

impl Planned {
    /// The record, issued now by this host's clock, as a sender's would be.
    #[expect(
        clippy::disallowed_methods,
        reason = "a sender's own clock says when it issued a command"
    )]
    pub(super) fn record(&self, topics: &TopicNames) -> OutRecord {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let value = json!({
            "commandId": self.id,
            "issuedAt": u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            "userId": self.user,
            "command": self.command,
        });
        OutRecord {
            topic: topics.session_command.clone(),
            partition: None,
            key: Some(self.key.clone().into_bytes()),
            value: Some(value.to_string().into_bytes()),
            headers: Vec::new(),
        }
    }
}

fn planned(name: &str, number: u32, step: u32) -> Planned {
    let session = SessionId::of_command(&format!("{name}-{number}")).to_string();
    let connection = format!("connection-{number}");
    let report = json!({"ReportSpeakingTime": {"sessionId": session, "speakingTimeSeconds": 0}});
    let connect = json!({"ConnectParticipant": {"sessionId": session, "connectionId": connection}});
    let command = match step {
        0 => json!({"CreatePrivateSession": {
            "sessionId": session,
            "targetLanguageCode": "fr",
            "topicTitle": "Food and drink",
        }}),
        2 => json!({"StartSession": {"sessionId": session}}),
        4 => json!({"DisconnectParticipant": {"sessionId": session, "connectionId": connection}}),
        1 | 5 => connect,
        // A code is the worker's to make, so a backlog can only guess one; one session in ten does.
        6 if number.is_multiple_of(10) => json!({"JoinSession": {"inviteCode": "BCDFGH"}}),
        8 => json!({"EndSession": {"sessionId": session}}),
        _ => report,
    };
    Planned {
        id: format!("{name}-{number}-{step}"),
        key: session,
        user: format!("{name}-host-{number}"),
        command,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn a_backlog_has_as_many_commands_as_asked_for_each_sessions_in_order() {
        for count in [1, 9, 10, 449, 450, 451, 1_000] {
            let backlog = Backlog::of(count, "b");
            assert_eq!(backlog.len(), usize::try_from(count).expect("it fits"));
            let ids: BTreeSet<&str> = backlog.commands().iter().map(|c| c.id.as_str()).collect();
            assert_eq!(ids.len(), backlog.len(), "no id twice");
            let mut steps: BTreeMap<&str, u32> = BTreeMap::new();
            for planned in backlog.commands() {
                let (_, step) = planned.id.rsplit_once('-').expect("a step");
                let next = steps.entry(&planned.key).or_default();
                assert_eq!(step.parse(), Ok(*next), "{}", planned.id);
                *next += 1;
            }
        }
    }
}
