//! Short-lived admin clients: made, used and dropped off the workers, since each of these blocks.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use tokio::runtime::Handle;

use super::settings::{Settings, SetupError};

pub(crate) type Client = AdminClient<DefaultClientContext>;

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
    let config = settings.admin();
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let client: Client = config.create()?;
        work(&client, &runtime)
    })
    .await
    .map_err(|error| SetupError::Client {
        reason: error.to_string(),
    })?
}
