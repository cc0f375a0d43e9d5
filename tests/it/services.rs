//! Where the real parts are: started once for the whole binary, ended with it. One place, so that tests
//! do not care who started them. Their guards end them when this process is gone, however it goes.

use std::sync::LazyLock;

use dev::{FailPoints, Options, Progress, Services};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Fail points and step-downs concern the whole server.
static QUIET: RwLock<()> = RwLock::const_new(());

static SERVICES: LazyLock<Services> = LazyLock::new(|| {
    // A thread and a runtime of their own: the services outlive the runtime of the test that asks first.
    let start = || {
        let options = Options {
            fail_points: FailPoints::On,
            progress: Progress::Full,
            ..Options::default()
        };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime to start services on");
        runtime.block_on(Services::start(options))
    };
    match std::thread::spawn(start)
        .join()
        .expect("starting does not panic")
    {
        Ok(services) => services,
        Err(error) => panic!("the real parts cannot be started: {error}"),
    }
});

/// The replica set's URI; its server allows fail points.
pub(crate) fn mongo_uri() -> String {
    SERVICES.mongo_uri().to_owned()
}

/// The broker's address.
pub(crate) fn kafka() -> String {
    SERVICES.kafka().to_owned()
}

/// The registry's base URL.
pub(crate) fn registry_url() -> String {
    SERVICES.registry_url().to_owned()
}

/// Deletes the records of a partition before an offset, as retention does.
pub(crate) async fn delete_records(topic: &str, partition: i32, before: i64) {
    SERVICES
        .delete_records(topic, partition, before)
        .await
        .expect("the broker deletes them");
}

/// Holds off tests that disturb the servers.
pub(crate) async fn undisturbed() -> RwLockReadGuard<'static, ()> {
    QUIET.read().await
}

/// Holds off all other tests, to disturb the servers.
pub(crate) async fn disturbing() -> RwLockWriteGuard<'static, ()> {
    QUIET.write().await
}
