//! Where the real parts are. One place, so that tests do not care who started them.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Fail points and step-downs concern the whole server.
static QUIET: RwLock<()> = RwLock::const_new(());

/// The replica set's URI; its server allows fail points.
#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
pub(crate) fn mongo_uri() -> String {
    std::env::var("SESSION_WORKER_TEST_MONGO_URI").expect("a MongoDB replica set to test on")
}

/// The broker's address.
pub(crate) fn kafka() -> String {
    std::env::var("SESSION_WORKER_TEST_KAFKA").expect("a Kafka broker to test on")
}

/// The registry's base URL.
pub(crate) fn registry_url() -> String {
    std::env::var("SESSION_WORKER_TEST_REGISTRY").expect("a schema registry to test on")
}

/// Holds off tests that disturb the servers.
pub(crate) async fn undisturbed() -> RwLockReadGuard<'static, ()> {
    QUIET.read().await
}

/// Holds off all other tests, to disturb the servers.
pub(crate) async fn disturbing() -> RwLockWriteGuard<'static, ()> {
    QUIET.write().await
}
