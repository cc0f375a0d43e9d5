//! The lanes of this process: started when a partition is assigned, stopped and joined before the
//! partition is let go. It keeps tasks, not state; a lane that dies of a bug ends the process loudly, so
//! that another owner can go on from the database.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use rand::Rng;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::kafka::{Assignments, Log, PartitionLog, Publisher, Start};
use crate::record::TopicPartition;
use crate::store::Store;
use crate::telemetry::names;

use super::run::Lane;
use super::{Phase, Shared};

/// How long a revoked lane may take to finish what is in flight.
const DRAIN: Duration = Duration::from_secs(5);

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The lanes of one process.
pub struct Lanes<S, P, C> {
    shared: Arc<Shared<S, C>>,
    /// Gives each lane its own way to the output.
    publishers: Box<dyn Fn() -> P + Send + Sync>,
    running: Mutex<BTreeMap<TopicPartition, Running>>,
    /// Cancelled when a lane dies of a bug.
    fatal: CancellationToken,
}

impl<S, P, C> Lanes<S, P, C>
where
    S: Store,
    P: Publisher,
    C: Clock,
{
    /// No lane yet. `fatal` is cancelled when a lane dies of a bug, and the process shall end.
    pub fn new(
        shared: Arc<Shared<S, C>>,
        publishers: Box<dyn Fn() -> P + Send + Sync>,
        fatal: CancellationToken,
    ) -> Self {
        Self {
            shared,
            publishers,
            running: Mutex::default(),
            fatal,
        }
    }

    /// Starts the lane of a partition that is read nowhere yet: the lane fences itself and places its
    /// log, so that one that has to wait does not delay the others.
    fn start<L: Log>(&self, name: TopicPartition, log: L) {
        let seed = rand::rng().random();
        let publisher = (self.publishers)();
        let lane = Lane::new(name.clone(), Arc::clone(&self.shared), log, publisher, seed);
        let stop = CancellationToken::new();
        let (fatal, child, label) = (self.fatal.clone(), stop.clone(), name.clone());
        let task = tokio::spawn(async move {
            match AssertUnwindSafe(lane.run(child)).catch_unwind().await {
                Ok(ending) => tracing::info!(lane = %label, ending = ?ending, "lane ended"),
                Err(_) => {
                    tracing::error!(lane = %label, "lane died of a bug; the worker stops");
                    fatal.cancel();
                }
            }
        });
        let before = self.running.lock().insert(name, Running { stop, task });
        debug_assert!(
            before.is_none(),
            "a partition is let go before it is assigned again"
        );
    }

    /// Stops lanes and joins them, each finishing what is in flight, for at most `bound`; what is not
    /// done by then is dropped, and the next owner goes on from the database.
    async fn stop(&self, lanes: &[TopicPartition], bound: Duration) {
        let stopping: Vec<_> = {
            let mut running = self.running.lock();
            let stopping = lanes.iter();
            stopping
                .filter_map(|lane| running.remove(lane).map(|running| (lane, running)))
                .collect()
        };
        for (_, running) in &stopping {
            running.stop.cancel();
        }
        join_all(stopping.into_iter().map(|(lane, running)| async move {
            let mut task = running.task;
            if tokio::time::timeout(bound, &mut task).await.is_err() {
                tracing::warn!(lane = %lane, "lane did not finish in time and is dropped");
                task.abort();
                // Joined, not merely aborted: the old queue is gone before the partition comes back.
                if let Err(error) = task.await
                    && !error.is_cancelled()
                {
                    tracing::error!(lane = %lane, error = %error, "lane did not end well");
                }
            }
            self.shared.board.remove(lane);
        }))
        .await;
    }
}

impl<S, P, C> Assignments for Lanes<S, P, C>
where
    S: Store,
    P: Publisher,
    C: Clock,
{
    fn assigned(&self, lanes: Vec<TopicPartition>) -> BoxFuture<'_, Vec<(TopicPartition, Start)>> {
        metrics::counter!(names::REBALANCES, "kind" => "assigned").increment(1);
        tracing::info!(lanes = lanes.len(), "partitions were assigned");
        for lane in &lanes {
            self.shared.board.note(lane, Phase::Starting);
        }
        let held = lanes.into_iter().map(|lane| (lane, Start::Held)).collect();
        Box::pin(std::future::ready(held))
    }

    fn started(&self, logs: Vec<PartitionLog>) {
        for log in logs {
            self.start(log.lane().clone(), log);
        }
    }

    fn revoked(&self, lanes: Vec<TopicPartition>, lost: bool) -> BoxFuture<'_, ()> {
        let kind = if lost { "lost" } else { "revoked" };
        metrics::counter!(names::REBALANCES, "kind" => kind).increment(1);
        tracing::info!(lanes = lanes.len(), lost, "partitions were revoked");
        let bound = if lost { Duration::ZERO } else { DRAIN };
        Box::pin(async move { self.stop(&lanes, bound).await })
    }
}
