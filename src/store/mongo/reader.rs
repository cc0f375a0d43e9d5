//! Reading whole collections in `_id` order, page by page: for the audit, for people, and for
//! forgetting what is old. Nothing here is on the way of a batch.

use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::FindOptions;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::bounded;
use super::documents::{
    ForwardDocument, LaneDocument, LedgerDocument, OutboxDocument, UserDocument, batch_key, date,
    forward_key, instant, ledger_key, parse_lane,
};
use super::failure::Failure;
use super::indexes::{FORWARDS, LANES, LEDGER, OUTBOX, USERS};
use super::snapshot::Snapshot;
use super::{Inner, MongoStore};
use crate::domain::{MessageId, SessionId, Timestamp, UserId};
use crate::record::TopicPartition;
use crate::store::{
    Error, Forward, ForwardEntry, LanePosition, LedgerEntry, OutboxBatch, StoredSession, StoredUser,
};

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
        let found = self.inner.sessions(doc! { "_id": id.as_str() }, 1).await;
        found
            .map(|mut sessions| sessions.pop())
            .map_err(|failure| failure.uncommitted())
    }

    /// The next `limit` sessions after `after`, with their participants, as of one moment.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Refused`] where a document cannot be read.
    pub async fn sessions_after(
        &self,
        after: Option<&SessionId>,
        limit: u32,
    ) -> Result<Vec<StoredSession>, Error> {
        let after = after.map(SessionId::as_str);
        self.inner
            .sessions(beyond(after), limit)
            .await
            .map_err(|failure| failure.uncommitted())
    }

    /// The next `limit` users after `after`.
    ///
    /// # Errors
    /// As [`MongoStore::sessions_after`].
    pub async fn users_after(
        &self,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<StoredUser>, Error> {
        let after = after.map(UserId::as_str);
        let page = self
            .inner
            .page::<UserDocument<'_>>(USERS, after, limit)
            .await?;
        Ok(page.into_iter().map(UserDocument::stored).collect())
    }

    /// The next `limit` judged messages after `after`.
    ///
    /// # Errors
    /// As [`MongoStore::sessions_after`].
    pub async fn ledger_after(
        &self,
        after: Option<&MessageId>,
        limit: u32,
    ) -> Result<Vec<LedgerEntry>, Error> {
        let after = after.map(ledger_key);
        let page = self
            .inner
            .page::<LedgerDocument<'_>>(LEDGER, after.as_deref(), limit)
            .await?;
        page.into_iter()
            .map(|document| document.entry().map_err(refused))
            .collect()
    }

    /// The next `limit` forwards after `after`.
    ///
    /// # Errors
    /// As [`MongoStore::sessions_after`].
    pub async fn forwards_after(
        &self,
        after: Option<&Forward>,
        limit: u32,
    ) -> Result<Vec<ForwardEntry>, Error> {
        let after = after.map(|forward| forward_key(&forward.origin, forward.home));
        let page = self
            .inner
            .page::<ForwardDocument>(FORWARDS, after.as_deref(), limit)
            .await?;
        page.iter()
            .map(|document| document.entry().map_err(refused))
            .collect()
    }

    /// The next `limit` lanes after `after`.
    ///
    /// # Errors
    /// As [`MongoStore::sessions_after`].
    pub async fn lanes_after(
        &self,
        after: Option<&TopicPartition>,
        limit: u32,
    ) -> Result<Vec<(TopicPartition, LanePosition)>, Error> {
        let after = after.map(TopicPartition::to_string);
        let page = self
            .inner
            .page::<LaneDocument>(LANES, after.as_deref(), limit)
            .await?;
        page.iter()
            .map(|document| {
                let lane = parse_lane(&document.id).map_err(refused)?;
                Ok((lane, document.position().map_err(refused)?))
            })
            .collect()
    }

    /// The next `limit` stored batches of records to publish after `after`.
    ///
    /// # Errors
    /// As [`MongoStore::sessions_after`].
    pub async fn outbox_after(
        &self,
        after: Option<(&TopicPartition, i64)>,
        limit: u32,
    ) -> Result<Vec<(TopicPartition, OutboxBatch)>, Error> {
        let after = after.map(|(lane, batch)| batch_key(lane, batch));
        let page = self
            .inner
            .page::<RawDocumentBuf>(OUTBOX, after.as_deref(), limit)
            .await?;
        page.iter()
            .map(|document| {
                let OutboxDocument { lane, batch } =
                    OutboxDocument::read(document).map_err(refused)?;
                Ok((lane, batch))
            })
            .collect()
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
                .map_err(|failure| failure.uncommitted())?;
        }
        Ok(forgotten)
    }
}

impl Inner {
    /// Sessions with their participants, both as of one moment.
    async fn sessions(&self, filter: Document, limit: u32) -> Result<Vec<StoredSession>, Failure> {
        self.snapshot().await?.sessions(filter, limit).await
    }

    /// A view of the whole database as of one moment.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, Failure> {
        Snapshot::begin(&self.client, self.database.name(), self.patience.call).await
    }

    async fn page<T: DeserializeOwned + Send + Sync>(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<T>, Error> {
        let options = FindOptions::builder()
            .sort(doc! { "_id": 1 })
            .limit(i64::from(limit))
            .build();
        self.find(collection, beyond(after), options)
            .await
            .map_err(|failure| failure.uncommitted())
    }

    async fn forget(&self, collection: &str, now: Timestamp) -> Result<u64, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry {
            #[serde(rename = "_id")]
            id: String,
            #[serde(default)]
            forget_at: Option<DateTime>,
        }
        let entries: Collection<Document> = self.database.collection(collection);
        let mut forgotten = 0;
        let mut after: Option<String> = None;
        loop {
            let options = FindOptions::builder()
                .sort(doc! { "_id": 1 })
                .projection(doc! { "forgetAt": 1 })
                .limit(FORGET_PAGE)
                .build();
            let page: Vec<Entry> = self
                .find(collection, beyond(after.as_deref()), options)
                .await?;
            let Some(last) = page.last() else {
                return Ok(forgotten);
            };
            after = Some(last.id.clone());
            let due = |entry: &&Entry| entry.forget_at.is_some_and(|at| instant(at) <= now);
            let due: Vec<&str> = page
                .iter()
                .filter(due)
                .map(|entry| entry.id.as_str())
                .collect();
            if !due.is_empty() {
                // Judged again under the same id in the meantime, an entry stays.
                let filter = doc! { "_id": { "$in": due }, "forgetAt": { "$lte": date(now) } };
                let gone = bounded(self.patience.call, entries.delete_many(filter)).await?;
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

fn refused(malformed: super::documents::Malformed) -> Error {
    Failure::from(malformed).uncommitted()
}
