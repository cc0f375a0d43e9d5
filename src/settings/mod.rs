//! Everything an operator can choose: flag > environment > file > default (contract 6). One table
//! row a setting says its key, how its text is read and how it is shown; layers, documentation and
//! the masked rendering all come from that table. Every fault is reported at once, with its source.
//!
//! The layering is our own, over `toml` alone: figment and config stop at the first fault, name no
//! line of the file, and cannot spell the contract's environment variables (`AUTO_REGISTER`).

mod address;
mod catalogue;
mod checks;
mod edges;
mod fault;
mod layers;
mod pem;
mod reference;
mod secret;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::Rules;
use crate::record::TopicNames;
use crate::telemetry::LogFormat;

pub use fault::{Fault, Faults, Source};
pub use pem::Pem;
pub use reference::reference;
pub use secret::Secret;
pub use value::parse_duration;

/// What the command line says about settings: the uppermost layer, and where the file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config`: the TOML file, if any.
    pub config: Option<PathBuf>,
    /// Settings given directly, in order.
    pub values: Vec<FlagValue>,
}

/// One setting given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    /// The flag as it was written, without its value.
    pub flag: String,
    /// The setting's key.
    pub key: String,
    /// Its text.
    pub text: String,
}

/// The settings of one process, checked as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `kafka.*`
    pub kafka: Kafka,
    /// `topics.*`
    pub topics: TopicNames,
    /// `registry.*`
    pub registry: Registry,
    /// `mongo.*`
    pub mongo: Mongo,
    /// `http.*`
    pub http: Http,
    /// `rules.*`
    pub rules: Rules,
    /// `lane.*`
    pub lane: Lane,
    /// `log.*`
    pub log: Log,
    /// `shutdown.*`
    pub shutdown: Shutdown,
}

/// How to reach Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// `kafka.brokers`: `host:port`, at least one.
    pub brokers: Vec<String>,
    /// `kafka.groupId`.
    pub group_id: String,
    /// `kafka.properties.*`.
    pub properties: Properties,
}

/// What is passed to librdkafka as it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(pub BTreeMap<String, String>);

/// Shows secrets masked.
impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self
            .0
            .iter()
            .map(|(name, value)| (name, secret::mask_property(name, value)));
        f.debug_map().entries(shown).finish()
    }
}

/// How to reach the schema registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// `registry.urls`: base URLs, tried in order; may carry `user:password@`.
    pub urls: Vec<Secret>,
    /// `registry.username`; once checked, never with `token`.
    pub username: Option<String>,
    /// `registry.password`; once checked, only with `username`.
    pub password: Option<Secret>,
    /// `registry.token`
    pub token: Option<Secret>,
    /// Certificates.
    pub tls: RegistryTls,
    /// `registry.autoRegister`: whether `run` registers the output schemas.
    pub auto_register: bool,
}

/// Certificates for the registry. Once checked, a client certificate has its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryTls {
    /// `registry.caFile` or `registry.caPem`: the trusted authorities.
    pub authorities: Option<Pem>,
    /// `registry.certificateFile` or `registry.certificatePem`: the client certificate.
    pub certificate: Option<Pem>,
    /// `registry.keyFile` or `registry.keyPem`.
    pub key: Option<Pem>,
}

/// How to reach MongoDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mongo {
    /// `mongo.uri`.
    pub uri: Secret,
    /// `mongo.database`.
    pub database: String,
    /// `mongo.maxPoolSize`: connections at most.
    pub max_pool_size: u32,
}

/// The listener for probes and reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// `http.listen`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `http.opsListen`: where probes are answered instead, if set; port 0 takes a free one.
    pub ops_listen: Option<SocketAddr>,
    /// `http.auth.*`
    pub auth: Auth,
}

/// How a caller is known. Once checked, the values that `mode` needs are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// `http.auth.mode`
    pub mode: AuthMode,
    /// `http.auth.jwtSecret`: HS256; with `jwt`, this or `jwks_url`.
    pub jwt_secret: Option<Secret>,
    /// `http.auth.jwksUrl`, may carry `user:password@`; with `jwt`, this or `jwt_secret`.
    pub jwks_url: Option<Secret>,
    /// `http.auth.issuer`: `iss`, checked where configured.
    pub issuer: Option<String>,
    /// `http.auth.audience`: `aud`, checked where configured.
    pub audience: Option<String>,
    /// `http.auth.gatewaySecret`: what `X-Gateway-Secret` must say; with `trustedHeader`.
    pub gateway_secret: Option<Secret>,
}

impl Auth {
    /// Whether tokens are signed with a secret shorter than HS256 asks for (RFC 7518, 3.2).
    pub fn has_guessable_secret(&self) -> bool {
        let secret = self.jwt_secret.as_ref();
        self.mode.takes_tokens() && secret.is_some_and(|secret| secret.expose().len() < HS256_BYTES)
    }
}

/// The least that a secret of HS256 should have.
const HS256_BYTES: usize = 32;

/// Ways in which a caller is known (contract 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthMode {
    /// `?userId=`, on a loopback listener only.
    None,
    /// A Bearer JWT's `sub`.
    Jwt,
    /// `X-User-Id` of a gateway that knows the secret.
    TrustedHeader,
    /// `TrustedHeader` for a request with `X-Gateway-Secret`, `Jwt` for any other.
    JwtOrTrustedHeader,
}

impl AuthMode {
    /// Whether a token can say who asks.
    pub fn takes_tokens(self) -> bool {
        matches!(self, Self::Jwt | Self::JwtOrTrustedHeader)
    }

    /// Whether a gateway can say who asks.
    pub fn trusts_gateway(self) -> bool {
        matches!(self, Self::TrustedHeader | Self::JwtOrTrustedHeader)
    }
}

/// The bounds of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// `lane.batchRecords`: input records a transaction at most.
    pub batch_records: usize,
    /// `lane.batchBytes`: input bytes a transaction at most; one record always fits.
    pub batch_bytes: usize,
    /// `lane.outboxBytes`: output bytes a transaction at most.
    pub outbox_bytes: usize,
    /// `lane.timersPerBatch`: sessions whose deadlines a transaction fires at most.
    pub timers_per_batch: usize,
    /// `lane.unacknowledgedBatches`: batches handed to the producer and not yet acknowledged.
    pub unacknowledged_batches: usize,
    /// `lane.cacheSessions`: sessions kept in memory per lane.
    pub cache_sessions: usize,
    /// `lane.cacheBytes`: bytes of sessions kept in memory per lane, estimated.
    pub cache_bytes: usize,
}

/// What the log looks like; which lines it has is `RUST_LOG`'s matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `log.format`
    pub format: LogFormat,
}

/// How the process stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// `shutdown.timeout`: how long a drain may take.
    pub timeout: Duration,
}

const MIB: usize = 1 << 20;

impl Default for Settings {
    fn default() -> Self {
        let session_timeout = ("session.timeout.ms".to_owned(), "10000".to_owned());
        Self {
            kafka: Kafka {
                brokers: vec!["127.0.0.1:9092".to_owned()],
                group_id: "session-worker".to_owned(),
                properties: Properties(BTreeMap::from([session_timeout])),
            },
            topics: TopicNames::default(),
            registry: Registry {
                urls: vec![Secret::new("http://127.0.0.1:8081/apis/ccompat/v7")],
                username: None,
                password: None,
                token: None,
                tls: RegistryTls::default(),
                auto_register: false,
            },
            mongo: Mongo {
                uri: Secret::new("mongodb://127.0.0.1:27017/?replicaSet=rs0"),
                database: "sessions".to_owned(),
                max_pool_size: 64,
            },
            http: Http {
                listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
                ops_listen: None,
                auth: Auth {
                    mode: AuthMode::None,
                    jwt_secret: None,
                    jwks_url: None,
                    issuer: None,
                    audience: None,
                    gateway_secret: None,
                },
            },
            rules: Rules::default(),
            lane: Lane {
                batch_records: 256,
                batch_bytes: 4 * MIB,
                outbox_bytes: 8 * MIB,
                timers_per_batch: 500,
                unacknowledged_batches: 4,
                cache_sessions: 10_000,
                cache_bytes: 32 * MIB,
            },
            log: Log {
                format: LogFormat::Auto,
            },
            shutdown: Shutdown {
                timeout: Duration::from_secs(25),
            },
        }
    }
}

/// The settings in effect, and where each came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The settings.
    pub settings: Settings,
    sources: BTreeMap<String, Source>,
}

/// One setting in effect, as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its key.
    pub key: String,
    /// Its value, secrets masked; empty where it is not set.
    pub value: String,
    /// Where it came from.
    pub source: Source,
}

impl Effective {
    /// Every setting in effect, in the documentation's order, secrets masked.
    pub fn shown(&self) -> Vec<Shown> {
        let shown = |key: String, value: String| {
            let source = self.sources.get(&key).cloned().unwrap_or(Source::Default);
            Shown { key, value, source }
        };
        let properties = self
            .settings
            .kafka
            .properties
            .0
            .iter()
            .map(|(name, value)| {
                let key = format!("{}{name}", catalogue::PROPERTIES);
                shown(key, secret::mask_property(name, value).to_owned())
            });
        let rows = catalogue::SETTINGS
            .iter()
            .map(|setting| shown(setting.key.to_owned(), (setting.show)(&self.settings)));
        rows.chain(properties).collect()
    }
}

/// Reads the layers and checks the result as a whole.
///
/// # Errors
/// Every fault of every layer, at once.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Effective, Faults> {
    let mut faults = Vec::new();
    let mut given = Vec::new();
    if let Some(path) = &flags.config {
        layers::file(path, &mut given, &mut faults);
    }
    layers::environment(environment, &mut given, &mut faults);
    layers::flags(&flags.values, &mut given, &mut faults);

    let mut effective = Effective {
        settings: Settings::default(),
        sources: BTreeMap::new(),
    };
    for value in given {
        match catalogue::set(&mut effective.settings, &value.key, &value.raw) {
            Ok(()) => {
                effective.sources.insert(value.key, value.source);
            }
            Err(problem) => faults.push(Fault::of(&value.key, value.source, problem)),
        }
    }
    checks::whole(&effective, &mut faults);
    if faults.is_empty() {
        Ok(effective)
    } else {
        Err(Faults(faults))
    }
}
