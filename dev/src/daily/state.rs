//! The files of `cargo dev up`: its state for `status` and `down`, its lock, its log, its data.

use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, remove};
use crate::{Found, Services};

const LOCK_BOUND: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_millis(500);

/// What the process in the background tells the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    pub(super) pid: u32,
    /// Whether all services answer already.
    pub(super) ready: bool,
    /// Kafka's bootstrap servers.
    kafka: String,
    /// MongoDB's connection string, without credentials.
    mongo_uri: String,
    /// The registry's base URL, without credentials.
    registry_url: String,
    services: Vec<Found>,
}

impl State {
    /// The state of this process before its services are ready.
    pub(super) fn starting() -> Self {
        Self {
            pid: std::process::id(),
            ready: false,
            kafka: String::new(),
            mongo_uri: String::new(),
            registry_url: String::new(),
            services: Vec::new(),
        }
    }

    /// Takes in what runs.
    pub(super) fn ready_with(&mut self, services: &Services) {
        self.ready = true;
        services.kafka().clone_into(&mut self.kafka);
        self.mongo_uri = crate::services::without_credentials(services.mongo_uri());
        self.registry_url = crate::services::without_credentials(services.registry_url());
        self.services = services.found();
    }

    /// The answer of `status`.
    pub(super) async fn describe(&self, folder: &RunFolder) -> String {
        let pid = self.pid;
        let log = folder.log();
        let log = log.display();
        if !self.ready {
            return format!("starting (pid {pid}); log {log}\n");
        }
        let age = minutes(folder.age());
        let mut text = format!("up for {age} (pid {pid}); log {log}\n\n");
        for service in &self.services {
            let Found {
                name,
                address,
                origin,
                ..
            } = service;
            let health = if answers(address).await {
                "answers"
            } else {
                "DOES NOT ANSWER"
            };
            let pid = service
                .pid
                .map(|pid| format!(", pid {pid}"))
                .unwrap_or_default();
            line(
                &mut text,
                format_args!("{name:<9} {address:<16} {health}{pid} ({origin})"),
            );
            if let Some(log) = &service.log {
                line(&mut text, format_args!("{:<9} log {}", "", log.display()));
            }
        }
        let Self {
            kafka,
            mongo_uri,
            registry_url,
            ..
        } = self;
        line(&mut text, format_args!("\nKafka     {kafka}"));
        line(&mut text, format_args!("MongoDB   {mongo_uri}"));
        line(&mut text, format_args!("Registry  {registry_url}"));
        let hints = format_args!(
            "\nTopics:   kcat -b {kafka} -L\n\
             Command:  echo '{{\"commandId\":\"c1\",\"issuedAt\":'$(date +%s000)',\"userId\":\"u1\",\"command\":\
             {{\"JoinSession\":{{\"inviteCode\":\"K7PQ2M\"}}}}}}' | kcat -b {kafka} -P -t session-command\n\
             Results:  kcat -b {kafka} -C -t session-command-result -f '%k %h\\n'\n\
             Events:   kcat -b {kafka} -C -t session-event -f '%k %h\\n'\n\
             Whole:    KAFKA_BROKERS={kafka} REGISTRY_URL={registry_url} deploy/avro read session-event -o beginning -e\n\
             \u{20}         (needs pip install fastavro)"
        );
        line(&mut text, hints);
        text
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}

/// Whether the first address of a list or URL takes connections.
async fn answers(address: &str) -> bool {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let first = address.split([',', '/']).next().unwrap_or_default();
    let connection = tokio::net::TcpStream::connect(first);
    matches!(tokio::time::timeout(ANSWER, connection).await, Ok(Ok(_)))
}

fn minutes(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// The folder of these files.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    pub(super) fn of(cache: &Cache) -> anyhow::Result<Self> {
        Ok(Self {
            path: cache.folder("run")?,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn state_file(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// The log of the process in the background.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("up.log")
    }

    /// The services' folders.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    fn lock_file(&self) -> anyhow::Result<File> {
        let path = self.path.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        file.with_context(|| format!("open {}", path.display()))
    }

    /// Takes the lock that says: something is up.
    pub(super) async fn lock(&self) -> anyhow::Result<File> {
        let file = self.lock_file()?;
        let lock = async {
            loop {
                // `is_running` of another process holds it for a moment.
                match file.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(TryLockError::WouldBlock) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
        };
        match tokio::time::timeout(LOCK_BOUND, lock).await {
            Ok(locked) => locked.context("lock the run folder")?,
            Err(_) => bail!("another `cargo dev up` is just starting"),
        }
        Ok(file)
    }

    /// Whether a process holds the lock.
    pub(super) fn is_running(&self) -> anyhow::Result<bool> {
        match self.lock_file()?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).context("look at the lock"),
        }
    }

    /// Writes the state at once as a whole.
    pub(super) fn write(&self, state: &State) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(state).context("encode the state")?;
        let fresh = self.path.join("state.json.new");
        std::fs::write(&fresh, text).with_context(|| format!("write {}", fresh.display()))?;
        let file = self.state_file();
        std::fs::rename(&fresh, &file).with_context(|| format!("write {}", file.display()))
    }

    /// The state, if one was written that can be read.
    pub(super) fn read(&self) -> Option<State> {
        serde_json::from_slice(&std::fs::read(self.state_file()).ok()?).ok()
    }

    /// Removes the state and the services' data.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(self.state_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("remove the state");
            }
            _ => {}
        }
        Ok(remove(&self.data())?)
    }

    fn age(&self) -> Duration {
        let written = self
            .state_file()
            .metadata()
            .and_then(|file| file.modified());
        written
            .ok()
            .and_then(|written| SystemTime::elapsed(&written).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_folder() -> (tempfile::TempDir, RunFolder) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunFolder::of(&Cache::at(folder.path())).expect("a run folder");
        (folder, run)
    }

    fn ready() -> State {
        let found = Found {
            name: "kafka".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            origin: "fetched".to_owned(),
            log: Some(PathBuf::from("kafka/service.log")),
            pid: Some(7),
        };
        State {
            ready: true,
            kafka: "127.0.0.1:1".to_owned(),
            mongo_uri: "mongodb://127.0.0.1:2/?replicaSet=rs0".to_owned(),
            registry_url: "http://127.0.0.1:3/apis/ccompat/v7".to_owned(),
            services: vec![found],
            ..State::starting()
        }
    }

    #[test]
    fn the_state_comes_back_as_it_was_written() {
        let (_folder, run) = run_folder();
        assert_eq!(run.read(), None);
        run.write(&ready()).expect("a folder to write to");
        assert_eq!(run.read(), Some(ready()));
        run.clear().expect("a folder to clear");
        assert_eq!(run.read(), None);
        run.clear().expect("clearing twice is no error");
    }

    #[tokio::test]
    async fn a_state_without_a_living_process_is_not_believed() {
        let (_folder, run) = run_folder();
        run.write(&ready()).expect("a folder to write to");
        assert!(!run.is_running().expect("a lock to look at"));
        let lock = run.lock().await.expect("nobody holds the lock");
        assert!(run.is_running().expect("a lock to look at"));
        drop(lock);
        assert!(!run.is_running().expect("a lock to look at"));
    }

    #[tokio::test]
    async fn the_status_names_addresses_logs_and_what_does_not_answer() {
        let (_folder, run) = run_folder();
        let text = ready().describe(&run).await;
        for part in [
            "kafka     127.0.0.1:1      DOES NOT ANSWER, pid 7 (fetched)",
            "log kafka/service.log",
            "kcat -b 127.0.0.1:1 -L",
            "mongodb://127.0.0.1:2/?replicaSet=rs0",
            "KAFKA_BROKERS=127.0.0.1:1 REGISTRY_URL=http://127.0.0.1:3/apis/ccompat/v7 deploy/avro",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }
}
