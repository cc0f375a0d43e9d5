//! A stub of the registry's API that fails on demand: a real registry cannot be made to answer
//! 500, 429 or nothing at will. Its answers are those that Apicurio 2.6 and Confluent's registry give.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::wire::registry::{Confirmation, Connection};
use crate::wire::*;

/// What a registry may do instead of answering.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Status(u16, &'static str),
    Silence,
    HalfAnAnswer,
}

#[derive(Default)]
pub(super) struct Stub {
    /// Subject, version: id and text.
    pub(super) versions: Mutex<BTreeMap<(String, u32), (u32, String)>>,
    levels: Mutex<BTreeMap<String, String>>,
    pub(super) verdict: Mutex<Option<Value>>,
    fault: Mutex<Option<Fault>>,
    calls: AtomicUsize,
}

impl Stub {
    pub(super) fn add(&self, subject: &str, version: u32, id: u32, text: &str) {
        let mut versions = self.versions.lock().expect("no test panics here");
        versions.insert((subject.to_owned(), version), (id, text.to_owned()));
    }

    pub(super) fn fail(&self, fault: Option<Fault>) {
        *self.fault.lock().expect("no test panics here") = fault;
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::Relaxed)
    }

    fn answer(&self, method: &Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let error = |status, code, message: &str| {
            (status, json!({ "error_code": code, "message": message }))
        };
        let not_found = |code| error(StatusCode::NOT_FOUND, code, "not found");
        let mut versions = self.versions.lock().expect("no test panics here");
        let mut levels = self.levels.lock().expect("no test panics here");
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let known = |subject: &str| versions.keys().any(|(name, _)| name == subject);
        match (method.as_str(), &parts[..]) {
            ("GET", ["subjects", subject, "versions"]) => {
                let of = versions.keys().filter(|(name, _)| name == subject);
                let of: Vec<_> = of.map(|(_, version)| *version).collect();
                if of.is_empty() {
                    not_found(40401)
                } else {
                    (StatusCode::OK, json!(of))
                }
            }
            ("GET", ["subjects", subject, "versions", version]) => {
                let version = version.parse().expect("a version");
                match versions.get(&((*subject).to_owned(), version)) {
                    Some((id, schema)) => (StatusCode::OK, json!({ "id": id, "schema": schema })),
                    None => not_found(40402),
                }
            }
            ("POST", ["subjects", subject]) if !known(subject) => not_found(40401),
            ("POST", ["subjects", subject]) => {
                let of = versions.iter().filter(|((name, _), _)| name == subject);
                match of
                    .map(|(_, schema)| schema)
                    .find(|(_, text)| body["schema"] == **text)
                {
                    Some((id, _)) => (StatusCode::OK, json!({ "id": id, "version": 1 })),
                    None => not_found(40403),
                }
            }
            ("POST", ["subjects", subject, "versions"]) => {
                let text = body["schema"].as_str().expect("a schema").to_owned();
                if !text.starts_with('{') {
                    return error(StatusCode::UNPROCESSABLE_ENTITY, 42201, "no schema");
                }
                if self.verdict.lock().expect("no test panics here").is_some() {
                    return error(StatusCode::CONFLICT, 409, "incompatible");
                }
                let id = 100 + u32::try_from(versions.len()).expect("small");
                versions.insert(((*subject).to_owned(), 1), (id, text));
                (StatusCode::OK, json!({ "id": id }))
            }
            ("POST", ["compatibility", "subjects", _, "versions"]) => {
                let verdict = self.verdict.lock().expect("no test panics here").clone();
                (
                    StatusCode::OK,
                    verdict.unwrap_or_else(|| json!({ "is_compatible": true })),
                )
            }
            ("GET", ["config", subject]) => match levels.get(*subject) {
                Some(level) => (StatusCode::OK, json!({ "compatibilityLevel": level })),
                None => not_found(40408),
            },
            ("PUT", ["config", subject]) if !known(subject) => not_found(40401),
            ("PUT", ["config", subject]) => {
                let level = body["compatibility"].as_str().expect("a level").to_owned();
                levels.insert((*subject).to_owned(), level);
                (StatusCode::OK, body.clone())
            }
            _ => panic!("{method} {path}"),
        }
    }
}

async fn serve(
    State(stub): State<Arc<Stub>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> (StatusCode, Body) {
    stub.calls.fetch_add(1, Ordering::Relaxed);
    let fault = *stub.fault.lock().expect("no test panics here");
    match fault {
        Some(Fault::Status(status, body)) => {
            (StatusCode::from_u16(status).expect("a status"), body.into())
        }
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::HalfAnAnswer) => (StatusCode::OK, "[1,".into()),
        None => {
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (status, answer) = stub.answer(&method, uri.path(), &body);
            (status, answer.to_string().into())
        }
    }
}

type Body = axum::body::Body;

/// A stub that listens, and its URL.
pub(super) async fn stub() -> (Arc<Stub>, String) {
    let stub = Arc::new(Stub::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!(
        "http://{}",
        listener.local_addr().expect("it has an address")
    );
    let app = Router::new().fallback(serve).with_state(stub.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (stub, url)
}

pub(super) fn connection(urls: &[&str]) -> Connection {
    Connection {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        ..Connection::default()
    }
}

pub(super) fn client(urls: &[&str]) -> Registry {
    confirming(urls, Confirmation::INTERACTIVE)
}

pub(super) fn confirming(urls: &[&str], confirmation: Confirmation) -> Registry {
    Registry::new(&connection(urls), confirmation).expect("the URLs are good")
}

/// The text of schema `id` as soon as a fault is over.
pub(super) async fn healed(registry: &Registry, id: u32) -> String {
    loop {
        match writer(registry, id).await {
            Ok(text) => return text,
            Err(LookupError::NotFound) => panic!("{id} is there"),
            Err(LookupError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

pub(super) async fn writer(registry: &Registry, id: u32) -> Result<String, LookupError> {
    let text = SchemaSource::writer_schema(registry, "match-found-value", id).await;
    text.map(|text| (*text).to_owned())
}
