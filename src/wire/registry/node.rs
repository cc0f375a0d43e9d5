//! The requests to one URL of the registry. `schema_registry_converter` does look-ups by text,
//! registration and referenced schemas, with its authentication. The rest goes through `reqwest`:
//! - lists and versions, because the converter never asks for softly deleted versions, whose records
//!   are still in the log, and does not limit the size of an answer;
//! - compatibility, because it knows no levels and drops the reasons of a verdict;
//! - several URLs: it takes the first answer that is not an error, so that a node that lags hides the
//!   others. Here each URL has settings of its own, and the callers decide.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_referenced_schema, perform_sr_call,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, RawRegisteredSchema, RegisteredReference, SrCall,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::{self, Connection, ConnectionError, Credentials};
use super::fault::{self, Fault, FaultKind};

/// How long one URL may take to answer. A lane waits meanwhile.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection to one URL may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest answer that is read.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// "Subject not found", "version not found" and "schema not found" in Confluent's API.
const NOT_FOUND: [u64; 3] = [40401, 40402, 40403];
/// "Subject does not have a compatibility level of its own."
const NO_LEVEL: u64 = 40408;

/// One URL.
pub(super) struct Node {
    /// Without credentials.
    url: String,
    credentials: Credentials,
    http: reqwest::Client,
    converter: SrSettings,
}

/// Why a request that may be refused failed.
#[derive(Debug)]
pub(super) enum ChangeError {
    /// The URL did not answer properly.
    Fault(Fault),
    /// The registry refuses, with its reason.
    Refused(String),
}

impl From<Fault> for ChangeError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// An answer of the API: a success, or an error with the API's code.
struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    /// A "no such thing" of the API itself: a 404 without its code comes from anything in between,
    /// or from a path that this registry does not have.
    fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
            && self.body["error_code"]
                .as_u64()
                .is_some_and(|code| NOT_FOUND.contains(&code))
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

impl Node {
    pub(super) fn new(text: &str, connection: &Connection) -> Result<Self, ConnectionError> {
        let address = connection::address(text)?;
        let credentials = match address.credentials {
            Credentials::None => connection.credentials.clone(),
            own => own,
        };
        let builder = || {
            connection.secured(
                reqwest::Client::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .timeout(TIMEOUT),
            )
        };
        // Each part was checked; only a certificate and a key of different pairs can still fail.
        let http = builder()?.build().map_err(|_| ConnectionError::Identity)?;
        let mut settings = SrSettings::new_builder(address.url.clone());
        match &credentials {
            Credentials::None => {}
            Credentials::Basic { username, password } => {
                settings.set_basic_authorization(username, password.as_deref());
            }
            Credentials::Bearer(token) => {
                settings.set_token_authorization(token);
            }
        }
        let converter = settings
            .set_timeout(TIMEOUT)
            .build_with(builder()?)
            .map_err(|_| ConnectionError::Identity)?;
        Ok(Self {
            url: address.url,
            credentials,
            http,
            converter,
        })
    }

    /// A fault of this URL.
    pub(super) fn fault(&self, kind: FaultKind, detail: impl Into<String>) -> Fault {
        Fault {
            url: self.url.clone(),
            kind,
            detail: detail.into(),
        }
    }

    /// The versions of `subject`, with or without softly deleted ones. Empty if the subject does not
    /// exist.
    pub(super) async fn versions(&self, subject: &str, deleted: bool) -> Result<Vec<u32>, Fault> {
        let path = format!("subjects/{}/versions?deleted={deleted}", segment(subject));
        let answer = self.call(Method::GET, &path, None).await?;
        if answer.is_not_found() {
            Ok(Vec::new())
        } else {
            self.read(answer)
        }
    }

    /// One version of `subject`, if it is there.
    pub(super) async fn version(
        &self,
        subject: &str,
        version: u32,
    ) -> Result<Option<RawRegisteredSchema>, Fault> {
        let path = format!(
            "subjects/{}/versions/{version}?deleted=true",
            segment(subject)
        );
        let answer = self.call(Method::GET, &path, None).await?;
        if answer.is_not_found() {
            return Ok(None);
        }
        self.read(answer).map(Some)
    }

    /// A referenced schema and its own references. A missing one is a fault, because a registry accepts
    /// no schema without those that it references.
    pub(super) async fn referenced(
        &self,
        reference: &RegisteredReference,
    ) -> Result<(String, Vec<RegisteredReference>), Fault> {
        match get_referenced_schema(&self.converter, reference).await {
            Ok(schema) => Ok((schema.schema, schema.references)),
            Err(error) => {
                let fault = self.of_converter(&error);
                let RegisteredReference {
                    subject, version, ..
                } = reference;
                let detail = format!("version {version} of {subject}: {}", fault.detail);
                Err(Fault { detail, ..fault })
            }
        }
    }

    /// The id of `text` under `subject`, if this registry finds it. Registries differ in which other
    /// spellings they recognise.
    pub(super) async fn id_of(&self, subject: &str, text: &str) -> Result<Option<u32>, Fault> {
        let body = json!({ "schema": text }).to_string();
        match perform_sr_call(&self.converter, SrCall::PostForVersion(subject, &body)).await {
            Ok(registered) => self.id(registered.id).map(Some),
            Err(error) => match raw(&error) {
                Some(raw)
                    if NOT_FOUND.contains(&u64::from(raw.error_code))
                        && status(&error) == Some(StatusCode::NOT_FOUND) =>
                {
                    Ok(None)
                }
                _ => Err(self.of_converter(&error)),
            },
        }
    }

    /// Registers `text` under `subject`. The same text gets the same id again.
    pub(super) async fn register(&self, subject: &str, text: &str) -> Result<u32, ChangeError> {
        let body = json!({ "schema": text }).to_string();
        match perform_sr_call(&self.converter, SrCall::PostNew(subject, &body)).await {
            Ok(registered) => Ok(self.id(registered.id)?),
            Err(error) => Err(match raw(&error) {
                Some(raw) if matches!(raw.error_code, 409 | 422 | 40901..=40999 | 42201..=42299) => {
                    ChangeError::Refused(raw.message.clone())
                }
                _ => self.of_converter(&error).into(),
            }),
        }
    }

    /// Why `text` cannot be registered under `subject`; empty if it can.
    pub(super) async fn incompatibilities(
        &self,
        subject: &str,
        text: &str,
    ) -> Result<Vec<String>, ChangeError> {
        #[derive(Deserialize)]
        struct Verdict {
            is_compatible: bool,
            #[serde(default)]
            messages: Vec<String>,
            reason: Option<String>,
        }

        let path = format!(
            "compatibility/subjects/{}/versions?verbose=true",
            segment(subject)
        );
        let body = json!({ "schema": text });
        let answer = self.call(Method::POST, &path, Some(body)).await?;
        if answer.is_not_found() {
            return Ok(Vec::new());
        }
        let Verdict {
            is_compatible,
            mut messages,
            reason,
        } = self.read_or_refused(answer)?;
        if is_compatible {
            return Ok(Vec::new());
        }
        messages.extend(reason);
        if messages.is_empty() {
            messages.push("the registry gives no reason".to_owned());
        }
        Ok(messages)
    }

    /// The compatibility level set for `subject` itself; `None`: the registry's default holds.
    pub(super) async fn level(&self, subject: &str) -> Result<Option<String>, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Level {
            compatibility_level: String,
        }

        let path = format!("config/{}", segment(subject));
        let answer = self.call(Method::GET, &path, None).await?;
        if answer.is_not_found() || answer.body["error_code"] == NO_LEVEL {
            return Ok(None);
        }
        self.read(answer)
            .map(|level: Level| Some(level.compatibility_level))
    }

    /// Sets the compatibility level of `subject`; `false` if the registry needs the subject to
    /// exist first.
    pub(super) async fn set_level(&self, subject: &str, level: &str) -> Result<bool, ChangeError> {
        let body = json!({ "compatibility": level });
        let path = format!("config/{}", segment(subject));
        let answer = self.call(Method::PUT, &path, Some(body)).await?;
        if answer.is_not_found() {
            return Ok(false);
        }
        self.read_or_refused::<Value>(answer).map(|_| true)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer, Fault> {
        let mut request = self
            .http
            .request(method, format!("{}/{path}", self.url))
            .header("accept", CONTENT_TYPE);
        request = match &self.credentials {
            Credentials::None => request,
            Credentials::Basic { username, password } => {
                request.basic_auth(username, password.as_deref())
            }
            Credentials::Bearer(token) => request.bearer_auth(token),
        };
        if let Some(body) = body {
            request = request
                .header("content-type", CONTENT_TYPE)
                .body(body.to_string());
        }
        let mut response = request.send().await.map_err(|error| self.of_http(&error))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.of_http(&error))?
        {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                let detail = format!("its answer has more than {MAX_ANSWER} bytes");
                return Err(self.fault(FaultKind::OtherApi, detail));
            }
        }
        let status = response.status();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Answer { status, body };
        // Only a success or an error with the API's code is an answer of the API.
        let refusal = status.is_client_error()
            && !matches!(
                status,
                StatusCode::UNAUTHORIZED
                    | StatusCode::FORBIDDEN
                    | StatusCode::REQUEST_TIMEOUT
                    | StatusCode::TOO_MANY_REQUESTS
            )
            && answer.body["error_code"].is_u64();
        if status.is_success() || refusal {
            Ok(answer)
        } else {
            Err(self.of_status(status, answer.message()))
        }
    }

    /// The body of a success. An error is a fault.
    fn read<T: for<'de> Deserialize<'de>>(&self, answer: Answer) -> Result<T, Fault> {
        if !answer.status.is_success() {
            return Err(self.of_status(answer.status, answer.message()));
        }
        serde_json::from_value(answer.body).map_err(|error| {
            let detail = format!("its answer has another shape: {error}");
            self.fault(FaultKind::OtherApi, detail)
        })
    }

    /// The body of a success. An error with a message is a refusal.
    fn read_or_refused<T: for<'de> Deserialize<'de>>(
        &self,
        answer: Answer,
    ) -> Result<T, ChangeError> {
        if !answer.status.is_success() && !answer.message().is_empty() {
            return Err(ChangeError::Refused(answer.message().to_owned()));
        }
        Ok(self.read(answer)?)
    }

    fn id(&self, id: Option<u32>) -> Result<u32, Fault> {
        id.ok_or_else(|| self.fault(FaultKind::OtherApi, "its answer has no id"))
    }

    fn of_http(&self, error: &reqwest::Error) -> Fault {
        let (kind, detail) = fault::of_http(error);
        self.fault(kind, detail)
    }

    fn of_status(&self, status: StatusCode, message: &str) -> Fault {
        let with_credentials = !matches!(self.credentials, Credentials::None);
        let (kind, detail) = fault::of_status(status, message, with_credentials);
        self.fault(kind, detail)
    }

    fn of_converter(&self, error: &SRCError) -> Fault {
        let source = std::error::Error::source(error);
        if let Some(status) = status(error) {
            let message = raw(error).filter(|raw| raw.error_code != 0);
            return self.of_status(status, message.map_or("", |raw| raw.message.as_str()));
        }
        match source.and_then(|source| source.downcast_ref()) {
            Some(error) => self.of_http(error),
            None => self.fault(FaultKind::OtherApi, error.error.clone()),
        }
    }
}

fn raw(error: &SRCError) -> Option<&RawError> {
    std::error::Error::source(error).and_then(|source| source.downcast_ref())
}

/// The status of an answer. The converter keeps it only at the end of its text.
fn status(error: &SRCError) -> Option<StatusCode> {
    let (_, status) = error.error.rsplit_once("failed with status ")?;
    status.split(' ').next()?.parse().ok()
}

/// A subject as one segment of a path. More escaping is not needed: a topic's name has only letters,
/// digits, `.`, `_` and `-`.
fn segment(subject: &str) -> String {
    subject
        .replace('%', "%25")
        .replace('/', "%2F")
        .replace('?', "%3F")
        .replace('#', "%23")
}
