//! Reading a topic once, from offsets to where it ends now, for commands that look things up: without
//! a group, without a position that is kept, in memory that does not grow with the topic. Fails with
//! [`SetupError`]; a broker that falls silent is one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::Offset;
use tokio::sync::mpsc;

use super::admin::{Quiet, TIMEOUT};
use super::consumer::to_record;
use super::reach::reach;
use super::settings::{Settings, SetupError};
use crate::record::{Record, TopicPartition};

/// Records handed over at once, at most.
const BATCH_RECORDS: usize = 500;
/// Bytes handed over at once, at most, but for a single record.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait for their reader.
const BATCHES: usize = 4;
const POLL: Duration = Duration::from_millis(100);
/// How long the brokers may be silent while records are to come.
const SILENCE: Duration = Duration::from_secs(20);

/// A stretch of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first offset that the log still has.
    pub low: i64,
    /// Where to begin.
    pub from: i64,
    /// The offset behind the last record, when asked.
    pub end: i64,
}

impl Span {
    /// Whether records that belong to the stretch may have been deleted: it begins where the log does,
    /// and the log does not begin at its beginning.
    #[must_use]
    pub fn may_lack(&self) -> bool {
        self.low > 0 && self.from <= self.low
    }

    fn length(&self) -> u64 {
        u64::try_from(self.end - self.from).unwrap_or(0)
    }
}

/// What there is of each partition of `topic` since the instant `since` (milliseconds since the epoch;
/// by the records' own timestamps), or at all.
///
/// # Errors
/// [`SetupError::MissingTopic`], [`SetupError::Unavailable`] and refused properties.
pub async fn spans(
    settings: &Settings,
    topic: &str,
    since: Option<i64>,
) -> Result<BTreeMap<i32, Span>, SetupError> {
    settings.refuse_owned()?;
    let (config, brokers) = (settings.reader(), settings.brokers.clone());
    let topic = topic.to_owned();
    let settings = settings.clone();
    blocking(move || {
        reach(&settings)?;
        let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet)?;
        let unavailable = |error: KafkaError| unavailable(&brokers, error.to_string());
        let metadata = consumer
            .fetch_metadata(Some(&topic), TIMEOUT)
            .map_err(unavailable)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions: Vec<i32> = found
            .filter(|found| found.error().is_none())
            .map(|found| found.partitions().iter().map(|p| p.id()).collect())
            .unwrap_or_default();
        if partitions.is_empty() {
            return Err(SetupError::MissingTopic { topic });
        }
        let mut spans = BTreeMap::new();
        for partition in partitions {
            let (low, end) = consumer
                .fetch_watermarks(&topic, partition, TIMEOUT)
                .map_err(unavailable)?;
            let from = low;
            spans.insert(partition, Span { low, from, end });
        }
        if let Some(since) = since {
            let mut wanted = TopicPartitionList::new();
            for partition in spans.keys() {
                wanted
                    .add_partition_offset(&topic, *partition, Offset::Offset(since.max(0)))
                    .map_err(unavailable)?;
            }
            let found = consumer
                .offsets_for_times(wanted, TIMEOUT)
                .map_err(unavailable)?;
            for element in found.elements() {
                if let Some(span) = spans.get_mut(&element.partition()) {
                    span.from = match element.offset() {
                        Offset::Offset(offset) => offset.clamp(span.low, span.end),
                        // Every record is older.
                        _ => span.end,
                    };
                }
            }
        }
        Ok(spans)
    })
    .await
}

/// The records of one topic's stretches, in batches; each partition's in order. Dropping it ends the
/// reading.
pub struct Scan {
    records: mpsc::Receiver<Result<Vec<Record>, SetupError>>,
    length: u64,
}

impl Scan {
    /// Begins to read `spans` of `topic`.
    ///
    /// # Errors
    /// Refused properties. What happens on the way comes from [`Scan::next`].
    pub fn start(
        settings: &Settings,
        topic: &str,
        spans: &BTreeMap<i32, Span>,
    ) -> Result<Self, SetupError> {
        settings.refuse_owned()?;
        let (sender, records) = mpsc::channel(BATCHES);
        let reading = Reading {
            topic: topic.into(),
            brokers: settings.brokers.clone(),
            left: spans
                .iter()
                .filter(|(_, span)| span.from < span.end)
                .map(|(partition, span)| (*partition, *span))
                .collect(),
            sender,
        };
        let config = settings.reader();
        tokio::task::spawn_blocking(move || {
            let failures = reading.sender.clone();
            if let Err(error) = reading.run(&config) {
                // Whoever does not listen any more does not need it.
                let _ = failures.blocking_send(Err(error));
            }
        });
        Ok(Self {
            records,
            length: spans.values().map(Span::length).sum(),
        })
    }

    /// The next records; `None` at the end.
    ///
    /// # Errors
    /// [`SetupError::Unavailable`]: the brokers fell silent; nothing comes after it.
    pub async fn next(&mut self) -> Option<Result<Vec<Record>, SetupError>> {
        self.records.recv().await
    }

    /// How many offsets there are to pass.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }
}

struct Reading {
    topic: Arc<str>,
    brokers: String,
    /// What is not read yet.
    left: BTreeMap<i32, Span>,
    sender: mpsc::Sender<Result<Vec<Record>, SetupError>>,
}

impl Reading {
    fn run(mut self, config: &rdkafka::ClientConfig) -> Result<(), SetupError> {
        if self.left.is_empty() {
            return Ok(());
        }
        let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet)?;
        let mut wanted = TopicPartitionList::new();
        for (partition, span) in &self.left {
            wanted.add_partition_offset(&self.topic, *partition, Offset::Offset(span.from))?;
        }
        consumer.assign(&wanted)?;
        let mut batch: Vec<Record> = Vec::new();
        let mut bytes = 0;
        let mut heard = Instant::now();
        let mut fault = "no answer".to_owned();
        while !self.left.is_empty() {
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let Some(span) = self.left.get(&message.partition()) else {
                        continue;
                    };
                    let end = span.end;
                    if message.offset() + 1 >= end {
                        self.left.remove(&message.partition());
                    }
                    // What was written since is not of this reading.
                    if message.offset() >= end {
                        continue;
                    }
                    let lane = TopicPartition::new(Arc::clone(&self.topic), message.partition());
                    let record = to_record(&lane, &message);
                    bytes += record.size();
                    batch.push(record);
                }
                // A transaction's markers and deleted records stand in no message.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    self.left.remove(&partition);
                }
                // librdkafka goes on by itself.
                Some(Err(error)) => fault = error.to_string(),
                None if !batch.is_empty() => bytes = BATCH_BYTES,
                None => {}
            }
            if batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                bytes = 0;
                if !self.hand_over(std::mem::take(&mut batch)) {
                    return Ok(());
                }
            }
            if heard.elapsed() > SILENCE {
                return Err(unavailable(&self.brokers, fault));
            }
            if self.sender.is_closed() {
                return Ok(());
            }
        }
        if !batch.is_empty() {
            self.hand_over(batch);
        }
        Ok(())
    }

    /// Whether somebody still listens.
    fn hand_over(&self, batch: Vec<Record>) -> bool {
        self.sender.blocking_send(Ok(batch)).is_ok()
    }
}

fn unavailable(brokers: &str, reason: String) -> SetupError {
    SetupError::Unavailable {
        brokers: brokers.to_owned(),
        reason,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SetupError> + Send + 'static,
) -> Result<T, SetupError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| SetupError::Client {
            reason: error.to_string(),
        })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_lacks_records_only_where_the_log_was_cut_at_its_beginning() {
        for (low, from, lacks) in [(0, 0, false), (0, 7, false), (5, 5, true), (5, 6, false)] {
            let span = Span { low, from, end: 9 };
            assert_eq!(span.may_lack(), lacks, "{span:?}");
        }
    }
}
