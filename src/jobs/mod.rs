//! The periodic jobs and their scheduler. Nothing that correctness rests on runs here: the scheduler
//! has no locks, overlaps runs, and runs nothing while the wall clock stands behind after a jump. So
//! a job is idempotent, guards itself against overlap, and its failure costs only the next tick.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::telemetry::names;

/// One run of a job; the error is for the log.
pub type Run = Arc<dyn Fn() -> BoxFuture<'static, Result<(), anyhow::Error>> + Send + Sync>;

/// A periodic job.
#[derive(Clone)]
pub struct Periodic {
    /// Its name in logs and metrics.
    pub name: &'static str,
    /// When it runs: a cron expression with seconds, recomputed from now at every tick.
    pub schedule: &'static str,
    /// What it does.
    pub run: Run,
}

impl Periodic {
    /// A job called `name` that does `run` at `schedule`.
    pub fn new<F, R>(name: &'static str, schedule: &'static str, run: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), anyhow::Error>> + Send + 'static,
    {
        Self {
            name,
            schedule,
            run: Arc::new(move || Box::pin(run())),
        }
    }
}

/// The scheduler and the runs that are under way.
pub struct Jobs {
    scheduler: JobScheduler,
    runs: TaskTracker,
    stop: CancellationToken,
}

impl Jobs {
    /// Schedules `jobs`.
    ///
    /// # Errors
    /// The scheduler refuses a schedule.
    pub async fn start(
        jobs: Vec<Periodic>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let runs = TaskTracker::new();
        let stop = CancellationToken::new();
        for job in jobs {
            scheduler
                .add(scheduled(
                    job,
                    runs.clone(),
                    stop.clone(),
                    Arc::clone(&clock),
                )?)
                .await?;
        }
        scheduler.start().await?;
        Ok(Self {
            scheduler,
            runs,
            stop,
        })
    }

    /// Ends the schedule and the runs under way, for at most `bound`.
    pub async fn stop(mut self, bound: Duration) {
        self.stop.cancel();
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::warn!(error = %error, "job scheduler did not shut down well");
        }
        self.runs.close();
        if tokio::time::timeout(bound, self.runs.wait()).await.is_err() {
            tracing::warn!("a periodic job did not end in time");
        }
    }
}

fn scheduled(
    job: Periodic,
    runs: TaskTracker,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
) -> Result<Job, JobSchedulerError> {
    let busy = Arc::new(AtomicBool::new(false));
    Job::new_async(job.schedule, move |_, _| {
        let (job, runs, stop) = (job.clone(), runs.clone(), stop.clone());
        let (busy, clock) = (Arc::clone(&busy), Arc::clone(&clock));
        Box::pin(async move {
            if stop.is_cancelled() || busy.swap(true, Ordering::AcqRel) {
                return;
            }
            runs.track_future(once(&job, &stop, &*clock)).await;
            busy.store(false, Ordering::Release);
        })
    })
}

async fn once(job: &Periodic, stop: &CancellationToken, clock: &dyn Clock) {
    let outcome = tokio::select! {
        biased;
        () = stop.cancelled() => return,
        outcome = (job.run)() => outcome,
    };
    let outcome = match outcome {
        Ok(()) => "ok",
        Err(error) => {
            tracing::warn!(
                job = job.name,
                error = format!("{error:#}"),
                "periodic job failed"
            );
            "failed"
        }
    };
    metrics::counter!(names::JOB_RUNS, "job" => job.name, "outcome" => outcome).increment(1);
    let finished = Duration::from_millis(clock.now().0.unsigned_abs()).as_secs_f64();
    metrics::gauge!(names::SCHEDULER_LAST_RUN, "job" => job.name).set(finished);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::domain::Timestamp;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
    }

    #[tokio::test]
    async fn a_job_runs_again_after_a_failure_and_never_beside_itself() {
        let (runs, beside) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, running) = (Arc::clone(&runs), Arc::clone(&beside));
        let (seen, mut third) = tokio::sync::mpsc::channel(8);
        let job = Periodic::new("test", "*/1 * * * * *", move || {
            let (counted, running, seen) =
                (Arc::clone(&counted), Arc::clone(&running), seen.clone());
            async move {
                assert_eq!(
                    running.fetch_add(1, Ordering::SeqCst),
                    0,
                    "two runs at once"
                );
                tokio::time::sleep(Duration::from_millis(1100)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                seen.send(counted.fetch_add(1, Ordering::SeqCst)).await?;
                Err(anyhow::anyhow!("as every time"))
            }
        });
        let jobs = Jobs::start(vec![job], Arc::new(Still))
            .await
            .expect("the schedule is well-formed");
        for _ in 0..2 {
            third.recv().await.expect("the job goes on");
        }
        jobs.stop(Duration::from_secs(5)).await;
        assert!(runs.load(Ordering::SeqCst) >= 2);
    }
}
