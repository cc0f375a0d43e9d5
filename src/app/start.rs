//! The start, part by part: what can be cured by waiting is waited for, with readiness and the log saying
//! what for; what cannot (settings, a standalone MongoDB, missing topics or schemas) ends the process.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::domain::Rules;
use crate::kafka::{self, Producer, SetupError};
use crate::settings::Settings;
use crate::store::mongo::{ConnectError, MongoStore};
use crate::wire::registry::{Confirmation, RegistryError};
use crate::wire::{LookupError, OutputIds, Registry, subjects};

use super::health::Vitals;

const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LAST: Duration = Duration::from_secs(5);

/// Why a part is not there.
pub(super) enum Absence {
    /// It may come by itself, or an operator may bring it: wait.
    Wait(anyhow::Error),
    /// Waiting cannot help.
    Final(anyhow::Error),
}

/// Tries `attempt` until it succeeds, with pauses that grow.
///
/// # Errors
/// What waiting cannot cure.
pub(super) async fn wait_for<T>(
    part: &'static str,
    vitals: &Vitals,
    mut attempt: impl AsyncFnMut() -> Result<T, Absence>,
) -> anyhow::Result<T> {
    let mut pause = PAUSE_FIRST;
    let mut logged = String::new();
    loop {
        let why = match attempt().await {
            Ok(there) => {
                if !logged.is_empty() {
                    tracing::info!(part, "it is there; the start goes on");
                }
                vitals.starting(None);
                return Ok(there);
            }
            Err(Absence::Final(error)) => return Err(error),
            Err(Absence::Wait(error)) => format!("{error:#}"),
        };
        vitals.starting(Some(format!("waiting for {part}: {why}")));
        if logged != why {
            tracing::warn!(part, reason = why, "the start waits");
            logged = why;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

/// The database, its indexes made.
pub(super) async fn store(settings: &Settings) -> Result<MongoStore, Absence> {
    let options = settings.mongo.options();
    let uri = settings.mongo.uri.expose();
    let connected = MongoStore::connect_with(uri, &settings.mongo.database, &options).await;
    let store = connected.map_err(database_absence)?;
    store.ensure_indexes().await.map_err(database_absence)?;
    Ok(store.with_rules_digest(rules_digest(&settings.rules)))
}

/// What two workers must agree on, in 16 hexadecimal digits.
fn rules_digest(rules: &Rules) -> String {
    let digest = Sha256::digest(format!("{rules:?}"));
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn database_absence(error: ConnectError) -> Absence {
    absence(
        error.is_final(),
        error,
        "MongoDB cannot be used yet; see mongo.uri",
    )
}

/// The ids to write with: looked up, or registered where `registry.autoRegister` says so.
pub(super) async fn output_ids(
    settings: &Settings,
    registry: &Registry,
) -> Result<OutputIds, Absence> {
    let subjects = subjects(&settings.topics);
    if settings.registry.auto_register {
        registry.register_all(&subjects).await.map_err(|error| {
            let is_final = matches!(error, RegistryError::Refused { .. });
            absence(
                is_final,
                error,
                "the schemas cannot be registered; `session-worker schemas check` says what differs",
            )
        })?;
    }
    registry.output_ids(&subjects).await.map_err(|error| match error {
        LookupError::NotFound => Absence::Final(anyhow::anyhow!(
            "the worker's schemas are not registered; run `session-worker schemas register`, or set \
             registry.autoRegister"
        )),
        error @ LookupError::Unavailable { .. } => {
            absence(false, error, "the schemas cannot be looked up yet; see registry.urls")
        }
    })
}

/// The partitions of `session-command`, and the producer of the output topics.
pub(super) async fn producer(settings: &Settings) -> Result<(i32, Arc<Producer>), Absence> {
    let (kafka, topics) = (settings.kafka.client(), &settings.topics);
    let partitions = kafka::topics::partition_count(&kafka, &topics.session_command).await;
    let partitions = partitions.map_err(kafka_absence)?;
    let outputs = [
        Arc::clone(&topics.session_event),
        Arc::clone(&topics.session_command_result),
        Arc::clone(&topics.session_dead_letter),
        Arc::clone(&topics.session_command),
    ];
    let producer = Producer::start(&kafka, &outputs).await;
    Ok((partitions, Arc::new(producer.map_err(kafka_absence)?)))
}

pub(super) fn kafka_absence(error: SetupError) -> Absence {
    let is_final = !error.may_pass();
    absence(
        is_final,
        error,
        "Kafka cannot be used yet; see kafka.brokers",
    )
}

fn absence(is_final: bool, error: impl Into<anyhow::Error>, what: &'static str) -> Absence {
    let error = error.into().context(what);
    if is_final {
        Absence::Final(error)
    } else {
        Absence::Wait(error)
    }
}

/// A client of the registry.
pub(super) fn registry(settings: &Settings) -> anyhow::Result<Registry> {
    let connection = settings.registry.connection();
    Ok(Registry::new(&connection, Confirmation::WORKER)?)
}
