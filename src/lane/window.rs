//! Committed batches on their way to the broker, in order. A batch counts as acknowledged only when it
//! and everything before it is; after a failed delivery everything unacknowledged is sent again, from
//! the lowest, byte for byte.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::kafka::{Error, Publisher, Receipt};
use crate::record::OutRecord;

struct Sent {
    batch: i64,
    records: Arc<[OutRecord]>,
    /// `None`: to be handed over (again).
    receipt: Option<Receipt>,
}

/// The window of one lane.
pub(super) struct Window<P> {
    publisher: P,
    sent: VecDeque<Sent>,
    /// All batches up to this one need no publishing any more.
    acked: i64,
    failed: bool,
}

impl<P: Publisher> Window<P> {
    /// A window on a lane's own way to the output.
    pub(super) fn new(publisher: P) -> Self {
        Self {
            publisher,
            sent: VecDeque::new(),
            acked: 0,
            failed: false,
        }
    }

    /// Starts over at `acked`, forgetting what was on its way.
    pub(super) fn reset(&mut self, acked: i64) {
        self.sent.clear();
        self.acked = acked;
        self.failed = false;
    }

    /// Takes a committed batch; [`Window::hand_over`] sends it.
    pub(super) fn push(&mut self, batch: i64, records: Arc<[OutRecord]>) {
        if records.is_empty() && self.sent.is_empty() {
            self.acked = batch;
        } else {
            self.sent.push_back(Sent {
                batch,
                records,
                receipt: None,
            });
        }
    }

    /// Batches that are not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// The lane's way to the output.
    pub(super) fn publisher(&self) -> &P {
        &self.publisher
    }

    pub(super) fn acked(&self) -> i64 {
        self.acked
    }

    /// Hands over every batch that is not on its way yet, in order. To be awaited to its end: a call
    /// cut short would hand over the beginning of a batch twice.
    ///
    /// # Errors
    /// A delivery failed: [`Window::progress`] waits for the new producer, then everything
    /// unacknowledged is handed over again.
    pub(super) async fn hand_over(&mut self) -> Result<(), Error> {
        if self.failed {
            return Ok(());
        }
        for index in 0..self.sent.len() {
            let sent = &mut self.sent[index];
            if sent.receipt.is_some() {
                continue;
            }
            let topics: BTreeSet<Arc<str>> = sent
                .records
                .iter()
                .map(|record| Arc::clone(&record.topic))
                .collect();
            let mut receipts = Vec::new();
            for topic in topics {
                match self.publisher.send(&topic, Arc::clone(&sent.records)).await {
                    Ok(receipt) => receipts.push(receipt),
                    Err(error) => return Err(self.fail(error)),
                }
            }
            let all = async { futures::future::try_join_all(receipts).await.map(|_| ()) };
            self.sent[index].receipt = Some(Box::pin(all));
        }
        Ok(())
    }

    /// Waits until the lowest batch is acknowledged, or, after a failed delivery, until there is a
    /// new producer to hand over to. Pending while nothing is on its way. Cancel-safe.
    ///
    /// # Errors
    /// A delivery failed.
    pub(super) async fn progress(&mut self) -> Result<(), Error> {
        if self.failed {
            self.publisher.recovered("").await;
            self.failed = false;
            return Ok(());
        }
        let Some(first) = self.sent.front_mut() else {
            return std::future::pending().await;
        };
        let Some(receipt) = first.receipt.as_mut() else {
            return Ok(());
        };
        match receipt.await {
            Ok(()) => {
                self.acked = first.batch;
                self.sent.pop_front();
                Ok(())
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        for sent in &mut self.sent {
            sent.receipt = None;
        }
        self.failed = true;
        error
    }
}
