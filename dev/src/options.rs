//! What a caller may choose about a set of services. The defaults are the full set, for itself, on
//! free ports.

use std::path::PathBuf;

use crate::progress::Progress;
use crate::protection::Protection;

/// What to start, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Start (or find) a broker.
    pub kafka: bool,
    /// Start (or find) a replica set.
    pub mongo: Mongo,
    /// Start (or find) a schema registry.
    pub registry: bool,
    /// Where the services keep data and logs: a new or empty folder, which stays afterwards. `None`
    /// is a temporary folder, which goes with the services.
    pub folder: Option<PathBuf>,
    /// Where the services listen.
    pub ports: Ports,
    /// Whether running services that the environment names will do.
    pub source: Source,
    /// Whether MongoDB takes `configureFailPoint` and other test commands.
    pub fail_points: FailPoints,
    /// Whether Kafka and MongoDB ask who is there.
    pub protection: Protection,
    /// Server properties of Kafka, over the usual ones.
    pub kafka_properties: Vec<(String, String)>,
    /// What is shown meanwhile.
    pub progress: Progress,
}

impl Default for Options {
    /// The full set on free ports in a temporary folder, silently.
    fn default() -> Self {
        Self {
            kafka: true,
            mongo: Mongo::Single,
            registry: true,
            folder: None,
            ports: Ports::Free,
            source: Source::Any,
            fail_points: FailPoints::Off,
            protection: Protection::None,
            kafka_properties: Vec::new(),
            progress: Progress::Silent,
        }
    }
}

impl Options {
    /// Whether running parts that the environment names will do: protected ones and ones with
    /// properties of their own are always started here.
    pub(crate) fn source_of_kafka(&self) -> Source {
        match self.protection {
            Protection::None if self.kafka_properties.is_empty() => self.source,
            _ => Source::Own,
        }
    }

    pub(crate) fn source_of_mongo(&self) -> Source {
        match self.protection {
            Protection::None => self.source,
            Protection::Full => Source::Own,
        }
    }

    /// Nothing at all; the start of a set with one service only.
    #[must_use]
    pub fn none() -> Self {
        Self {
            kafka: false,
            mongo: Mongo::None,
            registry: false,
            ..Self::default()
        }
    }
}

/// How many members the replica set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mongo {
    /// No MongoDB.
    None,
    /// A replica set of one.
    Single,
    /// A replica set of three.
    Three,
}

impl Mongo {
    /// How many processes that is.
    pub(crate) fn members(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Single => 1,
            Self::Three => 3,
        }
    }
}

/// Where the services listen, always on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Free ones.
    Free,
    /// These, or an error; MongoDB's further members take the ports after the first.
    Fixed {
        /// Kafka's port.
        kafka: u16,
        /// The port of MongoDB's first member.
        mongo: u16,
        /// The registry's port.
        registry: u16,
    },
}

/// Whether running services that the environment names will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Yes: they come first.
    Any,
    /// No: start own ones, which may be killed and frozen.
    Own,
}

impl Source {
    /// The value of a variable that names a running service, where that will do.
    #[expect(
        clippy::disallowed_methods,
        reason = "the services are no part of the worker, whose settings are read in `settings`"
    )]
    pub(crate) fn variable(self, name: &str) -> Option<String> {
        match self {
            Self::Any => std::env::var(name).ok().filter(|value| !value.is_empty()),
            Self::Own => None,
        }
    }
}

/// Whether MongoDB takes test commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailPoints {
    /// As in production.
    Off,
    /// With `enableTestCommands=1`.
    On,
}
