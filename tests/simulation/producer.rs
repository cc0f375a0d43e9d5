//! A process's producer: deliveries that are slow, held up, lost, refused and appended in part, topic by
//! topic. What a lane has handed over may still arrive after the lane is gone, unless the process died.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use session_worker::kafka::{Error, Publisher, Receipt};
use session_worker::record::{OutRecord, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use crate::broker::Broker;
use crate::history::History;
use crate::pulse;
use crate::weather::{Rates, Weather};

/// The longest pause before a topic that refused is tried again.
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// One process's producer.
#[derive(Clone)]
pub(crate) struct SimProducer {
    inner: Arc<Producer>,
}

struct Producer {
    broker: Broker,
    weather: Weather,
    history: History,
    rng: Mutex<StdRng>,
    is_alive: AtomicBool,
    /// Raised when the whole producer fails, with all that is under way.
    failures: AtomicU64,
}

struct Delivery {
    outbox: Arc<[OutRecord]>,
    /// Which of them.
    records: Vec<usize>,
    done: oneshot::Sender<Result<(), Error>>,
}

/// A lane's way to one topic, until a delivery fails.
struct Channel {
    queue: mpsc::UnboundedSender<Delivery>,
    has_failed: Arc<AtomicBool>,
    began_at: u64,
}

/// A lane's way to the output.
pub(crate) struct SimPublisher {
    inner: Arc<Producer>,
    lane: TopicPartition,
    channels: Mutex<BTreeMap<String, Channel>>,
    refusals: Mutex<BTreeMap<String, u32>>,
}

impl SimProducer {
    /// A producer that fails on `seed`'s schedule.
    pub(crate) fn new(broker: Broker, weather: Weather, history: History, seed: u64) -> Self {
        let inner = Producer {
            broker,
            weather,
            history,
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            is_alive: AtomicBool::new(true),
            failures: AtomicU64::new(0),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A lane's way to it.
    pub(crate) fn publisher(&self, lane: TopicPartition) -> SimPublisher {
        SimPublisher {
            inner: Arc::clone(&self.inner),
            lane,
            channels: Mutex::default(),
            refusals: Mutex::default(),
        }
    }

    /// The process dies: nothing is appended any more.
    pub(crate) fn kill(&self) {
        self.inner.is_alive.store(false, Ordering::Relaxed);
    }

    /// Everything that is under way fails.
    pub(crate) fn fail(&self) {
        self.inner.failures.fetch_add(1, Ordering::Relaxed);
    }
}

fn failed() -> Error {
    Error::Delivery {
        reason: "simulated".to_owned(),
    }
}

fn refused() -> Error {
    Error::Refused {
        reason: "simulated".to_owned(),
    }
}

impl Producer {
    fn draw(&self, most: u64) -> u64 {
        self.rng.lock().expect("producer").random_range(0..=most)
    }

    fn happens(&self, rate: impl Fn(&Rates) -> u32) -> bool {
        let rate = rate(&self.weather.rates());
        rate > 0 && self.draw(999) < u64::from(rate)
    }

    async fn wait(&self, most_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.draw(most_ms))).await;
    }

    /// Appends what a delivery comes to.
    async fn deliver(
        &self,
        lane: &TopicPartition,
        delivery: &Delivery,
        began_at: u64,
    ) -> Result<(), Error> {
        let held_up = self.happens(|rates| rates.held_up);
        self.wait(if held_up { 8_000 } else { 15 }).await;
        let topic = &delivery.outbox[delivery.records[0]].topic;
        if self.weather.refuses(topic, lane) {
            return Err(refused());
        }
        if self.failures.load(Ordering::Relaxed) != began_at {
            return Err(failed());
        }
        // A failing delivery appends nothing, a part, or everything: the lost answer looks the same.
        let fails = self.happens(|rates| rates.delivery);
        let all = delivery.records.len();
        let most = u64::try_from(all).expect("small batches");
        let appended = if fails {
            usize::try_from(self.draw(most)).expect("small batches")
        } else {
            all
        };
        for record in &delivery.records[..appended] {
            if !self.is_alive.load(Ordering::Relaxed) {
                return Err(failed());
            }
            let place = self.broker.append(&delivery.outbox[*record]);
            self.history
                .appended(lane, &delivery.outbox, *record, place);
            if self.happens(|rates| rates.pause) {
                self.wait(2_000).await;
            }
        }
        self.wait(15).await;
        if fails || self.failures.load(Ordering::Relaxed) != began_at {
            return Err(failed());
        }
        Ok(())
    }
}

/// Delivers in order, up to the first failure: everything behind it fails, too.
async fn deliver_all(
    producer: Arc<Producer>,
    lane: TopicPartition,
    mut queue: mpsc::UnboundedReceiver<Delivery>,
    has_failed: Arc<AtomicBool>,
    began_at: u64,
) {
    while let Some(delivery) = queue.recv().await {
        let outcome = producer.deliver(&lane, &delivery, began_at).await;
        let fails = outcome.is_err();
        if fails {
            has_failed.store(true, Ordering::Relaxed);
        }
        let _ = delivery.done.send(outcome);
        if fails || !producer.is_alive.load(Ordering::Relaxed) {
            // What waits in the queue is dropped with it, and its receipts say so.
            return;
        }
    }
}

impl SimPublisher {
    fn open(&self) -> Channel {
        let (queue, deliveries) = mpsc::unbounded_channel();
        let has_failed = Arc::new(AtomicBool::new(false));
        let began_at = self.inner.failures.load(Ordering::Relaxed);
        tokio::spawn(deliver_all(
            Arc::clone(&self.inner),
            self.lane.clone(),
            deliveries,
            Arc::clone(&has_failed),
            began_at,
        ));
        Channel {
            queue,
            has_failed,
            began_at,
        }
    }
}

impl Publisher for SimPublisher {
    async fn send(&self, topic: &str, outbox: Arc<[OutRecord]>) -> Result<Receipt, Error> {
        pulse::beat();
        let numbered = outbox.iter().enumerate();
        let records: Vec<usize> = numbered
            .filter(|(_, record)| &*record.topic == topic)
            .map(|(index, _)| index)
            .collect();
        self.inner.history.sends(&self.lane, &outbox);
        if records.is_empty() {
            return Ok(Box::pin(std::future::ready(Ok(()))));
        }
        let mut channels = self.channels.lock().expect("channels");
        let channel = channels
            .entry(topic.to_owned())
            .or_insert_with(|| self.open());
        if channel.has_failed.load(Ordering::Relaxed)
            || channel.began_at != self.inner.failures.load(Ordering::Relaxed)
        {
            return Err(failed());
        }
        let (done, outcome) = oneshot::channel();
        let delivery = Delivery {
            outbox,
            records,
            done,
        };
        if channel.queue.send(delivery).is_err() {
            return Err(failed());
        }
        Ok(Box::pin(async move {
            outcome.await.unwrap_or_else(|_| Err(failed()))
        }))
    }

    async fn recovered(&self, topic: &str) {
        let refused = self.inner.weather.refuses(topic, &self.lane);
        let pause = {
            let mut refusals = self.refusals.lock().expect("refusals");
            let count = refusals.entry(topic.to_owned()).or_default();
            *count = if refused { *count + 1 } else { 0 };
            if refused {
                (Duration::from_millis(500) * 2u32.pow((*count).min(6))).min(REFUSED_PAUSE)
            } else {
                Duration::from_millis(50 + self.inner.draw(200))
            }
        };
        tokio::time::sleep(pause).await;
        self.channels.lock().expect("channels").remove(topic);
    }

    fn max_record_bytes(&self, _topic: &str) -> usize {
        1 << 20
    }
}
