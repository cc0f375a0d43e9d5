//! What happens when the group gives and takes partitions: queues are split before the assignment,
//! and dropped before the same partitions can come again. Runs on the polling thread only.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use rdkafka::bindings::rd_kafka_resp_err_t as ResponseError;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::log::{Partition, PartitionLog};
use super::{Assignments, REVOKE_LIMIT, Shared, Start};
use crate::kafka::health::{self, Statistics};
use crate::record::TopicPartition;
use crate::telemetry::names;

/// The client's context, alive as long as the client.
pub(super) struct Context {
    runtime: Handle,
    assignments: Arc<dyn Assignments>,
    shared: Arc<Shared>,
    /// The callbacks are given a plain reference, splitting a queue asks for an `Arc`.
    consumer: OnceLock<Weak<BaseConsumer<Context>>>,
    lanes: Mutex<Vec<Arc<Partition>>>,
}

const UNPOISONED: &str = "nothing panics while it holds this lock";

impl Context {
    pub(super) fn new(
        runtime: Handle,
        assignments: Arc<dyn Assignments>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            runtime,
            assignments,
            shared,
            consumer: OnceLock::new(),
            lanes: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn adopt(&self, consumer: &Arc<BaseConsumer<Self>>) {
        self.consumer.get_or_init(|| Arc::downgrade(consumer));
    }

    pub(super) fn health(&self) -> &health::State {
        &self.shared.health
    }

    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.shared.stopping
    }

    pub(super) fn has_lanes(&self) -> bool {
        !self.lanes.lock().expect(UNPOISONED).is_empty()
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        // An eager group takes everything before it gives anything; a leftover would share its
        // queue with the new lane, and its drop would silence that one.
        self.release(consumer, true);
        if self.stopping().is_cancelled() {
            self.unassign(consumer);
            return;
        }
        let Some(owner) = self.consumer.get().and_then(Weak::upgrade) else {
            self.unassign(consumer);
            return;
        };

        let names: Vec<TopicPartition> = list
            .elements()
            .iter()
            .map(|element| TopicPartition::new(element.topic(), element.partition()))
            .collect();
        // Before the assignment, or the first records leak to the main queue.
        let mut lanes = Vec::with_capacity(names.len());
        for name in &names {
            let Some(queue) = owner.split_partition_queue(&name.topic, name.partition) else {
                self.health()
                    .fail(&format!("no queue could be split for {name}"));
                self.unassign(consumer);
                return;
            };
            lanes.push(Arc::new(Partition::new(
                name.clone(),
                queue,
                Weak::clone(self.consumer.get().expect("upgraded above")),
            )));
        }
        drop(owner);

        let entered = self.runtime.enter();
        let starts = if names.is_empty() {
            Some(Vec::new())
        } else {
            tracing::info!(lanes = %join(&names), "partitions assigned");
            self.runtime.block_on(async {
                tokio::select! {
                    starts = self.assignments.assigned(names) => Some(starts),
                    () = self.stopping().cancelled() => None,
                }
            })
        };
        let Some(starts) = starts else {
            for lane in &lanes {
                lane.revoke();
                lane.drop_queue();
            }
            self.unassign(consumer);
            return;
        };
        let starts: BTreeMap<TopicPartition, Start> = starts.into_iter().collect();
        for lane in &lanes {
            let offset = match starts.get(&lane.name) {
                Some(Start::Earliest) => Offset::Beginning,
                Some(Start::At(offset)) => Offset::Offset(*offset),
                // The end fetches least, and what it fetches nobody reads before the seek.
                Some(Start::Held) | None => {
                    lane.held.store(true, Ordering::Release);
                    Offset::End
                }
            };
            if let Err(error) =
                list.set_partition_offset(&lane.name.topic, lane.name.partition, offset)
            {
                self.health().fail(&format!(
                    "no position could be set for {}: {error}",
                    lane.name
                ));
            }
        }
        *self.lanes.lock().expect(UNPOISONED) = lanes.clone();
        if let Err(error) = consumer.assign(list) {
            self.health()
                .fail(&format!("the assignment was refused: {error}"));
            return;
        }
        self.health().assigned();
        self.assignments
            .started(lanes.into_iter().map(PartitionLog::new).collect());
        drop(entered);
    }

    /// Takes every lane back: its log ends, the application drains it, its queue is dropped.
    pub(super) fn release(&self, consumer: &BaseConsumer<Self>, lost: bool) {
        let lanes = std::mem::take(&mut *self.lanes.lock().expect(UNPOISONED));
        if lanes.is_empty() {
            return;
        }
        for lane in &lanes {
            lane.revoke();
        }
        let names: Vec<_> = lanes.iter().map(|lane| lane.name.clone()).collect();
        tracing::info!(lanes = %join(&names), lost, "partitions revoked");
        let entered = self.runtime.enter();
        let drained = self.runtime.block_on(tokio::time::timeout(
            REVOKE_LIMIT,
            self.assignments.revoked(names, lost),
        ));
        drop(entered);
        if drained.is_err() {
            // Its epoch fences whatever the lane still does.
            tracing::error!(limit = ?REVOKE_LIMIT, "lanes did not drain in time");
        }
        if !lost {
            commit_reported(consumer, &lanes);
        }
        for lane in lanes {
            lane.drop_queue();
        }
    }

    fn unassign(&self, consumer: &BaseConsumer<Self>) {
        if let Err(error) = consumer.unassign() {
            self.health()
                .fail(&format!("the revocation was refused: {error}"));
        }
    }

    /// Commits what lanes reported since, for lag tools only.
    pub(super) fn report(&self, consumer: &BaseConsumer<Self>) {
        commit_reported(consumer, &self.lanes.lock().expect(UNPOISONED));
    }

    pub(super) fn read_statistics(&self, statistics: &[u8]) {
        let Some(statistics) = Statistics::read(statistics) else {
            return;
        };
        self.health().brokers(statistics.broker_up());
        for lane in self.lanes.lock().expect(UNPOISONED).iter() {
            let offset = statistics.high_watermark(&lane.name.topic, lane.name.partition);
            if let Some(offset) = offset {
                lane.high_watermark.fetch_max(offset, Ordering::Relaxed);
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the report that lag tools read; no position is ever taken from it"
)]
fn commit_reported(consumer: &BaseConsumer<Context>, lanes: &[Arc<Partition>]) {
    let mut list = TopicPartitionList::new();
    for lane in lanes {
        if let Some(next) = lane.take_reported()
            && list
                .add_partition_offset(&lane.name.topic, lane.name.partition, Offset::Offset(next))
                .is_err()
        {
            count_failure();
        }
    }
    if list.count() > 0 && consumer.commit(&list, CommitMode::Async).is_err() {
        count_failure();
    }
}

fn count_failure() {
    metrics::counter!(names::POSITION_REPORT_FAILURES).increment(1);
}

fn join(lanes: &[TopicPartition]) -> String {
    lanes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: ResponseError,
        list: &mut TopicPartitionList,
    ) {
        match event {
            ResponseError::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            ResponseError::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                self.release(consumer, consumer.assignment_lost());
                self.unassign(consumer);
                self.health().unassigned();
            }
            _ => {
                // Whatever it was, the client waits for its state to be acknowledged.
                self.release(consumer, true);
                self.unassign(consumer);
                self.health().unassigned();
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets were not committed");
            count_failure();
        }
    }
}
