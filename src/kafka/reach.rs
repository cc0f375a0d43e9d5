//! Whether the brokers can be used as the settings say, asked before the work: the clients themselves
//! wait through every fault and keep its cause to themselves. Names the cause; changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use serde::Deserialize;

use super::admin::TIMEOUT;
use super::settings::{Settings, SetupError};

/// How long one request for metadata waits for a broker.
const ATTEMPT: Duration = Duration::from_millis(500);
/// How long a broker that refuses the client may be outdone by one that does not.
const GRACE: Duration = Duration::from_secs(1);
/// How long a broker's own address may take to answer.
const CONNECT: Duration = Duration::from_secs(2);
/// How long the client is listened to after an attempt.
const LISTEN: Duration = Duration::from_millis(20);
/// Under which librdkafka logs why a connection failed.
const FAILED: &str = "FAIL";
/// A topic of every cluster: its metadata are small, and name the brokers.
const SMALL_TOPIC: &str = "__consumer_offsets";

/// Why brokers that can be found cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// User, password, token or mechanism.
    Credentials,
    /// The brokers' certificates.
    Certificate,
    /// The certificate is of another host.
    HostName,
    /// Something listens there, and ends the conversation or is silent.
    Protocol,
    /// The address that a broker gives for itself.
    AdvertisedListener,
}

impl Obstacle {
    /// What to do about it.
    #[must_use]
    pub fn cure(self) -> &'static str {
        match self {
            Self::Credentials => {
                "set kafka.properties.sasl.mechanisms, sasl.username and sasl.password (or \
                 sasl.oauthbearer.*) as the brokers know them"
            }
            Self::Certificate => {
                "set kafka.properties.ssl.ca.location (or ssl.ca.pem) to the authority that signed \
                 the brokers' certificates"
            }
            Self::HostName => {
                "set kafka.brokers to a name or address that the certificate is of, or have one made \
                 that is of this name"
            }
            Self::Protocol => {
                "see that the brokers are well, that kafka.properties.security.protocol is what the port \
                 speaks (PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL), and that ssl.certificate.* and \
                 ssl.key.* are set where it asks for a client certificate"
            }
            Self::AdvertisedListener => {
                "correct the brokers' advertised.listeners, or make that address reachable from here"
            }
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credentials => "they refuse the credentials",
            Self::Certificate => "their certificate is not trusted",
            Self::HostName => "the certificate is not of the host's name",
            Self::Protocol => "the port does not answer as the settings expect",
            Self::AdvertisedListener => "a broker's advertised listener does not answer",
        })
    }
}

/// A broker as it calls itself.
#[derive(Clone, Debug)]
pub(crate) struct Advertised {
    id: i32,
    host: String,
    port: u16,
}

/// Asks the brokers who they are; blocks.
///
/// # Errors
/// [`SetupError::Unusable`] with the cause, [`SetupError::Unavailable`] when none answers in time.
pub(crate) fn reach(settings: &Settings) -> Result<Vec<Advertised>, SetupError> {
    let found = ask(settings.admin(), TIMEOUT)?;
    let fault = match found {
        Ok(brokers) => return Ok(brokers),
        Err(fault) => fault,
    };
    let obstacle = match fault.rank {
        Rank::Credentials => Obstacle::Credentials,
        Rank::Tls if is_only_the_name(settings)? => Obstacle::HostName,
        Rank::Tls => Obstacle::Certificate,
        Rank::Connection | Rank::Other => {
            if let Some(astray) = astray(settings, &fault.brokers) {
                return Err(astray);
            }
            if fault.rank == Rank::Connection && is_open(&settings.brokers) {
                return Err(unusable(settings, Obstacle::Protocol, fault.words));
            }
            return Err(SetupError::Unavailable {
                brokers: settings.brokers.clone(),
                reason: fault.words,
            });
        }
    };
    Err(unusable(settings, obstacle, fault.words))
}

fn unusable(settings: &Settings, obstacle: Obstacle, detail: String) -> SetupError {
    SetupError::Unusable {
        brokers: settings.brokers.clone(),
        obstacle,
        detail,
    }
}

/// Why the brokers were found and what was asked of them was not answered: an address that one of
/// them gives for itself does not answer.
pub(crate) fn astray(settings: &Settings, brokers: &[Advertised]) -> Option<SetupError> {
    let details = brokers.iter().filter_map(|broker| {
        let Advertised { id, host, port } = broker;
        let failure = connect(host, *port).err()?;
        Some(format!("broker {id} calls itself {host}:{port}: {failure}"))
    });
    let details: Vec<_> = details.collect();
    let obstacle = Obstacle::AdvertisedListener;
    (!details.is_empty()).then(|| unusable(settings, obstacle, details.join(", ")))
}

/// A broker's own address, and whether something answers there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerFound {
    /// The broker's id.
    pub broker: i32,
    /// `host:port` as the broker advertises it.
    pub address: String,
    /// Why nothing answers; `None`: something does.
    pub failure: Option<String>,
}

/// Asks the brokers for their own addresses and tries each.
///
/// # Errors
/// As [`reach`].
pub async fn listeners(settings: &Settings) -> Result<Vec<ListenerFound>, SetupError> {
    settings.refuse_owned()?;
    let settings = settings.clone();
    let found = tokio::task::spawn_blocking(move || {
        let tried = reach(&settings)?.into_iter().map(|broker| {
            let Advertised { id, host, port } = broker;
            ListenerFound {
                broker: id,
                failure: connect(&host, port).err().map(|error| error.to_string()),
                address: format!("{host}:{port}"),
            }
        });
        Ok(tried.collect())
    });
    found.await.map_err(|error| SetupError::Client {
        reason: error.to_string(),
    })?
}

/// Whether something listens at one of the addresses of `kafka.brokers`.
fn is_open(brokers: &str) -> bool {
    let mut addresses = brokers.split(',').filter_map(address);
    addresses.any(|(host, port)| connect(host, port).is_ok())
}

/// Host and port of `host:port`, where the host may be an IPv6 address in brackets.
fn address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']), port.parse().ok()?))
}

fn connect(host: &str, port: u16) -> std::io::Result<()> {
    let mut failure = std::io::Error::other("it has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return Ok(()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Whether TLS comes about once the host's name is not compared. Sends no credentials: whoever is
/// behind a name that is not the certificate's must not learn them.
fn is_only_the_name(settings: &Settings) -> Result<bool, SetupError> {
    let mut config = settings.admin();
    config.set("security.protocol", "ssl");
    config.set("ssl.endpoint.identification.algorithm", "none");
    for key in [
        "sasl.mechanisms",
        "sasl.mechanism",
        "sasl.oauthbearer.method",
    ] {
        config.remove(key);
    }
    let found = ask(config, GRACE * 2)?;
    Ok(found.err().is_none_or(|fault| fault.rank != Rank::Tls))
}

fn ask(
    mut config: ClientConfig,
    patience: Duration,
) -> Result<Result<Vec<Advertised>, Fault>, SetupError> {
    // Brokers that were named and never answer are in the statistics only, and some causes in the log.
    config.set("statistics.interval.ms", "200");
    config.set_log_level(RDKafkaLogLevel::Info);
    let consumer: BaseConsumer<Witness> = config.create_with_context(Witness::default())?;
    let began = Instant::now();
    loop {
        let error = match consumer.fetch_metadata(Some(SMALL_TOPIC), ATTEMPT) {
            Ok(metadata) => {
                let brokers = metadata.brokers().iter().map(|broker| Advertised {
                    id: broker.id(),
                    host: broker.host().to_owned(),
                    port: u16::try_from(broker.port()).unwrap_or(0),
                });
                return Ok(Ok(brokers.collect()));
            }
            Err(error) => error,
        };
        // What the client has to say waits in its queue.
        while consumer.poll(LISTEN).is_some() {}
        let mut fault = consumer.context().worst();
        let is_final = fault.rank >= Rank::Tls;
        if began.elapsed() >= patience || (is_final && began.elapsed() >= GRACE) {
            if fault.words.is_empty() {
                fault.words = error.to_string();
            }
            return Ok(Err(fault));
        }
    }
}

/// How much an error says about the cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// That all brokers are down, for one.
    #[default]
    Other,
    Connection,
    Tls,
    Credentials,
}

#[derive(Clone, Debug, Default)]
struct Fault {
    rank: Rank,
    words: String,
    /// Brokers that others have named.
    brokers: Vec<Advertised>,
}

/// What is read of librdkafka's statistics (its STATISTICS.md).
#[derive(Deserialize)]
struct Statistics {
    brokers: BTreeMap<String, BrokerStatistics>,
}

#[derive(Deserialize)]
struct BrokerStatistics {
    /// Negative: not a broker that another has named.
    nodeid: i32,
    /// `host:port`
    nodename: String,
}

/// Keeps the most telling of what a client says.
#[derive(Default)]
struct Witness {
    worst: Mutex<Fault>,
}

const UNPOISONED: &str = "nothing panics while it holds this lock";

impl Witness {
    fn worst(&self) -> Fault {
        self.worst.lock().expect(UNPOISONED).clone()
    }

    fn hear(&self, rank: Rank, words: &str) {
        let mut worst = self.worst.lock().expect(UNPOISONED);
        if worst.rank <= rank {
            worst.rank = rank;
            worst.words = words.to_owned();
        }
    }
}

impl ClientContext for Witness {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == FAILED {
            // The name of a thread comes first.
            let words = line.split_once("]: ").map_or(line, |(_, words)| words);
            self.hear(Rank::Connection, words);
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics) else {
            return;
        };
        let named = statistics.brokers.into_values().filter_map(|broker| {
            let (host, port) = address(&broker.nodename)?;
            (broker.nodeid >= 0).then(|| Advertised {
                id: broker.nodeid,
                host: host.to_owned(),
                port,
            })
        });
        self.worst.lock().expect(UNPOISONED).brokers = named.collect();
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        let rank = match error.rdkafka_error_code() {
            Some(Code::Authentication | Code::SaslAuthenticationFailed) => Rank::Credentials,
            Some(Code::SSL) => Rank::Tls,
            Some(Code::BrokerTransportFailure | Code::Resolve) => Rank::Connection,
            _ => Rank::Other,
        };
        self.hear(rank, reason);
    }
}

impl ConsumerContext for Witness {}
