//! Why a command could not do its work, in words that end with what to do, and its exit code.

use std::fmt;
use std::process::ExitCode;

use crate::settings::Faults;

/// A command that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The settings: exit 2.
    Settings(Faults),
    /// What was given on the command line, beyond what the parser sees: exit 2.
    Usage(String),
    /// Anything else: exit 1.
    Operation(String),
}

impl Failure {
    /// `what` failed; `remedy` is what to do.
    pub(super) fn operation(what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::Operation(format!("{what}; {remedy}"))
    }

    /// The process's exit code (contract 6).
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_) | Self::Usage(_) => ExitCode::from(2),
            Self::Operation(_) => ExitCode::from(1),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(faults) => {
                for (number, fault) in faults.iter().enumerate() {
                    let end = if number == 0 { "" } else { "\n" };
                    write!(f, "{end}error: {fault}")?;
                }
                Ok(())
            }
            Self::Usage(text) | Self::Operation(text) => write!(f, "error: {text}"),
        }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Settings(faults)
    }
}
