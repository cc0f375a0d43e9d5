//! What the worker has published, read back for people: events and results of any version. Values say
//! themselves that they were read right (ids derive), so where the registry is silent our own schemas
//! are tried. Knows no topic's contents but through records it is given.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::schema::{EVENT_SCHEMA, RESULT_SCHEMA, subject_name};
use super::{LookupError, SchemaSource, frame_id, limit_allocation};
use crate::domain::SessionId;
use crate::record::{Record, TopicNames};

/// An event as published, as far as people ask for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SentEvent {
    /// Derived from session and sequence.
    pub event_id: String,
    /// `session.created` …
    pub r#type: String,
    /// Where.
    pub session_id: String,
    /// 1, 2, 3 …
    pub sequence: i64,
    /// The time of the decision.
    pub occurred_at: i64,
    /// The `commandId`, the `matchId`, or `timer:<sessionId>:<what>`.
    pub causation_id: String,
    /// The `correlation-id` of what caused it.
    pub correlation_id: Option<String>,
    /// The session after it.
    pub session: SentSession,
    /// The participant concerned, after it.
    pub participant: Option<SentParticipant>,
    /// Why.
    pub reason: Option<String>,
    /// Who commanded.
    pub actor_user_id: Option<String>,
    /// On `session.host_changed`.
    pub previous_host_user_id: Option<String>,
    /// On `session.expiring`.
    pub seconds_left: Option<i32>,
}

/// A session in an event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SentSession {
    /// `waiting`, `active` or `ended`.
    pub status: String,
    /// The host.
    pub host_user_id: String,
    /// Open participants.
    pub participant_count: i32,
    /// Seats.
    pub max_participants: i32,
    /// When it will end.
    pub expires_at: Option<i64>,
    /// When it ended.
    pub ended_at: Option<i64>,
}

/// A participant in an event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SentParticipant {
    /// Who.
    pub user_id: String,
    /// `host` or `participant`.
    pub role: String,
    /// `waiting`, `connected` or `disconnected`.
    pub status: String,
    /// When the last stint ended.
    pub left_at: Option<i64>,
    /// Whether the participant ever came back.
    pub rejoin: bool,
}

/// A result as published. Its invite code is left out: it is the members' secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SentResult {
    /// `commandId` or `matchId`.
    pub command_id: String,
    /// `command` or `match`.
    pub origin: String,
    /// Who acted.
    pub user_id: Option<String>,
    /// `accepted` or `rejected`.
    pub outcome: String,
    /// Why rejected.
    pub code: Option<String>,
    /// The gateway's answer.
    pub http_status: i32,
    /// For people.
    pub detail: String,
    /// Wherever one was named, found or made.
    pub session_id: Option<String>,
    /// The session's, after the step.
    pub sequence: Option<i64>,
    /// Whether it repeats the first.
    pub replayed: bool,
    /// When it was first decided.
    pub decided_at: i64,
}

/// Why a record was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unread(String);

/// Reads events and results.
pub struct Reader {
    source: Arc<dyn SchemaSource>,
    events: String,
    results: String,
    /// By subject and id; `None`: ours, because the registry did not say.
    writers: HashMap<(bool, u32), Option<Arc<Schema>>>,
    silent: Option<String>,
}

impl Reader {
    /// Makes a reader that looks writer schemas up at `source`.
    pub fn new(topics: &TopicNames, source: Arc<dyn SchemaSource>) -> Self {
        limit_allocation();
        Self {
            source,
            events: subject_name(&topics.session_event),
            results: subject_name(&topics.session_command_result),
            writers: HashMap::new(),
            silent: None,
        }
    }

    /// Why the registry did not answer, if it was asked and did not.
    pub fn registry_fault(&self) -> Option<&str> {
        self.silent.as_deref()
    }

    /// The event in `record`.
    ///
    /// # Errors
    /// [`Unread`]: it is none that this worker's versions publish.
    pub async fn event(&mut self, record: &Record) -> Result<SentEvent, Unread> {
        let event: SentEvent = self.value(record, true).await?;
        let id = SessionId::from_stored(event.session_id.clone()).event_id(event.sequence);
        if id == event.event_id {
            Ok(event)
        } else {
            Err(Unread("its eventId is not its own".to_owned()))
        }
    }

    /// The result in `record`.
    ///
    /// # Errors
    /// [`Unread`]: it is none that this worker's versions publish.
    pub async fn result(&mut self, record: &Record) -> Result<SentResult, Unread> {
        let result: SentResult = self.value(record, false).await?;
        if record.key.as_deref() == Some(result.command_id.as_bytes()) {
            Ok(result)
        } else {
            Err(Unread("its commandId is not its key".to_owned()))
        }
    }

    async fn value<T: DeserializeOwned>(
        &mut self,
        record: &Record,
        event: bool,
    ) -> Result<T, Unread> {
        let value = record.value.as_deref().unwrap_or_default();
        let Some(id) = frame_id(value) else {
            return Err(Unread("it has no schema id".to_owned()));
        };
        let writer = self.writer(event, id).await;
        let ours: &Schema = if event { &EVENT_SCHEMA } else { &RESULT_SCHEMA };
        let writer = writer.as_deref().unwrap_or(ours);
        read(writer, ours, &value[5..])
    }

    async fn writer(&mut self, event: bool, id: u32) -> Option<Arc<Schema>> {
        if let Some(writer) = self.writers.get(&(event, id)) {
            return writer.clone();
        }
        if self.silent.is_some() {
            return None;
        }
        let subject = if event { &self.events } else { &self.results };
        let writer = match self.source.writer_schema(subject, id).await {
            Ok(text) => Schema::parse_str(&text).ok().map(Arc::new),
            Err(LookupError::NotFound) => None,
            Err(LookupError::Unavailable { reason }) => {
                self.silent = Some(reason);
                return None;
            }
        };
        self.writers.insert((event, id), writer.clone());
        writer
    }
}

fn read<T: DeserializeOwned>(writer: &Schema, ours: &Schema, bytes: &[u8]) -> Result<T, Unread> {
    let unread = |error: apache_avro::Error| Unread(format!("Avro: {error}"));
    let mut rest = bytes;
    let datum = GenericDatumReader::builder(writer)
        .reader_schema(ours)
        .build()
        .and_then(|reader| reader.read_value(&mut rest))
        .map_err(unread)?;
    if !rest.is_empty() {
        return Err(Unread("there are bytes behind the value".to_owned()));
    }
    let json = serde_json::Value::try_from(datum).map_err(unread)?;
    serde_json::from_value(json).map_err(|_| Unread("it has another shape".to_owned()))
}
