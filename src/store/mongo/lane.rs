//! One lane's handle on the database: what its owner loads and commits. It owns one server session,
//! named in the lane's document, so that the next owner can end what it left open.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::TryStreamExt;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::FindOptions;
use mongodb::{ClientSession, Collection};
use serde::de::DeserializeOwned;

use super::Inner;
use super::client::bounded;
use super::documents::{
    ForwardDocument, HomeDocument, IntakeStopDocument, LedgerDocument, OutboxDocument,
    ParticipantDocument, SessionDocument, UserDocument, assemble, batch_key, date, forward_key,
    from_raw, instant, ledger_key, to_raw,
};
use super::failure::Failure;
use super::indexes::{FORWARDS, LANES, LEDGER, OUTBOX, PARTICIPANTS, SESSIONS, USERS, not_ended};
use super::statement::{Predecessor, plan};
use super::transaction::{Transaction, kill};
use crate::clock::Clock;
use crate::domain::{InviteCode, SessionId};
use crate::record::TopicPartition;
use crate::store::{
    Ask, Commit, Conflict, Deadlines, Error, Found, LanePosition, LaneStore, Loaded, Note,
    OutboxBatch,
};

/// The handle of a lane's owner.
#[derive(Debug)]
pub struct MongoLane {
    store: Arc<Inner>,
    lane: TopicPartition,
    home: Option<i32>,
    /// `None` only while the handle is dropped.
    session: Option<ClientSession>,
    epoch: i64,
    batch: i64,
    /// Up to which batch the outbox is known to be swept.
    swept: i64,
    /// A commit's outcome is unknown, or the lane is somebody else's: only a new fence helps.
    lost: bool,
    /// A commit is under way: a handle dropped in that state leaves a transaction behind.
    busy: bool,
}

impl Inner {
    /// Every document of `collection` that `filter` finds.
    pub(super) async fn find<T: DeserializeOwned + Send + Sync>(
        &self,
        collection: &str,
        filter: Document,
        options: FindOptions,
    ) -> Result<Vec<T>, Failure> {
        let collection: Collection<RawDocumentBuf> = self.database.collection(collection);
        let mut cursor = bounded(
            self.patience.call,
            collection.find(filter).with_options(options),
        )
        .await?;
        let mut documents = Vec::new();
        while let Some(document) = bounded(self.patience.call, cursor.try_next()).await? {
            documents.push(from_raw(document.as_bytes())?);
        }
        Ok(documents)
    }

    async fn find_in<T: DeserializeOwned + Send + Sync>(
        &self,
        collection: &str,
        field: &str,
        values: Vec<String>,
        projection: Option<Document>,
    ) -> Result<Vec<T>, Failure> {
        if values.is_empty() {
            return Ok(Vec::new());
        }
        // One answer instead of a first one of 101 documents.
        let options = FindOptions::builder()
            .projection(projection)
            .batch_size(100_000_u32)
            .build();
        self.find(collection, doc! { field: { "$in": values } }, options)
            .await
    }
}

impl MongoLane {
    /// The handle of whoever raised the epoch to what `position` says, in `session`.
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
            lost: false,
            busy: false,
        }
    }

    async fn load_now(&self, ask: &Ask) -> Result<Loaded, Failure> {
        let store = &*self.store;
        let ids = ask.ids.iter().map(ledger_key).collect();
        let users = ask.users.iter().map(|id| id.as_str().to_owned()).collect();
        let sought = ask
            .sessions
            .iter()
            .map(|id| id.as_str().to_owned())
            .collect();
        let codes = ask
            .invite_codes
            .iter()
            .map(|code| code.as_str().to_owned())
            .collect();
        let forwards = ask
            .forwards
            .iter()
            .map(|f| forward_key(&f.origin, f.home))
            .collect();
        let (ledger, users, by_id, by_code, forwards) = futures::try_join!(
            store.find_in::<LedgerDocument<'_>>(LEDGER, "_id", ids, None),
            store.find_in::<UserDocument<'_>>(USERS, "_id", users, None),
            self.find_sessions("_id", sought),
            self.find_sessions("inviteCode", codes),
            store.find_in::<ForwardDocument>(FORWARDS, "_id", forwards, None),
        )?;
        let now = store.clock.now();
        let mut loaded = Loaded::default();
        for document in ledger {
            if !document.is_forgotten(now) {
                let entry = document.entry()?;
                loaded.ledger.insert(entry.id.clone(), Ok(entry));
            }
        }
        for document in users {
            let user = document.stored();
            loaded.users.insert(user.limits.user_id.clone(), Ok(user));
        }
        for (_, code, session_id) in &by_code.elsewhere {
            if let Some(code) = code {
                loaded
                    .invite_codes
                    .insert(InviteCode::from_stored(code.clone()), session_id.clone());
            }
        }
        for document in &by_code.here {
            if let Some(code) = document.invite_code() {
                let session_id = SessionId::from_stored(document.id().to_owned());
                loaded
                    .invite_codes
                    .insert(InviteCode::from_stored(code.to_owned()), session_id);
            }
        }
        for (home, _, session_id) in by_id.elsewhere.into_iter().chain(by_code.elsewhere) {
            loaded
                .sessions
                .insert(session_id, Found::Elsewhere { home });
        }
        let mut here: HashMap<String, SessionDocument<'_>> = HashMap::new();
        for document in by_id.here.into_iter().chain(by_code.here) {
            here.insert(document.id().to_owned(), document);
        }
        self.add_participants(here, &mut loaded).await?;
        let asked: HashSet<_> = ask.forwards.iter().collect();
        for document in forwards {
            let forward = document.entry()?.forward;
            if asked.contains(&forward) {
                loaded.forwards.insert(forward, Ok(document.evidence()));
            }
        }
        Ok(loaded)
    }

    async fn find_sessions(&self, field: &str, values: Vec<String>) -> Result<Located, Failure> {
        let mut located = Located::default();
        let Some(home) = self.home else {
            let projection = doc! { "home": 1, "inviteCode": 1 };
            let documents: Vec<HomeDocument> = self
                .store
                .find_in(SESSIONS, field, values, Some(projection))
                .await?;
            for HomeDocument {
                id,
                invite_code,
                home,
            } in documents
            {
                located
                    .elsewhere
                    .push((home, invite_code, SessionId::from_stored(id)));
            }
            return Ok(located);
        };
        let documents: Vec<SessionDocument<'_>> =
            self.store.find_in(SESSIONS, field, values, None).await?;
        for document in documents {
            if document.home() == home {
                located.here.push(document);
            } else {
                let id = SessionId::from_stored(document.id().to_owned());
                let code = document.invite_code().map(str::to_owned);
                located.elsewhere.push((document.home(), code, id));
            }
        }
        Ok(located)
    }

    async fn add_participants(
        &self,
        here: HashMap<String, SessionDocument<'static>>,
        loaded: &mut Loaded,
    ) -> Result<(), Failure> {
        let ids = here.keys().cloned().collect();
        let participants: Vec<ParticipantDocument<'_>> = self
            .store
            .find_in(PARTICIPANTS, "sessionId", ids, None)
            .await?;
        let mut by_session: HashMap<String, Vec<ParticipantDocument<'_>>> = HashMap::new();
        for participant in participants {
            let session_id = participant.session_id().to_owned();
            by_session.entry(session_id).or_default().push(participant);
        }
        for (id, document) in here {
            let participants = by_session.remove(&id).unwrap_or_default();
            let stored = Arc::new(assemble(document, participants)?);
            loaded
                .sessions
                .insert(SessionId::from_stored(id), Found::Here(stored));
        }
        Ok(())
    }
}

/// Sessions that were found, by whether this lane is their home.
#[derive(Default)]
struct Located {
    here: Vec<SessionDocument<'static>>,
    elsewhere: Vec<(i32, Option<String>, SessionId)>,
}

impl LaneStore for MongoLane {
    async fn load(&self, ask: &Ask) -> Result<Loaded, Error> {
        Box::pin(self.load_now(ask))
            .await
            .map_err(|failure| failure.uncommitted())
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
                self.store.patience.cleanup,
            )
            .await;
        }
        let mut transaction = Transaction {
            database: &self.store.database,
            session,
            patience: &self.store.patience,
        };
        let outcome = transaction.run(steps).await;
        self.busy = false;
        match &outcome {
            Ok(()) => {
                self.batch += 1;
                self.swept = swept;
            }
            Err(Error::Unknown { .. } | Error::Fenced) => self.lost = true,
            Err(Error::Conflict(Conflict::Ledger)) => {
                self.forget_expired(commit).await;
            }
            Err(_) => {}
        }
        outcome.map(|()| self.batch)
    }

    async fn outbox(&self, acked: i64) -> Result<Vec<OutboxBatch>, Error> {
        // `$` follows `#`: the range ends with the lane's last batch.
        let range = doc! { "$gt": batch_key(&self.lane, acked), "$lt": format!("{}$", self.lane) };
        let options = FindOptions::builder().sort(doc! { "_id": 1 }).build();
        let documents: Result<Vec<RawDocumentBuf>, Failure> = self
            .store
            .find(OUTBOX, doc! { "_id": range }, options)
            .await;
        let read = |documents: Vec<RawDocumentBuf>| {
            documents
                .iter()
                .map(|document| Ok(OutboxDocument::read(document)?.batch))
                .collect::<Result<_, Failure>>()
        };
        documents
            .and_then(read)
            .map_err(|failure| failure.uncommitted())
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
        let outcome = bounded(self.store.patience.call, lanes.update_one(own, change)).await;
        match outcome
            .map_err(|failure| failure.uncommitted())?
            .matched_count
        {
            0 => Err(Error::Fenced),
            _ => Ok(()),
        }
    }

    async fn deadlines(&self) -> Result<Deadlines, Error> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Deadline {
            #[serde(rename = "_id")]
            id: String,
            next_deadline: mongodb::bson::DateTime,
        }
        let Some(home) = self.home else {
            return Ok(Deadlines::default());
        };
        let mut filter = doc! { "home": home };
        filter.extend(not_ended());
        let options = FindOptions::builder()
            .projection(doc! { "_id": 1, "nextDeadline": 1 })
            .batch_size(10_000_u32)
            .build();
        let found: Vec<Deadline> = self
            .store
            .find(SESSIONS, filter, options)
            .await
            .map_err(|failure| failure.uncommitted())?;
        let sessions = found.into_iter().map(|found| {
            (
                SessionId::from_stored(found.id),
                instant(found.next_deadline),
            )
        });
        Ok(Deadlines {
            sessions: sessions.collect(),
            unreadable: Vec::new(),
        })
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
        let delete = bounded(self.store.patience.call, ledger.delete_many(filter));
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
            store.park(lane, session);
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let lsid = session.id().clone();
            let _ = kill(&store.database, &lsid, store.patience.cleanup).await;
            let _ = bounded(store.patience.cleanup, session.abort_transaction()).await;
            store.park(lane, session);
        });
    }
}
