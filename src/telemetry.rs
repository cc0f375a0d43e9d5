//! What the process says of itself: log lines, the one line of a bug, and the recorder behind
//! `/metrics`. Imports nothing of the worker, so that every part may count; metrics stand in [`names`].

pub mod names;
mod recorder;

use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

pub use recorder::{Metrics, install_recorder};

/// Shapes of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `run`: the log is the output.
    Stdout,
    /// Every other command: the output is for the caller, the log goes beside it.
    Stderr,
}

impl<'a> MakeWriter<'a> for Destination {
    type Writer = Box<dyn Write>;

    fn make_writer(&'a self) -> Self::Writer {
        match self {
            Self::Stdout => Box::new(std::io::stdout()),
            Self::Stderr => Box::new(std::io::stderr()),
        }
    }
}

impl Destination {
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => std::io::stdout().is_terminal(),
            Self::Stderr => std::io::stderr().is_terminal(),
        }
    }
}

/// What `run` logs where `RUST_LOG` does not say: the scheduler's own lines say nothing that the jobs' do not.
pub const RUN_FILTER: &str = "info,tokio_cron_scheduler=warn";

/// Starts logging. `RUST_LOG` chooses the lines; `default_filter` where it is unset or malformed.
///
/// Only the first call of a process has an effect.
pub fn start_logging(format: LogFormat, destination: Destination, default_filter: &str) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let text = match format {
        LogFormat::Auto => destination.is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(destination);
    // A second start, in tests, keeps the first.
    let _ = if text {
        log.with_ansi(destination.is_terminal()).try_init()
    } else {
        log.json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init()
    };
}

/// Makes every panic one line, in the log once there is one, without a stack trace.
pub fn report_bugs_in_one_line() {
    std::panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        if tracing::dispatcher::has_been_set() {
            tracing::error!(
                reason = message(info),
                location,
                "bug: please report it with this line"
            );
        } else {
            // Nothing is left to do where even standard error is gone.
            let _ = writeln!(
                std::io::stderr(),
                "bug: {} at {location}; please report it with this line",
                message(info)
            );
        }
    }));
}

fn message<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload_as_str().unwrap_or("a panic without words")
}
