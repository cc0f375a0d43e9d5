//! The one way to the database: explicit concerns, a pool for the lanes, and a limit of time on
//! every call, because the driver has none on its sockets (a frozen primary cost 14 s).

use std::future::IntoFuture;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::options::{
    ClientOptions, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Database};

use super::failure::Failure;

/// How long the store waits for the database before it acts on silence.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For one statement, one read, or the choice of a server.
    pub call: Duration,
    /// For one attempt at a commit, before it is asked again.
    pub commit_attempt: Duration,
    /// For all attempts at one commit, before its outcome is called unknown.
    pub commit: Duration,
    /// For ending what went wrong: aborting, killing sessions.
    pub cleanup: Duration,
    /// For taking a lane, all attempts together.
    pub fence: Duration,
    /// How long the first attempt at raising an epoch waits for a lock before the previous owner's
    /// session is killed; doubles with every attempt.
    pub lock: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(5),
            commit_attempt: Duration::from_secs(2),
            commit: Duration::from_secs(5),
            cleanup: Duration::from_secs(1),
            fence: Duration::from_secs(10),
            lock: Duration::from_millis(200),
        }
    }
}

/// How to connect; what the URI says itself takes precedence.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most connections: two a lane and some for reads.
    pub max_pool_size: u32,
    /// Connections kept warm.
    pub min_pool_size: u32,
    /// What the server's log and current operations call this client.
    pub app_name: String,
    /// When silence becomes a failure.
    pub timeouts: Timeouts,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_pool_size: 64,
            min_pool_size: 8,
            app_name: "session-worker".to_owned(),
            timeouts: Timeouts::default(),
        }
    }
}

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URI or one of its options.
    #[error("mongo.uri is not usable: {reason}")]
    Uri {
        /// What the driver said.
        reason: String,
    },
    /// Nobody who takes writes answers.
    #[error("no primary of MongoDB answers: {reason}")]
    Unreachable {
        /// What the driver said.
        reason: String,
    },
    /// A single server without a replica set has no transactions.
    #[error(
        "MongoDB is a standalone server, and the worker needs transactions: start mongod with \
         --replSet <name>, run rs.initiate() once, and add replicaSet=<name> to mongo.uri"
    )]
    Standalone,
    /// An index of this name or these keys exists with other options.
    #[error(
        "the index {index} of {collection} exists with other keys or options than the worker \
         needs: drop it and start again"
    )]
    ForeignIndex {
        /// Of which collection.
        collection: &'static str,
        /// Its name.
        index: &'static str,
    },
}

/// Opens a client for `uri`; no server is asked for anything yet.
pub(crate) async fn open(uri: &str, options: &Options) -> Result<Client, ConnectError> {
    let unusable = |error: mongodb::error::Error| ConnectError::Uri {
        reason: Failure::from(error).reason(),
    };
    let parse = bounded(options.timeouts.call, ClientOptions::parse(uri));
    let mut settings = parse.await.map_err(|failure| ConnectError::Uri {
        reason: failure.reason(),
    })?;
    settings
        .app_name
        .get_or_insert_with(|| options.app_name.clone());
    settings.max_pool_size.get_or_insert(options.max_pool_size);
    settings
        .min_pool_size
        .get_or_insert(options.min_pool_size.min(options.max_pool_size));
    settings.max_connecting.get_or_insert(8);
    settings
        .connect_timeout
        .get_or_insert(Duration::from_secs(2));
    settings
        .server_selection_timeout
        .get_or_insert(Duration::from_secs(3));
    settings
        .heartbeat_freq
        .get_or_insert(Duration::from_secs(1));
    Client::with_options(settings).map_err(unusable)
}

/// The database, with the concerns that every guarantee rests on.
pub(crate) fn database(client: &Client, name: &str) -> Database {
    let options = DatabaseOptions::builder()
        .read_concern(ReadConcern::majority())
        .write_concern(WriteConcern::majority())
        .selection_criteria(primary())
        .build();
    client.database_with_options(name, options)
}

/// The only server whose answers count.
pub(crate) fn primary() -> SelectionCriteria {
    SelectionCriteria::ReadPreference(ReadPreference::Primary)
}

/// Asks the primary who it is.
pub(crate) async fn hello(client: &Client, limit: Duration) -> Result<Document, Failure> {
    let admin = client.database("admin");
    let ask = admin
        .run_command(doc! { "hello": 1 })
        .selection_criteria(primary());
    bounded(limit, ask).await
}

/// Waits for `call`, but not for ever.
pub(crate) async fn bounded<T>(
    limit: Duration,
    call: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, call.into_future()).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(Failure::Timeout(limit)),
    }
}

/// Whether who said `hello` is a member of a replica set or a router to shards.
pub(crate) fn has_transactions(hello: &Document) -> bool {
    hello.contains_key("setName")
        || hello
            .get_str("msg")
            .is_ok_and(|message| message == "isdbgrid")
}
