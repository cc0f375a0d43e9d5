//! What keeps the worker from its database: each cause with its cure, and whether waiting can cure it.
//! No error quotes what mongo.uri says of user and password.

use mongodb::Client;
use mongodb::error::ErrorKind;
use mongodb::options::{ClientOptions, Credential};

use super::client::{self, Timeouts};
use super::diagnosis::{Answer, HostReport, HostState, Role, ask_hosts};
use super::failure::{Failure, code};

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URI or one of its options.
    #[error("mongo.uri is not usable: {reason}")]
    Uri {
        /// What the driver said.
        reason: String,
    },
    /// A single server without a replica set has no transactions.
    #[error(
        "MongoDB is a standalone server, and the worker needs transactions: start mongod with \
         --replSet <name>, run rs.initiate() once, and add replicaSet=<name> to mongo.uri"
    )]
    Standalone,
    /// The servers belong to another replica set than the URI names.
    #[error(
        "mongo.uri asks for the replica set {expected}, and its hosts belong to {found}: set \
         replicaSet={found} in mongo.uri, or correct its hosts"
    )]
    OtherSet {
        /// What the URI names.
        expected: String,
        /// What the servers name.
        found: String,
    },
    /// An index of this name or these keys exists with other options.
    #[error(
        "the index {index} of {collection} exists with other keys or options than the worker \
         needs: drop it and start again"
    )]
    ForeignIndex {
        /// Of which collection.
        collection: &'static str,
        /// Its name.
        index: &'static str,
    },
    /// MongoDB does not accept who the URI says the worker is.
    #[error("MongoDB refuses the credentials in mongo.uri ({reason}): {cure}")]
    Credentials {
        /// What the server said.
        reason: String,
        /// What to do.
        cure: String,
    },
    /// The user lacks a privilege.
    #[error("the user in mongo.uri may not {action} in {collection}: {cure}")]
    Forbidden {
        /// Which privilege.
        action: &'static str,
        /// On which collection.
        collection: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// No server that takes writes answers.
    #[error("no primary of MongoDB answers: {}", said(.reason, .hosts))]
    Unreachable {
        /// What the driver said.
        reason: String,
        /// What each host says of itself, where they were asked.
        hosts: Vec<HostReport>,
    },
}

impl ConnectError {
    /// Whether waiting cannot cure it: someone has to change a setting, or what is deployed.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Uri { .. }
            | Self::Standalone
            | Self::OtherSet { .. }
            | Self::ForeignIndex { .. } => true,
            Self::Credentials { .. } | Self::Forbidden { .. } | Self::Unreachable { .. } => false,
        }
    }

    /// What `failure` at an attempt to `action` in `collection` means.
    pub(super) fn at(failure: &Failure, action: &'static str, collection: &'static str) -> Self {
        match failure.code() {
            Some(code::UNAUTHORIZED) => Self::Forbidden {
                action,
                collection,
                cure: GRANT,
            },
            _ => Self::Unreachable {
                reason: failure.reason(),
                hosts: Vec::new(),
            },
        }
    }
}

/// What to do where a privilege is missing.
pub(super) const GRANT: &str = "name a user with readWrite on the database in mongo.uri, or grant the \
                                privileges that docs/security.md lists";

fn said(reason: &str, hosts: &[HostReport]) -> String {
    if hosts.is_empty() {
        return reason.to_owned();
    }
    let mut said: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let primary = |host: &&HostReport| {
        matches!(
            host.state,
            HostState::Member {
                role: Role::Primary,
                ..
            }
        )
    };
    let is_silent = |host: &HostReport| matches!(host.state, HostState::Silent { .. });
    if hosts.iter().any(|host| primary(&host)) && hosts.iter().any(is_silent) {
        said.push(
            "a primary that is reached under another address than its set gives it has to be \
             reached under that one, too"
                .to_owned(),
        );
    }
    said.join("; ")
}

/// Why the primary behind `settings` does not answer.
pub(super) async fn diagnose(
    uri: &str,
    settings: &ClientOptions,
    failure: &Failure,
    timeouts: &Timeouts,
) -> ConnectError {
    if let Some(error) = credentials(uri, settings, failure) {
        return error;
    }
    let answers = ask_hosts(settings).await;
    let member = answers
        .iter()
        .find(|answer| matches!(answer.report.state, HostState::Member { .. }));
    if let (Some(_), Some(member)) = (&settings.credential, member) {
        // The driver may have reported only that it gave up its connections.
        if let Err(failure) = log_in(settings, &member.report.host, timeouts).await
            && let Some(error) = credentials(uri, settings, &failure)
        {
            return error;
        }
    }
    conclude(settings.repl_set_name.as_deref(), answers, failure)
}

/// What the hosts' answers come to.
fn conclude(wanted: Option<&str>, answers: Vec<Answer>, failure: &Failure) -> ConnectError {
    let hosts: Vec<HostReport> = answers.into_iter().map(|answer| answer.report).collect();
    let all_answer = !hosts.is_empty() && hosts.iter().all(HostReport::answers);
    let is_alone = |host: &HostReport| host.state == HostState::Standalone;
    if all_answer && hosts.iter().all(is_alone) {
        return ConnectError::Standalone;
    }
    let sets: Vec<&str> = hosts
        .iter()
        .filter_map(|host| match &host.state {
            HostState::Member { set, .. } => Some(set.as_str()),
            _ => None,
        })
        .collect();
    if let (true, Some(wanted), Some(found)) = (all_answer, wanted, sets.first())
        && sets.len() == hosts.len()
        && !sets.contains(&wanted)
    {
        return ConnectError::OtherSet {
            expected: wanted.to_owned(),
            found: (*found).to_owned(),
        };
    }
    ConnectError::Unreachable {
        reason: failure.reason(),
        hosts,
    }
}

/// The error of credentials, if `failure` is about them.
fn credentials(uri: &str, settings: &ClientOptions, failure: &Failure) -> Option<ConnectError> {
    let reason = match failure {
        Failure::Driver(error) => match &*error.kind {
            ErrorKind::Authentication { message, .. } => message.clone(),
            ErrorKind::Command(error) if code::LOG_IN.contains(&error.code) => {
                error.code_name.clone()
            }
            _ => return None,
        },
        _ => return None,
    };
    let mut cure = "correct user and password".to_owned();
    let source = settings.credential.as_ref().and_then(source_of);
    let names_source = uri.to_ascii_lowercase().contains("authsource=");
    if let (false, Some(source)) = (names_source, source) {
        cure.push_str(&format!(
            ", or add authSource=<the database in which the user was made> to mongo.uri: it names \
             none, so that the user is looked for in {source}"
        ));
    }
    Some(ConnectError::Credentials { reason, cure })
}

fn source_of(credential: &Credential) -> Option<&str> {
    credential.source.as_deref().or(Some("admin"))
}

/// Logs in at one host as the URI says.
async fn log_in(settings: &ClientOptions, host: &str, timeouts: &Timeouts) -> Result<(), Failure> {
    let mut direct = settings.clone();
    direct.hosts.retain(|known| known.to_string() == host);
    direct.direct_connection = Some(true);
    direct.repl_set_name = None;
    direct.min_pool_size = None;
    if direct.hosts.is_empty() {
        return Ok(());
    }
    let client = Client::with_options(direct)?;
    let asked = client::hello(&client, timeouts.call).await.map(drop);
    drop(tokio::spawn(
        client.shutdown().immediate(true).into_future(),
    ));
    asked
}

/// What the driver says of a URI, unless it quotes user or password.
pub(super) fn uri_reason(uri: &str, said: &str) -> String {
    let secret = uri
        .split_once("://")
        .map_or(uri, |(_, rest)| rest)
        .rsplit_once('@')
        .map_or("", |(secret, _)| secret);
    let words = |text: &'_ str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let secrets = words(secret);
    let is_quoted = words(said).iter().any(|word| {
        let is_long = word.chars().count() > 3;
        secrets.contains(word) || is_long && secret.contains(word.as_str())
    });
    if is_quoted {
        return "it cannot be parsed; characters like : / ? # [ ] @ % in user and password have to \
                be percent-encoded"
            .to_owned();
    }
    said.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, state: HostState) -> Answer {
        Answer {
            report: HostReport {
                host: name.to_owned(),
                state,
            },
            hello: None,
            offset_ms: None,
        }
    }

    fn member(set: &str, role: Role) -> HostState {
        HostState::Member {
            set: set.to_owned(),
            role,
        }
    }

    fn silent() -> HostState {
        HostState::Silent {
            reason: "connection refused".to_owned(),
        }
    }

    #[test]
    fn contract_3_8_only_what_waiting_cannot_cure_is_final() {
        use HostState::{ExpectsTls, Standalone, Uninitiated};
        let failure = Failure::Timeout(std::time::Duration::from_secs(5));
        for (hosts, is_final, words) in [
            (vec![Standalone], true, "standalone"),
            (vec![Standalone, Standalone], true, "standalone"),
            (
                vec![Standalone, silent()],
                false,
                "h0 is a standalone server; h1 does not answer",
            ),
            (
                vec![member("other", Role::Primary)],
                true,
                "set replicaSet=other",
            ),
            (
                vec![member("other", Role::Primary), silent()],
                false,
                "h0 is the primary of other",
            ),
            (
                vec![member("other", Role::Primary), member("rs0", Role::Other)],
                false,
                "h1 is a",
            ),
            (vec![Uninitiated], false, "rs.initiate()"),
            (vec![ExpectsTls], false, "tls=true"),
            (
                vec![silent(), silent()],
                false,
                "h0 does not answer: connection refused; h1 does",
            ),
            (
                vec![member("rs0", Role::Primary), silent()],
                false,
                "under another address",
            ),
            (vec![], false, "no answer within 5s"),
        ] {
            let named = hosts.into_iter().enumerate();
            let named = named.map(|(number, state)| host(&format!("h{number}"), state));
            let error = conclude(Some("rs0"), named.collect(), &failure);
            assert_eq!(error.is_final(), is_final, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_uri_is_never_quoted_where_it_is_secret() {
        let uri = "mongodb://user:pa/ss@host:1/?x=y";
        for said in [
            "invalid port 'pa'",
            "illegal character in pa/ss",
            "bad user",
        ] {
            assert!(uri_reason(uri, said).contains("percent-encoded"), "{said}");
        }
        for uri in [uri, "mongodb://host:1/?x=y", "kafka://x"] {
            assert_eq!(
                uri_reason(uri, "x is an invalid option"),
                "x is an invalid option"
            );
        }
    }
}
