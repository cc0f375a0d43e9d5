//! Errors as RFC 9457 `application/problem+json` with a stable `code`; never internals.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong, for machines (`code`) and people (`detail`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Stable, for machines.
    code: &'static str,
    /// For people.
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
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 503: the database does not answer.
    pub fn unavailable() -> Self {
        let detail = "the database does not answer; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 503: more is asked at once than is answered at once.
    pub fn overloaded() -> Self {
        let detail = "too many requests are being answered; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 400: a parameter is unknown or bad.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_argument", detail)
    }

    /// 403: the caller is known and may not see this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404: there is no such session, or it is none of the caller's.
    pub fn session_not_found() -> Self {
        let detail = "there is no such session among the caller's";
        Self::new(StatusCode::NOT_FOUND, "session_not_found", detail)
    }

    /// 404: the caller is in no session.
    pub fn no_current_session() -> Self {
        let detail = "the caller is in no session";
        Self::new(StatusCode::NOT_FOUND, "no_current_session", detail)
    }

    /// 414: nobody needs a query that long.
    pub fn uri_too_long() -> Self {
        let detail = "path and query are longer than is looked at";
        Self::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail)
    }

    /// 431: nobody needs headers that large.
    pub fn headers_too_large() -> Self {
        let detail = "the headers are larger than is looked at";
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(status, "headers_too_large", detail)
    }

    /// 500: a bug of the worker's; the log says more.
    pub fn internal() -> Self {
        let detail = "the worker failed; its log says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail)
    }

    /// The status as a number.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The words for people.
    pub fn detail(&self) -> &str {
        &self.detail
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
