//! The registry's client against a stub of the API that fails as it is told: a real registry cannot
//! be made to answer 500, 429 or nothing at will. Its answers are those that Apicurio 2.6 and
//! Confluent's registry give.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::record::TopicNames;
use crate::wire::registry::RegistryError;
use crate::wire::*;

/// What a registry may do instead of answering.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Status(u16, &'static str),
    Silence,
    HalfAnAnswer,
}

#[derive(Default)]
struct Stub {
    /// Subject, version: id and text.
    versions: Mutex<BTreeMap<(String, u32), (u32, String)>>,
    levels: Mutex<BTreeMap<String, String>>,
    verdict: Mutex<Option<Value>>,
    fault: Mutex<Option<Fault>>,
    calls: AtomicUsize,
}

impl Stub {
    fn add(&self, subject: &str, version: u32, id: u32, text: &str) {
        let mut versions = self.versions.lock().expect("no test panics here");
        versions.insert((subject.to_owned(), version), (id, text.to_owned()));
    }

    fn fail(&self, fault: Option<Fault>) {
        *self.fault.lock().expect("no test panics here") = fault;
    }

    fn calls(&self) -> usize {
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
async fn stub() -> (Arc<Stub>, String) {
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

fn client(urls: &[&str]) -> Registry {
    let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
    Registry::new(&urls).expect("the URLs are good")
}

async fn writer(registry: &Registry, id: u32) -> Result<String, LookupError> {
    let text = SchemaSource::writer_schema(registry, "match-found-value", id).await;
    text.map(|text| (*text).to_owned())
}

#[tokio::test]
async fn an_id_is_found_under_its_own_subject_only() {
    let (stub, url) = stub().await;
    stub.add("match-found-value", 1, 5, "one");
    stub.add("match-found-value", 3, 9, "two");
    stub.add("session-command-value", 1, 6, "three");
    let registry = client(&[&url]);
    assert_eq!(writer(&registry, 5).await.as_deref(), Ok("one"));
    assert_eq!(stub.calls(), 3, "one list, two versions");
    assert_eq!(writer(&registry, 9).await.as_deref(), Ok("two"));
    assert_eq!(stub.calls(), 0);
    assert_eq!(writer(&registry, 6).await, Err(LookupError::NotFound));
    assert_eq!(
        writer(&registry, u32::MAX).await,
        Err(LookupError::NotFound)
    );
    let elsewhere = SchemaSource::writer_schema(&registry, "nowhere-value", 5).await;
    assert_eq!(elsewhere, Err(LookupError::NotFound));
}

#[tokio::test]
async fn a_schema_registered_a_moment_ago_is_found() {
    let (stub, url) = stub().await;
    let registry = client(&[&url]);
    assert_eq!(writer(&registry, 5).await, Err(LookupError::NotFound));
    stub.add("match-found-value", 1, 5, "one");
    assert_eq!(writer(&registry, 5).await.as_deref(), Ok("one"));
    stub.add("match-found-value", 2, 6, "two");
    assert_eq!(writer(&registry, 6).await.as_deref(), Ok("two"));
}

#[tokio::test]
async fn a_thousand_unknown_ids_at_once_cost_a_call_or_two() {
    let (stub, url) = stub().await;
    stub.add("match-found-value", 1, 5, "one");
    let registry = client(&[&url]);
    assert!(writer(&registry, 5).await.is_ok());
    stub.calls();
    let asked = futures::future::join_all((1000..2000).map(|id| writer(&registry, id))).await;
    assert!(
        asked
            .iter()
            .all(|answer| *answer == Err(LookupError::NotFound))
    );
    let calls = stub.calls();
    assert!(calls <= 3, "{calls} calls");
}

#[tokio::test]
async fn whatever_is_not_a_clear_no_is_unavailable_and_forgotten_once_it_is_over() {
    let not_found = r#"{"error_code":40401,"message":"Subject not found"}"#;
    let (stub, url) = stub().await;
    stub.add("match-found-value", 1, 5, "one");
    for fault in [
        Fault::Status(500, ""),
        Fault::Status(500, r#"{"error_code":50001,"message":"store"}"#),
        Fault::Status(500, not_found),
        Fault::Status(502, "<html>"),
        Fault::Status(503, ""),
        Fault::Status(504, ""),
        Fault::Status(429, r#"{"error_code":42901,"message":"slow down"}"#),
        Fault::Status(401, r#"{"error_code":40101,"message":"who are you"}"#),
        Fault::Status(403, r#"{"error_code":40301,"message":"you may not"}"#),
        Fault::Status(404, ""),
        Fault::Status(404, "<html>no such page</html>"),
        Fault::Status(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#),
        Fault::Status(
            404,
            r#"{"error_code":0,"message":"Could not find resource"}"#,
        ),
        Fault::Status(200, "<html>log in</html>"),
        Fault::Status(200, r#"{"versions":[]}"#),
        Fault::Status(200, ""),
        Fault::HalfAnAnswer,
    ] {
        let registry = client(&[&url]);
        stub.fail(Some(fault));
        for id in [5, 6] {
            let answer = writer(&registry, id).await;
            assert!(
                matches!(answer, Err(LookupError::Unavailable { .. })),
                "{fault:?}: {answer:?}"
            );
        }
        let lookup = registry.lookup("match-found-value", "one").await;
        assert!(
            matches!(lookup, Err(LookupError::Unavailable { .. })),
            "{fault:?}: {lookup:?}"
        );
        stub.fail(None);
        assert_eq!(
            writer(&registry, 5).await.as_deref(),
            Ok("one"),
            "{fault:?}"
        );
        assert_eq!(
            writer(&registry, 6).await,
            Err(LookupError::NotFound),
            "{fault:?}"
        );
        assert_eq!(
            registry.lookup("match-found-value", "one").await,
            Ok(5),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_silent_registry_is_unavailable_after_2_s_for_all_who_wait() {
    let (stub, url) = stub().await;
    stub.add("match-found-value", 1, 5, "one");
    stub.fail(Some(Fault::Silence));
    let registry = client(&[&url]);
    let start = Instant::now();
    let asked = futures::future::join_all((0..50).map(|_| writer(&registry, 5))).await;
    assert!(
        asked
            .iter()
            .all(|answer| matches!(answer, Err(LookupError::Unavailable { .. })))
    );
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    stub.fail(None);
    assert_eq!(writer(&registry, 5).await.as_deref(), Ok("one"));
}

#[tokio::test]
async fn the_next_url_answers_for_one_that_fails() {
    let (broken, first) = stub().await;
    let (stub, second) = stub().await;
    broken.fail(Some(Fault::Status(503, "")));
    stub.add("match-found-value", 1, 5, "one");
    let nobody = "http://127.0.0.1:1";
    let registry = client(&[nobody, &first, &format!("{second}/")]);
    assert_eq!(writer(&registry, 5).await.as_deref(), Ok("one"));
    assert_eq!(registry.lookup("match-found-value", "one").await, Ok(5));
    let registry = client(&[nobody, &first]);
    let answer = writer(&registry, 5).await;
    assert!(
        matches!(answer, Err(LookupError::Unavailable { .. })),
        "{answer:?}"
    );
}

#[test]
fn a_url_that_is_none_is_refused() {
    for urls in [
        &[][..],
        &[""],
        &["127.0.0.1:8081"],
        &["ftp://host"],
        &["http://"],
    ] {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        assert!(
            matches!(Registry::new(&urls), Err(RegistryError::Refused { .. })),
            "{urls:?}"
        );
    }
}

#[tokio::test]
async fn a_fault_never_shows_the_urls_credentials() {
    let registry = client(&["http://someone:HUSH@127.0.0.1:1"]);
    let subjects = subjects(&TopicNames::default());
    for said in [
        format!("{:?}", writer(&registry, 5).await),
        format!("{:?}", registry.lookup("match-found-value", "one").await),
        format!("{:?}", registry.check_all(&subjects).await),
        format!("{:?}", registry.register_all(&subjects).await),
    ] {
        assert!(
            said.contains("Unavailable") && !said.contains("HUSH"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn registering_all_registers_the_raw_texts_under_their_levels_and_may_be_repeated() {
    let (stub, url) = stub().await;
    let registry = client(&[&url]);
    let subjects = subjects(&TopicNames::default());
    let checks = registry.check_all(&subjects).await.expect("it answers");
    assert!(
        checks
            .iter()
            .all(|check| check.id.is_none() && !check.is_settled())
    );
    assert_eq!(
        registry.output_ids(&subjects).await,
        Err(LookupError::NotFound)
    );

    let first = registry
        .register_all(&subjects)
        .await
        .expect("it registers");
    let texts: Vec<_> = {
        let versions = stub.versions.lock().expect("no test panics here");
        versions
            .iter()
            .map(|((name, _), (_, text))| (name.clone(), text.clone()))
            .collect()
    };
    for subject in &subjects {
        assert!(texts.contains(&(subject.name.clone(), subject.text.to_owned())));
    }
    let checks = registry.check_all(&subjects).await.expect("it answers");
    assert!(
        checks.iter().all(registry::SubjectCheck::is_settled),
        "{checks:?}"
    );
    let ids = registry
        .output_ids(&subjects)
        .await
        .expect("they are registered");
    assert_eq!(
        (ids.command, ids.event, ids.result),
        (first[1].id, first[2].id, first[3].id)
    );
}

#[tokio::test]
async fn an_incompatible_schema_is_refused_with_the_registrys_reasons() {
    let (stub, url) = stub().await;
    let registry = client(&[&url]);
    let confluent = json!({ "is_compatible": false, "messages": ["{a}", "{b}"] });
    let apicurio = json!({ "is_compatible": false, "reason": "why" });
    let bare = json!({ "is_compatible": false });
    for (verdict, expected) in [
        (confluent, &["{a}", "{b}"][..]),
        (apicurio, &["why"]),
        (bare, &["the registry gives no reason"]),
    ] {
        *stub.verdict.lock().expect("no test panics here") = Some(verdict);
        let reasons = registry
            .compatibility("session-event-value", SESSION_EVENT)
            .await;
        assert_eq!(reasons.expect("it answers"), expected);
        let registered = registry
            .register("session-event-value", SESSION_EVENT)
            .await;
        assert_eq!(
            registered,
            Err(RegistryError::Refused {
                reason: "incompatible".to_owned()
            })
        );
    }
    let registered = registry.register("session-event-value", "nonsense").await;
    assert_eq!(
        registered,
        Err(RegistryError::Refused {
            reason: "no schema".to_owned()
        })
    );
}
