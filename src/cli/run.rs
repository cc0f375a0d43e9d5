//! `run`: settings, then the log, then the worker.

use super::Done;
use super::failure::Failure;
use super::flags::{SettingsFlags, TopicsFlag};
use crate::kafka::topics::{Growth, Topics};
use crate::kafka::{self, SetupError};
use crate::settings::Effective;
use crate::store::mongo::ConnectError;
use crate::telemetry::{self, Destination};

/// Runs the worker until it is told to stop.
pub(super) fn run(flags: &SettingsFlags, file: &TopicsFlag) -> Result<Done, Failure> {
    let effective = flags.load()?;
    let topics = file.load(&effective.settings.topics)?;
    let format = effective.settings.log.format;
    telemetry::start_logging(format, Destination::Stdout, telemetry::RUN_FILTER);
    log(&effective);
    let metrics = telemetry::install_recorder().map_err(|error| {
        Failure::operation(
            format!("cannot count: {error}"),
            "please report this as a bug",
        )
    })?;
    let runtime = super::runtime()?;
    let client = effective.settings.kafka.client();
    let ended = runtime.block_on(async {
        tokio::spawn(warn_of_drift(client, topics));
        crate::app::run(effective.settings, metrics).await
    });
    // What still blocks was given its time by the drain.
    super::end_threads(runtime);
    match ended {
        Ok(()) => Ok(Done::Ok),
        Err(error) => {
            let failure = failure(error);
            // The message on standard error is for the one who called; this line is for who reads logs.
            tracing::error!(error = failure.text(), "the worker ends");
            Err(failure)
        }
    }
}

/// Says where the brokers' topics differ from the file; the worker runs with them as they are.
async fn warn_of_drift(client: kafka::Settings, file: Topics) {
    // Brokers that do not answer are the app's to report.
    let Ok(plan) = super::topics::observe(&client, &file, Growth::Refused).await else {
        return;
    };
    let changes = plan.changes.iter().map(ToString::to_string);
    for lacking in changes.chain(plan.drifts.iter().map(ToString::to_string)) {
        tracing::warn!(
            lacking,
            "topics differ from topics.yaml; see `session-worker topics plan`"
        );
    }
}

/// Adds what to do to errors of the edges; the app's own words say it themselves.
fn failure(error: anyhow::Error) -> Failure {
    let error = match error.downcast::<SetupError>() {
        Ok(error) => return super::topics::failure(error),
        Err(error) => error,
    };
    match error.downcast::<ConnectError>() {
        Ok(error) => super::connect_failure(error),
        Err(error) => Failure::Operation(format!("{error:#}")),
    }
}

/// Logs the effective settings, a line a section, secrets hidden (contract 6).
fn log(effective: &Effective) {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "session-worker starts");
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for shown in effective.shown() {
        let (section, key) = shown.key.split_once('.').unwrap_or(("", &shown.key));
        let entry = format!("{key}={}", shown.value);
        match sections.iter_mut().find(|(name, _)| name == section) {
            Some((_, entries)) => entries.push(entry),
            None => sections.push((section.to_owned(), vec![entry])),
        }
    }
    for (section, entries) in sections {
        tracing::info!(section, values = entries.join(" "), "effective settings");
    }
}
