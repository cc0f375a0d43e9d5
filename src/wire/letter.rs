//! A dead letter read back: what the contract's headers say of it, what the original was, and the
//! original once more, to be sent again. Headers are anybody's: what is malformed counts as absent.

use super::header::{FORWARD, text};
use crate::record::{Header, Origin, OutRecord, Record, TopicPartition};

/// The header with how often a record was sent again from the dead letters. It travels with a record
/// that dies again, as every original header does.
pub const REPLAY_COUNT: &str = "sw-replay-count";
/// The header with the dead letter that a record was last sent again from.
pub const REPLAY_OF: &str = "sw-replay-of";

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it stands.
    pub place: Origin,
    /// The broker's or worker's timestamp of it, in milliseconds.
    pub timestamp: Option<i64>,
    /// `dlq-reason`
    pub reason: String,
    /// `dlq-message`
    pub message: String,
    /// `dlq-topic`, `dlq-partition` and `dlq-offset`.
    pub origin: Origin,
    /// `dlq-timestamp`, in milliseconds.
    pub sent_at: Option<i64>,
    /// `dlq-group`
    pub group: Option<String>,
    /// `dlq-failed-at`
    pub failed_at: Option<String>,
    /// `dlq-schema-id`
    pub schema_id: Option<u32>,
    /// `dlq-truncated`: the value's size before it was cut.
    pub value_size: Option<u64>,
    /// `dlq-key-truncated`: the key's size before it was cut.
    pub key_size: Option<u64>,
    /// `dlq-headers-dropped`
    pub headers_dropped: Option<u64>,
    /// How often the record had been sent again before it died this time.
    pub replays: u32,
    /// The letter it was last sent again from.
    pub replay_of: Option<Origin>,
    /// The original key, as far as it was kept.
    pub key: Option<Vec<u8>>,
    /// The original value, as far as it was kept.
    pub value: Option<Vec<u8>>,
    /// The original headers, as far as they were kept.
    pub headers: Vec<Header>,
    /// The headers that say why.
    pub reasons: Vec<Header>,
}

/// Why a letter cannot be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreplayable {
    /// The value or the key was cut.
    #[error("only a part of it was kept; its sender has to send it again")]
    Cut,
    /// An `AdmitMatch`: only the worker writes them.
    #[error(
        "an AdmitMatch is the worker's own: sent by anybody else it is forbidden; send the match \
         again to match-found"
    )]
    Admission,
}

impl Letter {
    /// Reads `record`; `None` where it is no dead letter.
    pub fn read(record: Record) -> Option<Self> {
        let said = |name: &str| {
            let value = record.header(name)?;
            std::str::from_utf8(value).ok().map(str::to_owned)
        };
        let number = |name: &str| said(name).and_then(|text| text.parse::<i64>().ok());
        let size = |name: &str| number(name).and_then(|size| u64::try_from(size).ok());
        let partition = number("dlq-partition").and_then(|number| i32::try_from(number).ok())?;
        let origin = Origin {
            lane: TopicPartition::new(said("dlq-topic")?, partition),
            offset: number("dlq-offset")?,
        };
        let (reason, message) = (said("dlq-reason")?, said("dlq-message").unwrap_or_default());
        let letter = Self {
            place: record.origin(),
            timestamp: record.timestamp,
            reason,
            message,
            origin,
            sent_at: number("dlq-timestamp").filter(|at| *at >= 0),
            group: said("dlq-group"),
            failed_at: said("dlq-failed-at"),
            schema_id: number("dlq-schema-id").and_then(|id| u32::try_from(id).ok()),
            value_size: size("dlq-truncated"),
            key_size: size("dlq-key-truncated"),
            headers_dropped: size("dlq-headers-dropped"),
            replays: number(REPLAY_COUNT)
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(0),
            replay_of: said(REPLAY_OF).and_then(|place| place.parse().ok()),
            key: None,
            value: None,
            headers: Vec::new(),
            reasons: Vec::new(),
        };
        let (reasons, headers) = record.headers.into_iter().partition(|(name, _)| ours(name));
        Some(Self {
            key: record.key,
            value: record.value,
            headers,
            reasons,
            ..letter
        })
    }

    /// The original record, as far as it was kept.
    pub fn original(&self) -> Record {
        Record {
            lane: self.origin.lane.clone(),
            offset: self.origin.offset,
            timestamp: self.sent_at,
            key: self.key.clone(),
            value: self.value.clone(),
            headers: self.headers.clone(),
        }
    }

    /// Whether the record was on its way home when it died, or claimed to be.
    pub fn was_forwarded(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == FORWARD)
    }

    /// The original to be sent again: its topic, key, value and headers, with one more replay counted.
    ///
    /// `sw-forward` stays behind. It vouches for a copy that a lane wrote: with it the record would
    /// be dropped in silence as one that was judged; without it, it is judged as its own.
    ///
    /// # Errors
    /// [`Unreplayable::Cut`].
    pub fn replay(&self) -> Result<OutRecord, Unreplayable> {
        if self.value_size.is_some() || self.key_size.is_some() {
            return Err(Unreplayable::Cut);
        }
        // In front: should the record die again, headers are kept in order as far as they fit.
        let mut headers = vec![
            text(REPLAY_COUNT, self.replays.saturating_add(1).to_string()),
            text(REPLAY_OF, self.place.to_string()),
        ];
        let own = self.headers.iter().filter(|(name, _)| {
            !matches!(name.as_str(), REPLAY_COUNT | REPLAY_OF) && name != FORWARD
        });
        headers.extend(own.cloned());
        Ok(OutRecord {
            topic: self.origin.lane.topic.clone(),
            partition: None,
            key: self.key.clone(),
            value: self.value.clone(),
            headers,
        })
    }
}

fn ours(name: &str) -> bool {
    name.starts_with("dlq-") || name.starts_with("kafka_dlt-")
}
