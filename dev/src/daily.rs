//! `cargo dev up`, `down` and `status`: one set of services for the user, on fixed ports, kept by a
//! process in the background. That process holds a lock for as long as it lives, so a state file
//! that a crash left behind is never believed. All data live from `up` to `down`.

mod state;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::cache::{Cache, remove};
use crate::client::tail;
use crate::{Mongo, Options, Ports, Progress, Services};
use state::{RunFolder, State};

/// Kafka's port when none is chosen; the worker's own default.
pub const KAFKA_PORT: u16 = 9092;
/// The port of MongoDB's first member when none is chosen; the worker's own default.
pub const MONGO_PORT: u16 = 27017;
/// The registry's port when none is chosen; the worker's own default.
pub const REGISTRY_PORT: u16 = 8081;

const POLL: Duration = Duration::from_millis(100);
/// Beyond the guards' own bounds for ending a service.
const DOWN_BOUND: Duration = Duration::from_secs(60);

/// What `up` was asked for.
#[derive(Debug, Clone)]
pub struct Up {
    /// One or three members of the replica set.
    pub mongo: Mongo,
    /// Where the services listen.
    pub ports: Ports,
    /// Whether `up` returns.
    pub stay: Stay,
}

/// Whether `up` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// It returns when the services are ready; they run until `down`.
    Background,
    /// It stays until Ctrl-C, SIGTERM or `down`.
    Foreground,
    /// It is the process in the background: it stays, away from the terminal it was started from.
    Detached,
}

/// Starts the services. `arguments` are those that make this program do the same again.
pub async fn up(cache: &Cache, up: Up, arguments: &[String]) -> anyhow::Result<()> {
    let folder = RunFolder::of(cache)?;
    if folder.is_running()? {
        report("already up; `cargo dev down` ends it");
        return show(&folder).await;
    }
    match up.stay {
        Stay::Background => start_in_background(&folder, arguments).await,
        Stay::Foreground => keep(cache, &folder, up).await,
        Stay::Detached => {
            // Without a terminal of its own it is not touched by the terminal's end.
            rustix::process::setsid().context("leave the terminal's session")?;
            keep(cache, &folder, up).await
        }
    }
}

/// Ends the services and removes their data.
pub async fn down(cache: &Cache) -> anyhow::Result<()> {
    let folder = RunFolder::of(cache)?;
    if !folder.is_running()? {
        // A process that was killed leaves its data behind.
        let _lock = folder.lock().await?;
        folder.clear()?;
        report("nothing is up");
        return Ok(());
    }
    // A process that has just begun holds the lock a moment before it writes its state.
    let mut state = folder.read();
    for _ in 0..20 {
        if state.is_some() {
            break;
        }
        tokio::time::sleep(POLL).await;
        state = folder.read();
    }
    let Some(state) = state else {
        bail!(
            "something is up, but {} cannot be read",
            folder.state_file().display()
        );
    };
    terminate(state.pid)?;
    let gone = async {
        while folder.is_running()? {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    let gone = tokio::time::timeout(DOWN_BOUND, gone).await;
    gone.with_context(|| format!("process {} does not end", state.pid))??;
    report("down");
    Ok(())
}

/// Prints what runs; `false` when nothing does.
pub async fn status(cache: &Cache) -> anyhow::Result<bool> {
    let folder = RunFolder::of(cache)?;
    if !folder.is_running()? {
        report("nothing is up; `cargo dev up` starts it");
        return Ok(false);
    }
    show(&folder).await?;
    Ok(true)
}

/// Holds the services until a signal comes.
async fn keep(cache: &Cache, folder: &RunFolder, up: Up) -> anyhow::Result<()> {
    let _lock = folder.lock().await?;
    let mut state = State::starting();
    folder.write(&state)?;
    // Whatever lies here belongs to a process that could not clean up.
    remove(&folder.data())?;
    let mut interrupts = signal(SignalKind::interrupt()).context("listen to SIGINT")?;
    let mut terminations = signal(SignalKind::terminate()).context("listen to SIGTERM")?;
    let mut hangups = signal(SignalKind::hangup()).context("listen to SIGHUP")?;
    let mut ending = async || {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
            _ = hangups.recv() => {}
        }
    };
    let options = Options {
        mongo: up.mongo,
        folder: Some(folder.data()),
        ports: up.ports,
        progress: Progress::Full,
        ..Options::default()
    };
    let started = tokio::select! {
        started = Services::start_with(cache, options) => Some(started),
        () = ending() => None,
    };
    let outcome = match started {
        Some(Ok(services)) => {
            state.ready_with(&services);
            folder.write(&state)?;
            if up.stay == Stay::Foreground {
                show(folder).await?;
                report("\nCtrl-C ends it");
            }
            tokio::select! {
                () = watch(&services) => {}
                () = ending() => {}
            }
            report("ending the services…");
            tokio::select! {
                () = services.stop() => {}
                // The guards go on alone if somebody cannot wait.
                () = ending() => {}
            }
            Ok(())
        }
        Some(Err(error)) => Err(error.into()),
        None => Ok(()),
    };
    folder.clear()?;
    outcome
}

/// Reports every service that ends by itself; never returns.
async fn watch(services: &Services) {
    let mut ends = services
        .started()
        .map(async |service| (service, service.ended().await))
        .collect::<FuturesUnordered<_>>();
    while let Some((service, code)) = ends.next().await {
        let log = tail(service.log());
        report(&format!(
            "{} ended with code {code}; its log ends with:\n{log}",
            service.name()
        ));
    }
    std::future::pending::<()>().await;
}

async fn start_in_background(folder: &RunFolder, arguments: &[String]) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    let log = folder.log();
    let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let errors = output.try_clone().context("share the log")?;
    let mut child = Command::new(&program)
        .args(arguments)
        .arg("--detached")
        // A removed project folder must not matter to what runs in the background.
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let mut interrupts = signal(SignalKind::interrupt()).context("listen to SIGINT")?;
    let mut terminations = signal(SignalKind::terminate()).context("listen to SIGTERM")?;
    tokio::select! {
        ready = follow(folder, &log, &mut child) => ready?,
        _ = interrupts.recv() => return abandon(child).await,
        _ = terminations.recv() => return abandon(child).await,
    }
    show(folder).await
}

/// Shows the log of the process in the background until its services are ready.
async fn follow(folder: &RunFolder, log: &Path, child: &mut Child) -> anyhow::Result<()> {
    let mut shown = 0;
    loop {
        let ended = child
            .try_wait()
            .context("look after the process in the background")?;
        let ready = folder
            .read()
            .is_some_and(|state| state.ready && state.pid == child.id());
        shown += copy_from(log, shown);
        match ended {
            Some(_) => bail!("the services did not start"),
            None if ready => return Ok(()),
            None => tokio::time::sleep(POLL).await,
        }
    }
}

async fn abandon(mut child: Child) -> anyhow::Result<()> {
    report("interrupted: ending what was started…");
    terminate(child.id())?;
    tokio::task::spawn_blocking(move || child.wait())
        .await?
        .context("wait for the end")?;
    bail!("interrupted")
}

/// Copies what is new in a file to standard error; returns how much that was.
fn copy_from(log: &Path, offset: u64) -> u64 {
    let copy = || -> io::Result<u64> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut fresh = Vec::new();
        file.read_to_end(&mut fresh)?;
        io::stderr().write_all(&fresh)?;
        Ok(fresh.len() as u64)
    };
    // The log is a courtesy here; it stays in its file.
    copy().unwrap_or(0)
}

fn terminate(pid: u32) -> anyhow::Result<()> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = raw.with_context(|| format!("{pid} is no process id"))?;
    kill_process(pid, Signal::TERM).with_context(|| format!("end process {pid:?}"))
}

async fn show(folder: &RunFolder) -> anyhow::Result<()> {
    let Some(state) = folder.read() else {
        return Ok(());
    };
    let text = state.describe(folder).await;
    io::stdout().write_all(text.as_bytes()).context("print")
}

fn report(line: &str) {
    // Nothing hangs on whether somebody reads it.
    let _ = writeln!(io::stderr(), "{line}");
}
