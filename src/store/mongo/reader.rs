//! What people and jobs read, as of one moment or in `_id` order. Nothing here is on the way of a batch.

use mongodb::bson::{Document, doc};

use super::failure::Failure;
use super::snapshot::Snapshot;
use super::{Inner, MongoStore};
use crate::domain::SessionId;
use crate::store::{Error, StoredSession, Unreadable};

impl MongoStore {
    /// The session called `id` with all its participants, if it exists.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn session(
        &self,
        id: &SessionId,
    ) -> Result<Option<Result<StoredSession, Unreadable>>, Error> {
        self.inner.session(id).await.map_err(Error::unavailable)
    }
}

impl Inner {
    /// A view of the whole database as of one moment.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, Failure> {
        Snapshot::begin(&self.client, self.database.name(), self.timeouts.call).await
    }
}

/// The documents whose `_id`s come after `after`.
pub(super) fn beyond(after: Option<&str>) -> Document {
    after.map_or_else(Document::new, |after| doc! { "_id": { "$gt": after } })
}
