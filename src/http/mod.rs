//! The read-only listener (contract 5): probes and metrics. Knows neither Kafka nor MongoDB; what
//! it answers comes from [`Health`] and the metrics recorder. Errors are RFC 9457 problems.

mod auth;
mod health;
mod listener;
mod probes;
mod problem;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::telemetry::Metrics;

pub use auth::{AuthSetupError, Authenticator, Caller};
pub use health::{Check, Health, Heartbeats};
pub use listener::{Listener, ListenerError};
pub use problem::Problem;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the answers are made of.
#[derive(Clone)]
pub struct Sources {
    /// How the process is.
    pub health: Arc<dyn Health>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
}

/// Every path of the listener.
pub fn router(sources: Sources) -> Router {
    Router::new()
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .fallback(|| async { Problem::not_found() })
        .layer(middleware::from_fn(bounded))
        .with_state(sources)
}

/// Answers nothing but GET and HEAD, and always within a bound.
async fn bounded(request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = Problem::method_not_allowed().into_response();
        refusal
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => Problem::timeout().into_response(),
    }
}

/// An answer that no cache may keep.
fn fresh(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body.into()).into_response()
}
