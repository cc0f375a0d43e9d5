//! Instants and UTC days as the rules count them. Knows no clock: every instant comes in.

use std::time::Duration;

/// An instant in UTC, in milliseconds since the epoch: Avro's `timestamp-millis`, BSON's date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A UTC day: the number of days since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Timestamp {
    /// The instant `duration` later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// The instant `duration` earlier.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// Milliseconds from `earlier` to here; negative where `earlier` is later.
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The UTC day this instant falls in.
    pub fn day(self) -> Day {
        Day(self.0.div_euclid(DAY_MS))
    }
}

impl Day {
    /// The midnight that ends this day: when a daily limit is fresh again.
    pub fn end(self) -> Timestamp {
        Timestamp((self.0 + 1).saturating_mul(DAY_MS))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
