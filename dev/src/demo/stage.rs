//! Where the learners act: sends commands and matches, hands each answer to who waits for it, and
//! enters everything that the worker publishes into the ledger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::Message as _;
use rdkafka::consumer::StreamConsumer;
use rdkafka::producer::FutureProducer;
use serde_json::{Value as Json, json};

use super::ledger::Ledger;
use crate::Services;
use crate::gateway::{self, Codec, Encoding, Topics};

/// Beyond a take-over on a slow machine.
const ANSWER_BOUND: Duration = Duration::from_secs(45);

pub(super) struct Stage {
    began: Instant,
    producer: FutureProducer,
    codec: Codec,
    topics: Topics,
    ledger: Mutex<Ledger>,
    numbers: AtomicU64,
}

impl Stage {
    /// Connects, and reads from now on; rates count from `began`.
    pub(super) async fn new(
        services: &Services,
        topics: Topics,
        began: Instant,
    ) -> anyhow::Result<Arc<Self>> {
        let outputs = [
            "session-command-result",
            "session-event",
            "session-dead-letter",
        ];
        let names = outputs.map(|topic| topics.name(topic)).to_vec();
        let brokers = services.kafka().to_owned();
        let reader = tokio::task::spawn_blocking(move || gateway::reader(&brokers, &names));
        let reader = reader.await??;
        let stage = Arc::new(Self {
            began,
            producer: gateway::producer(services.kafka())?,
            codec: Codec::new(services.registry_url(), &topics).await?,
            topics,
            ledger: Mutex::new(Ledger::new(began)),
            numbers: AtomicU64::new(1),
        });
        let follower = Arc::clone(&stage);
        tokio::spawn(async move { follower.follow(reader).await });
        Ok(stage)
    }

    /// When rates began to count.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn topic(&self, topic: &str) -> String {
        self.topics.name(topic)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // The ledger is whole between any two calls, so a panic elsewhere does not spoil it.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that nobody else gets.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a command and waits for its result. Every other one is written as Avro.
    pub(super) async fn ask(&self, user: &str, key: &str, command: Json) -> anyhow::Result<Json> {
        let id = format!("{user}-{}", self.number());
        self.ask_as(&id, user, key, command).await
    }

    /// The same with a commandId of the caller's choice; the same again is a duplicate.
    pub(super) async fn ask_as(
        &self,
        id: &str,
        user: &str,
        key: &str,
        command: Json,
    ) -> anyhow::Result<Json> {
        let value = json!({
            "commandId": id,
            "issuedAt": gateway::now_millis(),
            "userId": user,
            "command": command,
        });
        let value = self.codec.command(&value, self.encoding())?;
        self.send("session-command", "command", id, key, &value)
            .await
    }

    /// Publishes a match and waits for its result.
    pub(super) async fn matched(&self, users: &[String], language: &str) -> anyhow::Result<Json> {
        let id = format!("match-{}", self.number());
        let participants: Vec<_> = users.iter().map(|user| json!({ "userId": user })).collect();
        let value = json!({
            "matchId": id,
            "matchedAt": gateway::now_millis(),
            "targetLanguageCode": language,
            "topicId": "travel",
            "participants": participants,
        });
        let value = self.codec.found(&value, self.encoding())?;
        self.send("match-found", "match", &id, &id, &value).await
    }

    /// Writes bytes that nobody can decode.
    pub(super) async fn garbage(&self) -> anyhow::Result<()> {
        let topic = self.topic("session-command");
        gateway::produce(&self.producer, &topic, "garbage", b"not a command").await?;
        self.ledger().garbage();
        Ok(())
    }

    fn encoding(&self) -> Encoding {
        if self.number().is_multiple_of(2) {
            Encoding::Json
        } else {
            Encoding::Avro
        }
    }

    async fn send(
        &self,
        topic: &str,
        origin: &str,
        id: &str,
        key: &str,
        value: &[u8],
    ) -> anyhow::Result<Json> {
        let answer = self.ledger().ask(origin, id);
        let topic = self.topics.name(topic);
        let partition = gateway::produce(&self.producer, &topic, key, value).await?;
        if origin == "command" {
            self.ledger().sent(origin, id, partition);
        }
        match tokio::time::timeout(ANSWER_BOUND, answer).await {
            Ok(answer) => answer.context("the ledger is gone"),
            Err(_) => bail!("no answer to {id} within {} s", ANSWER_BOUND.as_secs()),
        }
    }

    async fn follow(&self, reader: StreamConsumer) {
        let [results, events] = ["session-command-result", "session-event"].map(|t| self.topic(t));
        loop {
            // The client tries again by itself; what stays away is missed at the end.
            let Ok(record) = reader.recv().await else {
                continue;
            };
            let bytes = record.payload().unwrap_or_default();
            let topic = record.topic();
            if topic == results {
                match self.codec.result(bytes) {
                    Ok(result) => self.ledger().result(result),
                    Err(error) => self
                        .ledger()
                        .fault(format!("an undecodable result: {error:#}")),
                }
            } else if topic == events {
                match self.codec.event(bytes) {
                    Ok(event) => self.ledger().event(event),
                    Err(error) => self
                        .ledger()
                        .fault(format!("an undecodable event: {error:#}")),
                }
            } else {
                self.ledger().dead_letter();
            }
        }
    }
}
