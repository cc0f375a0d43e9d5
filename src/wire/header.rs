//! Headers: CloudEvents on outputs, what of an input comes back on what it causes, and the
//! `sw-forward` of a record on its way home. Header bytes are anybody's: whatever is malformed counts
//! as absent.

use super::Passthrough;
use crate::domain::Timestamp;
use crate::record::{Header, Origin, Record, TopicPartition};

/// The header of a record that the worker sent home.
pub(super) const FORWARD: &str = "sw-forward";

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const CORRELATION_ID: &str = "correlation-id";

/// The longest header value that comes back. One input may cause a dozen records, so a value without
/// a bound would be multiplied beyond what the broker takes.
const MAX_PASSTHROUGH: usize = 4096;

impl Passthrough {
    /// What `record` carries: of each header the last one; none longer than 4 KiB.
    pub fn of(record: &Record) -> Self {
        let header = |name| {
            record
                .header(name)
                .filter(|value| value.len() <= MAX_PASSTHROUGH)
                .map(<[u8]>::to_vec)
        };
        Self {
            traceparent: header(TRACEPARENT),
            tracestate: header(TRACESTATE),
            correlation_id: header(CORRELATION_ID),
        }
    }

    /// The correlation id as text, where it is text.
    pub(super) fn correlation_text(&self) -> Option<&str> {
        self.correlation_id
            .as_deref()
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    pub(super) fn append_to(&self, headers: &mut Vec<Header>) {
        let values = [
            (TRACEPARENT, &self.traceparent),
            (TRACESTATE, &self.tracestate),
            (CORRELATION_ID, &self.correlation_id),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                headers.push((name.to_owned(), Some(value.clone())));
            }
        }
    }
}

/// A header of text.
pub(super) fn text(name: &str, value: impl Into<String>) -> Header {
    (name.to_owned(), Some(value.into().into_bytes()))
}

/// The headers of a CloudEvent in binary mode (contract 1, Headers). `subject` is left out where a
/// result concerns no session: CloudEvents has no empty attributes.
pub(super) fn cloud_event(
    id: &str,
    kind: &str,
    time: Timestamp,
    subject: Option<&str>,
) -> Vec<Header> {
    let mut headers = Vec::with_capacity(10);
    headers.push(text("content-type", "application/avro"));
    headers.push(text("ce_specversion", "1.0"));
    headers.push(text("ce_id", id));
    headers.push(text("ce_source", "session-worker"));
    headers.push(text("ce_type", kind));
    headers.push(text("ce_time", rfc3339(time)));
    if let Some(subject) = subject {
        headers.push(text("ce_subject", subject));
    }
    headers
}

/// The value of `sw-forward`: `<topic>/<partition>/<offset>/<hops>`.
pub(super) fn forward(origin: &Origin, hops: u32) -> Header {
    text(FORWARD, format!("{origin}/{hops}"))
}

/// The origin and hops that a `sw-forward` header claims; `None` where it is absent or malformed.
/// Two of them are malformed: the worker writes one.
pub fn claimed_forward(record: &Record) -> Option<(Origin, u32)> {
    let mut claims = record.headers.iter().filter(|(name, _)| name == FORWARD);
    let (_, value) = claims.next()?;
    if claims.next().is_some() {
        return None;
    }
    let claim = std::str::from_utf8(value.as_deref()?).ok()?;
    let mut parts = claim.rsplitn(4, '/');
    let hops: u32 = parts.next()?.parse().ok()?;
    let offset: i64 = parts.next()?.parse().ok()?;
    let partition: i32 = parts.next()?.parse().ok()?;
    let topic = parts.next().filter(|topic| !topic.is_empty())?;
    if partition < 0 || offset < 0 {
        return None;
    }
    let origin = Origin {
        lane: TopicPartition::new(topic, partition),
        offset,
    };
    // The worker writes numbers one way only, without signs or leading zeros.
    (format!("{origin}/{hops}") == claim).then_some((origin, hops))
}

/// An instant as RFC 3339 in UTC with milliseconds; of years beyond four digits the nearest that has.
pub fn rfc3339(instant: Timestamp) -> String {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    /// 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z.
    const RANGE: (i64, i64) = (-62_167_219_200_000, 253_402_300_799_999);
    let millis = instant.0.clamp(RANGE.0, RANGE.1);
    let (days, time) = (millis.div_euclid(DAY_MS), millis.rem_euclid(DAY_MS));
    // Howard Hinnant's civil_from_days: years begin in March, eras have 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, milliseconds) = (time / 1000, time % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}
