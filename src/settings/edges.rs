//! Settings in the words of the edges: what librdkafka and the MongoDB driver themselves accept, and
//! the structs that `kafka`, `store` and `wire` take.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::fault::Problem;
use super::secret::{Secret, secret_property};
use super::value::Raw;
use super::{Kafka, Mongo, Pem, Registry, RegistryTls};
use crate::kafka::{self, SetupError};
use crate::store;
use crate::wire::registry::{self, Connection, ConnectionError, Credentials};

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
    /// How its client connects, secrets included.
    pub fn connection(&self) -> Connection {
        let credentials = match (&self.username, &self.token) {
            (_, Some(token)) => Credentials::Bearer(token.expose().to_owned()),
            (Some(username), None) => Credentials::Basic {
                username: username.clone(),
                password: self.password.as_ref().map(|p| p.expose().to_owned()),
            },
            (None, None) => Credentials::None,
        };
        let urls = self.urls.iter().map(|url| url.expose().to_owned());
        Connection {
            urls: urls.collect(),
            credentials,
            authorities: self
                .tls
                .authorities
                .as_ref()
                .map(|pem| pem.expose().to_owned()),
            identity: self.tls.identity(),
        }
    }
}

impl RegistryTls {
    /// Certificate and key, if both are set.
    fn identity(&self) -> Option<String> {
        let (certificate, key) = (self.certificate.as_ref()?, self.key.as_ref()?);
        Some(format!("{}\n{}", certificate.expose(), key.expose()))
    }

    /// Refuses a certificate and a key that are not a pair.
    pub(super) fn check(&self) -> Result<(), Problem> {
        match self.identity() {
            Some(pem) => registry::check_identity(&pem).map_err(unusable),
            None => Ok(()),
        }
    }
}

/// An error of the registry's client: what is wrong, then what to do.
fn unusable(error: ConnectionError) -> Problem {
    let words = error.to_string();
    let (what, remedy) = words
        .split_once("; ")
        .unwrap_or((&words, "see the documentation"));
    Problem::new(what, remedy)
}

/// A URL of the registry. An error quotes nothing of it: it may be a piece of a password.
pub(super) fn registry_url(text: &str) -> Result<Secret, Problem> {
    registry::check_url(text).map_err(unusable)?;
    Ok(Secret::new(text.trim_end_matches('/')))
}

/// A user's name as the registry's client takes it.
pub(super) fn registry_username(raw: &Raw) -> Result<String, Problem> {
    let text = raw.text()?;
    registry::check_username(text).map_err(unusable)?;
    Ok(text.to_owned())
}

/// A token as the registry's client takes it.
pub(super) fn registry_token(raw: &Raw) -> Result<Secret, Problem> {
    let text = raw.text()?;
    registry::check_token(text).map_err(unusable)?;
    Ok(Secret::new(text))
}

/// Authorities as the registry's client takes them.
pub(super) fn registry_authorities(pem: Pem) -> Result<Pem, Problem> {
    registry::check_authorities(pem.expose()).map_err(unusable)?;
    Ok(pem)
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
