//! `cargo dev load`: how fast one worker drains a backlog, how much memory that takes, and how long a
//! command waits for its result at a steady rate. Batches are compared with a transaction a command.
//! Measures only; a machine's numbers are no promise, so nothing here passes or fails by them.

mod backlog;
mod measure;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value as Json, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::demo::say;
use crate::gateway::{self, Codec, Topics};
use crate::worker::{self, Worker};
use crate::{Options, Progress, Services, Source};
use backlog::Backlog;
use measure::{Drain, Latency};

/// Commands a second while latency is measured.
const RATE: u32 = 200;
const STEADY: Duration = Duration::from_secs(20);

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Commands in the backlog.
    pub commands: usize,
    /// Print one JSON document on standard output.
    pub json: bool,
}

/// Runs the measurements until done or interrupted.
pub async fn run(load: Load) -> anyhow::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt()).context("listen to SIGINT")?;
    let mut terminations = signal(SignalKind::terminate()).context("listen to SIGTERM")?;
    tokio::select! {
        outcome = measure_all(load) => outcome,
        _ = interrupts.recv() => anyhow::bail!("interrupted"),
        _ = terminations.recv() => anyhow::bail!("interrupted"),
    }
}

/// Tells how it goes, where that is not the document.
fn tell(load: Load, line: &str) {
    if !load.json {
        say(line);
    }
}

async fn measure_all(load: Load) -> anyhow::Result<()> {
    let binary = worker::build().await?;
    let folder = std::env::temp_dir().join(format!("session-worker-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let services = Services::start(Options {
        source: Source::Own,
        progress: Progress::Full,
        ..Options::default()
    });
    let services = services.await?;
    let machine = machine(&services);
    tell(
        load,
        &format!(
            "machine: {}",
            machine["summary"].as_str().unwrap_or_default()
        ),
    );

    let field = Field {
        load,
        binary: &binary,
        folder: &folder,
        services: &services,
    };
    let (batched, worker, topics) = field.drain("batched", load.commands, None).await?;
    let latency = field.steady(&worker, &topics).await?;
    let (single, _, _) = field
        .drain("single", (load.commands / 10).max(9), Some("1"))
        .await?;
    let ratio = batched.rate() / single.rate();
    if load.json {
        let report = json!({
            "machine": machine,
            "batched": batched.json(),
            "perMessage": single.json(),
            "ratio": ratio,
            "latency": latency.json(),
        });
        say(&serde_json::to_string_pretty(&report)?);
    } else {
        say("");
        batched.print("batches as by default");
        single.print("a transaction a command");
        say(&format!("ratio  {ratio:.1} : 1"));
        latency.print();
        say(&format!("the workers' logs are in {}", folder.display()));
    }
    services.stop().await;
    Ok(())
}

/// One set of services, on which every measurement has topics and a database of its own.
struct Field<'field> {
    load: Load,
    binary: &'field Path,
    folder: &'field Path,
    services: &'field Services,
}

impl Field<'_> {
    async fn drain(
        &self,
        name: &str,
        commands: usize,
        batch: Option<&str>,
    ) -> anyhow::Result<(Drain, Worker, Topics)> {
        let topics = Topics::with_prefix(&format!("{name}-"));
        let mut worker = Worker::new(self.binary.to_path_buf(), self.folder, self.services)
            .with("KAFKA__GROUP_ID", name)
            .with("MONGO__DATABASE", name);
        for (key, value) in topics.settings() {
            worker = worker.with(&key, &value);
        }
        if let Some(records) = batch {
            worker = worker.with("LANE__BATCH_RECORDS", records);
        }
        worker.must(&["topics", "apply"]).await?;
        worker.must(&["schemas", "register"]).await?;
        let brokers = self.services.kafka();
        let backlog = Backlog::of(commands, name);
        backlog.produce(brokers, &topics).await?;
        tell(
            self.load,
            &format!("{name}: {} commands wait; a worker starts", backlog.len()),
        );
        let codec = Codec::new(self.services.registry_url(), &topics).await?;
        let running = worker.start(name)?;
        let drain = measure::drain(brokers, &codec, &topics, backlog.len(), &running).await?;
        running.drain().await;
        tell(
            self.load,
            &format!("{name}: drained, {:.0} commands/s", drain.rate()),
        );
        Ok((drain, worker, topics))
    }

    async fn steady(&self, worker: &Worker, topics: &Topics) -> anyhow::Result<Latency> {
        tell(
            self.load,
            &format!("latency: {RATE} commands/s for {} s", STEADY.as_secs()),
        );
        let running = worker.start("steady")?;
        let count = RATE as usize * STEADY.as_secs() as usize;
        let backlog = Backlog::of(count, "steady");
        let latency =
            measure::latency(self.services.kafka(), topics, &backlog, RATE, &running).await?;
        running.drain().await;
        Ok(latency)
    }
}

/// What the numbers were taken on.
fn machine(services: &Services) -> Json {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim());
        value.unwrap_or("unknown").to_owned()
    };
    let processor = after(&read("/proc/cpuinfo"), "model name");
    let memory = after(&read("/proc/meminfo"), "MemTotal");
    let busy = read("/proc/loadavg")
        .split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned();
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let parts: Vec<_> = services
        .found()
        .iter()
        .map(|found| format!("{}: {}", found.name, found.origin))
        .collect();
    let summary = format!(
        "{cores} cores ({processor}), {memory}, load average {busy} at the start; worker {} in profile {profile}; \
         broker, database, registry and client on the same machine; {}",
        env!("CARGO_PKG_VERSION"),
        parts.join("; ")
    );
    json!({
        "summary": summary,
        "cores": cores,
        "processor": processor,
        "memory": memory,
        "loadAverage": busy,
        "profile": profile,
        "version": env!("CARGO_PKG_VERSION"),
        "parts": parts,
        "takenAt": gateway::now_millis(),
    })
}
