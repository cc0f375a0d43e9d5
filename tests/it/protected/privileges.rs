//! What a user of MongoDB lacks is named: at the start, while the worker runs, and by `check`, which
//! leaves no trace.

use dev::WORKER;
use mongodb::bson::doc;
use session_worker::record::TopicPartition;
use session_worker::store::mongo::{
    ConnectError, MongoStore, Options, PRIVILEGES, Severity, check,
};
use session_worker::store::{Error, Store};

use super::permissions::database_actions;
use super::{admin, parts, uri};

/// A connection string as a user called `name`, who may do `actions` in the database `database`.
async fn user(name: &str, database: &str, actions: &[&str]) -> String {
    let password = parts().await.secrets().password(name);
    let admin = admin().await.database("admin");
    let privilege = doc! {
        "resource": { "db": database, "collection": "" },
        "actions": actions.to_vec(),
    };
    let role = doc! { "createRole": name, "privileges": [privilege], "roles": [] };
    admin.run_command(role).await.expect("a role is made");
    let user = doc! { "createUser": name, "pwd": &password, "roles": [name] };
    admin.run_command(user).await.expect("a user is made");
    uri(&format!("{name}:{password}@"), "&authSource=admin")
}

/// What `check` says is missing.
async fn lacking(uri: &str, database: &str) -> String {
    let findings = check(uri, database, &Options::default()).await;
    let found = findings.iter().find(|found| found.subject == "privileges");
    let found = found.unwrap_or_else(|| panic!("{findings:?}"));
    match found.severity {
        Severity::Fine => String::new(),
        _ => found.detail.clone(),
    }
}

#[test]
fn the_page_lists_the_privileges_that_check_compares() {
    let mut documented = database_actions();
    documented.sort();
    let mut compared = PRIVILEGES.map(str::to_owned);
    compared.sort();
    assert_eq!(documented, compared);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_privilege_is_named_before_it_is_missed() {
    let database = "privileges";
    let may_read = user("may-read", database, &["find", "listIndexes"]).await;
    let words = lacking(&may_read, database).await;
    for action in [
        "insert",
        "update",
        "remove",
        "createCollection",
        "createIndex",
    ] {
        assert!(words.contains(action), "{words}");
    }
    assert!(!words.contains("find"), "{words}");
    let store = MongoStore::connect(&may_read, database)
        .await
        .expect("hello needs no privilege");
    let error = store
        .ensure_indexes()
        .await
        .expect_err("nothing can be made");
    let named = matches!(
        error,
        ConnectError::Forbidden {
            action: "createCollection",
            collection: "sessions",
            ..
        }
    );
    assert!(named && !error.is_final(), "{error}");

    let all = user("may-all", database, &PRIVILEGES).await;
    assert_eq!(lacking(&all, database).await, "");
    let store = MongoStore::connect(&all, database)
        .await
        .expect("connected");
    store.ensure_indexes().await.expect("made");

    // Where someone else has made the indexes, the worker need not be allowed to.
    let enough = ["find", "insert", "update", "remove", "listIndexes"];
    let enough = user("may-write", database, &enough).await;
    assert_eq!(lacking(&enough, database).await, "");
    let store = MongoStore::connect(&enough, database)
        .await
        .expect("connected");
    store.ensure_indexes().await.expect("everything is there");
    let lane = TopicPartition::new("session-command", 0);
    store
        .fence(&lane, None)
        .await
        .map(drop)
        .expect("the lane is free");
    store.close().await;

    let store = MongoStore::connect(&may_read, database)
        .await
        .expect("connected");
    let error = store
        .fence(&lane, None)
        .await
        .map(drop)
        .expect_err("it may not write");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("lacks a privilege"), "{error}");

    let nobody = uri("", "");
    let words = lacking(&nobody, database).await;
    assert!(words.contains("names no user"), "{words}");
    let password = parts().await.secrets().password(WORKER);
    assert!(!words.contains(&password));
}
