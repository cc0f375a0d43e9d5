//! Why no primary answers: every host of the URI, and those that they name, is asked directly what it
//! is, without credentials, so that people read causes instead of "no server available".

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error as DriverError, ErrorKind};
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{ClientOptions, ServerAddress, Tls, TlsOptions};

use super::client::bounded;
use super::clock::host_now;
use super::failure::Failure;

/// How long a host may take to say what it is.
const ANSWER: Duration = Duration::from_secs(2);
/// The most hosts that are asked.
const HOSTS: usize = 32;

/// What a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostState {
    /// A member of a replica set.
    Member {
        /// The set's name.
        set: String,
        /// What it is there.
        role: Role,
    },
    /// Started for a replica set that is not initiated yet.
    Uninitiated,
    /// A server without a replica set.
    Standalone,
    /// A router to shards.
    Router,
    /// It speaks TLS, and mongo.uri asks for none.
    ExpectsTls,
    /// It speaks no TLS, and mongo.uri asks for it.
    ExpectsNoTls,
    /// TLS failed.
    TlsFailed {
        /// What the driver said.
        reason: String,
    },
    /// It does not answer.
    Silent {
        /// What the driver said.
        reason: String,
    },
}

/// What a member of a replica set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows the primary.
    Secondary,
    /// It votes and holds no data.
    Arbiter,
    /// It is starting, recovering or removed.
    Other,
}

impl Role {
    /// The words for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "the primary",
            Self::Secondary => "a secondary",
            Self::Arbiter => "an arbiter",
            Self::Other => "a member that is starting or recovering",
        }
    }
}

/// What one host says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    /// `host:port`.
    pub host: String,
    /// What it is.
    pub state: HostState,
}

impl HostReport {
    /// Whether it said what it is.
    pub fn answers(&self) -> bool {
        match self.state {
            HostState::Member { .. }
            | HostState::Uninitiated
            | HostState::Standalone
            | HostState::Router => true,
            HostState::ExpectsTls
            | HostState::ExpectsNoTls
            | HostState::TlsFailed { .. }
            | HostState::Silent { .. } => false,
        }
    }
}

impl fmt::Display for HostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.state {
            HostState::Member { set, role } => write!(f, "{host} is {} of {set}", role.as_str()),
            HostState::Uninitiated => write!(
                f,
                "{host} belongs to a replica set that is not initiated: run rs.initiate() once"
            ),
            HostState::Standalone => write!(f, "{host} is a standalone server"),
            HostState::Router => write!(f, "{host} is a router to shards"),
            HostState::ExpectsTls => {
                write!(f, "{host} expects TLS: add tls=true to mongo.uri")
            }
            HostState::ExpectsNoTls => {
                write!(f, "{host} speaks no TLS: take tls=true out of mongo.uri")
            }
            HostState::TlsFailed { reason } => write!(
                f,
                "{host} and the worker cannot agree on TLS ({reason}): see tlsCAFile and \
                 tlsCertificateKeyFile in mongo.uri, and that the certificate is of this host's name"
            ),
            HostState::Silent { reason } => write!(f, "{host} does not answer: {reason}"),
        }
    }
}

/// What was learned of a host.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) report: HostReport,
    /// What it said, where it did.
    pub(super) hello: Option<Document>,
    /// By how much its clock is ahead of this host's, where it said so.
    pub(super) offset_ms: Option<i64>,
}

/// Asks the hosts of `settings`, and then those that they name, what they are.
pub(super) async fn ask_hosts(settings: &ClientOptions) -> Vec<Answer> {
    let mut answers: BTreeMap<String, Answer> = BTreeMap::new();
    let mut hosts = settings.hosts.clone();
    for _ in 0..2 {
        hosts.retain(|host| !answers.contains_key(&host.to_string()));
        hosts.truncate(HOSTS);
        let asked = hosts.iter().map(|host| ask(settings, host.clone()));
        for answer in futures::future::join_all(asked).await {
            answers.insert(answer.report.host.clone(), answer);
        }
        hosts = answers
            .values()
            .filter_map(|answer| answer.hello.as_ref())
            .flat_map(members)
            .filter_map(|host| ServerAddress::parse(host).ok())
            .collect();
        hosts.sort_by_key(ServerAddress::to_string);
        hosts.dedup();
    }
    answers.into_values().collect()
}

/// The addresses of the members, as the set itself has them.
pub(super) fn members(hello: &Document) -> Vec<String> {
    let lists = ["hosts", "passives", "arbiters"].into_iter();
    let lists = lists.filter_map(|list| hello.get_array(list).ok());
    lists
        .flatten()
        .filter_map(|host| Some(host.as_str()?.to_owned()))
        .collect()
}

async fn ask(settings: &ClientOptions, host: ServerAddress) -> Answer {
    let name = host.to_string();
    let (state, hello) = match hello(settings, host.clone(), settings.tls.clone()).await {
        Ok(hello) => (state(&hello), Some(hello)),
        Err(error) => (explain(settings, host, &error).await, None),
    };
    let clock = hello
        .as_ref()
        .and_then(|hello| hello.get_datetime("localTime").ok());
    Answer {
        report: HostReport { host: name, state },
        offset_ms: clock.map(|clock| clock.timestamp_millis() - host_now().0),
        hello,
    }
}

fn state(hello: &Document) -> HostState {
    let is = |field: &str| hello.get_bool(field).unwrap_or(false);
    if let Ok(set) = hello.get_str("setName") {
        let role = if is("isWritablePrimary") {
            Role::Primary
        } else if is("secondary") {
            Role::Secondary
        } else if is("arbiterOnly") {
            Role::Arbiter
        } else {
            Role::Other
        };
        let set = set.to_owned();
        return HostState::Member { set, role };
    }
    if is("isreplicaset") {
        HostState::Uninitiated
    } else if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        HostState::Router
    } else {
        HostState::Standalone
    }
}

/// Why a host did not answer as it was asked; whether it speaks TLS is tried out.
async fn explain(settings: &ClientOptions, host: ServerAddress, error: &Failure) -> HostState {
    let reason = error.reason();
    let Failure::Driver(driver) = error else {
        return HostState::Silent { reason };
    };
    let ErrorKind::Io(io) = &*driver.kind else {
        return HostState::Silent { reason };
    };
    use std::io::ErrorKind as Io;
    let is_unreachable = matches!(
        io.kind(),
        Io::ConnectionRefused | Io::TimedOut | Io::HostUnreachable | Io::NetworkUnreachable
    );
    if is_unreachable || is_lookup(io) {
        return HostState::Silent { reason };
    }
    match &settings.tls {
        Some(Tls::Enabled(_)) => match hello(settings, host, Some(Tls::Disabled)).await {
            Ok(_) => HostState::ExpectsNoTls,
            Err(_) => HostState::TlsFailed { reason },
        },
        _ => {
            let lenient = TlsOptions::builder()
                .allow_invalid_certificates(true)
                .build();
            match hello(settings, host, Some(Tls::Enabled(lenient))).await {
                Ok(_) => HostState::ExpectsTls,
                Err(Failure::Driver(error)) if is_alert(&error) => HostState::ExpectsTls,
                Err(_) => HostState::Silent { reason },
            }
        }
    }
}

/// Names that cannot be looked up have no kind of their own.
fn is_lookup(io: &std::io::Error) -> bool {
    io.to_string().contains("lookup address")
}

/// Whether the other side refused the handshake in the words of TLS.
fn is_alert(error: &DriverError) -> bool {
    matches!(&*error.kind, ErrorKind::Io(io) if io.to_string().contains("alert"))
}

/// Asks one host what it is, without credentials; the first failure counts.
async fn hello(
    settings: &ClientOptions,
    host: ServerAddress,
    tls: Option<Tls>,
) -> Result<Document, Failure> {
    let (failed, mut failures) = tokio::sync::mpsc::unbounded_channel();
    let watch = EventHandler::callback(move |event| {
        if let SdamEvent::ServerHeartbeatFailed(event) = event {
            let _ = failed.send(event.failure);
        }
    });
    let mut direct = ClientOptions::builder()
        .hosts(vec![host])
        .direct_connection(true)
        .tls(tls)
        .app_name(settings.app_name.clone())
        .server_api(settings.server_api.clone())
        .connect_timeout(ANSWER)
        .server_selection_timeout(ANSWER)
        .build();
    direct.sdam_event_handler = Some(watch);
    let client = Client::with_options(direct)?;
    let admin = client.database("admin");
    let answer = tokio::select! {
        biased;
        answer = bounded(ANSWER, admin.run_command(doc! { "hello": 1 })) => answer,
        Some(failure) = failures.recv() => Err(failure.into()),
    };
    drop(tokio::spawn(
        client.shutdown().immediate(true).into_future(),
    ));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_what_it_says() {
        let member = |set: &str, role| HostState::Member {
            set: set.to_owned(),
            role,
        };
        for (hello, expected) in [
            (
                doc! { "isWritablePrimary": true, "setName": "rs0" },
                member("rs0", Role::Primary),
            ),
            (
                doc! { "secondary": true, "setName": "rs0" },
                member("rs0", Role::Secondary),
            ),
            (
                doc! { "arbiterOnly": true, "setName": "rs0" },
                member("rs0", Role::Arbiter),
            ),
            (doc! { "setName": "rs0" }, member("rs0", Role::Other)),
            (doc! { "isreplicaset": true }, HostState::Uninitiated),
            (
                doc! { "isWritablePrimary": true, "msg": "isdbgrid" },
                HostState::Router,
            ),
            (doc! { "isWritablePrimary": true }, HostState::Standalone),
        ] {
            assert_eq!(state(&hello), expected, "{hello}");
        }
    }
}
