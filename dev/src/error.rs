//! Everything that can keep the local services from starting, in words a person can act on.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What kept a service from being found, fetched, started or driven.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program or part that this machine lacks, with how to get it.
    #[error("{what} is missing: {hint}")]
    Missing {
        /// What was looked for.
        what: String,
        /// How to get it, or which variable names a replacement.
        hint: String,
    },
    /// Several parts that this machine lacks.
    #[error("several things are missing:{}", .0.iter().map(|e| format!("\n- {e}")).collect::<String>())]
    Several(Vec<Error>),
    /// A package client failed; its last words are in `output`.
    #[error("fetching {what} failed (exit code {code}):\n{output}")]
    Fetch {
        /// The part that was being fetched.
        what: String,
        /// The client's exit code.
        code: i32,
        /// The last lines it wrote.
        output: String,
    },
    /// A fetched file is not the one that was asked for.
    #[error("{file} is not the expected file: sha256 is {found}, expected {expected}")]
    Checksum {
        /// The file's name.
        file: String,
        /// The pinned digest.
        expected: String,
        /// The digest of what came.
        found: String,
    },
    /// A fetched or installed part lacks a file, or holds one that does not belong there.
    #[error("{part} is incomplete: {detail}")]
    Incomplete {
        /// The part.
        part: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A fixed port is in use.
    #[error("port {port} for {what} is taken{owner}; {hint}")]
    PortTaken {
        /// The port.
        port: u16,
        /// The service that was to listen there.
        what: String,
        /// ` by pid N (name)` where that could be found out.
        owner: String,
        /// How to go on.
        hint: String,
    },
    /// No free port was found.
    #[error("no free port between {0} and {1}")]
    NoFreePort(u16, u16),
    /// A service that the environment names does not answer.
    #[error("{variable} names {address}, which does not answer: {detail}")]
    NotAnswering {
        /// The environment variable.
        variable: &'static str,
        /// Its value, without credentials.
        address: String,
        /// Why.
        detail: String,
    },
    /// A service ended by itself while it was being waited for.
    #[error("{service} ended with code {code}; its log ends with:\n{log}")]
    Ended {
        /// The service.
        service: String,
        /// Its exit code.
        code: i32,
        /// The last lines of its log.
        log: String,
    },
    /// A service runs but did not become ready in time.
    #[error("{service} was not ready after {waited:?} ({detail}); its log ends with:\n{log}")]
    NotReady {
        /// The service.
        service: String,
        /// How long it was waited for.
        waited: Duration,
        /// The last refusal.
        detail: String,
        /// The last lines of its log.
        log: String,
    },
    /// A driver refused a step of the set-up.
    #[error("{what}: {detail}")]
    Setup {
        /// The step.
        what: &'static str,
        /// The driver's words.
        detail: String,
    },
    /// A file or process operation failed.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// The verb phrase.
        action: &'static str,
        /// The path or program.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
}

/// The result of every operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Names the action and the path of an I/O error.
pub(crate) trait IoContext<T> {
    /// Turns an I/O error into [`Error::Io`].
    fn io(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn io(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::Io {
            action,
            path: path.into(),
            source,
        })
    }
}
