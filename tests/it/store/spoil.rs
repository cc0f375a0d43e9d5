//! Making a stored document unreadable and readable again, on every store alike.

use std::future::Future;

use mongodb::bson::{Bson, Document as Fields, doc};
use session_worker::domain::MessageId;
use session_worker::store::Store;
use session_worker::store::memory::{Document, MemoryStore};
use session_worker::store::mongo::MongoStore;

/// A store whose documents can be spoiled.
pub(crate) trait Spoil: Store {
    /// What was there, to be put back.
    type Before;

    fn spoil(&self, document: &Document) -> impl Future<Output = Self::Before>;

    fn repair(&self, document: &Document, before: Self::Before) -> impl Future<Output = ()>;
}

impl Spoil for MemoryStore {
    type Before = ();

    async fn spoil(&self, document: &Document) {
        MemoryStore::spoil(self, document.clone());
    }

    async fn repair(&self, document: &Document, (): ()) {
        MemoryStore::repair(self, document);
    }
}

impl Spoil for MongoStore {
    type Before = Bson;

    async fn spoil(&self, document: &Document) -> Bson {
        let (collection, id, field, damage) = place(document);
        let collection = self.database().collection::<Fields>(collection);
        let by_id = doc! { "_id": &id };
        let stored = collection.find_one(by_id.clone()).await.expect("read");
        let stored = stored.expect("the document is there");
        let damage = doc! { "$set": { field: damage } };
        collection.update_one(by_id, damage).await.expect("written");
        stored.get(field).cloned().unwrap_or(Bson::Null)
    }

    async fn repair(&self, document: &Document, before: Bson) {
        let (collection, id, field, _) = place(document);
        let collection = self.database().collection::<Fields>(collection);
        let repair = doc! { "$set": { field: before } };
        let updated = collection.update_one(doc! { "_id": id }, repair).await;
        assert_eq!(updated.expect("written").matched_count, 1);
    }
}

/// Where a document lies, a field of it, and what that never holds.
fn place(document: &Document) -> (&'static str, String, &'static str, Bson) {
    let word = || Bson::from("of a later version");
    match document {
        Document::Session(id) => ("sessions", id.to_string(), "status", word()),
        Document::Home(id) => ("sessions", id.to_string(), "home", word()),
        Document::Deadline(id) => ("sessions", id.to_string(), "nextDeadline", Bson::Null),
        Document::User(id) => ("users", id.to_string(), "used", word()),
        Document::Ledger(MessageId::Command(id)) => {
            ("ledger", format!("command:{id}"), "result", word())
        }
        Document::Ledger(MessageId::Match(id)) => {
            ("ledger", format!("match:{id}"), "result", word())
        }
        Document::Forward(origin, home) => (
            "forwards",
            format!("{origin}>{home}"),
            "fingerprint",
            word(),
        ),
    }
}
