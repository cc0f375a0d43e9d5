//! `check`: settings first, then everything they name, all at once: brokers, topics, registry,
//! MongoDB and its clock. Changes nothing; every fault ends with what to do.

use std::fmt::Write;

use serde_json::json;

use super::Done;
use super::failure::Failure;
use super::flags::{SettingsFlags, TopicsFlag};
use super::output::Output;
use super::{schemas, topics};
use crate::http::Authenticator;
use crate::kafka::topics::{Growth, Topics};
use crate::settings::{Effective, Settings};
use crate::store;
use crate::store::mongo::Severity;

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// The worker runs all the same.
    Warning,
    /// The worker does not run.
    Fault,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// What was found about one thing.
#[derive(Clone, Debug)]
struct Finding {
    about: &'static str,
    verdict: Verdict,
    text: String,
}

impl Finding {
    fn ok(about: &'static str, text: impl Into<String>) -> Self {
        Self {
            about,
            verdict: Verdict::Ok,
            text: text.into(),
        }
    }

    fn warning(about: &'static str, text: impl Into<String>) -> Self {
        Self {
            about,
            verdict: Verdict::Warning,
            text: text.into(),
        }
    }

    fn fault(about: &'static str, text: impl Into<String>) -> Self {
        Self {
            about,
            verdict: Verdict::Fault,
            text: text.into(),
        }
    }
}

/// Checks everything and prints what it found.
pub(super) async fn run(
    flags: &SettingsFlags,
    file: &TopicsFlag,
    output: Output,
) -> Result<Done, Failure> {
    let effective = flags.load()?;
    let file = file.load(&effective.settings.topics)?;
    let settings = &effective.settings;
    let (kafka, registry, mongo, keys) = tokio::join!(
        kafka(settings, &file),
        registry(settings),
        mongo(settings),
        keys(settings)
    );
    let own = [Some(of_settings(&effective)), of_secret(settings)];
    let own = own.into_iter().flatten().collect();
    let findings = [own, kafka, registry, mongo, keys].concat();
    output.print(|| words(&findings), || shown(&findings))?;
    let faulty = findings
        .iter()
        .any(|finding| finding.verdict == Verdict::Fault);
    Ok(if faulty { Done::Failed } else { Done::Ok })
}

fn of_settings(effective: &Effective) -> Finding {
    let set = effective.shown();
    let set = set
        .iter()
        .filter(|shown| shown.source != crate::settings::Source::Default);
    Finding::ok(
        "settings",
        format!("{} set, the others at their defaults", set.count()),
    )
}

fn of_secret(settings: &Settings) -> Option<Finding> {
    settings.http.auth.has_guessable_secret().then(|| {
        Finding::warning(
            "settings",
            "http.auth.jwtSecret is shorter than 32 bytes and can be guessed; set a longer one",
        )
    })
}

async fn kafka(settings: &Settings, file: &Topics) -> Vec<Finding> {
    let client = settings.kafka.client();
    let plan = match topics::observe(&client, file, Growth::Refused).await {
        Ok(plan) => plan,
        Err(failure) => return vec![Finding::fault("brokers", failure.text())],
    };
    let mut findings = vec![Finding::ok("brokers", client.brokers.clone())];
    let changes = plan.changes.iter().map(|change| {
        Finding::fault(
            "topics",
            format!("not done: {change}; run `session-worker topics apply`"),
        )
    });
    // What differs without harm to the worker stays the operator's choice.
    let drifts = plan
        .drifts
        .iter()
        .map(|drift| Finding::warning("topics", drift.to_string()));
    findings.extend(changes.chain(drifts));
    if plan.is_empty() {
        findings.push(Finding::ok(
            "topics",
            format!("all {} as they should be", file.iter().count()),
        ));
    }
    findings
}

async fn registry(settings: &Settings) -> Vec<Finding> {
    let checks = match schemas::check(settings).await {
        Ok(checks) => checks,
        Err(failure) => return vec![Finding::fault("registry", failure.text())],
    };
    let findings = checks.iter().map(|check| match schemas::remedy(check) {
        None => Finding::ok(
            "schemas",
            format!("{} has id {}", check.subject, check.id.unwrap_or(0)),
        ),
        // Only the look-up must succeed; the rule is for those who register.
        Some(text) if check.id.is_some() => Finding::warning("schemas", text),
        Some(_) if settings.registry.auto_register && check.incompatibilities.is_empty() => {
            Finding::warning("schemas", format!("`run` will register {}", check.subject))
        }
        Some(text) => Finding::fault("schemas", text),
    });
    let reached = Finding::ok("registry", "answers");
    // Another URL answers for these, as long as it is there.
    let faulty = schemas::faulty_urls(settings).await.into_iter();
    let faulty = faulty.map(|fault| Finding::warning("registry", fault));
    let reached = std::iter::once(reached).chain(faulty);
    reached.chain(findings).collect()
}

async fn mongo(settings: &Settings) -> Vec<Finding> {
    let mongo = &settings.mongo;
    let options = mongo.options();
    let found = store::mongo::check(mongo.uri.expose(), &mongo.database, &options).await;
    let findings = found.into_iter().map(|found| {
        let store::mongo::Finding {
            severity,
            subject,
            detail,
            advice,
        } = found;
        let verdict = match severity {
            Severity::Fine => Verdict::Ok,
            Severity::Warning => Verdict::Warning,
            Severity::Fault => Verdict::Fault,
        };
        let advice = if advice.is_empty() {
            advice
        } else {
            format!("; {advice}")
        };
        Finding {
            about: "mongodb",
            verdict,
            text: format!("{subject}: {detail}{advice}"),
        }
    });
    findings.collect()
}

/// The keys that tokens are checked with, where they are published.
async fn keys(settings: &Settings) -> Vec<Finding> {
    let fault = |text: String| Some(Finding::fault("keys", text));
    let found = match Authenticator::new(&settings.http.auth) {
        Err(error) => fault(error.to_string()),
        Ok(callers) => match callers.published_keys().await {
            None => None,
            Some(Ok(0)) => fault(
                "http.auth.jwksUrl publishes no key that can check a signature, so every token is \
                 refused; publish an RSA (2048 bits or more), P-256, P-384 or Ed25519 key"
                    .to_owned(),
            ),
            Some(Ok(count)) => Some(Finding::ok(
                "keys",
                format!("http.auth.jwksUrl publishes {count}"),
            )),
            Some(Err(reason)) => fault(format!(
                "http.auth.jwksUrl cannot be fetched, so every token is answered 503: {reason}; \
                 correct it, or make it reachable from here"
            )),
        },
    };
    found.into_iter().collect()
}

fn words(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding {
        about,
        verdict,
        text: found,
    } in findings
    {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:8} {about:9} {found}", verdict.as_str());
    }
    text
}

fn shown(findings: &[Finding]) -> serde_json::Value {
    let shown = findings.iter().map(|finding| {
        json!({
            "about": finding.about,
            "verdict": finding.verdict.as_str(),
            "detail": finding.text,
        })
    });
    shown.collect()
}
