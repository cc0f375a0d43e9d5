//! Settings in the words of the edges: what librdkafka and the MongoDB driver themselves accept, and
//! the structs that `kafka`, `store` and `wire` take.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::fault::Problem;
use super::secret::secret_property;
use super::{Kafka, Mongo, Registry};
use crate::kafka::{self, SetupError};
use crate::store;

impl Kafka {
    /// What Kafka's clients are made from.
    pub fn client(&self) -> kafka::Settings {
        kafka::Settings {
            brokers: self.brokers.join(","),
            group_id: self.group_id.clone(),
            properties: self.properties.0.clone(),
        }
    }
}

impl Mongo {
    /// How the store connects.
    pub fn options(&self) -> store::mongo::Options {
        store::mongo::Options {
            max_pool_size: self.max_pool_size,
            ..store::mongo::Options::default()
        }
    }
}

impl Registry {
    /// The URLs, secrets included.
    pub fn exposed_urls(&self) -> Vec<String> {
        self.urls
            .iter()
            .map(|url| url.expose().to_owned())
            .collect()
    }
}

/// Refuses a property of librdkafka that the worker owns, or that librdkafka does not take.
pub(super) fn check_property(name: &str, value: &str) -> Result<(), Problem> {
    let alone = kafka::Settings {
        brokers: String::new(),
        group_id: String::new(),
        properties: BTreeMap::from([(name.to_owned(), value.to_owned())]),
    };
    if let Err(faults) = alone.check_properties() {
        let reasons = faults.iter().map(|fault| match fault {
            SetupError::OwnedProperty { reason, .. } => (*reason).to_owned(),
            other => other.to_string(),
        });
        let what = format!(
            "is the worker's own: {}",
            reasons.collect::<Vec<_>>().join(", ")
        );
        return Err(Problem::new(what, "leave it out"));
    }
    let native = ClientConfig::new().set(name, value).create_native_config();
    native.map(drop).map_err(|error| {
        let reason = match error {
            // The words of librdkafka quote the value.
            KafkaError::ClientConfig(_, reason, ..) if !secret_property(name) => reason,
            _ => "librdkafka refuses the value".to_owned(),
        };
        Problem::new(reason, "see librdkafka's CONFIGURATION.md")
    })
}

/// Refuses what the driver cannot read as a connection string.
pub(super) fn check_mongo_uri(text: &str) -> Result<(), Problem> {
    mongodb::options::ConnectionString::parse(text).map(drop).map_err(|error| {
        // The driver quotes parts of the string, which may be of a password.
        let what = if text.contains('@') {
            "is not a MongoDB connection string".to_owned()
        } else {
            format!("is not a MongoDB connection string ({})", error.kind)
        };
        let remedy = "write mongodb://host:port/?replicaSet=…, with : / ? # [ ] @ percent-encoded \
                      in user and password";
        Problem::new(what, remedy)
    })
}
