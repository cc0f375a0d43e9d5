//! `bench`: how fast a worker with these settings is on these brokers and this database: a backlog
//! drained in batches and with a transaction a command, and the wait for a result at a steady rate. It
//! works in topics and a database of its own, which go with it; it judges by ratios of one run only.

mod backlog;
mod measure;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Done;
use super::failure::Failure;
use super::flags::{SettingsFlags, TopicsFlag};
use super::output::{self, Output};
use super::topics;
use crate::app::Trial;
use crate::clock::Clock as _;
use crate::kafka::topics::{Growth, Topics};
use crate::kafka::{Sender, Tail};
use crate::record::TopicNames;
use crate::settings::{Effective, Settings};
use crate::store::mongo::MongoStore;
use crate::wire::{Codec, LookupError, OutputIds, SchemaSource};
use backlog::Backlog;
use measure::{Drain, Latency, Results};

/// How long a worker may take to drain and stop once it is measured.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What to measure.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Extent {
    /// Commands in the backlog that is drained in batches
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    commands: u32,
    /// Commands in the backlog that is drained with a transaction each
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    single: u32,
    /// Commands a second while latency is measured
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Seconds of that
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
}

/// Measures, and removes what it made, also when it fails or is interrupted.
pub(super) async fn run(
    extent: Extent,
    flags: SettingsFlags,
    file: TopicsFlag,
    output: Output,
) -> Result<Done, Failure> {
    let Effective { settings, .. } = flags.load()?;
    let now = super::connect(&settings).await?.clock().now();
    let bench = Bench {
        name: format!("bench-{:x}", now.0),
        settings,
        file,
        extent,
    };
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    let listening = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    let measured = bench.measure(&stop).await;
    listening.abort();
    let removed = bench.remove().await;
    let report = measured?;
    removed?;
    output.print(|| report.words(), || report.json())?;
    Ok(Done::Ok)
}

/// How a worker takes its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// In batches, as the settings say.
    Batched,
    /// A transaction a command.
    Single,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Batched => "batched",
            Self::Single => "single",
        }
    }
}

/// One run, and the names of what it makes.
struct Bench {
    name: String,
    settings: Settings,
    file: TopicsFlag,
    extent: Extent,
}

impl Bench {
    async fn measure(&self, stop: &CancellationToken) -> Result<Report, Failure> {
        let Extent {
            commands,
            single,
            rate,
            seconds,
        } = self.extent;
        let field = self.prepare(Mode::Batched).await?;
        let steady = Steady { rate, seconds };
        let (drain, latency) = field.measure(commands, Some(steady), stop).await?;
        let field = self.prepare(Mode::Single).await?;
        let (single, _) = field.measure(single, None, stop).await?;
        Ok(Report {
            drain,
            single,
            latency: latency.expect("it was asked for"),
        })
    }

    /// The settings of a worker in this mode: topics, group and database are its own.
    fn settings(&self, mode: Mode) -> Settings {
        let mut settings = self.settings.clone();
        let name = format!("{}-{}", self.name, mode.name());
        let topic = |topic: &str| -> Arc<str> { format!("{name}-{topic}").into() };
        settings.topics = TopicNames {
            match_found: topic("match-found"),
            session_command: topic("session-command"),
            session_event: topic("session-event"),
            session_command_result: topic("session-command-result"),
            session_dead_letter: topic("session-dead-letter"),
        };
        settings.mongo.database.clone_from(&name);
        settings.kafka.group_id = name;
        if mode == Mode::Single {
            settings.lane.batch_records = 1;
        }
        settings
    }

    /// Makes topics, database and indexes.
    async fn prepare(&self, mode: Mode) -> Result<Field, Failure> {
        let settings = self.settings(mode);
        let kafka = settings.kafka.client();
        let wanted = self.file.load(&settings.topics)?;
        let plan = topics::observe(&kafka, &wanted, Growth::Refused).await?;
        crate::kafka::topics::apply(&kafka, &wanted, &plan)
            .await
            .map_err(topics::failure)?;
        let store = super::connect(&settings).await?;
        store
            .ensure_indexes()
            .await
            .map_err(super::connect_failure)?;
        Ok(Field {
            mode,
            settings,
            topics: wanted,
            store,
        })
    }

    /// Removes what was made; what was never made is not missed.
    async fn remove(&self) -> Result<(), Failure> {
        for mode in [Mode::Batched, Mode::Single] {
            let settings = self.settings(mode);
            let topics = self.file.load(&settings.topics)?;
            let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
            crate::kafka::topics::delete(&settings.kafka.client(), &names)
                .await
                .map_err(topics::failure)?;
            let store = super::connect(&settings).await?;
            store.database().drop().await.map_err(|_| {
                Failure::operation(
                    format!("cannot drop the database {}", settings.mongo.database),
                    "drop it by hand",
                )
            })?;
        }
        Ok(())
    }
}

/// Where one mode is measured.
struct Field {
    mode: Mode,
    settings: Settings,
    topics: Topics,
    store: MongoStore,
}

impl Field {
    /// Drains a backlog, then measures the wait where that is asked for. The worker is stopped whatever
    /// comes of it: one that went on would make again what is removed.
    async fn measure(
        &self,
        commands: u32,
        steady: Option<Steady>,
        stop: &CancellationToken,
    ) -> Result<(Drain, Option<Latency>), Failure> {
        let sender = self.sender().await?;
        let topics = &self.settings.topics;
        let mode = self.mode.name();
        let backlog = Backlog::of(commands, "b");
        output::remark(&format!(
            "{mode}: writing a backlog of {} commands",
            backlog.len()
        ));
        unless(stop, backlog.write(&sender, topics)).await?;
        let mut results = self.results()?;
        output::remark(&format!("{mode}: a worker drains it"));
        let worker = self.worker().await?;
        let measuring = async {
            let drain = measure::drain(&mut results, backlog.len()).await?;
            output::remark(&format!("{mode}: {:.0} commands/s", drain.rate()));
            let Some(Steady { rate, seconds }) = steady else {
                return Ok((drain, None));
            };
            output::remark(&format!(
                "{rate} commands/s for {seconds} s, to see how long one waits"
            ));
            let backlog = Backlog::of(rate * seconds, "s");
            // The same reader, which has the backlog's results behind it.
            let latency = measure::steady(&sender, topics, &backlog, rate, &results).await?;
            Ok((drain, Some(latency)))
        };
        let measured = unless(stop, guarded(&worker, measuring)).await;
        worker.stop(STOP_WITHIN).await;
        measured
    }

    async fn worker(&self) -> Result<Trial, Failure> {
        // Nobody but this command reads what is published, and it knows the schemas.
        let ids = OutputIds {
            event: 1,
            result: 2,
            command: 3,
        };
        let codec = Codec::new(self.settings.topics.clone(), ids, Arc::new(NoRegistry));
        Trial::start(&self.settings, self.store.clone(), codec)
            .await
            .map_err(|error| Failure::operation(format!("{error:#}"), "run `check`"))
    }

    async fn sender(&self) -> Result<Sender, Failure> {
        let topics = [Arc::clone(&self.settings.topics.session_command)];
        Sender::start(&self.settings.kafka.client(), &topics)
            .await
            .map_err(topics::failure)
    }

    fn results(&self) -> Result<Results, Failure> {
        let name = &self.settings.topics.session_command_result;
        let partitions = self.topics.get(name).map_or(1, |topic| topic.partitions);
        let kafka = self.settings.kafka.client();
        let tail = Tail::start(&kafka, name, partitions).map_err(topics::failure)?;
        Ok(Results::new(tail, &self.settings.topics))
    }
}

/// How the wait is measured.
#[derive(Clone, Copy, Debug)]
struct Steady {
    rate: u32,
    seconds: u32,
}

/// Works until it is done or interrupted.
async fn unless<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(Failure::operation(
            "interrupted",
            "what it made is removed; run it again",
        )),
    }
}

/// Measures for as long as the worker lives.
async fn guarded<T>(
    worker: &Trial,
    measuring: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        measured = measuring => measured,
        reason = worker.failed() => Err(Failure::operation(
            format!("the worker cannot go on: {reason}"),
            "see the lines above",
        )),
    }
}

/// Inputs are JSON and outputs are read with our own schemas: nothing is looked up.
pub(super) struct NoRegistry;

impl SchemaSource for NoRegistry {
    fn writer_schema<'a>(
        &'a self,
        _: &'a str,
        _: u32,
    ) -> BoxFuture<'a, Result<Arc<str>, LookupError>> {
        Box::pin(async { Err(LookupError::NotFound) })
    }
}

/// What came of it.
struct Report {
    drain: Drain,
    single: Drain,
    latency: Latency,
}

impl Report {
    fn ratio(&self) -> f64 {
        self.drain.rate() / self.single.rate()
    }

    fn words(&self) -> String {
        let line = |what: &str, drain: &Drain| {
            vec![
                what.to_owned(),
                drain.commands().to_string(),
                format!("{:.1}", drain.seconds()),
                format!("{:.0}", drain.rate()),
            ]
        };
        let drains = output::table(
            &["DRAINING A BACKLOG", "COMMANDS", "SECONDS", "COMMANDS/S"],
            &[
                line("in batches", &self.drain),
                line("a transaction a command", &self.single),
            ],
        );
        format!(
            "{drains}ratio {:.1} : 1\n\n{}\n\nresults: {}\n{}\n",
            self.ratio(),
            self.latency.words(),
            self.drain.codes(),
            conditions(),
        )
    }

    fn json(&self) -> Value {
        json!({
            "batched": self.drain.json(),
            "perMessage": self.single.json(),
            "ratio": self.ratio(),
            "latency": self.latency.json(),
            "conditions": conditions(),
        })
    }
}

/// What the numbers hold for.
fn conditions() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let profile = if cfg!(debug_assertions) {
        "a debug build, whose figures say little"
    } else {
        "a release build"
    };
    format!(
        "version {}, {profile}, {cores} cores; worker, writer and reader in one process",
        env!("CARGO_PKG_VERSION")
    )
}
