//! Who asks (contract 5): a Bearer token's `sub`, a trusted gateway's word, or on a loopback listener
//! anybody's. Knows no path. Whoever is not known is refused; no token, secret or id is ever logged.

mod key_set;
mod provider;
mod token;

#[cfg(test)]
mod tests;

use axum::http::HeaderMap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Problem;
use crate::domain::UserId;
use crate::settings::{Auth, AuthMode};
use crate::telemetry::names;

use provider::Pace;
use token::Tokens;

/// What a 401 of the modes without tokens names, since it has to name something (RFC 9110, 15.5.2); no
/// registered scheme fits, and `Bearer` would send people after a token.
const GATEWAY_CHALLENGE: &str = "GatewaySecret";
const WORD_CHALLENGE: &str = "UserId";

/// What a gateway shows that it is the trusted one by, and what it says of the caller.
const SECRET: &str = "x-gateway-secret";
const SCOPES: &str = "x-scopes";
/// Who holds it may read everybody's sessions (contract 5).
const READ_ANY: &str = "sessions:read:any";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The learner, or the service, that asks.
    pub user_id: UserId,
    reads_any: bool,
}

impl Caller {
    /// Whether everybody's sessions may be read (scope `sessions:read:any`, contract 5).
    pub fn may_read_any(&self) -> bool {
        self.reads_any
    }
}

/// The settings do not say how callers are known.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    /// The mode needs a setting that is not there.
    #[error("http.auth.mode needs {0}; set it")]
    Missing(&'static str),
    /// `http.auth.jwksUrl` cannot be asked. It may hold a password, so it is not shown.
    #[error("http.auth.jwksUrl is not a URL; write it as https://host/path")]
    Url,
    /// The HTTP client for the keys cannot be made.
    #[error("no client for http.auth.jwksUrl: {0}; check the host's root certificates")]
    Client(String),
}

/// Why nobody is known.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// Nothing was presented.
    Anonymous {
        challenge: &'static str,
        detail: &'static str,
    },
    /// What was presented does not do.
    Refused {
        challenge: &'static str,
        detail: String,
    },
    /// `?userId=` is not a well-formed id.
    Malformed,
    /// Tokens cannot be checked.
    KeysUnavailable,
}

impl Refusal {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Anonymous { .. } => "anonymous",
            Self::Refused { .. } => "refused",
            Self::Malformed => "malformed",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Anonymous { challenge, detail } => Self::unauthorized(challenge, detail),
            Refusal::Refused { challenge, detail } => Self::unauthorized(challenge, detail),
            Refusal::Malformed => {
                Self::invalid("userId: must be 1 to 128 characters, none of control")
            }
            Refusal::KeysUnavailable => Self::keys_unavailable(),
        }
    }
}

/// How callers are known, from the settings.
pub struct Authenticator {
    mode: Mode,
}

enum Mode {
    /// `?userId=` is believed.
    Word,
    /// A gateway is believed.
    Gateway(Gateway),
    /// A token is believed.
    Token(Tokens),
    /// A gateway is believed where its secret is presented, else a token.
    GatewayOrToken(Gateway, Tokens),
}

/// A gateway, by the digest of its secret.
struct Gateway {
    secret: [u8; 32],
}

impl Authenticator {
    /// Takes the settings, which are checked already; nothing is asked for yet.
    ///
    /// # Errors
    /// A setting that the mode needs is not there, or the JWKS' URL cannot be asked.
    pub fn new(auth: &Auth) -> Result<Self, AuthSetupError> {
        Self::paced(auth, Pace::default())
    }

    fn paced(auth: &Auth, pace: Pace) -> Result<Self, AuthSetupError> {
        let mode = match auth.mode {
            AuthMode::None => Mode::Word,
            AuthMode::Jwt => Mode::Token(Tokens::new(auth, pace)?),
            AuthMode::TrustedHeader => Mode::Gateway(Gateway::new(auth)?),
            AuthMode::JwtOrTrustedHeader => {
                Mode::GatewayOrToken(Gateway::new(auth)?, Tokens::new(auth, pace)?)
            }
        };
        Ok(Self { mode })
    }

    /// How many keys `http.auth.jwksUrl` publishes that can check a signature, or why they cannot be
    /// fetched; `None`: no key is fetched.
    pub async fn published_keys(&self) -> Option<Result<usize, String>> {
        let (Mode::Token(tokens) | Mode::GatewayOrToken(_, tokens)) = &self.mode else {
            return None;
        };
        Some(tokens.provider()?.try_once().await)
    }

    /// Whether `?userId=` is a parameter (mode `none` only).
    pub fn takes_user_id(&self) -> bool {
        matches!(self.mode, Mode::Word)
    }

    /// Who asks; `named` is the value of `?userId=`, which only mode `none` takes.
    ///
    /// # Errors
    /// 401 where nobody is known, 400 where `?userId=` is ill-formed, 503 where no key to check tokens with
    /// could be fetched.
    pub async fn caller(
        &self,
        headers: &HeaderMap,
        named: Option<&str>,
    ) -> Result<Caller, Problem> {
        let outcome = match &self.mode {
            Mode::Word => by_word(named),
            Mode::Gateway(gateway) => gateway.caller(headers),
            Mode::Token(tokens) => tokens.caller(headers).await,
            Mode::GatewayOrToken(gateway, _) if headers.contains_key(SECRET) => {
                gateway.caller(headers)
            }
            Mode::GatewayOrToken(_, tokens) => tokens.caller(headers).await,
        };
        let told = outcome.as_ref().map_or_else(Refusal::outcome, |_| "known");
        metrics::counter!(names::HTTP_AUTH, "outcome" => told).increment(1);
        outcome.map_err(Problem::from)
    }
}

/// A caller who may read what is their own; none where the id is ill-formed.
fn user(id: &str) -> Option<Caller> {
    let user_id = UserId::parse(id).ok()?;
    Some(Caller {
        user_id,
        reads_any: false,
    })
}

fn by_word(named: Option<&str>) -> Result<Caller, Refusal> {
    let named = named.ok_or(Refusal::Anonymous {
        challenge: WORD_CHALLENGE,
        detail: "say who asks with ?userId=",
    })?;
    user(named).ok_or(Refusal::Malformed)
}

impl Gateway {
    fn new(auth: &Auth) -> Result<Self, AuthSetupError> {
        let secret = auth.gateway_secret.as_ref();
        let secret = secret.ok_or(AuthSetupError::Missing("http.auth.gatewaySecret"))?;
        Ok(Self {
            secret: digest(secret.expose().as_bytes()),
        })
    }

    /// One and the same refusal for every way in which the headers can be wrong, so that nothing is
    /// learnt about the secret.
    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        self.known(headers).ok_or_else(|| Refusal::Refused {
            challenge: GATEWAY_CHALLENGE,
            detail: "send X-User-Id together with the right X-Gateway-Secret, one of each, and \
                     X-Scopes at most once"
                .to_owned(),
        })
    }

    fn known(&self, headers: &HeaderMap) -> Option<Caller> {
        let given = only(headers, SECRET).unwrap_or_default();
        // Digests are of one length, so that the comparison does not tell the secret's.
        if !bool::from(digest(given).ct_eq(&self.secret)) {
            return None;
        }
        // An id may have any letters: the bytes of a header are taken as UTF-8.
        let id = std::str::from_utf8(only(headers, "x-user-id")?).ok()?;
        let scopes = match headers.contains_key(SCOPES) {
            true => std::str::from_utf8(only(headers, SCOPES)?).ok()?,
            false => "",
        };
        let mut scopes = scopes.split([' ', ',']);
        Some(Caller {
            reads_any: scopes.any(|scope| scope == READ_ANY),
            ..user(id)?
        })
    }
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.as_bytes())
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
