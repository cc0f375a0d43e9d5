//! How the registry is reached: URLs, credentials, certificates. Checks them for the settings and for
//! the constructor. No error or debug output shows a value.

use std::fmt;

use percent_encoding::percent_decode_str;
use reqwest::header::HeaderValue;
use reqwest::{Certificate, ClientBuilder, Identity, Url};

/// Where the registry is and how to authenticate.
#[derive(Clone, Default)]
pub struct Connection {
    /// Base URLs of the API, tried in order. Credentials in a URL are used for that URL.
    pub urls: Vec<String>,
    /// Credentials for URLs without their own.
    pub credentials: Credentials,
    /// Certificates of the trusted authorities, in PEM; `None`: the system's.
    pub authorities: Option<String>,
    /// The client certificate, its chain and its unencrypted key, in PEM.
    pub identity: Option<String>,
}

/// How to authenticate.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// Basic authentication.
    Basic {
        /// The user, or the name of an API key.
        username: String,
        /// The password, or the secret of the API key.
        password: Option<String>,
    },
    /// A bearer token.
    Bearer(String),
}

/// Shows neither secrets nor URLs, which may hold some.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("urls", &self.urls.len())
            .finish_non_exhaustive()
    }
}

/// A part of a connection that cannot be used. The text does not quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// A URL.
    #[error(
        "is not a URL of a registry; write http://host:port/path or https://…, without a query, and \
         with / ? # [ ] @ : , percent-encoded in user and password"
    )]
    Url,
    /// No URL.
    #[error("names no registry; give at least one URL")]
    NoUrl,
    /// The authorities.
    #[error("holds no certificate in PEM; write -----BEGIN CERTIFICATE----- and so on")]
    Authorities,
    /// The certificate and its key.
    #[error("certificate and key are not a pair; give both in PEM, the key unencrypted")]
    Identity,
    /// The user's name.
    #[error("has a colon or a control character; remove it")]
    Username,
    /// The token.
    #[error("has other characters than visible ASCII; give the token alone")]
    Token,
}

/// One URL and its credentials.
pub(super) struct Address {
    /// Without credentials and without a slash at its end.
    pub(super) url: String,
    /// Those of the URL.
    pub(super) credentials: Credentials,
}

/// Splits a URL.
pub(super) fn address(text: &str) -> Result<Address, ConnectionError> {
    let mut url = Url::parse(text.trim()).map_err(|_| ConnectionError::Url)?;
    let http = matches!(url.scheme(), "http" | "https") && url.has_host();
    // An `@` in the path belongs to a password that is not encoded, a comma to another URL without a
    // scheme.
    let plain = !url.path().contains(['@', ',']);
    let whole = plain && url.query().is_none() && url.fragment().is_none();
    if !http || !whole {
        return Err(ConnectionError::Url);
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let credentials = match (url.username(), url.password()) {
        ("", None) => Credentials::None,
        (username, password) => Credentials::Basic {
            username: decoded(username),
            password: password.map(decoded),
        },
    };
    let cleared = url.set_username("").is_ok() && url.set_password(None).is_ok();
    if !cleared {
        return Err(ConnectionError::Url);
    }
    Ok(Address {
        url: url.as_str().trim_end_matches('/').to_owned(),
        credentials,
    })
}

/// Checks a URL.
///
/// # Errors
/// [`ConnectionError::Url`].
pub fn check_url(text: &str) -> Result<(), ConnectionError> {
    address(text).map(drop)
}

/// Checks certificates of authorities.
///
/// # Errors
/// [`ConnectionError::Authorities`].
pub fn check_authorities(pem: &str) -> Result<(), ConnectionError> {
    authorities(pem).map(drop)
}

/// Checks a certificate and its key.
///
/// # Errors
/// [`ConnectionError::Identity`].
pub fn check_identity(pem: &str) -> Result<(), ConnectionError> {
    let identity = identity(pem)?;
    // Only building a client shows whether the two are a pair.
    let client = reqwest::Client::builder().identity(identity).build();
    client.map(drop).map_err(|_| ConnectionError::Identity)
}

/// Checks a user's name.
///
/// # Errors
/// [`ConnectionError::Username`].
pub fn check_username(name: &str) -> Result<(), ConnectionError> {
    if name.contains(|c: char| c == ':' || c.is_control()) {
        return Err(ConnectionError::Username);
    }
    Ok(())
}

/// Checks a token.
///
/// # Errors
/// [`ConnectionError::Token`].
pub fn check_token(token: &str) -> Result<(), ConnectionError> {
    let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || HeaderValue::from_str(token).is_err() {
        return Err(ConnectionError::Token);
    }
    Ok(())
}

fn authorities(pem: &str) -> Result<Vec<Certificate>, ConnectionError> {
    match Certificate::from_pem_bundle(pem.as_bytes()) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(ConnectionError::Authorities),
    }
}

fn identity(pem: &str) -> Result<Identity, ConnectionError> {
    Identity::from_pem(pem.as_bytes()).map_err(|_| ConnectionError::Identity)
}

impl Connection {
    /// `builder` with our certificates.
    pub(super) fn secured(
        &self,
        mut builder: ClientBuilder,
    ) -> Result<ClientBuilder, ConnectionError> {
        if let Some(pem) = &self.authorities {
            builder = builder.tls_certs_only(authorities(pem)?);
        }
        if let Some(pem) = &self.identity {
            builder = builder.identity(identity(pem)?);
        }
        Ok(builder)
    }
}
