//! Names (provisional).
#[expect(missing_docs, reason = "provisional")]
pub mod names {
    pub const LANE_FAILURES: &str = "session_worker_lane_failures_total";
    pub const CONFLICTS: &str = "session_worker_commit_conflicts_total";
    pub const BATCH_RECORDS: &str = "session_worker_batch_records";
    pub const TRANSACTION_SECONDS: &str = "session_worker_transaction_seconds";
    pub const RECORDS: &str = "session_worker_records_total";
    pub const RESULTS: &str = "session_worker_results_total";
    pub const EVENTS: &str = "session_worker_events_total";
    pub const TIMER_LATENESS_SECONDS: &str = "session_worker_timer_lateness_seconds";
    pub const DEAD_LETTERS: &str = "session_worker_dead_letters_total";
    pub const HOPS_EXCEEDED: &str = "session_worker_hops_exceeded_total";
    pub const RECORD_AGE_SECONDS: &str = "session_worker_record_age_seconds";
    pub const OUTBOX_BATCHES: &str = "session_worker_outbox_batches";
    pub const TIMERS: &str = "session_worker_timers";
    pub const LAG_RECORDS: &str = "session_worker_lag_records";
    pub const BATCH_SPLITS: &str = "session_worker_batch_splits_total";
    pub const REPUBLISHED: &str = "session_worker_republished_total";
    pub const JOB_RUNS: &str = "session_worker_job_runs_total";
    pub const TIMERS_MISSING: &str = "session_worker_timers_missing_total";
    pub const REBALANCES: &str = "session_worker_rebalances_total";
    pub const TIMERS_PARKED: &str = "session_worker_timers_parked_total";
}
