//! Why a lane's intake is stopped, as its document says it, and what fixes it, in the words that
//! readiness, log, `check` and `lanes show` share.

use std::fmt;

use crate::domain::Timestamp;

/// Owners that died in a row before a partition is left unread.
pub const DEATHS_TOLERATED: i32 = 5;

/// Why a lane reads nothing although it could reach its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// The position lies outside the log: records were deleted before they were read.
    PositionLost,
    /// The last record consumed is not the one in the log: the topic was recreated.
    Recreated,
    /// The bytes at the position cannot be read as records.
    Damaged,
    /// Several owners in a row died while they read the partition.
    Suspect,
}

impl StopReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::PositionLost,
        Self::Recreated,
        Self::Damaged,
        Self::Suspect,
    ];

    /// The name in the lane's document, readiness, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PositionLost => "position_lost",
            Self::Recreated => "recreated",
            Self::Damaged => "damaged",
            Self::Suspect => "suspect",
        }
    }
}

/// A stopped intake, as other processes see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntakeStop {
    /// Why.
    pub reason: StopReason,
    /// The offset to read next when it stopped.
    pub offset: i64,
    /// Since when, by the database's clock.
    pub since: Timestamp,
}

/// Why an intake is stopped, and the one command that fixes it.
pub struct Remedy<'a> {
    /// The lane.
    pub lane: &'a str,
    /// The stop.
    pub stop: IntakeStop,
}

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lane, stop } = self;
        let offset = stop.offset;
        match stop.reason {
            StopReason::PositionLost => write!(
                f,
                "offset {offset}, to be read next, is not in the log any more: records were deleted \
                 before they were read; continue with `session-worker lanes seek {lane} earliest --yes`"
            ),
            StopReason::Recreated => write!(
                f,
                "the last record read before offset {offset} is not the one in the log: the topic was \
                 recreated; start it over with `session-worker lanes seek {lane} earliest --yes`"
            ),
            StopReason::Damaged => write!(
                f,
                "the bytes at offset {offset} are damaged on the broker's disk; restore them, or give \
                 them up with `session-worker lanes seek {lane} <offset behind the damage> --yes`"
            ),
            StopReason::Suspect => write!(
                f,
                "several workers in a row died while they read from offset {offset}; find out why in \
                 their logs, then `session-worker lanes resume {lane}`, or step over it with \
                 `session-worker lanes seek {lane} <offset> --yes`"
            ),
        }
    }
}
