//! The contract's section 5, as far as probes and errors go.

use std::sync::Mutex;

use axum::http::HeaderMap;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;

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

fn sources(health: Fixed) -> Sources {
    Sources {
        health: Arc::new(health),
        metrics: Metrics::detached(),
    }
}

async fn ask(health: Fixed, method: &str, path: &str) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .expect("a request");
    let answer = router(sources(health))
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
        for path in ["/livez", "/nowhere"] {
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
    for path in ["/", "/nowhere", "/livez/", "/livez/x", "/sessions"] {
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
async fn head_is_get_without_a_body() {
    for path in ["/livez", "/readyz", "/metrics"] {
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
    let served = tokio::spawn(listener.serve(router(sources(Fixed::default())), stop.clone()));

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

const HUGE: usize = 64 << 10;
