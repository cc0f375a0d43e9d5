//! The writer schemas that were looked up, each resolved to ours once and kept: what the registry
//! has under an id never changes. That it has nothing is no such fact: it is kept only from the
//! look-up to the decoding, and asked again with the next records.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use apache_avro::Schema;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::resolve::{Mismatch, Plan, resolve};
use super::schema::{COMMAND_SCHEMA, MATCH_FOUND_SCHEMA, subject_name};
use super::{LookupError, SchemaSource};
use crate::record::TopicNames;

/// How many look-ups one preparation has under way at once.
const CONCURRENT: usize = 16;
/// How long it is remembered that an id is unknown: longer than from any look-up to its decoding.
const UNKNOWN_KEPT: Duration = Duration::from_secs(60);
/// How many unknown ids are kept before the old ones are looked for and forgotten.
const UNKNOWN_PRUNED: usize = 16 * 1024;

/// An input topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Input {
    MatchFound,
    SessionCommand,
}

impl Input {
    fn schema(self) -> &'static Schema {
        match self {
            Self::MatchFound => &MATCH_FOUND_SCHEMA,
            Self::SessionCommand => &COMMAND_SCHEMA,
        }
    }
}

/// What is known of a writer schema.
#[derive(Debug)]
pub(super) enum Writer {
    /// It reads as ours.
    Resolved(Plan),
    /// It is registered, but does not read as ours.
    Unresolved(Mismatch),
    /// The registry does not have it under the topic's subject.
    Unknown,
}

#[derive(Default)]
struct Known {
    registered: HashMap<(Input, u32), Arc<Writer>>,
    unknown: HashMap<(Input, u32), Instant>,
    /// Where the next look for forgettable unknown ids is due.
    prune_at: usize,
}

pub(super) struct Writers {
    match_found: String,
    session_command: String,
    source: Arc<dyn SchemaSource>,
    known: RwLock<Known>,
    unknown: Arc<Writer>,
}

impl Writers {
    pub(super) fn new(topics: &TopicNames, source: Arc<dyn SchemaSource>) -> Self {
        Self {
            match_found: subject_name(&topics.match_found),
            session_command: subject_name(&topics.session_command),
            source,
            known: RwLock::new(Known {
                prune_at: UNKNOWN_PRUNED,
                ..Known::default()
            }),
            unknown: Arc::new(Writer::Unknown),
        }
    }

    /// Looks up those of `ids` that are not known to be registered. What is found counts even where
    /// another id's look-up fails.
    pub(super) async fn look_up(
        &self,
        ids: impl Iterator<Item = (Input, u32)>,
    ) -> Result<(), LookupError> {
        let missing: HashSet<_> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            ids.filter(|id| !known.registered.contains_key(id))
                .collect()
        };
        stream::iter(missing)
            .map(|(input, id)| self.look_up_one(input, id))
            .buffer_unordered(CONCURRENT)
            .try_collect::<()>()
            .await
    }

    async fn look_up_one(&self, input: Input, id: u32) -> Result<(), LookupError> {
        let subject = match input {
            Input::MatchFound => &self.match_found,
            Input::SessionCommand => &self.session_command,
        };
        let writer = match self.source.writer_schema(subject, id).await {
            Ok(text) => match resolve(&text, input.schema()) {
                Ok(plan) => Some(Writer::Resolved(plan)),
                Err(mismatch) => Some(Writer::Unresolved(mismatch)),
            },
            Err(LookupError::NotFound) => None,
            Err(unavailable) => return Err(unavailable),
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match writer {
            Some(writer) => {
                known.unknown.remove(&(input, id));
                known.registered.insert((input, id), Arc::new(writer));
            }
            None => known.remember_unknown((input, id)),
        }
        Ok(())
    }

    /// What [`Writers::look_up`] found out about `id`.
    pub(super) fn known(&self, input: Input, id: u32) -> Arc<Writer> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.registered.get(&(input, id)) {
            Some(writer) => writer.clone(),
            None => {
                assert!(
                    known.unknown.contains_key(&(input, id)),
                    "a lane prepares its records before it decodes them"
                );
                self.unknown.clone()
            }
        }
    }
}

impl Known {
    fn remember_unknown(&mut self, id: (Input, u32)) {
        self.unknown.insert(id, Instant::now());
        if self.unknown.len() >= self.prune_at {
            self.unknown
                .retain(|_, asked| asked.elapsed() < UNKNOWN_KEPT);
            // Looking again only after as many more keeps the cost of pruning constant per id.
            self.prune_at = UNKNOWN_PRUNED.max(2 * self.unknown.len());
        }
    }
}
