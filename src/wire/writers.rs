//! The writer schemas that were looked up, each resolved to ours once and kept: what the registry
//! has under an id never changes. That it has nothing, or no schema at all, is no such fact: it is
//! kept only from the look-up to the decoding, and asked again with the next records.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use apache_avro::Schema;
use futures::stream::{FuturesUnordered, TryStreamExt};

use super::resolve::{Mismatch, Plan, is_schema, resolve};
use super::schema::{COMMAND_SCHEMA, MATCH_FOUND_SCHEMA, subject_name};
use super::{LookupError, SchemaSource};
use crate::record::TopicNames;

/// How long it is remembered that an id has no schema: longer than from any look-up to its decoding.
const ABSENT_KEPT: Duration = Duration::from_secs(60);
/// How many ids without a schema are kept before the old ones are looked for and forgotten.
const ABSENT_PRUNED: usize = 16 * 1024;

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
    /// It is registered, but does not read as ours, or is no schema.
    Unresolved(Mismatch),
    /// The registry does not have it under the topic's subject.
    Unknown,
}

#[derive(Default)]
struct Known {
    registered: HashMap<(Input, u32), Arc<Writer>>,
    absent: HashMap<(Input, u32), (Instant, Arc<Writer>)>,
    /// Where the next look for forgettable ids is due.
    prune_at: usize,
}

pub(super) struct Writers {
    match_found: String,
    session_command: String,
    source: Arc<dyn SchemaSource>,
    known: RwLock<Known>,
}

impl Writers {
    pub(super) fn new(topics: &TopicNames, source: Arc<dyn SchemaSource>) -> Self {
        Self {
            match_found: subject_name(&topics.match_found),
            session_command: subject_name(&topics.session_command),
            source,
            known: RwLock::new(Known {
                prune_at: ABSENT_PRUNED,
                ..Known::default()
            }),
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
        // All at once, because the source looks them up together.
        let lookups = missing.into_iter();
        let lookups: FuturesUnordered<_> = lookups
            .map(|(input, id)| self.look_up_one(input, id))
            .collect();
        lookups.try_collect::<()>().await
    }

    async fn look_up_one(&self, input: Input, id: u32) -> Result<(), LookupError> {
        let subject = match input {
            Input::MatchFound => &self.match_found,
            Input::SessionCommand => &self.session_command,
        };
        let (writer, permanent) = match self.writer(subject, id, input.schema()).await {
            Ok(found) => found,
            Err(LookupError::NotFound) => (Writer::Unknown, false),
            Err(unavailable) => return Err(unavailable),
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if permanent {
            known.absent.remove(&(input, id));
            known.registered.insert((input, id), Arc::new(writer));
        } else {
            known.remember_absent((input, id), Arc::new(writer));
        }
        Ok(())
    }

    /// What is registered as `id`, and whether that never changes. A text that does not resolve may be
    /// the mistake of one URL, so it is looked up once more.
    async fn writer(
        &self,
        subject: &str,
        id: u32,
        reader: &Schema,
    ) -> Result<(Writer, bool), LookupError> {
        let text = self.source.writer_schema(subject, id).await?;
        if let Ok(plan) = resolve(&text, reader) {
            return Ok((Writer::Resolved(plan), true));
        }
        let again = self.source.recheck(subject, id, &text).await?;
        match resolve(&again, reader) {
            Ok(plan) => Ok((Writer::Resolved(plan), true)),
            Err(mismatch) if again == text => Ok((Writer::Unresolved(mismatch), is_schema(&text))),
            Err(_) => Err(LookupError::Unavailable {
                reason: format!(
                    "the URLs have different texts for schema {id} of {subject}, and none resolves; \
                     set registry.urls to nodes of one registry"
                ),
            }),
        }
    }

    /// What [`Writers::look_up`] found out about `id`.
    pub(super) fn known(&self, input: Input, id: u32) -> Arc<Writer> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.registered.get(&(input, id)) {
            Some(writer) => writer.clone(),
            None => {
                let (_, writer) = known
                    .absent
                    .get(&(input, id))
                    .expect("a lane prepares its records before it decodes them");
                Arc::clone(writer)
            }
        }
    }
}

impl Known {
    fn remember_absent(&mut self, id: (Input, u32), writer: Arc<Writer>) {
        self.absent.insert(id, (Instant::now(), writer));
        if self.absent.len() >= self.prune_at {
            self.absent
                .retain(|_, (asked, _)| asked.elapsed() < ABSENT_KEPT);
            // Looking again only after as many more keeps the cost of pruning constant per id.
            self.prune_at = ABSENT_PRUNED.max(2 * self.absent.len());
        }
    }
}
