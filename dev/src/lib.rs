//! Kafka, MongoDB and a schema registry for development and tests, without containers: running ones
//! that the environment names, installed ones, or ones that the package clients fetch. What is
//! started here always ends with its owner. Knows nothing of the worker that uses them.

mod acl;
mod archive;
mod cache;
mod client;
pub mod daily;
pub mod demo;
mod error;
mod gateway;
mod guard;
mod kafka;
pub mod load;
mod mongo;
mod options;
mod percentiles;
mod place;
mod port;
mod progress;
mod protection;
mod registry;
mod schemathesis;
mod service;
mod services;
mod worker;

pub use acl::{Acl, Acls, Operation, Resource};
pub use cache::{CACHE_VARIABLE, Cache};
pub use error::{Error, Result};
pub use kafka::{KAFKA_VARIABLE, Listeners};
pub use mongo::MONGO_VARIABLE;
pub use options::{FailPoints, Mongo, Options, Ports, Source};
pub use progress::Progress;
pub use protection::{Pair, Protection, STRANGER, Secrets, WORKER};
pub use registry::REGISTRY_VARIABLE;
pub use schemathesis::{Schemathesis, Verdict};
pub use service::Service;
pub use services::{Found, Services};
