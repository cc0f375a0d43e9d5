//! What `check` wants to know of MongoDB: every fault that can be seen without writing, each with
//! what to do about it. Looks, changes nothing, prints nothing.

use mongodb::Client;
use mongodb::bson::{Document, doc};

use super::client::{self, Options, bounded};
use super::clock::MongoClock;
use super::failure::Failure;
use super::indexes;

/// The oldest server with everything the worker asks for (snapshot reads outside transactions).
const OLDEST: (i32, i32) = (5, 0);
/// The oldest server the worker's tests run on.
const TESTED: (i32, i32) = (6, 0);
/// How far apart two clocks may be before people should know, in milliseconds.
const OFFSET_MS: i64 = 1_000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// The worker runs, but somebody should look.
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
    let client = match client::open(uri, options).await {
        Ok(client) => client,
        Err(error) => {
            let advice = "correct mongo.uri";
            return vec![Finding::bad(
                Severity::Fault,
                "uri",
                error.to_string(),
                advice,
            )];
        }
    };
    let hello = match client::hello(&client, options.timeouts.call).await {
        Ok(hello) => hello,
        Err(failure) => {
            let advice = "start MongoDB, elect a primary, or correct mongo.uri and its credentials";
            return vec![Finding::bad(
                Severity::Fault,
                "primary",
                failure.reason(),
                advice,
            )];
        }
    };
    let mut findings = deployment(&hello);
    findings.push(version(&client, options).await);
    findings.push(clock(&client, options).await);
    findings.push(missing_indexes(&client, database, options).await);
    findings
}

fn deployment(hello: &Document) -> Vec<Finding> {
    let mut findings = Vec::new();
    let kind = "replica set";
    if client::has_transactions(hello) {
        let name = hello.get_str("setName").unwrap_or("a sharded cluster");
        findings.push(Finding::fine(kind, name));
    } else {
        findings.push(Finding::bad(
            Severity::Fault,
            kind,
            "MongoDB is a standalone server and has no transactions",
            "start mongod with --replSet <name>, run rs.initiate() once, and add \
             replicaSet=<name> to mongo.uri",
        ));
    }
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
    let offset = clock.host_offset_ms();
    let way = if offset < 0 { "behind" } else { "ahead of" };
    let detail = format!("this host is {} ms {way} the database", offset.abs());
    if offset.abs() < OFFSET_MS {
        return Finding::fine(subject, detail);
    }
    let advice = "decisions follow the database's clock; synchronise both hosts (NTP), so that \
                  logs and senders' issuedAt agree with it";
    Finding::bad(Severity::Warning, subject, detail, advice)
}

async fn missing_indexes(client: &Client, database: &str, options: &Options) -> Finding {
    let subject = "indexes";
    let database = client::database(client, database);
    match indexes::missing(&database, &options.timeouts).await {
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
    let advice = "see that the user in mongo.uri may read this database, and try again";
    Finding::bad(Severity::Fault, subject, failure.reason(), advice)
}
