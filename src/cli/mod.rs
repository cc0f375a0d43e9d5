//! The command line (contract 6): parses arguments, loads settings, runs one command and turns its
//! end into an exit code. Every error is words that end with what to do; none is a stack trace.

mod failure;
mod flags;
mod output;
mod run;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use failure::Failure;
use flags::SettingsFlags;

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
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the worker until SIGTERM or SIGINT, then drain
    Run(SettingsFlags),
    /// Print a completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// Parses the process's arguments, runs the command and says how the process exits.
pub fn main() -> ExitCode {
    crate::telemetry::report_bugs_in_one_line();
    let Cli { settings, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version go to standard output and are no error.
            let _ = usage.print();
            return ExitCode::from(u8::from(usage.use_stderr()) * 2);
        }
    };
    let done = match command {
        Command::Run(flags) => run::run(settings.and(flags)),
        Command::Completions { shell } => completions(shell),
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

fn completions(shell: Shell) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "session-worker", &mut script);
    output::print(&script)?;
    Ok(Done::Ok)
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
