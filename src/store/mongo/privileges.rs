//! What the worker's user must be allowed to do, and what of it is missing. The server says what a user
//! may do (`connectionStatus`), so that nothing has to be written to find out.

use std::collections::BTreeSet;

use mongodb::bson::{Bson, Document, doc};
use mongodb::{Client, Database};

use super::client::bounded;
use super::failure::Failure;
use std::time::Duration;

/// The least privileges of the worker: these actions on every collection of its database. `readWrite`
/// includes them. `killSessions`, which ends what a dead owner left open, needs none for the sessions
/// of the same user, and `killAnySession` on the cluster for those of another: so all workers of a
/// database have one user.
pub const PRIVILEGES: [&str; 7] = [
    "find",
    "insert",
    "update",
    "remove",
    "listIndexes",
    "createCollection",
    "createIndex",
];

/// Those that only the first start needs, and the first of a version with a new index.
const OF_THE_FIRST_START: [&str; 2] = ["createCollection", "createIndex"];

/// What a user may do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// The server runs without authorization.
    Unrestricted,
    /// The server asks for a user, and the URI names none.
    Anonymous,
    /// The user lacks these.
    Lacking(Vec<&'static str>),
}

/// What the user behind `client` lacks on `database`; `is_complete`: all collections and indexes exist.
pub(super) async fn rights(
    client: &Client,
    database: &Database,
    is_complete: bool,
    limit: Duration,
) -> Result<Rights, Failure> {
    let admin = client.database("admin");
    let ask = admin.run_command(doc! { "connectionStatus": 1, "showPrivileges": true });
    let status = bounded(limit, ask).await?;
    let info = status.get_document("authInfo").cloned().unwrap_or_default();
    let list = |field: &str| info.get_array(field).cloned().unwrap_or_default();
    if list("authenticatedUsers").is_empty() {
        let sessions = database.collection::<Document>(super::indexes::SESSIONS);
        let probe = bounded(limit, sessions.find_one(doc! { "_id": "" })).await;
        return match probe {
            Ok(_) => Ok(Rights::Unrestricted),
            Err(failure) if failure.code() == Some(super::failure::code::UNAUTHORIZED) => {
                Ok(Rights::Anonymous)
            }
            Err(failure) => Err(failure),
        };
    }
    let held = held(&list("authenticatedUserPrivileges"), database.name());
    let needed = PRIVILEGES.into_iter();
    let needed = needed.filter(|action| !is_complete || !OF_THE_FIRST_START.contains(action));
    Ok(Rights::Lacking(
        needed.filter(|action| !held.contains(*action)).collect(),
    ))
}

/// The actions that `privileges` allow on every collection of `database`.
fn held(privileges: &[Bson], database: &str) -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    for privilege in privileges.iter().filter_map(Bson::as_document) {
        let Ok(resource) = privilege.get_document("resource") else {
            continue;
        };
        let is = |field: &str, names: &[&str]| {
            resource
                .get_str(field)
                .is_ok_and(|name| names.contains(&name))
        };
        let covers = resource.get_bool("anyResource").unwrap_or(false)
            || is("db", &["", database]) && is("collection", &[""]);
        if covers && let Ok(actions) = privilege.get_array("actions") {
            held.extend(
                actions
                    .iter()
                    .filter_map(|action| Some(action.as_str()?.to_owned())),
            );
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_covers_the_whole_database_is_held() {
        let privilege = |resource: Document, action: &str| {
            Bson::from(doc! { "resource": resource, "actions": [action] })
        };
        let privileges = [
            privilege(doc! { "db": "sessions", "collection": "" }, "find"),
            privilege(doc! { "db": "", "collection": "" }, "insert"),
            privilege(doc! { "anyResource": true }, "remove"),
            privilege(doc! { "db": "other", "collection": "" }, "update"),
            privilege(doc! { "db": "sessions", "collection": "users" }, "update"),
            privilege(doc! { "cluster": true }, "killAnySession"),
        ];
        let held = held(&privileges, "sessions");
        let expected = ["find", "insert", "remove"].map(str::to_owned);
        assert_eq!(held, expected.into());
    }
}
