//! What happens when the group gives and takes partitions: queues are split before the assignment,
//! and dropped before the same partitions can come again. Runs on the polling thread only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::ThreadId;

use rdkafka::bindings::rd_kafka_resp_err_t as ResponseError;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::log::PartitionLog;
use super::partition::{self, Partition};
use super::watermarks::Watermarks;
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
    polling: OnceLock<ThreadId>,
    watermarks: Weak<Watermarks>,
    lanes: Mutex<Vec<Arc<Partition>>>,
}

const UNPOISONED: &str = "nothing panics while it holds this lock";

impl Context {
    pub(super) fn new(
        runtime: Handle,
        assignments: Arc<dyn Assignments>,
        shared: Arc<Shared>,
        watermarks: Weak<Watermarks>,
    ) -> Self {
        Self {
            runtime,
            assignments,
            shared,
            consumer: OnceLock::new(),
            polling: OnceLock::new(),
            watermarks,
            lanes: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn adopt(&self, consumer: &Arc<BaseConsumer<Self>>) {
        self.consumer.get_or_init(|| Arc::downgrade(consumer));
        self.polling.get_or_init(|| std::thread::current().id());
    }

    /// Whether this is the polling thread: what the client says elsewhere is of one partition, and
    /// comes back to its log.
    pub(super) fn is_polling(&self) -> bool {
        self.polling.get() == Some(&std::thread::current().id())
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
                Weak::clone(&self.watermarks),
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
        let start = |name: &TopicPartition| starts.get(name).copied().unwrap_or(Start::Held);
        if let Err(error) = place(consumer, list, &lanes, start) {
            self.health()
                .fail(&format!("the assignment was refused: {error}"));
            return;
        }
        *self.lanes.lock().expect(UNPOISONED) = lanes.clone();
        self.health().assigned();
        let logs = lanes.into_iter().map(|lane| {
            let start = start(&lane.name);
            PartitionLog::new(lane, start)
        });
        self.assignments.started(logs.collect());
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
            if let Some(found) = statistics.partition(&lane.name.topic, lane.name.partition) {
                lane.marks().statistics(found);
            }
        }
    }
}

/// Tells the client where each lane starts. A partition whose lane has no place yet is paused before
/// it is assigned: nothing of it is fetched, whatever its bytes would do to librdkafka. The pause
/// outlives the assignment, and ends with the log's first seek.
fn place(
    consumer: &BaseConsumer<Context>,
    list: &mut TopicPartitionList,
    lanes: &[Arc<Partition>],
    start: impl Fn(&TopicPartition) -> Start,
) -> KafkaResult<()> {
    let (mut placed, mut held) = (Vec::new(), Vec::new());
    for lane in lanes {
        let name = &lane.name;
        let offset = match start(name) {
            Start::At(offset) => {
                placed.push(name);
                offset
            }
            Start::Earliest | Start::Held => {
                lane.hold();
                held.push(name);
                0
            }
        };
        list.set_partition_offset(&name.topic, name.partition, Offset::Offset(offset))?;
    }
    partition::pause(consumer, held)?;
    // The last owner in this process may have left it paused.
    partition::resume(consumer, placed)?;
    consumer.assign(list)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the report that lag tools read; no position is ever taken from it"
)]
fn commit_reported(consumer: &BaseConsumer<Context>, lanes: &[Arc<Partition>]) {
    let mut list = TopicPartitionList::new();
    for lane in lanes {
        let position = lane.marks().take_commit();
        if let Some(next) = position
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
            for lane in self.lanes.lock().expect(UNPOISONED).iter() {
                lane.marks().not_committed();
            }
        }
    }
}
