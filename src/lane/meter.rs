//! What a lane counts and what it logs: the one place where its failures are written down, once when a
//! lane begins to fail and once when it goes on, never with a payload.

use std::fmt::Display;
use std::time::Duration;

use crate::domain::{SessionId, Timestamp};
use crate::record::{Record, TopicPartition};
use crate::store::LanePosition;
use crate::telemetry::names;
use crate::wire::{DeadLetterReason, Poison};

use super::disposition::Disposition;
use super::judge::{Fate, Plan};

/// A lane's counters.
pub(super) struct Meter {
    lane: TopicPartition,
    topic: String,
    label: String,
    failing: Option<&'static str>,
}

impl Meter {
    pub(super) fn new(lane: &TopicPartition) -> Self {
        Self {
            lane: lane.clone(),
            topic: lane.topic.to_string(),
            label: lane.to_string(),
            failing: None,
        }
    }

    /// A step failed, and this is what the lane does about it.
    pub(super) fn failed(
        &mut self,
        step: &'static str,
        error: &dyn Display,
        disposition: Disposition,
    ) {
        metrics::counter!(names::LANE_FAILURES, "step" => step, "disposition" => disposition.as_str())
            .increment(1);
        match disposition {
            Disposition::DecideAgain => {
                metrics::counter!(names::CONFLICTS).increment(1);
                tracing::debug!(lane = %self.lane, error = %error, "batch met a conflict");
            }
            Disposition::End => {
                tracing::info!(lane = %self.lane, "partition was revoked");
            }
            Disposition::Split
            | Disposition::Wait
            | Disposition::Restart
            | Disposition::Republish => {
                if self.failing.replace(step) != Some(step) {
                    tracing::warn!(
                        lane = %self.lane, step, disposition = disposition.as_str(),
                        error = %error, "lane is held"
                    );
                }
            }
        }
    }

    /// A batch of `records` was committed.
    pub(super) fn committed(&mut self, records: usize, took: Duration) {
        if let Some(step) = self.failing.take() {
            tracing::info!(lane = %self.lane, step, "lane goes on");
        }
        if records > 0 {
            metrics::histogram!(names::BATCH_RECORDS).record(count(records));
        }
        metrics::histogram!(names::TRANSACTION_SECONDS).record(took.as_secs_f64());
    }

    /// What judging came to, now that it is committed.
    pub(super) fn judged(&self, plan: &Plan) {
        for fate in &plan.fates {
            let disposition = match fate {
                Fate::Decided => "decided",
                Fate::Replayed => "replayed",
                Fate::Forwarded => "forwarded",
                Fate::Dropped => "dropped",
                Fate::DeadLettered => "dead_lettered",
            };
            metrics::counter!(
                names::RECORDS, "topic" => self.topic.clone(), "disposition" => disposition
            )
            .increment(1);
            match fate {
                Fate::Forwarded => metrics::counter!(names::FORWARDS).increment(1),
                Fate::Replayed => metrics::counter!(names::REPLAYS).increment(1),
                Fate::Decided | Fate::Dropped | Fate::DeadLettered => {}
            }
        }
        for code in &plan.results {
            let code = code.map_or("accepted", crate::domain::Code::as_str);
            metrics::counter!(names::RESULTS, "code" => code).increment(1);
        }
        for (kind, lateness) in &plan.events {
            metrics::counter!(names::EVENTS, "type" => crate::wire::event_type(*kind)).increment(1);
            if let Some(millis) = lateness {
                metrics::histogram!(names::TIMER_LATENESS_SECONDS)
                    .record(Duration::from_millis(millis.unsigned_abs()).as_secs_f64());
            }
        }
        for reason in &plan.dead_letters {
            let reason = dead_letter_reason(reason);
            metrics::counter!(names::DEAD_LETTERS, "reason" => reason).increment(1);
            tracing::warn!(lane = %self.lane, reason, "record became a dead letter");
        }
        if plan.hops_exceeded > 0 {
            metrics::counter!(names::HOPS_EXCEEDED).increment(plan.hops_exceeded);
            tracing::error!(
                lane = %self.lane,
                "a record went home too often and was judged where it is; do all workers see the \
                 same number of partitions?"
            );
        }
    }

    /// How old a record was when it was decided.
    pub(super) fn age(&self, record: &Record, now: Timestamp) {
        if let Some(sent) = record.timestamp {
            let millis = now.millis_since(Timestamp(sent)).max(0).unsigned_abs();
            metrics::histogram!(names::RECORD_AGE_SECONDS, "topic" => self.topic.clone())
                .record(Duration::from_millis(millis).as_secs_f64());
        }
    }

    pub(super) fn unacknowledged(&self, batches: usize) {
        metrics::gauge!(names::OUTBOX_BATCHES, "lane" => self.label.clone()).set(count(batches));
    }

    pub(super) fn timers(&self, sessions: usize) {
        metrics::gauge!(names::TIMERS, "lane" => self.label.clone()).set(count(sessions));
    }

    pub(super) fn lag(&self, records: i64) {
        metrics::gauge!(
            names::LAG_RECORDS,
            "topic" => self.topic.clone(), "partition" => self.lane.partition.to_string()
        )
        .set(count(usize::try_from(records).unwrap_or(0)));
    }

    pub(super) fn split(&self) {
        metrics::counter!(names::BATCH_SPLITS).increment(1);
    }

    pub(super) fn republished(&self, records: usize) {
        metrics::counter!(names::REPUBLISHED).increment(records as u64);
        tracing::info!(lane = %self.lane, records, "publishing again what was not acknowledged");
    }

    /// A session's deadlines make the rules fail.
    pub(super) fn parked(&self, session_id: &SessionId) {
        metrics::counter!(names::TIMERS_PARKED).increment(1);
        tracing::error!(
            lane = %self.lane, session_id = %session_id,
            "a deadline fails and is parked with its session; audit finds it, the next sweep tries again"
        );
    }

    /// A sweep found `missing` deadlines that the heap did not have.
    pub(super) fn swept(&self, missing: usize) {
        metrics::counter!(names::TIMERS_MISSING).increment(missing as u64);
        if missing > 0 {
            tracing::error!(lane = %self.lane, missing, "deadlines were missing from the heap");
        }
    }

    /// The position does not fit the log.
    pub(super) fn adrift(&self, position: &LanePosition, why: &'static str) {
        tracing::error!(
            lane = %self.lane, next = position.next, why,
            "lane stopped: was the topic made again? look with `session-worker lanes show` and move \
             it with `session-worker lanes seek`"
        );
    }
}

impl Drop for Meter {
    /// A gauge of a lane that is gone would lie (stale lag of a revoked partition).
    fn drop(&mut self) {
        self.unacknowledged(0);
        self.timers(0);
        self.lag(0);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats, and counts are far below 2^53"
)]
fn count(number: usize) -> f64 {
    number as f64
}

fn dead_letter_reason(reason: &DeadLetterReason) -> &'static str {
    match reason {
        DeadLetterReason::Poison(Poison::Undecodable { .. }) => "undecodable",
        DeadLetterReason::Poison(Poison::UnknownSchema { .. }) => "unknown_schema",
        DeadLetterReason::Poison(Poison::TooLarge { .. }) => "too_large",
        DeadLetterReason::Forbidden => "forbidden",
        DeadLetterReason::Bug => "bug",
    }
}
