//! `schemas check` and `schemas register`: the worker's four schemas at the registry.

use clap::Subcommand;
use serde_json::json;

use super::Done;
use super::failure::Failure;
use super::flags::SettingsFlags;
use super::output::{self, Output};
use crate::settings::{Effective, Settings};
use crate::wire::registry::{Confirmation, Registry, RegistryError, SubjectCheck};
use crate::wire::subjects;

#[derive(Debug, Subcommand)]
pub(super) enum SchemasCommand {
    /// Show how our schemas stand at the registry; exit 3 if one is missing or under another rule
    Check {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Register our schemas and set their compatibility rules; again is harmless
    Register {
        #[command(flatten)]
        settings: SettingsFlags,
    },
}

/// Runs one of the commands.
pub(super) async fn run(command: SchemasCommand, before: SettingsFlags) -> Result<Done, Failure> {
    match command {
        SchemasCommand::Check { output, settings } => {
            let Effective { settings, .. } = before.and(settings).load()?;
            let checks = check(&settings).await?;
            output.print(|| table(&checks), || shown(&checks))?;
            let settled = checks.iter().all(SubjectCheck::is_settled);
            Ok(if settled { Done::Ok } else { Done::Drift })
        }
        SchemasCommand::Register { settings } => {
            let Effective { settings, .. } = before.and(settings).load()?;
            let registered = registry(&settings)?
                .register_all(&subjects(&settings.topics))
                .await
                .map_err(failure)?;
            let lines = registered
                .iter()
                .map(|done| format!("{} has id {}\n", done.subject, done.id));
            output::print(lines.collect::<String>().as_bytes())?;
            Ok(Done::Ok)
        }
    }
}

/// What is wrong with each URL that does not answer, and what to do.
pub(super) async fn faulty_urls(settings: &Settings) -> Vec<String> {
    let [subject, ..] = subjects(&settings.topics);
    match registry(settings) {
        Ok(registry) => registry.faulty_urls(&subject.name).await,
        Err(failure) => vec![failure.text()],
    }
}

/// How our schemas stand at the registry.
pub(super) async fn check(settings: &Settings) -> Result<Vec<SubjectCheck>, Failure> {
    registry(settings)?
        .check_all(&subjects(&settings.topics))
        .await
        .map_err(failure)
}

/// What to do about one of them; `None`: nothing.
pub(super) fn remedy(check: &SubjectCheck) -> Option<String> {
    if check.is_settled() {
        return None;
    }
    let subject = &check.subject;
    if let Some(first) = check.incompatibilities.first() {
        return Some(format!(
            "the registry's versions of {subject} do not fit ours ({first}); deploy a worker whose \
             schema does, or fix the subject"
        ));
    }
    let what = match (check.id, &check.level) {
        (None, _) => format!("our schema is not registered under {subject}"),
        (Some(_), None) => format!(
            "{subject} has no rule of its own, not {}",
            check.wanted.as_str()
        ),
        (Some(_), Some(level)) => {
            format!(
                "{subject} has the rule {level}, not {}",
                check.wanted.as_str()
            )
        }
    };
    Some(format!("{what}; run `session-worker schemas register`"))
}

/// A client for commands.
pub(super) fn registry(settings: &Settings) -> Result<Registry, Failure> {
    Registry::new(&settings.registry.connection(), Confirmation::INTERACTIVE).map_err(failure)
}

/// A failure at the registry, with what to do.
fn failure(error: RegistryError) -> Failure {
    match error {
        RegistryError::Refused { .. } => Failure::operation(
            error,
            "see `session-worker schemas check` for what stands there",
        ),
        // The text ends with what to do.
        RegistryError::Unavailable { .. } | RegistryError::Connection(_) => {
            Failure::Operation(error.to_string())
        }
    }
}

fn table(checks: &[SubjectCheck]) -> String {
    let rows = checks.iter().map(|check| {
        vec![
            check.subject.clone(),
            check.id.map_or_else(|| "–".to_owned(), |id| id.to_string()),
            check.level.clone().unwrap_or_else(|| "–".to_owned()),
            remedy(check).unwrap_or_else(|| "ok".to_owned()),
        ]
    });
    output::table(
        &["SUBJECT", "ID", "RULE", "STATE"],
        &rows.collect::<Vec<_>>(),
    )
}

fn shown(checks: &[SubjectCheck]) -> serde_json::Value {
    let shown = checks.iter().map(|check| {
        json!({
            "subject": check.subject,
            "id": check.id,
            "level": check.level,
            "wanted": check.wanted.as_str(),
            "incompatibilities": check.incompatibilities,
            "settled": check.is_settled(),
        })
    });
    shown.collect()
}
