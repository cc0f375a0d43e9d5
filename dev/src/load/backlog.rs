//! Commands as a day brings them: one create and eight small ones a session, keyed by a `sessionId`
//! that the sender chose, the sessions interleaved, each session's own commands in order.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::gateway::{self, Topics};

/// Commands a session.
const SESSION: usize = 9;
/// Sessions whose commands are interleaved.
const ABREAST: usize = 50;
/// Records on their way to the broker at once.
const ON_THE_WAY: usize = 5_000;

pub(super) struct Backlog {
    commands: Vec<Planned>,
}

pub(super) struct Planned {
    pub(super) id: String,
    pub(super) key: String,
    user: String,
    command: Json,
}

impl Planned {
    /// The record's value, issued now.
    pub(super) fn value(&self) -> anyhow::Result<Vec<u8>> {
        let value = json!({
            "commandId": self.id,
            "issuedAt": gateway::now_millis(),
            "userId": self.user,
            "command": self.command,
        });
        Ok(serde_json::to_vec(&value)?)
    }
}

impl Backlog {
    /// `count` commands whose ids begin with `name`.
    pub(super) fn of(count: usize, name: &str) -> Self {
        let sessions: Vec<usize> = (0..count.div_ceil(SESSION)).collect();
        let commands = sessions
            .chunks(ABREAST)
            .flat_map(|some| {
                (0..SESSION).flat_map(move |step| some.iter().map(move |n| (*n, step)))
            })
            .map(|(session, step)| planned(name, session, step))
            .take(count)
            .collect();
        Self { commands }
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn commands(&self) -> &[Planned] {
        &self.commands
    }

    pub(super) async fn produce(&self, brokers: &str, topics: &Topics) -> anyhow::Result<()> {
        let producer = gateway::producer(brokers)?;
        let topic = topics.name("session-command");
        for some in self.commands.chunks(ON_THE_WAY) {
            let mut sent = FuturesUnordered::new();
            for planned in some {
                let value = planned.value()?;
                let (producer, topic) = (&producer, &topic);
                sent.push(
                    async move { gateway::produce(producer, topic, &planned.key, &value).await },
                );
            }
            while let Some(delivered) = sent.next().await {
                delivered?;
            }
        }
        Ok(())
    }
}

fn planned(name: &str, number: usize, step: usize) -> Planned {
    let session = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{name}-{number}").as_bytes());
    let session = session.to_string();
    let host = format!("{name}-host-{number}");
    let connection = format!("connection-{number}");
    let report = |seconds: i32| json!({"ReportSpeakingTime": {"sessionId": session, "speakingTimeSeconds": seconds}});
    let command = match step {
        0 => json!({"CreatePrivateSession": {
            "sessionId": session,
            "targetLanguageCode": "fr",
            "topicTitle": "Food and drink",
        }}),
        1 => json!({"ConnectParticipant": {"sessionId": session, "connectionId": connection}}),
        2 => json!({"StartSession": {"sessionId": session}}),
        4 => json!({"DisconnectParticipant": {"sessionId": session, "connectionId": connection}}),
        5 => json!({"ConnectParticipant": {"sessionId": session, "connectionId": connection}}),
        // A code is the worker's to make, so a backlog can only guess one; one session in ten does.
        6 if number.is_multiple_of(10) => json!({"JoinSession": {"inviteCode": "BCDFGH"}}),
        8 => json!({"EndSession": {"sessionId": session}}),
        _ => report(0),
    };
    Planned {
        id: format!("{name}-{number}-{step}"),
        key: session,
        user: host,
        command,
    }
}
