//! That the simulation finds bugs: each bug of `session_worker::planted` is planted alone, and one of the
//! first storms must break a guarantee.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use session_worker::planted::{Bug, plant};

use crate::plan::Plan;

/// Storms within which every bug is to be found.
const SEEDS: u64 = 200;

/// The first storm that finds `bug`, and what it says.
fn find(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let found = (0..SEEDS).find_map(|seed| {
        // A simulation that dies has found something, too.
        let broken = catch_unwind(AssertUnwindSafe(|| crate::broken(Plan::storm(seed))));
        let broken = broken.unwrap_or_else(|_| vec!["the simulation died".to_owned()]);
        Some((seed, broken.into_iter().next()?))
    });
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found_within_200_seeds() {
    // Bugs make lanes panic by the hundred; what they say is in what is broken.
    std::panic::set_hook(Box::new(|_| {}));
    let bugs = Mutex::new(Bug::ALL.iter());
    let found = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let Some(bug) = bugs.lock().expect("bugs").next().copied() else {
                        return;
                    };
                    let first = find(bug);
                    match &first {
                        Some((seed, what)) => println!("{bug:?}: seed {seed}: {what:.200}"),
                        None => println!("{bug:?}: not found"),
                    }
                    found.lock().expect("found").push((bug, first));
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let found = found.into_inner().expect("found");
    let missed = found.iter().filter(|(_, first)| first.is_none());
    let missed: Vec<Bug> = missed.map(|(bug, _)| *bug).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
