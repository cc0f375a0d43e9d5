//! Forgetting what may be forgotten: one instance at a time goes through memory and evidence in `_id`
//! order, page by page with pauses, from where the last one stopped.

use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, RawDocument, doc};
use mongodb::options::FindOptions;
use tokio::time::Instant;

use super::client::bounded;
use super::documents::{date, instant};
use super::failure::Failure;
use super::indexes::{FORWARDS, LEDGER};
use super::jobs::{Place, Turn};
use super::reader::beyond;
use super::{Inner, MongoStore};
use crate::domain::Timestamp;
use crate::store::Error;

/// The job's name.
const RETENTION: &str = "retention";
/// What it goes through, in order.
const COLLECTIONS: [&str; 2] = [FORWARDS, LEDGER];
/// How many entries one page looks at.
const PAGE: usize = 1_000;
/// The pause after a page, so that forgetting never competes with batches for long.
const PAUSE: Duration = Duration::from_millis(20);
/// How long one run goes on; the next one continues.
const RUN: Duration = Duration::from_secs(20 * 60);
/// How long no other run begins after one that came to the end: it is an hourly job.
const REST: Duration = Duration::from_secs(30 * 60);

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgot {
    /// Another instance is at it, or has just been.
    Nothing,
    /// The run came to the end, with as many entries deleted.
    All(u64),
    /// The run's time was over, with as many entries deleted; the next one goes on from there.
    Some(u64),
}

impl MongoStore {
    /// Deletes what may be forgotten at `now`, if no other instance does; goes on where the last run
    /// stopped.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: some may have gone; another run does the rest.
    pub async fn forget(&self, now: Timestamp) -> Result<Forgot, Error> {
        self.forget_for(now, RUN, REST).await
    }

    /// [`MongoStore::forget`] with a run of at most `run` (at least one page), and `rest` after it.
    ///
    /// # Errors
    /// As there.
    pub async fn forget_for(
        &self,
        now: Timestamp,
        run: Duration,
        rest: Duration,
    ) -> Result<Forgot, Error> {
        let turn = self.take_turn(RETENTION).await;
        match turn.map_err(Error::unavailable)? {
            None => Ok(Forgot::Nothing),
            Some(turn) => {
                let forgotten = self.inner.forget(turn, now, run, rest).await;
                forgotten.map_err(Error::unavailable)
            }
        }
    }
}

impl Inner {
    async fn forget(
        &self,
        mut turn: Turn,
        now: Timestamp,
        run: Duration,
        rest: Duration,
    ) -> Result<Forgot, Failure> {
        let until = Instant::now() + run;
        let from = turn.from.take();
        let begun = from
            .as_ref()
            .and_then(|from| COLLECTIONS.iter().position(|name| *name == from.collection));
        let mut forgotten = 0;
        let mut after = begun.and(from).map(|from| from.id);
        for collection in &COLLECTIONS[begun.unwrap_or(0)..] {
            while let Some((last, due)) = self.page(collection, after.take(), now).await? {
                forgotten += self.delete(collection, &due, now).await?;
                let done = Place {
                    collection: (*collection).to_owned(),
                    id: last,
                };
                if Instant::now() >= until {
                    turn.end(Some(&done), rest).await?;
                    return Ok(Forgot::Some(forgotten));
                }
                if !turn.go_on(&done).await? {
                    return Ok(Forgot::Some(forgotten));
                }
                after = Some(done.id);
                tokio::time::sleep(PAUSE).await;
            }
        }
        turn.end(None, rest).await?;
        Ok(Forgot::All(forgotten))
    }

    /// The last `_id` of the next page, and which of its entries may be forgotten at `now`.
    async fn page(
        &self,
        collection: &str,
        after: Option<String>,
        now: Timestamp,
    ) -> Result<Option<(String, Vec<String>)>, Failure> {
        let options = FindOptions::builder()
            .sort(doc! { "_id": 1 })
            .projection(doc! { "forgetAt": 1 })
            .limit(i64::try_from(PAGE).ok())
            .build();
        let entry = |raw: &RawDocument| {
            let forget_at = raw.get_datetime("forgetAt");
            let is_due = forget_at.is_ok_and(|forget_at| instant(forget_at) <= now);
            Some((raw.get_str("_id").ok()?.to_owned(), is_due))
        };
        // An `_id` that is no text is no key of the worker's.
        let filter = beyond(Some(after.as_deref().unwrap_or_default()));
        let page = self.find_each(collection, filter, options, entry).await?;
        let page: Vec<(String, bool)> = page.into_iter().flatten().collect();
        let Some((last, _)) = page.last().cloned() else {
            return Ok(None);
        };
        let due = page
            .into_iter()
            .filter_map(|(id, is_due)| is_due.then_some(id));
        Ok(Some((last, due.collect())))
    }

    async fn delete(
        &self,
        collection: &str,
        due: &[String],
        now: Timestamp,
    ) -> Result<u64, Failure> {
        if due.is_empty() {
            return Ok(0);
        }
        let entries: Collection<Document> = self.database.collection(collection);
        // Judged again under the same id in the meantime, an entry stays.
        let filter = doc! { "_id": { "$in": due }, "forgetAt": { "$lte": date(now) } };
        let gone = bounded(self.timeouts.call, entries.delete_many(filter)).await?;
        Ok(gone.deleted_count)
    }
}
