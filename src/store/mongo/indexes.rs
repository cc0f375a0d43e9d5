//! The collections and their indexes: the look-ups of the contract's section 4, and as little more
//! as possible, because every index that a hot write touches costs throughput.

use mongodb::bson::{Bson, Document, doc};
use mongodb::{Database, IndexModel, options::IndexOptions};

use super::client::{Timeouts, bounded};
use super::connect::ConnectError;
use super::cursor_key;
use super::failure::{Failure, code};

/// `sessions`
pub(crate) const SESSIONS: &str = "sessions";
/// `participants`
pub(crate) const PARTICIPANTS: &str = "participants";
/// `users`
pub(crate) const USERS: &str = "users";
/// `ledger`
pub(crate) const LEDGER: &str = "ledger";
/// `lanes`
pub(crate) const LANES: &str = "lanes";
/// `outbox`
pub(crate) const OUTBOX: &str = "outbox";
/// `forwards`
pub(crate) const FORWARDS: &str = "forwards";
/// `keys`
pub(crate) const KEYS: &str = "keys";
/// `jobs`
pub(crate) const JOBS: &str = "jobs";

/// Every collection. They are made beforehand: a transaction that makes one conflicts with others.
const COLLECTIONS: [&str; 9] = [
    SESSIONS,
    PARTICIPANTS,
    USERS,
    LEDGER,
    LANES,
    OUTBOX,
    FORWARDS,
    KEYS,
    JOBS,
];

/// Codes with which the server says that an index exists with other options or other keys.
const FOREIGN: [i32; 2] = [85, 86];

/// An index that a look-up of `run` or the HTTP views needs.
struct Index {
    collection: &'static str,
    name: &'static str,
    keys: Document,
    unique: bool,
    only: Option<Document>,
}

impl Index {
    fn new(collection: &'static str, name: &'static str, keys: Document) -> Self {
        Self {
            collection,
            name,
            keys,
            unique: false,
            only: None,
        }
    }

    fn model(&self) -> IndexModel {
        let options = IndexOptions::builder()
            .name(self.name.to_owned())
            .unique(self.unique.then_some(true))
            .partial_filter_expression(self.only.clone())
            .build();
        IndexModel::builder()
            .keys(self.keys.clone())
            .options(options)
            .build()
    }
}

fn indexes() -> [Index; 8] {
    let words = doc! { "$gt": "" };
    [
        Index::new(
            SESSIONS,
            "findByStatusAndTargetLanguageCode",
            doc! { "status": 1, "targetLanguageCode": 1, "type": 1, "_id": 1 },
        ),
        // Codes are stored as null where there is none, so only real ones are indexed; the planner
        // takes a range, not `$type`, for a superset of an equality.
        Index {
            unique: true,
            only: Some(doc! { "inviteCode": words }),
            ..Index::new(SESSIONS, "findByInviteCode", doc! { "inviteCode": 1 })
        },
        // The list that matchmaking reads, longest waiting first. A session that starts in the
        // transaction that makes it is never in this index.
        Index {
            only: Some(doc! { "type": "public", "status": "waiting" }),
            ..Index::new(
                SESSIONS,
                "publicWaiting",
                doc! { "createdAt": 1, "_id": 1, "targetLanguageCode": 1 },
            )
        },
        Index::new(SESSIONS, "findByHostUserId", doc! { "hostUserId": 1 }),
        Index {
            only: Some(not_ended()),
            ..Index::new(
                SESSIONS,
                "deadlinesOfHome",
                doc! { "home": 1, "nextDeadline": 1, "_id": 1 },
            )
        },
        Index::new(PARTICIPANTS, "findBySessionId", doc! { "sessionId": 1 }),
        Index {
            only: Some(doc! { "leftAt": Bson::Null }),
            ..Index::new(
                PARTICIPANTS,
                "findByUserIdAndLeftAtIsNull",
                doc! { "userId": 1, "leftAt": 1 },
            )
        },
        // Serves `countByUserIdAndJoinedAtAfter`, too: the same user, the same range of joins.
        Index::new(
            PARTICIPANTS,
            "history",
            doc! { "userId": 1, "joinedAt": -1, "sessionId": 1 },
        ),
    ]
}

/// Which sessions have a deadline: those that have not ended.
pub(crate) fn not_ended() -> Document {
    doc! { "nextDeadline": { "$gt": mongodb::bson::DateTime::from_millis(0) } }
}

/// Makes the collections and indexes that are missing. A user who may not make them is enough where
/// someone else has made them.
pub(crate) async fn ensure(database: &Database, timeouts: &Timeouts) -> Result<(), ConnectError> {
    for collection in COLLECTIONS {
        let create = bounded(timeouts.call, database.create_collection(collection));
        let Err(failure) = create.await else { continue };
        let is_there = match failure.code() {
            Some(code::NAMESPACE_EXISTS) => true,
            Some(code::UNAUTHORIZED) => exists(database, collection, timeouts).await,
            _ => false,
        };
        if !is_there {
            return Err(ConnectError::at(&failure, "createCollection", collection));
        }
    }
    for index in indexes() {
        let collection = database.collection::<Document>(index.collection);
        // Building an index over what is there already takes its time; new collections are empty.
        let build = bounded(timeouts.call * 60, collection.create_index(index.model()));
        let Err(failure) = build.await else { continue };
        match failure.code() {
            Some(code) if FOREIGN.contains(&code) => {
                return Err(ConnectError::ForeignIndex {
                    collection: index.collection,
                    index: index.name,
                });
            }
            Some(code::UNAUTHORIZED)
                if matches!(is_missing(database, &index, timeouts).await, Ok(false)) => {}
            _ => return Err(ConnectError::at(&failure, "createIndex", index.collection)),
        }
    }
    cursor_key::ensure(database, timeouts.call)
        .await
        .map_err(|failure| ConnectError::at(&failure, "update", KEYS))
}

async fn exists(database: &Database, collection: &str, timeouts: &Timeouts) -> bool {
    let collection = database.collection::<Document>(collection);
    bounded(timeouts.call, collection.list_index_names())
        .await
        .is_ok()
}

/// The indexes that are not there, as `collection.name`.
pub(crate) async fn missing(
    database: &Database,
    timeouts: &Timeouts,
) -> Result<Vec<String>, Failure> {
    let mut missing = Vec::new();
    for index in indexes() {
        if is_missing(database, &index, timeouts).await? {
            missing.push(format!("{}.{}", index.collection, index.name));
        }
    }
    Ok(missing)
}

async fn is_missing(
    database: &Database,
    index: &Index,
    timeouts: &Timeouts,
) -> Result<bool, Failure> {
    let collection = database.collection::<Document>(index.collection);
    match bounded(timeouts.call, collection.list_index_names()).await {
        Ok(names) => Ok(!names.iter().any(|name| name == index.name)),
        Err(failure) if failure.code() == Some(code::NAMESPACE_NOT_FOUND) => Ok(true),
        Err(failure) => Err(failure),
    }
}
