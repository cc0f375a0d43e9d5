//! Avro and JSON ⇄ domain: what comes in is decoded by its writer's schema and resolved to ours, what
//! goes out is framed, keyed and headed as the contract's section 1 says. No I/O but the schema
//! look-ups behind [`SchemaSource`]; bytes that can never be decoded are a value ([`Poison`]).

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::domain::{CommandResult, Event, Message, SessionId, Timestamp};
use crate::record::{Origin, OutRecord, Record, TopicNames};

/// A decoded input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it says.
    pub message: Message,
    /// The SHA-256 of its content as decoded: of a command `userId`, `tier` and `command`; of a match
    /// every field. Independent of encoding, writer schema, key and headers.
    pub fingerprint: [u8; 32],
    /// Whether a match came as `AdmitMatch` on `session-command`.
    pub admitted: bool,
}

/// Bytes that can never succeed: a dead letter (contract 1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Poison {
    /// Not a value of the subject; `dlq-reason: undecodable`.
    #[error("{reason}")]
    Undecodable {
        /// Why, without payload.
        reason: String,
    },
    /// No schema of that id under the topic's subject; `dlq-reason: unknown_schema`.
    #[error("schema id {id} is not registered under the topic's subject")]
    UnknownSchema {
        /// The id in the frame.
        id: u32,
    },
    /// Over 64 KiB; `dlq-reason: too_large`.
    #[error("the value has {size} bytes, more than 65536")]
    TooLarge {
        /// The value's bytes.
        size: usize,
    },
}

/// Why a record became a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterReason {
    /// It could not be decoded.
    Poison(Poison),
    /// An `AdmitMatch` that the worker did not write itself; `forbidden`.
    Forbidden,
    /// The message makes the worker fail; `bug`.
    Bug,
}

/// A look-up at the schema registry failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The registry knows no such schema (of that subject).
    #[error("no such schema")]
    NotFound,
    /// The registry or the way to it fails, or it answers with anything but a yes or a no.
    #[error("the schema registry is unavailable: {reason}")]
    Unavailable {
        /// What the client said.
        reason: String,
    },
}

/// Where writer schemas come from.
pub trait SchemaSource: Send + Sync + 'static {
    /// The text of schema `id` if it is registered under `subject`.
    fn writer_schema<'a>(
        &'a self,
        subject: &'a str,
        id: u32,
    ) -> BoxFuture<'a, Result<Arc<str>, LookupError>>;
}

/// The registered ids of the schemas this worker writes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputIds {
    /// Of `<session-event>-value`.
    pub event: u32,
    /// Of `<session-command-result>-value`.
    pub result: u32,
    /// Of `<session-command>-value`, for matches that travel home.
    pub command: u32,
}

/// The headers of an input that come back on what it causes (contract 1, Headers).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passthrough {
    /// `traceparent`
    pub traceparent: Option<Vec<u8>>,
    /// `tracestate`
    pub tracestate: Option<Vec<u8>>,
    /// `correlation-id`
    pub correlation_id: Option<Vec<u8>>,
}

impl Passthrough {
    /// What `record` carries.
    pub fn of(record: &Record) -> Self {
        let _ = record;
        todo!()
    }
}

/// The origin and hops that a `sw-forward` header claims; `None` where it is absent or malformed.
pub fn claimed_forward(record: &Record) -> Option<(Origin, u32)> {
    let _ = record;
    todo!()
}

/// Decodes inputs and encodes outputs.
pub struct Codec {
    topics: TopicNames,
    ids: OutputIds,
    source: Arc<dyn SchemaSource>,
}

impl Codec {
    /// Makes a codec that writes with `ids` and looks writer schemas up at `source`.
    pub fn new(topics: TopicNames, ids: OutputIds, source: Arc<dyn SchemaSource>) -> Self {
        Self {
            topics,
            ids,
            source,
        }
    }

    /// Looks up the writer schemas of `records` that are not known yet.
    ///
    /// # Errors
    /// [`LookupError::Unavailable`]: the lane waits and tries again.
    pub async fn prepare(&self, records: &[Record]) -> Result<(), LookupError> {
        let _ = (&self.source, records);
        todo!()
    }

    /// Decodes an input whose writer schema [`Codec::prepare`] has looked up.
    ///
    /// # Errors
    /// [`Poison`]: a dead letter.
    pub fn decode(&self, record: &Record) -> Result<Decoded, Poison> {
        let _ = (&self.topics, record);
        todo!()
    }

    /// An event; `passthrough` of the message that caused it, `None` for a timer's.
    pub fn event(&self, event: &Event, passthrough: Option<&Passthrough>) -> OutRecord {
        let _ = (self.ids, event, passthrough);
        todo!()
    }

    /// A result.
    pub fn result(&self, result: &CommandResult, passthrough: &Passthrough) -> OutRecord {
        let _ = (result, passthrough);
        todo!()
    }

    /// `record` on its way to partition `home` of `session-command`: a command's bytes as they came, a
    /// match as `AdmitMatch`.
    pub fn forward(
        &self,
        record: &Record,
        decoded: &Decoded,
        session_id: &SessionId,
        home: i32,
        origin: &Origin,
        hops: u32,
    ) -> OutRecord {
        let _ = (record, decoded, session_id, home, origin, hops);
        todo!()
    }

    /// `record` as a dead letter: original key, headers and value beside the reason (contract 1).
    pub fn dead_letter(
        &self,
        record: &Record,
        reason: &DeadLetterReason,
        group: &str,
        failed_at: Timestamp,
    ) -> OutRecord {
        let _ = (record, reason, group, failed_at);
        todo!()
    }
}

/// The `type` of an event on the wire.
pub fn event_type(kind: crate::domain::EventKind) -> &'static str {
    let _ = kind;
    todo!()
}
