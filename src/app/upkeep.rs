//! What a running worker does now and then: ask the database for the time, compare deadlines, forget
//! what may be forgotten, notice that a topic has grown. Correctness rests on none of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::jobs::Periodic;
use crate::kafka;
use crate::lane::Shared;
use crate::store::mongo::{Forgot, MongoClock, MongoStore};
use crate::telemetry::names;

use super::health::Vitals;

/// How often the database is asked for the time; the clock goes on by itself in between.
const ASK_TIME: Duration = Duration::from_secs(2);
/// Schedules with seconds, each at a second of its own.
const SWEEP: &str = "30 * * * * *";
const GROWTH: &str = "15 * * * * *";
const RETENTION: &str = "0 7 * * * *";

/// Asks the database forever for the time and for the lanes' revisions, on a monotonic interval: the
/// scheduler of jobs stands still while the wall clock is behind.
pub(super) async fn keep_up(
    clock: Arc<MongoClock>,
    shared: Arc<Shared<MongoStore, MongoClock>>,
    vitals: Arc<Vitals>,
) {
    let mut ticks = tokio::time::interval(ASK_TIME);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = false;
    let mut apart = false;
    loop {
        ticks.tick().await;
        vitals.loops.beat("clock");
        vitals.count_lanes();
        if let Err(error) = shared.refresh_revisions().await {
            // The lanes meet the same database and say more.
            tracing::debug!(error = %error, "the lanes' revisions cannot be looked up");
        }
        match clock.refresh().await {
            Ok(jump) => {
                vitals.clock_told();
                silent = false;
                let warning = clock.host_offset_warning();
                if let (false, Some(warning)) = (apart, &warning) {
                    tracing::warn!(
                        warning,
                        "the clocks disagree; decisions go by the database's, tokens by this host's"
                    );
                }
                apart = warning.is_some();
                let offset = Duration::from_millis(clock.host_offset_ms().unsigned_abs());
                let sign = if clock.host_offset_ms() < 0 {
                    -1.0
                } else {
                    1.0
                };
                metrics::gauge!(names::CLOCK_OFFSET_SECONDS).set(sign * offset.as_secs_f64());
                if let Some(jump_ms) = jump {
                    tracing::error!(
                        jump_ms,
                        "the database's clock jumped; do its members agree on the time?"
                    );
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut silent, true) {
                    tracing::warn!(error = %error, "the database does not tell the time");
                }
            }
        }
    }
}

/// The periodic jobs.
pub(super) fn jobs<C: Clock>(
    store: &MongoStore,
    shared: &Arc<Shared<MongoStore, C>>,
    kafka: &kafka::Settings,
) -> Vec<Periodic> {
    let sweep = {
        let shared = Arc::clone(shared);
        Periodic::new("sweep", SWEEP, move || {
            shared.sweeps.send_modify(|count| *count += 1);
            std::future::ready(Ok(()))
        })
    };
    let retention = {
        let (store, shared) = (store.clone(), Arc::clone(shared));
        Periodic::new("retention", RETENTION, move || {
            let (store, now) = (store.clone(), shared.clock.now());
            async move {
                match store.forget(now).await? {
                    Forgot::Nothing => {}
                    Forgot::All(forgotten) => {
                        tracing::info!(forgotten, "forgot what was remembered long enough");
                    }
                    Forgot::Some(forgotten) => {
                        tracing::info!(forgotten, "forgot some; the next run goes on from there");
                    }
                }
                Ok(())
            }
        })
    };
    let growth = {
        let (shared, kafka) = (Arc::clone(shared), kafka.clone());
        Periodic::new("growth", GROWTH, move || {
            let (shared, kafka) = (Arc::clone(&shared), kafka.clone());
            async move {
                let topic = &shared.topics.session_command;
                let partitions = kafka::topics::partition_count(&kafka, topic).await?;
                shared.homes.grown_to(partitions);
                Ok(())
            }
        })
    };
    vec![sweep, retention, growth]
}
