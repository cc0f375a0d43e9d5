//! What `check` wants to know of MongoDB: every fault that can be seen without writing, each with
//! what to do about it. Looks, changes nothing, prints nothing.

use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, ServerAddress};
use mongodb::{Client, Database};

use super::client::{self, Options, bounded};
use super::clock::MongoClock;
use super::connect::{self, ConnectError};
use super::diagnosis::{self, Answer, HostState, Role, ask_hosts};
use super::failure::{Failure, code};
use super::indexes;
use super::privileges::{Rights, rights};

/// The oldest server with everything the worker asks for (snapshot reads outside transactions).
const OLDEST: (i32, i32) = (5, 0);
/// The oldest server the worker's tests run on.
const TESTED: (i32, i32) = (6, 0);
/// How far apart the members' clocks may be before people should know, in milliseconds.
const OFFSET_MS: i64 = 1_000;
/// How far a majority may be behind the primary: it writes at least every 10 s by itself.
const MAJORITY_BEHIND_MS: i64 = 15_000;
/// What to do about clocks that differ.
const SYNCHRONISE: &str = "decisions follow the database's clock; synchronise both hosts (NTP), so that \
                           logs, tokens and senders' issuedAt agree with it";

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// The worker runs, but an operator should look.
    Warning,
    /// The worker cannot run.
    Fault,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at, for people.
    pub subject: &'static str,
    /// What is the case.
    pub detail: String,
    /// What to do; empty where nothing is to be done.
    pub advice: String,
}

impl Finding {
    fn fine(subject: &'static str, detail: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fine,
            subject,
            detail: detail.into(),
            advice: String::new(),
        }
    }

    fn bad(
        severity: Severity,
        subject: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            subject,
            detail: detail.into(),
            advice: advice.into(),
        }
    }
}

/// Looks at the deployment behind `uri` and at the database called `database`.
pub async fn check(uri: &str, database: &str, options: &Options) -> Vec<Finding> {
    let connected = async {
        let settings = client::parse(uri, options).await?;
        Ok((client::with(uri, settings.clone())?, settings))
    };
    let (client, settings) = match connected.await {
        Ok(connected) => connected,
        Err(error) => return vec![unusable(&error)],
    };
    let hello = match client::hello(&client, options.timeouts.call).await {
        Ok(hello) => hello,
        Err(failure) => {
            let error = connect::diagnose(uri, &settings, &failure, &options.timeouts).await;
            return vec![unusable(&error)];
        }
    };
    let mut findings = deployment(&hello);
    if hello.contains_key("setName") {
        findings.push(majority(&hello));
        findings.extend(members(&hello, &settings).await);
    }
    findings.push(version(&client, options).await);
    findings.push(clock(&client, options).await);
    let database = client::database(&client, database);
    let missing = indexes::missing(&database, &options.timeouts).await;
    let is_complete = matches!(&missing, Ok(missing) if missing.is_empty());
    findings.push(privileges(&client, &database, is_complete, options).await);
    findings.push(missing_indexes(missing));
    findings
}

fn unusable(error: &ConnectError) -> Finding {
    let subject = match error {
        ConnectError::Uri { .. } => "uri",
        ConnectError::Standalone | ConnectError::OtherSet { .. } => "replica set",
        ConnectError::Credentials { .. } => "credentials",
        ConnectError::ForeignIndex { .. } => "indexes",
        ConnectError::Forbidden { .. } => "privileges",
        ConnectError::Unreachable { .. } => "primary",
    };
    // The words of these errors say what to do.
    Finding::bad(Severity::Fault, subject, error.to_string(), "")
}

fn deployment(hello: &Document) -> Vec<Finding> {
    let mut findings = Vec::new();
    let kind = "replica set";
    if client::has_transactions(hello) {
        let name = hello.get_str("setName").unwrap_or("a sharded cluster");
        findings.push(Finding::fine(kind, name));
    } else {
        findings.push(unusable(&ConnectError::Standalone));
    }
    // A router takes writes for its shards' primaries.
    if hello.get_bool("isWritablePrimary").unwrap_or(false) {
        findings.push(Finding::fine(
            "primary",
            hello.get_str("me").unwrap_or("writable"),
        ));
    } else {
        findings.push(Finding::bad(
            Severity::Fault,
            "primary",
            "the server that answers takes no writes",
            "take directConnection out of mongo.uri and name the replica set",
        ));
    }
    findings
}

/// Whether a majority of the members follows the primary, by what it says itself.
fn majority(hello: &Document) -> Finding {
    let subject = "majority";
    let written = hello.get_document("lastWrite");
    let at = |field: &str| written.as_ref().ok()?.get_datetime(field).ok();
    let (Some(last), Some(majority)) = (at("lastWriteDate"), at("majorityWriteDate")) else {
        let advice = "upgrade MongoDB to 6.0 or later";
        let detail = "the primary does not say what a majority has";
        return Finding::bad(Severity::Warning, subject, detail, advice);
    };
    let behind = last.timestamp_millis() - majority.timestamp_millis();
    if behind < MAJORITY_BEHIND_MS {
        return Finding::fine(subject, "follows the primary");
    }
    let detail = format!(
        "the last write that a majority has is {} s older than the primary's last",
        behind / 1_000
    );
    let advice = "nothing can be committed until more members follow: start those that are down";
    Finding::bad(Severity::Fault, subject, detail, advice)
}

/// What every member of the set is, and whether they agree about the time.
async fn members(hello: &Document, settings: &ClientOptions) -> Vec<Finding> {
    let subject = "member";
    let mut of_set = settings.clone();
    of_set.hosts = diagnosis::members(hello)
        .into_iter()
        .filter_map(|host| ServerAddress::parse(host).ok())
        .collect();
    let answers = ask_hosts(&of_set).await;
    let offsets: Vec<i64> = answers
        .iter()
        .filter_map(|answer| answer.offset_ms)
        .collect();
    let findings = answers
        .iter()
        .map(|Answer { report, .. }| match &report.state {
            HostState::Member {
                role: Role::Primary | Role::Secondary | Role::Arbiter,
                ..
            } => Finding::fine(subject, report.to_string()),
            _ => Finding::bad(
                Severity::Warning,
                subject,
                report.to_string(),
                "the set goes on as long as a majority of its members does",
            ),
        });
    let mut findings: Vec<Finding> = findings.collect();
    let (first, last) = (offsets.iter().min(), offsets.iter().max());
    if let (Some(first), Some(last)) = (first, last)
        && last - first >= OFFSET_MS
    {
        let detail = format!("the members' clocks are {} ms apart", last - first);
        let advice = "synchronise the members (NTP): deadlines follow the primary's clock, and jump \
                      with it at a failover";
        findings.push(Finding::bad(Severity::Warning, "clock", detail, advice));
    }
    findings
}

/// What the worker's user may do, without trying it out.
async fn privileges(
    client: &Client,
    database: &Database,
    is_complete: bool,
    options: &Options,
) -> Finding {
    let subject = "privileges";
    match rights(client, database, is_complete, options.timeouts.call).await {
        Ok(Rights::Unrestricted) => {
            Finding::fine(subject, "not needed: MongoDB runs without authorization")
        }
        Ok(Rights::Anonymous) => {
            let detail = "MongoDB asks who the worker is, and mongo.uri names no user";
            Finding::bad(Severity::Fault, subject, detail, connect::GRANT)
        }
        Ok(Rights::Lacking(lacking)) if lacking.is_empty() => Finding::fine(subject, "sufficient"),
        Ok(Rights::Lacking(lacking)) => {
            let database = database.name();
            let lacking = lacking.join(", ");
            let detail = format!("the user may not {lacking} in the database {database}");
            Finding::bad(Severity::Fault, subject, detail, connect::GRANT)
        }
        Err(failure) => unanswered(subject, &failure),
    }
}

async fn version(client: &Client, options: &Options) -> Finding {
    let subject = "server version";
    let admin = client.database("admin");
    let ask = bounded(
        options.timeouts.call,
        admin.run_command(doc! { "buildInfo": 1 }),
    );
    let version = match ask.await {
        Ok(answer) => answer.get_str("version").unwrap_or("0.0").to_owned(),
        Err(failure) => return unanswered(subject, &failure),
    };
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let upgrade = "upgrade MongoDB to 6.0 or later";
    match number {
        number if number < OLDEST => Finding::bad(
            Severity::Fault,
            subject,
            format!("{version}: reads as of one moment need 5.0"),
            upgrade,
        ),
        number if number < TESTED => Finding::bad(
            Severity::Warning,
            subject,
            format!("{version}: the worker is tested on 6.0 and later"),
            upgrade,
        ),
        _ => Finding::fine(subject, version),
    }
}

async fn clock(client: &Client, options: &Options) -> Finding {
    let subject = "clock";
    let clock = match MongoClock::start(client.clone(), options.timeouts.call).await {
        Ok(clock) => clock,
        Err(failure) => return unanswered(subject, &failure),
    };
    match clock.host_offset_warning() {
        None => Finding::fine(
            subject,
            format!("{} ms from this host's", clock.host_offset_ms()),
        ),
        Some(detail) => Finding::bad(Severity::Warning, subject, detail, SYNCHRONISE),
    }
}

fn missing_indexes(missing: Result<Vec<String>, Failure>) -> Finding {
    let subject = "indexes";
    match missing {
        Ok(missing) if missing.is_empty() => Finding::fine(subject, "complete"),
        Ok(missing) => Finding::bad(
            Severity::Warning,
            subject,
            format!("missing: {}", missing.join(", ")),
            "`run` makes them at its start, if its user may create indexes",
        ),
        Err(failure) => unanswered(subject, &failure),
    }
}

fn unanswered(subject: &'static str, failure: &Failure) -> Finding {
    let advice = match failure.code() {
        Some(code::UNAUTHORIZED) => connect::GRANT,
        _ => "see MongoDB's log, and try again",
    };
    Finding::bad(Severity::Fault, subject, failure.reason(), advice)
}
