//! Avro and JSON ⇄ domain: what comes in is decoded by its writer's schema and resolved to ours, what
//! goes out is framed, keyed and headed as the contract's section 1 says. No I/O but the schema
//! look-ups behind [`SchemaSource`]; bytes that can never be decoded are a value ([`Poison`]).

mod dead_letter;
mod decoder;
mod fingerprint;
mod glance;
mod header;
mod inbound;
mod letter;
mod outbound;
mod read;
pub mod registry;
mod resolve;
mod schema;
mod sent;
mod writers;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::domain::{CommandResult, Event, Message, SessionId, Timestamp};
use crate::record::{Header, Origin, OutRecord, Record, TopicNames};

pub use decoder::Decoder;
pub use glance::{Glance, glance, hex};
pub use header::{claimed_forward, rfc3339};
pub use letter::{Letter, REPLAY_COUNT, REPLAY_OF, Unreplayable};
pub use outbound::event_type;
pub use registry::Registry;
pub use schema::{
    Level, MATCH_FOUND, SESSION_COMMAND, SESSION_COMMAND_RESULT, SESSION_EVENT, Subject,
    limit_allocation, subjects,
};
pub use sent::{Reader, SentEvent, SentParticipant, SentResult, SentSession, Unread};

/// The bytes a value may have (contract 3, guarantee 6).
pub const MAX_VALUE: usize = 64 * 1024;

/// What an `AdmitMatch` may have beyond [`MAX_VALUE`]: the match inside was within it when it was
/// sent, and the command around it has an id of at most 128 characters and a few fixed fields.
const ADMISSION_ROOM: usize = 1024;

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

/// A look-up at the schema registry failed. [`LookupError::NotFound`] is final, everything else waits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The registry has no such schema under that subject, and that is confirmed.
    #[error("no such schema")]
    NotFound,
    /// The registry or the way to it fails, or it answers with anything but a yes or a no.
    #[error("the schema registry cannot be asked: {reason}")]
    Unavailable {
        /// What went wrong, and what to do about it.
        reason: String,
    },
}

/// Where writer schemas come from.
pub trait SchemaSource: Send + Sync + 'static {
    /// The text of schema `id` if it is registered under `subject`, with references inlined.
    fn writer_schema<'a>(
        &'a self,
        subject: &'a str,
        id: u32,
    ) -> BoxFuture<'a, Result<Arc<str>, LookupError>>;

    /// Looks again, because the text `rejected` cannot be used: another text, or `rejected` if it is
    /// certain that there is no other.
    fn recheck<'a>(
        &'a self,
        subject: &'a str,
        id: u32,
        rejected: &'a Arc<str>,
    ) -> BoxFuture<'a, Result<Arc<str>, LookupError>> {
        let _ = rejected;
        self.writer_schema(subject, id)
    }
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

/// Decodes inputs and encodes outputs.
pub struct Codec {
    topics: TopicNames,
    ids: OutputIds,
    decoder: Decoder,
}

impl Codec {
    /// Makes a codec that writes with `ids` and looks writer schemas up at `source`.
    pub fn new(topics: TopicNames, ids: OutputIds, source: Arc<dyn SchemaSource>) -> Self {
        let decoder = Decoder::new(topics.clone(), source);
        Self {
            topics,
            ids,
            decoder,
        }
    }

    /// As [`Decoder::prepare`].
    ///
    /// # Errors
    /// [`LookupError::Unavailable`]: the lane waits and tries again.
    pub async fn prepare(&self, records: &[Record]) -> Result<(), LookupError> {
        self.decoder.prepare(records).await
    }

    /// As [`Decoder::decode`].
    ///
    /// # Errors
    /// [`Poison`]: a dead letter.
    ///
    /// # Panics
    /// As [`Decoder::decode`].
    pub fn decode(&self, record: &Record) -> Result<Decoded, Poison> {
        self.decoder.decode(record)
    }

    /// An event; `passthrough` of the message that caused it, `None` for a timer's.
    pub fn event(&self, event: &Event, passthrough: Option<&Passthrough>) -> OutRecord {
        let event_id = event.session_id.event_id(event.sequence);
        let correlation = passthrough.and_then(Passthrough::correlation_text);
        let session_id = event.session_id.as_str();
        let mut headers = header::cloud_event(
            &event_id,
            outbound::event_type(event.kind),
            event.occurred_at,
            Some(session_id),
        );
        if let Some(passthrough) = passthrough {
            passthrough.append_to(&mut headers);
        }
        OutRecord {
            topic: self.topics.session_event.clone(),
            partition: None,
            key: Some(session_id.as_bytes().to_vec()),
            value: Some(outbound::event(
                event,
                &event_id,
                correlation,
                self.ids.event,
            )),
            headers,
        }
    }

    /// A result.
    pub fn result(&self, result: &CommandResult, passthrough: &Passthrough) -> OutRecord {
        let mut headers = header::cloud_event(
            &result.id,
            "session.command.result",
            result.decided_at,
            result.session_id.as_deref(),
        );
        passthrough.append_to(&mut headers);
        OutRecord {
            topic: self.topics.session_command_result.clone(),
            partition: None,
            key: Some(result.id.as_bytes().to_vec()),
            value: Some(outbound::result(result, self.ids.result)),
            headers,
        }
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
        let value = match &decoded.message {
            Message::Match(found) if !decoded.admitted => {
                let id = decoded.message.id();
                Some(outbound::admit_match(found, id.as_str(), self.ids.command))
            }
            Message::Match(_) | Message::Command(_) => record.value.clone(),
        };
        let own = record
            .headers
            .iter()
            .filter(|(name, _)| name != header::FORWARD)
            .cloned();
        let headers: Vec<Header> = own.chain([header::forward(origin, hops)]).collect();
        OutRecord {
            topic: self.topics.session_command.clone(),
            partition: Some(home),
            key: Some(session_id.as_str().as_bytes().to_vec()),
            value,
            headers,
        }
    }

    /// `record` as a dead letter: original key, headers and value beside the reason (contract 1).
    ///
    /// `dlq-timestamp` is Kafka's number, `dlq-failed-at` is RFC 3339. Where the original is too large
    /// for the topic, `dlq-key-truncated: <size>` and `dlq-headers-dropped: <count>` say what else
    /// than the value was cut.
    pub fn dead_letter(
        &self,
        record: &Record,
        reason: &DeadLetterReason,
        group: &str,
        failed_at: Timestamp,
    ) -> OutRecord {
        let topic = &self.topics.session_dead_letter;
        dead_letter::dead_letter(topic, record, reason, group, failed_at)
    }
}

/// The schema id of a value in Confluent wire format.
fn frame_id(value: &[u8]) -> Option<u32> {
    match value {
        [0, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}
