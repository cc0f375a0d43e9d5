//! What is remembered around one session, for people: the ledger by message id, or, where nobody can
//! tell the ids, in `_id` order a stretch at a time, and the evidence of forwards. `run` never reads here.

use mongodb::bson::{Document, doc};
use mongodb::options::FindOptions;
use serde::Deserialize;

use super::MongoStore;
use super::documents::{
    ForwardDocument, LedgerDocument, Malformed, forward_key, from_raw, ledger_key,
};
use super::failure::Failure;
use super::indexes::{FORWARDS, LEDGER};
use super::reader::beyond;
use crate::domain::{MessageId, SessionId};
use crate::record::Origin;
use crate::store::{Error, Forward, LedgerEntry};

/// Ids asked for at once.
const TOGETHER: usize = 500;
/// Entries that one step of the walk passes: each is a read within the patience of a call.
const STRETCH: u64 = 20_000;

/// One step of a walk through the ledger.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// The session's entries in it.
    pub entries: Vec<LedgerEntry>,
    /// Where the next step begins; `None`: that was all.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct Key {
    #[serde(rename = "_id")]
    id: String,
}

impl MongoStore {
    /// What is remembered of these messages; one that is not, or not any more, is absent.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Refused`] where an entry cannot be read.
    pub async fn remembered(&self, ids: &[MessageId]) -> Result<Vec<LedgerEntry>, Error> {
        let mut entries = Vec::new();
        for ids in ids.chunks(TOGETHER) {
            let keys: Vec<String> = ids.iter().map(ledger_key).collect();
            let filter = doc! { "_id": { "$in": keys } };
            entries.extend(self.entries(filter).await?);
        }
        Ok(entries)
    }

    /// The next stretch of the ledger after `after`, and what in it names the session in its result.
    ///
    /// # Errors
    /// As [`MongoStore::remembered`].
    pub async fn remembered_of(
        &self,
        id: &SessionId,
        after: Option<&str>,
    ) -> Result<Stretch, Error> {
        let last = FindOptions::builder()
            .sort(doc! { "_id": 1 })
            .projection(doc! { "_id": 1 })
            .skip(STRETCH)
            .limit(1)
            .build();
        let last: Vec<Key> = self
            .inner
            .find(LEDGER, beyond(after), last)
            .await
            .map_err(|failure| failure.uncommitted())?;
        let next = last.into_iter().next().map(|key| key.id);
        let mut keys = Document::new();
        if let Some(after) = after {
            keys.insert("$gt", after);
        }
        if let Some(next) = &next {
            keys.insert("$lte", next.as_str());
        }
        let mut filter = doc! { "result.sessionId": id.as_str() };
        if !keys.is_empty() {
            filter.insert("_id", keys);
        }
        let entries = self.entries(filter).await?;
        Ok(Stretch { entries, next })
    }

    /// Those of `sent` (where a record was first read, and where it was sent) that a lane really sent.
    ///
    /// # Errors
    /// As [`MongoStore::remembered`].
    pub async fn sent_home(&self, sent: &[(Origin, i32)]) -> Result<Vec<Forward>, Error> {
        let mut found = Vec::new();
        for sent in sent.chunks(TOGETHER) {
            let keys: Vec<String> = sent
                .iter()
                .map(|(origin, home)| forward_key(origin, *home))
                .collect();
            let filter = doc! { "_id": { "$in": keys } };
            let documents: Vec<ForwardDocument> = self
                .inner
                .find(FORWARDS, filter, FindOptions::default())
                .await
                .map_err(|failure| failure.uncommitted())?;
            for document in &documents {
                found.push(document.entry().map_err(refused)?.forward);
            }
        }
        Ok(found)
    }

    async fn entries(&self, filter: Document) -> Result<Vec<LedgerEntry>, Error> {
        let documents: Vec<mongodb::bson::raw::RawDocumentBuf> = self
            .inner
            .find(LEDGER, filter, FindOptions::default())
            .await
            .map_err(|failure| failure.uncommitted())?;
        documents
            .iter()
            .map(|raw| {
                let document: LedgerDocument<'_> = from_raw(raw.as_bytes()).map_err(refused)?;
                document.entry().map_err(refused)
            })
            .collect()
    }
}

fn refused(malformed: Malformed) -> Error {
    Failure::from(malformed).uncommitted()
}
