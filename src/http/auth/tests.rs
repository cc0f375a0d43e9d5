//! Contract 5's sentence on who calls, against honest and forged tokens that are made by hand here,
//! and against an identity provider on a real socket.

mod fetches;
mod forge;
mod identity;
mod keys;
mod scene;
mod secret;
mod word;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::IntoResponse as _;
use http_body_util::BodyExt as _;

use super::{Authenticator, Caller};
use crate::domain::UserId;
use crate::settings::{Auth, AuthMode, Secret};

/// Settings of `mode` and nothing else.
fn settings(mode: AuthMode) -> Auth {
    Auth {
        mode,
        jwt_secret: None,
        jwks_url: None,
        issuer: None,
        audience: None,
        gateway_secret: None,
    }
}

fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header's value");
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

/// How a request was answered, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Known(Caller),
    /// Status, code and challenge.
    Problem(u16, String, Option<String>),
}

impl Told {
    fn known(id: &str, reads_any: bool) -> Self {
        Self::Known(Caller {
            user_id: UserId::parse(id).expect("a well-formed id"),
            reads_any,
        })
    }

    fn unauthorized(challenge: &str) -> Self {
        Self::Problem(401, "unauthorized".to_owned(), Some(challenge.to_owned()))
    }

    fn invalid_token() -> Self {
        Self::unauthorized("Bearer error=\"invalid_token\"")
    }

    fn invalid_argument() -> Self {
        Self::Problem(400, "invalid_argument".to_owned(), None)
    }

    fn keys_unavailable() -> Self {
        Self::Problem(503, "keys_unavailable".to_owned(), None)
    }
}

/// The answer and its `detail`.
async fn ask(
    authenticator: &Authenticator,
    headers: &HeaderMap,
    named: Option<&str>,
) -> (Told, String) {
    let problem = match authenticator.caller(headers, named).await {
        Ok(caller) => return (Told::Known(caller), String::new()),
        Err(problem) => problem.into_response(),
    };
    let (head, body) = problem.into_parts();
    let body = body.collect().await.expect("the body is in memory");
    let body: serde_json::Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let challenge = head.headers.get(header::WWW_AUTHENTICATE);
    let challenge = challenge.map(|value| value.to_str().expect("ASCII").to_owned());
    assert_eq!(
        head.headers[header::CONTENT_TYPE],
        "application/problem+json"
    );
    assert_eq!(
        head.headers.contains_key(header::RETRY_AFTER),
        head.status == 503
    );
    let told = Told::Problem(head.status.as_u16(), text("code"), challenge);
    (told, text("detail"))
}

/// The answer to a request with this `Authorization` header.
async fn ask_with(authenticator: &Authenticator, authorization: &str) -> (Told, String) {
    let headers = headers(&[("authorization", authorization)]);
    ask(authenticator, &headers, None).await
}

/// Of mode `jwt` with a secret.
fn with_secret(secret: &str) -> Auth {
    Auth {
        jwt_secret: Some(Secret::new(secret)),
        ..settings(AuthMode::Jwt)
    }
}

fn authenticator(auth: &Auth) -> Authenticator {
    Authenticator::new(auth).expect("the settings suffice")
}
