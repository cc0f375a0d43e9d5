//! What `schemas check`, `schemas register` and the start-up ask of the registry: whether our schemas
//! are there under their subjects and levels, and to put them there. Always the raw text of the
//! `.avsc`: a registry compares texts.

use super::{Registry, RegistryError};
use crate::wire::{Level, LookupError, OutputIds, Subject};

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
    /// The id of `text` under `subject`. Changes nothing.
    ///
    /// # Errors
    /// [`LookupError::NotFound`] where it is not registered, else [`LookupError::Unavailable`].
    pub async fn lookup(&self, subject: &str, text: &str) -> Result<u32, LookupError> {
        self.client
            .id_of(subject, text)
            .await?
            .ok_or(LookupError::NotFound)
    }

    /// Registers `text` under `subject` and returns its id; once registered, the same again.
    ///
    /// # Errors
    /// [`RegistryError::Refused`]: incompatible with what is there, or no schema.
    pub async fn register(&self, subject: &str, text: &str) -> Result<u32, RegistryError> {
        self.client.register(subject, text).await
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
        self.client.incompatibilities(subject, text).await
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
        if self.client.set_level(subject, level.as_str()).await? {
            Ok(())
        } else {
            Err(RegistryError::Refused {
                reason: format!("there is no subject {subject}"),
            })
        }
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
            let id = self.client.id_of(&subject.name, subject.text).await?;
            let incompatibilities = match id {
                Some(_) => Vec::new(),
                None => {
                    self.client
                        .incompatibilities(&subject.name, subject.text)
                        .await?
                }
            };
            checks.push(SubjectCheck {
                subject: subject.name.clone(),
                id,
                level: self.client.level(&subject.name).await?,
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
            let levelled = self.client.set_level(name, level.as_str()).await?;
            let id = self.client.register(name, text).await?;
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
        let [_, command, event, result] = subjects;
        Ok(OutputIds {
            event: self.lookup(&event.name, event.text).await?,
            result: self.lookup(&result.name, result.text).await?,
            command: self.lookup(&command.name, command.text).await?,
        })
    }
}
