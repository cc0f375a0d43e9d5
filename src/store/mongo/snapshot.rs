//! The database as of one moment: whatever is read through one [`Snapshot`] belongs together, however
//! many reads it takes. Committed by a majority, as everything here; writes nothing.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::Document;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::options::{DatabaseOptions, FindOptions};
use mongodb::{Client, ClientSession, Collection, Database};
use serde::de::DeserializeOwned;

use super::client::{bounded, primary};
use super::documents::from_raw;
use super::failure::Failure;

/// One moment; the first read chooses which.
pub(super) struct Snapshot {
    session: ClientSession,
    database: Database,
    limit: Duration,
}

impl Snapshot {
    /// A moment of the database called `name`, with `limit` for every read.
    pub(super) async fn begin(
        client: &Client,
        name: &str,
        limit: Duration,
    ) -> Result<Self, Failure> {
        let session = bounded(limit, client.start_session().snapshot(true)).await?;
        // A read concern of its own would be in the session's way; the server is the primary, whatever
        // the URI prefers, because a secondary may not have yet what is published.
        let options = DatabaseOptions::builder()
            .selection_criteria(primary())
            .build();
        let database = client.database_with_options(name, options);
        Ok(Self {
            session,
            database,
            limit,
        })
    }

    /// What `filter` finds in `collection`, all of it as a worker writes it.
    pub(super) async fn find<T: DeserializeOwned>(
        &mut self,
        collection: &str,
        filter: Document,
        options: FindOptions,
    ) -> Result<Vec<T>, Failure> {
        let documents = self.find_raw(collection, filter, options).await?;
        documents
            .iter()
            .map(|document| Ok(from_raw(document.as_bytes())?))
            .collect()
    }

    /// What `filter` finds in `collection`, whatever it is.
    pub(super) async fn find_raw(
        &mut self,
        collection: &str,
        filter: Document,
        options: FindOptions,
    ) -> Result<Vec<RawDocumentBuf>, Failure> {
        let collection: Collection<RawDocumentBuf> = self.database.collection(collection);
        let session = &mut self.session;
        let all = async {
            let mut cursor = collection
                .find(filter)
                .with_options(options)
                .session(&mut *session)
                .await?;
            cursor
                .stream(session)
                .try_collect::<Vec<RawDocumentBuf>>()
                .await
        };
        bounded(self.limit, all).await
    }
}
