//! Committed batches on their way to the brokers, topic by topic and in order. A topic that fails delays
//! its own records only; a batch counts as acknowledged once all of its topics have it and every batch
//! before it is acknowledged. After a failed delivery a topic's unacknowledged records are sent again
//! from the lowest batch, byte for byte.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::kafka::{Error, Publisher, Receipt};
use crate::planted::{self, Bug};
use crate::record::OutRecord;

/// How long an acknowledgement waits for a batch to take it along.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(250);

/// A committed batch that is not acknowledged.
struct Batch {
    number: i64,
    /// Empty once no topic needs them any more.
    records: Arc<[OutRecord]>,
    /// Bytes of its stored outbox document, about; 0: it has none.
    stored_bytes: usize,
    topics_left: usize,
}

/// One topic's part of a batch.
struct Part {
    batch: i64,
    /// `None`: to be handed over.
    receipt: Option<Receipt>,
}

enum TopicState {
    /// Records are handed over as they come.
    Flowing,
    /// A delivery failed: nothing is handed over before the future resolves.
    Recovering {
        why: String,
        recovered: BoxFuture<'static, ()>,
    },
}

struct Topic {
    parts: VecDeque<Part>,
    state: TopicState,
}

/// What has happened on the way to the brokers.
#[derive(Debug)]
pub(super) enum Progress {
    /// A topic's part of a batch is acknowledged.
    Acknowledged,
    /// A topic can be sent to again.
    Recovered,
    /// A delivery failed; everything of the topic will be sent again.
    Failed(Arc<str>, Error),
}

/// The window of one lane.
pub(super) struct OutboxWindow<P> {
    publisher: Arc<P>,
    batches: VecDeque<Batch>,
    topics: BTreeMap<Arc<str>, Topic>,
    /// Bytes of the stored outbox documents that are not acknowledged: what a next owner would load.
    stored_bytes: usize,
    /// Every batch up to this one is acknowledged.
    acked: i64,
    /// The last acknowledged batch that had records, and so a stored outbox document.
    published: i64,
    /// When an acknowledgement that no batch took along is written by itself.
    acknowledge_at: Option<Instant>,
}

impl<P: Publisher> OutboxWindow<P> {
    /// A window on a lane's own way to the output.
    pub(super) fn new(publisher: P) -> Self {
        Self {
            publisher: Arc::new(publisher),
            batches: VecDeque::new(),
            topics: BTreeMap::new(),
            stored_bytes: 0,
            acked: 0,
            published: 0,
            acknowledge_at: None,
        }
    }

    /// Starts over at `acked`, forgetting what was on its way. A topic that recovers goes on recovering.
    pub(super) fn reset(&mut self, acked: i64) {
        self.batches.clear();
        for topic in self.topics.values_mut() {
            topic.parts.clear();
        }
        self.stored_bytes = 0;
        self.acked = acked;
        self.published = acked;
        self.acknowledge_at = None;
    }

    /// Takes a committed batch; [`OutboxWindow::hand_over`] sends it.
    pub(super) fn push(&mut self, number: i64, records: Arc<[OutRecord]>) {
        let topics: BTreeSet<&Arc<str>> = records.iter().map(|record| &record.topic).collect();
        for topic in &topics {
            let topic = self
                .topics
                .entry(Arc::clone(topic))
                .or_insert_with(|| Topic {
                    parts: VecDeque::new(),
                    state: TopicState::Flowing,
                });
            topic.parts.push_back(Part {
                batch: number,
                receipt: None,
            });
        }
        let topics_left = topics.len();
        let stored_bytes = records.iter().map(OutRecord::size).sum();
        self.stored_bytes += stored_bytes;
        self.batches.push_back(Batch {
            number,
            records,
            stored_bytes,
            topics_left,
        });
        self.advance();
    }

    /// Batches that are not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// Bytes of output that are stored and not acknowledged.
    pub(super) fn stored_bytes(&self) -> usize {
        self.stored_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The lane's way to the output.
    pub(super) fn publisher(&self) -> &Arc<P> {
        &self.publisher
    }

    /// Every batch up to this one needs no publishing any more.
    pub(super) fn acked(&self) -> i64 {
        if planted::has(Bug::AcknowledgedTooFar) && !self.is_empty() {
            return self.acked + 1;
        }
        self.acked
    }

    /// Topics that fail, with the reason.
    pub(super) fn failing(&self) -> impl Iterator<Item = (&str, &str)> {
        self.topics
            .iter()
            .filter_map(|(name, topic)| match &topic.state {
                TopicState::Recovering { why, .. } if !topic.parts.is_empty() => {
                    Some((&**name, why.as_str()))
                }
                TopicState::Recovering { .. } | TopicState::Flowing => None,
            })
    }

    /// Whether outbox documents are stored beyond `stored` that need no publishing any more.
    pub(super) fn owes_acknowledgement(&self, stored: i64) -> bool {
        stored < self.published
    }

    /// When the acknowledgement is written by itself.
    pub(super) fn acknowledge_at(&self) -> Option<Instant> {
        self.acknowledge_at
    }

    /// The acknowledgement is stored up to `stored`.
    pub(super) fn acknowledged_to(&mut self, stored: i64) {
        self.acknowledge_at = None;
        self.plan_acknowledgement(stored);
    }

    /// Sets the time of a lone acknowledgement, where one is owed.
    pub(super) fn plan_acknowledgement(&mut self, stored: i64) {
        if self.owes_acknowledgement(stored) && self.acknowledge_at.is_none() {
            self.acknowledge_at = Some(Instant::now() + ACKNOWLEDGE_AFTER);
        }
    }

    /// Hands over every part that is not on its way yet, in order. To be awaited to its end: a call cut
    /// short would hand over the beginning of a part twice. The errors are deliveries that failed.
    pub(super) async fn hand_over(&mut self) -> Vec<(Arc<str>, Error)> {
        let mut failures = Vec::new();
        for (name, topic) in &mut self.topics {
            if !matches!(topic.state, TopicState::Flowing) {
                continue;
            }
            for index in 0..topic.parts.len() {
                if topic.parts[index].receipt.is_some() {
                    continue;
                }
                let number = topic.parts[index].batch;
                let records = records_of(&self.batches, number);
                match self.publisher.send(name, records).await {
                    Ok(receipt) => topic.parts[index].receipt = Some(receipt),
                    Err(error) => {
                        topic.fail(&self.publisher, name, &error);
                        failures.push((Arc::clone(name), error));
                        break;
                    }
                }
            }
        }
        failures
    }

    /// Waits until something happens on the way to the brokers. Pending while nothing is on its way.
    /// Cancel-safe.
    pub(super) async fn progress(&mut self) -> Progress {
        std::future::poll_fn(|context| self.poll_progress(context)).await
    }

    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<Progress> {
        let mut acknowledged = None;
        for (name, topic) in &mut self.topics {
            if let TopicState::Recovering { recovered, .. } = &mut topic.state {
                if recovered.poll_unpin(context).is_ready() {
                    topic.state = TopicState::Flowing;
                    return Poll::Ready(Progress::Recovered);
                }
                continue;
            }
            let Some(first) = topic.parts.front_mut() else {
                continue;
            };
            let Some(receipt) = first.receipt.as_mut() else {
                continue;
            };
            match receipt.poll_unpin(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    acknowledged = Some(first.batch);
                    topic.parts.pop_front();
                    break;
                }
                Poll::Ready(Err(error)) => {
                    topic.fail(&self.publisher, name, &error);
                    return Poll::Ready(Progress::Failed(Arc::clone(name), error));
                }
            }
        }
        match acknowledged {
            None => Poll::Pending,
            Some(number) => {
                self.acknowledge(number);
                Poll::Ready(Progress::Acknowledged)
            }
        }
    }

    fn acknowledge(&mut self, number: i64) {
        if let Ok(index) = self
            .batches
            .binary_search_by_key(&number, |batch| batch.number)
        {
            let batch = &mut self.batches[index];
            batch.topics_left -= 1;
            if planted::has(Bug::AcknowledgedByOneTopic) {
                batch.topics_left = 0;
            }
            if batch.topics_left == 0 {
                // An earlier batch may wait for long: its memory is not to grow with this one's records.
                batch.records = Arc::from([]);
            }
        }
        self.advance();
    }

    /// Moves `acked` over the batches that nothing waits for.
    fn advance(&mut self) {
        while let Some(first) = self.batches.front()
            && first.topics_left == 0
        {
            self.acked = first.number;
            if first.stored_bytes > 0 {
                self.published = first.number;
                self.stored_bytes -= first.stored_bytes;
            }
            self.batches.pop_front();
        }
    }
}

fn records_of(batches: &VecDeque<Batch>, number: i64) -> Arc<[OutRecord]> {
    let index = batches.binary_search_by_key(&number, |batch| batch.number);
    let index = index.expect("a batch stays as long as one of its parts");
    Arc::clone(&batches[index].records)
}

impl Topic {
    fn fail<P: Publisher>(&mut self, publisher: &Arc<P>, name: &Arc<str>, error: &Error) {
        for part in &mut self.parts {
            part.receipt = None;
        }
        if planted::has(Bug::WindowOrderLost) {
            self.parts.make_contiguous().reverse();
        }
        let (publisher, name) = (Arc::clone(publisher), Arc::clone(name));
        self.state = TopicState::Recovering {
            why: error.to_string(),
            recovered: async move { publisher.recovered(&name).await }.boxed(),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use parking_lot::Mutex;

    use super::*;

    /// Brokers that acknowledge at once, but for the topics that they refuse.
    #[derive(Default)]
    struct Brokers {
        refused: Mutex<BTreeSet<String>>,
        sent: Mutex<Vec<(String, String)>>,
    }

    impl Publisher for Arc<Brokers> {
        async fn send(&self, topic: &str, records: Arc<[OutRecord]>) -> Result<Receipt, Error> {
            if self.refused.lock().contains(topic) {
                let reason = "not allowed".to_owned();
                return Err(Error::Refused { reason });
            }
            for record in records.iter().filter(|record| &*record.topic == topic) {
                let value = String::from_utf8(record.value.clone().unwrap_or_default());
                let value = value.expect("tests write text");
                self.sent.lock().push((topic.to_owned(), value));
            }
            Ok(Box::pin(std::future::ready(Ok(()))))
        }

        async fn recovered(&self, topic: &str) {
            while self.refused.lock().contains(topic) {
                tokio::task::yield_now().await;
            }
        }

        fn max_record_bytes(&self, _topic: &str) -> usize {
            1 << 20
        }
    }

    fn batch(records: &[(&str, &str)]) -> Arc<[OutRecord]> {
        let record = |(topic, value): &(&str, &str)| OutRecord {
            topic: Arc::from(*topic),
            partition: None,
            key: None,
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
        };
        records.iter().map(record).collect()
    }

    /// Everything that happens without waiting.
    async fn settle(window: &mut OutboxWindow<Arc<Brokers>>) {
        loop {
            drop(window.hand_over().await);
            if window.progress().now_or_never().is_none() {
                return;
            }
        }
    }

    #[tokio::test]
    async fn a_refused_topic_delays_its_own_records_and_the_acknowledgement_and_nothing_else() {
        let brokers = Arc::new(Brokers::default());
        brokers.refused.lock().insert("dead".to_owned());
        let mut window = OutboxWindow::new(Arc::clone(&brokers));
        window.push(
            1,
            batch(&[("event", "e1"), ("dead", "d1"), ("result", "r1")]),
        );
        window.push(2, batch(&[("event", "e2")]));
        window.push(3, batch(&[("dead", "d3")]));
        settle(&mut window).await;
        let sent = |topic: &str| -> Vec<String> {
            let sent = brokers.sent.lock();
            let of_topic = sent.iter().filter(|(name, _)| name == topic);
            of_topic.map(|(_, value)| value.clone()).collect()
        };
        assert_eq!(
            (sent("event"), sent("result")),
            (vec!["e1".into(), "e2".into()], vec!["r1".into()])
        );
        assert_eq!((window.acked(), window.len()), (0, 3));
        assert_eq!(
            window.failing().map(|(topic, _)| topic).collect::<Vec<_>>(),
            ["dead"]
        );
        assert!(!window.owes_acknowledgement(0));

        brokers.refused.lock().clear();
        settle(&mut window).await;
        assert_eq!(sent("dead"), ["d1", "d3"]);
        assert_eq!(
            sent("event").len(),
            2,
            "what was acknowledged is not sent again"
        );
        assert_eq!(
            (window.acked(), window.len(), window.stored_bytes()),
            (3, 0, 0)
        );
        assert!(window.owes_acknowledgement(0));
        assert_eq!(window.failing().count(), 0);
    }

    #[tokio::test]
    async fn a_batch_without_records_is_acknowledged_in_its_turn() {
        let mut window = OutboxWindow::new(Arc::new(Brokers::default()));
        window.push(1, batch(&[("event", "e1")]));
        window.push(2, batch(&[]));
        assert_eq!(window.acked(), 0);
        settle(&mut window).await;
        assert_eq!(window.acked(), 2);
        // Only the first has a document to be deleted.
        assert!(window.owes_acknowledgement(0) && !window.owes_acknowledgement(1));
        window.push(3, batch(&[]));
        assert_eq!(window.acked(), 3);
        assert!(!window.owes_acknowledgement(1));
    }
}
