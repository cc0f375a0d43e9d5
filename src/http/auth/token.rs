//! A Bearer JWT: taken from its header, checked with the one algorithm its key is for, and read. The
//! host's clock judges `exp` and `nbf`, to the second: an identity provider sets them by wall time,
//! and tokens must be judged while the database, whose clock decides all else, cannot be reached.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use super::key_set::Unpicked;
use super::provider::{NoKey, Pace, Provider};
use super::{AuthSetupError, Caller, READ_ANY, Refusal};
use crate::domain::UserId;
use crate::settings::Auth;

/// RFC 6750: no error where no token was given, `invalid_token` where one did not do.
const CHALLENGE: &str = "Bearer";
const INVALID_CHALLENGE: &str = "Bearer error=\"invalid_token\"";

/// Checks tokens.
pub(super) struct Tokens {
    keys: Keys,
    issuer: Option<String>,
    audience: Option<String>,
}

enum Keys {
    /// HS256 and nothing else.
    Secret(DecodingKey),
    /// Signatures of published keys, each with its own algorithm; never a MAC.
    Published(Arc<Provider>),
}

/// What is read of a token. Its types are looked at after its signature, so that the library's checks
/// speak first.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    iss: Value,
    #[serde(default)]
    scope: Value,
    #[serde(default)]
    scp: Value,
}

/// Whether `scopes`, a text of words or a list of texts, hold the one that reads any session.
fn reads_any(scopes: &Value) -> bool {
    let has = |text: &str| text.split(' ').any(|scope| scope == READ_ANY);
    match scopes {
        Value::String(text) => has(text),
        Value::Array(list) => list.iter().filter_map(Value::as_str).any(has),
        // A scope of another shape grants nothing.
        _ => false,
    }
}

fn refused(detail: impl Into<String>) -> Refusal {
    Refusal::Refused {
        challenge: INVALID_CHALLENGE,
        detail: detail.into(),
    }
}

impl Tokens {
    pub(super) fn new(auth: &Auth, pace: Pace) -> Result<Self, AuthSetupError> {
        let keys = match (&auth.jwt_secret, &auth.jwks_url) {
            (Some(secret), _) => Keys::Secret(DecodingKey::from_secret(secret.expose().as_bytes())),
            (None, Some(url)) => Keys::Published(Arc::new(Provider::new(url.expose(), pace)?)),
            (None, None) => {
                return Err(AuthSetupError::Missing(
                    "http.auth.jwtSecret or http.auth.jwksUrl",
                ));
            }
        };
        Ok(Self {
            keys,
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
        })
    }

    /// Where keys come from, if they are published.
    pub(super) fn provider(&self) -> Option<&Provider> {
        match &self.keys {
            Keys::Secret(_) => None,
            Keys::Published(provider) => Some(provider),
        }
    }

    /// Who the token of these headers speaks for.
    pub(super) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let token = bearer(headers)?;
        // `none` and names of no algorithm fail here already.
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| refused("this is not a JWT with an algorithm that is known here"))?;
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: nothing that it may name is understood here.
            return Err(refused("the token wants extensions (`crit`)"));
        }
        match &self.keys {
            Keys::Secret(key) => self.read(token, key, Algorithm::HS256),
            Keys::Published(provider) => {
                let key = provider.key(header.kid.as_deref(), header.alg).await;
                let key = key.map_err(|none| match none {
                    NoKey::Unavailable => Refusal::KeysUnavailable,
                    NoKey::Unpicked(Unpicked::Unknown) => {
                        refused("the token's `kid` names no key that is published")
                    }
                    NoKey::Unpicked(Unpicked::Unnamed) => {
                        refused("the token has no `kid`, and not exactly one key is published")
                    }
                    NoKey::Unpicked(Unpicked::OtherAlgorithm) => {
                        refused("the token's `alg` is not its key's")
                    }
                })?;
                self.read(token, key.verifier(), key.algorithm())
            }
        }
    }

    fn read(
        &self,
        token: &str,
        key: &DecodingKey,
        algorithm: Algorithm,
    ) -> Result<Caller, Refusal> {
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &self.validation(algorithm));
        let claims = decoded.map_err(|error| reason(error.kind()))?.claims;
        // The library would take a list that holds the right issuer beside others.
        if self.issuer.is_some() && !claims.iss.is_string() {
            return Err(reason(&ErrorKind::InvalidIssuer));
        }
        let subject = claims.sub.as_str().unwrap_or_default();
        let user_id = UserId::parse(subject)
            .map_err(|_| refused("the token's `sub` is not a user's id of 1 to 128 characters"))?;
        Ok(Caller {
            user_id,
            reads_any: reads_any(&claims.scope) || reads_any(&claims.scp),
        })
    }

    /// The library's defaults leave a minute's leeway, skip `nbf`, and refuse any `aud` where none is
    /// configured.
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        let mut required = vec!["exp", "sub"];
        validation.leeway = 0;
        // A token is over when the second of its `exp` begins (RFC 7519, 4.1.4).
        validation.reject_tokens_expiring_in_less_than = 1;
        validation.validate_nbf = true;
        validation.validate_aud = self.audience.is_some();
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

/// The token of the one `Authorization` header; its scheme in any case (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let anonymous = Refusal::Anonymous {
        challenge: CHALLENGE,
        detail: "send a token: Authorization: Bearer …",
    };
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return Err(anonymous);
    };
    if given.next().is_some() {
        return Err(refused("there is more than one Authorization header"));
    }
    let text = value.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(anonymous);
    }
    Ok(token.trim_matches(' '))
}

/// Told only to whoever holds a token; all but the first two need one that is signed.
fn reason(kind: &ErrorKind) -> Refusal {
    match kind {
        ErrorKind::InvalidSignature => refused("the token's signature is not right"),
        ErrorKind::InvalidAlgorithm => refused("the token's `alg` is not the one taken here"),
        ErrorKind::ExpiredSignature => refused("the token has expired"),
        ErrorKind::ImmatureSignature => refused("the token is not valid yet (`nbf`)"),
        ErrorKind::InvalidIssuer => refused("the token's `iss` is not the one taken here"),
        ErrorKind::InvalidAudience => refused("the token's `aud` does not name this service"),
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            refused(format!("the token has no well-formed `{claim}`"))
        }
        _ => refused("the token is malformed"),
    }
}
