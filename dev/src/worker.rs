//! The real worker as a user runs it: built by cargo in this program's own profile, its commands run
//! to their end, its `run` kept under guard so that it dies with its owner. Knows the worker by its
//! command line and its environment alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::Services;
use crate::guard::{Fate, Process, Signal, Spec};

const PACKAGE: &str = "session-worker";
/// A drain is bounded by 30 s (contract 6).
const DRAIN_BOUND: Duration = Duration::from_secs(30);

/// Builds the worker, its progress visible, and returns the binary.
pub(crate) async fn build() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    let folder = own.parent().context("find the folder of this program")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(&cargo);
    command
        .args(["build", "--package", PACKAGE, "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command
        .status()
        .await
        .with_context(|| format!("run {}", cargo.display()))?;
    if !status.success() {
        bail!("the worker does not build");
    }
    let binary = folder.join(PACKAGE);
    if !binary.is_file() {
        bail!(
            "the worker was built, but {} is not there",
            binary.display()
        );
    }
    Ok(binary)
}

/// How a command of the worker ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

/// The worker with its settings, before anything runs.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    binary: PathBuf,
    folder: PathBuf,
    settings: Vec<(String, String)>,
}

impl Worker {
    /// A worker on these services; its logs go to `folder`.
    pub(crate) fn new(binary: PathBuf, folder: &Path, services: &Services) -> Self {
        let worker = Self {
            binary,
            folder: folder.to_path_buf(),
            settings: Vec::new(),
        };
        worker
            .with("KAFKA__BROKERS", services.kafka())
            .with("REGISTRY__URLS", services.registry_url())
            .with("MONGO__URI", services.mongo_uri())
            .with("HTTP__LISTEN", "127.0.0.1:0")
            .with("LOG__FORMAT", "text")
    }

    /// The same with one more setting, named by its variable without the prefix.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        let setting = (format!("SESSION_WORKER__{key}"), value.to_owned());
        self.settings.push(setting);
        self
    }

    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// The settings as variables of the environment.
    pub(crate) fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Runs a command to its end.
    pub(crate) async fn command(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let output = Command::new(&self.binary)
            .args(arguments)
            .envs(self.settings.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("run session-worker {}", arguments.join(" ")))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok(Ended {
            code: output.status.code(),
            text,
        })
    }

    /// Runs a command that has to succeed.
    pub(crate) async fn must(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let ended = self.command(arguments).await?;
        if ended.code != Some(0) {
            let name = arguments.join(" ");
            bail!("session-worker {name} failed:\n{}", ended.text.trim_end());
        }
        Ok(ended.text)
    }

    /// Starts `run` under guard.
    pub(crate) fn start(&self, name: &str) -> anyhow::Result<Running> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        // The guard starts a plain command; `env` carries the settings to it.
        let mut arguments = vec![OsString::from(format!(
            "SESSION_WORKER__KAFKA__PROPERTIES__CLIENT_ID={name}"
        ))];
        let settings = self.settings.iter();
        arguments.extend(settings.map(|(key, value)| OsString::from(format!("{key}={value}"))));
        arguments.push(self.binary.clone().into_os_string());
        arguments.push(OsString::from("run"));
        let process = Process::start(Spec {
            program: PathBuf::from("env"),
            arguments,
            log: self.folder.join(format!("{name}.log")),
            folder,
            fate: Fate::Keep,
            grace_seconds: 10,
        })?;
        Ok(Running {
            name: name.to_owned(),
            process,
        })
    }
}

/// A worker that runs; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    process: Process,
}

impl Running {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn log(&self) -> &Path {
        self.process.log()
    }

    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.process.exit_code()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// SIGKILL.
    pub(crate) async fn kill(&self) {
        self.process.signal(Signal::Kill).await;
        self.process.ended().await;
    }

    /// SIGTERM, and the drain's end.
    pub(crate) async fn drain(&self) -> i32 {
        self.process.stop(DRAIN_BOUND).await;
        self.process.ended().await
    }
}
