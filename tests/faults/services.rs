//! The real parts of all rows, started with the first row that needs them and ended with the process.
//! Rows run one after another, so each may stop, freeze and damage them.

use std::sync::LazyLock;

use dev::{FailPoints, Mongo, Options, Progress, Protection, Services, Source};

use crate::database;

static PLAIN: LazyLock<Services> = LazyLock::new(|| {
    started(Options {
        fail_points: FailPoints::On,
        progress: Progress::Full,
        source: Source::Own,
        ..Options::default()
    })
});

/// A broker that asks who is there.
static PROTECTED: LazyLock<Services> = LazyLock::new(|| {
    started(Options {
        kafka: true,
        protection: Protection::Full,
        ..Options::none()
    })
});

/// A thread and a runtime of their own: the parts outlive the runtime of the test that asks first.
fn started(options: Options) -> Services {
    let start = move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime to start parts on");
        runtime.block_on(Services::start(options))
    };
    let started = std::thread::spawn(start).join();
    match started.expect("starting does not panic") {
        Ok(services) => services,
        Err(error) => panic!("the real parts cannot be started: {error}"),
    }
}

/// Kafka, one database and a registry, whose user may do everything.
pub(crate) fn plain() -> &'static Services {
    &PLAIN
}

/// The broker with ACLs.
pub(crate) fn protected() -> &'static Services {
    &PROTECTED
}

/// Ends what a row that failed has left behind in the plain parts, for the rows after it.
pub(crate) async fn recover() {
    plain().member(0).thaw().await;
    plain().registry_process().thaw().await;
    if plain().broker().exit_code().is_some() {
        plain().broker().restart().await.expect("it starts again");
    }
    database::recover().await;
}

/// A replica set of three for one row.
pub(crate) async fn three_members() -> Services {
    let options = Options {
        mongo: Mongo::Three,
        source: Source::Own,
        ..Options::none()
    };
    Services::start(options).await.expect("three members")
}

pub(crate) fn kafka() -> String {
    plain().kafka().to_owned()
}

pub(crate) fn mongo_uri() -> String {
    plain().mongo_uri().to_owned()
}

pub(crate) fn registry_url() -> String {
    plain().registry_url().to_owned()
}
