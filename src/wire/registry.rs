//! The schema registry over its Confluent-compatible HTTP API. Knows subjects, ids and texts, not what
//! they mean. Nothing it is told about a fault is remembered: whatever is not a clear yes or no is
//! [`LookupError::Unavailable`], and the next call asks again.

mod client;
mod release;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use super::{LookupError, SchemaSource};
use crate::telemetry::names;
use client::Client;

pub use release::{Registered, SubjectCheck};

/// How many versions of a subject are fetched at once.
const CONCURRENT: usize = 8;
/// How often known versions are fetched anew when an id is not among them: a subject that was
/// deleted for good and made again counts its versions from 1.
const REFETCH: Duration = Duration::from_secs(30);

/// A registry could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The registry or the way to it fails.
    #[error("the schema registry is unavailable: {reason}")]
    Unavailable {
        /// What the client said.
        reason: String,
    },
    /// The registry says no: trying again cannot help.
    #[error("the schema registry refuses: {reason}")]
    Refused {
        /// What the registry said.
        reason: String,
    },
}

/// A client of the schema registry.
///
/// An id is looked up in its subject's list of versions, not by itself: that says at once whether the
/// id belongs to the subject, works alike on every registry, answers ids beyond a registry's own
/// range, and takes one call for however many unknown ids a batch of records holds.
pub struct Registry {
    client: Client,
    subjects: std::sync::Mutex<HashMap<String, Arc<Mutex<Versions>>>>,
}

/// What a subject's list of versions held.
#[derive(Default)]
struct Versions {
    fetched: HashSet<u32>,
    texts: HashMap<u32, Arc<str>>,
    /// When the last listing began, and what it came to.
    listed: Option<(Instant, Result<(), LookupError>)>,
    refetched: Option<Instant>,
}

impl Registry {
    /// A client that tries `urls` in order on every call, each the base of the API
    /// (`http://host:8081`; credentials may stand in it).
    ///
    /// # Errors
    /// [`RegistryError::Refused`]: no URL, or one that is none.
    pub fn new(urls: &[String]) -> Result<Self, RegistryError> {
        Ok(Self {
            client: Client::new(urls)?,
            subjects: std::sync::Mutex::default(),
        })
    }

    fn versions(&self, subject: &str) -> Arc<Mutex<Versions>> {
        let mut subjects = self
            .subjects
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match subjects.get(subject) {
            Some(versions) => versions.clone(),
            None => subjects.entry(subject.to_owned()).or_default().clone(),
        }
    }

    async fn writer_schema(&self, subject: &str, id: u32) -> Result<Arc<str>, LookupError> {
        let asked = Instant::now();
        let versions = self.versions(subject);
        let mut versions = versions.lock().await;
        if let Some(text) = versions.texts.get(&id) {
            return Ok(text.clone());
        }
        // A listing that began after this question answers it, too, be it by failing: whoever waited
        // for the lock while another asked needs no call of its own, and no timeout of its own. An
        // older one does not: the schema may be newer.
        let answered = versions
            .listed
            .as_ref()
            .filter(|(began, _)| *began >= asked);
        let outcome = match answered {
            Some((_, outcome)) => outcome.clone(),
            None => {
                let began = Instant::now();
                let outcome = self.list(subject, &mut versions).await;
                let answer = if outcome.is_ok() {
                    "answered"
                } else {
                    "failed"
                };
                metrics::counter!(names::REGISTRY_LOOKUPS, "outcome" => answer).increment(1);
                versions.listed = Some((began, outcome.clone()));
                outcome
            }
        };
        outcome?;
        versions
            .texts
            .get(&id)
            .cloned()
            .ok_or(LookupError::NotFound)
    }

    async fn list(&self, subject: &str, versions: &mut Versions) -> Result<(), LookupError> {
        let listed = self.client.versions(subject).await?;
        let refetch = versions.refetched.is_none_or(|at| at.elapsed() >= REFETCH);
        let new = listed
            .into_iter()
            .filter(|version| refetch || !versions.fetched.contains(version));
        let new: Vec<u32> = new.collect();
        let fetched: Vec<_> = stream::iter(new)
            .map(|version| async move {
                let schema = self.client.version(subject, version).await?;
                Ok::<_, LookupError>((version, schema))
            })
            .buffer_unordered(CONCURRENT)
            .try_collect()
            .await?;
        for (version, schema) in fetched {
            // A version may be deleted for good between the list and the look at it.
            if let Some(schema) = schema {
                versions.fetched.insert(version);
                versions.texts.insert(schema.id, schema.text.into());
            }
        }
        if refetch {
            versions.refetched = Some(Instant::now());
        }
        Ok(())
    }
}

impl SchemaSource for Registry {
    fn writer_schema<'a>(
        &'a self,
        subject: &'a str,
        id: u32,
    ) -> BoxFuture<'a, Result<Arc<str>, LookupError>> {
        Registry::writer_schema(self, subject, id).boxed()
    }
}

impl From<RegistryError> for LookupError {
    /// A registry that refuses a look-up (no access, for one) is as good as none: an operator can
    /// change that.
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Unavailable { reason } | RegistryError::Refused { reason } => {
                Self::Unavailable { reason }
            }
        }
    }
}
