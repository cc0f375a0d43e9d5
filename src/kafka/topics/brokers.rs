//! Observing and changing topics through the admin protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AlterConfig, ConfigSource, NewPartitions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::runtime::Handle;

use super::plan::{Change, Observed, ObservedSetting, Plan, Shown};
use super::{Topic, Topics};
use crate::kafka::admin::{self, Client};
use crate::kafka::settings::{Settings, SetupError};

const VISIBLE_PAUSE: Duration = Duration::from_millis(50);

/// What the brokers have of the topics called `names`; one that does not exist is absent.
///
/// # Errors
/// [`SetupError::Unavailable`] and refused properties.
pub async fn observe(
    settings: &Settings,
    names: &[&str],
) -> Result<BTreeMap<String, Observed>, SetupError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let brokers = settings.brokers.clone();
    admin::with_client(settings, move |client, runtime| {
        observe_with(client, runtime, &names).map_err(|error| unavailable(&brokers, &error))
    })
    .await
}

/// How many partitions `topic` has.
///
/// # Errors
/// [`SetupError::MissingTopic`], [`SetupError::Unavailable`] and refused properties.
pub async fn partition_count(settings: &Settings, topic: &str) -> Result<i32, SetupError> {
    let brokers = settings.brokers.clone();
    let topic = topic.to_owned();
    admin::with_client(settings, move |client, _| {
        let counts = admin::counts(client).map_err(|error| unavailable(&brokers, &error))?;
        match counts.get(&topic) {
            Some((partitions, _)) if *partitions > 0 => Ok(*partitions),
            _ => Err(SetupError::MissingTopic { topic }),
        }
    })
    .await
}

/// Takes the steps of `plan`, in its order. Applying it again, or after another instance has, is
/// harmless.
///
/// # Errors
/// [`SetupError::Change`] names the step that the brokers refused; those before it are done.
pub async fn apply(settings: &Settings, topics: &Topics, plan: &Plan) -> Result<(), SetupError> {
    let (topics, changes) = (topics.clone(), plan.changes.clone());
    admin::with_client(settings, move |client, runtime| {
        // A topic's settings are written as a whole, so that they are written once.
        let mut configured = BTreeSet::new();
        for change in &changes {
            let topic = change.topic();
            let wanted = topics.get(topic).ok_or_else(|| SetupError::Change {
                change: change.to_string(),
                reason: "the topics file does not name it".to_owned(),
            })?;
            let done = match change {
                Change::Create { .. } => create(client, runtime, wanted),
                Change::Grow { from: _, to, .. } => grow(client, runtime, wanted, *to),
                Change::Configure { .. } if !configured.insert(topic) => Ok(()),
                Change::Configure { .. } => configure(client, runtime, wanted),
            };
            done.map_err(|error| SetupError::Change {
                change: change.to_string(),
                reason: error.to_string(),
            })?;
        }
        await_visible(client, runtime, &changes);
        Ok(())
    })
    .await
}

/// Deletes the topics called `names`, with all that is in them; one that is not there is no error.
///
/// # Errors
/// [`SetupError::Change`] names the topic that the brokers refuse to delete; others may be gone.
pub async fn delete(settings: &Settings, names: &[&str]) -> Result<(), SetupError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    admin::with_client(settings, move |client, runtime| {
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let options = admin::options();
        let deleted = runtime.block_on(client.delete_topics(&wanted, &options))?;
        for outcome in deleted {
            match outcome {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((topic, code)) => {
                    return Err(SetupError::Change {
                        change: format!("delete {topic}"),
                        reason: code.to_string(),
                    });
                }
            }
        }
        Ok(())
    })
    .await
}

/// The controller has agreed; each broker hears of it a moment later, and whoever starts right after
/// an `apply` asks a broker.
#[expect(
    clippy::disallowed_methods,
    reason = "a blocking thread that asks the brokers again until they show the change"
)]
fn await_visible(client: &Client, runtime: &Handle, changes: &[Change]) {
    let mut names: Vec<String> = changes
        .iter()
        .map(|change| change.topic().to_owned())
        .collect();
    names.dedup();
    let started = Instant::now();
    while started.elapsed() < admin::TIMEOUT {
        let observed = observe_with(client, runtime, &names).unwrap_or_default();
        if changes.iter().all(|change| change.is_visible(&observed)) {
            return;
        }
        std::thread::sleep(VISIBLE_PAUSE);
    }
    tracing::warn!("the brokers do not show the topics' changes yet");
}

fn unavailable(brokers: &str, error: &KafkaError) -> SetupError {
    SetupError::Unavailable {
        brokers: brokers.to_owned(),
        reason: error.to_string(),
    }
}

fn observe_with(
    client: &Client,
    runtime: &Handle,
    names: &[String],
) -> Result<BTreeMap<String, Observed>, KafkaError> {
    let mut counts = admin::counts(client)?;
    let (shown, absent): (Vec<_>, Vec<_>) = names
        .iter()
        .partition(|name| counts.contains_key(name.as_str()));
    let mut observed = BTreeMap::new();
    for name in absent {
        if is_hidden(client, name)? {
            observed.insert(name.clone(), Observed::Hidden);
        }
    }
    let mut settings = settings(client, runtime, &shown)?;
    for name in shown {
        if let Some((partitions, replication_factor)) = counts.remove(name) {
            let shown = Shown {
                partitions,
                replication_factor,
                config: settings.remove(name),
            };
            observed.insert(name.clone(), Observed::Shown(shown));
        }
    }
    Ok(observed)
}

/// Whether the brokers do not list `topic` because this user may not describe it.
fn is_hidden(client: &Client, topic: &str) -> Result<bool, KafkaError> {
    let metadata = client.inner().fetch_metadata(Some(topic), admin::TIMEOUT)?;
    let mut found = metadata.topics().iter();
    Ok(found.any(|found| {
        found.name() == topic
            && found.error().map(RDKafkaErrorCode::from)
                == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
    }))
}

/// The settings of `topics`, without those that this user may not describe.
fn settings(
    client: &Client,
    runtime: &Handle,
    topics: &[&String],
) -> Result<BTreeMap<String, BTreeMap<String, ObservedSetting>>, KafkaError> {
    let mut settings = BTreeMap::new();
    if topics.is_empty() {
        return Ok(settings);
    }
    let asked: Vec<_> = topics
        .iter()
        .map(|name| ResourceSpecifier::Topic(name))
        .collect();
    let described = runtime.block_on(client.describe_configs(&asked, &admin::options()))?;
    for resource in described {
        let resource = resource.map_err(KafkaError::AdminOp)?;
        // rdkafka drops a resource's own error and leaves it without settings: they are unknown then, not
        // unset. Written as a whole, they would be lost.
        let OwnedResourceSpecifier::Topic(name) = resource.specifier else {
            continue;
        };
        let entries = resource.entries.into_iter().map(|entry| {
            let on_topic = entry.source == ConfigSource::DynamicTopic;
            let value = entry.value;
            (entry.name, ObservedSetting { value, on_topic })
        });
        let entries: BTreeMap<_, _> = entries.collect();
        if !entries.is_empty() {
            settings.insert(name, entries);
        }
    }
    Ok(settings)
}

fn create(client: &Client, runtime: &Handle, topic: &Topic) -> Result<(), KafkaError> {
    let replication = TopicReplication::Fixed(i32::from(topic.replication_factor));
    let mut new = NewTopic::new(&topic.name, topic.partitions, replication);
    for (key, value) in &topic.config {
        new = new.set(key, value);
    }
    let created = runtime.block_on(client.create_topics([&new], &admin::options()))?;
    settle(created, &[RDKafkaErrorCode::TopicAlreadyExists])
}

fn grow(client: &Client, runtime: &Handle, topic: &Topic, to: i32) -> Result<(), KafkaError> {
    // Another instance may have grown it since the plan was made; then there is nothing to refuse.
    if admin::counts(client)?
        .get(&topic.name)
        .is_some_and(|(partitions, _)| *partitions >= to)
    {
        return Ok(());
    }
    let count = usize::try_from(to).unwrap_or(0);
    let grown = runtime.block_on(
        client.create_partitions([&NewPartitions::new(&topic.name, count)], &admin::options()),
    )?;
    settle(grown, &[])
}

/// The protocol replaces a topic's settings as a whole: what is set there and not ours is kept.
fn configure(client: &Client, runtime: &Handle, topic: &Topic) -> Result<(), KafkaError> {
    let observed = observe_with(client, runtime, std::slice::from_ref(&topic.name))?;
    let found = observed
        .get(&topic.name)
        .and_then(Observed::shown)
        .ok_or(KafkaError::AdminOp(
            RDKafkaErrorCode::UnknownTopicOrPartition,
        ))?;
    let config = found.config.as_ref().ok_or(KafkaError::AdminOp(
        RDKafkaErrorCode::TopicAuthorizationFailed,
    ))?;
    let mut wanted: BTreeMap<&str, &str> = config
        .iter()
        .filter(|(_, setting)| setting.on_topic)
        .filter_map(|(key, setting)| Some((key.as_str(), setting.value.as_deref()?)))
        .collect();
    wanted.extend(
        topic
            .config
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    );
    let mut alter = AlterConfig::new(ResourceSpecifier::Topic(&topic.name));
    for (key, value) in wanted {
        alter = alter.set(key, value);
    }
    for result in runtime.block_on(client.alter_configs([&alter], &admin::options()))? {
        result.map_err(|(_, code)| KafkaError::AdminOp(code))?;
    }
    Ok(())
}

fn settle(
    results: Vec<rdkafka::admin::TopicResult>,
    harmless: &[RDKafkaErrorCode],
) -> Result<(), KafkaError> {
    for result in results {
        match result {
            Err((_, code)) if !harmless.contains(&code) => return Err(KafkaError::AdminOp(code)),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}
