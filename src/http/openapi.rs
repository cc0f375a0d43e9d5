//! The OpenAPI document (contract 5), written from the handlers, their parameters and their answers.
//! What a listener serves names only the way in which it knows callers.

use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{OpenApi as Document, RefOr};
use utoipa::{IntoResponses, OpenApi, ToSchema};

use super::problem::Problem;
use super::{Probes, docs, probes, sessions, users};
use crate::settings::AuthMode;

/// What every view may answer instead.
#[derive(IntoResponses)]
#[expect(
    dead_code,
    reason = "only described; the answers are made by `Problem`"
)]
pub(super) enum Refusals {
    /// An unknown or bad parameter: code `invalid_argument`
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
    /// Nobody knows who asks: code `unauthorized`
    #[response(
        status = 401,
        content_type = "application/problem+json",
        headers(("WWW-Authenticate" = String, description = "How to say who asks"))
    )]
    Unauthorized(Problem),
    /// Path and query are too long: code `uri_too_long`
    #[response(status = 414, content_type = "application/problem+json")]
    UriTooLong(Problem),
    /// The headers are too large: code `headers_too_large`
    #[response(status = 431, content_type = "application/problem+json")]
    HeadersTooLarge(Problem),
    /// The database does not answer, or not in time, or the keys of tokens cannot be fetched, or too
    /// much is asked at once: codes `unavailable`, `timeout`, `keys_unavailable`, `overloaded`
    #[response(
        status = 503,
        content_type = "application/problem+json",
        headers(("Retry-After" = i32, description = "Seconds to wait"))
    )]
    Unavailable(Problem),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "session-worker",
        description = "Read-only views of live conversation sessions. Commands go to Kafka, not \
                       here. Every error is an RFC 9457 problem with a stable `code`; any method \
                       but GET and HEAD is answered 405. An empty parameter value counts as absent.",
        license(name = "MIT OR Apache-2.0"),
    ),
    paths(
        sessions::history,
        sessions::current,
        sessions::session,
        sessions::participants,
        sessions::list,
        users::limits,
        probes::livez,
        probes::readyz,
        probes::metrics,
        docs::openapi,
        docs::page,
    ),
    tags(
        (name = "sessions", description = "Sessions, as their members see them"),
        (name = "users", description = "What users have used"),
        (name = "operation", description = "Probes, metrics and this document; they take no token"),
    ),
    components(schemas(Problem)),
)]
struct Described;

/// The names of the security schemes.
const BEARER: &str = "bearer";
const GATEWAY_USER: &str = "gatewayUser";
const GATEWAY_SECRET: &str = "gatewaySecret";
const NAMED: &str = "userId";

/// The document as JSON for people, with every path and every way in which callers may be known.
pub fn page() -> String {
    let ways = [Way::Token, Way::Gateway, Way::Word];
    let mut page = described(&ways, Probes::WithReads)
        .to_pretty_json()
        .expect("a document of texts is JSON");
    page.push('\n');
    page
}

/// The document of a readers' listener that knows callers by `mode`.
pub(super) fn document_of(mode: AuthMode, probes: Probes) -> Document {
    let ways: &[Way] = match mode {
        AuthMode::None => &[Way::Word],
        AuthMode::Jwt => &[Way::Token],
        AuthMode::TrustedHeader => &[Way::Gateway],
        AuthMode::JwtOrTrustedHeader => &[Way::Token, Way::Gateway],
    };
    described(ways, probes)
}

/// One way in which a caller is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Token,
    Gateway,
    Word,
}

fn described(ways: &[Way], probes: Probes) -> Document {
    let mut document = Described::openapi();
    if ways == [Way::Word] {
        // There `userId` says who asks.
        let history = document.paths.paths.get_mut(sessions::HISTORY);
        let operation = history.and_then(|item| item.get.as_mut());
        if let Some(parameters) = operation.and_then(|operation| operation.parameters.as_mut()) {
            parameters.retain(|parameter| match parameter {
                RefOr::T(parameter) => parameter.name != NAMED,
                RefOr::Ref(_) => true,
            });
        }
    }
    if probes == Probes::Apart {
        let paths = &mut document.paths.paths;
        paths.retain(|path, _| !probes::PATHS.contains(&path.as_str()));
    }
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    let components = document.components.get_or_insert_default();
    let mut alternatives = Vec::new();
    for way in ways {
        let (schemes, alternative) = known_by(*way);
        for (name, scheme) in schemes {
            components.add_security_scheme(name, scheme);
        }
        alternatives.push(alternative);
    }
    for (path, item) in &mut document.paths.paths {
        let takes_a_caller = path.starts_with(sessions::LIST) || path.starts_with("/users");
        if let Some(operation) = item.get.as_mut().filter(|_| takes_a_caller) {
            operation.security = Some(alternatives.clone());
        }
    }
    document
}

fn known_by(way: Way) -> (Vec<(&'static str, SecurityScheme)>, SecurityRequirement) {
    let none: [&str; 0] = [];
    match way {
        Way::Token => {
            let mut bearer = Http::new(HttpAuthScheme::Bearer);
            bearer.bearer_format = Some("JWT".to_owned());
            bearer.description = Some(
                "A signed token; its `sub` is the caller, its `scope` or `scp` may hold \
                 `sessions:read:any`"
                    .to_owned(),
            );
            (
                vec![(BEARER, SecurityScheme::Http(bearer))],
                SecurityRequirement::new(BEARER, none),
            )
        }
        Way::Gateway => {
            let header = |name: &str, about: &str| {
                let value = ApiKeyValue::with_description(name, about);
                SecurityScheme::ApiKey(ApiKey::Header(value))
            };
            let user = header(
                "X-User-Id",
                "The caller, as the gateway knows it; `X-Scopes` beside it may hold `sessions:read:any`",
            );
            let secret = header("X-Gateway-Secret", "What shows that the gateway asks");
            (
                vec![(GATEWAY_USER, user), (GATEWAY_SECRET, secret)],
                SecurityRequirement::new(GATEWAY_USER, none).add(GATEWAY_SECRET, none),
            )
        }
        Way::Word => {
            let value = ApiKeyValue::with_description(
                "userId",
                "The caller, by their own word; on a loopback listener only",
            );
            (
                vec![(NAMED, SecurityScheme::ApiKey(ApiKey::Query(value)))],
                SecurityRequirement::new(NAMED, none),
            )
        }
    }
}

/// The answer of a probe.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `probes` writes it")]
pub(super) struct ProbeView {
    /// `pass` or `fail`
    status: String,
    /// Every check by its name.
    checks: std::collections::BTreeMap<String, CheckView>,
}

/// One check of a probe.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `probes` writes it")]
pub(super) struct CheckView {
    /// `pass` or `fail`
    status: String,
    /// Why it fails.
    detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_what_the_handlers_say() {
        crate::documents::assert_current("docs/openapi.json", &page());
    }
}
