//! The read-only listener (contract 5): views of sessions, probes, metrics, OpenAPI. Knows neither
//! Kafka nor the lanes, and reads over a database client of its own, so that readers never slow
//! them. Errors are RFC 9457 problems, whoever answers; no answer is awaited for ever.

mod auth;
mod cursor;
mod docs;
mod health;
mod inquiry;
mod listener;
mod listeners;
pub mod openapi;
mod places;
mod probes;
mod problem;
mod query;
mod readers;
mod sessions;
mod shapes;
mod users;

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::FutureExt;
use tokio::time::Instant;

use crate::settings;
use crate::telemetry::{Metrics, names};

pub use auth::{AuthSetupError, Authenticator, Caller};
pub use health::{Check, Health, Heartbeats};
pub use listener::{Listener, ListenerError};
pub use listeners::Listeners;
use openapi::Refusals;
pub use problem::Problem;
pub use readers::Readers;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of path and query at most.
const URI_BYTES: usize = 8 << 10;
/// Bytes of all headers together at most.
const HEADER_BYTES: usize = 16 << 10;
/// Headers at most.
const HEADER_COUNT: usize = 100;

/// What the answers are made of.
#[derive(Clone)]
pub struct Sources {
    health: Arc<dyn Health>,
    metrics: Metrics,
    readers: Arc<Readers>,
    openapi: Bytes,
    probes: Probes,
}

/// Where probes are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probes {
    /// On the readers' listener.
    WithReads,
    /// On the listener of `http.opsListen`, and only there.
    Apart,
}

impl Sources {
    /// How the process is, what `/metrics` shows, what the views are read with, and the settings that
    /// say how callers are known and where probes are answered.
    pub fn new(
        health: Arc<dyn Health>,
        metrics: Metrics,
        readers: Readers,
        settings: &settings::Http,
    ) -> Self {
        let probes = match settings.ops_listen {
            Some(_) => Probes::Apart,
            None => Probes::WithReads,
        };
        let document = openapi::document_of(settings.auth.mode, probes).to_json();
        Self {
            health,
            metrics,
            readers: Arc::new(readers),
            openapi: document.expect("a document of texts is JSON").into(),
            probes,
        }
    }
}

/// Every path of the readers' listener.
pub fn router(sources: Sources) -> Router {
    let views = Router::new()
        .route(sessions::HISTORY, get(sessions::history))
        .route("/sessions/current", get(sessions::current))
        .route("/sessions/{id}", get(sessions::session))
        .route("/sessions/{id}/participants", get(sessions::participants))
        .route(sessions::LIST, get(sessions::list))
        .route("/users/{userId}/limits", get(users::limits))
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::page))
        .route("/docs/{file}", get(docs::file));
    let all = match sources.probes {
        Probes::WithReads => views.merge(probes::routes()),
        Probes::Apart => views,
    };
    finished(all, sources)
}

/// Every path of the listener of `http.opsListen`.
pub fn ops_router(sources: Sources) -> Router {
    finished(probes::routes(), sources)
}

fn finished(routes: Router<Sources>, sources: Sources) -> Router {
    routes
        .fallback(|| async { Problem::not_found() })
        .layer(middleware::from_fn(bounded))
        .with_state(sources)
}

/// On a request that came over a reserved connection while all readers were busy.
#[derive(Clone, Copy)]
struct Overloaded;

/// Answers nothing but GET and HEAD of a bounded size, and always within a bound; a handler that
/// panics is a bug that its caller hears of.
async fn bounded(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let mut answer = match refusal(&request) {
        Some(problem) => problem.into_response(),
        None => {
            let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
            match tokio::time::timeout(ANSWER_WITHIN, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Problem::internal().into_response(),
                Err(_) => Problem::timeout().into_response(),
            }
        }
    };
    let headers = answer.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // What one caller may see is nobody else's.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let path = path.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let status = answer.status().as_str().to_owned();
    metrics::counter!(names::HTTP_REQUESTS, "path" => path.clone(), "status" => status)
        .increment(1);
    metrics::histogram!(names::HTTP_SECONDS, "path" => path).record(began.elapsed().as_secs_f64());
    answer
}

/// Why a request is not even looked at.
fn refusal(request: &Request) -> Option<Problem> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allowed = HeaderValue::from_static("GET, HEAD");
        return Some(Problem::method_not_allowed().with_header(header::ALLOW, allowed));
    }
    if request.extensions().get::<Overloaded>().is_some() {
        metrics::counter!(names::HTTP_OVERLOADED, "bound" => "connections").increment(1);
        return Some(Problem::overloaded());
    }
    let uri = request.uri();
    if uri.path().len() + uri.query().map_or(0, str::len) > URI_BYTES {
        return Some(Problem::uri_too_long());
    }
    if !query::is_percent_encoded(uri.path()) {
        return Some(Problem::not_found());
    }
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    let headers = request.headers();
    if headers.len() > HEADER_COUNT || headers.iter().map(bytes).sum::<usize>() > HEADER_BYTES {
        return Some(Problem::headers_too_large());
    }
    None
}

/// An answer that no cache may keep.
fn fresh(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body.into()).into_response()
}
