//! What operators look at: pages in `_id` order with what belongs to them, each as of one instant (a
//! snapshot session), so that nothing torn is taken for broken. Writes nothing; `run` never reads here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mongodb::bson::oid::ObjectId;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{FindOptions, Hint};

use super::MongoStore;
use super::documents::{
    LaneDocument, LedgerDocument, ParticipantDocument, SessionDocument, UserDocument, assemble,
    from_raw, id_of, read, to_raw,
};
use super::failure::Failure;
use super::indexes::{LANES, LEDGER, OUTBOX, PARTICIPANTS, SESSIONS, USERS};
use super::snapshot::Snapshot;
use crate::domain::{InviteCode, Session, SessionId, SessionStatus, UserId, UserLimits};
use crate::store::{Error, IntakeStop, LanePosition, LedgerEntry, StoredSession, Unreadable};

/// Documents a page.
const PAGE: i64 = 500;

/// Which documents to look at.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The page that begins there; `None`: the first page.
    After(Option<&'a Place>),
    /// These, by their `_id`s as shown, as far as they exist.
    These(&'a [String]),
}

/// A place in a collection: an `_id`, of whatever type.
#[derive(Clone, Debug)]
pub struct Place(Bson);

/// Some documents of a collection.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// In `_id` order.
    pub items: Vec<T>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<Place>,
}

/// A session as stored, with what is stored around it.
#[derive(Clone, Debug)]
pub struct SessionFound {
    /// Its `_id`.
    pub id: String,
    /// What it says; `Err`: why it cannot be read.
    pub stored: Result<StoredSession, String>,
    /// Fields whose stored value is not what the state says.
    pub differing: Vec<String>,
    /// The limits of its open participants, where there are any.
    pub users: HashMap<UserId, UserLimits>,
    /// Every session that has its invite code.
    pub code_holders: Vec<SessionId>,
}

/// A participant as stored.
#[derive(Clone, Debug)]
pub struct ParticipantFound {
    /// Its `_id`.
    pub id: String,
    /// Its session.
    pub session_id: String,
    /// Whether that exists.
    pub session_exists: bool,
}

/// A user as stored, with the sessions that hold a place.
#[derive(Clone, Debug)]
pub struct UserFound {
    /// Its `_id`.
    pub id: String,
    /// What it says; `Err`: why it cannot be read.
    pub limits: Result<UserLimits, String>,
    /// The sessions that `open` names, where they exist and can be read.
    pub sessions: HashMap<SessionId, Session>,
}

/// A remembered message as stored.
#[derive(Clone, Debug)]
pub struct LedgerFound {
    /// Its `_id`.
    pub id: String,
    /// What it says; `Err`: why it cannot be read.
    pub entry: Result<LedgerEntry, String>,
    /// Whether the session of its result exists; true where there is none.
    pub session_exists: bool,
}

/// A lane as stored, with its outbox.
#[derive(Clone, Debug)]
pub struct LaneFound {
    /// `topic/partition`.
    pub id: String,
    /// Where it stands; `None`: only an outbox is there; `Err`: why it cannot be read.
    pub position: Option<Result<LanePosition, String>>,
    /// Why its intake is stopped, if it is.
    pub stop: Option<IntakeStop>,
    /// The digest of the rules that its owner follows; `None`: it wrote none down.
    pub rules: Option<String>,
    /// The batches in its outbox.
    pub outbox: BTreeSet<i64>,
}

impl MongoStore {
    /// Sessions, with their participants and the limits of those who are open.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn inspect_sessions(&self, which: Which<'_>) -> Result<Page<SessionFound>, Error> {
        self.sessions_page(which).await.map_err(Error::unavailable)
    }

    /// Participants, and whether their sessions exist.
    ///
    /// # Errors
    /// As [`MongoStore::inspect_sessions`].
    pub async fn inspect_participants(
        &self,
        which: Which<'_>,
    ) -> Result<Page<ParticipantFound>, Error> {
        self.participants_page(which)
            .await
            .map_err(Error::unavailable)
    }

    /// Users, with the sessions in which they hold places.
    ///
    /// # Errors
    /// As [`MongoStore::inspect_sessions`].
    pub async fn inspect_users(&self, which: Which<'_>) -> Result<Page<UserFound>, Error> {
        self.users_page(which).await.map_err(Error::unavailable)
    }

    /// Remembered messages, and whether the sessions of their results exist.
    ///
    /// # Errors
    /// As [`MongoStore::inspect_sessions`].
    pub async fn inspect_ledger(&self, which: Which<'_>) -> Result<Page<LedgerFound>, Error> {
        self.ledger_page(which).await.map_err(Error::unavailable)
    }

    /// All lanes, with the numbers of the batches in their outboxes.
    ///
    /// # Errors
    /// As [`MongoStore::inspect_sessions`].
    pub async fn inspect_lanes(&self) -> Result<Vec<LaneFound>, Error> {
        self.lanes().await.map_err(Error::unavailable)
    }

    async fn sessions_page(&self, which: Which<'_>) -> Result<Page<SessionFound>, Failure> {
        let mut snapshot = self.inner.snapshot().await?;
        let (documents, next) = self.page(&mut snapshot, SESSIONS, which).await?;
        let sessions = self.assembled(&mut snapshot, documents).await?;

        let live = sessions
            .iter()
            .filter_map(|(_, stored, _)| stored.as_ref().ok());
        let live = live.filter(|stored| stored.session.status != SessionStatus::Ended);
        let open =
            live.flat_map(|stored| stored.session.participants.iter().filter(|p| p.is_open()));
        let open: BTreeSet<String> = open.map(|p| p.user_id.to_string()).collect();
        let users = self
            .find_in(&mut snapshot, USERS, "_id", open, None)
            .await?;
        let users: Vec<UserLimits> = users
            .iter()
            // One that cannot be read is found among the users.
            .filter_map(|raw| from_raw::<UserDocument<'_>>(raw.as_bytes()).ok())
            .map(|document| document.stored().limits)
            .collect();
        let users: HashMap<UserId, UserLimits> = users
            .into_iter()
            .map(|limits| (limits.user_id.clone(), limits))
            .collect();

        let holders = self.code_holders(&mut snapshot, &sessions).await?;
        let items = sessions.into_iter().map(|(id, stored, differing)| {
            let session = stored.as_ref().ok().map(|stored| &stored.session);
            let participants = session.iter().flat_map(|session| &session.participants);
            let known = participants.filter_map(|p| users.get(&p.user_id));
            let users = known
                .map(|limits| (limits.user_id.clone(), limits.clone()))
                .collect();
            let code = session.and_then(|session| session.invite_code.as_ref());
            let code_holders = code
                .and_then(|code| holders.get(code))
                .cloned()
                .unwrap_or_default();
            SessionFound {
                id,
                stored,
                differing,
                users,
                code_holders,
            }
        });
        Ok(Page {
            items: items.collect(),
            next,
        })
    }

    async fn code_holders(
        &self,
        snapshot: &mut Snapshot,
        sessions: &[Assembled],
    ) -> Result<HashMap<InviteCode, Vec<SessionId>>, Failure> {
        let sessions = sessions
            .iter()
            .filter_map(|(_, stored, _)| stored.as_ref().ok());
        let codes = sessions.filter_map(|stored| stored.session.invite_code.as_ref());
        let codes = codes.map(|code| code.as_str().to_owned()).collect();
        let fields = doc! { "inviteCode": 1, "home": 1 };
        let mut holders: HashMap<InviteCode, Vec<SessionId>> = HashMap::new();
        for raw in self
            .find_in(snapshot, SESSIONS, "inviteCode", codes, Some(fields))
            .await?
        {
            if let Ok(code) = raw.get_str("inviteCode") {
                let code = InviteCode::from_stored(code.to_owned());
                let holder = SessionId::from_stored(id_of(&raw));
                holders.entry(code).or_default().push(holder);
            }
        }
        Ok(holders)
    }

    async fn participants_page(&self, which: Which<'_>) -> Result<Page<ParticipantFound>, Failure> {
        let mut snapshot = self.inner.snapshot().await?;
        let (documents, next) = self.page(&mut snapshot, PARTICIPANTS, which).await?;
        let owned = documents.iter().map(|(id, raw)| {
            // A document without a readable session belongs to none.
            let session_id = raw.get_str("sessionId").unwrap_or_default().to_owned();
            (id.clone(), session_id)
        });
        let owned: Vec<(String, String)> = owned.collect();
        let sought = owned
            .iter()
            .map(|(_, session_id)| session_id.clone())
            .collect();
        let existing = self.existing_sessions(&mut snapshot, sought).await?;
        let items = owned.into_iter().map(|(id, session_id)| {
            let session_exists = existing.contains(&session_id);
            ParticipantFound {
                id,
                session_id,
                session_exists,
            }
        });
        Ok(Page {
            items: items.collect(),
            next,
        })
    }

    async fn users_page(&self, which: Which<'_>) -> Result<Page<UserFound>, Failure> {
        let mut snapshot = self.inner.snapshot().await?;
        let (documents, next) = self.page(&mut snapshot, USERS, which).await?;
        let users: Vec<(String, Result<UserLimits, Unreadable>)> = documents
            .iter()
            .map(|(id, raw)| {
                let document = read::<UserDocument<'_>>(USERS, raw);
                (
                    id.clone(),
                    document.map(|document| document.stored().limits),
                )
            })
            .collect();
        let open = users.iter().filter_map(|(_, limits)| limits.as_ref().ok());
        let open = open
            .flat_map(|limits| limits.open.iter().map(SessionId::to_string))
            .collect();
        let sessions = self
            .find_in(&mut snapshot, SESSIONS, "_id", open, None)
            .await?;
        let sessions = sessions.into_iter().map(keyed).collect();
        let sessions = self.assembled(&mut snapshot, sessions).await?;
        let sessions = sessions
            .into_iter()
            .filter_map(|(_, stored, _)| stored.ok());
        let sessions: HashMap<SessionId, Session> = sessions
            .map(|stored| (stored.session.id.clone(), stored.session))
            .collect();
        let items = users.into_iter().map(|(id, limits)| {
            let open = limits.iter().flat_map(|limits| &limits.open);
            let held = open.filter_map(|id| sessions.get(id));
            let sessions = held
                .map(|session| (session.id.clone(), session.clone()))
                .collect();
            UserFound {
                id,
                limits: limits.map_err(|unreadable| unreadable.to_string()),
                sessions,
            }
        });
        Ok(Page {
            items: items.collect(),
            next,
        })
    }

    async fn ledger_page(&self, which: Which<'_>) -> Result<Page<LedgerFound>, Failure> {
        let mut snapshot = self.inner.snapshot().await?;
        let (documents, next) = self.page(&mut snapshot, LEDGER, which).await?;
        let entries: Vec<(String, Result<LedgerEntry, Unreadable>)> = documents
            .iter()
            .map(|(id, raw)| (id.clone(), LedgerDocument::read(raw)))
            .collect();
        let named = |entry: &Result<LedgerEntry, Unreadable>| {
            entry
                .as_ref()
                .ok()
                .and_then(|entry| entry.remembered.result.session_id.clone())
        };
        let sought = entries
            .iter()
            .filter_map(|(_, entry)| named(entry))
            .collect();
        let existing = self.existing_sessions(&mut snapshot, sought).await?;
        let items = entries.into_iter().map(|(id, entry)| {
            let session_exists = named(&entry).is_none_or(|session| existing.contains(&session));
            LedgerFound {
                id,
                entry: entry.map_err(|unreadable| unreadable.to_string()),
                session_exists,
            }
        });
        Ok(Page {
            items: items.collect(),
            next,
        })
    }

    async fn lanes(&self) -> Result<Vec<LaneFound>, Failure> {
        let mut snapshot = self.inner.snapshot().await?;
        let mut lanes: BTreeMap<String, LaneFound> = BTreeMap::new();
        let new = |id: &str| LaneFound {
            id: id.to_owned(),
            position: None,
            stop: None,
            rules: None,
            outbox: BTreeSet::new(),
        };
        for raw in self.find(&mut snapshot, LANES, doc! {}, None, None).await? {
            let id = id_of(&raw);
            let lane = lanes.entry(id.clone()).or_insert_with(|| new(&id));
            let position = read::<LaneDocument>(LANES, &raw).and_then(|stored| {
                lane.stop = stored.intake_stop();
                lane.rules = stored.rules.clone();
                stored.position()
            });
            lane.position = Some(position.map_err(|unreadable| unreadable.to_string()));
        }
        for raw in self
            .find(
                &mut snapshot,
                OUTBOX,
                doc! {},
                Some(doc! { "_id": 1 }),
                None,
            )
            .await?
        {
            let id = id_of(&raw);
            // A key that names no batch stands for itself: it will never be published.
            let (lane, batch) = id
                .split_once('#')
                .and_then(|(lane, batch)| Some((lane, batch.parse().ok()?)))
                .unwrap_or((&id, 0));
            let lane = lanes.entry(lane.to_owned()).or_insert_with(|| new(lane));
            lane.outbox.insert(batch);
        }
        Ok(lanes.into_values().collect())
    }

    async fn existing_sessions(
        &self,
        snapshot: &mut Snapshot,
        sought: BTreeSet<String>,
    ) -> Result<BTreeSet<String>, Failure> {
        let key = Some(doc! { "_id": 1 });
        let found = self.find_in(snapshot, SESSIONS, "_id", sought, key).await?;
        Ok(found.iter().map(|raw| id_of(raw)).collect())
    }

    /// Sessions of `documents`, with their participants read.
    async fn assembled(
        &self,
        snapshot: &mut Snapshot,
        documents: Vec<(String, RawDocumentBuf)>,
    ) -> Result<Vec<Assembled>, Failure> {
        let ids = documents.iter().map(|(id, _)| id.clone()).collect();
        let mut participants: HashMap<String, Vec<RawDocumentBuf>> = HashMap::new();
        for raw in self
            .find_in(snapshot, PARTICIPANTS, "sessionId", ids, None)
            .await?
        {
            let session_id = raw.get_str("sessionId").unwrap_or_default().to_owned();
            participants.entry(session_id).or_default().push(raw);
        }
        let assembled = documents.into_iter().map(|(id, raw)| {
            let participants = participants.remove(&id).unwrap_or_default();
            match state(&raw, &participants) {
                Ok(stored) => {
                    let differing = differing(&stored, &raw, &participants);
                    (id, Ok(stored), differing)
                }
                Err(unreadable) => (id, Err(unreadable.to_string()), Vec::new()),
            }
        });
        Ok(assembled.collect())
    }

    async fn page(
        &self,
        snapshot: &mut Snapshot,
        collection: &str,
        which: Which<'_>,
    ) -> Result<(Vec<(String, RawDocumentBuf)>, Option<Place>), Failure> {
        let after = match which {
            Which::These(ids) => {
                let ids: Vec<Bson> = ids.iter().flat_map(|id| meanings(id)).collect();
                let these = doc! { "_id": { "$in": ids } };
                let documents = self.find(snapshot, collection, these, None, None).await?;
                return Ok((documents.into_iter().map(keyed).collect(), None));
            }
            Which::After(after) => after.map(|Place(id)| id),
        };
        // A bound of the index, unlike a comparison, goes on from one type of `_id` to the next.
        let options = FindOptions::builder()
            .sort(doc! { "_id": 1 })
            .min(after.map(|id| doc! { "_id": id.clone() }))
            .hint(after.map(|_| Hint::Keys(doc! { "_id": 1 })))
            .limit(PAGE)
            .build();
        let mut documents: Vec<RawDocumentBuf> =
            snapshot.find(collection, doc! {}, options).await?;
        let last = documents
            .last()
            .filter(|_| i64::try_from(documents.len()) == Ok(PAGE));
        let next = last.and_then(|last| Some(Place(raw_id(last)?)));
        if let (Some(after), Some(first)) = (after, documents.first())
            && raw_id(first).as_ref() == Some(after)
        {
            documents.remove(0);
        }
        Ok((documents.into_iter().map(keyed).collect(), next))
    }

    async fn find_in(
        &self,
        snapshot: &mut Snapshot,
        collection: &str,
        field: &str,
        values: BTreeSet<String>,
        fields: Option<Document>,
    ) -> Result<Vec<RawDocumentBuf>, Failure> {
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<String> = values.into_iter().collect();
        self.find(
            snapshot,
            collection,
            doc! { field: { "$in": values } },
            fields,
            None,
        )
        .await
    }

    async fn find(
        &self,
        snapshot: &mut Snapshot,
        collection: &str,
        filter: Document,
        fields: Option<Document>,
        limit: Option<i64>,
    ) -> Result<Vec<RawDocumentBuf>, Failure> {
        let options = FindOptions::builder()
            .sort(doc! { "_id": 1 })
            .projection(fields)
            .limit(limit)
            .build();
        snapshot.find(collection, filter, options).await
    }
}

type Assembled = (String, Result<StoredSession, String>, Vec<String>);

fn keyed(raw: RawDocumentBuf) -> (String, RawDocumentBuf) {
    (id_of(&raw), raw)
}

fn raw_id(raw: &RawDocumentBuf) -> Option<Bson> {
    Bson::try_from(raw.get("_id").ok()??).ok()
}

/// The `_id`s that are shown as `id`.
fn meanings(id: &str) -> Vec<Bson> {
    let object = id
        .strip_prefix("ObjectId(\"")
        .and_then(|rest| rest.strip_suffix("\")"));
    let object = object.and_then(|hex| ObjectId::parse_str(hex).ok());
    let mut meanings = vec![Bson::String(id.to_owned())];
    meanings.extend(object.map(Bson::ObjectId));
    meanings.extend(id.parse::<i64>().ok().map(Bson::Int64));
    meanings
}

fn state(
    raw: &RawDocumentBuf,
    participants: &[RawDocumentBuf],
) -> Result<StoredSession, Unreadable> {
    let session: SessionDocument<'_> = read(SESSIONS, raw)?;
    let participants: Vec<ParticipantDocument<'_>> = participants
        .iter()
        .map(|raw| read(PARTICIPANTS, raw))
        .collect::<Result<_, _>>()?;
    assemble(session, participants)
}

/// The stored fields that are not what `stored` would be stored as.
fn differing(
    stored: &StoredSession,
    raw: &RawDocumentBuf,
    participants: &[RawDocumentBuf],
) -> Vec<String> {
    let mut differing = unequal("", &to_raw(&SessionDocument::new(stored)), raw);
    for (ordinal, participant) in stored.session.participants.iter().enumerate() {
        let document = ParticipantDocument::new(&stored.session.id, ordinal, participant);
        let expected = to_raw(&document);
        let id = expected.get_str("_id").unwrap_or_default();
        let prefix = format!("{}.", participant.user_id);
        match participants
            .iter()
            .find(|raw| raw.get_str("_id").is_ok_and(|found| found == id))
        {
            Some(raw) => differing.extend(unequal(&prefix, &expected, raw)),
            None => differing.push(format!("{prefix}_id")),
        }
    }
    differing
}

fn unequal(prefix: &str, expected: &RawDocumentBuf, found: &RawDocumentBuf) -> Vec<String> {
    let document = |raw: &RawDocumentBuf| Document::try_from(raw.as_ref()).unwrap_or_default();
    let found = document(found);
    let fields = document(expected).into_iter();
    let fields = fields.filter(|(name, value)| found.get(name) != Some(value));
    fields.map(|(name, _)| format!("{prefix}{name}")).collect()
}
