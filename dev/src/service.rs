//! One service of a set: its process, its address, and the faults a test may put it through. How it
//! becomes ready is told by its probe; a service that ends while it is waited for fails with its log.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::client::tail;
use crate::error::{Error, Result};
use crate::guard::{Process, Signal, Spec};
use crate::{kafka, mongo, registry};

/// How long a service may take to become ready; ample for a machine under load.
const READY_BOUND: Duration = Duration::from_secs(120);
/// How long a service has from SIGTERM to SIGKILL.
const STOP_BOUND: Duration = Duration::from_secs(15);
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// How a service is asked whether it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe {
    Broker,
    /// A member, over TLS where its authority is named.
    Member(Authority),
    /// A member before its set is made.
    BareMember(Authority),
    Registry,
}

/// The file of the authority that signed a server's certificate; `None` is a server without TLS.
pub(crate) type Authority = Option<PathBuf>;

/// A service that this process started. Dropping it ends it.
#[derive(Debug)]
pub struct Service {
    name: String,
    /// `host:port`.
    address: String,
    probe: Probe,
    process: Process,
}

impl Service {
    /// Starts the process; it is not ready yet.
    pub(crate) fn start(name: &str, address: String, probe: Probe, spec: Spec) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            address,
            probe,
            process: Process::start(spec)?,
        })
    }

    /// The service's name: `kafka`, `mongo-0`, `registry` …
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `host:port` it listens on, also after a restart.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// The folder of its data; a stopped broker's log segments lie there, a folder each partition.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.log().with_file_name("data")
    }

    pub(crate) fn authority(&self) -> Authority {
        match &self.probe {
            Probe::Member(authority) | Probe::BareMember(authority) => authority.clone(),
            Probe::Broker | Probe::Registry => None,
        }
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Its exit code once it has ended.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        self.process.exit_code()
    }

    /// Waits until it ends by itself or is ended, and returns the exit code.
    pub async fn ended(&self) -> i32 {
        self.process.ended().await
    }

    /// Ends it in order (SIGTERM, after 15 s SIGKILL); its data stay for a restart.
    pub async fn stop(&self) {
        self.stop_within(STOP_BOUND).await;
    }

    /// The same with another bound.
    pub(crate) async fn stop_within(&self, bound: Duration) {
        self.process.stop(bound).await;
    }

    /// Ends it as a crash would (SIGKILL); its data stay for a restart.
    pub async fn kill(&self) {
        self.process.kill().await;
    }

    /// Stops its clock, so to say (SIGSTOP): connections stay open and nothing answers.
    pub async fn freeze(&self) {
        self.process.signal(Signal::Freeze).await;
    }

    /// Lets a frozen service go on (SIGCONT).
    pub async fn thaw(&self) {
        self.process.signal(Signal::Thaw).await;
    }

    /// Starts it again on the same port with its data (the registry keeps none), ending it first if
    /// it still runs, and waits until it answers.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await;
        self.process.restart().await?;
        self.ready().await
    }

    /// Waits until it answers.
    pub async fn ready(&self) -> Result<()> {
        self.ready_by(&self.probe).await
    }

    /// Waits until it answers another probe than its usual one.
    pub(crate) async fn ready_by(&self, probe: &Probe) -> Result<()> {
        let began = Instant::now();
        loop {
            if let Some(code) = self.process.exit_code() {
                return Err(Error::Ended {
                    service: self.name.clone(),
                    code,
                    log: tail(self.log()),
                });
            }
            let answer = match probe {
                Probe::Broker => kafka::probe(&self.address).await,
                Probe::Member(authority) => mongo::probe(&self.address, authority).await,
                Probe::BareMember(authority) => mongo::probe_bare(&self.address, authority).await,
                Probe::Registry => registry::probe(&registry::url(&self.address)).await,
            };
            match answer {
                Ok(()) => return Ok(()),
                Err(detail) if began.elapsed() > READY_BOUND => {
                    return Err(Error::NotReady {
                        service: self.name.clone(),
                        waited: READY_BOUND,
                        detail,
                        log: tail(self.log()),
                    });
                }
                Err(_) => tokio::time::sleep(PROBE_INTERVAL).await,
            }
        }
    }

    /// Lets go of it without waiting; [`Service::gone`] waits.
    pub(crate) fn close(&self) {
        self.process.close();
    }

    /// Waits until it and its guard are gone, after [`Service::close`].
    pub(crate) async fn gone(&self) {
        self.process.closed().await;
    }
}
