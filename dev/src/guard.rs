//! One service process and the guard that ends it when its owner ends: normally, by a panic, by
//! Ctrl-C or by SIGKILL. The guard is a small `sh` script in a process group of its own; the owner
//! holds the write end of its standard input, which the kernel closes whatever happens to the owner.
//! Knows nothing of what the service does. A guard that is gone reads as a service that has ended.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::{IoContext as _, Result};

const SCRIPT: &str = include_str!("guard.sh");

/// The code that stands for a guard which is gone without having reported an end.
const UNKNOWN_CODE: i32 = -1;

/// What becomes of a service's folder when its owner ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Keep,
    Remove,
}

/// What to run, where, and how to end it.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// The working directory; it belongs to this process alone.
    pub(crate) folder: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) fate: Fate,
    /// Seconds from SIGTERM to SIGKILL when the owner ends; 0 sends SIGKILL at once.
    pub(crate) grace_seconds: u32,
}

/// A signal a test or a person may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Kill,
    Freeze,
    Thaw,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
            Self::Freeze => "STOP",
            Self::Thaw => "CONT",
        }
    }
}

/// A process under guard; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Process {
    spec: Spec,
    guard: Mutex<Guard>,
}

impl Process {
    /// Starts the process and its guard.
    pub(crate) fn start(spec: Spec) -> Result<Self> {
        let guard = Mutex::new(Guard::start(&spec)?);
        Ok(Self { spec, guard })
    }

    pub(crate) fn log(&self) -> &Path {
        &self.spec.log
    }

    /// The process id while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.lock().status.borrow().running()
    }

    /// The exit code, once the process has ended by itself or by a signal.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.lock().status.borrow().exit_code()
    }

    /// Waits for the end and returns the exit code.
    pub(crate) async fn ended(&self) -> i32 {
        let mut status = self.lock().status.clone();
        let code = status.wait_for(|status| status.exit_code().is_some()).await;
        code.ok()
            .and_then(|status| status.exit_code())
            .unwrap_or(UNKNOWN_CODE)
    }

    /// Sends a signal; returns once it is sent, or at once when the process has ended.
    pub(crate) async fn signal(&self, signal: Signal) {
        let (mut status, number) = {
            let mut guard = self.lock();
            let number = guard.write(signal.name());
            (guard.status.clone(), number)
        };
        let done = |status: &Status| status.signals >= number || status.exit_code().is_some();
        // An error says that the guard is gone, and the process with it.
        let _ = status.wait_for(done).await;
    }

    /// Ends the process with SIGTERM, after the bound with SIGKILL.
    pub(crate) async fn stop(&self, bound: Duration) {
        self.signal(Signal::Terminate).await;
        self.signal(Signal::Thaw).await;
        if tokio::time::timeout(bound, self.ended()).await.is_err() {
            self.kill().await;
        }
    }

    /// Ends the process with SIGKILL.
    pub(crate) async fn kill(&self) {
        self.signal(Signal::Kill).await;
        self.ended().await;
    }

    /// Runs the same command again in the same folder, after the process has ended.
    pub(crate) async fn restart(&self) -> Result<()> {
        self.ended().await;
        let left = {
            let mut guard = self.lock();
            guard.write("leave");
            guard.close();
            guard.status.clone()
        };
        closed(left).await;
        *self.lock() = Guard::start(&self.spec)?;
        Ok(())
    }

    /// Tells the guard that the owner is done, without waiting.
    pub(crate) fn close(&self) {
        self.lock().close();
    }

    /// Waits until the guard, and with it the process, is gone.
    pub(crate) async fn closed(&self) {
        let status = self.lock().status.clone();
        closed(status).await;
    }

    fn lock(&self) -> MutexGuard<'_, Guard> {
        // The guard is whole between any two statements, so a panic elsewhere does not spoil it.
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn closed(mut status: watch::Receiver<Status>) {
    let _ = status.wait_for(|status| status.closed).await;
}

/// What the guard has reported.
#[derive(Debug, Clone, Copy, Default)]
struct Status {
    pid: Option<u32>,
    /// Signals reported as sent or unsent.
    signals: u64,
    ended: Option<i32>,
    closed: bool,
}

impl Status {
    fn running(&self) -> Option<u32> {
        self.pid.filter(|_| self.exit_code().is_none())
    }

    fn exit_code(&self) -> Option<i32> {
        self.ended.or(self.closed.then_some(UNKNOWN_CODE))
    }
}

#[derive(Debug)]
struct Guard {
    input: Option<ChildStdin>,
    written: u64,
    status: watch::Receiver<Status>,
    listener: Option<JoinHandle<()>>,
}

impl Guard {
    fn start(spec: &Spec) -> Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "session-worker-dev-guard"])
            .arg(&spec.folder)
            .arg(match spec.fate {
                Fate::Keep => "keep",
                Fate::Remove => "remove",
            })
            .arg(spec.grace_seconds.to_string())
            .arg(&spec.log)
            .arg(&spec.program)
            .args(&spec.arguments)
            .current_dir(&spec.folder)
            // Ctrl-C at a terminal reaches the owner alone, which decides what ends and when.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .io("start a guard for", &spec.program)?;
        let input = child.stdin.take();
        let output = child
            .stdout
            .take()
            .expect("standard output was asked for as a pipe");
        let (sender, status) = watch::channel(Status::default());
        let listener = std::thread::Builder::new()
            .name("service-guard".to_owned())
            .spawn(move || listen(child, output, &sender))
            .io("start a thread for", &spec.program)?;
        Ok(Self {
            input,
            written: 0,
            status,
            listener: Some(listener),
        })
    }

    /// Writes one line and returns how many were written.
    fn write(&mut self, line: &str) -> u64 {
        if let Some(input) = &mut self.input {
            // A guard that is gone is seen by the listener as the end of its output.
            let _ = writeln!(input, "{line}");
            self.written += 1;
        }
        self.written
    }

    fn close(&mut self) {
        self.input = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.close();
        if let Some(listener) = self.listener.take() {
            // The script bounds its own end, and a panic of the listener has been reported.
            let _ = listener.join();
        }
    }
}

/// Follows the guard's reports to their end, on a thread, because a service may outlive the async
/// runtime it was started in.
fn listen(mut child: Child, output: ChildStdout, status: &watch::Sender<Status>) {
    for line in BufReader::new(output)
        .lines()
        .map_while(std::io::Result::ok)
    {
        let (word, number) = line.split_once(' ').unwrap_or((&line, ""));
        status.send_modify(|status| match word {
            "started" => status.pid = number.parse().ok(),
            "sent" | "unsent" => status.signals += 1,
            "ended" => status.ended = Some(number.parse().unwrap_or(UNKNOWN_CODE)),
            _ => {}
        });
    }
    let _ = child.wait();
    status.send_modify(|status| status.closed = true);
}

#[cfg(test)]
mod tests;
