//! `/livez`, `/readyz` and `/metrics`: no token, no cache, no waiting for anybody.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::openapi::ProbeView;
use super::problem::Problem;
use super::query::{Purpose, Query, ReadinessQuery};
use super::{Check, Sources, fresh};

/// Their paths. Connections are reserved for them.
pub(super) const PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// The routes of all of them.
pub(super) fn routes() -> Router<Sources> {
    let [live, ready, shown] = PATHS;
    Router::new()
        .route(live, get(livez))
        .route(ready, get(readyz))
        .route(shown, get(metrics))
}

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
/// 200 while work gets done, else 503; the body names the checks. With `for=reads` it answers for the
/// reads alone: whether the database answers them and the worker does not drain.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operation",
    operation_id = "getReadyz",
    params(ReadinessQuery),
    responses(
        (status = 200, description = "It is ready", body = ProbeView),
        (
            status = 400,
            description = "An unknown or bad parameter: code `invalid_argument`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (status = 503, description = "It is not ready", body = ProbeView),
    ),
)]
pub(super) async fn readyz(State(sources): State<Sources>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::parse(uri.query().unwrap_or_default())?;
    let ReadinessQuery { purpose } = query.read()?;
    let checks = match purpose {
        None => sources.health.ready(),
        Some(Purpose::Reads) => {
            let mut checks = vec![sources.readers.check()];
            checks.extend(sources.health.ready_for_reads());
            checks
        }
    };
    Ok(answer(&checks))
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
