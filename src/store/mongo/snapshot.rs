//! The database as of one moment: whatever is read through one [`Snapshot`] belongs together, however
//! many reads it takes. Committed by a majority, as everything here; writes nothing.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Document, doc};
use mongodb::options::{DatabaseOptions, FindOptions};
use mongodb::{Client, ClientSession, Collection, Database};
use serde::de::DeserializeOwned;

use super::client::{bounded, primary};
use super::documents::{ParticipantDocument, SessionDocument, assemble, from_raw};
use super::failure::Failure;
use super::indexes::{PARTICIPANTS, SESSIONS};
use crate::store::StoredSession;

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

    /// The first `limit` sessions in `_id` order that `filter` finds, with everybody who was ever in.
    pub(super) async fn sessions(
        &mut self,
        filter: Document,
        limit: u32,
    ) -> Result<Vec<StoredSession>, Failure> {
        let options = FindOptions::builder()
            .sort(doc! { "_id": 1 })
            .limit(i64::from(limit))
            .batch_size(limit)
            .max_time(self.limit)
            .build();
        let documents: Vec<SessionDocument<'_>> = self.find(SESSIONS, filter, options).await?;
        let ids: Vec<&str> = documents.iter().map(SessionDocument::id).collect();
        let of_these = doc! { "sessionId": { "$in": ids } };
        let options = FindOptions::builder()
            .batch_size(100_000_u32)
            .max_time(self.limit)
            .build();
        let mut participants: Vec<ParticipantDocument<'_>> =
            self.find(PARTICIPANTS, of_these, options).await?;
        participants.sort_by(|a, b| a.session_id().cmp(b.session_id()));
        let mut participants = participants.into_iter().peekable();
        documents
            .into_iter()
            .map(|document| {
                let mut members = Vec::new();
                while let Some(member) =
                    participants.next_if(|member| member.session_id() <= document.id())
                {
                    members.push(member);
                }
                Ok(assemble(document, members)?)
            })
            .collect()
    }
}
