//! The names of all metrics, each with its kind, labels and meaning; docs/metrics.md is written from
//! them. No label ever carries an id: cardinality is bounded by topics, partitions, lanes and codes.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// The present value.
    Gauge,
    /// A distribution over fixed buckets.
    Histogram(&'static [f64]),
}

/// A metric as documented.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells, for people.
    pub about: &'static str,
}

/// Buckets of a step's duration, in seconds.
const STEP: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Buckets of an age or a lateness, in seconds.
const AGE: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
    7200.0,
];
/// Buckets of a number of records.
const RECORD_COUNT: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0,
];

macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:expr, [$($label:literal),*], $about:literal;)*) => {
        $(
            #[doc = $about]
            pub const $constant: &str = concat!("session_worker_", $name);
        )*

        /// Every metric, in the documentation's order.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $constant, kind: $kind, labels: &[$($label),*], about: $about },)*
        ];
    };
}

metrics! {
    BUILD_INFO = "build_info", Kind::Gauge, ["version"],
        "Always 1; its label says which version runs.";
    LANES = "lanes", Kind::Gauge, ["state"],
        "Lanes of this process by what they are doing: starting, running, contended, held, position_lost, recreated, damaged, suspect.";
    RECORDS = "records_total", Kind::Counter, ["topic", "disposition"],
        "Input records by what became of them: decided, replayed, forwarded, dropped, dead_lettered.";
    RESULTS = "results_total", Kind::Counter, ["code"],
        "Results by code; `accepted` for those without one.";
    EVENTS = "events_total", Kind::Counter, ["type"],
        "Session events by type.";
    DEAD_LETTERS = "dead_letters_total", Kind::Counter, ["reason"],
        "Dead letters by `dlq-reason`.";
    RECORD_AGE_SECONDS = "record_age_seconds", Kind::Histogram(AGE), ["topic"],
        "From a record's timestamp to its decision.";
    LAG_RECORDS = "lag_records", Kind::Gauge, ["topic", "partition"],
        "Records in the log that this process has not decided yet.";
    BATCH_RECORDS = "batch_records", Kind::Histogram(RECORD_COUNT), [],
        "Input records a transaction.";
    TRANSACTION_SECONDS = "transaction_seconds", Kind::Histogram(STEP), [],
        "From the beginning of a batch's transaction to its commit, without loading and judging.";
    CONFLICTS = "commit_conflicts_total", Kind::Counter, [],
        "Batches that met another writer and were decided again.";
    BATCH_SPLITS = "batch_splits_total", Kind::Counter, [],
        "Batches cut in two because they failed as a whole.";
    LANE_FAILURES = "lane_failures_total", Kind::Counter, ["step", "disposition"],
        "Failures of a lane's steps by what the lane did about them.";
    OUTBOX_BATCHES = "outbox_batches", Kind::Gauge, ["lane"],
        "Committed batches whose records the brokers have not all acknowledged.";
    REPUBLISHED = "republished_total", Kind::Counter, [],
        "Records published again after a new owner or a new producer took over.";
    PRODUCER_REBUILDS = "producer_rebuilds_total", Kind::Counter, [],
        "Producers recreated after a failed delivery.";
    TIMERS = "timers", Kind::Gauge, ["lane"],
        "Sessions at home here with a deadline to come.";
    TIMER_LATENESS_SECONDS = "timer_lateness_seconds", Kind::Histogram(AGE), [],
        "From a deadline to the decision that fires it.";
    TIMERS_PARKED = "timers_parked_total", Kind::Counter, [],
        "Sessions whose deadlines cannot be judged and are set aside; `audit` names them.";
    DOCUMENTS_UNREADABLE = "documents_unreadable_total", Kind::Counter, [],
        "Documents that a message or a deadline needed and that cannot be read; the log names them.";
    TIMERS_MISSING = "timers_missing_total", Kind::Counter, [],
        "Stored deadlines that a sweep did not find in their lane's memory; anything but 0 is a bug.";
    POSITION_REPORT_FAILURES = "position_report_failures_total", Kind::Counter, [],
        "Positions that could not be reported to the brokers for lag tools; nothing else rests on them.";
    REBALANCES = "rebalances_total", Kind::Counter, ["kind"],
        "Rebalances by kind: assigned, revoked, lost.";
    FORWARDS = "forwards_total", Kind::Counter, [],
        "Records forwarded to their session's home partition.";
    HOPS_EXCEEDED = "hops_exceeded_total", Kind::Counter, [],
        "Records that were forwarded too often; workers disagree about the number of partitions.";
    REPLAYS = "replays_total", Kind::Counter, [],
        "Duplicates that were answered with the first result.";
    REGISTRY_LOOKUPS = "registry_lookups_total", Kind::Counter, ["outcome"],
        "Look-ups of a subject's writer schemas at the registry: answered, failed.";
    HTTP_REQUESTS = "http_requests_total", Kind::Counter, ["path", "status"],
        "Requests answered, by route and status.";
    HTTP_SECONDS = "http_request_seconds", Kind::Histogram(STEP), ["path"],
        "From a request's head to its answer.";
    HTTP_AUTH = "http_auth_total", Kind::Counter, ["outcome"],
        "Requests that must say who asks: known, anonymous, refused, malformed, keys_unavailable.";
    HTTP_OVERLOADED = "http_overloaded_total", Kind::Counter, ["bound"],
        "Requests answered 503 because a bound was reached: connections, views, keys.";
    HTTP_UNREADABLE = "http_unreadable_documents_total", Kind::Counter, ["collection"],
        "Stored documents that a view left out because they are not as the worker writes them.";
    CLOCK_OFFSET_SECONDS = "clock_offset_seconds", Kind::Gauge, [],
        "This host's clock minus the database's; decisions go by the database's.";
    JOB_RUNS = "job_runs_total", Kind::Counter, ["job", "outcome"],
        "Runs of a periodic job: ok, failed.";
    SCHEDULER_LAST_RUN = "scheduler_last_run_timestamp_seconds", Kind::Gauge, ["job"],
        "When a periodic job last finished, in Unix time.";
}

/// docs/metrics.md.
pub fn reference() -> String {
    let mut page = "\
# Metrics

<!-- Written from src/telemetry/names.rs: UPDATE_DOCS=1 cargo test --lib the_reference -->

`GET /metrics` answers in Prometheus' text format. No label carries an id of a user, a session or a
command. `session_worker_process_*` are the usual process metrics (CPU, memory, file descriptors,
threads).

| metric | kind | labels | |
|---|---|---|---|
"
    .to_owned();
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect::<Vec<_>>();
        page.push_str(&format!(
            "| `{}` | {kind} | {} | {} |\n",
            metric.name,
            labels.join(", "),
            metric.about
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_what_the_names_say() {
        crate::documents::assert_current("docs/metrics.md", &reference());
    }

    /// The constant that holds the name of `metric`.
    fn constant_of(metric: &Metric, source: &str) -> String {
        let short = metric.name.trim_start_matches("session_worker_");
        let line = source
            .lines()
            .find(|line| line.contains(&format!(" = \"{short}\",")));
        let line = line.expect("the name stands in the table");
        line.split(" = ")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    #[test]
    fn every_metric_is_written_somewhere() {
        let mut sources = Vec::new();
        let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("the sources are there") {
                let path = entry.expect("the sources are readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    sources.push(std::fs::read_to_string(path).expect("sources are UTF-8"));
                }
            }
        }
        let table = include_str!("names.rs");
        for metric in ALL {
            let written = format!("names::{}", constant_of(metric, table));
            let ends = |rest: &str| !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric());
            let found = sources
                .iter()
                .any(|text| text.split(&written).skip(1).any(ends));
            assert!(found, "nobody writes {}", metric.name);
        }
    }

    #[test]
    fn contract_5_names_begin_with_the_workers() {
        for (index, metric) in ALL.iter().enumerate() {
            assert!(
                metric.name.starts_with("session_worker_"),
                "{}",
                metric.name
            );
            assert_eq!(
                metric.kind == Kind::Counter,
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            assert!(
                ALL[..index]
                    .iter()
                    .all(|earlier| earlier.name != metric.name),
                "{}",
                metric.name
            );
        }
    }
}
