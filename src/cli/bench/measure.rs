//! The measurements themselves: each command is counted with its first result, and timed by this
//! process's monotonic clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use super::NoRegistry;
use super::backlog::Backlog;
use crate::cli::failure::Failure;
use crate::kafka::{Sender, Tail};
use crate::record::{Record, TopicNames};
use crate::wire::Reader;

/// Without any result for so long, a measurement is given up.
const SILENCE: Duration = Duration::from_secs(90);

/// Results as they come.
pub(super) struct Results {
    tail: Tail,
    reader: Reader,
}

impl Results {
    pub(super) fn new(tail: Tail, topics: &TopicNames) -> Self {
        Self {
            tail,
            reader: Reader::new(topics, Arc::new(NoRegistry)),
        }
    }

    /// The next result and the command it is of.
    async fn next(&self) -> Result<(String, Record), Failure> {
        let record = tokio::time::timeout(SILENCE, self.tail.next()).await;
        let record = record.map_err(|_| {
            let silence = format!("no result within {} s", SILENCE.as_secs());
            Failure::operation(silence, "run `check`, and try fewer commands")
        })?;
        let key = record.key.as_deref().unwrap_or_default();
        Ok((String::from_utf8_lossy(key).into_owned(), record))
    }
}

/// How a backlog was drained.
pub(super) struct Drain {
    commands: usize,
    /// The longer of two: from the first decision to the last, and from the first result seen to the
    /// last. Joining the group is in neither; the one lacks the last batch, the other the first.
    took: Duration,
    /// Results by code.
    codes: BTreeMap<String, u64>,
}

impl Drain {
    pub(super) fn commands(&self) -> usize {
        self.commands
    }

    pub(super) fn seconds(&self) -> f64 {
        self.took.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "a backlog is small beside 2^52")]
    pub(super) fn rate(&self) -> f64 {
        self.commands as f64 / self.seconds()
    }

    pub(super) fn codes(&self) -> String {
        let codes = self
            .codes
            .iter()
            .map(|(code, count)| format!("{code} {count}"));
        codes.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "commands": self.commands,
            "seconds": self.seconds(),
            "commandsPerSecond": self.rate(),
            "results": self.codes,
        })
    }
}

/// Waits for a result of every one of `commands`.
pub(super) async fn drain(results: &mut Results, commands: usize) -> Result<Drain, Failure> {
    let mut seen: HashMap<String, Record> = HashMap::with_capacity(commands);
    let mut began: Option<Instant> = None;
    while seen.len() < commands {
        let (id, record) = results.next().await?;
        began.get_or_insert_with(Instant::now);
        seen.entry(id).or_insert(record);
    }
    let shown = began.map_or(Duration::ZERO, |began| began.elapsed());
    // Decoded only now, so that it takes nothing from the worker's time. The instants of decisions are
    // the database's: only their distance counts.
    let mut codes: BTreeMap<String, u64> = BTreeMap::new();
    let (mut first, mut latest) = (i64::MAX, i64::MIN);
    for record in seen.values() {
        let result = results.reader.result(record).await;
        let result = result.map_err(|error| {
            Failure::operation(format!("a result cannot be read: {error}"), "report it")
        })?;
        first = first.min(result.decided_at);
        latest = latest.max(result.decided_at);
        let code = result.code.unwrap_or(result.outcome);
        *codes.entry(code).or_default() += 1;
    }
    let decided = Duration::from_millis(u64::try_from(latest - first).unwrap_or_default());
    Ok(Drain {
        commands,
        took: shown.max(decided).max(Duration::from_millis(1)),
        codes,
    })
}

/// How long commands waited for their results.
pub(super) struct Latency {
    rate: u32,
    /// In milliseconds, sorted.
    waited: Vec<u128>,
}

impl Latency {
    /// The wait that `percent` of a hundred commands did not exceed.
    fn at(&self, percent: usize) -> u128 {
        let last = self.waited.len().saturating_sub(1);
        self.waited
            .get(last * percent / 100)
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn words(&self) -> String {
        format!(
            "command to result at {}/s ({} commands): p50 {} ms, p90 {} ms, p99 {} ms, worst {} ms",
            self.rate,
            self.waited.len(),
            self.at(50),
            self.at(90),
            self.at(99),
            self.at(100)
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "commandsPerSecond": self.rate,
            "commands": self.waited.len(),
            "p50Millis": self.at(50),
            "p90Millis": self.at(90),
            "p99Millis": self.at(99),
            "maxMillis": self.at(100),
        })
    }
}

/// Sends at a steady rate and times each command from when it was due, so that a sender who is held
/// up does not hide a wait.
pub(super) async fn steady(
    sender: &Sender,
    topics: &TopicNames,
    backlog: &Backlog,
    rate: u32,
    results: &Results,
) -> Result<Latency, Failure> {
    let pace = Duration::from_secs(1) / rate;
    let places: HashMap<&str, u32> = backlog
        .commands()
        .iter()
        .map(|planned| planned.id.as_str())
        .zip(0..)
        .collect();
    let began = Instant::now();
    let send = async {
        let mut ticks = tokio::time::interval(pace);
        let mut sent = FuturesUnordered::new();
        for planned in backlog.commands() {
            ticks.tick().await;
            let record = planned.record(topics);
            sent.push(async move { sender.send(&record).await });
            while let Some(Some(outcome)) = futures::FutureExt::now_or_never(sent.next()) {
                outcome.map_err(|error| Failure::operation(error, "see the brokers' log"))?;
            }
        }
        while let Some(outcome) = sent.next().await {
            outcome.map_err(|error| Failure::operation(error, "see the brokers' log"))?;
        }
        Ok::<(), Failure>(())
    };
    let receive = async {
        let mut waited: HashMap<String, u128> = HashMap::with_capacity(places.len());
        while waited.len() < places.len() {
            let (id, _) = results.next().await?;
            if let Some(place) = places.get(id.as_str()) {
                let due = began + pace * *place;
                let wait = due.elapsed().as_millis();
                waited.entry(id).or_insert(wait);
            }
        }
        Ok(waited)
    };
    let ((), waited) = tokio::try_join!(send, receive)?;
    let mut waited: Vec<u128> = waited.into_values().collect();
    waited.sort_unstable();
    Ok(Latency { rate, waited })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_waited() {
        let latency = Latency {
            rate: 1,
            waited: (1..=101).collect(),
        };
        assert_eq!(
            [50, 90, 99, 100].map(|percent| latency.at(percent)),
            [51, 91, 100, 101]
        );
        let nothing = Latency {
            rate: 1,
            waited: Vec::new(),
        };
        assert_eq!(nothing.at(99), 0);
    }
}
