//! What the views are read with: the readers' own way to the database, how callers are known, how many
//! views are read at once, the limits to show, and the cursors' key, fetched when the first page needs
//! it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::auth::{AuthSetupError, Authenticator};
use super::cursor::{Cursors, Scope};
use super::health::Check;
use super::problem::Problem;
use crate::domain::Rules;
use crate::settings::Auth;
use crate::store::Error;
use crate::store::mongo::MongoViews;
use crate::telemetry::names;

/// Views that are read at once, over the 16 connections that [`MongoViews`] has.
const VIEWS: usize = 64;
/// How long a view waits for others to end before its caller is asked to come back.
const TURN_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks at whether the database answers reads.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How old the last look may be; one takes at most 5 s.
const LOOKED_WITHIN: Duration = Duration::from_secs(10);

/// Everything behind the views of sessions and users.
pub struct Readers {
    pub(super) views: MongoViews,
    pub(super) callers: Authenticator,
    pub(super) concurrent_limit: u32,
    pub(super) daily_limit: u32,
    cursors: OnceCell<Cursors>,
    turns: Arc<Semaphore>,
    looked: Mutex<Option<Look>>,
}

/// Whether the database answered a read, and when.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    answered: bool,
}

/// That a view may be read now; others get their turn when it is dropped.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Readers {
    /// Reads through `views`; asks nobody for anything yet.
    ///
    /// # Errors
    /// The settings do not say how callers are known.
    pub fn new(views: MongoViews, auth: &Auth, rules: &Rules) -> Result<Self, AuthSetupError> {
        Ok(Self {
            views,
            callers: Authenticator::new(auth)?,
            concurrent_limit: rules.concurrent_limit,
            daily_limit: rules.daily_limit_free,
            cursors: OnceCell::new(),
            turns: Arc::new(Semaphore::new(VIEWS)),
            looked: Mutex::default(),
        })
    }

    /// Waits for a turn to read a view, for a moment.
    pub(super) async fn turn(&self) -> Result<Turn, Problem> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout(TURN_WITHIN, turn).await {
            Ok(permit) => Ok(Turn {
                _permit: permit.expect("turns are never closed"),
            }),
            Err(_) => {
                metrics::counter!(names::HTTP_OVERLOADED, "bound" => "views").increment(1);
                Err(Problem::overloaded())
            }
        }
    }

    /// Looks again and again whether the database answers reads; never ends.
    pub(super) async fn keep_looking(&self) {
        loop {
            let answered = self.views.probe().await.is_ok();
            let look = Look {
                at: Instant::now(),
                answered,
            };
            *self.looked.lock() = Some(look);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the database answers reads, by the last look.
    pub(super) fn check(&self) -> Check {
        let looked = *self.looked.lock();
        match looked {
            None => Check::fail("database", "no read has been tried yet"),
            Some(look) if look.answered && look.at.elapsed() <= LOOKED_WITHIN => {
                Check::pass("database")
            }
            Some(_) => Check::fail("database", "MongoDB does not answer reads"),
        }
    }

    /// The place that a cursor stands for.
    pub(super) async fn place<P: DeserializeOwned>(
        &self,
        cursor: Option<String>,
        scope: &Scope<'_>,
    ) -> Result<Option<P>, Problem> {
        let Some(cursor) = cursor else {
            return Ok(None);
        };
        self.cursors().await?.open(&cursor, scope).map(Some)
    }

    /// The cursor of a place.
    pub(super) async fn cursor<P: Serialize>(
        &self,
        place: Option<P>,
        scope: &Scope<'_>,
    ) -> Result<Option<String>, Problem> {
        let Some(place) = place else {
            return Ok(None);
        };
        Ok(Some(self.cursors().await?.seal(&place, scope)))
    }

    async fn cursors(&self) -> Result<&Cursors, Problem> {
        let fetch = async || Ok(Cursors::new(&read(self.views.cursor_key()).await?));
        self.cursors.get_or_try_init(fetch).await
    }
}

/// Waits for what is read, and says what a failure is to the caller.
pub(super) async fn read<T>(reading: impl Future<Output = Result<T, Error>>) -> Result<T, Problem> {
    reading.await.map_err(|error| match error {
        // The lanes and the readiness say it loudly; here it is said to whoever asked.
        Error::Unavailable { .. } => {
            tracing::debug!(error = %error, "a view could not be read");
            Problem::unavailable()
        }
        // No document can be to blame: views leave out what they cannot read.
        Error::Refused { .. } => {
            tracing::warn!(error = %error, "MongoDB refuses to read a view");
            Problem::unavailable()
        }
        Error::Conflict(_) | Error::Fenced | Error::Unknown { .. } => {
            tracing::error!(error = %error, "a view cannot be read");
            Problem::internal()
        }
    })
}
