//! `/openapi.json` and the page that shows it. The page and all it loads come from the binary, so
//! that it works without the internet and its policy lets nothing else in.

use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa_swagger_ui::Config;

use super::problem::Problem;
use super::{Sources, fresh};

/// The files of the page that are served, below `/docs/`.
const FILES: [&str; 3] = [
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "favicon-32x32.png",
];
/// What they hold, once for all who load them, however slowly.
static LOADED: LazyLock<[Option<(String, Bytes)>; 3]> = LazyLock::new(|| FILES.map(load));
/// The file that starts the page.
const START: &str = "start.js";

const PAGE: &str = include_str!("docs/page.html");
const STARTER: &str = include_str!("docs/start.js");

/// What the page may do: show what comes from here, and ask the views.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The OpenAPI document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operation",
    operation_id = "getOpenApi",
    responses((
        status = 200,
        description = "OpenAPI 3.1",
        body = std::collections::BTreeMap<String, serde_json::Value>,
        content_type = "application/json",
    )),
)]
pub(super) async fn openapi(State(sources): State<Sources>) -> Response {
    fresh(StatusCode::OK, "application/json", sources.openapi)
}

/// This document as a page
#[utoipa::path(
    get,
    path = "/docs",
    tag = "operation",
    operation_id = "getDocs",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")),
)]
pub(super) async fn page() -> Response {
    let policy = (
        HeaderName::from_static("content-security-policy"),
        HeaderValue::from_static(POLICY),
    );
    let mut answer = fresh(StatusCode::OK, "text/html; charset=utf-8", PAGE);
    answer.headers_mut().insert(policy.0, policy.1);
    answer
}

/// A file of the page.
pub(super) async fn file(path: Result<Path<String>, impl Sized>) -> Result<Response, Problem> {
    let Ok(Path(name)) = path else {
        return Err(Problem::not_found());
    };
    if name == START {
        return Ok(kept(
            "text/javascript",
            Bytes::from_static(STARTER.as_bytes()),
        ));
    }
    let index = FILES.iter().position(|file| *file == name);
    let loaded = index.and_then(|index| LOADED[index].as_ref());
    let (content_type, bytes) = loaded.ok_or_else(Problem::not_found)?;
    Ok(kept(content_type, bytes.clone()))
}

fn load(name: &str) -> Option<(String, Bytes)> {
    let found = utoipa_swagger_ui::serve(name, Arc::new(Config::from("/openapi.json")));
    let file = found.ok().flatten()?;
    Some((file.content_type, file.bytes.into_owned().into()))
}

/// A file that changes only with the binary.
fn kept(content_type: &str, bytes: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, bytes).into_response()
}
