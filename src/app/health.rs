//! The process's health: what `/livez` and `/readyz` answer, put together from the lanes' board,
//! the Kafka clients and the clock. It only reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::http::{Check, Health, Heartbeats};
use crate::kafka::{Consumer, Producer};
use crate::lane::{Phase, StatusBoard};
use crate::telemetry::names;

/// The clock counts as fresh for this long after the database last told the time.
const CLOCK_WITHIN: Duration = Duration::from_secs(15);

struct Parts {
    board: StatusBoard,
    consumer: Arc<Consumer>,
    producer: Arc<Producer>,
}

/// The vital signs; before the worker has started, it is live and not ready.
#[derive(Default)]
pub(super) struct Vitals {
    parts: Mutex<Option<Parts>>,
    /// What the start waits for.
    starting: Mutex<Option<String>>,
    draining: AtomicBool,
    told: Mutex<Option<Instant>>,
    /// Loops that have no other board.
    pub(super) loops: Heartbeats,
}

impl Vitals {
    /// The worker runs: these are its parts.
    pub(super) fn watch(
        &self,
        board: StatusBoard,
        consumer: Arc<Consumer>,
        producer: Arc<Producer>,
    ) {
        let parts = Parts {
            board,
            consumer,
            producer,
        };
        *self.parts.lock() = Some(parts);
    }

    /// The start waits, and for what; `None`: it goes on.
    pub(super) fn starting(&self, waits: Option<String>) {
        *self.starting.lock() = waits;
    }

    /// The worker drains: no more work is to be sent its way.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The database has told the time.
    pub(super) fn clock_told(&self) {
        *self.told.lock() = Some(Instant::now());
    }

    /// Sets the gauge of lanes by state.
    pub(super) fn count_lanes(&self) {
        let parts = self.parts.lock();
        let Some(parts) = parts.as_ref() else { return };
        let lanes = parts.board.lanes();
        for state in Phase::NAMES {
            let in_state = lanes
                .iter()
                .filter(|(_, status)| status.phase.as_str() == state);
            let count = u32::try_from(in_state.count()).unwrap_or(u32::MAX);
            metrics::gauge!(names::LANES, "state" => state).set(f64::from(count));
        }
    }
}

impl Health for Vitals {
    fn live(&self) -> Vec<Check> {
        let mut checks = self.loops.checks();
        let parts = self.parts.lock();
        let Some(parts) = parts.as_ref() else {
            return checks;
        };
        let consumer = parts.consumer.health();
        checks.push(match consumer.failure {
            Some(reason) => Check::fail("consumer", reason),
            None => Check::beat(
                "consumer",
                Instant::now()
                    .checked_sub(consumer.since_poll)
                    .unwrap_or_else(Instant::now),
            ),
        });
        for (lane, status) in parts.board.lanes() {
            checks.push(Check::beat(format!("lane {lane}"), status.beat));
        }
        checks
    }

    fn ready(&self) -> Vec<Check> {
        let parts = self.parts.lock();
        let Some(parts) = parts.as_ref() else {
            let waits = self.starting.lock().clone();
            let why = waits.unwrap_or_else(|| "the worker is still starting".to_owned());
            return vec![Check::fail("started", why)];
        };
        let mut checks = vec![Check::pass("started")];
        let consumer = parts.consumer.health();
        let mut check = |name: &'static str, holds: bool, why: &str| {
            checks.push(if holds {
                Check::pass(name)
            } else {
                Check::fail(name, why)
            });
        };
        check(
            "draining",
            !self.draining.load(Ordering::Relaxed),
            "the worker drains",
        );
        check(
            "assigned",
            consumer.assigned,
            consumer
                .fault
                .as_deref()
                .unwrap_or("the group has assigned no partitions yet"),
        );
        check("brokers", consumer.brokers_up, "no broker is connected");
        check(
            "producer",
            parts.producer.is_healthy(),
            "the producer is being rebuilt or has no broker",
        );
        let told = *self.told.lock();
        let fresh = told.is_some_and(|told| told.elapsed() <= CLOCK_WITHIN);
        check(
            "clock",
            fresh,
            "the database has not told the time for a while",
        );
        for (lane, status) in parts.board.lanes() {
            let name = format!("lane {lane}");
            checks.push(if status.phase.works() {
                Check::pass(name)
            } else {
                Check::fail(name, status.phase.explain(&lane))
            });
        }
        checks
    }
}
