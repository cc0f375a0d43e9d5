//! One output topic's producer and its rebuilding. A record that is not acknowledged ends a generation:
//! everything outstanding fails, and a new one is built after a pause that grows with what was wrong.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::generation::Generation;
use super::tracker::{Extent, Failure};
use super::{Shared, UNPOISONED};
use crate::kafka::health;
use crate::kafka::settings::SetupError;
use crate::telemetry::names;

/// Whose records go through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Every lane's.
    All,
    /// Those of one lane that has a record which is not taken: the others are not disturbed by its
    /// being tried again.
    OneLane,
}

pub(super) struct TopicProducer {
    pub(super) topic: Arc<str>,
    pub(super) share: Share,
    /// `None` while it is being rebuilt, and after the stop.
    current: watch::Sender<Option<Arc<Generation>>>,
    /// Why the last generation ended.
    failure: Mutex<Option<Failure>>,
    health: Arc<health::State>,
    stopping: CancellationToken,
}

const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// What is refused for good waits for an operator.
const REFUSED: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How long records may wait for an acknowledgement while brokers are connected; longer than a request
/// may take (10 s), and longer each time that a new generation did not help.
const STALLED: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(240));
/// A generation that lived this long starts the backoff anew.
const STEADY: Duration = Duration::from_secs(30);

impl TopicProducer {
    fn new(shared: &Shared, topic: &Arc<str>, share: Share) -> Arc<Self> {
        Arc::new(Self {
            topic: Arc::clone(topic),
            share,
            current: watch::Sender::new(None),
            failure: Mutex::new(None),
            health: Arc::default(),
            stopping: shared.stopping.child_token(),
        })
    }

    /// One that is ready at once.
    pub(super) async fn start(
        shared: &Arc<Shared>,
        topic: &Arc<str>,
    ) -> Result<Arc<Self>, SetupError> {
        let producer = Self::new(shared, topic, Share::All);
        let first = producer.build(shared, 1).await?;
        producer.current.send_replace(Some(first));
        shared
            .tasks
            .spawn(Arc::clone(&producer).supervise(Arc::clone(shared)));
        Ok(producer)
    }

    /// One for the lane whose record was refused by `failure`; it is ready after a pause.
    pub(super) fn for_one_lane(
        shared: &Arc<Shared>,
        topic: &Arc<str>,
        failure: Failure,
    ) -> Arc<Self> {
        let producer = Self::new(shared, topic, Share::OneLane);
        *producer.failure.lock().expect(UNPOISONED) = Some(failure);
        shared
            .tasks
            .spawn(Arc::clone(&producer).supervise(Arc::clone(shared)));
        producer
    }

    async fn build(&self, shared: &Shared, number: u64) -> Result<Arc<Generation>, SetupError> {
        let mut config = shared.settings.producer();
        shared.sizes.configure_for(&self.topic, &mut config);
        let health = Arc::clone(&self.health);
        tokio::task::spawn_blocking(move || Generation::build(number, &config, health))
            .await
            .map_err(|error| SetupError::Client {
                reason: error.to_string(),
            })?
    }

    /// Closes it, without flushing.
    pub(super) fn stop(&self) {
        self.stopping.cancel();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// The generation that takes records, if there is one.
    pub(super) fn current(&self) -> Option<Arc<Generation>> {
        let current = self.current.borrow();
        current
            .as_ref()
            .filter(|current| !current.has_failed())
            .cloned()
    }

    /// Waits for a generation that takes records; `None` once it has been stopped.
    pub(super) async fn up(&self) -> Option<u64> {
        let mut current = self.current.subscribe();
        let up = async {
            current
                .wait_for(|current| current.as_ref().is_some_and(|one| !one.has_failed()))
                .await
                .ok()?
                .as_ref()
                .map(|generation| generation.number)
        };
        tokio::select! {
            number = up => number,
            () = self.stopping.cancelled() => None,
        }
    }

    /// Why the last generation ended, whether it has been replaced or not.
    pub(super) fn last_failure(&self) -> Option<Failure> {
        let current = self.current.borrow();
        match current.as_ref().filter(|current| current.has_failed()) {
            Some(failed) => Some(failed.fate().failure()),
            None => self.failure.lock().expect(UNPOISONED).clone(),
        }
    }

    pub(super) fn outstanding(&self) -> i32 {
        let current = self.current.borrow();
        current.as_ref().map_or(0, |current| current.outstanding())
    }

    pub(super) fn brokers_up(&self) -> bool {
        self.health.read().brokers_up
    }

    /// It has worked for a while.
    pub(super) fn is_steady(&self) -> bool {
        let current = self.current();
        current.is_some_and(|current| current.born.elapsed() > STEADY)
    }

    /// What is wrong: a failure is over when a record was acknowledged since, or when no lane has had
    /// one to send for a while.
    pub(super) fn fault(&self) -> Option<String> {
        let failure = self.last_failure()?;
        let proven = self.current().is_some_and(|current| {
            let idle = current.outstanding() == 0 && current.born.elapsed() > STEADY;
            current.acknowledged() > 0 || idle
        });
        (!proven).then_some(failure.reason)
    }

    /// Replaces each generation that fails, until the stop.
    async fn supervise(self: Arc<Self>, shared: Arc<Shared>) {
        let (mut pauses, mut patience) = (Pauses::default(), STALLED.0);
        let mut number = 1;
        loop {
            let current = self.current.borrow().clone();
            if let Some(current) = current {
                number = current.number;
                let stopped = tokio::select! {
                    () = self.stopping.cancelled() => true,
                    () = current.fate().failed() => false,
                    () = current.watch(patience) => false,
                };
                self.current.send_replace(None);
                if stopped {
                    retire(current).await;
                    return;
                }
                patience = match current.acknowledged() {
                    0 => (patience * 2).min(STALLED.1),
                    _ => STALLED.0,
                };
                self.end(&shared, current, &mut pauses).await;
            }
            let Some(next) = self.rebuild(&shared, number + 1, &mut pauses).await else {
                return;
            };
            self.current.send_replace(Some(next));
        }
    }

    /// Says why `generation` ended, and lets nothing more of it be sent.
    async fn end(&self, shared: &Arc<Shared>, generation: Arc<Generation>, pauses: &mut Pauses) {
        let failure = generation.fate().failure();
        tracing::warn!(
            topic = %self.topic,
            generation = generation.number,
            reason = failure.reason,
            "kafka producer failed"
        );
        metrics::counter!(names::PRODUCER_REBUILDS).increment(1);
        let worked = match self.share {
            Share::All => generation.acknowledged() > 0 && generation.born.elapsed() > STEADY,
            // What stands before the refused record is acknowledged each time.
            Share::OneLane => false,
        };
        if worked {
            *pauses = Pauses::default();
        }
        *self.failure.lock().expect(UNPOISONED) = Some(failure);
        // What is queued behind the failed record must not be appended before it is sent again.
        let purged = Arc::clone(&generation);
        let purging = tokio::task::spawn_blocking(move || purged.purge());
        if purging.await.is_err() {
            tracing::error!("the purge of a failed producer panicked");
        }
        shared.tasks.spawn(retire(generation));
    }

    /// Builds generation `number` after a pause; `None` at the stop.
    async fn rebuild(
        &self,
        shared: &Shared,
        number: u64,
        pauses: &mut Pauses,
    ) -> Option<Arc<Generation>> {
        loop {
            let failure = self.last_failure();
            let pause = pauses.next(self.share, failure.as_ref());
            tokio::select! {
                () = self.stopping.cancelled() => return None,
                () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))) => {}
            }
            if failure.is_some_and(|failure| failure.too_large) {
                shared.refresh_sizes().await;
            }
            match self.build(shared, number).await {
                Ok(next) => {
                    tracing::info!(topic = %self.topic, generation = number, "kafka producer rebuilt");
                    return Some(next);
                }
                Err(error) => {
                    tracing::error!(topic = %self.topic, %error, "kafka producer cannot be rebuilt");
                    let failure = Failure::new(Extent::Producer, error.to_string());
                    *self.failure.lock().expect(UNPOISONED) = Some(failure);
                }
            }
        }
    }
}

/// The pauses before the next generations.
struct Pauses {
    failed: Duration,
    refused: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            failed: BACKOFF.0,
            refused: REFUSED.0,
        }
    }
}

impl Pauses {
    fn next(&mut self, share: Share, failure: Option<&Failure>) -> Duration {
        let extent = failure.map_or(Extent::Producer, |failure| failure.extent);
        let (pause, longest) = match (share, extent) {
            // The lane that has the record sends it elsewhere from now on.
            (Share::All, Extent::Record) => return Duration::ZERO,
            (Share::All, Extent::Producer) => (&mut self.failed, BACKOFF.1),
            (Share::All, Extent::Topic) | (Share::OneLane, _) => (&mut self.refused, REFUSED.1),
        };
        let next = *pause;
        *pause = (next * 2).min(longest);
        next
    }
}

/// Drops a generation on a blocking thread, once no `send` holds it any more.
#[expect(
    clippy::disallowed_methods,
    reason = "a blocking thread; the last `send` lets go within milliseconds and tells nobody"
)]
async fn retire(generation: Arc<Generation>) {
    let closing = tokio::task::spawn_blocking(move || {
        while Arc::strong_count(&generation) > 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(generation);
    });
    if closing.await.is_err() {
        tracing::error!("the closing of a producer panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_waits_longer_each_time_and_a_refused_record_delays_no_other_lane() {
        let refused = |extent| Failure::new(extent, "refused");
        let mut pauses = Pauses::default();
        for expected in [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000] {
            let pause = pauses.next(Share::All, Some(&refused(Extent::Topic)));
            assert_eq!(pause, Duration::from_millis(expected));
        }
        let record = refused(Extent::Record);
        assert_eq!(pauses.next(Share::All, Some(&record)), Duration::ZERO);
        let mut pauses = Pauses::default();
        for expected in [250, 500] {
            let pause = pauses.next(Share::OneLane, Some(&record));
            assert_eq!(pause, Duration::from_millis(expected));
        }
    }
}
