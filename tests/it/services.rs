//! Where the real parts are: started once for the whole binary, ended with it. One place, so that tests
//! do not care who started them.

use dev::{FailPoints, Options, Services};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Fail points and step-downs concern the whole server.
static QUIET: RwLock<()> = RwLock::const_new(());

static SERVICES: OnceCell<Services> = OnceCell::const_new();

/// The broker, the replica set (its server allows fail points) and the registry that all tests share.
/// The guards of the services end them when this process is gone, however it goes.
pub(crate) async fn shared() -> &'static Services {
    SERVICES
        .get_or_init(|| async {
            let options = Options {
                fail_points: FailPoints::On,
                ..Options::default()
            };
            match Services::start(options).await {
                Ok(services) => services,
                Err(error) => panic!("the real parts cannot be started: {error}"),
            }
        })
        .await
}

/// The replica set's URI; its server allows fail points.
pub(crate) async fn mongo_uri() -> String {
    shared().await.mongo_uri().to_owned()
}

/// The broker's address.
pub(crate) async fn kafka() -> String {
    shared().await.kafka().to_owned()
}

/// The registry's base URL.
pub(crate) async fn registry_url() -> String {
    shared().await.registry_url().to_owned()
}

/// Holds off tests that disturb the servers.
pub(crate) async fn undisturbed() -> RwLockReadGuard<'static, ()> {
    QUIET.read().await
}

/// Holds off all other tests, to disturb the servers.
pub(crate) async fn disturbing() -> RwLockWriteGuard<'static, ()> {
    QUIET.write().await
}
