//! Errors as RFC 9457 `application/problem+json` with a stable `code`; never internals.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What went wrong, for machines (`code`) and people (`detail`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of `status` with a stable `code` and words for people.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            code,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    /// The same with a header on its answer.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// 404: there is no such path.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is nothing at this path",
        )
    }

    /// 405: only reading is possible.
    pub fn method_not_allowed() -> Self {
        let detail = "only GET and HEAD are answered; commands go to Kafka";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// 401: the request does not say who asks, or not so that it can be believed. `challenge` says
    /// how to (RFC 9110 wants one with every 401).
    pub fn unauthorized(challenge: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        )
    }

    /// 503: tokens cannot be checked, since their keys could not be fetched.
    pub fn keys_unavailable() -> Self {
        let detail = "the keys that tokens are checked with cannot be fetched; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable", detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// 503: the answer took too long.
    pub fn timeout() -> Self {
        let detail = "the answer took too long; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a struct of texts and numbers is JSON");
        let mut answer = (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body,
        )
            .into_response();
        answer.headers_mut().extend(self.headers);
        answer
    }
}
