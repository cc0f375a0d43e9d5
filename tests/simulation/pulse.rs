//! A lane's task as the simulation sees it: which records its log has handed over, and whether it works
//! without letting time pass. Every seam beats; a lane that beats too often in one instant dies loudly
//! instead of hanging the test.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

/// Polls and calls to a seam that one lane may make without time passing. The busiest instant of a healthy
/// lane has a few hundred.
const BEATS_PER_INSTANT: u32 = 20_000;

tokio::task_local! {
    static TASK: Arc<Mutex<Task>>;
}

struct Task {
    now: Instant,
    beats: u32,
    /// The offsets that the log has handed over since it was placed, with the log's generation.
    handed: BTreeMap<i64, u32>,
}

/// Runs a lane's future as a task that is watched.
pub(crate) async fn watched<T>(lane: impl Future<Output = T>) -> T {
    let task = Task {
        now: Instant::now(),
        beats: 0,
        handed: BTreeMap::new(),
    };
    let mut lane = Box::pin(lane);
    let lane = std::future::poll_fn(move |context| {
        beat();
        lane.as_mut().poll(context)
    });
    TASK.scope(Arc::new(Mutex::new(task)), lane).await
}

/// The lane has used a seam. Outside of a lane nothing is counted.
pub(crate) fn beat() {
    let _ = TASK.try_with(|task| {
        let mut task = task.lock().expect("pulse");
        let now = Instant::now();
        if task.now != now {
            task.now = now;
            task.beats = 0;
        }
        task.beats += 1;
        assert!(
            task.beats < BEATS_PER_INSTANT,
            "the lane spins: {BEATS_PER_INSTANT} steps while no time passed"
        );
    });
}

/// The log was placed: nothing that was handed over before counts.
pub(crate) fn placed() {
    let _ = TASK.try_with(|task| task.lock().expect("pulse").handed.clear());
}

/// The log has handed over a record.
pub(crate) fn handed(offset: i64, generation: u32) {
    let _ = TASK.try_with(|task| {
        task.lock()
            .expect("pulse")
            .handed
            .insert(offset, generation)
    });
}

/// What was handed over in `range`: offsets with the log's generation.
pub(crate) fn handed_in(range: Range<i64>) -> Vec<(i64, u32)> {
    TASK.try_with(|task| {
        let task = task.lock().expect("pulse");
        let handed = task.handed.range(range);
        handed
            .map(|(offset, generation)| (*offset, *generation))
            .collect()
    })
    .unwrap_or_default()
}
