//! What is remembered around one session, for people: the ledger by message id, or, where the ids are
//! not known, in `_id` order a stretch at a time, and the evidence of forwards. `run` never reads here.

use mongodb::bson::{Document, doc};
use mongodb::options::FindOptions;

use super::MongoStore;
use super::documents::{ForwardDocument, LedgerDocument, forward_key, id_of, ledger_key};
use super::indexes::{FORWARDS, LEDGER};
use super::reader::beyond;
use crate::domain::{MessageId, SessionId};
use crate::record::Origin;
use crate::store::{Error, Forward, LedgerEntry, Unreadable};

/// Ids asked for at once.
const TOGETHER: usize = 500;
/// Entries that one step of the walk passes: each is a read within the timeouts of a call.
const STRETCH: u64 = 20_000;

/// What was found, and what of it cannot be read.
#[derive(Clone, Debug)]
pub struct Readable<T> {
    /// What can be read.
    pub found: Vec<T>,
    /// What cannot.
    pub unreadable: Vec<Unreadable>,
}

/// One step of a walk through the ledger.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// The session's entries in it.
    pub entries: Readable<LedgerEntry>,
    /// Where the next step begins; `None`: that was all.
    pub next: Option<String>,
}

impl<T> Default for Readable<T> {
    fn default() -> Self {
        Self {
            found: Vec::new(),
            unreadable: Vec::new(),
        }
    }
}

impl<T> Extend<Result<T, Unreadable>> for Readable<T> {
    fn extend<I: IntoIterator<Item = Result<T, Unreadable>>>(&mut self, documents: I) {
        for document in documents {
            match document {
                Ok(found) => self.found.push(found),
                Err(unreadable) => self.unreadable.push(unreadable),
            }
        }
    }
}

impl MongoStore {
    /// What is remembered of these messages; one that is not, or not any more, is absent.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn remembered(&self, ids: &[MessageId]) -> Result<Readable<LedgerEntry>, Error> {
        let mut entries = Readable::default();
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
        let last = self
            .inner
            .find_each(LEDGER, beyond(after), last, id_of)
            .await
            .map_err(Error::unavailable)?;
        let next = last.into_iter().next();
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
        let mut entries = Readable::default();
        entries.extend(self.entries(filter).await?);
        Ok(Stretch { entries, next })
    }

    /// Those of `sent` (where a record was first read, and where it was sent) that a lane really sent.
    ///
    /// # Errors
    /// As [`MongoStore::remembered`].
    pub async fn sent_home(&self, sent: &[(Origin, i32)]) -> Result<Readable<Forward>, Error> {
        let mut found = Readable::default();
        for sent in sent.chunks(TOGETHER) {
            let keys: Vec<String> = sent
                .iter()
                .map(|(origin, home)| forward_key(origin, *home))
                .collect();
            let filter = doc! { "_id": { "$in": keys } };
            let forwards = self
                .inner
                .find_each(FORWARDS, filter, FindOptions::default(), |raw| {
                    ForwardDocument::read(raw).map(|(forward, _)| forward)
                })
                .await
                .map_err(Error::unavailable)?;
            found.extend(forwards);
        }
        Ok(found)
    }

    async fn entries(
        &self,
        filter: Document,
    ) -> Result<Vec<Result<LedgerEntry, Unreadable>>, Error> {
        self.inner
            .find_each(LEDGER, filter, FindOptions::default(), LedgerDocument::read)
            .await
            .map_err(Error::unavailable)
    }
}
