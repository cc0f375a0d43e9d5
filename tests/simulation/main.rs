//! Lanes driven from a seed: the product's lane code on the memory store, with faults scripted at every
//! seam, and the contract's guarantees checked over what is left. A failing seed is printed and becomes
//! a test of its own.

mod broker;
mod check;
mod database;
mod forgers;
mod history;
mod incidents;
mod learners;
mod liveness;
mod log;
mod operator;
mod outputs;
mod owners;
mod plan;
#[cfg(feature = "planted-bugs")]
mod planted;
mod producer;
mod pulse;
mod weather;
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use check::broken_guarantees;
use plan::Plan;

/// Storms that `cargo test` looks at; `SEEDS` in the environment names another number, `SEED` one seed.
const STORMS: u64 = 200;

fn broken(plan: Plan) -> Vec<String> {
    broken_guarantees(&world::run(plan))
}

/// Runs the plans of `seeds` on every core and reports all that break a guarantee.
#[expect(
    clippy::print_stderr,
    reason = "a run of hours says at once what it has found"
)]
fn hold(seeds: Range<u64>, plan: impl Fn(u64) -> Plan + Sync) {
    let (next, end) = (AtomicU64::new(seeds.start), seeds.end);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let run = || {
            let mut failures = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end || failures.len() > 20 {
                    return failures;
                }
                let broken = broken(plan(seed));
                if !broken.is_empty() {
                    let failure = format!("seed {seed}:\n  {}", broken.join("\n  "));
                    eprintln!("{failure}");
                    failures.push(failure);
                }
            }
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("a simulation ends"));
        ended.flatten().collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[expect(
    clippy::disallowed_methods,
    reason = "how much is simulated is no setting of the worker"
)]
fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
    )
}

#[test]
fn guarantees_hold_in_calm_weather() {
    hold(0..4, Plan::calm);
}

#[test]
fn guarantees_hold_in_any_storm() {
    let seeds = match asked("SEED") {
        Some(seed) => {
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::DEBUG)
                .with_test_writer()
                .without_time()
                .init();
            seed..seed + 1
        }
        None => 0..asked("SEEDS").unwrap_or(STORMS),
    };
    hold(seeds, Plan::storm);
}

/// A lane that works without letting time pass must not hang the simulation.
#[tokio::test(start_paused = true)]
async fn a_lane_that_spins_dies_loudly() {
    let spinning = tokio::spawn(pulse::watched(async {
        loop {
            pulse::beat();
        }
    }));
    let died = spinning.await.expect_err("it cannot end otherwise");
    let why = died.into_panic().downcast::<String>().expect("words");
    assert!(why.starts_with("the lane spins"), "{why}");
}

/// Determinism is what makes a seed worth printing.
#[test]
fn a_seed_repeats_itself_to_the_byte() {
    for seed in 300..306 {
        let [first, again] = [(); 2].map(|()| world::run(Plan::storm(seed)));
        for topic in [
            &first.topics.session_event,
            &first.topics.session_command_result,
        ] {
            assert_eq!(
                first.broker.topic(topic),
                again.broker.topic(topic),
                "{seed}"
            );
        }
    }
}
