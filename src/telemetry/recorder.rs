//! The recorder behind `/metrics`: fixed buckets, descriptions from [`names`](super::names), and the
//! upkeep without which histograms grow while nobody scrapes.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use super::names::{self, Kind};

/// How often histograms are folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// What `/metrics` shows.
#[derive(Clone)]
pub struct Metrics {
    prometheus: PrometheusHandle,
    process: Collector,
}

/// Installs the process's recorder. At most once a process.
///
/// # Errors
/// Another recorder is installed.
pub fn install_recorder() -> Result<Metrics, BuildError> {
    let prometheus = builder()?.install_recorder()?;
    let process = Collector::new("session_worker_");
    process.describe();
    describe();
    metrics::gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(Metrics {
        prometheus,
        process,
    })
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    names::ALL
        .iter()
        .try_fold(PrometheusBuilder::new(), |builder, metric| {
            match metric.kind {
                Kind::Histogram(buckets) => {
                    builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                }
                Kind::Counter | Kind::Gauge => Ok(builder),
            }
        })
}

fn describe() {
    for metric in names::ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.about),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.about),
            Kind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.about),
        }
    }
}

impl Metrics {
    /// The present values in Prometheus' text format.
    pub fn render(&self) -> String {
        self.process.collect();
        self.prometheus.render()
    }

    /// Folds histograms for ever; spawn it once.
    pub async fn keep_up(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.prometheus.run_upkeep();
        }
    }

    /// Metrics of nobody: an empty page for tests of whatever needs one.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        let recorder = builder()
            .expect("the buckets are not empty")
            .build_recorder();
        Self {
            prometheus: recorder.handle(),
            process: Collector::new("session_worker_"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered_with_its_description_and_fixed_buckets() {
        let recorder = builder()
            .expect("the buckets are not empty")
            .build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!(names::RESULTS, "code" => "accepted").increment(2);
            metrics::histogram!(names::TRANSACTION_SECONDS).record(0.003);
        });
        let page = handle.render();
        for line in [
            "# HELP session_worker_results_total Results by code; `accepted` for those without one.",
            "session_worker_results_total{code=\"accepted\"} 2",
            "session_worker_transaction_seconds_bucket{le=\"0.0025\"} 0",
            "session_worker_transaction_seconds_bucket{le=\"0.005\"} 1",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}
