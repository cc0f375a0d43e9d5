//! The store in MongoDB: a replica set's primary, majority, one transaction per batch. It knows no
//! Kafka and no Avro. Every call has a limit of time, and every error says what is certain.

mod checks;
mod client;
mod clock;
mod connect;
mod cursor_key;
mod deadlines;
mod diagnosis;
pub(crate) mod documents;
mod failure;
mod fence;
mod indexes;
pub mod inspect;
mod jobs;
mod lane;
mod lenient;
mod load;
mod privileges;
mod reader;
mod retention;
mod snapshot;
mod statement;
pub mod trace;
mod transaction;
mod views;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mongodb::{Client, ClientSession, Database};

pub use checks::{Finding, Severity, check};
pub use client::{Options, Timeouts};
pub use clock::MongoClock;
pub use connect::ConnectError;
pub use diagnosis::{HostReport, HostState, Role};
pub use documents::{Named, name};
pub use lane::MongoLane;
pub use privileges::PRIVILEGES;
pub use retention::Forgot;
pub use views::MongoViews;

use crate::record::TopicPartition;

/// The database.
#[derive(Clone, Debug)]
pub struct MongoStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    database: Database,
    timeouts: Timeouts,
    clock: Arc<MongoClock>,
    undated: deadlines::Undated,
    /// The digest of the rules that this process follows.
    rules: OnceLock<String>,
    /// Whether a lane's last owner followed other rules.
    rules_differed: AtomicBool,
    /// The server sessions of dropped handles, for the same lane's next handle. They never go back to
    /// the driver's pool: a lane's document names its owner's session, and the next owner may kill it,
    /// so no other operation may use it.
    idle_sessions: Mutex<HashMap<TopicPartition, ClientSession>>,
}

impl MongoStore {
    /// Connects with the defaults of [`Options`].
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(uri: &str, database: &str) -> Result<Self, ConnectError> {
        Self::connect_with(uri, database, &Options::default()).await
    }

    /// Connects to the database called `database`, whose primary must answer, and refuses a
    /// standalone server. Makes no collections; see [`MongoStore::ensure_indexes`].
    ///
    /// # Errors
    /// See [`ConnectError`]: only what is final there cannot be cured by trying again.
    pub async fn connect_with(
        uri: &str,
        database: &str,
        options: &Options,
    ) -> Result<Self, ConnectError> {
        let timeouts = options.timeouts;
        let settings = client::parse(uri, options).await?;
        let client = client::with(uri, settings.clone())?;
        let hello = client::hello(&client, timeouts.call).await;
        let clock = match hello {
            Ok(hello) if !client::has_transactions(&hello) => Err(ConnectError::Standalone),
            Ok(_) => MongoClock::start(client.clone(), timeouts.call)
                .await
                .map_err(|failure| ConnectError::Unreachable {
                    reason: failure.reason(),
                    hosts: Vec::new(),
                }),
            Err(failure) => Err(connect::diagnose(uri, &settings, &failure, &timeouts).await),
        };
        let clock = match clock {
            Ok(clock) => clock,
            Err(error) => {
                drop(tokio::spawn(
                    client.shutdown().immediate(true).into_future(),
                ));
                return Err(error);
            }
        };
        let database = client::database(&client, database);
        let idle_sessions = Mutex::default();
        let clock = Arc::new(clock);
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                database,
                timeouts,
                clock,
                undated: deadlines::Undated::default(),
                rules: OnceLock::new(),
                rules_differed: AtomicBool::new(false),
                idle_sessions,
            }),
        })
    }

    /// Writes `digest` into every lane that is taken, and compares it with that of the last owner: what
    /// a session's rules are must not depend on which worker has its lane. The first digest stays.
    #[must_use]
    pub fn with_rules_digest(self, digest: String) -> Self {
        let _ = self.inner.rules.set(digest);
        self
    }

    /// Whether a lane's last owner followed other rules than this process, as far as was seen.
    pub fn rules_differed(&self) -> bool {
        self.inner.rules_differed.load(Ordering::Relaxed)
    }

    /// Makes the collections and indexes that are missing (contract 4); does nothing where they are.
    ///
    /// # Errors
    /// [`ConnectError::ForeignIndex`] where one is there with other keys or options.
    pub async fn ensure_indexes(&self) -> Result<(), ConnectError> {
        indexes::ensure(&self.inner.database, &self.inner.timeouts).await
    }

    /// The database's clock, refreshed by the process's jobs.
    pub fn clock(&self) -> Arc<MongoClock> {
        Arc::clone(&self.inner.clock)
    }

    /// Ends the connections, at once; handles of this store are of no use after it.
    pub async fn close(self) {
        self.inner
            .idle_sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let shutdown = self.inner.client.clone().shutdown().immediate(true);
        let _ = tokio::time::timeout(self.inner.timeouts.cleanup, shutdown.into_future()).await;
    }

    /// The database itself, for read-only views.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }
}

impl Inner {
    fn take_session(&self, lane: &TopicPartition) -> Option<ClientSession> {
        self.idle_sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(lane)
    }

    fn keep_session(&self, lane: TopicPartition, session: ClientSession) {
        self.idle_sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(lane, session);
    }
}
