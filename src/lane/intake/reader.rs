//! A placed log: records are read, their writer schemas looked up, and decoded. A slow registry is waited
//! for here, beside deadlines and publishing and not in front of them.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::kafka::{Limit, Log};
use crate::planted::{self, Bug};
use crate::record::Record;
use crate::store::LastRecord;
use crate::wire::{Codec, LookupError};

use super::{Item, Progress};
use crate::lane::failure::LogStep;

/// What a placed log is doing.
enum Stage {
    /// The next records are read from the log.
    Reading,
    /// Records are read; `at`: when their writer schemas are looked up.
    Undecoded {
        records: Arc<Vec<Record>>,
        at: Instant,
    },
    /// The registry is asked.
    LookingUp {
        records: Arc<Vec<Record>>,
        answer: BoxFuture<'static, Result<(), LookupError>>,
    },
    /// Records whose writer schemas are known.
    Decodable(Arc<Vec<Record>>),
}

/// A placed log and what was read of it.
pub(in crate::lane) struct Reader<L> {
    log: L,
    /// The last record of an earlier batch, until it was compared.
    verify: Option<LastRecord>,
    stage: Stage,
    /// Decoded, to be judged.
    items: VecDeque<Item>,
}

impl<L: Log> Reader<L> {
    /// `log` stands at the record `verify`, or where reading goes on.
    pub(super) fn new(log: L, verify: Option<LastRecord>) -> Self {
        Self {
            log,
            verify,
            stage: Stage::Reading,
            items: VecDeque::new(),
        }
    }

    pub(super) fn log(&self) -> &L {
        &self.log
    }

    pub(super) fn log_mut(&mut self) -> &mut L {
        &mut self.log
    }

    pub(super) fn into_log(self) -> L {
        self.log
    }

    /// What is decoded and waits for its turn, in order.
    pub(in crate::lane) fn items(&self) -> &VecDeque<Item> {
        &self.items
    }

    /// As [`Reader::items`], to mark or drain.
    pub(in crate::lane) fn items_mut(&mut self) -> &mut VecDeque<Item> {
        &mut self.items
    }

    /// Whether the next step would be a read.
    pub(super) fn is_between_reads(&self) -> bool {
        matches!(self.stage, Stage::Reading)
    }

    /// Asks the registry again only at `at`.
    pub(in crate::lane) fn look_up_at(&mut self, at: Instant) {
        if let Stage::Undecoded { at: when, .. } = &mut self.stage {
            *when = at;
        }
    }

    /// Looks up and decodes what was read, as far as that goes without waiting; what lies before `next`
    /// was consumed before and is dropped. Says whether anything was decoded.
    pub(super) fn decode(&mut self, next: Option<i64>, codec: &Arc<Codec>, is_home: bool) -> bool {
        let next = next.unwrap_or(i64::MIN);
        if let Stage::Undecoded { records, at } = &mut self.stage
            && *at <= Instant::now()
        {
            let mut fresh = std::mem::take(records);
            if fresh.first().is_some_and(|first| first.offset < next) {
                Arc::make_mut(&mut fresh).retain(|record| record.offset >= next);
            }
            self.look_up(fresh, codec);
        }
        let Stage::Decodable(records) = &mut self.stage else {
            return false;
        };
        let records = Arc::unwrap_or_clone(std::mem::take(records)).into_iter();
        self.items
            .extend(records.map(|record| Item::new(record, codec, is_home)));
        self.stage = Stage::Reading;
        true
    }

    /// Known schemas are found at once; anything else is waited for by [`Reader::progress`].
    fn look_up(&mut self, records: Arc<Vec<Record>>, codec: &Arc<Codec>) {
        let (asked, codec) = (Arc::clone(&records), Arc::clone(codec));
        let mut answer = async move { codec.prepare(&asked).await }.boxed();
        self.stage = match (&mut answer).now_or_never() {
            Some(Ok(())) => Stage::Decodable(records),
            Some(Err(error)) => Stage::LookingUp {
                records,
                answer: std::future::ready(Err(error)).boxed(),
            },
            None => Stage::LookingUp { records, answer },
        };
    }

    /// Makes the next step. Cancel-safe.
    pub(super) async fn progress(&mut self, limit: Limit) -> Progress {
        match &mut self.stage {
            Stage::Reading => match self.log.records(limit).await {
                Ok(records) => self.take(records),
                Err(error) => Progress::Failed(LogStep::Read, error),
            },
            Stage::Undecoded { at, .. } if *at > Instant::now() => {
                tokio::time::sleep_until(*at).await;
                Progress::Moved
            }
            // The lane moves these on, as soon as it may.
            Stage::Undecoded { .. } | Stage::Decodable(_) => std::future::pending().await,
            Stage::LookingUp { records, answer } => {
                let outcome = answer.await;
                let records = Arc::clone(records);
                match outcome {
                    Ok(()) => {
                        self.stage = Stage::Decodable(records);
                        Progress::Moved
                    }
                    Err(error) => {
                        let at = Instant::now();
                        self.stage = Stage::Undecoded { records, at };
                        Progress::LookUpFailed(error)
                    }
                }
            }
        }
    }

    /// Takes what was read. The first record behind a new start is compared with the last one consumed:
    /// the topic may have been recreated with as many records.
    fn take(&mut self, records: Vec<Record>) -> Progress {
        let mut beyond = true;
        if let Some(last) = self.verify
            && let (Some(first), Some(latest)) = (records.first(), records.last())
        {
            if first.offset == last.offset
                && last_record(first) != last
                && !planted::has(Bug::LastRecordNotCompared)
            {
                return Progress::Mismatch;
            }
            beyond = latest.offset > last.offset;
            self.verify = None;
        }
        if !records.is_empty() {
            self.stage = Stage::Undecoded {
                records: Arc::new(records),
                at: Instant::now(),
            };
        }
        if beyond {
            Progress::Read
        } else {
            Progress::Moved
        }
    }
}

/// What is stored of the last record consumed.
pub(in crate::lane) fn last_record(record: &Record) -> LastRecord {
    let mut crc = crc32fast::Hasher::new();
    crc.update(record.key.as_deref().unwrap_or_default());
    crc.update(record.value.as_deref().unwrap_or_default());
    LastRecord {
        offset: record.offset,
        timestamp: record.timestamp.unwrap_or(-1),
        crc: crc.finalize(),
    }
}
