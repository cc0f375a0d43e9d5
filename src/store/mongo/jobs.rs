//! Work that one instance does for all: a turn is taken with a lease by the database's clock, and says
//! where the last one stopped. Two turns at once would only do some of the work twice.

use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Bson, Document, doc};
use tokio::time::Instant;

use super::MongoStore;
use super::client::bounded;
use super::documents::date;
use super::failure::{Failure, code};
use super::indexes::JOBS;
use crate::clock::Clock;

/// How long a turn that is not extended stays taken: what a dead owner costs.
const LEASE: Duration = Duration::from_secs(120);
/// How often a turn is extended, and its place written down.
const EXTEND: Duration = Duration::from_secs(10);

/// A place in the collections that a job goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The collection.
    pub(super) collection: String,
    /// The last `_id` that is done there.
    pub(super) id: String,
}

/// A job that is this instance's for now.
#[derive(Debug)]
pub(super) struct Turn {
    store: MongoStore,
    job: &'static str,
    /// Tells this turn from any other.
    owner: i64,
    /// Where the last turn stopped; `None`: at the end.
    pub(super) from: Option<Place>,
    extended: Instant,
}

impl MongoStore {
    /// Takes the turn at `job`, unless another instance has it or its last turn rests.
    pub(super) async fn take_turn(&self, job: &'static str) -> Result<Option<Turn>, Failure> {
        let owner: i64 = rand::random();
        let taken = match self.take(job, owner).await? {
            None if self.make(job).await? => self.take(job, owner).await?,
            taken => taken,
        };
        Ok(taken.map(|document| Turn {
            store: self.clone(),
            job,
            owner,
            from: place(&document),
            extended: Instant::now(),
        }))
    }

    async fn take(&self, job: &'static str, owner: i64) -> Result<Option<RawDocumentBuf>, Failure> {
        let now = self.inner.clock.now();
        // A lease that cannot be read, or lies further ahead than any is given, does not count.
        let free = doc! { "$or": [
            { "until": { "$not": { "$gt": date(now) } } },
            { "until": { "$gt": date(now.plus(REST_AT_MOST)) } },
        ] };
        let mut filter = doc! { "_id": job };
        filter.extend(free);
        let update = doc! { "$set": { "owner": owner, "until": date(now.plus(LEASE)) } };
        let jobs: Collection<RawDocumentBuf> = self.inner.database.collection(JOBS);
        let take = jobs.find_one_and_update(filter, update);
        bounded(self.inner.timeouts.call, take).await
    }

    /// Makes the job's document; false where it was there.
    async fn make(&self, job: &'static str) -> Result<bool, Failure> {
        let jobs: Collection<Document> = self.inner.database.collection(JOBS);
        let new =
            doc! { "_id": job, "owner": Bson::Null, "until": Bson::Null, "after": Bson::Null };
        match bounded(self.inner.timeouts.call, jobs.insert_one(new)).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.code() == Some(code::DUPLICATE_KEY) => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

/// The longest that a turn may rest.
const REST_AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);

impl Turn {
    /// Writes `done` down now and then; false where the turn was lost to another instance.
    pub(super) async fn go_on(&mut self, done: &Place) -> Result<bool, Failure> {
        if self.extended.elapsed() < EXTEND {
            return Ok(true);
        }
        self.extended = Instant::now();
        self.write(Some(done), LEASE).await
    }

    /// Gives the turn back with the place to go on from; no instance takes it for `rest`.
    pub(super) async fn end(self, done: Option<&Place>, rest: Duration) -> Result<(), Failure> {
        self.write(done, rest.min(REST_AT_MOST)).await.map(drop)
    }

    async fn write(&self, done: Option<&Place>, lease: Duration) -> Result<bool, Failure> {
        let inner = &self.store.inner;
        let after = done.map(|place| doc! { "collection": &place.collection, "id": &place.id });
        let until = date(inner.clock.now().plus(lease));
        let jobs: Collection<Document> = inner.database.collection(JOBS);
        let own = doc! { "_id": self.job, "owner": self.owner };
        let update = jobs.update_one(own, doc! { "$set": { "after": after, "until": until } });
        let updated = bounded(inner.timeouts.call, update).await?;
        Ok(updated.matched_count == 1)
    }
}

/// Where a job stopped; at the end, where that cannot be read.
fn place(document: &RawDocumentBuf) -> Option<Place> {
    let after = document.get_document("after").ok()?;
    let text = |field: &str| Some(after.get_str(field).ok()?.to_owned());
    Some(Place {
        collection: text("collection")?,
        id: text("id")?,
    })
}
