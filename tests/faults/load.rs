//! The load under every fault: sessions on all lanes, each with a deadline, until the row ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use session_worker::kafka::partition_of;
use tokio::task::JoinHandle;

use crate::client::{Client, command, text, unique};

/// The lane that a fault touches, where it touches one.
pub(crate) const LANE: i32 = 3;

/// The partitions of `session-command`.
pub(crate) const LANES: i32 = 8;
pub(crate) const ALL: [i32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

const PAUSE: Duration = Duration::from_millis(60);

/// Lanes in the order in which they get something: the touched one gets the most, so that it always has
/// sessions whose deadlines are near.
const ORDER: [i32; 11] = [0, LANE, 1, 2, LANE, 4, 5, LANE, 6, 7, LANE];

/// A session that is asked for.
#[derive(Clone)]
pub(crate) struct Sent {
    /// The command that makes it.
    pub(crate) command: String,
    pub(crate) session: String,
    /// Its home.
    pub(crate) lane: i32,
}

/// A session id whose home is `lane`.
pub(crate) fn session_in(lane: i32) -> String {
    loop {
        let id = uuid::Uuid::new_v4().to_string();
        if partition_of(id.as_bytes(), LANES) == lane {
            return id;
        }
    }
}

/// A command that makes a session at home in `lane`, and its session.
pub(crate) fn creation(user: &str, lane: i32) -> (serde_json::Value, Sent) {
    let session = session_in(lane);
    let body = json!({"sessionId": session, "targetLanguageCode": "fr"});
    let command = command(user, "CreatePrivateSession", &body);
    let sent = Sent {
        command: text(&command["commandId"]),
        session,
        lane,
    };
    (command, sent)
}

#[derive(Default)]
struct Shared {
    sent: Mutex<Vec<Sent>>,
    /// The lanes that get nothing. Held while a record is written.
    paused: tokio::sync::Mutex<BTreeSet<i32>>,
}

/// A task that sends.
pub(crate) struct Load {
    shared: Arc<Shared>,
    over: Arc<tokio::sync::Notify>,
    task: JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(client: Arc<Client>) -> Self {
        let shared = Arc::<Shared>::default();
        let over = Arc::new(tokio::sync::Notify::new());
        let task = tokio::spawn({
            let (shared, over) = (Arc::clone(&shared), Arc::clone(&over));
            async move {
                for lane in ORDER.into_iter().cycle() {
                    shared.send(&client, lane).await;
                    if tokio::time::timeout(PAUSE, over.notified()).await.is_ok() {
                        return;
                    }
                }
            }
        });
        Self { shared, over, task }
    }

    /// Sends nothing more to these lanes.
    pub(crate) async fn pause(&self, lanes: &[i32]) {
        self.shared.paused.lock().await.extend(lanes);
    }

    /// Sends to all lanes again.
    pub(crate) async fn resume(&self) {
        self.shared.paused.lock().await.clear();
    }

    /// Everything it has sent.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.shared.sent.lock().expect("unpoisoned").clone()
    }

    /// Stops, and returns everything it has sent.
    pub(crate) async fn stop(self) -> Vec<Sent> {
        self.over.notify_one();
        self.task.await.expect("every record is written");
        self.shared.sent.lock().expect("unpoisoned").clone()
    }
}

impl Shared {
    async fn send(&self, client: &Client, lane: i32) {
        let paused = self.paused.lock().await;
        if paused.contains(&lane) {
            return;
        }
        let (command, sent) = creation(&unique("user"), lane);
        let value = command.to_string();
        client
            .write("session-command", &sent.session, value.as_bytes(), &[])
            .await;
        self.sent.lock().expect("unpoisoned").push(sent);
    }
}
