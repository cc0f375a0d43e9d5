//! The database's clock on this host: the primary's time when it last said it, plus the monotonic
//! time since its answer arrived. So a reading is never early, whatever the host's own clock shows.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mongodb::Client;

use super::client::hello;
use super::failure::Failure;
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::store::Error;

/// A jump between two readings that is worth an alarm (a failover to a host with another time).
const JUMP_MS: i64 = 5_000;

/// The database's clock.
#[derive(Debug)]
pub struct MongoClock {
    client: Client,
    patience: Duration,
    reading: Mutex<Reading>,
    /// The latest time told, so that none that follows is earlier.
    told: AtomicI64,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    /// What the primary said.
    database: Timestamp,
    /// What the host's clock said at the same moment; only ever shown to people.
    host: Timestamp,
    /// When the answer arrived.
    arrived: Instant,
}

impl Reading {
    fn now(&self) -> Timestamp {
        self.database.plus(self.arrived.elapsed())
    }
}

impl MongoClock {
    pub(crate) async fn start(client: Client, patience: Duration) -> Result<Self, Failure> {
        let reading = read(&client, patience).await?;
        let told = AtomicI64::new(reading.database.0);
        Ok(Self {
            client,
            patience,
            reading: Mutex::new(reading),
            told,
        })
    }

    /// Asks the primary again; to be called every few seconds, so that drift stays small and a
    /// failover is noticed. Returns by how many milliseconds the database's time jumped, if by more
    /// than 5 s (negative: back; then [`Clock::now`] stands still until it is caught up).
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the last reading goes on.
    pub async fn refresh(&self) -> Result<Option<i64>, Error> {
        let fresh =
            read(&self.client, self.patience)
                .await
                .map_err(|failure| Error::Unavailable {
                    reason: failure.reason(),
                })?;
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let jump = fresh.now().millis_since(reading.now());
        *reading = fresh;
        Ok((jump.abs() > JUMP_MS).then_some(jump))
    }

    /// By how many milliseconds the host's wall clock is ahead of the database's, as of the last
    /// reading: a metric, and what `check` warns of.
    pub fn host_offset_ms(&self) -> i64 {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.host.millis_since(reading.database)
    }
}

impl Clock for MongoClock {
    fn now(&self) -> Timestamp {
        let reading = *self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let now = reading.now();
        Timestamp(self.told.fetch_max(now.0, Ordering::AcqRel).max(now.0))
    }
}

async fn read(client: &Client, patience: Duration) -> Result<Reading, Failure> {
    let answer = hello(client, patience).await?;
    let arrived = Instant::now();
    let host = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let database = answer
        .get_datetime("localTime")
        .map_err(|error| Failure::from(mongodb::error::Error::custom(error.to_string())))?;
    Ok(Reading {
        database: Timestamp(database.timestamp_millis()),
        host: Timestamp(0).plus(host),
        arrived,
    })
}
