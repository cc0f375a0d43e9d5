//! What is missing at the brokers: a pure comparison of the file with what was observed.

use std::collections::BTreeMap;
use std::fmt;

use super::{Topic, Topics};

/// A topic as the brokers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// This user may not describe it, so it is not known whether it exists.
    Hidden,
    /// What it is like.
    Shown(Shown),
}

impl Observed {
    /// What it is like, where that may be known.
    #[must_use]
    pub fn shown(&self) -> Option<&Shown> {
        match self {
            Self::Shown(shown) => Some(shown),
            Self::Hidden => None,
        }
    }
}

/// What a topic is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its partitions.
    pub partitions: i32,
    /// The fewest copies that any of its partitions has.
    pub replication_factor: i16,
    /// Its settings in force, by name; `None`: this user may not describe them.
    pub config: Option<BTreeMap<String, ObservedSetting>>,
}

impl Shown {
    /// The value of a setting in force, where that may be known.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.config.as_ref()?.get(name)?.value.as_deref()
    }
}

/// A topic's setting in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedSetting {
    /// Its value; `None` where the brokers keep it secret.
    pub value: Option<String>,
    /// Set on the topic itself, not inherited.
    pub on_topic: bool,
}

/// One step that `apply` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Creates the topic.
    Create {
        /// Its name.
        topic: String,
        /// Its partitions.
        partitions: i32,
    },
    /// Adds partitions.
    Grow {
        /// The topic's name.
        topic: String,
        /// Partitions now.
        from: i32,
        /// Partitions afterwards.
        to: i32,
    },
    /// Sets one of its settings.
    Configure {
        /// The topic's name.
        topic: String,
        /// The setting's name.
        key: String,
        /// The value in force now, inherited ones too.
        from: Option<String>,
        /// The value afterwards.
        to: String,
    },
}

impl Change {
    /// The name of the topic it changes.
    #[must_use]
    pub fn topic(&self) -> &str {
        let (Self::Create { topic, .. } | Self::Grow { topic, .. } | Self::Configure { topic, .. }) =
            self;
        topic
    }

    /// The change shows in `observed`.
    pub(super) fn is_visible(&self, observed: &BTreeMap<String, Observed>) -> bool {
        let Some(found) = observed.get(self.topic()).and_then(Observed::shown) else {
            return false;
        };
        match self {
            Self::Create { partitions, .. } => found.partitions >= *partitions,
            Self::Grow { to, .. } => found.partitions >= *to,
            Self::Configure { key, to, .. } => {
                let setting = found.config.as_ref().and_then(|config| config.get(key));
                setting
                    .is_some_and(|setting| setting.on_topic && setting.value.as_ref() == Some(to))
            }
        }
    }

    /// It writes down what is in force anyway.
    #[must_use]
    pub fn keeps_the_value(&self) -> bool {
        matches!(self, Self::Configure { from, to, .. } if from.as_ref() == Some(to))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { topic, partitions } => {
                write!(f, "create {topic} with {partitions} partitions")
            }
            Self::Grow { topic, from, to } => {
                write!(f, "grow {topic} from {from} to {to} partitions")
            }
            Self::Configure {
                topic,
                key,
                from,
                to,
            } => match from {
                Some(from) if from == to => {
                    write!(
                        f,
                        "set {key} of {topic} to {to}, the brokers' default today"
                    )
                }
                _ => {
                    let from = from.as_deref().unwrap_or("unset");
                    write!(f, "set {key} of {topic} from {from} to {to}")
                }
            },
        }
    }
}

/// A difference that is not for the worker to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The topic's name.
    pub topic: String,
    /// What differs, and why it stays.
    pub reason: String,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.topic, self.reason)
    }
}

/// Something that this user may not look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// A topic as a whole.
    Topic(String),
    /// A topic's settings.
    Settings(String),
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, operation, topic) = match self {
            Self::Topic(topic) => ("is not visible to", "DESCRIBE", topic),
            Self::Settings(topic) => ("does not show its settings to", "DESCRIBE_CONFIGS", topic),
        };
        write!(f, "topic {topic} {what} this user: grant {operation} on it")
    }
}

/// May a keyed topic grow? It moves keys to other partitions: sessions keep their home, which is
/// stored, but what senders key by themselves changes places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Named as a drift.
    Refused,
    /// Becomes a change.
    Allowed,
}

/// The way from what is to what ought to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What `apply` does.
    pub changes: Vec<Change>,
    /// What it cannot or may not do.
    pub drifts: Vec<Drift>,
    /// What could not be compared.
    pub unseen: Vec<Unseen>,
}

impl Plan {
    /// Nothing to do and nothing amiss.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.drifts.is_empty() && self.unseen.is_empty()
    }
}

/// Compares `topics` with what was observed at the brokers, by name.
#[must_use]
pub fn plan(topics: &Topics, observed: &BTreeMap<String, Observed>, growth: Growth) -> Plan {
    let mut plan = Plan::default();
    for topic in topics.iter() {
        match observed.get(&topic.name) {
            None => plan.changes.push(Change::Create {
                topic: topic.name.clone(),
                partitions: topic.partitions,
            }),
            Some(Observed::Hidden) => plan.unseen.push(Unseen::Topic(topic.name.clone())),
            Some(Observed::Shown(found)) => compare(&mut plan, topic, found, growth),
        }
    }
    plan
}

fn compare(plan: &mut Plan, topic: &Topic, found: &Shown, growth: Growth) {
    let name = &topic.name;
    let mut drift = |reason: String| {
        plan.drifts.push(Drift {
            topic: name.clone(),
            reason,
        });
    };
    let (from, to) = (found.partitions, topic.partitions);
    let mut grow = None;
    if from > to {
        drift(format!(
            "has {from} partitions, not {to}: partitions cannot be taken away"
        ));
    } else if from < to {
        match (&topic.key, growth) {
            (Some(key), Growth::Refused) => drift(format!(
                "has {from} partitions, not {to}: it is keyed by {key}, growing it moves keys; \
                 allow it with --allow-growth"
            )),
            (Some(_), Growth::Allowed) | (None, _) => {
                grow = Some(Change::Grow {
                    topic: name.clone(),
                    from,
                    to,
                });
            }
        }
    }
    if topic.replication_factor != -1 && topic.replication_factor != found.replication_factor {
        drift(format!(
            "has {} copies of a partition, not {}: reassign its partitions with Kafka's own tools",
            found.replication_factor, topic.replication_factor
        ));
    }
    plan.changes.extend(grow);
    let Some(config) = &found.config else {
        plan.unseen.push(Unseen::Settings(name.clone()));
        return;
    };
    for (key, to) in &topic.config {
        let found = config.get(key);
        let from = found.and_then(|setting| setting.value.clone());
        let inherited = found.is_none_or(|setting| !setting.on_topic);
        // An equal value that is inherited today may be another one tomorrow.
        if from.as_ref() != Some(to) || inherited {
            plan.changes.push(Change::Configure {
                topic: name.clone(),
                key: key.clone(),
                from,
                to: to.clone(),
            });
        }
    }
}
