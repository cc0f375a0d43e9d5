//! The contract's section 5, as far as it needs no database: what is refused, probes, the document.
//! The views themselves are tested on a real one.

mod crowds;

use std::sync::Mutex;

use axum::http::HeaderMap;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::settings::Settings;
use crate::store::mongo::MongoViews;

#[derive(Default)]
struct Fixed {
    live: Mutex<Vec<Check>>,
    ready: Mutex<Vec<Check>>,
}

impl Health for Fixed {
    fn live(&self) -> Vec<Check> {
        self.live.lock().expect("nobody panics with it").clone()
    }

    fn ready(&self) -> Vec<Check> {
        self.ready.lock().expect("nobody panics with it").clone()
    }
}

/// A listener's sources whose database does not answer, with the caller by their own word.
async fn sources(health: Fixed) -> Sources {
    sources_of(health, "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=10").await
}

/// The same of another database.
async fn sources_of(health: Fixed, uri: &str) -> Sources {
    sources_with(health, uri, &Settings::default()).await
}

async fn sources_with(health: Fixed, uri: &str, settings: &Settings) -> Sources {
    let views = MongoViews::open(uri, "none").await;
    let auth = &settings.http.auth;
    let readers = Readers::new(views.expect("a good URI"), auth, &settings.rules);
    let readers = readers.expect("mode none needs nothing");
    Sources::new(
        Arc::new(health),
        Metrics::detached(),
        readers,
        &settings.http,
    )
}

async fn ask(health: Fixed, method: &str, path: &str) -> (StatusCode, HeaderMap, String) {
    ask_router(router(sources(health).await), method, path).await
}

async fn ask_router(router: Router, method: &str, path: &str) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .expect("a request");
    let answer = router
        .oneshot(request)
        .await
        .expect("the router never fails");
    let (head, body) = answer.into_parts();
    let body = body
        .collect()
        .await
        .expect("the body is in memory")
        .to_bytes();
    (
        head.status,
        head.headers,
        String::from_utf8(body.to_vec()).expect("bodies are UTF-8"),
    )
}

#[tokio::test]
async fn contract_5_any_method_but_get_and_head_is_405() {
    for method in [
        "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW",
    ] {
        for path in ["/livez", "/nowhere", "/sessions/history", "/docs"] {
            let (status, headers, body) = ask(Fixed::default(), method, path).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!(headers[header::ALLOW], "GET, HEAD");
            let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(problem["code"], "method_not_allowed");
            assert_eq!(problem["status"], 405);
        }
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_404_problem() {
    for path in [
        "/",
        "/nowhere",
        "/livez/",
        "/livez/x",
        "/sessions/",
        "/users/ann",
        "/docs/x.html",
    ] {
        let (status, headers, body) = ask(Fixed::default(), "GET", path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            problem,
            serde_json::json!({
                "type": "about:blank", "title": "Not Found", "status": 404, "code": "not_found",
                "detail": "there is nothing at this path",
            })
        );
    }
}

#[tokio::test]
async fn probes_name_their_checks() {
    for path in ["/livez", "/readyz"] {
        let checks = || {
            vec![
                Check::pass("clock"),
                Check::fail("lanes", "2 of 16 are held"),
            ]
        };
        let health = Fixed {
            live: Mutex::new(checks()),
            ready: Mutex::new(checks()),
        };
        let (status, headers, body) = ask(health, "GET", path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            body,
            serde_json::json!({"status": "fail", "checks": {
                "clock": {"status": "pass"},
                "lanes": {"status": "fail", "detail": "2 of 16 are held"},
            }})
        );
        let health = Fixed {
            live: Mutex::default(),
            ready: Mutex::new(vec![Check::pass("clock")]),
        };
        assert_eq!(ask(health, "GET", path).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_failing_readiness_leaves_liveness_alone() {
    let failing = || Fixed {
        live: Mutex::default(),
        ready: Mutex::new(vec![Check::fail("draining", "stops")]),
    };
    assert_eq!(ask(failing(), "GET", "/livez").await.0, StatusCode::OK);
    assert_eq!(
        ask(failing(), "GET", "/readyz").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn contract_5_a_readiness_for_reads_is_of_the_database_and_the_drain_alone() {
    let health = Fixed {
        live: Mutex::default(),
        ready: Mutex::new(vec![
            Check::fail("brokers", "no broker is connected"),
            Check::pass("draining"),
        ]),
    };
    for (path, status) in [
        ("/readyz?for=", 200),
        ("/readyz?for=writes", 400),
        ("/readyz?four=reads", 400),
        ("/readyz?for=reads&for=reads", 400),
    ] {
        let (answered, ..) = ask(Fixed::default(), "GET", path).await;
        assert_eq!(answered.as_u16(), status, "{path}");
    }
    let (status, _, body) = ask(health, "GET", "/readyz?for=reads").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        body,
        serde_json::json!({"status": "fail", "checks": {
            "database": {"status": "fail", "detail": "no read has been tried yet"},
            "draining": {"status": "pass"},
        }})
    );
}

#[tokio::test]
async fn contract_5_with_a_listener_of_their_own_probes_are_there_and_nowhere_else() {
    let mut settings = Settings::default();
    settings.http.ops_listen = Some(([127, 0, 0, 1], 0).into());
    let nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=10";
    let sources = sources_with(Fixed::default(), nowhere, &settings).await;
    for (path, of_reads, of_ops) in [
        ("/livez", 404, 200),
        ("/readyz", 404, 200),
        ("/readyz?for=reads", 404, 503),
        ("/metrics", 404, 200),
        ("/openapi.json", 200, 404),
        ("/docs", 200, 404),
        ("/sessions/history", 401, 404),
        ("/console", 404, 404),
    ] {
        let reads = ask_router(router(sources.clone()), "GET", path).await;
        let ops = ask_router(ops_router(sources.clone()), "GET", path).await;
        let answered = (reads.0.as_u16(), ops.0.as_u16());
        assert_eq!(answered, (of_reads, of_ops), "{path}");
    }
    let (_, _, document) = ask_router(router(sources), "GET", "/openapi.json").await;
    assert!(!document.contains("/readyz"), "{document}");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    for path in ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs"] {
        let (status, headers, body) = ask(Fixed::default(), "HEAD", path).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""), "{path}");
        assert!(headers.contains_key(header::CONTENT_TYPE), "{path}");
    }
}

#[tokio::test]
async fn contract_5_metrics_are_the_workers_in_prometheus_text() {
    let (status, headers, _) = ask(Fixed::default(), "GET", "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        headers[header::CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
}

fn code(body: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(body).expect("a problem is JSON");
    problem["code"]
        .as_str()
        .expect("a problem has a code")
        .to_owned()
}

#[tokio::test]
async fn contract_5_whoever_does_not_say_who_they_are_is_refused_before_anything_else() {
    let paths = [
        "/sessions/history?limit=0&nonsense=1",
        "/sessions/current",
        "/sessions/s-1",
        "/sessions/s-1/participants",
        "/sessions?status=waiting",
        "/users/ann/limits",
    ];
    for path in paths {
        let (status, headers, body) = ask(Fixed::default(), "GET", path).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(code(&body), "unauthorized");
        assert!(headers.contains_key(header::WWW_AUTHENTICATE), "{path}");
    }
}

#[tokio::test]
async fn contract_5_bad_parameters_are_400_and_too_much_is_not_even_read() {
    let long = format!(
        "/sessions/history?userId=ann&cursor={}",
        "x".repeat(URI_BYTES)
    );
    let cases = [
        (
            "/sessions/history?userId=ann&limit=0",
            400,
            "invalid_argument",
        ),
        (
            "/sessions/history?userId=ann&userId=bob",
            400,
            "invalid_argument",
        ),
        (
            "/sessions/history?userId=ann&status=over",
            400,
            "invalid_argument",
        ),
        (
            "/sessions/history?userId=ann&page=2",
            400,
            "invalid_argument",
        ),
        (
            "/sessions/history?userId=ann&cursor=%C3%28",
            400,
            "invalid_argument",
        ),
        ("/sessions/history?userId=", 401, "unauthorized"),
        (
            "/sessions/current?userId=ann&limit=5",
            400,
            "invalid_argument",
        ),
        ("/sessions/%00?userId=ann", 404, "session_not_found"),
        ("/sessions/%FF?userId=ann", 404, "session_not_found"),
        ("/sessions?userId=ann&status=waiting", 403, "forbidden"),
        ("/users/bob/limits?userId=ann", 403, "forbidden"),
        ("/users/%FF/limits?userId=ann", 403, "forbidden"),
        ("/users/%zz/limits?userId=ann", 404, "not_found"),
        ("/sessions/history?userId=%zz", 400, "invalid_argument"),
        (&long, 414, "uri_too_long"),
    ];
    for (path, status, expected) in cases {
        let (answered, headers, body) = ask(Fixed::default(), "GET", path).await;
        assert_eq!(
            (answered.as_u16(), code(&body).as_str()),
            (status, expected),
            "{path}"
        );
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    }
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_a_503_and_nobody_is_told_more() {
    for path in [
        "/sessions/history?userId=ann",
        "/sessions/current?userId=ann",
        "/sessions/s-1?userId=ann",
        "/sessions/s-1/participants?userId=ann",
        "/users/ann/limits?userId=ann",
    ] {
        let (status, headers, body) = ask(Fixed::default(), "GET", path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(headers[header::RETRY_AFTER], "1");
        assert_eq!(code(&body), "unavailable");
        assert!(!body.contains("127.0.0.1"), "{body}");
    }
}

#[tokio::test]
async fn contract_5_every_documented_path_is_there_and_every_view_is_documented() {
    let (status, headers, body) = ask(Fixed::default(), "GET", "/openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    let document: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    let known: Vec<_> = paths.keys().map(String::as_str).collect();
    assert_eq!(
        known,
        [
            "/docs",
            "/livez",
            "/metrics",
            "/openapi.json",
            "/readyz",
            "/sessions",
            "/sessions/current",
            "/sessions/history",
            "/sessions/{id}",
            "/sessions/{id}/participants",
            "/users/{userId}/limits",
        ]
    );
    for (path, item) in paths {
        let plain = path.replace(['{', '}'], "");
        let (status, _, body) = ask(Fixed::default(), "GET", &plain).await;
        assert!(status != StatusCode::NOT_FOUND, "{path}: {body}");
        let is_open = item["get"]["security"].is_null();
        assert_eq!(is_open, status != StatusCode::UNAUTHORIZED, "{path}");
    }
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(
        schemes.as_object().map(|schemes| schemes.len()),
        Some(1),
        "a listener names only the way in which it knows callers: {schemes}"
    );
}

#[tokio::test]
async fn contract_5_the_page_of_the_document_needs_nothing_from_elsewhere() {
    let (status, headers, page) = ask(Fixed::default(), "GET", "/docs").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    assert!(!page.contains("//"), "no other host: {page}");
    let files: Vec<_> = page
        .split('"')
        .filter(|part| part.starts_with("/docs/"))
        .collect();
    assert_eq!(files.len(), 4);
    for file in files {
        let request = Request::get(file).body(Body::empty()).expect("a request");
        let answer = router(sources(Fixed::default()).await)
            .oneshot(request)
            .await;
        let answer = answer.expect("the router never fails");
        assert_eq!(answer.status(), StatusCode::OK, "{file}");
        let body = answer.into_body().collect().await.expect("in memory");
        assert!(!body.to_bytes().is_empty(), "{file}");
    }
}

#[tokio::test]
async fn headers_beyond_their_bound_are_refused_in_words() {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await;
    let listener = listener.expect("a free port");
    let address = listener.address();
    let stop = CancellationToken::new();
    let router = router(sources(Fixed::default()).await);
    let served = tokio::spawn(listener.serve(router, stop.clone()));
    let large = format!("a: {}\r\n", "x".repeat(HEADER_BYTES));
    let many = "a: b\r\n".repeat(HEADER_COUNT);
    for headers in [large, many] {
        let request =
            format!("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        let answer = exchange(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(answer.contains("headers_too_large"), "{answer}");
    }
    stop.cancel();
    served.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_stuck_after_30_seconds_without_a_beat() {
    let beats = Heartbeats::default();
    beats.beat("poll");
    beats.beat("clock");
    tokio::time::advance(Duration::from_secs(30)).await;
    beats.beat("clock");
    assert_eq!(beats.checks(), [Check::pass("clock"), Check::pass("poll")]);
    tokio::time::advance(Duration::from_secs(1)).await;
    let stuck = Check::fail("poll", "has not gone round for 31 s");
    assert_eq!(beats.checks(), [Check::pass("clock"), stuck]);
    beats.end("poll");
    assert_eq!(beats.checks(), [Check::pass("clock")]);
}

async fn exchange(address: std::net::SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the listener is up");
    stream.write_all(request).await.expect("the listener reads");
    let mut answer = Vec::new();
    // A refusal may come as a reset after the answer.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_listener_answers_bounds_heads_and_ends() {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port");
    let address = listener.address();
    let stop = CancellationToken::new();
    let served =
        tokio::spawn(listener.serve(router(sources(Fixed::default()).await), stop.clone()));

    let taken = Listener::bind(address)
        .await
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(
        taken.ends_with("set http.listen to another address"),
        "{taken}"
    );

    let answer = exchange(
        address,
        b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    let huge = format!(
        "GET /livez HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n",
        "x".repeat(HUGE)
    );
    let answer = exchange(address, huge.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
        "{answer}"
    );

    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), served)
        .await
        .expect("it ends")
        .expect("no panic");
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

const HUGE: usize = 128 << 10;
