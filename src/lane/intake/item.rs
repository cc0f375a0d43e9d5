//! Records on their way into a batch: read, decoded, waiting for their turn. An item keeps its record,
//! so that a batch can be decided again or split without reading the log once more.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::domain::MessageId;
use crate::record::{Origin, Record, TopicPartition};
use crate::store::Forward;
use crate::wire::{Codec, Decoded, Passthrough, Poison, claimed_forward};

/// A record, decoded.
pub(in crate::lane) struct Item {
    pub(in crate::lane) record: Record,
    pub(in crate::lane) content: Content,
    /// Headers that are returned on what the record causes.
    pub(in crate::lane) passthrough: Passthrough,
    pub(in crate::lane) trial: Trial,
}

/// What a record says.
pub(in crate::lane) enum Content {
    /// A message.
    Message(Box<Message>),
    /// Bytes that can never be a message.
    Poison(Poison),
}

/// A decoded message.
pub(in crate::lane) struct Message {
    pub(in crate::lane) decoded: Decoded,
    pub(in crate::lane) id: MessageId,
    /// The forward that a `sw-forward` header claims, with its hops; still to be verified.
    pub(in crate::lane) claim: Option<(Forward, u32)>,
}

/// Whether the database has refused what a message leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lane) enum Trial {
    /// It has not.
    Untried,
    /// Once, with the message alone in its batch. It is tried again after the lane has committed
    /// something else.
    Refused,
    /// Twice: it ends as `internal_error`.
    Condemned,
}

impl Item {
    /// Decodes `record`, whose writer schema is known. Only a lane that records are forwarded to, the
    /// home of sessions, looks at their `sw-forward` header.
    pub(in crate::lane) fn new(record: Record, codec: &Codec, lane_is_home: bool) -> Self {
        // A decoder that fails on hostile bytes must not stop the lane: they can never succeed.
        let decoded =
            catch_unwind(AssertUnwindSafe(|| codec.decode(&record))).unwrap_or_else(|_| {
                let reason = "the decoder failed".to_owned();
                Err(Poison::Undecodable { reason })
            });
        let content = match decoded {
            Ok(decoded) => Content::Message(Box::new(Message {
                id: decoded.message.id(),
                claim: claim(&record, &decoded, lane_is_home),
                decoded,
            })),
            Err(poison) => Content::Poison(poison),
        };
        Self {
            passthrough: Passthrough::of(&record),
            record,
            content,
            trial: Trial::Untried,
        }
    }
}

fn claim(record: &Record, decoded: &Decoded, lane_is_home: bool) -> Option<(Forward, u32)> {
    let (origin, hops) = lane_is_home.then(|| claimed_forward(record))??;
    let Origin { .. } = &origin;
    let TopicPartition { partition, .. } = record.lane;
    let forward = Forward {
        origin,
        home: partition,
        fingerprint: decoded.fingerprint,
    };
    Some((forward, hops))
}
