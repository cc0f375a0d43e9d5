//! One partition as a lane reads it: a cursor that fails, hangs and steps over records on a seed's
//! schedule, and that a record may end together with its process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use session_worker::kafka::{Error, Limit, Log};
use session_worker::record::{Record, TopicPartition};
use tokio::sync::mpsc;

use crate::broker::{Broker, Read};
use crate::pulse;
use crate::weather::{Rates, Weather};

/// How long bounds and seeks hang at most.
const LONGEST_HANG_MS: u64 = 20_000;

/// A process has read a record that kills it.
pub(crate) struct Death {
    /// The process, and which one of those that took this place.
    pub(crate) process: (usize, u64),
    pub(crate) lane: TopicPartition,
}

/// A lane's cursor.
pub(crate) struct SimLog {
    broker: Broker,
    weather: Weather,
    lane: TopicPartition,
    rng: StdRng,
    position: i64,
    generation: u32,
    /// The end was told since something was read.
    end_is_told: bool,
    revoked: Arc<AtomicBool>,
    process: (usize, u64),
    deaths: mpsc::UnboundedSender<Death>,
}

impl SimLog {
    /// Reads `lane` in `process`, once it is placed.
    pub(crate) fn new(
        broker: Broker,
        weather: Weather,
        lane: TopicPartition,
        revoked: Arc<AtomicBool>,
        (process, deaths): ((usize, u64), mpsc::UnboundedSender<Death>),
        seed: u64,
    ) -> Self {
        Self {
            generation: broker.generation(&lane),
            broker,
            weather,
            lane,
            rng: StdRng::seed_from_u64(seed),
            position: 0,
            end_is_told: false,
            revoked,
            process,
            deaths,
        }
    }

    fn happens(&mut self, rate: impl Fn(&Rates) -> u32) -> bool {
        let rate = rate(&self.weather.rates());
        rate > 0 && self.rng.random_range(0..1000) < rate
    }

    /// A step that asks the brokers.
    async fn ask(&mut self) -> Result<(), Error> {
        pulse::beat();
        if self.happens(|rates| rates.hang) {
            let hang = Duration::from_millis(self.rng.random_range(0..=LONGEST_HANG_MS));
            self.weather.begins(hang);
            tokio::time::sleep(hang).await;
        }
        if self.revoked.load(Ordering::Relaxed) {
            return Err(Error::Revoked);
        }
        if self.happens(|rates| rates.placing) {
            return Err(unavailable());
        }
        Ok(())
    }

    /// One look at the log; `None`: there is nothing to say yet.
    async fn look(&mut self, limit: Limit) -> Option<Result<Vec<Record>, Error>> {
        let read = self
            .broker
            .read(&self.lane, self.generation, self.position, limit);
        Some(match read {
            Read::Records(records, next) => {
                for record in &records {
                    pulse::handed(record.offset, self.generation);
                }
                self.position = next;
                self.end_is_told = false;
                Ok(records)
            }
            Read::End(next) => {
                self.position = next;
                if std::mem::replace(&mut self.end_is_told, true) {
                    return None;
                }
                Ok(Vec::new())
            }
            Read::OutOfRange { low, high } => Err(Error::OutOfRange { low, high }),
            // As librdkafka does: the next read goes on behind the damage.
            Read::Damaged(to) => {
                let offset = std::mem::replace(&mut self.position, to);
                Err(Error::Damaged {
                    offset,
                    reason: "simulated".to_owned(),
                })
            }
            Read::Recreated => Err(unavailable()),
            Read::Kills => {
                let death = Death {
                    process: self.process,
                    lane: self.lane.clone(),
                };
                // The process is ended before this lane is polled again.
                let _ = self.deaths.send(death);
                return std::future::pending().await;
            }
        })
    }
}

fn unavailable() -> Error {
    Error::Unavailable {
        reason: "simulated".to_owned(),
    }
}

impl Log for SimLog {
    async fn records(&mut self, limit: Limit) -> Result<Vec<Record>, Error> {
        let changes = self.broker.changes();
        loop {
            pulse::beat();
            let mut change = std::pin::pin!(changes.notified());
            change.as_mut().enable();
            if self.revoked.load(Ordering::Relaxed) {
                return Err(Error::Revoked);
            }
            if self.happens(|rates| rates.read) {
                let (_, high) = self.broker.bounds(&self.lane);
                let beyond = self.position + self.rng.random_range(0..3);
                self.position = beyond.min(high.max(self.position));
                return Err(unavailable());
            }
            let most = self.rng.random_range(1..=limit.records);
            let limit = Limit {
                records: most,
                ..limit
            };
            if let Some(looked) = self.look(limit).await {
                return looked;
            }
            change.await;
        }
    }

    async fn seek(&mut self, offset: Option<i64>) -> Result<(), Error> {
        self.ask().await?;
        let (low, _) = self.broker.bounds(&self.lane);
        self.position = offset.unwrap_or(low);
        self.generation = self.broker.generation(&self.lane);
        self.end_is_told = false;
        pulse::placed();
        Ok(())
    }

    async fn bounds(&mut self) -> Result<(i64, i64), Error> {
        self.ask().await?;
        Ok(self.broker.bounds(&self.lane))
    }

    fn lag(&self, next: Option<i64>) -> Option<i64> {
        let (low, high) = self.broker.bounds(&self.lane);
        Some(high - next.unwrap_or(low))
    }

    fn report(&mut self, _next: i64) {}
}
