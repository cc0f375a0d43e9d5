//! How the process is, as named checks. Liveness says that loops go round and never asks a
//! dependency: a broker's outage must not restart the fleet. Readiness says that work gets done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A loop that has not gone round for this long is stuck (contract 5, `/livez`).
const BEAT_WITHIN: Duration = Duration::from_secs(30);

/// One named check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// `Err`: why it fails, for people.
    pub outcome: Result<(), String>,
}

impl Check {
    /// A check that passes.
    pub fn pass(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            outcome: Ok(()),
        }
    }

    /// A check that fails, and why.
    pub fn fail(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            outcome: Err(why.into()),
        }
    }

    /// Whether a loop that last went round at `beat` still does.
    pub fn beat(name: impl Into<String>, beat: Instant) -> Self {
        let since = beat.elapsed();
        if since <= BEAT_WITHIN {
            return Self::pass(name);
        }
        Self::fail(
            name,
            format!("has not gone round for {} s", since.as_secs()),
        )
    }
}

/// Tells how the process is. Both answers come at once, from memory.
pub trait Health: Send + Sync + 'static {
    /// One check a loop: does it still go round? ([`Check::beat`])
    fn live(&self) -> Vec<Check>;

    /// What must hold for work to get done: not draining, lanes running, clock fresh.
    fn ready(&self) -> Vec<Check>;

    /// What must hold for reads to be answered, besides a database that answers them: not draining.
    fn ready_for_reads(&self) -> Vec<Check> {
        let mut checks = self.ready();
        checks.retain(|check| check.name == "draining");
        checks
    }
}

/// The beats of loops that have no other board to note them on.
#[derive(Clone, Default)]
pub struct Heartbeats {
    loops: Arc<Mutex<BTreeMap<&'static str, Instant>>>,
}

impl Heartbeats {
    /// Notes that the loop `name` goes round; its first beat makes it known.
    pub fn beat(&self, name: &'static str) {
        self.loops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, Instant::now());
    }

    /// The loop `name` has ended as it should.
    pub fn end(&self, name: &'static str) {
        self.loops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    /// One check a loop.
    pub fn checks(&self) -> Vec<Check> {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops
            .iter()
            .map(|(name, beat)| Check::beat(*name, *beat))
            .collect()
    }
}
