//! The binary as operators call it, against the real parts: exit codes, and words that end with what
//! to do (contract 6).

mod audit;
mod bench;
mod dead_letters;
mod deployment;
mod probe;
mod session;

use std::process::{Command, Output};

use crate::services;

/// A deployment of its own: topics, subjects and a database that no other test has.
struct Deployment {
    name: String,
}

impl Deployment {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own topics and database need names that nothing derives from"
    )]
    fn new() -> Self {
        let name = uuid::Uuid::new_v4().simple().to_string();
        Self { name }
    }

    fn topic(&self, topic: &str) -> String {
        format!("{topic}-{}", self.name)
    }

    fn database(&self) -> String {
        format!("cli_{}", self.name)
    }

    fn settings(&self) -> Vec<String> {
        let topics = [
            "match-found",
            "session-command",
            "session-event",
            "session-command-result",
            "session-dead-letter",
        ];
        let topics = topics.map(|topic| format!("topics.{topic}={}", self.topic(topic)));
        let parts = [
            format!("kafka.brokers={}", services::kafka()),
            format!("registry.urls={}", services::registry_url()),
            format!("mongo.uri={}", services::mongo_uri()),
            format!("mongo.database={}", self.database()),
        ];
        topics.into_iter().chain(parts).collect()
    }

    /// Runs `session-worker` with `arguments` in this deployment.
    async fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = worker(arguments);
        for setting in self.settings() {
            command.arg("--set").arg(setting);
        }
        tokio::task::spawn_blocking(move || ended(&mut command))
            .await
            .expect("the process was waited for")
    }
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn worker(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_session-worker"));
    // Only what a test says counts, not what the developer has set.
    command.env_clear().args(arguments);
    command
}

fn ended(command: &mut Command) -> Ended {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    Ended {
        code: status.code(),
        out: text(stdout),
        err: text(stderr),
    }
}

#[test]
fn contract_6_usage_and_settings_faults_end_with_2() {
    for arguments in [
        &["rnu"][..],
        &[][..],
        &["run", "--sett", "a=b"][..],
        &["run", "--set", "a"][..],
        &["check", "--set", "a=b"][..],
        &["check", "--config", "/does/not/exist"][..],
        &["topics", "plan", "--topics", "/does/not/exist"][..],
        &["lanes", "seek", "match-found", "3", "--yes"][..],
        &["lanes", "seek", "elsewhere/3", "3", "--yes"][..],
        &["probe", "--live", "--ready"][..],
        &["probe", "--http-listen", "127.0.0.1:0"][..],
        &["dead-letters", "show", "x"][..],
        &["dead-letters", "replay", "--yes"][..],
        &["dead-letters", "list", "--since", "yesterday"][..],
        &["session", "show", ""][..],
    ] {
        let ended = ended(&mut worker(arguments));
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert_eq!(ended.out, "", "{arguments:?}");
        assert_ne!(ended.err, "", "{arguments:?}");
    }
    for arguments in [
        &["--help"][..],
        &["--version"][..],
        &["completions", "bash"][..],
        &["asyncapi"][..],
    ] {
        assert_eq!(ended(&mut worker(arguments)).code, Some(0), "{arguments:?}");
    }
}

#[test]
fn contract_6_all_faults_are_reported_at_once_with_their_sources() {
    let mut command = worker(&["run", "--set", "rules.concurrentLimit=0"]);
    command.env("SESSION_WORKER__HTTP__LISTEN", "0.0.0.0:0");
    command.env("SESSION_WORKER__MONGO__URI", "mongodb://app:canary@a:x");
    let ended = ended(&mut command);
    assert_eq!(ended.code, Some(2));
    let faults: Vec<&str> = ended.err.lines().collect();
    let starts = [
        "error: mongo.uri (SESSION_WORKER__MONGO__URI): ",
        "error: rules.concurrentLimit (--set): ",
        "error: http.auth.mode (default): ",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}");
    }
    assert!(!ended.err.contains("canary"), "{}", ended.err);
}
