//! The one place that wires everything, and stops it in order: readiness off, lanes drained and the
//! group left, the producer flushed, jobs, listener. It decides nothing about sessions.

mod health;
mod start;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock as _;
use crate::http::{self, Listeners};
use crate::jobs::Jobs;
use crate::kafka::{Consumer, Producer};
use crate::lane::{Bounds, Homes, Lanes, Shared, StatusBoard};
use crate::settings::Settings;
use crate::store::mongo::{MongoStore, MongoViews};
use crate::telemetry::Metrics;
use crate::wire::Codec;

use health::Vitals;

/// What is kept of the shutdown's time for everything behind the lanes.
const RESERVE: Duration = Duration::from_secs(4);

/// Runs the worker until SIGTERM or SIGINT, then drains; a second signal ends the process at once,
/// whatever it is doing.
///
/// # Errors
/// The worker cannot start or cannot go on; the error ends with what to do.
pub async fn run(settings: Settings, metrics: Metrics) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let drain = CancellationToken::new();
    let mut life = std::pin::pin!(live(settings, metrics, drain.clone()));
    tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::info!(signal, "draining");
            drain.cancel();
        }
        ended = &mut life => return ended,
    }
    tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::warn!(signal, "second signal: ending at once");
            Ok(())
        }
        ended = &mut life => ended,
    }
}

/// The worker's life, from its listener to its end. It ends in order once `drain` is cancelled.
async fn live(
    settings: Settings,
    metrics: Metrics,
    drain: CancellationToken,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let vitals = Arc::new(Vitals::default());
    let listeners = Listeners::bind(&settings.http).await?;
    let readers = readers(&settings).await?;
    if settings.http.auth.has_guessable_secret() {
        tracing::warn!(
            "http.auth.jwtSecret is shorter than 32 bytes and can be guessed; set a longer one"
        );
    }
    let sources = http::Sources::new(vitals.clone(), metrics.clone(), readers, &settings.http);
    let serving = tokio::spawn(listeners.serve(sources, stop.clone()));
    let folding = tokio::spawn(metrics.keep_up());

    let started = tokio::select! {
        biased;
        () = drain.cancelled() => {
            tracing::info!("stopped before the start was done");
            stop.cancel();
            return Ok(());
        }
        started = Worker::start(&settings, &vitals) => started,
    };
    let worker = started?;
    let outcome = tokio::select! {
        biased;
        () = drain.cancelled() => Ok(()),
        reason = worker.consumer.failed() => Err(anyhow::anyhow!("{reason}; start it again")),
        () = worker.fatal.cancelled() => {
            Err(anyhow::anyhow!("a lane died of a bug; its log line says where; start it again"))
        }
    };
    vitals.drain();
    worker.stop(settings.shutdown.timeout).await;
    tracing::info!("drained; answers under way may finish");
    stop.cancel();
    // Answers under way may finish; the listener bounds them itself.
    if let Err(error) = serving.await {
        tracing::warn!(error = %error, "listener did not end well");
    }
    folding.abort();
    tracing::info!("stopped");
    outcome
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// A worker without a listener, for whoever measures one.
pub(crate) struct Trial(Worker);

impl Trial {
    /// Starts a worker with these settings on a database whose indexes are made.
    ///
    /// # Errors
    /// As [`run`].
    pub(crate) async fn start(
        settings: &Settings,
        store: MongoStore,
        codec: Codec,
    ) -> anyhow::Result<Self> {
        let vitals = Arc::new(Vitals::default());
        Worker::assemble(settings, &vitals, store, codec)
            .await
            .map(Self)
    }

    /// Resolves when the worker cannot go on.
    pub(crate) async fn failed(&self) -> String {
        tokio::select! {
            reason = self.0.consumer.failed() => reason,
            () = self.0.fatal.cancelled() => "a lane died of a bug".to_owned(),
        }
    }

    /// Drains it and stops it, within `timeout`.
    pub(crate) async fn stop(self, timeout: Duration) {
        self.0.stop(timeout).await;
    }
}

/// Everything that runs.
struct Worker {
    consumer: Arc<Consumer>,
    producer: Arc<Producer>,
    jobs: Jobs,
    upkeep: tokio::task::JoinHandle<()>,
    fatal: CancellationToken,
}

impl Worker {
    async fn start(settings: &Settings, vitals: &Arc<Vitals>) -> anyhow::Result<Self> {
        let registry = Arc::new(start::registry(settings)?);
        let store = start::wait_for("MongoDB", vitals, async || start::store(settings).await);
        let store = store.await?;
        let ids = async || start::output_ids(settings, &registry).await;
        let ids = start::wait_for("the schema registry", vitals, ids).await?;
        let codec = Codec::new(settings.topics.clone(), ids, registry);
        Self::assemble(settings, vitals, store, codec).await
    }

    async fn assemble(
        settings: &Settings,
        vitals: &Arc<Vitals>,
        store: MongoStore,
        codec: Codec,
    ) -> anyhow::Result<Self> {
        let kafka = settings.kafka.client();
        let topics = settings.topics.clone();
        let producer = async || start::producer(settings).await;
        let (partitions, producer) = start::wait_for("Kafka", vitals, producer).await?;
        let shared = Arc::new(Shared {
            store: Arc::new(store.clone()),
            clock: store.clock(),
            codec: Arc::new(codec),
            homes: Arc::new(Homes::new(partitions)),
            rules: Arc::new(settings.rules.clone()),
            topics: topics.clone(),
            group: Arc::from(settings.kafka.group_id.as_str()),
            bounds: bounds(settings),
            board: StatusBoard::default(),
            sweeps: tokio::sync::watch::Sender::new(0),
            revisions: tokio::sync::watch::Sender::default(),
            suspects: Arc::new(tokio::sync::Semaphore::new(1)),
        });
        let fatal = CancellationToken::new();
        let shared_producer = Arc::clone(&producer);
        let publishers = Box::new(move || shared_producer.publisher());
        let lanes = Arc::new(Lanes::new(shared.clone(), publishers, fatal.clone()));
        let inputs = [&*topics.match_found, &*topics.session_command];
        let consumer = async || {
            let started = Consumer::start(&kafka, &inputs, Arc::clone(&lanes) as _).await;
            started.map_err(start::kafka_absence)
        };
        let consumer = Arc::new(start::wait_for("Kafka", vitals, consumer).await?);
        vitals.watch(
            shared.board.clone(),
            Arc::clone(&consumer),
            Arc::clone(&producer),
        );
        let upkeep = tokio::spawn(upkeep::keep_up(
            store.clock(),
            shared.clone(),
            vitals.clone(),
        ));
        let jobs = upkeep::jobs(&store, &shared, &kafka);
        let jobs = Jobs::start(jobs, store.clock())
            .await
            .context("start the job scheduler")?;
        tracing::info!(partitions, now = shared.clock.now().0, "worker started");
        Ok(Self {
            consumer,
            producer,
            jobs,
            upkeep,
            fatal,
        })
    }

    /// Stops in order, within `timeout`.
    async fn stop(self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let left = |reserve: Duration| {
            deadline
                .saturating_duration_since(Instant::now())
                .saturating_sub(reserve)
        };
        if let Err(error) = self.consumer.stop(left(RESERVE)).await {
            tracing::warn!(error = %error, "consumer did not close in time");
        }
        if let Err(error) = self.producer.stop(left(RESERVE / 2)).await {
            tracing::warn!(error = %error, "producer did not close in time");
        }
        self.jobs.stop(left(Duration::ZERO)).await;
        self.upkeep.abort();
    }
}

/// What the views are read with: there before the database is, to say so.
async fn readers(settings: &Settings) -> anyhow::Result<http::Readers> {
    let uri = settings.mongo.uri.expose();
    let views = MongoViews::open(uri, &settings.mongo.database).await?;
    let readers = http::Readers::new(views, &settings.http.auth, &settings.rules)?;
    Ok(readers)
}

fn bounds(settings: &Settings) -> Bounds {
    let lane = &settings.lane;
    Bounds {
        batch_records: lane.batch_records,
        batch_bytes: lane.batch_bytes,
        outbox_bytes: lane.outbox_bytes,
        timers: lane.timers_per_batch,
        unacknowledged: lane.unacknowledged_batches,
        cached_sessions: lane.cache_sessions,
        cache_bytes: lane.cache_bytes,
    }
}
