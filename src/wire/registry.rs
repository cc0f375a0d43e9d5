//! The schema registry over its Confluent-compatible HTTP API. Knows subjects, ids and texts, not what
//! they mean. A schema counts as found if any URL has it. It counts as missing only if every URL
//! reports so, repeatedly, for some seconds ([`Confirmation`]). Everything else is a fault, and the
//! registry is asked again after a pause that grows.

mod connection;
mod equality;
mod fault;
mod lookups;
mod node;
mod references;
mod release;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{LookupError, SchemaSource};
use fault::Fault;
use lookups::Lookups;
use node::{ChangeError, Node};

pub use connection::{
    Connection, ConnectionError, Credentials, check_authorities, check_identity, check_token,
    check_url, check_username,
};
pub use release::{Registered, SubjectCheck};

/// A request to the registry failed. The text ends with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The registry or the way to it fails, or it refuses our credentials.
    #[error("the schema registry cannot be asked: {reason}")]
    Unavailable {
        /// What went wrong at each URL, and what to do.
        reason: String,
    },
    /// The registry says no: trying again cannot help.
    #[error("the schema registry refuses: {reason}")]
    Refused {
        /// What the registry said.
        reason: String,
    },
    /// The settings cannot be used.
    #[error("registry.urls or the certificates of registry.* cannot be used: {0}")]
    Connection(#[from] ConnectionError),
}

/// When a miss is final: after `rounds` rounds in a row in which every URL reported it, with at least
/// `over` between the first and the last.
#[derive(Clone, Copy, Debug)]
pub struct Confirmation {
    rounds: usize,
    over: Duration,
    /// The pause after the first round; each further pause is twice as long.
    pause: Duration,
}

impl Confirmation {
    /// For a worker. There a miss becomes a dead letter, and a registry's nodes may lag.
    pub const WORKER: Self = Self {
        rounds: 3,
        over: Duration::from_secs(5),
        pause: Duration::from_millis(500),
    };
    /// For commands that a person runs and can repeat.
    pub const INTERACTIVE: Self = Self {
        rounds: 1,
        over: Duration::ZERO,
        pause: Duration::ZERO,
    };

    /// As for a worker, but shorter.
    #[cfg(test)]
    pub(super) fn short(over: Duration) -> Self {
        Self {
            over,
            pause: over / 8,
            ..Self::WORKER
        }
    }
}

/// A client of the schema registry.
///
/// An id is looked up in its subject's list of versions, not by `/schemas/ids`. The list says whether
/// the id belongs to the subject, works the same on every registry, handles ids outside of a registry's
/// own range, and takes one request for any number of unknown ids in a batch.
pub struct Registry {
    nodes: Nodes,
    confirmation: Confirmation,
    subjects: Mutex<HashMap<String, Arc<Lookups>>>,
}

impl Registry {
    /// A client that tries the URLs of `connection` in order on every call.
    ///
    /// # Errors
    /// [`RegistryError::Connection`]: a URL or certificate cannot be used.
    pub fn new(connection: &Connection, confirmation: Confirmation) -> Result<Self, RegistryError> {
        let nodes = connection.urls.iter().map(|url| Node::new(url, connection));
        let nodes: Vec<Node> = nodes.collect::<Result<_, _>>()?;
        if nodes.is_empty() {
            return Err(ConnectionError::NoUrl.into());
        }
        Ok(Self {
            nodes: Nodes(nodes),
            confirmation,
            subjects: Mutex::default(),
        })
    }

    /// What is wrong with each URL that does not answer about `subject`, and what to do.
    pub async fn faulty_urls(&self, subject: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for node in &self.nodes.0 {
            if let Err(fault) = node.versions(subject, true).await {
                faults.push(fault::reason(&[fault]));
            }
        }
        faults
    }

    fn lookups(&self, subject: &str) -> Arc<Lookups> {
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        match subjects.get(subject) {
            Some(lookups) => Arc::clone(lookups),
            None => {
                let lookups = Arc::new(Lookups::new(subject, self.nodes.0.len()));
                subjects.insert(subject.to_owned(), Arc::clone(&lookups));
                lookups
            }
        }
    }
}

impl SchemaSource for Registry {
    fn writer_schema<'a>(
        &'a self,
        subject: &'a str,
        id: u32,
    ) -> BoxFuture<'a, Result<Arc<str>, LookupError>> {
        async move {
            let lookups = self.lookups(subject);
            lookups.find(&self.nodes, id, None, self.confirmation).await
        }
        .boxed()
    }

    fn recheck<'a>(
        &'a self,
        subject: &'a str,
        id: u32,
        rejected: &'a Arc<str>,
    ) -> BoxFuture<'a, Result<Arc<str>, LookupError>> {
        async move {
            let lookups = self.lookups(subject);
            let _recheck = lookups.reject(id, rejected);
            lookups
                .find(&self.nodes, id, Some(rejected), self.confirmation)
                .await
        }
        .boxed()
    }
}

impl From<RegistryError> for LookupError {
    /// A look-up that the registry refuses is a fault: an operator can change that.
    fn from(error: RegistryError) -> Self {
        Self::Unavailable {
            reason: match error {
                RegistryError::Unavailable { reason } | RegistryError::Refused { reason } => reason,
                RegistryError::Connection(error) => error.to_string(),
            },
        }
    }
}

/// Which URLs have to report that something is missing.
#[derive(Clone, Copy, Debug)]
enum Agreement {
    /// Every URL.
    AllUrls,
    /// One URL is enough, because what follows is safe to repeat.
    AnyUrl,
}

/// The URLs, in order.
struct Nodes(Vec<Node>);

impl Nodes {
    /// Asks the URLs in order until one has it. `None` if the URLs that `agreement` names report that
    /// it is missing.
    async fn find<T>(
        &self,
        agreement: Agreement,
        ask: impl AsyncFn(&Node) -> Result<Option<T>, Fault>,
    ) -> Result<Option<T>, RegistryError> {
        let mut faults = Vec::new();
        for node in &self.0 {
            match ask(node).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        let missing = match agreement {
            Agreement::AllUrls => faults.is_empty(),
            Agreement::AnyUrl => faults.len() < self.0.len(),
        };
        if missing {
            Ok(None)
        } else {
            Err(unavailable(&faults))
        }
    }

    /// Asks the URLs in order until one answers. A refusal is an answer, too.
    async fn first<T>(
        &self,
        ask: impl AsyncFn(&Node) -> Result<T, ChangeError>,
    ) -> Result<T, RegistryError> {
        let mut faults = Vec::new();
        for node in &self.0 {
            match ask(node).await {
                Ok(done) => return Ok(done),
                Err(ChangeError::Refused(reason)) => return Err(RegistryError::Refused { reason }),
                Err(ChangeError::Fault(fault)) => faults.push(fault),
            }
        }
        Err(unavailable(&faults))
    }
}

fn unavailable(faults: &[Fault]) -> RegistryError {
    RegistryError::Unavailable {
        reason: fault::reason(faults),
    }
}
