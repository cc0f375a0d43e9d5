//! The crash-loop breaker's memory in a running lane. While it begins to read, an owner is on probation:
//! its death counts in the lane's document, until it has committed a batch or stayed alive for a while.
//! Lanes whose earlier owners died take turns, so that the one that kills processes is found.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// How long an owner must stay alive for its reading to count as harmless.
const PROOF: Duration = Duration::from_secs(30);

/// Whether the owner's death would count.
pub(super) enum Probation {
    /// It would not.
    Off,
    /// It would, until `until`.
    On {
        until: Instant,
        /// The turn among the process's suspects, where the lane is one.
        _turn: Option<OwnedSemaphorePermit>,
    },
}

impl Probation {
    /// Reading begins now, in its turn where the lane is a suspect.
    pub(super) fn begin(turn: Option<OwnedSemaphorePermit>) -> Self {
        Self::On {
            until: Instant::now() + PROOF,
            _turn: turn,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        matches!(self, Self::On { .. })
    }

    /// Whether the owner has stayed alive for long enough.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::On { until, .. } if *until <= Instant::now())
    }
}
