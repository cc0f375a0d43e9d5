//! What is wrong with the settings: every fault names where it comes from, what is wrong and what
//! to do about it, and none shows a secret.

use std::fmt;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A line of the file given with `--config`.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The file that an environment variable `…_FILE` names.
    SecretFile {
        /// The variable.
        variable: String,
    },
    /// A command line flag.
    Flag {
        /// As it was written, without its value.
        flag: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment { variable } => f.write_str(variable),
            Self::SecretFile { variable } => write!(f, "{variable} (file)"),
            Self::Flag { flag } => f.write_str(flag),
        }
    }
}

/// What is wrong with one value, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// What is wrong.
    pub(super) what: String,
    /// What to do.
    pub(super) remedy: String,
}

impl Problem {
    /// Says what is wrong and what to do.
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// One fault of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    source: Source,
    key: Option<String>,
    problem: Problem,
}

impl Fault {
    /// `problem` of the setting `key`, set by `source`.
    pub(super) fn of(key: &str, source: Source, problem: Problem) -> Self {
        Self {
            source,
            key: Some(key.to_owned()),
            problem,
        }
    }

    /// `problem` of something that is no setting.
    pub(super) fn at(source: Source, problem: Problem) -> Self {
        Self {
            source,
            key: None,
            problem,
        }
    }

    /// The setting at fault, if it is one.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key} ({}): ", self.source)?,
            None => write!(f, "{}: ", self.source)?,
        }
        write!(f, "{}; {}", self.problem.what, self.problem.remedy)
    }
}

/// Every fault of the settings at once, in the order of the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// The faults, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
