//! Short-lived admin clients: made, used and dropped off the workers, since each of these blocks.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use tokio::runtime::Handle;

use super::reach;
use super::settings::{Settings, SetupError};

pub(crate) type Client = AdminClient<DefaultClientContext>;

/// Says nothing by itself: what goes wrong comes back to whoever asked.
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}

/// How long one request to the brokers may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(15);

/// Options of every request: waits until a change has reached the brokers.
pub(crate) fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(TIMEOUT))
        .operation_timeout(Some(TIMEOUT))
}

/// Runs `work` with an admin client on a blocking thread.
pub(crate) async fn with_client<T: Send + 'static>(
    settings: &Settings,
    work: impl FnOnce(&Client, &Handle) -> Result<T, SetupError> + Send + 'static,
) -> Result<T, SetupError> {
    settings.refuse_owned()?;
    let settings = settings.clone();
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        // This client's own words would pile up in a queue that is never polled.
        let brokers = reach::reach(&settings)?;
        let client: Client = settings.admin().create()?;
        work(&client, &runtime).map_err(|error| match error {
            SetupError::Unavailable { .. } => reach::astray(&settings, &brokers).unwrap_or(error),
            error => error,
        })
    })
    .await
    .map_err(|error| SetupError::Client {
        reason: error.to_string(),
    })?
}

/// Partitions and fewest copies of every topic.
pub(crate) fn counts(client: &Client) -> Result<BTreeMap<String, (i32, i16)>, KafkaError> {
    let metadata = client.inner().fetch_metadata(None, TIMEOUT)?;
    let mut counts = BTreeMap::new();
    for topic in metadata
        .topics()
        .iter()
        .filter(|topic| topic.error().is_none())
    {
        let copies = topic
            .partitions()
            .iter()
            .map(|partition| partition.replicas().len())
            .min();
        let partitions = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
        let copies = copies
            .and_then(|copies| i16::try_from(copies).ok())
            .unwrap_or(0);
        counts.insert(topic.name().to_owned(), (partitions, copies));
    }
    Ok(counts)
}
