//! Faults of a single registry URL: their kinds, their causes, and what to do about each. No URL here
//! holds credentials, and no text of `reqwest` that quotes a URL is used.

use std::error::Error;
use std::fmt;

use reqwest::StatusCode;
use rustls::{AlertDescription, CertificateError};

/// Why a URL did not answer properly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The URL, without credentials.
    pub(super) url: String,
    pub(super) kind: FaultKind,
    pub(super) detail: String,
}

/// The kinds of faults, by what an operator has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// Nothing listens there, or the answer takes too long.
    Unreachable,
    /// The certificate of the registry is not trusted.
    Untrusted,
    /// The certificate of the registry is for another host.
    OtherHost,
    /// The registry wants a client certificate, or another one.
    ClientCertificate,
    /// The TLS handshake failed for another reason.
    Handshake,
    /// 401 or 403.
    Refused { with_credentials: bool },
    /// The answer is not one of Confluent's API.
    OtherApi,
    /// An error of the server, or an incomplete answer.
    Failing,
    /// It lacks a schema that is registered.
    OutOfDate,
}

impl FaultKind {
    fn cure(self) -> &'static str {
        match self {
            Self::Unreachable => "start the registry or set registry.urls",
            Self::Untrusted => {
                "set registry.caFile to the certificate of the authority that signed the registry's"
            }
            Self::OtherHost => "use in registry.urls a host that the registry's certificate names",
            Self::ClientCertificate => {
                "set registry.certificateFile and registry.keyFile to a certificate that the \
                 registry accepts"
            }
            Self::Handshake => {
                "see whether registry.urls should begin with http://, and whether the registry wants \
                 a client certificate (registry.certificateFile)"
            }
            Self::Refused {
                with_credentials: true,
            } => {
                "the registry refuses our credentials: set registry.username and \
                 registry.password, or registry.token, to an account that may read the subjects"
            }
            Self::Refused {
                with_credentials: false,
            } => {
                "the registry asks for credentials: set registry.username and \
                 registry.password, or registry.token"
            }
            Self::OtherApi => {
                "set registry.urls to the base of Confluent's API (Apicurio: …/apis/ccompat/v7), \
                 and look at what stands in front of the registry"
            }
            Self::Failing => "look at the registry and at what stands in front of it",
            Self::OutOfDate => {
                "remove this URL from registry.urls until it is up to date; if the registry \
                 was emptied, run `session-worker schemas register` and restart the workers"
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.url, self.detail)
    }
}

/// The text of all `faults`, then what to do about each kind.
pub(super) fn reason(faults: &[Fault]) -> String {
    let mut cures: Vec<&str> = Vec::new();
    for fault in faults {
        if !cures.contains(&fault.kind.cure()) {
            cures.push(fault.kind.cure());
        }
    }
    let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
    format!("{}; {}", faults.join(", "), cures.join("; "))
}

/// The fault that a status stands for.
pub(super) fn of_status(
    status: StatusCode,
    message: &str,
    with_credentials: bool,
) -> (FaultKind, String) {
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FaultKind::Refused { with_credentials },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => FaultKind::Failing,
        _ if status.is_server_error() => FaultKind::Failing,
        _ => FaultKind::OtherApi,
    };
    let detail = if message.is_empty() {
        format!("it answers {status}")
    } else {
        format!("it answers {status}: {message}")
    };
    (kind, detail)
}

/// The fault that an error of the HTTP client stands for.
pub(super) fn of_http(error: &reqwest::Error) -> (FaultKind, String) {
    if let Some(tls) = tls(error) {
        return (of_tls(tls), format!("TLS fails: {tls}"));
    }
    if error.is_timeout() {
        return (
            FaultKind::Unreachable,
            "it does not answer in time".to_owned(),
        );
    }
    let cause = deepest(error);
    let words = cause.map_or_else(|| "no cause is known".to_owned(), ToString::to_string);
    if error.is_connect() {
        return (
            FaultKind::Unreachable,
            format!("it cannot be reached: {words}"),
        );
    }
    if !error.is_body() && !error.is_decode() {
        return (FaultKind::Failing, format!("the request failed: {words}"));
    }
    // JSON that ends early comes from the registry. Anything else comes from something else.
    let json = cause.and_then(|cause| cause.downcast_ref::<serde_json::Error>());
    let kind = match json {
        Some(error) if !error.is_eof() => FaultKind::OtherApi,
        _ => FaultKind::Failing,
    };
    (kind, format!("its answer is damaged: {words}"))
}

fn of_tls(error: &rustls::Error) -> FaultKind {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => FaultKind::OtherHost,
        rustls::Error::InvalidCertificate(_) => FaultKind::Untrusted,
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => FaultKind::ClientCertificate,
        _ => FaultKind::Handshake,
    }
}

/// The TLS error among the causes of `error`. An I/O error hides the error that it wraps.
fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| tls(wrapped)) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// The root cause. The error itself quotes the URL.
fn deepest(error: &reqwest::Error) -> Option<&(dyn Error + 'static)> {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(Error::source) {
        cause = Some(deeper);
    }
    cause
}
