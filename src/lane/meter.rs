//! What a lane counts and what it logs: the one place where its failures are written down, once when a
//! lane begins to fail and once when it goes on, never with a payload.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::{SessionId, Timestamp};
use crate::record::{Record, TopicPartition};
use crate::store::{IntakeStop, Remedy, Unreadable};
use crate::telemetry::names;
use crate::wire::{DeadLetterReason, Poison};

use super::failure::{Disposition, Extent, Failure, Step, Verdict};
use super::judge::{FailureReason, Outcome, ParkReason, Tally};
use super::pacing::CONFLICTS_REPORTED;

/// How many unreadable documents are remembered as logged.
const UNREADABLE_REMEMBERED: usize = 1_000;

/// A lane's counters.
pub(super) struct Meter {
    lane: TopicPartition,
    topic: String,
    label: String,
    /// The step of each part that fails at present, so that its begin and end are logged once.
    database: Option<Step>,
    intake: Option<Step>,
    publishing: Option<Step>,
    /// Documents whose deadlines cannot be read, as logged.
    unreadable: BTreeSet<String>,
}

impl Meter {
    pub(super) fn new(lane: &TopicPartition) -> Self {
        Self {
            lane: lane.clone(),
            topic: lane.topic.to_string(),
            label: lane.to_string(),
            database: None,
            intake: None,
            publishing: None,
            unreadable: BTreeSet::new(),
        }
    }

    /// A step failed, and this is what the lane does about it. `topic`: of a failed delivery.
    pub(super) fn failed(&mut self, failure: &Failure<'_>, verdict: Verdict, topic: Option<&str>) {
        let (step, disposition) = (failure.step(), verdict.disposition);
        metrics::counter!(
            names::LANE_FAILURES,
            "step" => step.as_str(), "disposition" => disposition.as_str()
        )
        .increment(1);
        let reason = failure.reason();
        match disposition {
            Disposition::DecideAgain { .. } => {
                metrics::counter!(names::CONFLICTS).increment(1);
                tracing::debug!(lane = %self.lane, reason, "batch met a conflict");
                return;
            }
            Disposition::End => {
                tracing::info!(lane = %self.lane, "partition was revoked");
                return;
            }
            Disposition::FindCulprit
            | Disposition::Wait
            | Disposition::TakeAgain
            | Disposition::PlaceAgain
            | Disposition::Damaged
            | Disposition::SendAgain
            | Disposition::TryLater => {}
        }
        let failing = match verdict.extent {
            Extent::Nothing | Extent::Batch | Extent::Lane => &mut self.database,
            Extent::Intake => &mut self.intake,
            Extent::Topic => &mut self.publishing,
        };
        if failing.replace(step) != Some(step) {
            tracing::warn!(
                lane = %self.lane, step = step.as_str(), disposition = disposition.as_str(),
                topic, reason, "a step of the lane fails"
            );
        }
    }

    /// The database does its part again.
    pub(super) fn recovered(&mut self) {
        Self::went_on(&self.lane, self.database.take());
    }

    /// The log is read again.
    pub(super) fn intake_recovered(&mut self) {
        Self::went_on(&self.lane, self.intake.take());
    }

    /// The brokers have acknowledged something; `batches` still wait.
    pub(super) fn delivered(&mut self, batches: usize) {
        if batches == 0 {
            Self::went_on(&self.lane, self.publishing.take());
        }
        self.unacknowledged(batches);
    }

    fn went_on(lane: &TopicPartition, step: Option<Step>) {
        if let Some(step) = step {
            tracing::info!(%lane, step = step.as_str(), "the lane goes on");
        }
    }

    /// A batch of `records` was committed.
    pub(super) fn committed(&self, records: usize, took: Duration) {
        if records > 0 {
            metrics::histogram!(names::BATCH_RECORDS).record(count(records));
        }
        metrics::histogram!(names::TRANSACTION_SECONDS).record(took.as_secs_f64());
    }

    /// A batch met other writers so many times in a row.
    pub(super) fn conflicts(&self, in_a_row: u32) {
        if in_a_row == CONFLICTS_REPORTED {
            tracing::warn!(
                lane = %self.lane, in_a_row,
                "the lane's batches conflict with other writers again and again; its progress is slow"
            );
        }
    }

    /// What judging came to, now that it is committed.
    pub(super) fn judged(&self, tally: &Tally) {
        for outcome in &tally.outcomes {
            let disposition = match outcome {
                Outcome::Decided => "decided",
                Outcome::Replayed => "replayed",
                Outcome::Forwarded => "forwarded",
                Outcome::Dropped => "dropped",
                Outcome::DeadLettered => "dead_lettered",
            };
            metrics::counter!(
                names::RECORDS, "topic" => self.topic.clone(), "disposition" => disposition
            )
            .increment(1);
            match outcome {
                Outcome::Forwarded => metrics::counter!(names::FORWARDS).increment(1),
                Outcome::Replayed => metrics::counter!(names::REPLAYS).increment(1),
                Outcome::Decided | Outcome::Dropped | Outcome::DeadLettered => {}
            }
        }
        for code in &tally.results {
            let code = code.map_or("accepted", crate::domain::Code::as_str);
            metrics::counter!(names::RESULTS, "code" => code).increment(1);
        }
        for (kind, lateness) in &tally.events {
            metrics::counter!(names::EVENTS, "type" => crate::wire::event_type(*kind)).increment(1);
            if let Some(millis) = lateness {
                metrics::histogram!(names::TIMER_LATENESS_SECONDS)
                    .record(Duration::from_millis(millis.unsigned_abs()).as_secs_f64());
            }
        }
        for reason in &tally.dead_letters {
            let reason = dead_letter_reason(reason);
            metrics::counter!(names::DEAD_LETTERS, "reason" => reason).increment(1);
            tracing::warn!(lane = %self.lane, reason, "record became a dead letter");
        }
        for failure in &tally.failures {
            self.internal_error(failure);
        }
        if tally.hops_exceeded > 0 {
            metrics::counter!(names::HOPS_EXCEEDED).increment(tally.hops_exceeded);
            tracing::error!(
                lane = %self.lane,
                "a record was forwarded too often and was judged where it is; do all workers see the \
                 same number of partitions?"
            );
        }
    }

    fn internal_error(&self, reason: &FailureReason) {
        match reason {
            FailureReason::Panicked => tracing::error!(
                lane = %self.lane,
                "a message makes the rules fail and ended as internal_error: a bug, please report it"
            ),
            FailureReason::Refused => tracing::error!(
                lane = %self.lane,
                "the database refuses what a message leads to; it ended as internal_error"
            ),
            FailureReason::Unreadable(unreadable) => {
                metrics::counter!(names::DOCUMENTS_UNREADABLE).increment(1);
                tracing::error!(
                    lane = %self.lane, document = unreadable.document, reason = unreadable.reason,
                    "a message needs a document that cannot be read; it ended as internal_error"
                );
            }
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

    /// A session's deadline cannot be judged.
    pub(super) fn parked(&self, session_id: &SessionId, reason: &ParkReason) {
        metrics::counter!(names::TIMERS_PARKED).increment(1);
        let (document, why) = match reason {
            ParkReason::Panicked => (None, "the rules fail on it: a bug, please report it"),
            ParkReason::Refused => (None, "the database refuses what it leads to"),
            ParkReason::Unreadable(unreadable) => {
                metrics::counter!(names::DOCUMENTS_UNREADABLE).increment(1);
                (Some(&*unreadable.document), &*unreadable.reason)
            }
        };
        tracing::error!(
            lane = %self.lane, session_id = %session_id, document, reason = why,
            "a deadline cannot be judged and is parked with its session; `session-worker audit` \
             names it, and the next sweep tries again"
        );
    }

    /// Sessions whose stored deadline cannot be read; each is logged once.
    pub(super) fn unreadable_deadlines(&mut self, unreadable: &[Unreadable]) {
        for Unreadable { document, reason } in unreadable {
            if self.unreadable.len() < UNREADABLE_REMEMBERED
                && self.unreadable.insert(document.clone())
            {
                metrics::counter!(names::DOCUMENTS_UNREADABLE).increment(1);
                tracing::error!(
                    lane = %self.lane, document, reason,
                    "the deadline of a session cannot be read and does not fire until it is fixed"
                );
            }
        }
        self.unreadable
            .retain(|known| unreadable.iter().any(|one| one.document == *known));
    }

    /// A sweep found `missing` deadlines that the heap did not have.
    pub(super) fn swept(&self, missing: usize) {
        metrics::counter!(names::TIMERS_MISSING).increment(missing as u64);
        if missing > 0 {
            tracing::error!(lane = %self.lane, missing, "deadlines were missing from the heap");
        }
    }

    /// The intake stopped.
    pub(super) fn intake_stopped(&mut self, stop: &IntakeStop) {
        self.intake = None;
        let remedy = Remedy {
            lane: &self.label,
            stop: *stop,
        };
        tracing::error!(
            lane = %self.lane, reason = stop.reason.as_str(), offset = stop.offset, %remedy,
            "the lane reads nothing until this is fixed; its deadlines and publishing go on"
        );
    }

    /// An operator has changed the lane.
    pub(super) fn revised(&self) {
        tracing::info!(lane = %self.lane, "an operator has changed the lane; it starts again");
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
