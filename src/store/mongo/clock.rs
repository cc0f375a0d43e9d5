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
/// A difference between this host's clock and the database's that people should know of.
const OFFSET_MS: i64 = 1_000;

/// The database's clock.
#[derive(Debug)]
pub struct MongoClock {
    client: Client,
    limit: Duration,
    face: Face,
}

/// What can be read off the clock between two answers of the primary.
#[derive(Debug)]
struct Face {
    reading: Mutex<Reading>,
    /// The latest reading, so that none that follows is earlier.
    latest: AtomicI64,
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

impl Face {
    fn new(reading: Reading) -> Self {
        Self {
            latest: AtomicI64::new(reading.database.0),
            reading: Mutex::new(reading),
        }
    }

    fn now(&self) -> Timestamp {
        let now = self.last().now();
        Timestamp(self.latest.fetch_max(now.0, Ordering::AcqRel).max(now.0))
    }

    /// Goes on from `fresh` and returns the jump that this is, if it is one.
    fn set(&self, fresh: Reading) -> Option<i64> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let jump = fresh.now().millis_since(reading.now());
        *reading = fresh;
        (jump.abs() > JUMP_MS).then_some(jump)
    }

    fn last(&self) -> Reading {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MongoClock {
    pub(crate) async fn start(client: Client, limit: Duration) -> Result<Self, Failure> {
        let face = Face::new(read(&client, limit).await?);
        Ok(Self {
            client,
            limit,
            face,
        })
    }

    /// Asks the primary again; to be called every few seconds, so that drift stays small and a
    /// failover is noticed. Returns by how many milliseconds the database's time jumped, if by more
    /// than 5 s (negative: back; then [`Clock::now`] stands still until it is caught up).
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the last reading goes on.
    pub async fn refresh(&self) -> Result<Option<i64>, Error> {
        let unavailable = |failure: Failure| Error::Unavailable {
            source: failure.into(),
        };
        let fresh = read(&self.client, self.limit).await.map_err(unavailable)?;
        Ok(self.face.set(fresh))
    }

    /// By how many milliseconds the host's wall clock is ahead of the database's, as of the last
    /// reading: a metric, and what `check` warns of.
    pub fn host_offset_ms(&self) -> i64 {
        let reading = self.face.last();
        reading.host.millis_since(reading.database)
    }

    /// The words for an offset that people should know of: 1 s or more.
    pub fn host_offset_warning(&self) -> Option<String> {
        offset_warning(self.host_offset_ms())
    }
}

impl Clock for MongoClock {
    fn now(&self) -> Timestamp {
        self.face.now()
    }
}

fn offset_warning(offset_ms: i64) -> Option<String> {
    let way = if offset_ms < 0 { "behind" } else { "ahead of" };
    (offset_ms.abs() >= OFFSET_MS).then(|| {
        format!(
            "this host's clock is {} ms {way} the database's",
            offset_ms.abs()
        )
    })
}

/// What time the primary says it is.
pub(crate) async fn told_time(client: &Client, limit: Duration) -> Result<Timestamp, Failure> {
    let answer = hello(client, limit).await?;
    let time = answer
        .get_datetime("localTime")
        .map_err(|error| Failure::from(mongodb::error::Error::custom(error.to_string())))?;
    Ok(Timestamp(time.timestamp_millis()))
}

async fn read(client: &Client, limit: Duration) -> Result<Reading, Failure> {
    let database = told_time(client, limit).await?;
    Ok(Reading {
        database,
        host: host_now(),
        arrived: Instant::now(),
    })
}

/// What this host's clock shows.
#[expect(
    clippy::disallowed_methods,
    reason = "the host's time is read only to show how far off it is"
)]
pub(super) fn host_now() -> Timestamp {
    let host = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(0).plus(host.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(database: i64) -> Reading {
        Reading {
            database: Timestamp(database),
            host: Timestamp(0),
            arrived: Instant::now(),
        }
    }

    #[test]
    fn time_stands_still_rather_than_falls_and_goes_on_with_the_primary() {
        let face = Face::new(reading(1_000_000));
        let before = face.now();
        let back = face.set(reading(1_000_000 - 60_000)).expect("a jump");
        assert!((-61_000..=-59_000).contains(&back), "{back}");
        assert!(face.now() >= before);
        assert!(
            face.now().millis_since(before) < 1_000,
            "it waits to be caught up"
        );
        let forth = face.set(reading(1_000_000 + 60_000)).expect("a jump");
        assert!((119_000..=121_000).contains(&forth), "{forth}");
        assert!(face.now() >= Timestamp(1_060_000));
    }

    #[test]
    fn an_offset_has_words_from_a_second_on() {
        for (offset_ms, expected) in [
            (0, None),
            (-999, None),
            (1_000, Some("1000 ms ahead of")),
            (-3_600_000, Some("3600000 ms behind")),
        ] {
            let words = offset_warning(offset_ms);
            assert_eq!(words.is_some(), expected.is_some(), "{offset_ms}");
            if let (Some(words), Some(expected)) = (words, expected) {
                assert!(words.contains(expected), "{words}");
            }
        }
    }

    #[test]
    fn a_correction_of_seconds_is_no_jump() {
        let face = Face::new(reading(1_000_000));
        assert_eq!(face.set(reading(1_004_000)), None);
        assert_eq!(face.set(reading(1_001_000)), None);
    }
}
