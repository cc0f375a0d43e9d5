//! What the views are read with: the readers' own way to the database, how callers are known, the
//! limits to show, and the cursors' key, fetched when the first page needs it.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::auth::{AuthSetupError, Authenticator};
use super::cursor::{Cursors, Scope};
use super::problem::Problem;
use crate::domain::Rules;
use crate::settings::Auth;
use crate::store::Error;
use crate::store::mongo::MongoViews;

/// Everything behind the views of sessions and users.
pub struct Readers {
    pub(super) views: MongoViews,
    pub(super) callers: Authenticator,
    pub(super) concurrent_limit: u32,
    pub(super) daily_limit: u32,
    cursors: OnceCell<Cursors>,
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
        })
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
        Error::Refused { .. } | Error::Conflict(_) | Error::Fenced | Error::Unknown { .. } => {
            tracing::error!(error = %error, "a view cannot be read");
            Problem::internal()
        }
    })
}
