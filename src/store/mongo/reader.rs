//! Reading whole collections in `_id` order, page by page: for the audit, for people, and for
//! forgetting what is old. Nothing here is on the way of a batch.

use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, RawDocument, doc};
use mongodb::options::FindOptions;

use super::client::bounded;
use super::documents::{date, instant};
use super::failure::Failure;
use super::indexes::{FORWARDS, LEDGER};
use super::snapshot::Snapshot;
use super::{Inner, MongoStore};
use crate::domain::{SessionId, Timestamp};
use crate::store::{Error, StoredSession};

/// How many entries one page of forgetting looks at.
const FORGET_PAGE: i64 = 1_000;
/// The pause after a page, so that forgetting never competes with batches for long.
const FORGET_PAUSE: Duration = Duration::from_millis(20);

impl MongoStore {
    /// The session called `id` with everybody who was ever in it, if it exists.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Refused`] where it cannot be read.
    pub async fn session(&self, id: &SessionId) -> Result<Option<StoredSession>, Error> {
        let found = self.inner.session(id).await.map_err(Error::unavailable)?;
        found.transpose().map_err(Error::refused)
    }

    /// One pass over the ledger and the forwards that deletes what may be forgotten at `now`, page
    /// by page with pauses; returns how many entries went.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: some may have gone; the next pass does the rest.
    pub async fn forget(&self, now: Timestamp) -> Result<u64, Error> {
        let mut forgotten = 0;
        for collection in [LEDGER, FORWARDS] {
            forgotten += self
                .inner
                .forget(collection, now)
                .await
                .map_err(Error::unavailable)?;
        }
        Ok(forgotten)
    }
}

impl Inner {
    /// A view of the whole database as of one moment.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, Failure> {
        Snapshot::begin(&self.client, self.database.name(), self.timeouts.call).await
    }

    async fn forget(&self, collection: &str, now: Timestamp) -> Result<u64, Failure> {
        let entries: Collection<Document> = self.database.collection(collection);
        let mut forgotten = 0;
        let mut after: Option<String> = None;
        loop {
            let options = FindOptions::builder()
                .sort(doc! { "_id": 1 })
                .projection(doc! { "forgetAt": 1 })
                .limit(FORGET_PAGE)
                .build();
            let entry = |raw: &RawDocument| {
                let id = raw.get_str("_id").ok()?.to_owned();
                Some((id, raw.get_datetime("forgetAt").ok().map(instant)))
            };
            let page = self
                .find_each(collection, beyond(after.as_deref()), options, entry)
                .await?;
            let page: Vec<(String, Option<Timestamp>)> = page.into_iter().flatten().collect();
            let Some((last, _)) = page.last() else {
                return Ok(forgotten);
            };
            after = Some(last.clone());
            let due = page.iter().filter(|(_, at)| at.is_some_and(|at| at <= now));
            let due: Vec<&str> = due.map(|(id, _)| id.as_str()).collect();
            if !due.is_empty() {
                // Judged again under the same id in the meantime, an entry stays.
                let filter = doc! { "_id": { "$in": due }, "forgetAt": { "$lte": date(now) } };
                let gone = bounded(self.timeouts.call, entries.delete_many(filter)).await?;
                forgotten += gone.deleted_count;
            }
            tokio::time::sleep(FORGET_PAUSE).await;
        }
    }
}

/// The documents whose `_id`s come after `after`.
pub(super) fn beyond(after: Option<&str>) -> Document {
    after.map_or_else(Document::new, |after| doc! { "_id": { "$gt": after } })
}
