//! `session show`: one session's state, who was in it, and one timeline of everything that happened to
//! it. The state is MongoDB's and must be there; what else cannot be had is said, and is no failure.

mod gather;
mod said;
mod timeline;
mod timers;
mod trail;
mod view;

#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::sync::Arc;

use clap::Subcommand;
use uuid::Uuid;

use super::Done;
use super::failure::Failure;
use super::flags::SettingsFlags;
use super::output::{self, Format, Output};
use super::progress::Progress;
use crate::clock::Clock as _;
use crate::domain::SessionId;
use crate::settings::{Effective, Settings};
use crate::store::StoredSession;
use crate::store::mongo::MongoStore;

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Show a session's state, its participants, and one timeline of commands, results, events, timers
    ///
    /// The state is read from MongoDB; where there is no such session, or MongoDB does not answer, the
    /// exit code is 1. Records are read from Kafka, since ten minutes before the session was made, and
    /// what is remembered of its messages from MongoDB. What cannot be had of these (retention, brokers
    /// or registry down) is listed under MISSING, beside JSON on standard error, too; the exit code stays 0.
    ///
    /// RECORD is topic/partition@offset. TIME is the record's own for what was sent, the database's for
    /// what was decided. A `>` was sent, a number is an event's sequence, `=` a result, `!` a timer that
    /// fired, `?` one still to come. The invite code stands in the state only.
    ///
    /// JSON: {asOf, session, participants, timeline, missing}. `session` has the fields of the events'
    /// SessionSnapshot and sessionId, endReason, inviteCode, sequence, version, home (topic/partition). A
    /// participant has userId, role, status, joinedAt, leftAt, leaveReason, presentSeconds,
    /// speakingTimeSeconds, connectionId, disconnectedAt, deadline, rejoinCount. Every entry of `timeline` has kind, at,
    /// what, record, repeats (redeliveries of the same), messageId, userId, and by its kind:
    ///
    ///   command, match  arguments, issuedAt, tier, judged (first, duplicate, null), correlationId,
    ///                   replays, unread (why it is not decoded)
    ///   forward         from, home, hops, evidence (null: not looked at)
    ///   event           sequence, causationId, correlationId, actorUserId, reason,
    ///                   previousHostUserId, hostUserId, secondsLeft, status, participantCount,
    ///                   participantStatus
    ///   result          outcome, code, httpStatus, detail, sequence, replayed, source (kafka, ledger)
    ///   timer           dueAt, lateMs
    ///   upcoming        dueAt, overdueMs
    ///   deadLetter      reason, message, of (the record that died)
    ///
    /// `missing` is a list of {source, detail}. Fields are only ever added.
    #[command(verbatim_doc_comment)]
    Show {
        /// The session's id; a UUID may be written in any of its forms
        id: String,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: SettingsFlags,
    },
}

/// Runs the command.
pub(super) async fn run(command: SessionCommand, before: SettingsFlags) -> Result<Done, Failure> {
    match command {
        SessionCommand::Show {
            id,
            output,
            settings,
        } => {
            let Effective { settings, .. } = before.and(settings).load()?;
            show(&settings, &id, output).await
        }
    }
}

async fn show(settings: &Settings, id: &str, output: Output) -> Result<Done, Failure> {
    let forms = forms(id)?;
    let store = super::connect(settings).await?;
    let stored = find(&store, &forms, settings).await?;
    let now = store.clock().now();
    let grace = settings.rules.disconnect_grace;
    let mut trail = trail::Trail::of(stored, now, grace, &settings.topics);
    let mut progress = Progress::new();
    let sources = gather::Sources {
        store: &store,
        kafka: &settings.kafka.client(),
        registry: Arc::new(super::schemas::registry(settings)?),
        progress: &mut progress,
    };
    gather::gather(sources, &mut trail).await;
    drop(progress);
    let timeline = timeline::timeline(&trail);
    output.print(
        || view::words(&trail, &timeline, output::width()),
        || view::shown(&trail, &timeline),
    )?;
    if output.format == Format::Json {
        for missing in &trail.missing {
            // Whoever only looks at the exit code still sees it.
            let detail = output::printable(&missing.detail);
            let _ = writeln!(std::io::stderr(), "missing: {}: {detail}", missing.source);
        }
    }
    Ok(Done::Ok)
}

/// The ids that `text` may mean: as it stands, and as the worker writes a UUID.
fn forms(text: &str) -> Result<Vec<SessionId>, Failure> {
    let Ok(id) = SessionId::parse(text) else {
        return Err(Failure::Usage(
            "that is no session id; write one of at most 128 characters".to_owned(),
        ));
    };
    let uuid = Uuid::try_parse(id.as_str()).ok();
    let uuid = uuid.map(|uuid| SessionId::from_stored(uuid.hyphenated().to_string()));
    let other = uuid.filter(|uuid| *uuid != id);
    Ok([Some(id), other].into_iter().flatten().collect())
}

async fn find(
    store: &MongoStore,
    forms: &[SessionId],
    settings: &Settings,
) -> Result<StoredSession, Failure> {
    for id in forms {
        if let Some(stored) = store.session(id).await.map_err(super::store_failure)? {
            return stored.map_err(|unreadable| {
                Failure::operation(unreadable, "put the document right, and try again")
            });
        }
    }
    Err(Failure::operation(
        format!(
            "there is no session {} in the database {}",
            forms[0], settings.mongo.database
        ),
        "look at the id and at mongo.database",
    ))
}
