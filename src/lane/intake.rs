//! Records on their way into a batch: read, decoded, waiting for their turn. An item keeps its record,
//! so that a batch can be decided again, split or resumed without reading the log once more.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::domain::MessageId;
use crate::record::{Origin, Record, TopicPartition};
use crate::wire::{Codec, Decoded, Passthrough, Poison, claimed_forward};

/// A record, decoded.
pub(super) struct Item {
    pub(super) record: Record,
    pub(super) decoded: Result<Decoded, Poison>,
    /// The message's id, where there is a message.
    pub(super) id: Option<MessageId>,
    /// Headers that come back on what the message causes.
    pub(super) passthrough: Passthrough,
    /// What a `sw-forward` header on the home topic claims, to be verified.
    pub(super) claim: Option<(Origin, u32)>,
    /// The database refused what this message leads to: it ends as `internal_error`.
    pub(super) failing: bool,
}

impl Item {
    /// Decodes `record`, whose writer schema is known. `homeward`: its lane is one that records are
    /// forwarded to.
    pub(super) fn new(record: Record, codec: &Codec, homeward: bool) -> Self {
        // A decoder that fails on hostile bytes must not stop the lane: they can never succeed.
        let decoded =
            catch_unwind(AssertUnwindSafe(|| codec.decode(&record))).unwrap_or_else(|_| {
                let reason = "the decoder failed".to_owned();
                Err(Poison::Undecodable { reason })
            });
        let id = decoded.as_ref().ok().map(|decoded| decoded.message.id());
        let passthrough = Passthrough::of(&record);
        let claim = if homeward {
            claimed_forward(&record)
        } else {
            None
        };
        Self {
            record,
            decoded,
            id,
            passthrough,
            claim,
            failing: false,
        }
    }

    /// The evidence that would make the claim true.
    pub(super) fn claimed_evidence(&self, lane: &TopicPartition) -> Option<crate::store::Forward> {
        let (origin, _) = self.claim.as_ref()?;
        let decoded = self.decoded.as_ref().ok()?;
        Some(crate::store::Forward {
            origin: origin.clone(),
            home: lane.partition,
            fingerprint: decoded.fingerprint,
        })
    }
}
