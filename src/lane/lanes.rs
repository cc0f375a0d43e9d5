//! The lanes of this process: fenced when a partition is assigned, started on its log, stopped and
//! joined before the partition is let go. It keeps tasks, not state; a lane that dies of a bug takes
//! the process down loudly, so that another owner can go on from the database.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use rand::Rng;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::kafka::{Log, Publisher};
use crate::record::TopicPartition;
use crate::store::Store;

use super::run::{Fenced, Lane, home_of_lane};
use super::{Phase, Shared};

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The lanes of one process.
pub struct Lanes<S: Store, P, C> {
    shared: Arc<Shared<S, P, C>>,
    fenced: Mutex<BTreeMap<TopicPartition, Fenced<S::Lane>>>,
    running: Mutex<BTreeMap<TopicPartition, Running>>,
    stop: CancellationToken,
    /// Cancelled when a lane dies of a bug.
    fatal: CancellationToken,
}

impl<S, P, C> Lanes<S, P, C>
where
    S: Store,
    P: Publisher,
    C: Clock,
{
    /// No lane yet. `stop` ends waiting for the database; `fatal` is cancelled when a lane dies of a
    /// bug, and the process shall end.
    pub fn new(
        shared: Arc<Shared<S, P, C>>,
        stop: CancellationToken,
        fatal: CancellationToken,
    ) -> Self {
        Self {
            shared,
            fenced: Mutex::default(),
            running: Mutex::default(),
            stop,
            fatal,
        }
    }

    /// Becomes the owner of `lanes` and says where each is to be read from (`None`: the earliest
    /// record). Waits for the database as long as it takes; after a stop, what is not fenced is left out.
    pub async fn fence(&self, lanes: Vec<TopicPartition>) -> Vec<(TopicPartition, Option<i64>)> {
        let fenced = join_all(lanes.into_iter().map(|lane| self.fence_one(lane))).await;
        let mut held = self.fenced.lock().unwrap_or_else(PoisonError::into_inner);
        let mut positions = Vec::new();
        for (lane, fenced) in fenced.into_iter().flatten() {
            positions.push((lane.clone(), fenced.read_from()));
            held.insert(lane, fenced);
        }
        positions
    }

    async fn fence_one(&self, lane: TopicPartition) -> Option<(TopicPartition, Fenced<S::Lane>)> {
        let home = home_of_lane(&self.shared.topics.session_command, &lane);
        let mut attempt = 0u32;
        loop {
            self.shared.board.note(&lane, Phase::Starting);
            match self.shared.store.fence(&lane, home).await {
                Ok((store, position)) => return Some((lane, Fenced { store, position })),
                Err(error) => {
                    if attempt == 0 {
                        tracing::warn!(lane = %lane, error = %error, "cannot fence the lane yet");
                    }
                }
            }
            attempt += 1;
            let most = 100u64 << attempt.min(5);
            let wait = Duration::from_millis(rand::rng().random_range(most / 2..=most));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Starts the lane of a partition that is now read from where [`Lanes::fence`] said.
    pub fn start<L: Log>(&self, name: TopicPartition, log: L) {
        let fenced = self
            .fenced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&name);
        let seed = rand::rng().random();
        let lane = Lane::new(name.clone(), Arc::clone(&self.shared), fenced, log, seed);
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
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let before = running.insert(name, Running { stop, task });
        debug_assert!(
            before.is_none(),
            "a partition is let go before it is assigned again"
        );
    }

    /// Stops lanes and joins them, each finishing what is in flight, for at most `bound`; what is not
    /// done by then is dropped, and the next owner goes on from the database.
    pub async fn stop(&self, lanes: &[TopicPartition], bound: Duration) {
        let stopping: Vec<_> = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let mut fenced = self.fenced.lock().unwrap_or_else(PoisonError::into_inner);
            lanes
                .iter()
                .filter_map(|lane| {
                    fenced.remove(lane);
                    running.remove(lane).map(|running| (lane, running))
                })
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

    /// The partitions whose lanes run.
    pub fn running(&self) -> Vec<TopicPartition> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }
}
