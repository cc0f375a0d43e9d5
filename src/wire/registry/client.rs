//! One call of the registry's API at a time: several URLs, deadlines, bounded answers. Look-ups by text
//! and registrations go through `schema_registry_converter`; what it lacks (deleted versions,
//! compatibility levels and their reasons) through `reqwest`.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, perform_sr_call};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SrCall};
use serde::Deserialize;
use serde_json::{Value, json};

use super::RegistryError;

/// How long one URL may take to answer. A lane waits meanwhile, so a dead registry must be told soon.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long one URL may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest answer that is read.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// "Subject not found", "version not found" and "schema not found" in Confluent's API.
const NOT_FOUND: [u64; 3] = [40401, 40402, 40403];

pub(super) struct Client {
    urls: Vec<String>,
    http: reqwest::Client,
    converter: SrSettings,
}

/// A registered version.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) id: u32,
    pub(super) text: String,
}

/// A registry's answer that is no fault.
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

    fn reason(&self) -> String {
        match self.body["message"].as_str() {
            Some(message) => format!("{}: {message}", self.status),
            None => self.status.to_string(),
        }
    }

    /// What the answer holds where it is a yes.
    fn read<T: for<'de> Deserialize<'de>>(self) -> Result<T, RegistryError> {
        let status = self.status;
        if !status.is_success() {
            return Err(RegistryError::Refused {
                reason: self.reason(),
            });
        }
        serde_json::from_value(self.body)
            .map_err(|error| unavailable(format!("an answer of another shape: {error}")))
    }
}

fn unavailable(reason: impl Into<String>) -> RegistryError {
    RegistryError::Unavailable {
        reason: reason.into(),
    }
}

fn refused(reason: impl Into<String>) -> RegistryError {
    RegistryError::Refused {
        reason: reason.into(),
    }
}

/// The client's error with its causes, which say what really happened, without the URL, which may
/// hold credentials.
fn fault(error: reqwest::Error) -> RegistryError {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    unavailable(reason)
}

impl Client {
    pub(super) fn new(urls: &[String]) -> Result<Self, RegistryError> {
        let urls: Vec<String> = urls
            .iter()
            .map(|url| url.trim().trim_end_matches('/').to_owned())
            .collect();
        for url in &urls {
            let parsed = reqwest::Url::parse(url);
            if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
                return Err(refused(
                    "a URL of the registry does not read http://host:port",
                ));
            }
        }
        let Some((first, others)) = urls.split_first() else {
            return Err(refused("there is no URL of a registry"));
        };
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(TIMEOUT)
        };
        let mut settings = SrSettings::new_builder(first.clone());
        for url in others {
            settings.add_url(url.clone());
        }
        let converter = settings
            .set_timeout(TIMEOUT)
            .build_with(builder())
            .map_err(|error| refused(error.to_string()))?;
        let http = builder().build().map_err(fault)?;
        Ok(Self {
            urls,
            http,
            converter,
        })
    }

    /// Every version of `subject`, also those that were deleted softly: their records are still in the
    /// log. None where the registry does not know the subject.
    pub(super) async fn versions(&self, subject: &str) -> Result<Vec<u32>, RegistryError> {
        let path = format!("subjects/{}/versions?deleted=true", segment(subject));
        let answer = self.call(Method::GET, &path, None).await?;
        if answer.is_not_found() {
            Ok(Vec::new())
        } else {
            answer.read()
        }
    }

    /// One version of `subject`, if it is there.
    pub(super) async fn version(
        &self,
        subject: &str,
        version: u32,
    ) -> Result<Option<Schema>, RegistryError> {
        #[derive(Deserialize)]
        struct Version {
            id: u32,
            schema: String,
        }

        let path = format!(
            "subjects/{}/versions/{version}?deleted=true",
            segment(subject)
        );
        let answer = self.call(Method::GET, &path, None).await?;
        if answer.is_not_found() {
            return Ok(None);
        }
        let Version { id, schema } = answer.read()?;
        Ok(Some(Schema { id, text: schema }))
    }

    /// The id of `text` under `subject`, if it is registered there. Changes nothing.
    pub(super) async fn id_of(
        &self,
        subject: &str,
        text: &str,
    ) -> Result<Option<u32>, RegistryError> {
        let body = json!({ "schema": text }).to_string();
        match perform_sr_call(&self.converter, SrCall::PostForVersion(subject, &body)).await {
            Ok(registered) => match registered.id {
                Some(id) => Ok(Some(id)),
                None => Err(unavailable("an answer without an id")),
            },
            Err(error) => match raw(&error) {
                // The converter keeps the status in its words only.
                Some(raw)
                    if NOT_FOUND.contains(&u64::from(raw.error_code))
                        && error.error.ends_with(&StatusCode::NOT_FOUND.to_string()) =>
                {
                    Ok(None)
                }
                _ => Err(answered(&error)),
            },
        }
    }

    /// Registers `text` under `subject`; registering it again is the same id again.
    pub(super) async fn register(&self, subject: &str, text: &str) -> Result<u32, RegistryError> {
        let body = json!({ "schema": text }).to_string();
        let registered = perform_sr_call(&self.converter, SrCall::PostNew(subject, &body)).await;
        let registered = registered.map_err(|error| answered(&error))?;
        registered
            .id
            .ok_or_else(|| unavailable("an answer without an id"))
    }

    /// Why `text` cannot be registered under `subject`; empty where it can.
    pub(super) async fn incompatibilities(
        &self,
        subject: &str,
        text: &str,
    ) -> Result<Vec<String>, RegistryError> {
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
        let answer = self
            .call(Method::POST, &path, Some(json!({ "schema": text })))
            .await?;
        if answer.is_not_found() {
            return Ok(Vec::new());
        }
        let Verdict {
            is_compatible,
            mut messages,
            reason,
        } = answer.read()?;
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
    pub(super) async fn level(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Level {
            compatibility_level: String,
        }

        /// "Subject does not have a compatibility level of its own."
        const NO_LEVEL: u64 = 40408;

        let answer = self
            .call(Method::GET, &format!("config/{}", segment(subject)), None)
            .await?;
        if answer.is_not_found() || answer.body["error_code"] == NO_LEVEL {
            return Ok(None);
        }
        answer
            .read()
            .map(|level: Level| Some(level.compatibility_level))
    }

    /// Sets the compatibility level of `subject`; `false` where the registry wants the subject to
    /// exist first.
    pub(super) async fn set_level(
        &self,
        subject: &str,
        level: &str,
    ) -> Result<bool, RegistryError> {
        let body = json!({ "compatibility": level });
        let path = format!("config/{}", segment(subject));
        let answer = self.call(Method::PUT, &path, Some(body)).await?;
        if answer.is_not_found() {
            return Ok(false);
        }
        answer.read::<Value>().map(|_| true)
    }

    /// Asks one URL after the other until one answers.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, RegistryError> {
        let mut last = None;
        for url in &self.urls {
            match self.call_at(url, method.clone(), path, body.as_ref()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is a URL: the constructor checks"))
    }

    async fn call_at(
        &self,
        url: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, RegistryError> {
        let mut request = self
            .http
            .request(method, format!("{url}/{path}"))
            .header("accept", CONTENT_TYPE);
        if let Some(body) = body {
            request = request
                .header("content-type", CONTENT_TYPE)
                .body(body.to_string());
        }
        let mut response = request.send().await.map_err(fault)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(fault)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                return Err(unavailable(format!(
                    "an answer of more than {MAX_ANSWER} bytes"
                )));
            }
        }
        let status = response.status();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Answer { status, body };
        // Only an answer of the API counts as one: a success, or a refusal with the API's code.
        let refusal = status.is_client_error()
            && !matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            )
            && answer.body["error_code"].is_u64();
        if status.is_success() || refusal {
            Ok(answer)
        } else {
            Err(unavailable(answer.reason()))
        }
    }
}

fn raw(error: &SRCError) -> Option<&RawError> {
    std::error::Error::source(error).and_then(|source| source.downcast_ref())
}

/// What an error of the converter says: a refusal has the API's code of a 409 or 422.
fn answered(error: &SRCError) -> RegistryError {
    match raw(error) {
        Some(raw) if matches!(raw.error_code, 409 | 422 | 40901..=40999 | 42201..=42299) => {
            refused(raw.message.clone())
        }
        Some(raw) => unavailable(format!("{}: {}", error.error, raw.message)),
        None => unavailable(match std::error::Error::source(error) {
            Some(source) => format!("{}: {source}", error.error),
            None => error.error.clone(),
        }),
    }
}

/// A subject as one segment of a path. A topic's name needs no more: it has letters, digits, `.`,
/// `_` and `-` only.
fn segment(subject: &str) -> String {
    subject
        .replace('%', "%25")
        .replace('/', "%2F")
        .replace('?', "%3F")
        .replace('#', "%23")
}
