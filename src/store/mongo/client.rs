//! The only way to the database: explicit concerns, a pool for the lanes, and a limit of time on
//! every call, because the driver has none on its sockets (a frozen primary cost 14 s).

use std::future::IntoFuture;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{
    ClientOptions, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Database};

use super::connect::{ConnectError, uri_reason};
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

/// What `uri` says, with the store's defaults; no server is asked for anything yet, but those that say
/// which hosts a name stands for.
pub(crate) async fn parse(uri: &str, options: &Options) -> Result<ClientOptions, ConnectError> {
    let parse = bounded(options.timeouts.call, ClientOptions::parse(uri));
    let mut settings = parse.await.map_err(|failure| unusable(uri, &failure))?;
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
    Ok(settings)
}

/// A client for `settings`, which are those of `uri`.
pub(crate) fn with(uri: &str, settings: ClientOptions) -> Result<Client, ConnectError> {
    Client::with_options(settings).map_err(|error| unusable(uri, &error.into()))
}

/// Opens a client for `uri`; no server is asked for anything yet.
pub(crate) async fn open(uri: &str, options: &Options) -> Result<Client, ConnectError> {
    with(uri, parse(uri, options).await?)
}

/// A URI that cannot be used, or one whose hosts cannot be looked up now.
fn unusable(uri: &str, failure: &Failure) -> ConnectError {
    let is_lookup = match failure {
        Failure::Driver(error) => matches!(&*error.kind, ErrorKind::DnsResolve { .. }),
        failure => matches!(failure, Failure::Timeout(_)),
    };
    let reason = uri_reason(uri, &failure.reason());
    if is_lookup {
        let hosts = Vec::new();
        return ConnectError::Unreachable { reason, hosts };
    }
    ConnectError::Uri { reason }
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

/// Waits for `call`, but not forever.
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
