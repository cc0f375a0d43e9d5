//! The one place that wires everything, and stops it in order.

use crate::settings::Settings;
use crate::telemetry::Metrics;

/// Runs the worker until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// The worker cannot start or cannot go on; the error ends with what to do.
pub async fn run(settings: Settings, metrics: Metrics) -> anyhow::Result<()> {
    let _ = (settings, metrics);
    anyhow::bail!("the worker has no lanes yet; build it from a branch that has them")
}
