//! Reading for the HTTP views, over a client of its own: readers wait for each other and never for a
//! lane, nor a lane for them. What is read was committed by a majority before, and belongs to one
//! moment. No request reads more than a bounded number of documents, each found by an index.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::FindOptions;
use mongodb::{Client, Collection, Database};

use super::client::{self, Options, bounded};
use super::clock::told_time;
use super::connect::ConnectError;
use super::cursor_key;
use super::documents::{Named, date, participant_key};
use super::failure::Failure;
use super::indexes::{PARTICIPANTS, SESSIONS, USERS};
use super::lenient::{EARLIEST, LATEST, Lenient, Uses, instant_of, text_of};
use super::snapshot::Snapshot;
use crate::domain::{Day, SessionId, SessionKind, SessionStatus, Timestamp, UserId};
use crate::store::Error;
use crate::store::views::{
    HistoryFilter, HistoryPlace, ListFilter, ListPlace, Member, Membership, Participation,
    SessionOutline, Usage, ViewPage,
};

/// Connections of the readers at most: what they can take from the database at once.
const CONNECTIONS: u32 = 16;
/// How many documents are looked at for one page: a filter that leaves out nearly all of a long list
/// gets short pages instead of a long wait.
const LOOKED_AT: usize = 1_000;
/// How many of them are read at once where a filter may leave some out.
const READ_AT_ONCE: usize = 200;
/// Participants of a session, or open sessions of a user, at most; the rules allow fewer.
const MEMBERS: i64 = 1_000;

/// The readers' way to the database.
#[derive(Clone, Debug)]
pub struct MongoViews {
    client: Client,
    database: Database,
    limit: Duration,
    lenient: Lenient,
}

impl MongoViews {
    /// Opens a client for the database called `database`; no server is asked for anything yet, so
    /// that views are there, and say that the database is not, before it answers.
    ///
    /// # Errors
    /// [`ConnectError::Uri`] only.
    pub async fn open(uri: &str, database: &str) -> Result<Self, ConnectError> {
        let options = Options {
            max_pool_size: CONNECTIONS,
            min_pool_size: 0,
            app_name: "session-worker-http".to_owned(),
            ..Options::default()
        };
        let client = client::open(uri, &options).await?;
        Ok(Self {
            database: client::database(&client, database),
            client,
            limit: options.timeouts.call,
            lenient: Lenient::default(),
        })
    }

    /// What time the database says it is.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn now(&self) -> Result<Timestamp, Error> {
        told_time(&self.client, self.limit).await.map_err(error)
    }

    /// Reads as views do, and finds nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Refused`] where the user may not read.
    pub async fn probe(&self) -> Result<(), Error> {
        let read = async {
            let nothing = doc! { "_id": "" };
            let mut snapshot = self.snapshot().await?;
            snapshot.find_raw(SESSIONS, nothing, self.options()).await
        };
        read.await.map(drop).map_err(error)
    }

    /// The key that the workers on this database seal cursors with.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also while no worker has made it yet.
    pub async fn cursor_key(&self) -> Result<[u8; 32], Error> {
        let found = cursor_key::find(&self.database, self.limit).await;
        found.map_err(error)?.ok_or_else(|| Error::Unavailable {
            source: "no worker has prepared the database yet".into(),
        })
    }

    /// The session called `id` as `user_id` sees it, who is or was in it.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Refused`] where the server refuses the read.
    pub async fn session(
        &self,
        id: &SessionId,
        user_id: &UserId,
    ) -> Result<Option<Participation>, Error> {
        let read = async {
            let mut snapshot = self.snapshot().await?;
            let own = doc! {
                "_id": participant_key(id, user_id),
                "sessionId": id.as_str(),
                "userId": user_id.as_str(),
            };
            let own = snapshot.find_raw(PARTICIPANTS, own, self.options()).await?;
            self.participations(&mut snapshot, &own).await
        };
        Ok(read.await.map_err(error)?.pop())
    }

    /// Everybody who was ever in the session called `id`, in order of first join; `None`: `user_id`
    /// never was.
    ///
    /// # Errors
    /// As [`MongoViews::session`].
    pub async fn members(
        &self,
        id: &SessionId,
        user_id: &UserId,
    ) -> Result<Option<Vec<Member>>, Error> {
        let read = async {
            let all = doc! { "sessionId": id.as_str() };
            let mut options = self.options();
            options.limit = Some(MEMBERS);
            let mut snapshot = self.snapshot().await?;
            snapshot.find_raw(PARTICIPANTS, all, options).await
        };
        let documents = read.await.map_err(error)?;
        let mut users = documents.iter().map(|document| text_of(document, "userId"));
        if !users.any(|user| user == Some(user_id.as_str())) {
            return Ok(None);
        }
        let mut members: Vec<Member> = self.lenient.read_all(&documents);
        members.sort_by_key(|member| member.ordinal);
        Ok(Some(members))
    }

    /// The sessions that `user_id` is in: active before waiting, then latest join.
    ///
    /// # Errors
    /// As [`MongoViews::session`].
    pub async fn open_sessions(&self, user_id: &UserId) -> Result<Vec<Participation>, Error> {
        let read = async {
            let open = doc! { "userId": user_id.as_str(), "leftAt": null };
            let mut options = self.options();
            options.limit = Some(MEMBERS);
            let mut snapshot = self.snapshot().await?;
            let open = snapshot.find_raw(PARTICIPANTS, open, options).await?;
            self.participations(&mut snapshot, &open).await
        };
        let mut open = read.await.map_err(error)?;
        open.sort_by_key(
            |Participation {
                 session,
                 membership,
             }| {
                let is_active = session.status == SessionStatus::Active.name();
                let newest = Reverse((is_active, membership.stint_started_at));
                (newest, session.id.clone())
            },
        );
        Ok(open)
    }

    /// A page of at most `limit` lines of the history of `user_id`, behind `after`.
    ///
    /// # Errors
    /// As [`MongoViews::session`].
    pub async fn history(
        &self,
        user_id: &UserId,
        filter: &HistoryFilter,
        after: Option<HistoryPlace>,
        limit: usize,
    ) -> Result<ViewPage<Participation, HistoryPlace>, Error> {
        self.history_page(user_id, filter, after, limit)
            .await
            .map_err(error)
    }

    /// A page of at most `limit` public sessions, behind `after`.
    ///
    /// # Errors
    /// As [`MongoViews::session`].
    pub async fn public_sessions(
        &self,
        filter: &ListFilter,
        after: Option<ListPlace>,
        limit: usize,
    ) -> Result<ViewPage<SessionOutline, ListPlace>, Error> {
        self.list_page(filter, after, limit).await.map_err(error)
    }

    /// What `user_id` has used of the limits (contract 2, AC9); nothing for one who was never seen.
    ///
    /// # Errors
    /// As [`MongoViews::session`].
    pub async fn usage(&self, user_id: &UserId) -> Result<Usage, Error> {
        let now = self.now().await?;
        let users: Collection<RawDocumentBuf> = self.database.collection(USERS);
        let find = users.find_one(doc! { "_id": user_id.as_str() });
        let found = bounded(self.limit, find).await.map_err(error)?;
        let today = now.day();
        let uses = match found {
            None => Uses::none(today),
            Some(document) => match self.lenient.read::<Uses>(&document) {
                Some(uses) => uses.by(today),
                None => self.counted(user_id, today).await.map_err(error)?,
            },
        };
        Ok(Usage {
            user_id: user_id.clone(),
            open: uses.open,
            used_today: uses.used,
            reset_at: uses.day.end(),
        })
    }

    /// What the user's participations say of the limits, where the user's document says nothing.
    async fn counted(&self, user_id: &UserId, today: Day) -> Result<Uses, Failure> {
        let participants: Collection<RawDocumentBuf> = self.database.collection(PARTICIPANTS);
        let count = async |filter: Document| {
            let count = participants.count_documents(filter).max_time(self.limit);
            let count = bounded(self.limit, count).await?;
            Ok::<_, Failure>(usize::try_from(count).unwrap_or(usize::MAX))
        };
        let open = doc! { "userId": user_id.as_str(), "leftAt": null };
        let joined = doc! {
            "userId": user_id.as_str(),
            "joinedAt": { "$gte": date(Day(today.0 - 1).end()), "$lt": date(today.end()) },
        };
        Ok(Uses {
            open: count(open).await?,
            day: today,
            used: count(joined).await?,
        })
    }

    async fn snapshot(&self) -> Result<Snapshot, Failure> {
        Snapshot::begin(&self.client, self.database.name(), self.limit).await
    }

    /// A read that the server gives up when nobody waits for it any more.
    fn options(&self) -> FindOptions {
        FindOptions::builder().max_time(self.limit).build()
    }

    async fn history_page(
        &self,
        user_id: &UserId,
        filter: &HistoryFilter,
        after: Option<HistoryPlace>,
        limit: usize,
    ) -> Result<ViewPage<Participation, HistoryPlace>, Failure> {
        let mut snapshot = self.snapshot().await?;
        let leaves_out = filter.status.is_some() || filter.target_language_code.is_some();
        // One more than the page shows tells whether there is more.
        let at_once = if leaves_out { READ_AT_ONCE } else { limit + 1 };
        let (mut items, mut place, mut looked_at) = (Vec::new(), after, 0);
        loop {
            let sort = doc! { "joinedAt": -1, "sessionId": 1 };
            let joined = joined_by(user_id, filter, place.as_ref());
            let joined = snapshot
                .find_raw(PARTICIPANTS, joined, self.first(at_once, sort))
                .await?;
            looked_at += joined.len();
            let mut sessions = self.outlines(&mut snapshot, filter, &joined).await?;
            for document in &joined {
                let session = text_of(document, "sessionId").and_then(|id| sessions.remove(id));
                let entry = session.and_then(|session| {
                    let membership = self.lenient.read(document)?;
                    Some(Participation {
                        session,
                        membership,
                    })
                });
                if entry.is_some() && items.len() == limit {
                    return Ok(ViewPage { items, next: place });
                }
                place = history_place(document).or(place);
                items.extend(entry);
            }
            if joined.len() < at_once {
                return Ok(ViewPage { items, next: None });
            }
            if looked_at >= LOOKED_AT {
                return Ok(ViewPage { items, next: place });
            }
        }
    }

    /// The first documents in an order.
    fn first(&self, limit: usize, sort: Document) -> FindOptions {
        let mut options = self.options();
        options.limit = Some(i64::try_from(limit).unwrap_or(i64::MAX));
        options.sort = Some(sort);
        options
    }

    /// The sessions of these participants' documents that can be read and the filter lets through.
    async fn outlines(
        &self,
        snapshot: &mut Snapshot,
        filter: &HistoryFilter,
        joined: &[RawDocumentBuf],
    ) -> Result<HashMap<String, SessionOutline>, Failure> {
        let ids = joined.iter().filter_map(|one| text_of(one, "sessionId"));
        let ids: Vec<&str> = ids.collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut these = doc! { "_id": { "$in": ids } };
        if let Some(status) = filter.status {
            these.insert("status", status.name());
        }
        if let Some(code) = &filter.target_language_code {
            these.insert("targetLanguageCode", code);
        }
        let found = snapshot.find_raw(SESSIONS, these, self.options()).await?;
        let outlines: Vec<SessionOutline> = self.lenient.read_all(&found);
        let by_id = |outline: SessionOutline| (outline.id.to_string(), outline);
        Ok(outlines.into_iter().map(by_id).collect())
    }

    /// These participants' documents with their sessions, as far as both can be read.
    async fn participations(
        &self,
        snapshot: &mut Snapshot,
        joined: &[RawDocumentBuf],
    ) -> Result<Vec<Participation>, Failure> {
        let everything = HistoryFilter::default();
        let mut sessions = self.outlines(snapshot, &everything, joined).await?;
        let memberships: Vec<Membership> = self.lenient.read_all(joined);
        let participations = memberships.into_iter().filter_map(|membership| {
            Some(Participation {
                session: sessions.remove(membership.session_id.as_str())?,
                membership,
            })
        });
        Ok(participations.collect())
    }

    async fn list_page(
        &self,
        filter: &ListFilter,
        after: Option<ListPlace>,
        limit: usize,
    ) -> Result<ViewPage<SessionOutline, ListPlace>, Failure> {
        let mut snapshot = self.snapshot().await?;
        let leaves_out = filter.min_seats.is_some();
        let at_once = if leaves_out { READ_AT_ONCE } else { limit + 1 };
        let mut ranges = VecDeque::from(listed(filter, after.as_ref()));
        let (mut items, mut place, mut looked_at) = (Vec::new(), after, 0);
        while let Some((range, sort)) = ranges.pop_front() {
            let found = snapshot
                .find_raw(SESSIONS, range, self.first(at_once, sort))
                .await?;
            looked_at += found.len();
            for document in &found {
                let outline: Option<SessionOutline> = self.lenient.read(document);
                let outline = outline.filter(|outline| filter.has_seats(outline));
                if outline.is_some() && items.len() == limit {
                    return Ok(ViewPage { items, next: place });
                }
                place = list_place(document).or(place);
                items.extend(outline);
            }
            if found.len() == at_once {
                if looked_at >= LOOKED_AT {
                    return Ok(ViewPage { items, next: place });
                }
                ranges = listed(filter, place.as_ref()).into();
            }
        }
        Ok(ViewPage { items, next: None })
    }
}

/// The place of a participation that [`joined_by`] found.
fn history_place(document: &RawDocumentBuf) -> Option<HistoryPlace> {
    Some(HistoryPlace {
        joined_at: instant_of(document, "joinedAt")?,
        session_id: SessionId::from_stored(text_of(document, "sessionId")?.to_owned()),
    })
}

/// The place of a session that [`listed`] found.
fn list_place(document: &RawDocumentBuf) -> Option<ListPlace> {
    let session_id = SessionId::from_stored(text_of(document, "_id")?.to_owned());
    let status = text_of(document, "status")?;
    if status == SessionStatus::Waiting.name() {
        return Some(ListPlace::Waiting {
            created_at: instant_of(document, "createdAt")?,
            session_id,
        });
    }
    Some(ListPlace::Other {
        status: status.to_owned(),
        target_language_code: text_of(document, "targetLanguageCode")?.to_owned(),
        session_id,
    })
}

/// A user's participations behind a place. The range of joins bounds the index; what lies within the
/// place's own instant is left out key by key. What has no instant or no session has no place.
fn joined_by(user_id: &UserId, filter: &HistoryFilter, after: Option<&HistoryPlace>) -> Document {
    let mut joined_at = doc! { "$gte": date(filter.from.unwrap_or(EARLIEST)) };
    joined_at.insert("$lte", date(after.map_or(LATEST, |place| place.joined_at)));
    if let Some(to) = filter.to {
        joined_at.insert("$lt", date(to));
    }
    let mut joined = doc! {
        "userId": user_id.as_str(),
        "joinedAt": joined_at,
        "sessionId": { "$gt": "" },
    };
    if let Some(place) = after {
        let behind = [
            doc! { "joinedAt": { "$lt": date(place.joined_at) } },
            doc! { "sessionId": { "$gt": place.session_id.as_str() } },
        ];
        joined.insert("$or", behind.to_vec());
    }
    joined
}

/// The public sessions behind a place, as ranges of indexes that follow each other, each with its order.
fn listed(filter: &ListFilter, after: Option<&ListPlace>) -> Vec<(Document, Document)> {
    let waits = SessionStatus::Waiting;
    let mut ranges = Vec::new();
    let is_behind_those_that_wait = matches!(after, Some(ListPlace::Other { .. }));
    if filter.status.is_none_or(|status| status == waits) && !is_behind_those_that_wait {
        let sort = doc! { "createdAt": 1, "_id": 1 };
        let waiting = waiting(filter, after);
        ranges.extend(waiting.into_iter().map(|range| (range, sort.clone())));
    }
    if filter.status != Some(waits) {
        let sort = doc! { "status": 1, "targetLanguageCode": 1, "type": 1, "_id": 1 };
        let others = others(filter, after);
        ranges.extend(others.into_iter().map(|range| (range, sort.clone())));
    }
    ranges
}

/// Those that wait, longest first, as ranges of one index.
fn waiting(filter: &ListFilter, after: Option<&ListPlace>) -> Vec<Document> {
    let with = |created_at: Bson, id: &str| {
        let mut range = doc! {
            "type": SessionKind::Public.name(),
            "status": SessionStatus::Waiting.name(),
            "createdAt": created_at,
            "_id": { "$gt": id },
        };
        if let Some(code) = &filter.target_language_code {
            range.insert("targetLanguageCode", code);
        }
        range
    };
    let until = date(LATEST);
    match after {
        Some(ListPlace::Waiting {
            created_at,
            session_id,
        }) => {
            let at = date(*created_at);
            let later = doc! { "$gt": at, "$lte": until };
            vec![with(at.into(), session_id.as_str()), with(later.into(), "")]
        }
        _ => vec![with(
            doc! { "$gte": date(EARLIEST), "$lte": until }.into(),
            "",
        )],
    }
}

/// All others, as ranges of one index.
fn others(filter: &ListFilter, after: Option<&ListPlace>) -> Vec<Document> {
    // A bound on every field that comes before the type: without one, the server would go through
    // private sessions, too.
    let any = || Bson::from(doc! { "$gt": "" });
    let unlike_waiting = |above: &str| doc! { "$gt": above, "$ne": SessionStatus::Waiting.name() };
    let status = filter.status.map(|status| status.name());
    let code = filter.target_language_code.as_deref();
    let all = doc! {
        "status": status.map_or_else(|| unlike_waiting("").into(), Bson::from),
        "targetLanguageCode": code.map_or_else(any, Bson::from),
        "type": SessionKind::Public.name(),
        "_id": { "$gt": "" },
    };
    let Some(ListPlace::Other {
        status: at,
        target_language_code: tag,
        session_id,
    }) = after
    else {
        return vec![all];
    };
    let with = |conditions: Document| {
        let mut range = all.clone();
        range.extend(conditions);
        range
    };
    let mut ranges = vec![with(doc! {
        "status": at,
        "targetLanguageCode": tag,
        "_id": { "$gt": session_id.as_str() },
    })];
    if code.is_none() {
        let later = doc! { "status": at, "targetLanguageCode": { "$gt": tag } };
        ranges.push(with(later));
    }
    if status.is_none() {
        ranges.push(with(doc! { "status": unlike_waiting(at) }));
    }
    ranges
}

fn error(failure: Failure) -> Error {
    failure.uncommitted()
}
