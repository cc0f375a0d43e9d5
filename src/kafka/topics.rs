//! The topics the worker needs (`topics.yaml`) and how the brokers get there: reads the file, compares
//! it with what the brokers have, and creates, grows and configures. Never shrinks, never takes back a
//! setting that it does not know; [`delete`] is for whoever made topics for itself.

mod brokers;
mod plan;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

pub use self::brokers::{apply, delete, observe, partition_count};
pub use self::plan::{Change, Drift, Growth, Observed, ObservedSetting, Plan, Shown, Unseen, plan};
use crate::record::TopicNames;

/// The file as compiled in.
const COMPILED_IN: &str = include_str!("../../topics.yaml");

/// What `topics.yaml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    topics: Vec<Topic>,
}

/// One topic as it ought to be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Topic {
    /// Its name in the broker.
    pub name: String,
    /// What the worker does with it.
    pub role: Role,
    /// Partitions at least.
    pub partitions: i32,
    /// Copies of each partition; -1 leaves them to the brokers.
    pub replication_factor: i16,
    /// Kafka's own settings of the topic, by name.
    pub config: BTreeMap<String, String>,
    /// Where the value's schema is registered.
    pub subject: Option<String>,
    /// The subject's compatibility rule.
    pub compatibility: Option<Compatibility>,
    /// What the record key holds; `None`: the order within a partition has no meaning.
    pub key: Option<String>,
    /// What the topic is for.
    pub doc: String,
}

/// What the worker does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Reads it.
    Input,
    /// Writes it.
    Output,
    /// Writes there what it could not read.
    DeadLetter,
}

/// A subject's compatibility rule, as the registry calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Compatibility {
    /// A new reader reads every older writer.
    BackwardTransitive,
    /// Also every older reader reads a new writer.
    FullTransitive,
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::FullTransitive => "FULL_TRANSITIVE",
        })
    }
}

/// The file cannot be used. Says everything that is wrong at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the topics file cannot be used: {}", faults.join("; "))]
pub struct TopicsError {
    /// Each fault, with the topic it is about.
    pub faults: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    topics: Vec<Topic>,
}

const VERSION: u32 = 1;
/// Kafka's own limit.
const NAME_MAX: usize = 249;

impl Topics {
    /// The topics as compiled in.
    #[must_use]
    pub fn compiled_in() -> Self {
        Self::parse(COMPILED_IN).expect("a test reads the compiled-in file")
    }

    /// Reads a topics file.
    ///
    /// # Errors
    /// [`TopicsError`] with every fault: of the text (its line and column), or of its meaning.
    pub fn parse(text: &str) -> Result<Self, TopicsError> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| TopicsError {
            faults: vec![error.to_string()],
        })?;
        let mut faults = Vec::new();
        if file.version != VERSION {
            faults.push(format!("version {} is not {VERSION}", file.version));
        }
        let mut names = BTreeSet::new();
        for topic in &file.topics {
            topic.check(&mut faults);
            if !names.insert(&topic.name) {
                faults.push(format!("{}: named twice", topic.name));
            }
        }
        if faults.is_empty() {
            Ok(Self {
                topics: file.topics,
            })
        } else {
            Err(TopicsError { faults })
        }
    }

    /// The topics, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter()
    }

    /// The topic called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// The same topics under the names of `topics.<name>` settings; a subject follows its topic.
    #[must_use]
    pub fn renamed(mut self, names: &TopicNames) -> Self {
        let plain = TopicNames::default();
        let renames = [
            (plain.match_found, &names.match_found),
            (plain.session_command, &names.session_command),
            (plain.session_event, &names.session_event),
            (plain.session_command_result, &names.session_command_result),
            (plain.session_dead_letter, &names.session_dead_letter),
        ];
        for topic in &mut self.topics {
            if let Some((old, new)) = renames.iter().find(|(old, _)| **old == *topic.name) {
                topic.name = new.to_string();
                if topic.subject.as_deref() == Some(&format!("{old}-value")) {
                    topic.subject = Some(format!("{new}-value"));
                }
            }
        }
        self
    }
}

impl Topic {
    fn check(&self, faults: &mut Vec<String>) {
        let name = &self.name;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty()
            || name.len() > NAME_MAX
            || matches!(name.as_str(), "." | "..")
            || !name.chars().all(legal)
        {
            faults.push(format!("{name:?}: not a name that Kafka takes"));
        }
        if self.partitions < 1 {
            faults.push(format!("{name}: partitions must be at least 1"));
        }
        if self.replication_factor != -1 && self.replication_factor < 1 {
            faults.push(format!(
                "{name}: replicationFactor must be -1 or at least 1"
            ));
        }
        if self.subject.is_some() != self.compatibility.is_some() {
            faults.push(format!("{name}: subject and compatibility go together"));
        }
        let policy = self.config.get("cleanup.policy");
        if policy.is_some_and(|policy| is_compacted(policy)) {
            faults.push(format!(
                "{name}: cleanup.policy must be delete: compaction removes records that are needed"
            ));
        }
    }
}

/// Whether a topic with this `cleanup.policy` loses all records of a key but the last.
#[must_use]
pub fn is_compacted(policy: &str) -> bool {
    policy.split(',').any(|part| part.trim() == "compact")
}
