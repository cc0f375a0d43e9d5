//! What holds a lane up, as far as its document and its partition's ends say: a worker may know more.

use crate::store::mongo::inspect::LaneFound;
use crate::store::{DEATHS_TOLERATED, IntakeStop, Remedy, StopReason};
use crate::wire::rfc3339;

/// How a lane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Standing {
    /// Nothing is known to be wrong.
    Fine,
    /// Owners died in a row while they read it, and it is still read.
    Dying {
        /// How many.
        deaths: i32,
    },
    /// Nothing is read, as its owner wrote down.
    Stopped(IntakeStop),
    /// Its next owner will read nothing.
    WillStop {
        /// Why.
        reason: StopReason,
        /// The offset to read next.
        offset: i64,
    },
    /// Its document cannot be read, so it can have no owner.
    Unreadable(String),
}

/// How the lane stands whose partition has these ends, where they are known.
pub(in crate::cli) fn standing(found: &LaneFound, bounds: Option<(i64, i64)>) -> Standing {
    let position = match &found.position {
        None => return Standing::Fine,
        Some(Err(unreadable)) => return Standing::Unreadable(unreadable.clone()),
        Some(Ok(position)) => position,
    };
    if let Some(stop) = found.stop {
        return Standing::Stopped(stop);
    }
    let (next, deaths) = (position.next, position.deaths);
    if let (Some(offset), Some((low, high))) = (next, bounds)
        && !(low..=high).contains(&offset)
    {
        let reason = StopReason::PositionLost;
        return Standing::WillStop { reason, offset };
    }
    let waits = bounds.is_none_or(|(low, high)| next.unwrap_or(low) < high);
    if deaths >= DEATHS_TOLERATED && waits {
        let offset = next.or(bounds.map(|(low, _)| low)).unwrap_or(0);
        let reason = StopReason::Suspect;
        return Standing::WillStop { reason, offset };
    }
    match deaths {
        0 => Standing::Fine,
        deaths => Standing::Dying { deaths },
    }
}

impl Standing {
    /// Why nothing is read.
    pub(in crate::cli) fn reason(&self) -> Option<StopReason> {
        match self {
            Self::Stopped(stop) => Some(stop.reason),
            Self::WillStop { reason, .. } => Some(*reason),
            Self::Fine | Self::Dying { .. } | Self::Unreadable(_) => None,
        }
    }

    /// The cell of the table.
    pub(super) fn cell(&self) -> String {
        match self {
            Self::Fine => "–".to_owned(),
            Self::Dying { deaths } => format!("deaths {deaths}"),
            Self::Stopped(IntakeStop {
                reason,
                offset,
                since,
            }) => {
                let since = rfc3339(*since);
                format!("stopped: {} at {offset} since {since}", reason.as_str())
            }
            Self::WillStop { reason, offset } => format!("{} at {offset}", reason.as_str()),
            Self::Unreadable(_) => "unreadable".to_owned(),
        }
    }

    /// What is wrong with `lane`, and the command that fixes it.
    pub(in crate::cli) fn remedy(&self, lane: &str) -> Option<String> {
        let stop = match self {
            Self::Fine => return None,
            Self::Dying { deaths } => {
                return Some(format!(
                    "{deaths} of its owners died in a row while they read it; find out why in their logs; \
                     after {DEATHS_TOLERATED} deaths it is left unread"
                ));
            }
            Self::Unreadable(why) => {
                return Some(format!(
                    "{why}; restore the document from a backup, as no worker can own the lane without it"
                ));
            }
            Self::Stopped(stop) => *stop,
            Self::WillStop { reason, offset } => IntakeStop {
                reason: *reason,
                offset: *offset,
                since: crate::domain::Timestamp(0),
            },
        };
        Some(Remedy { lane, stop }.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use crate::store::LanePosition;

    fn found(next: Option<i64>, deaths: i32, stop: Option<IntakeStop>) -> LaneFound {
        let position = LanePosition {
            next,
            deaths,
            ..LanePosition::unread()
        };
        LaneFound {
            id: "a/0".to_owned(),
            position: Some(Ok(position)),
            stop,
            rules: None,
            outbox: std::collections::BTreeSet::new(),
        }
    }

    #[test]
    fn a_lane_stands_as_its_document_and_the_ends_of_its_partition_say() {
        let stop = IntakeStop {
            reason: StopReason::Damaged,
            offset: 17,
            since: Timestamp(1_766_400_000_000),
        };
        let ends = Some((5, 20));
        for (lane, bounds, cell) in [
            (found(Some(17), 0, None), ends, "–"),
            (found(None, 0, None), ends, "–"),
            (found(Some(20), 0, None), ends, "–"),
            (found(Some(4), 0, None), ends, "position_lost at 4"),
            (found(Some(21), 0, None), ends, "position_lost at 21"),
            (found(Some(4), 0, None), None, "–"),
            (found(Some(17), 4, None), ends, "deaths 4"),
            (found(Some(17), 5, None), ends, "suspect at 17"),
            (found(None, 5, None), ends, "suspect at 5"),
            // With nothing to read there is nothing to suspect.
            (found(Some(20), 5, None), ends, "deaths 5"),
            (
                found(Some(17), 5, Some(stop)),
                ends,
                "stopped: damaged at 17 since 2025-12-22T10:40:00.000Z",
            ),
        ] {
            let standing = standing(&lane, bounds);
            assert_eq!(standing.cell(), cell, "{lane:?} {bounds:?}");
            assert_eq!(standing.remedy("a/0").is_none(), cell == "–", "{cell}");
        }
    }

    #[test]
    fn the_remedy_is_a_command_on_the_lane() {
        for (lane, command) in [
            (
                found(Some(4), 0, None),
                "session-worker lanes seek a/0 earliest --yes",
            ),
            (found(Some(17), 5, None), "session-worker lanes resume a/0"),
        ] {
            let remedy = standing(&lane, Some((5, 20))).remedy("a/0");
            let remedy = remedy.expect("it stands still");
            assert!(remedy.contains(command), "{remedy}");
        }
    }
}
