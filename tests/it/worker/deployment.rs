//! A deployment of its own (topics, subjects, a database, a group) on parts that a test chooses, and
//! workers in it as processes of the real binary.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::services;

/// How long a condition may take to come true; a fault may cost clients many seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

const TOPICS: [&str; 5] = [
    "match-found",
    "session-command",
    "session-event",
    "session-command-result",
    "session-dead-letter",
];

/// The real parts a deployment runs on.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) kafka: String,
    pub(crate) registry: String,
    pub(crate) mongo: String,
}

impl Parts {
    /// Those that all tests share.
    pub(crate) fn shared() -> Self {
        Self {
            kafka: services::kafka(),
            registry: services::registry_url(),
            mongo: services::mongo_uri(),
        }
    }
}

/// What no other test has.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    pub(crate) name: String,
    pub(crate) parts: Parts,
    settings: Vec<String>,
}

impl Deployment {
    /// Names only: nothing is made yet.
    pub(crate) fn named(parts: Parts, settings: &[&str]) -> Self {
        Self {
            name: uuid::Uuid::new_v4().simple().to_string(),
            parts,
            settings: settings.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    /// With topics and schemas, ready to be run.
    pub(crate) async fn prepared(parts: Parts, settings: &[&str]) -> Self {
        let deployment = Self::named(parts, settings);
        for arguments in [["topics", "apply"], ["schemas", "register"]] {
            let ended = deployment.run(&arguments, &[]).await;
            assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        }
        deployment
    }

    /// The same names on other parts.
    pub(crate) fn on(&self, parts: Parts) -> Self {
        Self {
            parts,
            ..self.clone()
        }
    }

    pub(crate) fn topic(&self, topic: &str) -> String {
        format!("{topic}-{}", self.name)
    }

    /// A command of the binary in this deployment.
    pub(crate) fn command(&self, arguments: &[&str], settings: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_session-worker"));
        // Only what a test says counts, not what the developer has set.
        command.env_clear().env("RUST_LOG", "info").args(arguments);
        let topics = TOPICS.map(|topic| format!("topics.{topic}={}", self.topic(topic)));
        let parts = [
            format!("kafka.brokers={}", self.parts.kafka),
            format!("kafka.groupId=worker-{}", self.name),
            format!("registry.urls={}", self.parts.registry),
            format!("mongo.uri={}", self.parts.mongo),
            format!("mongo.database=worker_{}", self.name),
        ];
        let given = settings.iter().map(|&setting| setting.to_owned());
        let all = topics.into_iter().chain(parts);
        for setting in all.chain(self.settings.iter().cloned()).chain(given) {
            command.arg("--set").arg(setting);
        }
        command
    }

    /// Runs a command of the binary to its end; one that does not end in time is killed, and has no
    /// code.
    pub(crate) async fn run(&self, arguments: &[&str], settings: &[&str]) -> Ended {
        let mut process = Process::spawn(self.command(arguments, settings));
        let status = process.ended(PATIENCE).await;
        Ended {
            code: status.and_then(|status| status.code()),
            text: process.output(),
        }
    }

    /// Starts a worker and waits until it is ready.
    pub(crate) async fn worker(&self, settings: &[&str]) -> Worker {
        let worker = self.unready_worker(settings).await;
        worker.readiness(200).await;
        worker
    }

    /// Starts a worker and waits until it listens.
    pub(crate) async fn unready_worker(&self, settings: &[&str]) -> Worker {
        let mut command = self.command(&["run"], settings);
        command.args(["--set", "http.listen=127.0.0.1:0"]);
        Self::started(command).await
    }

    /// Starts a worker with this command and waits until it listens.
    pub(crate) async fn started(command: Command) -> Worker {
        let mut process = Process::spawn(command);
        let began = Instant::now();
        let address = loop {
            let output = process.output();
            if let Some(address) = listening(&output) {
                break address;
            }
            let status = process.child.try_wait().expect("its state is known");
            assert!(status.is_none(), "the worker ended ({status:?}): {output}");
            assert!(began.elapsed() < PATIENCE, "no listener: {output}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        Worker { process, address }
    }

    /// `audit` finds nothing.
    pub(crate) async fn is_sound(&self) {
        let ended = self.run(&["audit"], &[]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.text);
    }
}

fn listening(output: &str) -> Option<String> {
    output.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let address = line.get("address")?.as_str()?;
        (line["message"] == "listening").then(|| address.to_owned())
    })
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Both streams.
    pub(crate) text: String,
}

/// A child that does not outlive this process, however this process ends.
pub(crate) struct Process {
    child: Child,
    watcher: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let name = format!("session-worker-{}.log", uuid::Uuid::new_v4().simple());
        let log = std::env::temp_dir().join(name);
        let file = File::create(&log).expect("a log is made");
        let again = file.try_clone().expect("a second handle");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(again)
            .spawn()
            .expect("the binary runs");
        // Its pipe ends with this process.
        let watcher = Command::new("sh")
            .args(["-c", "read -r _; kill -KILL \"$0\"; rm -f \"$1\""])
            .arg(child.id().to_string())
            .arg(&log)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell runs");
        Self {
            child,
            watcher,
            log,
        }
    }

    pub(crate) fn output(&self) -> String {
        let mut bytes = Vec::new();
        File::open(&self.log)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .expect("the log is readable");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended, if it does within `patience`.
    async fn ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            let status = self.child.try_wait().expect("its state is known");
            if status.is_some() || began.elapsed() > patience {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watcher first, so that it cannot meet a stranger with the same id.
        for child in [&mut self.watcher, &mut self.child] {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<_> = output.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("a worker's last words:\n{}\n", last.join("\n")).as_bytes(),
            );
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

/// A running worker. Dropping it kills it.
pub(crate) struct Worker {
    process: Process,
    address: String,
}

impl Worker {
    /// As a crash: nothing is drained.
    pub(crate) async fn kill(mut self) {
        self.process.child.kill().expect("it still ran");
        let ended = self.process.ended(PATIENCE).await;
        assert!(ended.is_some(), "a killed process ends");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let signalled = Command::new("kill")
            .args([signal, &self.process.child.id().to_string()])
            .status();
        assert!(signalled.expect("kill runs").success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Ended {
        let status = self.process.ended(PATIENCE).await;
        Ended {
            code: status.and_then(|status| status.code()),
            text: self.process.output(),
        }
    }

    /// Waits until it has said `words`.
    pub(crate) async fn says(&self, words: &str) {
        let began = Instant::now();
        while !self.output().contains(words) {
            assert!(began.elapsed() < PATIENCE, "it never said {words}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// SIGTERM; within the 30 s of contract 6 it has exited with 0.
    pub(crate) async fn stop(mut self) {
        self.signal("-TERM");
        let ended = self.process.ended(Duration::from_secs(30)).await;
        let code = ended.and_then(|status| status.code());
        assert_eq!(code, Some(0), "{}", self.process.output());
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Everything it has said.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// A URL of its listener.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it answers at `path`.
    pub(crate) async fn answer(&self, path: &str) -> String {
        let client = reqwest::Client::builder().no_proxy().build();
        let answer = client.expect("a client").get(self.url(path)).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", self.output()));
        answer.text().await.expect("text")
    }

    /// Waits until it answers `words` at `path`.
    pub(crate) async fn answers(&self, path: &str, words: &str) {
        let began = Instant::now();
        loop {
            let answer = self.answer(path).await;
            if answer.contains(words) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "no {words} at {path}: {answer}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until `/readyz` answers `status`.
    pub(crate) async fn readiness(&self, status: u16) {
        self.readiness_with(status, &[]).await;
    }

    /// Waits until `/readyz` says that it is not ready, with each of `words`.
    pub(crate) async fn waits_for(&self, words: &[&str]) {
        self.readiness_with(503, words).await;
    }

    async fn readiness_with(&self, status: u16, words: &[&str]) {
        let url = format!("http://{}/readyz", self.address);
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let began = Instant::now();
        loop {
            let answer = client.get(&url).send().await;
            let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", self.output()));
            let answered = answer.status().as_u16();
            let last = answer.text().await.unwrap_or_default();
            if answered == status && words.iter().all(|word| last.contains(word)) {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{url} never answered {status} with {words:?}: {last}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether its process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.process.child.try_wait(), Ok(None))
    }
}
