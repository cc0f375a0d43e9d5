//! `users` and `lanes`.

use std::borrow::Cow;

use mongodb::bson::{Binary, DateTime};
use serde::{Deserialize, Serialize};

use super::{Malformed, date, instant};
use crate::domain::{Day, SessionId, UserId, UserLimits};
use crate::store::{IntakeStop, LanePosition, LastRecord, StopReason, StoredUser};

/// A document of `users`: one user's limits.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserDocument<'a> {
    #[serde(rename = "_id")]
    id: Cow<'a, str>,
    open: Vec<Cow<'a, str>>,
    day: i64,
    used: i32,
    failed_codes: Vec<DateTime>,
    version: i64,
}

impl<'a> UserDocument<'a> {
    /// The document of `limits` at `version`.
    pub(crate) fn new(limits: &'a UserLimits, version: i64) -> Self {
        Self {
            id: limits.user_id.as_str().into(),
            open: limits.open.iter().map(|id| id.as_str().into()).collect(),
            day: limits.day.0,
            used: limits.used,
            failed_codes: limits.failed_codes.iter().copied().map(date).collect(),
            version,
        }
    }

    /// The user that was stored.
    pub(crate) fn stored(self) -> StoredUser {
        let limits = UserLimits {
            user_id: UserId::from_stored(self.id.into_owned()),
            open: self
                .open
                .into_iter()
                .map(|id| SessionId::from_stored(id.into_owned()))
                .collect(),
            day: Day(self.day),
            used: self.used,
            failed_codes: self.failed_codes.into_iter().map(instant).collect(),
        };
        StoredUser {
            limits,
            version: self.version,
        }
    }
}

/// A document of `lanes`. `owner` is the server session whose transactions an heir ends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LaneDocument {
    #[serde(rename = "_id")]
    pub(crate) id: String,
    epoch: i64,
    batch: i64,
    next: Option<i64>,
    acked: i64,
    clock: DateTime,
    last: Option<LastRecordDocument>,
    pub(crate) owner: Option<Binary>,
    #[serde(default)]
    revision: i64,
    #[serde(default)]
    deaths: i32,
    #[serde(default)]
    intake: Option<IntakeStopDocument>,
}

/// Why a lane reads nothing, for other processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IntakeStopDocument {
    reason: String,
    offset: i64,
    since: DateTime,
}

impl IntakeStopDocument {
    /// The document of `stop`.
    pub(crate) fn new(stop: IntakeStop) -> Self {
        Self {
            reason: stop.reason.as_str().to_owned(),
            offset: stop.offset,
            since: date(stop.since),
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LastRecordDocument {
    offset: i64,
    timestamp: i64,
    crc: i64,
}

impl LastRecordDocument {
    /// The document of `last`.
    pub(crate) fn new(last: LastRecord) -> Self {
        Self {
            offset: last.offset,
            timestamp: last.timestamp,
            crc: i64::from(last.crc),
        }
    }
}

impl LaneDocument {
    /// The position that was stored.
    pub(crate) fn position(&self) -> Result<LanePosition, Malformed> {
        let last = self.last.map(|last| {
            let crc = u32::try_from(last.crc).map_err(|_| Malformed::new("a CRC of 32 bits"))?;
            Ok(LastRecord {
                offset: last.offset,
                timestamp: last.timestamp,
                crc,
            })
        });
        Ok(LanePosition {
            epoch: self.epoch,
            batch: self.batch,
            next: self.next,
            acked: self.acked,
            clock: instant(self.clock),
            last: last.transpose()?,
            revision: self.revision,
            deaths: self.deaths,
        })
    }

    #[expect(dead_code, reason = "`lanes show` will read it")]
    /// Why the lane's intake is stopped, where it is and the reason is known here.
    pub(crate) fn intake_stop(&self) -> Option<IntakeStop> {
        let stored = self.intake.as_ref()?;
        let mut reasons = StopReason::ALL.into_iter();
        Some(IntakeStop {
            reason: reasons.find(|reason| reason.as_str() == stored.reason)?,
            offset: stored.offset,
            since: instant(stored.since),
        })
    }
}
