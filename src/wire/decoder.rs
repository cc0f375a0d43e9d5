//! Decoding inputs: by their writer's schema, or as JSON. No I/O but the look-ups behind
//! [`SchemaSource`]; fails with [`Poison`], for ever.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::inbound::{self, MatchFoundValue, SessionCommandValue};
use super::resolve::Plan;
use super::writers::{Input, Writer, Writers};
use super::{
    ADMISSION_ROOM, Decoded, LookupError, MAX_VALUE, Poison, SchemaSource, claimed_forward,
    fingerprint, frame_id, limit_allocation, read,
};
use crate::domain::Message;
use crate::record::{Record, TopicNames};

/// Decodes inputs.
pub struct Decoder {
    topics: TopicNames,
    writers: Writers,
}

impl Decoder {
    /// Makes a decoder that looks writer schemas up at `source`.
    pub fn new(topics: TopicNames, source: Arc<dyn SchemaSource>) -> Self {
        limit_allocation();
        let writers = Writers::new(&topics, source);
        Self { topics, writers }
    }

    /// Looks up the writer schemas of `records` that are not known yet. An id that the registry did
    /// not know before is asked for again: its schema may be registered by now.
    ///
    /// # Errors
    /// [`LookupError::Unavailable`]: the lane waits and tries again.
    pub async fn prepare(&self, records: &[Record]) -> Result<(), LookupError> {
        let framed = records.iter().filter_map(|record| {
            let value = record
                .value
                .as_deref()
                .filter(|value| value.len() <= size_limit(record))?;
            Some((self.input(record), frame_id(value)?))
        });
        self.writers.look_up(framed).await
    }

    /// Decodes an input whose writer schema [`Codec::prepare`] has looked up.
    ///
    /// # Errors
    /// [`Poison`]: a dead letter.
    ///
    /// # Panics
    /// Where the record was not prepared, or comes from a topic that is no input.
    pub fn decode(&self, record: &Record) -> Result<Decoded, Poison> {
        let undecodable = |reason: &str| Poison::Undecodable {
            reason: reason.to_owned(),
        };
        let input = self.input(record);
        let Some(value) = record.value.as_deref() else {
            return Err(undecodable("the record has no value"));
        };
        if value.len() > size_limit(record) {
            return Err(Poison::TooLarge { size: value.len() });
        }
        let message = match value.first() {
            Some(b'{') => match input {
                Input::MatchFound => from_json::<MatchFoundValue>(value),
                Input::SessionCommand => from_json::<SessionCommandValue>(value),
            }?,
            Some(0) => {
                let id =
                    frame_id(value).ok_or_else(|| undecodable("the frame has no schema id"))?;
                match &*self.writers.known(input, id) {
                    Writer::Unknown => return Err(Poison::UnknownSchema { id }),
                    Writer::Unresolved(mismatch) => {
                        return Err(Poison::Undecodable {
                            reason: format!("writer schema {id} does not resolve: {mismatch}"),
                        });
                    }
                    Writer::Resolved(plan) => match input {
                        Input::MatchFound => from_avro::<MatchFoundValue>(plan, value),
                        Input::SessionCommand => from_avro::<SessionCommandValue>(plan, value),
                    }?,
                }
            }
            Some(_) => {
                return Err(undecodable(
                    "the value begins neither with a zero byte nor with {",
                ));
            }
            None => return Err(undecodable("the value is empty")),
        };
        let admitted = input == Input::SessionCommand && matches!(message, Message::Match(_));
        if value.len() > MAX_VALUE && !admitted {
            return Err(Poison::TooLarge { size: value.len() });
        }
        let fingerprint = fingerprint::of(&message);
        Ok(Decoded {
            message,
            fingerprint,
            admitted,
        })
    }

    /// Which input `record` belongs to.
    fn input(&self, record: &Record) -> Input {
        if record.lane.topic == self.topics.session_command {
            Input::SessionCommand
        } else {
            assert!(
                record.lane.topic == self.topics.match_found,
                "lanes read input topics only"
            );
            Input::MatchFound
        }
    }
}

/// What `record`'s value may have: a record that claims to be on its way home may be an `AdmitMatch`.
fn size_limit(record: &Record) -> usize {
    match claimed_forward(record) {
        Some(_) => MAX_VALUE + ADMISSION_ROOM,
        None => MAX_VALUE,
    }
}

fn from_json<T: DeserializeOwned + Into<Message>>(value: &[u8]) -> Result<Message, Poison> {
    let value: Result<T, _> = inbound::read_json(value);
    value
        .map(T::into)
        .map_err(|reason| Poison::Undecodable { reason })
}

fn from_avro<T: DeserializeOwned + Into<Message>>(
    plan: &Plan,
    value: &[u8],
) -> Result<Message, Poison> {
    let value: Result<T, _> = read::read(plan, &value[5..]);
    value.map(T::into).map_err(|error| Poison::Undecodable {
        reason: format!("Avro: {error}"),
    })
}
