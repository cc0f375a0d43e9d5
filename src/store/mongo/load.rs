//! What a batch loads. Every document is read by itself: one that is not as the worker writes it is
//! [`Unreadable`] under its key, and affects only who asks for that key.

use std::collections::HashMap;
use std::sync::Arc;

use mongodb::Collection;
use mongodb::bson::raw::{RawBsonRef, RawDocumentBuf};
use mongodb::bson::{Document, RawDocument, doc};
use mongodb::options::FindOptions;

use super::Inner;
use super::client::bounded;
use super::documents::{
    ForwardDocument, LedgerDocument, Malformed, ParticipantDocument, SessionDocument, UserDocument,
    assemble, forward_key, from_raw, home_of, id_of, instant, ledger_key, message_id, read,
    shown_id,
};
use super::failure::Failure;
use super::indexes::{FORWARDS, LEDGER, PARTICIPANTS, SESSIONS, USERS};
use super::lane::MongoLane;
use crate::clock::Clock;
use crate::domain::{InviteCode, MessageId, Rules, SessionId, Timestamp, UserId};
use crate::store::{
    Ask, Evidence, Forward, Found, LedgerEntry, Loaded, StoredSession, StoredUser, Unreadable,
};

/// The documents of a session's participants that are read: one more than there can be.
const PARTICIPANTS_READ: usize = Rules::DISTINCT_USERS + 1;

impl Inner {
    /// What `take` makes of every document of `collection` that `filter` finds.
    pub(super) async fn find_each<T>(
        &self,
        collection: &str,
        filter: Document,
        options: FindOptions,
        mut take: impl FnMut(&RawDocument) -> T,
    ) -> Result<Vec<T>, Failure> {
        let limit = self.timeouts.call;
        let collection: Collection<RawDocumentBuf> = self.database.collection(collection);
        let mut cursor = bounded(limit, collection.find(filter).with_options(options)).await?;
        let mut taken = Vec::new();
        while bounded(limit, cursor.advance()).await? {
            taken.push(take(cursor.current()));
        }
        Ok(taken)
    }

    async fn find_in<T>(
        &self,
        collection: &str,
        field: &str,
        values: Vec<String>,
        projection: Option<Document>,
        take: impl FnMut(&RawDocument) -> T,
    ) -> Result<Vec<T>, Failure> {
        if values.is_empty() {
            return Ok(Vec::new());
        }
        // One answer instead of a first one of 101 documents.
        let options = FindOptions::builder()
            .projection(projection)
            .batch_size(100_000_u32)
            .build();
        let filter = doc! { field: { "$in": values } };
        self.find_each(collection, filter, options, take).await
    }

    /// The session called `id`, whole, as of one moment.
    pub(super) async fn session(
        &self,
        id: &SessionId,
    ) -> Result<Option<Result<StoredSession, Unreadable>>, Failure> {
        let mut snapshot = self.snapshot().await?;
        let by_id = doc! { "_id": id.as_str() };
        let found: Vec<RawDocumentBuf> = snapshot
            .find(SESSIONS, by_id, FindOptions::default())
            .await?;
        let Some(document) = found.first() else {
            return Ok(None);
        };
        let options = FindOptions::builder()
            .limit(i64::try_from(PARTICIPANTS_READ).ok())
            .build();
        let of_it = doc! { "sessionId": id.as_str() };
        let participants: Vec<RawDocumentBuf> = snapshot.find(PARTICIPANTS, of_it, options).await?;
        let participants = participants.iter().map(|raw| read(PARTICIPANTS, raw));
        let document = read(SESSIONS, document);
        Ok(Some(document.and_then(|document| {
            whole(document, participants.collect())
        })))
    }
}

impl MongoLane {
    pub(super) async fn load_now(&self, ask: &Ask) -> Result<Loaded, Failure> {
        let store = &*self.store;
        let now = store.clock.now();
        let ids = ask.ids.iter().map(ledger_key).collect();
        let users = ask.users.iter().map(|id| id.as_str().to_owned()).collect();
        let sought = ask.sessions.iter().map(|id| id.as_str().to_owned());
        let sought: Vec<String> = sought.collect();
        let codes = ask.invite_codes.iter();
        let codes = codes.map(|code| code.as_str().to_owned()).collect();
        let mut forwards: HashMap<String, Vec<&Forward>> = HashMap::new();
        for forward in &ask.forwards {
            let key = forward_key(&forward.origin, forward.home);
            forwards.entry(key).or_default().push(forward);
        }
        let keys = forwards.keys().cloned().collect();
        let (ledger, users, by_id, by_code, evidence) = futures::try_join!(
            store.find_in(LEDGER, "_id", ids, None, |raw| judged(raw, now)),
            store.find_in(USERS, "_id", users, None, user),
            self.find_sessions("_id", sought),
            self.find_sessions("inviteCode", codes),
            store.find_in(FORWARDS, "_id", keys, None, |raw| (
                id_of(raw),
                ForwardDocument::read(raw)
            )),
        )?;
        let mut loaded = Loaded {
            ledger: ledger.into_iter().flatten().collect(),
            users: users.into_iter().collect(),
            ..Loaded::default()
        };
        for (key, evidence) in evidence {
            for forward in forwards.remove(&key).unwrap_or_default() {
                if let Some(found) = as_sent(forward, &evidence) {
                    loaded.forwards.insert(forward.clone(), found);
                }
            }
        }
        for Sighting { id, codes, .. } in &by_code {
            for code in codes {
                if codes.len() == 1 || ask.invite_codes.contains(code) {
                    loaded.invite_codes.insert(code.clone(), id.clone());
                }
            }
        }
        let sightings = by_id.into_iter().chain(by_code);
        self.read_sessions(sightings, &mut loaded).await?;
        self.find_strays(ask, &mut loaded).await?;
        Ok(loaded)
    }

    async fn find_sessions(
        &self,
        field: &str,
        values: Vec<String>,
    ) -> Result<Vec<Sighting>, Failure> {
        let projection = match self.home {
            Some(_) => None,
            None => Some(doc! { "home": 1, "inviteCode": 1 }),
        };
        let is_by_code = field == "inviteCode";
        let locate = |raw: &RawDocument| Sighting {
            id: SessionId::from_stored(id_of(raw)),
            codes: if is_by_code { codes(raw) } else { Vec::new() },
            place: Place::of(raw, self.home),
        };
        let store = &self.store;
        store
            .find_in(SESSIONS, field, values, projection, locate)
            .await
    }

    /// Reads the sessions at home here, with their participants.
    async fn read_sessions(
        &self,
        sightings: impl Iterator<Item = Sighting>,
        loaded: &mut Loaded,
    ) -> Result<(), Failure> {
        let mut here: HashMap<SessionId, SessionDocument<'_>> = HashMap::new();
        let mut suspects: Vec<SessionId> = Vec::new();
        for Sighting { id, place, .. } in sightings {
            match place {
                Place::Here(document) => drop(here.insert(id, *document)),
                Place::Elsewhere(home) => {
                    loaded.sessions.insert(id, Found::Elsewhere { home });
                }
                Place::Unreadable(unreadable) => {
                    loaded.sessions.insert(id, Found::Unreadable(unreadable));
                }
            }
        }
        let mut participants = self.find_participants(here.keys()).await?;
        for (id, document) in here {
            let found = participants.remove(id.as_str()).unwrap_or_default();
            match whole(document, found) {
                Ok(stored) => {
                    loaded.sessions.insert(id, Found::Here(Arc::new(stored)));
                }
                Err(_) => suspects.push(id),
            }
        }
        if !suspects.is_empty() {
            self.look_again(suspects, loaded).await?;
        }
        Ok(())
    }

    async fn find_participants(
        &self,
        sessions: impl ExactSizeIterator<Item = &SessionId>,
    ) -> Result<ParticipantsOf, Failure> {
        let most = sessions.len() * PARTICIPANTS_READ;
        let ids: Vec<String> = sessions.map(SessionId::to_string).collect();
        if ids.is_empty() {
            return Ok(ParticipantsOf::default());
        }
        let found = self.participants_of(&ids, most).await?;
        if found.len() < most {
            return Ok(by_session(found));
        }
        // One session has more than there can be, perhaps so many that others were cut off.
        let mut all = Vec::new();
        for id in ids {
            let one = std::slice::from_ref(&id);
            all.extend(self.participants_of(one, PARTICIPANTS_READ).await?);
        }
        Ok(by_session(all))
    }

    async fn participants_of(
        &self,
        sessions: &[String],
        limit: usize,
    ) -> Result<Vec<Participation>, Failure> {
        let options = FindOptions::builder()
            .batch_size(100_000_u32)
            .limit(i64::try_from(limit).ok())
            .build();
        let filter = doc! { "sessionId": { "$in": sessions } };
        let store = &self.store;
        store
            .find_each(PARTICIPANTS, filter, options, participation)
            .await
    }

    /// A new session that could not be saved may have participants without a session in its way.
    async fn find_strays(&self, ask: &Ask, loaded: &mut Loaded) -> Result<(), Failure> {
        for id in &self.unsaved {
            if loaded.sessions.contains_key(id) || !ask.sessions.contains(id) {
                continue;
            }
            let sessions = [id.to_string()];
            for stray in self.participants_of(&sessions, 1).await? {
                let reason = Malformed::new("sessionId: there is no such session");
                let unreadable = reason.under(PARTICIPANTS, &stray.id);
                loaded
                    .sessions
                    .insert(id.clone(), Found::Unreadable(unreadable));
            }
        }
        Ok(())
    }

    /// A session that was removed or erased between the reads of its documents is not damaged.
    async fn look_again(&self, ids: Vec<SessionId>, loaded: &mut Loaded) -> Result<(), Failure> {
        for id in ids {
            let found = match self.store.session(&id).await? {
                Some(Ok(stored)) => Found::Here(Arc::new(stored)),
                Some(Err(unreadable)) => Found::Unreadable(unreadable),
                None => {
                    loaded.invite_codes.retain(|_, opens| *opens != id);
                    continue;
                }
            };
            loaded.sessions.insert(id, found);
        }
        Ok(())
    }
}

/// A session that was found.
struct Sighting {
    id: SessionId,
    codes: Vec<InviteCode>,
    place: Place,
}

enum Place {
    Here(Box<SessionDocument<'static>>),
    Elsewhere(i32),
    Unreadable(Unreadable),
}

impl Place {
    /// What the home lane of `home` reads of a session; of one elsewhere only where that is.
    fn of(raw: &RawDocument, home: Option<i32>) -> Self {
        let unreadable =
            |malformed: Malformed| Self::Unreadable(malformed.in_document(SESSIONS, raw));
        let Some(home) = home else {
            return home_of(raw).map_or_else(unreadable, Self::Elsewhere);
        };
        match from_raw::<SessionDocument<'_>>(raw.as_bytes()) {
            Ok(document) if document.home() == home => Self::Here(Box::new(document)),
            Ok(document) => Self::Elsewhere(document.home()),
            Err(malformed) => match home_of(raw) {
                Ok(elsewhere) if elsewhere != home => Self::Elsewhere(elsewhere),
                Ok(_) | Err(_) => unreadable(malformed),
            },
        }
    }
}

/// The codes under which the server finds a session; a list where it is damaged.
fn codes(raw: &RawDocument) -> Vec<InviteCode> {
    let code = |text: &str| InviteCode::from_stored(text.to_owned());
    match raw.get("inviteCode") {
        Ok(Some(RawBsonRef::String(text))) => vec![code(text)],
        Ok(Some(RawBsonRef::Array(list))) => {
            let texts = list.into_iter().filter_map(|entry| entry.ok()?.as_str());
            texts.map(code).collect()
        }
        _ => Vec::new(),
    }
}

type ParticipantsOf = HashMap<String, Vec<Result<ParticipantDocument<'static>, Unreadable>>>;

/// A participant's document and the sessions that the server finds it for; a list where it is damaged.
struct Participation {
    id: String,
    sessions: Vec<String>,
    found: Result<ParticipantDocument<'static>, Unreadable>,
}

fn participation(raw: &RawDocument) -> Participation {
    let found: Result<ParticipantDocument<'_>, _> = read(PARTICIPANTS, raw);
    let sessions = match (&found, raw.get("sessionId")) {
        (Ok(document), _) => vec![document.session_id().to_owned()],
        (Err(_), Ok(Some(RawBsonRef::String(id)))) => vec![id.to_owned()],
        (Err(_), Ok(Some(RawBsonRef::Array(list)))) => {
            let texts = list.into_iter().filter_map(|entry| entry.ok()?.as_str());
            texts.map(str::to_owned).collect()
        }
        (Err(_), _) => Vec::new(),
    };
    Participation {
        id: shown_id(raw),
        sessions,
        found,
    }
}

fn by_session(participations: Vec<Participation>) -> ParticipantsOf {
    let mut by_session = ParticipantsOf::default();
    for Participation {
        mut sessions,
        found,
        ..
    } in participations
    {
        let last = sessions.pop();
        for session in sessions {
            if let Err(unreadable) = &found {
                by_session
                    .entry(session)
                    .or_default()
                    .push(Err(unreadable.clone()));
            }
        }
        if let Some(last) = last {
            by_session.entry(last).or_default().push(found);
        }
    }
    by_session
}

fn whole(
    document: SessionDocument<'_>,
    participants: Vec<Result<ParticipantDocument<'_>, Unreadable>>,
) -> Result<StoredSession, Unreadable> {
    let participants = participants.into_iter().collect::<Result<_, _>>()?;
    assemble(document, participants)
}

/// A remembered message under its id; none where it may be forgotten at `now`.
fn judged(
    raw: &RawDocument,
    now: Timestamp,
) -> Option<(MessageId, Result<LedgerEntry, Unreadable>)> {
    let document: Result<LedgerDocument<'_>, Malformed> = from_raw(raw.as_bytes());
    let malformed = match document {
        Ok(document) if document.is_forgotten(now) => return None,
        Ok(document) => match document.entry() {
            Ok(entry) => return Some((entry.id.clone(), Ok(entry))),
            Err(malformed) => malformed,
        },
        Err(malformed) => malformed,
    };
    let forget_at = raw.get_datetime("forgetAt");
    if forget_at.is_ok_and(|forget_at| instant(forget_at) <= now) {
        return None;
    }
    let id = message_id(raw.get_str("_id").ok()?).ok()?;
    Some((id, Err(malformed.in_document(LEDGER, raw))))
}

fn user(raw: &RawDocument) -> (UserId, Result<StoredUser, Unreadable>) {
    match read::<UserDocument<'_>>(USERS, raw) {
        Ok(document) => {
            let user = document.stored();
            (user.limits.user_id.clone(), Ok(user))
        }
        Err(unreadable) => (UserId::from_stored(id_of(raw)), Err(unreadable)),
    }
}

/// What the evidence under the key of `forward` says of it; nothing where other content was sent.
fn as_sent(
    forward: &Forward,
    evidence: &Result<(Forward, Evidence), Unreadable>,
) -> Option<Result<Evidence, Unreadable>> {
    match evidence {
        Ok((sent, evidence)) => (sent == forward).then_some(Ok(*evidence)),
        Err(unreadable) => Some(Err(unreadable.clone())),
    }
}
