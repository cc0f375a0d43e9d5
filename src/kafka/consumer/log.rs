//! One assigned partition as a lane reads it. librdkafka goes on by itself after whatever it meets: it
//! jumps to the beginning of a log that lacks the position, and steps over a batch that is damaged. So
//! the log knows which offset comes next, asks for the log's ends where another one comes, and returns
//! nothing after an error before the lane seeks. Back-pressure is not polling.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use tokio::task::JoinHandle;

use super::Start;
use super::partition::Partition;
use crate::kafka::{Error, Limit, Log, words};
use crate::record::{Header, Record, TopicPartition};

/// librdkafka wakes a queue when it stops being empty; should that get lost, the lane looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long an answer may be on its way to a client that fetches nothing more.
const ON_ITS_WAY: Duration = Duration::from_millis(300);
/// How long fetches may leave no trace, before the position is sought once more (each seek brings a
/// record, an error, or the news of the log's end) and before the silence is a fault: twice as long as
/// the last fetch took, within these bounds.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// One assigned partition: the [`Log`] of one lane.
pub struct PartitionLog {
    partition: Arc<Partition>,
    reading: Reading,
    /// Polled and not returned yet.
    records: VecDeque<Record>,
    /// Met behind `records`.
    then: Option<Then>,
    /// Something among `records` or behind them cannot be explained without the log's ends.
    doubt: Option<Doubt>,
    /// A question to the broker that outlives a cancelled `records`.
    asking: Option<JoinHandle<Result<(i64, i64), Error>>>,
    patience: Duration,
}

enum Reading {
    /// Nothing is fetched before the lane seeks.
    Held,
    /// Nothing is fetched yet: the first `records` starts looking for the beginning, which outlives it.
    Earliest(Option<JoinHandle<Result<i64, Error>>>),
    Placed(Place),
    /// An error was met: nothing is returned before the lane seeks.
    Stopped(Stop),
}

struct Place {
    /// The offset that comes next; there may be no record at it.
    next: i64,
    /// When a fetch last brought something.
    heard: Instant,
    /// When the position was last sought, while no fetch has brought anything since.
    sought: Option<Instant>,
    /// Damage was met right here before.
    damaged: bool,
}

enum Then {
    /// A fetch found nothing more.
    End,
    /// Damage right after a seek may be that of before: librdkafka's fetch position is anywhere after
    /// damaged bytes, and the jump that follows may come after the seek. So it is sought once more, when
    /// nothing of before can be on its way.
    Again(Instant),
    Stop(Stop),
}

#[derive(Clone)]
enum Stop {
    OutOfRange { low: i64, high: i64 },
    Damaged { offset: i64, reason: &'static str },
    Unavailable { reason: String },
}

struct Doubt {
    /// The offset that was to come.
    next: i64,
    /// librdkafka jumped back: what it brings from here on is of no use.
    back: bool,
}

impl Stop {
    fn error(&self) -> Error {
        match self.clone() {
            Self::OutOfRange { low, high } => Error::OutOfRange { low, high },
            Self::Damaged { offset, reason } => Error::Damaged {
                offset,
                reason: reason.to_owned(),
            },
            Self::Unavailable { reason } => Error::Unavailable { reason },
        }
    }

    fn because(error: &Error) -> Self {
        let reason = match error {
            Error::Unavailable { reason } => reason.clone(),
            other => other.to_string(),
        };
        Self::Unavailable { reason }
    }
}

impl Place {
    /// Just sought.
    fn at(next: i64) -> Self {
        let now = Instant::now();
        Self {
            next,
            heard: now,
            sought: Some(now),
            damaged: false,
        }
    }

    /// A fetch brought something; returns how long that took.
    fn hear(&mut self) -> Duration {
        let silence = self.sought.take().unwrap_or(self.heard).elapsed();
        self.heard = Instant::now();
        silence
    }
}

impl PartitionLog {
    pub(super) fn new(partition: Arc<Partition>, start: Start) -> Self {
        let reading = match start {
            Start::Earliest => Reading::Earliest(None),
            Start::At(next) => Reading::Placed(Place::at(next)),
            Start::Held => Reading::Held,
        };
        Self {
            partition,
            reading,
            records: VecDeque::new(),
            then: None,
            doubt: None,
            asking: None,
            patience: PATIENCE.0,
        }
    }

    /// The partition that is read.
    #[must_use]
    pub fn lane(&self) -> &TopicPartition {
        &self.partition.name
    }

    /// Polls what is there until `limit` is reached or something is met that ends the batch.
    fn poll(&mut self, limit: Limit) -> Result<(), Error> {
        let Reading::Placed(place) = &mut self.reading else {
            return Ok(());
        };
        let partition = &self.partition;
        let (records, then, doubt) = (&mut self.records, &mut self.then, &mut self.doubt);
        let mut bytes: usize = records.iter().map(Record::size).sum();
        let mut came = false;
        let mut longest = None;
        partition.with_queue(|queue| {
            while then.is_none()
                && doubt.as_ref().is_none_or(|doubt| !doubt.back)
                && records.len() < limit.records.max(1)
                && bytes < limit.bytes
            {
                match queue.poll(Duration::ZERO) {
                    None => break,
                    Some(Ok(message)) => {
                        came = true;
                        let (offset, next) = (message.offset(), place.next);
                        if offset != next && doubt.is_none() {
                            let back = offset < next;
                            *doubt = Some(Doubt { next, back });
                        }
                        if offset < next {
                            break;
                        }
                        longest = longest.max(Some(place.hear()));
                        place.next = offset + 1;
                        let record = to_record(&partition.name, &message);
                        bytes += record.size();
                        records.push_back(record);
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) => {
                        // Right behind a record it is the end. Else the position may lie outside.
                        if place.sought.is_some() {
                            *doubt = doubt.take().or(Some(Doubt {
                                next: place.next,
                                back: false,
                            }));
                        }
                        longest = longest.max(Some(place.hear()));
                        *then = Some(Then::End);
                    }
                    Some(Err(error)) => *then = Some(after(&error, partition, place)),
                }
            }
        })?;
        if let Some(longest) = longest {
            self.patience = (longest * 2).clamp(PATIENCE.0, PATIENCE.1);
        }
        if came {
            partition.marks().read(place.next);
            // It was asked before these came.
            self.asking = None;
        }
        Ok(())
    }

    /// Settles a doubt by the log's ends.
    async fn settle(&mut self, doubt: Doubt) -> Result<(), Error> {
        // Until it is settled, a cancelled call finds it again.
        let (next, back) = (doubt.next, doubt.back);
        self.doubt = Some(doubt);
        let answer = self.ask().await;
        let beyond = |high| self.records.back().is_some_and(|last| last.offset >= high);
        let stop = match answer {
            // The offset is the one part of a batch that no checksum covers.
            Ok((low, high)) if (low..=high).contains(&next) => {
                beyond(high).then_some(Stop::Damaged {
                    offset: next,
                    reason: "a batch claims an offset beyond the end of the log",
                })
            }
            Ok((low, high)) => Some(Stop::OutOfRange { low, high }),
            Err(Error::Revoked) => return Err(Error::Revoked),
            Err(error) => Some(Stop::because(&error)),
        };
        if let Some(stop) = stop {
            self.records.retain(|record| record.offset < next);
            self.then = Some(Then::Stop(stop));
        } else if back && let Reading::Placed(place) = &self.reading {
            let next = place.next;
            self.partition.place(next).await?;
            self.reading = Reading::Placed(Place::at(next));
        }
        self.doubt = None;
        Ok(())
    }

    /// Asks for the log's ends; a question that is under way is not asked again.
    async fn ask(&mut self) -> Result<(i64, i64), Error> {
        let partition = &self.partition;
        let asking = self
            .asking
            .get_or_insert_with(|| tokio::spawn(Arc::clone(partition).ask()));
        let answer = asking.await;
        self.asking = None;
        answer.map_err(unfinished)?
    }

    /// As many of the polled records as `limit` allows.
    fn take(&mut self, limit: Limit) -> Vec<Record> {
        let mut bytes = 0usize;
        let fitting = self.records.iter().take(limit.records.max(1));
        let count = fitting
            .take_while(|record| {
                let first = bytes == 0;
                bytes = bytes.saturating_add(record.size().max(1));
                first || bytes <= limit.bytes
            })
            .count();
        self.records.drain(..count).collect()
    }

    /// Nothing has come: seeks once more where nothing was heard for a while, and gives up where that
    /// changed nothing.
    async fn listen(&mut self) -> Result<(), Error> {
        let Reading::Placed(place) = &self.reading else {
            return Ok(());
        };
        let (next, since) = (place.next, place.sought.unwrap_or(place.heard));
        if since.elapsed() < self.patience {
            return Ok(());
        }
        if place.sought.is_none() {
            self.partition.place(next).await?;
            self.reading = Reading::Placed(Place::at(next));
            return Ok(());
        }
        let stop = match self.ask().await {
            Ok((low, high)) if (low..=high).contains(&next) => Stop::Unavailable {
                reason: format!(
                    "fetching {} from offset {next} brought nothing for {:?}, though the log holds \
                     {low} to {high}: the broker is slow, or the bytes at that offset are damaged",
                    self.partition.name, self.patience,
                ),
            },
            Ok((low, high)) => Stop::OutOfRange { low, high },
            Err(Error::Revoked) => return Err(Error::Revoked),
            Err(error) => Stop::because(&error),
        };
        self.patience = (self.patience * 2).min(PATIENCE.1);
        self.then = Some(Then::Stop(stop));
        Ok(())
    }

    async fn wait(&self) {
        tokio::select! {
            () = self.partition.ready.notified() => {}
            () = self.partition.revoked.cancelled() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Places `partition` at its log's beginning, and says where that is.
fn begin(partition: &Arc<Partition>) -> impl Future<Output = Result<i64, Error>> + use<> {
    let partition = Arc::clone(partition);
    async move {
        let (low, _) = Arc::clone(&partition).ask().await?;
        partition.place(low).await?;
        Ok(low)
    }
}

fn unfinished(error: tokio::task::JoinError) -> Error {
    Error::Unavailable {
        reason: error.to_string(),
    }
}

/// What a fetch's failure comes to.
fn after(error: &KafkaError, partition: &Partition, place: &Place) -> Then {
    let code = error
        .rdkafka_error_code()
        .unwrap_or(RDKafkaErrorCode::Unknown);
    match words::damage(code) {
        Some(_) if place.sought.is_some() && !place.damaged => Then::Again(Instant::now()),
        Some(reason) => Then::Stop(Stop::Damaged {
            offset: place.next,
            reason,
        }),
        None => Then::Stop(Stop::Unavailable {
            reason: words::reading(error, &partition.name),
        }),
    }
}

impl Log for PartitionLog {
    async fn records(&mut self, limit: Limit) -> Result<Vec<Record>, Error> {
        loop {
            if self.partition.revoked.is_cancelled() {
                return Err(Error::Revoked);
            }
            match &mut self.reading {
                Reading::Held => {
                    self.partition.revoked.cancelled().await;
                    continue;
                }
                Reading::Earliest(looking) => {
                    let partition = &self.partition;
                    let looking = looking.get_or_insert_with(|| tokio::spawn(begin(partition)));
                    let found = looking.await.map_err(unfinished).and_then(|found| found);
                    self.reading = match &found {
                        Ok(low) => Reading::Placed(Place::at(*low)),
                        Err(error) => Reading::Stopped(Stop::because(error)),
                    };
                    found?;
                    continue;
                }
                Reading::Stopped(stop) => return Err(stop.error()),
                Reading::Placed(_) => {}
            }
            self.poll(limit)?;
            if let Some(doubt) = self.doubt.take() {
                self.settle(doubt).await?;
                continue;
            }
            if !self.records.is_empty() {
                return Ok(self.take(limit));
            }
            match &self.then {
                Some(Then::End) => {
                    self.then = None;
                    if let Reading::Placed(place) = &self.reading {
                        self.partition.marks().read_to_end(place.next);
                    }
                    return Ok(Vec::new());
                }
                Some(Then::Stop(stop)) => {
                    let stop = stop.clone();
                    // Otherwise librdkafka keeps fetching records that are dropped, or the same bytes again.
                    self.partition.park().await?;
                    let error = stop.error();
                    (self.then, self.reading) = (None, Reading::Stopped(stop));
                    return Err(error);
                }
                Some(Then::Again(since)) => {
                    let since = *since;
                    self.partition.park().await?;
                    tokio::time::sleep(ON_ITS_WAY.saturating_sub(since.elapsed())).await;
                    if let Reading::Placed(place) = &self.reading {
                        let next = place.next;
                        self.partition.place(next).await?;
                        self.reading = Reading::Placed(Place {
                            damaged: true,
                            ..Place::at(next)
                        });
                    }
                    self.then = None;
                }
                None => self.listen().await?,
            }
            if self.then.is_none() {
                self.wait().await;
            }
        }
    }

    async fn seek(&mut self, offset: Option<i64>) -> Result<(), Error> {
        // A seek that is given up half-way may have moved the client.
        self.reading = Reading::Stopped(Stop::Unavailable {
            reason: "a seek has not been finished".to_owned(),
        });
        (self.then, self.doubt, self.asking) = (None, None, None);
        self.records.clear();
        let next = match offset {
            Some(offset) => offset,
            None => self.bounds().await?.0,
        };
        // The client's version barrier drops what its queue still holds of before the seek.
        self.partition.place(next).await?;
        self.reading = Reading::Placed(Place::at(next));
        Ok(())
    }

    async fn bounds(&mut self) -> Result<(i64, i64), Error> {
        if self.partition.revoked.is_cancelled() {
            return Err(Error::Revoked);
        }
        Arc::clone(&self.partition).ask().await
    }

    fn lag(&self, next: Option<i64>) -> Option<i64> {
        self.partition.marks().lag(next)
    }

    fn report(&mut self, next: i64) {
        self.partition.marks().report(next);
    }
}
/// `message` as a record of `lane`.
pub(in crate::kafka) fn to_record(lane: &TopicPartition, message: &BorrowedMessage<'_>) -> Record {
    let mut headers: Vec<Header> = Vec::new();
    if let Some(found) = message.headers() {
        headers.reserve(found.count());
        for index in 0..found.count() {
            // rdkafka panics at a header name that is not UTF-8 (Kafka's names are). Such a header
            // is left out: a lane never stops for bytes that a sender chose (contract 3, 6).
            let header = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let header = found.get(index);
                (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
            }));
            match header {
                Ok(header) => headers.push(header),
                Err(_) => tracing::debug!(%lane, "a header's name is not UTF-8"),
            }
        }
    }
    Record {
        lane: lane.clone(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
