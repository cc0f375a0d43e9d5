//! The key that cursors of HTTP pages are sealed with: made once for a database, so that every worker
//! on it opens what another one sealed, before and after restarts.

use std::time::Duration;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use mongodb::{Collection, Database};

use super::client::bounded;
use super::documents::binary;
use super::failure::{Failure, code};
use super::indexes::KEYS;

/// The `_id` of the one document.
const CURSOR: &str = "cursor";

/// Makes the key where there is none.
pub(super) async fn ensure(database: &Database, limit: Duration) -> Result<(), Failure> {
    let keys: Collection<Document> = database.collection(KEYS);
    let key: [u8; 32] = rand::random();
    let insert = doc! { "$setOnInsert": { "key": binary(key.to_vec()) } };
    let update = keys.update_one(doc! { "_id": CURSOR }, insert).upsert(true);
    match bounded(limit, update).await {
        // Another worker was faster.
        Err(failure) if failure.code() == Some(code::DUPLICATE_KEY) => Ok(()),
        done => done.map(drop),
    }
}

/// The key, if a worker has made it.
pub(super) async fn find(
    database: &Database,
    limit: Duration,
) -> Result<Option<[u8; 32]>, Failure> {
    let keys: Collection<Document> = database.collection(KEYS);
    let found = bounded(limit, keys.find_one(doc! { "_id": CURSOR })).await?;
    Ok(found.and_then(|document| match document.get("key") {
        Some(mongodb::bson::Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes,
        })) => bytes.as_slice().try_into().ok(),
        _ => None,
    }))
}
