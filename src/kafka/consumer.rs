//! The input: one thread polls a group consumer and hands each assigned partition to a lane as a
//! [`PartitionLog`] with a queue of its own. Positions come from the handler, never from the group;
//! the group's committed offsets are a lag gauge. A record outside a partition's queue is a bug and
//! stops the consumer loudly.

mod assignment;
mod log;
mod marks;
mod partition;
mod watermarks;

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::assignment::Context;
pub use self::log::PartitionLog;
pub(super) use self::log::to_record;
use self::watermarks::Watermarks;
use super::Error;
use super::health::{self, Health, log_client};
use super::settings::{Settings, SetupError};
use crate::record::TopicPartition;

/// Where a lane starts to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first record of the log.
    Earliest,
    /// At this offset; where it is outside the log, the lane sees [`Error::OutOfRange`].
    At(i64),
    /// Nowhere until the lane calls [`Log::seek`](super::Log::seek), and nothing is fetched before: for
    /// a lane whose position cannot be read yet, so that it does not hold up the others, or that looks
    /// at the bounds first, or whose bytes are suspected to kill processes.
    Held,
}

/// What the application does when partitions come and go. Called on the polling thread, inside the
/// runtime; while a future runs nothing else of the group moves (heartbeats do), so that whatever
/// may take long belongs into the lane.
pub trait Assignments: Send + Sync + 'static {
    /// Partitions were assigned, nothing of them has been read: fences each lane and answers where
    /// to read. A lane without an answer is [`Start::Held`]. Dropped unfinished at shutdown.
    fn assigned(&self, lanes: Vec<TopicPartition>) -> BoxFuture<'_, Vec<(TopicPartition, Start)>>;

    /// The logs of the partitions just assigned, at those positions.
    fn started(&self, logs: Vec<PartitionLog>);

    /// Partitions go away: their logs already answer [`Error::Revoked`]. Drains and joins the lanes
    /// within [`REVOKE_LIMIT`], for another member waits; `lost`: another may own them already, so
    /// drop everything at once. Always called before the same partition is assigned again.
    fn revoked(&self, lanes: Vec<TopicPartition>, lost: bool) -> BoxFuture<'_, ()>;
}

/// The longest that a revocation is waited for. The group's patience (`max.poll.interval.ms`, 5 min)
/// is longer, the operator's is not.
pub const REVOKE_LIMIT: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(100);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// Long enough for a seek in another thread to let go of the client.
const LAST_CALLS: Duration = Duration::from_secs(3);

/// The running consumer. Dropping it stops it without waiting.
pub struct Consumer {
    context: Arc<Shared>,
    done: watch::Receiver<bool>,
}

/// What the polling thread, the logs and the handle share.
pub(super) struct Shared {
    health: health::State,
    stopping: CancellationToken,
}

impl Consumer {
    /// Joins the group and reads `topics`. Must be called within a tokio runtime, which then runs
    /// the futures of `assignments`.
    ///
    /// # Errors
    /// [`SetupError`]: a refused property, a missing topic, or no broker within 10 s.
    pub async fn start(
        settings: &Settings,
        topics: &[&str],
        assignments: Arc<dyn Assignments>,
    ) -> Result<Self, SetupError> {
        settings.refuse_owned()?;
        let shared = Arc::new(Shared {
            health: health::State::default(),
            stopping: CancellationToken::new(),
        });
        let watermarks = Arc::new(Watermarks::new(settings)?);
        let context = Context::new(
            Handle::current(),
            assignments,
            Arc::clone(&shared),
            Arc::downgrade(&watermarks),
        );
        let config = settings.consumer();
        let brokers = settings.brokers.clone();
        let names: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();

        let (consumer, names) = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer<Context> = config.create_with_context(context)?;
            let consumer = Arc::new(consumer);
            if let Err(fault) = find_topics(&consumer, &brokers, &names) {
                // It has not joined, so closing it asks no broker.
                drop(consumer);
                return Err(fault);
            }
            Ok((consumer, names))
        })
        .await
        .expect("the client's creation does not panic")?;

        let (done_sender, done) = watch::channel(false);
        let thread_shared = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("kafka-consumer".to_owned())
            .spawn(move || {
                let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
                    poll_until_stopped(&consumer, &names, &watermarks);
                    close(consumer);
                    drop(watermarks);
                }));
                if outcome.is_err() {
                    thread_shared.health.fail("the polling thread panicked");
                }
                thread_shared.stopping.cancel();
                done_sender.send_replace(true);
            })
            .map_err(|error| SetupError::Client {
                reason: error.to_string(),
            })?;
        Ok(Self {
            context: shared,
            done,
        })
    }

    /// How the consumer is, for probes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.context.health.read()
    }

    /// Resolves with the reason when the consumer has stopped by itself: a fatal error or a bug. The
    /// lanes have been revoked by then or will be; the process should end.
    pub async fn failed(&self) -> String {
        self.context.health.failed().await
    }

    /// Revokes the lanes, leaves the group and closes the client.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when that took longer than `deadline`: the thread is left behind
    /// (librdkafka may wait for a broker that is gone), and the process may end all the same.
    pub async fn stop(&self, deadline: Duration) -> Result<(), Error> {
        self.context.stopping.cancel();
        let mut done = self.done.clone();
        match tokio::time::timeout(deadline, done.wait_for(|done| *done)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Unavailable {
                reason: format!("the consumer did not close within {deadline:?}"),
            }),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.context.stopping.cancel();
    }
}

fn find_topics(
    consumer: &BaseConsumer<Context>,
    brokers: &str,
    topics: &[String],
) -> Result<(), SetupError> {
    for topic in topics {
        let metadata = consumer
            .fetch_metadata(Some(topic), METADATA_TIMEOUT)
            .map_err(|error| SetupError::Unavailable {
                brokers: brokers.to_owned(),
                reason: error.to_string(),
            })?;
        let partitions = metadata
            .topics()
            .iter()
            .find(|found| found.name() == topic && found.error().is_none())
            .map_or(0, |found| found.partitions().len());
        if partitions == 0 {
            return Err(SetupError::MissingTopic {
                topic: topic.clone(),
            });
        }
    }
    Ok(())
}

fn poll_until_stopped(
    consumer: &Arc<BaseConsumer<Context>>,
    topics: &[String],
    watermarks: &Watermarks,
) {
    let context = Arc::clone(consumer.context());
    context.adopt(consumer);
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    if let Err(error) = consumer.subscribe(&topics) {
        context
            .health()
            .fail(&format!("the subscription was refused: {error}"));
        return;
    }
    let mut reported = Instant::now();
    while !context.stopping().is_cancelled() && !context.health().has_failed() {
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(record)) => context.health().fail(&format!(
                "a record arrived outside its lane's queue: {}/{}/{}",
                record.topic(),
                record.partition(),
                record.offset()
            )),
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                context.health().fail(&format!("the consumer died: {code}"));
            }
            // `Context::error` has seen it, with its reason.
            Some(Err(_)) => {}
        }
        watermarks.serve();
        context.health().polled();
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            context.report(consumer);
        }
    }
}

/// Everything here may wait for a broker, so it belongs to this thread.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own; the last calls of others end within milliseconds and tell nobody"
)]
fn close(consumer: Arc<BaseConsumer<Context>>) {
    let context = Arc::clone(consumer.context());
    consumer.unsubscribe();
    let started = Instant::now();
    while context.has_lanes() && started.elapsed() < REVOKE_LIMIT {
        // What arrives on the main queue is of no interest by now.
        drop(consumer.poll(Duration::from_millis(20)));
    }
    // librdkafka did not come back to us: the lanes must not outlive the client all the same.
    context.release(&consumer, true);
    context.health().unassigned();

    let started = Instant::now();
    while Arc::strong_count(&consumer) > 1 && started.elapsed() < LAST_CALLS {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(consumer);
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_client(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.read_statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if self.is_polling() {
            self.health().error(&error, reason);
        }
    }
}
