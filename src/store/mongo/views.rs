//! Reading for the HTTP views, over a client of its own: readers wait for each other and never for a
//! lane, nor a lane for them. What is read was committed by a majority before, and belongs to one
//! moment. No request reads more than a bounded number of documents, each found by an index.

use std::collections::HashMap;
use std::time::Duration;

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::FindOptions;
use mongodb::{Client, Collection, Database};

use super::client::{self, Options, bounded};
use super::clock::told_time;
use super::connect::ConnectError;
use super::cursor_key;
use super::documents::{Named, ParticipantDocument, SessionDocument, UserDocument, date, from_raw};
use super::failure::Failure;
use super::indexes::{PARTICIPANTS, SESSIONS, USERS};
use super::snapshot::Snapshot;
use crate::domain::{SessionId, SessionKind, SessionStatus, Timestamp, UserId};
use crate::store::views::{
    HistoryEntry, HistoryFilter, HistoryPlace, ListFilter, ListPlace, SessionOutline, Usage,
    ViewPage,
};
use crate::store::{Error, StoredSession};

/// Connections of the readers at most: what they can take from the database at once.
const CONNECTIONS: u32 = 16;
/// How many participations are looked at for one page of a history: a filter that leaves out nearly
/// all of a long history gets short pages instead of a long wait.
const LOOKED_AT: usize = 1_000;
/// How many of them are read at once where a filter may leave some out.
const READ_AT_ONCE: usize = 200;

/// The readers' way to the database.
#[derive(Clone, Debug)]
pub struct MongoViews {
    client: Client,
    database: Database,
    limit: Duration,
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
        })
    }

    /// What time the database says it is.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn now(&self) -> Result<Timestamp, Error> {
        told_time(&self.client, self.limit).await.map_err(error)
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

    /// The session called `id` with everybody who was ever in it, if it exists.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Refused`] where it cannot be read.
    pub async fn session(&self, id: &SessionId) -> Result<Option<StoredSession>, Error> {
        let read = async {
            let by_id = doc! { "_id": id.as_str() };
            self.snapshot().await?.sessions(by_id, 1).await
        };
        Ok(read.await.map_err(error)?.pop())
    }

    /// The sessions that `user_id` is in: active before waiting, then latest join.
    ///
    /// # Errors
    /// As [`MongoViews::session`].
    pub async fn open_sessions(&self, user_id: &UserId) -> Result<Vec<StoredSession>, Error> {
        let read = async {
            let mut snapshot = self.snapshot().await?;
            let open = doc! { "userId": user_id.as_str(), "leftAt": null };
            let open: Vec<ParticipantDocument<'_>> =
                snapshot.find(PARTICIPANTS, open, self.options()).await?;
            let ids: Vec<&str> = open.iter().map(ParticipantDocument::session_id).collect();
            let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX).max(1);
            let these = doc! { "_id": { "$in": ids } };
            snapshot.sessions(these, limit).await
        };
        let mut sessions = read.await.map_err(error)?;
        sessions.sort_by_key(|stored| {
            let session = &stored.session;
            let joined = session
                .participant(user_id)
                .map(|participant| participant.stint_started_at);
            let is_active = session.status == SessionStatus::Active;
            (std::cmp::Reverse((is_active, joined)), session.id.clone())
        });
        Ok(sessions)
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
    ) -> Result<ViewPage<HistoryEntry, HistoryPlace>, Error> {
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
        let stored = found
            .map(|document| from_raw::<UserDocument<'_>>(document.as_bytes()))
            .transpose()
            .map_err(|malformed| error(Failure::from(malformed)))?
            .map(UserDocument::stored);
        let (day, used_today, open) = stored.map_or((now.day(), 0, 0), |stored| {
            let (day, used) = stored.limits.used_on(now.day());
            (day, used, stored.limits.open.len())
        });
        Ok(Usage {
            user_id: user_id.clone(),
            open,
            used_today,
            reset_at: day.end(),
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
    ) -> Result<ViewPage<HistoryEntry, HistoryPlace>, Failure> {
        let mut snapshot = self.snapshot().await?;
        let leaves_out = filter.status.is_some() || filter.target_language_code.is_some();
        // One more than the page shows tells whether there is more.
        let at_once = if leaves_out { READ_AT_ONCE } else { limit + 1 };
        let (mut items, mut place, mut looked_at) = (Vec::new(), after, 0);
        loop {
            let options = FindOptions::builder()
                .sort(doc! { "joinedAt": -1, "sessionId": 1 })
                .limit(i64::try_from(at_once).unwrap_or(i64::MAX))
                .max_time(self.limit)
                .build();
            let joined = joined_by(user_id, filter, place.as_ref());
            let joined: Vec<ParticipantDocument<'_>> =
                snapshot.find(PARTICIPANTS, joined, options).await?;
            let is_last = joined.len() < at_once;
            looked_at += joined.len();
            let mut sessions = self.outlines(&mut snapshot, filter, &joined).await?;
            for membership in joined.into_iter().map(ParticipantDocument::membership) {
                let session = sessions.remove(&membership.session_id);
                if session.is_some() && items.len() == limit {
                    return Ok(ViewPage { items, next: place });
                }
                place = Some(HistoryPlace {
                    joined_at: membership.joined_at,
                    session_id: membership.session_id.clone(),
                });
                items.extend(session.map(|session| HistoryEntry {
                    session,
                    membership,
                }));
            }
            if is_last {
                return Ok(ViewPage { items, next: None });
            }
            if looked_at >= LOOKED_AT {
                return Ok(ViewPage { items, next: place });
            }
        }
    }

    /// The sessions of these participants that the filter lets through.
    async fn outlines(
        &self,
        snapshot: &mut Snapshot,
        filter: &HistoryFilter,
        joined: &[ParticipantDocument<'_>],
    ) -> Result<HashMap<SessionId, SessionOutline>, Failure> {
        let ids: Vec<&str> = joined.iter().map(ParticipantDocument::session_id).collect();
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
        let found: Vec<SessionDocument<'_>> =
            snapshot.find(SESSIONS, these, self.options()).await?;
        Ok(found
            .into_iter()
            .map(SessionDocument::outline)
            .map(|outline| (outline.id.clone(), outline))
            .collect())
    }

    async fn list_page(
        &self,
        filter: &ListFilter,
        after: Option<ListPlace>,
        limit: usize,
    ) -> Result<ViewPage<SessionOutline, ListPlace>, Failure> {
        let mut snapshot = self.snapshot().await?;
        let mut items: Vec<SessionOutline> = Vec::new();
        for range in listed(filter, after.as_ref()) {
            let wanted = limit + 1 - items.len();
            let options = FindOptions::builder()
                .sort(doc! { "status": 1, "targetLanguageCode": 1, "type": 1, "_id": 1 })
                .limit(i64::try_from(wanted).unwrap_or(i64::MAX))
                .max_time(self.limit)
                .build();
            let found: Vec<SessionDocument<'_>> = snapshot.find(SESSIONS, range, options).await?;
            items.extend(found.into_iter().map(SessionDocument::outline));
            if items.len() > limit {
                break;
            }
        }
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| has_more);
        let next = last.map(|last| ListPlace {
            status: last.snapshot.status,
            target_language_code: last.snapshot.target_language_code.clone(),
            session_id: last.id.clone(),
        });
        Ok(ViewPage { items, next })
    }
}

/// A user's participations behind a place. The range of joins bounds the index; what lies within the
/// place's own instant is left out key by key.
fn joined_by(user_id: &UserId, filter: &HistoryFilter, after: Option<&HistoryPlace>) -> Document {
    let mut joined_at = Document::new();
    if let Some(from) = filter.from {
        joined_at.insert("$gte", date(from));
    }
    if let Some(to) = filter.to {
        joined_at.insert("$lt", date(to));
    }
    let mut joined = doc! { "userId": user_id.as_str() };
    if let Some(HistoryPlace {
        joined_at: at,
        session_id,
    }) = after
    {
        joined_at.insert("$lte", date(*at));
        let behind = [
            doc! { "joinedAt": { "$lt": date(*at) } },
            doc! { "sessionId": { "$gt": session_id.as_str() } },
        ];
        joined.insert("$or", behind.to_vec());
    }
    if !joined_at.is_empty() {
        joined.insert("joinedAt", joined_at);
    }
    joined
}

/// The public sessions behind a place, as ranges of one index that follow each other.
fn listed(filter: &ListFilter, after: Option<&ListPlace>) -> Vec<Document> {
    // A bound on every field that comes before the type: without one, the server would go through
    // private sessions, too.
    let any = || Bson::from(doc! { "$gt": "" });
    let status = filter.status.map(|status| status.name());
    let code = filter.target_language_code.as_deref();
    let all = doc! {
        "status": status.map_or_else(any, Bson::from),
        "targetLanguageCode": code.map_or_else(any, Bson::from),
        "type": SessionKind::Public.name(),
    };
    let Some(place) = after else { return vec![all] };
    let with = |conditions: Document| {
        let mut range = all.clone();
        range.extend(conditions);
        range
    };
    let status = place.status.name();
    let code = place.target_language_code.as_str();
    let mut ranges = vec![with(doc! {
        "status": status,
        "targetLanguageCode": code,
        "_id": { "$gt": place.session_id.as_str() },
    })];
    if filter.target_language_code.is_none() {
        let later = doc! { "status": status, "targetLanguageCode": { "$gt": code } };
        ranges.push(with(later));
    }
    if filter.status.is_none() {
        ranges.push(with(doc! { "status": { "$gt": status } }));
    }
    ranges
}

fn error(failure: Failure) -> Error {
    failure.uncommitted()
}
