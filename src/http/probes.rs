//! `/livez`, `/readyz` and `/metrics`: no token, no cache, no waiting for anybody.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::openapi::ProbeView;
use super::{Check, Sources, fresh};

/// Whether every loop goes round
///
/// 200 while every loop goes round, else 503; the body names the checks.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "operation",
    operation_id = "getLivez",
    responses(
        (status = 200, description = "It lives", body = ProbeView),
        (status = 503, description = "A loop is stuck: start it again", body = ProbeView),
    ),
)]
pub(super) async fn livez(State(sources): State<Sources>) -> Response {
    answer(&sources.health.live())
}

/// Whether work gets done
///
/// 200 while work gets done, else 503; the body names the checks.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operation",
    operation_id = "getReadyz",
    responses(
        (status = 200, description = "It is ready", body = ProbeView),
        (status = 503, description = "It is not ready", body = ProbeView),
    ),
)]
pub(super) async fn readyz(State(sources): State<Sources>) -> Response {
    answer(&sources.health.ready())
}

/// Metrics in Prometheus' text format
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    operation_id = "getMetrics",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(State(sources): State<Sources>) -> Response {
    fresh(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        sources.metrics.render(),
    )
}

fn answer(checks: &[Check]) -> Response {
    let passes = checks.iter().all(|check| check.outcome.is_ok());
    let named: Map<String, Value> = checks
        .iter()
        .map(|check| {
            let shown = match &check.outcome {
                Ok(()) => json!({"status": "pass"}),
                Err(why) => json!({"status": "fail", "detail": why}),
            };
            (check.name.clone(), shown)
        })
        .collect();
    let (code, status) = if passes {
        (StatusCode::OK, "pass")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "fail")
    };
    fresh(
        code,
        "application/json",
        json!({"status": status, "checks": named}).to_string(),
    )
}
