//! Lanes driven from a seed: the product's lane code on the memory store, with faults scripted at every
//! seam, and the contract's guarantees checked over what is left. A failing seed is printed and becomes
//! a test of its own.

mod check;
mod database;
mod learners;
mod log;
mod outputs;
mod world;

use session_worker::lane::Bounds;

use check::broken_guarantees;
use database::Faults;
use world::Plan;

fn calm(seed: u64) -> Plan {
    Plan {
        seed,
        messages: 300,
        faults: Faults::default(),
        delivery_failures: 0,
        upheavals: 0,
        bounds: Bounds::default(),
    }
}

fn stormy(seed: u64) -> Plan {
    Plan {
        faults: Faults {
            unavailable: 30,
            conflict: 50,
            lost_answer: 20,
            lost_request: 20,
            freeze_ms: 4000,
        },
        delivery_failures: 40,
        upheavals: 12,
        ..calm(seed)
    }
}

fn holds(plan: Plan) {
    let broken = broken_guarantees(&world::run(plan));
    assert!(broken.is_empty(), "{plan:?} breaks:\n{}", broken.join("\n"));
}

#[test]
fn guarantees_hold_in_calm_weather() {
    for seed in 0..4 {
        holds(calm(seed));
    }
}

#[test]
fn guarantees_hold_in_any_storm() {
    for seed in 100..140 {
        holds(stormy(seed));
    }
}

#[test]
fn guarantees_hold_with_batches_of_one_and_tiny_bounds() {
    for seed in 200..210 {
        let bounds = Bounds {
            batch_records: 1,
            outbox_bytes: 1,
            timers: 1,
            unacknowledged: 1,
            cached_sessions: 1,
            ..Bounds::default()
        };
        holds(Plan {
            bounds,
            ..stormy(seed)
        });
    }
}

/// Determinism is what makes a seed worth printing.
#[test]
fn a_seed_repeats_itself_to_the_byte() {
    let [first, again] = [(); 2].map(|()| world::run(stormy(300)));
    let topic = first.topics.session_event.clone();
    assert_eq!(first.broker.topic(&topic), again.broker.topic(&topic));
}

/// Design: a topic that was made again stops its lanes loudly, even when it has as many records.
#[test]
fn a_lane_whose_topic_was_made_again_stops_and_stays_stopped() {
    let (before, after) = world::make_topic_again(400);
    assert_eq!(
        after.next, before.next,
        "nothing of the new topic is consumed"
    );
    assert_eq!(after.last, before.last);
}
