//! Which dead letters are meant. Pure, but for what "2h" ago is.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::record::TopicNames;
use crate::settings::parse_duration;
use crate::wire::Letter;

/// How far a letter's own time and its record's may be apart: two clocks, and a lane that was held.
const SKEW_MS: i64 = 24 * 60 * 60 * 1000;

/// `dlq-reason` (contract 1, Dead letters).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Reason {
    Undecodable,
    UnknownSchema,
    TooLarge,
    Forbidden,
    Bug,
}

/// An instant, or how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    At(i64),
    Ago(Duration),
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(duration) = parse_duration(text) {
            return Ok(Self::Ago(duration));
        }
        let at = OffsetDateTime::parse(text, &Rfc3339).ok();
        at.and_then(|at| i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok())
            .map(Self::At)
            .ok_or("write how long ago, e.g. 2h or 7d, or an instant, e.g. 2026-01-31T09:30:00Z")
    }
}

impl When {
    fn millis(self) -> i64 {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => {
                now().saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what an operator calls two hours ago is by the clock of where he asks; it decides nothing"
)]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Which ones.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filter")]
pub(in crate::cli) struct Filter {
    /// Only those with this dlq-reason; repeatable
    #[arg(long, value_enum)]
    reason: Vec<Reason>,
    /// Only those that came from this topic
    #[arg(long = "from-topic", value_name = "TOPIC")]
    topic: Option<String>,
    /// Only those that died since: how long ago (2h, 7d), or an instant (RFC 3339)
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Only those that died before
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// Only those with this key
    #[arg(long)]
    key: Option<String>,
    /// Only those whose dlq-message contains this
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
}

/// A filter with its instants fixed and its topic named as in the broker.
#[derive(Clone, Debug, Default)]
pub(super) struct Sieve {
    reasons: Vec<&'static str>,
    topic: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    key: Option<String>,
    message: Option<String>,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::UnknownSchema => "unknown_schema",
            Self::TooLarge => "too_large",
            Self::Forbidden => "forbidden",
            Self::Bug => "bug",
        }
    }
}

impl Filter {
    /// Whether every letter is meant.
    pub(super) fn is_empty(&self) -> bool {
        self.reason.is_empty()
            && self.topic.is_none()
            && self.since.is_none()
            && self.until.is_none()
            && self.key.is_none()
            && self.message.is_none()
    }

    /// Fixes what the filter means now, in this deployment. A topic may be called by the contract's
    /// name or by the broker's.
    pub(super) fn sieve(&self, names: &TopicNames) -> Sieve {
        let plain = TopicNames::default();
        let named = self.topic.as_deref().map(|topic| {
            if *topic == *plain.match_found {
                names.match_found.to_string()
            } else if *topic == *plain.session_command {
                names.session_command.to_string()
            } else {
                topic.to_owned()
            }
        });
        Sieve {
            reasons: self.reason.iter().map(|reason| reason.as_str()).collect(),
            topic: named,
            since: self.since.map(When::millis),
            until: self.until.map(When::millis),
            key: self.key.clone(),
            message: self.message.clone(),
        }
    }
}

impl Sieve {
    /// Where in the topic to begin, by the records' own time.
    pub(super) fn begin(&self) -> Option<i64> {
        self.since.map(|since| since.saturating_sub(SKEW_MS))
    }

    /// Whether `letter` is meant.
    pub(super) fn takes(&self, letter: &Letter) -> bool {
        let died_at = died_at(letter);
        (self.reasons.is_empty() || self.reasons.contains(&letter.reason.as_str()))
            && (self.topic.as_deref()).is_none_or(|topic| topic == &*letter.origin.lane.topic)
            && self
                .since
                .is_none_or(|since| died_at.is_some_and(|at| at >= since))
            && self
                .until
                .is_none_or(|until| died_at.is_some_and(|at| at < until))
            && (self.key.as_deref()).is_none_or(|key| letter.key.as_deref() == Some(key.as_bytes()))
            && (self.message.as_deref()).is_none_or(|text| letter.message.contains(text))
    }
}

/// When `letter` died, in milliseconds: as it says itself, else its record's time.
pub(super) fn died_at(letter: &Letter) -> Option<i64> {
    let said = letter.failed_at.as_deref();
    let said = said.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    said.and_then(|at| i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok())
        .or(letter.timestamp)
}
