//! `users` and `lanes`.

use std::borrow::Cow;

use mongodb::bson::{Bson, DateTime};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use super::malformed::OUT_OF_RANGE;
use super::{Malformed, date, few, instant};
use crate::domain::{Day, SessionId, UserId, UserLimits};
use crate::store::mongo::indexes::LANES;
use crate::store::{IntakeStop, LanePosition, LastRecord, StopReason, StoredUser, Unreadable};

/// A document of `users`: one user's limits.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserDocument<'a> {
    #[serde(rename = "_id")]
    id: Cow<'a, str>,
    #[serde(deserialize_with = "few")]
    open: Vec<Cow<'a, str>>,
    day: i64,
    used: i32,
    #[serde(deserialize_with = "few")]
    failed_codes: Vec<DateTime>,
    #[serde(deserialize_with = "super::version")]
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

/// A document of `lanes`. Its `owner` (the server session whose transactions the next owner ends) is
/// read where it is needed.
#[derive(Debug, Deserialize)]
pub(crate) struct LaneDocument {
    #[serde(rename = "_id")]
    id: String,
    #[serde(deserialize_with = "count")]
    epoch: i64,
    #[serde(deserialize_with = "count")]
    batch: i64,
    #[serde(deserialize_with = "offset")]
    next: Option<i64>,
    #[serde(deserialize_with = "count")]
    acked: i64,
    clock: DateTime,
    last: Option<LastRecordDocument>,
    #[serde(default)]
    revision: i64,
    #[serde(default)]
    deaths: i32,
    /// What cannot be read here stops nothing.
    #[serde(default, deserialize_with = "if_readable")]
    intake: Option<IntakeStopDocument>,
    /// The digest of the rules that the last owner follows.
    #[serde(default, deserialize_with = "if_readable")]
    pub(crate) rules: Option<String>,
}

fn count<'de, D: Deserializer<'de>>(field: D) -> Result<i64, D::Error> {
    let count = i64::deserialize(field)?;
    if (0..i64::MAX).contains(&count) {
        Ok(count)
    } else {
        Err(D::Error::custom(format_args!("{OUT_OF_RANGE} for a count")))
    }
}

/// Kafka's negative offsets mean other places than the one stored.
fn offset<'de, D: Deserializer<'de>>(field: D) -> Result<Option<i64>, D::Error> {
    let offset = Option::<i64>::deserialize(field)?;
    if offset.is_some_and(i64::is_negative) {
        return Err(D::Error::custom(format_args!(
            "{OUT_OF_RANGE} for an offset"
        )));
    }
    Ok(offset)
}

fn if_readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    field: D,
) -> Result<Option<T>, D::Error> {
    let value = Bson::deserialize(field)?;
    Ok(mongodb::bson::deserialize_from_bson(value).ok())
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
    pub(crate) fn position(&self) -> Result<LanePosition, Unreadable> {
        let last = self.last.map(|last| {
            let malformed = |_| Malformed::new("last.crc: not 32 bits").under(LANES, &self.id);
            let crc = u32::try_from(last.crc).map_err(malformed)?;
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
