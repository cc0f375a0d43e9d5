//! One lane's handle on the database: what its owner loads and commits. It owns one server session,
//! named in the lane's document, so that the next owner can end what it left open.

use std::sync::Arc;

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::FindOptions;
use mongodb::{ClientSession, Collection};

use super::Inner;
use super::client::bounded;
use super::documents::{IntakeStopDocument, batch_key, date, ledger_key, outbox_batch, to_raw};
use super::indexes::{LANES, LEDGER, OUTBOX};
use super::statement::{Predecessor, plan};
use super::transaction::{Transaction, kill};
use crate::domain::SessionId;
use crate::record::TopicPartition;
use crate::store::{
    Ask, Commit, Conflict, Deadlines, Error, LanePosition, LaneStore, Loaded, Note, OutboxBatch,
    Unreadable,
};

/// The handle of a lane's owner.
#[derive(Debug)]
pub struct MongoLane {
    pub(super) store: Arc<Inner>,
    lane: TopicPartition,
    pub(super) home: Option<i32>,
    /// `None` only while the handle is dropped.
    session: Option<ClientSession>,
    epoch: i64,
    batch: i64,
    /// Up to which batch the outbox is known to be swept.
    swept: i64,
    /// The new sessions of the last batch, where something of them was there already.
    pub(super) unsaved: Vec<SessionId>,
    /// A commit's outcome is unknown, or the lane has another owner: only a new fence helps.
    lost: bool,
    /// A commit is under way: a handle dropped in that state leaves a transaction behind.
    busy: bool,
}

impl MongoLane {
    /// The handle of the owner that raised the epoch to what `position` says, in `session`.
    pub(super) fn new(
        store: Arc<Inner>,
        lane: &TopicPartition,
        home: Option<i32>,
        session: ClientSession,
        position: LanePosition,
    ) -> Self {
        Self {
            store,
            lane: lane.clone(),
            home,
            session: Some(session),
            epoch: position.epoch,
            batch: position.batch,
            swept: 0,
            unsaved: Vec::new(),
            lost: false,
            busy: false,
        }
    }
}

impl LaneStore for MongoLane {
    async fn load(&self, ask: &Ask) -> Result<Loaded, Error> {
        Box::pin(self.load_now(ask))
            .await
            .map_err(Error::unavailable)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<i64, Error> {
        commit.assert_consistent();
        if self.lost {
            return Err(Error::Fenced);
        }
        let predecessor = Predecessor {
            lane: &self.lane,
            epoch: self.epoch,
            batch: self.batch,
            swept: self.swept,
        };
        let (steps, swept) = plan(commit, predecessor)?;
        let session = self
            .session
            .as_mut()
            .expect("only a dropped handle has no session");
        if std::mem::replace(&mut self.busy, true) {
            // The last commit's caller gave it up: the server may still be at it.
            let _ = kill(
                &self.store.database,
                session.id(),
                self.store.timeouts.cleanup,
            )
            .await;
        }
        let mut transaction = Transaction {
            database: &self.store.database,
            session,
            timeouts: &self.store.timeouts,
        };
        let outcome = transaction.run(steps).await;
        self.busy = false;
        match &outcome {
            Ok(()) => {
                self.batch += 1;
                self.swept = swept;
                self.unsaved.clear();
            }
            Err(Error::Unknown { .. } | Error::Fenced) => self.lost = true,
            Err(Error::Conflict(Conflict::Ledger)) => {
                self.forget_expired(commit).await;
            }
            Err(Error::Conflict(Conflict::Session)) => {
                let new = commit
                    .sessions
                    .iter()
                    .filter(|write| write.before.is_none());
                self.unsaved = new.map(|write| write.after.session.id.clone()).collect();
            }
            Err(_) => {}
        }
        outcome.map(|()| self.batch)
    }

    async fn outbox(&self, acked: i64) -> Result<Vec<OutboxBatch>, Error> {
        // `$` follows `#`: the range ends with the lane's last batch.
        let range = doc! { "$gt": batch_key(&self.lane, acked), "$lt": format!("{}$", self.lane) };
        let options = FindOptions::builder().sort(doc! { "_id": 1 }).build();
        let batches: Vec<Result<OutboxBatch, Unreadable>> = self
            .store
            .find_each(OUTBOX, doc! { "_id": range }, options, outbox_batch)
            .await
            .map_err(Error::unavailable)?;
        batches
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(Error::unavailable)
    }

    async fn note(&self, note: Note) -> Result<(), Error> {
        let change = match note {
            Note::Reading => doc! { "$inc": { "deaths": 1 } },
            Note::Revised => doc! {
                "$inc": { "revision": 1_i64 },
                "$set": { "deaths": 0, "intake": Bson::Null },
            },
            Note::Sound => doc! { "$set": { "deaths": 0 } },
            Note::Intake(stop) => {
                let stop = stop.map(|stop| to_raw(&IntakeStopDocument::new(stop)));
                doc! { "$set": { "intake": stop.and_then(|stop| Document::try_from(stop).ok()) } }
            }
        };
        let lanes: Collection<Document> = self.store.database.collection(LANES);
        let own = doc! { "_id": self.lane.to_string(), "epoch": self.epoch };
        let outcome = bounded(self.store.timeouts.call, lanes.update_one(own, change)).await;
        match outcome.map_err(Error::unavailable)?.matched_count {
            0 => Err(Error::Fenced),
            _ => Ok(()),
        }
    }

    async fn deadlines(&self) -> Result<Deadlines, Error> {
        match self.home {
            Some(home) => self.store.deadlines(home).await.map_err(Error::unavailable),
            None => Ok(Deadlines::default()),
        }
    }
}

impl MongoLane {
    /// A ledger id that is taken may be one that should have been forgotten: then the next attempt
    /// finds it gone.
    async fn forget_expired(&self, commit: &Commit) {
        let ids: Vec<String> = commit
            .ledger
            .iter()
            .map(|entry| ledger_key(&entry.id))
            .collect();
        let filter = doc! { "_id": { "$in": ids }, "forgetAt": { "$lte": date(commit.clock) } };
        let ledger: Collection<Document> = self.store.database.collection(LEDGER);
        let delete = bounded(self.store.timeouts.call, ledger.delete_many(filter));
        if let Err(failure) = delete.await {
            tracing::debug!(
                error = failure.reason(),
                "expired ledger entries not deleted"
            );
        }
    }
}

impl Drop for MongoLane {
    fn drop(&mut self) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        let (store, lane) = (Arc::clone(&self.store), self.lane.clone());
        if !self.busy {
            store.keep_session(lane, session);
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let lsid = session.id().clone();
            let _ = kill(&store.database, &lsid, store.timeouts.cleanup).await;
            let _ = bounded(store.timeouts.cleanup, session.abort_transaction()).await;
            store.keep_session(lane, session);
        });
    }
}
