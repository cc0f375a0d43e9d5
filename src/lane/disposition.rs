//! What becomes of a batch when something fails: one exhaustive table from every operational error a
//! lane can meet to what the lane does about it. A rejection is not here (it is a result), a bug
//! neither (it is caught at the command).

use crate::kafka;
use crate::store;
use crate::wire::LookupError;

/// What a lane does about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Forget every decision of the batch, look again, decide again; smaller after a few times.
    DecideAgain,
    /// Halve the batch down to the message, which ends as `internal_error`.
    Split,
    /// Wait with backoff and try the same again: a fault is not poison.
    Wait,
    /// Raise the own epoch, read the position and start over from the database.
    Restart,
    /// Wait for the new producer, then publish again from the lowest unacknowledged batch.
    Republish,
    /// Stop: the partition belongs to somebody else.
    End,
}

impl Disposition {
    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DecideAgain => "decide_again",
            Self::Split => "split",
            Self::Wait => "wait",
            Self::Restart => "restart",
            Self::Republish => "republish",
            Self::End => "end",
        }
    }
}

/// The table for the database.
pub fn of_store(error: &store::Error) -> Disposition {
    match error {
        store::Error::Conflict(_) => Disposition::DecideAgain,
        store::Error::Refused { .. } => Disposition::Split,
        store::Error::Unavailable { .. } => Disposition::Wait,
        store::Error::Fenced | store::Error::Unknown { .. } => Disposition::Restart,
    }
}

/// The table for Kafka.
pub fn of_kafka(error: &kafka::Error) -> Disposition {
    match error {
        kafka::Error::Unavailable { .. } => Disposition::Wait,
        kafka::Error::Delivery { .. } | kafka::Error::Refused { .. } => Disposition::Republish,
        kafka::Error::OutOfRange { .. } | kafka::Error::Damaged { .. } => Disposition::Restart,
        kafka::Error::Revoked => Disposition::End,
    }
}

/// The table for the registry.
pub fn of_lookup(error: &LookupError) -> Disposition {
    match error {
        LookupError::NotFound | LookupError::Unavailable { .. } => Disposition::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_waited_out_and_never_becomes_a_dead_letter() {
        let reason = String::new;
        assert_eq!(
            of_store(&store::Error::unavailable("down")),
            Disposition::Wait
        );
        assert_eq!(
            of_kafka(&kafka::Error::Unavailable { reason: reason() }),
            Disposition::Wait
        );
        assert_eq!(
            of_lookup(&LookupError::Unavailable { reason: reason() }),
            Disposition::Wait
        );
    }

    #[test]
    fn what_is_uncertain_is_resolved_by_a_restart() {
        let unknown = store::Error::unknown("lost");
        assert_eq!(of_store(&unknown), Disposition::Restart);
        assert_eq!(of_store(&store::Error::Fenced), Disposition::Restart);
    }

    #[test]
    fn a_conflict_is_decided_again_and_a_refusal_split() {
        let conflict = store::Error::Conflict(store::Conflict::User);
        let refused = store::Error::refused("too large");
        assert_eq!(of_store(&conflict), Disposition::DecideAgain);
        assert_eq!(of_store(&refused), Disposition::Split);
    }

    #[test]
    fn a_failed_delivery_is_published_again_and_a_revocation_ends_the_lane() {
        let delivery = kafka::Error::Delivery {
            reason: String::new(),
        };
        assert_eq!(of_kafka(&delivery), Disposition::Republish);
        assert_eq!(of_kafka(&kafka::Error::Revoked), Disposition::End);
    }
}
