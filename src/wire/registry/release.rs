//! What `schemas check`, `schemas register` and the start-up need: whether our schemas are registered
//! under their subjects and levels, and how to register them. We register the text of the `.avsc` as it
//! is; a version that is already there may be spelled differently. Other processes may register at the
//! same time, so after a refusal everything is looked up again.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::fault::Fault;
use super::node::Node;
use super::{Agreement, Registry, RegistryError, equality, lookups};
use crate::wire::{Level, LookupError, OutputIds, Subject};

/// How many versions are fetched at once.
const CONCURRENT: usize = 8;
/// How often a change is tried that the registry refuses: another process may be making the same.
const ATTEMPTS: u32 = 6;
/// The pause before the second attempt; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(100);

/// How a subject stands at the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectCheck {
    /// The subject's name.
    pub subject: String,
    /// The id of our schema; `None`: not registered.
    pub id: Option<u32>,
    /// The level set for the subject; `None`: the registry's default.
    pub level: Option<String>,
    /// The level it should have.
    pub wanted: Level,
    /// Why our schema cannot be registered; empty where it is or can be.
    pub incompatibilities: Vec<String>,
}

impl SubjectCheck {
    /// Whether nothing needs to be done: our schema is registered, under the level it should have.
    pub fn is_settled(&self) -> bool {
        self.id.is_some() && self.level.as_deref() == Some(self.wanted.as_str())
    }
}

/// A subject that holds our schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The subject's name.
    pub subject: String,
    /// The id of our schema.
    pub id: u32,
}

impl Registry {
    /// The id of the schema `text` under `subject`, in any spelling. Changes nothing.
    ///
    /// # Errors
    /// [`LookupError::NotFound`] for a confirmed miss, else [`LookupError::Unavailable`].
    pub async fn lookup(&self, subject: &str, text: &str) -> Result<u32, LookupError> {
        let began = Instant::now();
        let mut pause = self.confirmation.pause;
        for round in 1.. {
            let asked = Instant::now();
            if let Some(id) = self.id_of(subject, text, Agreement::AllUrls).await? {
                return Ok(id);
            }
            if round >= self.confirmation.rounds && asked - began >= self.confirmation.over {
                break;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(LookupError::NotFound)
    }

    async fn id_of(
        &self,
        subject: &str,
        text: &str,
        agreement: Agreement,
    ) -> Result<Option<u32>, RegistryError> {
        let ask = async |node: &Node| id_at(node, subject, text).await;
        let id = self.nodes.find(agreement, ask).await?;
        if let Some(id) = id {
            self.lookups(subject).own(id);
        }
        Ok(id)
    }

    /// Registers `text` under `subject` and returns its id. If the schema is already there, in any
    /// spelling, it returns that id.
    ///
    /// # Errors
    /// [`RegistryError::Refused`]: incompatible with what is there, or no schema.
    pub async fn register(&self, subject: &str, text: &str) -> Result<u32, RegistryError> {
        let mut attempts = Attempts::default();
        loop {
            if let Some(id) = self.id_of(subject, text, Agreement::AnyUrl).await? {
                return Ok(id);
            }
            let register = async |node: &Node| node.register(subject, text).await;
            match self.nodes.first(register).await {
                Err(RegistryError::Refused { .. }) if attempts.pause().await => {}
                Err(error) => return Err(error),
                Ok(id) => {
                    self.lookups(subject).own(id);
                    return Ok(id);
                }
            }
        }
    }

    /// Why `text` cannot be registered under `subject` at its level; empty where it can.
    ///
    /// # Errors
    /// [`RegistryError`] where the registry does not say.
    pub async fn compatibility(
        &self,
        subject: &str,
        text: &str,
    ) -> Result<Vec<String>, RegistryError> {
        let ask = async |node: &Node| node.incompatibilities(subject, text).await;
        self.nodes.first(ask).await
    }

    /// Sets the level of `subject`.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] where the registry wants the subject to exist first.
    pub async fn set_compatibility(
        &self,
        subject: &str,
        level: Level,
    ) -> Result<(), RegistryError> {
        if self.set_level(subject, level).await? {
            Ok(())
        } else {
            Err(RegistryError::Refused {
                reason: format!("there is no subject {subject}"),
            })
        }
    }

    /// Sets the level unless it is set; `false` if the registry needs the subject to exist first.
    async fn set_level(&self, subject: &str, level: Level) -> Result<bool, RegistryError> {
        let mut attempts = Attempts::default();
        loop {
            if self.level(subject).await?.as_deref() == Some(level.as_str()) {
                return Ok(true);
            }
            let set = async |node: &Node| node.set_level(subject, level.as_str()).await;
            match self.nodes.first(set).await {
                Err(RegistryError::Refused { .. }) if attempts.pause().await => {}
                outcome => return outcome,
            }
        }
    }

    async fn level(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        let level = async |node: &Node| Ok(node.level(subject).await?);
        self.nodes.first(level).await
    }

    /// How each of `subjects` stands. Changes nothing.
    ///
    /// # Errors
    /// [`RegistryError`] where the registry does not say.
    pub async fn check_all(
        &self,
        subjects: &[Subject],
    ) -> Result<Vec<SubjectCheck>, RegistryError> {
        let mut checks = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let id = self
                .id_of(&subject.name, subject.text, Agreement::AllUrls)
                .await?;
            let incompatibilities = match id {
                Some(_) => Vec::new(),
                None => self.compatibility(&subject.name, subject.text).await?,
            };
            checks.push(SubjectCheck {
                subject: subject.name.clone(),
                id,
                level: self.level(&subject.name).await?,
                wanted: subject.level,
                incompatibilities,
            });
        }
        Ok(checks)
    }

    /// Registers each of `subjects` under its level. The level comes first where the subject exists,
    /// so that a schema that breaks it is refused.
    ///
    /// # Errors
    /// [`RegistryError`] of the first that fails; those before it stay registered, and registering
    /// all again is safe.
    pub async fn register_all(
        &self,
        subjects: &[Subject],
    ) -> Result<Vec<Registered>, RegistryError> {
        let mut registered = Vec::with_capacity(subjects.len());
        for Subject { name, text, level } in subjects {
            let levelled = self.set_level(name, *level).await?;
            let id = self.register(name, text).await?;
            if !levelled {
                self.set_compatibility(name, *level).await?;
            }
            registered.push(Registered {
                subject: name.clone(),
                id,
            });
        }
        Ok(registered)
    }

    /// The ids this worker writes with, of `subjects` as [`crate::wire::subjects`] lists them.
    ///
    /// # Errors
    /// [`LookupError::NotFound`] where one is not registered, else [`LookupError::Unavailable`].
    pub async fn output_ids(&self, subjects: &[Subject; 4]) -> Result<OutputIds, LookupError> {
        let [found, command, event, result] = subjects;
        let ids = OutputIds {
            event: self.lookup(&event.name, event.text).await?,
            result: self.lookup(&result.name, result.text).await?,
            command: self.lookup(&command.name, command.text).await?,
        };
        // The worker does not write matches. This id only helps to detect URLs that are out of date, so
        // a failure has no consequence.
        let _ = self.id_of(&found.name, found.text, Agreement::AnyUrl).await;
        Ok(ids)
    }
}

/// The id of the schema `text` at `node`: as the registry finds it, else of the first version that is
/// equal.
async fn id_at(node: &Node, subject: &str, text: &str) -> Result<Option<u32>, Fault> {
    if let Some(id) = node.id_of(subject, text).await? {
        return Ok(Some(id));
    }
    let versions = node.versions(subject, false).await?;
    let schemas = stream::iter(versions).map(|version| lookups::fetch(node, subject, version));
    let same = schemas.buffered(CONCURRENT).try_filter_map(async |schema| {
        Ok(schema.filter(|(_, theirs)| equality::is_same(theirs, text)))
    });
    let first = std::pin::pin!(same).try_next().await?;
    Ok(first.map(|(id, _)| id))
}

/// Attempts at a change that another process may make at the same time.
#[derive(Default)]
struct Attempts(u32);

impl Attempts {
    /// Waits before the next attempt; `false` if there is none left.
    async fn pause(&mut self) -> bool {
        if self.0 + 1 >= ATTEMPTS {
            return false;
        }
        tokio::time::sleep(PAUSE * 2_u32.pow(self.0)).await;
        self.0 += 1;
        true
    }
}
