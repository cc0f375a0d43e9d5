//! The command line (contract 6): parses arguments, loads settings, runs one command and turns its
//! end into an exit code. Every error is words that end with what to do; none is a stack trace.

mod asyncapi;
mod audit;
mod bench;
mod check;
mod dead_letters;
mod failure;
mod flags;
mod lanes;
mod output;
mod probe;
mod progress;
mod run;
mod schemas;
mod session;
mod topics;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use bench::Extent;
use dead_letters::DeadLettersCommand;
use failure::Failure;
use flags::{SettingsFlags, TopicsFlag};
use lanes::LanesCommand;
use output::Output;
use probe::Target;
use schemas::SchemasCommand;
use session::SessionCommand;
use topics::TopicsCommand;

use crate::http;
use crate::settings::Settings;
use crate::store::Error;
use crate::store::mongo::{ConnectError, MongoStore};
use crate::telemetry::{self, Destination, LogFormat};

/// How a command ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Everything is as it should be.
    Ok,
    /// The command did its work and found something wrong: exit 1.
    Failed,
    /// What is there differs from what should be: exit 3.
    Drift,
}

/// Owns live conversation sessions: reads commands and matches from Kafka, keeps the truth in
/// MongoDB, publishes events and results.
#[derive(Debug, Parser)]
#[command(
    name = "session-worker",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    settings: SettingsFlags,
    #[command(flatten)]
    topics: TopicsFlag,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the worker until SIGTERM or SIGINT, then drain
    Run {
        #[command(flatten)]
        settings: SettingsFlags,
        #[command(flatten)]
        topics: TopicsFlag,
    },
    /// Check the settings and everything they name, and say what to do about each fault
    Check {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: SettingsFlags,
        #[command(flatten)]
        topics: TopicsFlag,
    },
    /// Compare the topics with topics.yaml, or bring them about
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Compare the registry's schemas with ours, or register ours
    #[command(subcommand)]
    Schemas(SchemasCommand),
    /// Follow one session
    #[command(subcommand)]
    Session(SessionCommand),
    /// Look at what could not be judged, and send it again
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Look for broken invariants in MongoDB; exit 1 and the offenders if there are any
    Audit {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Show where the input partitions stand, or move one
    #[command(subcommand)]
    Lanes(LanesCommand),
    /// Measure a worker on these brokers and this database, in topics and databases of its own; best
    /// with a release build
    Bench {
        #[command(flatten)]
        extent: Extent,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: SettingsFlags,
        #[command(flatten)]
        topics: TopicsFlag,
    },
    /// Print the OpenAPI 3.1 document of the HTTP views
    Openapi,
    /// Ask the worker at http.opsListen, else http.listen, how it is; exit 1 unless it is well (an image's health check)
    Probe {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Print the AsyncAPI 3.0 document of the topics
    Asyncapi {
        #[command(flatten)]
        settings: SettingsFlags,
        #[command(flatten)]
        topics: TopicsFlag,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// Parses the process's arguments, runs the command and says how the process exits.
pub fn main() -> ExitCode {
    crate::telemetry::report_bugs_in_one_line();
    let Cli {
        settings: before,
        topics: file,
        command,
    } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version go to standard output and are no error.
            let _ = usage.print();
            return ExitCode::from(u8::from(usage.use_stderr()) * 2);
        }
    };
    let done = match command {
        Command::Run { settings, topics } => run::run(&before.and(settings), &file.and(topics)),
        Command::Bench {
            extent,
            output,
            settings,
            topics,
        } => wait_for(async move || {
            bench::run(extent, before.and(settings), file.and(topics), output).await
        }),
        Command::Openapi => openapi(),
        Command::Completions { shell } => completions(shell),
        Command::Check {
            output,
            settings,
            topics,
        } => wait_for(async move || {
            check::run(&before.and(settings), &file.and(topics), output).await
        }),
        Command::Topics(command) => {
            wait_for(async move || topics::run(command, before, file).await)
        }
        Command::Schemas(command) => wait_for(async move || schemas::run(command, before).await),
        Command::Audit { output, settings } => {
            wait_for(async move || audit::run(before.and(settings), output).await)
        }
        Command::Session(command) => wait_for(async move || session::run(command, before).await),
        Command::DeadLetters(command) => {
            wait_for(async move || dead_letters::run(command, before).await)
        }
        Command::Asyncapi { settings, topics } => {
            asyncapi::run(&before.and(settings), &file.and(topics))
        }
        Command::Lanes(command) => wait_for(async move || lanes::run(command, before).await),
        Command::Probe { target, settings } => {
            wait_for(async move || probe::run(target, &before.and(settings)).await)
        }
    };
    match done {
        Ok(Done::Ok) => ExitCode::SUCCESS,
        Ok(Done::Failed) => ExitCode::from(1),
        Ok(Done::Drift) => ExitCode::from(3),
        Err(failure) => {
            // Nothing is left to do where even standard error is gone.
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}

fn openapi() -> Result<Done, Failure> {
    output::print(http::openapi::page().as_bytes())?;
    Ok(Done::Ok)
}

fn completions(shell: Shell) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "session-worker", &mut script);
    output::print(&script)?;
    Ok(Done::Ok)
}

/// Runs a command that is not the worker: only what is wrong is logged, beside its output.
fn wait_for(command: impl AsyncFnOnce() -> Result<Done, Failure>) -> Result<Done, Failure> {
    telemetry::start_logging(LogFormat::Text, Destination::Stderr, "error");
    let runtime = runtime()?;
    let done = runtime.block_on(command());
    end_threads(runtime);
    done
}

/// How long threads that still wait for a peer may hold up the end of the process.
const THREADS_END: Duration = Duration::from_millis(500);

/// Ends the runtime and waits for its threads: OpenSSL frees what it keeps of each thread at the
/// thread's end, and what it keeps of all at the process's, and the two must not meet.
fn end_threads(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_timeout(THREADS_END);
}

/// The runtime that commands work on.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::operation(
                format!("cannot start threads: {error}"),
                "raise the limits on processes and descriptors",
            )
        })
}

/// Connects to MongoDB.
async fn connect(settings: &Settings) -> Result<MongoStore, Failure> {
    let mongo = &settings.mongo;
    let options = mongo.options();
    let connected = MongoStore::connect_with(mongo.uri.expose(), &mongo.database, &options).await;
    connected.map_err(connect_failure)
}

/// These errors say themselves what to do.
fn connect_failure(error: ConnectError) -> Failure {
    Failure::Operation(error.to_string())
}

fn store_failure(error: Error) -> Failure {
    let remedy = match &error {
        Error::Unavailable { .. } | Error::Conflict(_) | Error::Fenced => "try again",
        Error::Unknown { .. } => "look with `session-worker lanes show` before trying again",
        Error::Refused { .. } => "see MongoDB's log",
    };
    Failure::operation(error, remedy)
}
