//! Probes of a real worker: as the image's health check asks, on a listener of their own, and while
//! readers fill every connection and every view there may be.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::unique;
use super::deployment::{Deployment, PATIENCE, Parts, Worker};
use crate::services;

/// Connections of a listener's readers, and some of those that are reserved.
const CROWD: usize = 512 + 64;

#[tokio::test(flavor = "multi_thread")]
async fn probe_ends_with_0_while_the_worker_is_well_and_with_1_once_it_is_gone() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let worker = deployment.worker(&[]).await;
    let listen = format!("http.listen={}", worker.address());
    for target in ["--ready", "--live"] {
        let ended = deployment.run(&["probe", target], &[&listen]).await;
        assert_eq!(ended.code, Some(0), "{target}: {}", ended.text);
    }
    worker.kill().await;
    let ended = deployment.run(&["probe", "--live"], &[&listen]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(ended.text.contains("start the worker"), "{}", ended.text);
}

/// Status and body of an answer on a connection of its own.
async fn ask(address: &str, path: &str) -> (u16, String) {
    ask_with(address, path, "").await
}

async fn ask_with(address: &str, path: &str, headers: &str) -> (u16, String) {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    let answer = answer.unwrap_or_else(|_| panic!("{path} is not answered"));
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    (status.unwrap_or_default(), body.to_owned())
}

/// Waits until `path` answers `status`.
async fn answers(address: &str, path: &str, status: u16) -> String {
    let began = Instant::now();
    loop {
        let (answered, body) = ask(address, path).await;
        if answered == status {
            return body;
        }
        assert!(began.elapsed() < PATIENCE, "{path}: {answered}: {body}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Connections that have sent `bytes`, all at the same moment.
async fn crowd(worker: &Worker, bytes: &str) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let stream = TcpStream::connect(worker.address()).await;
        crowd.push(stream.expect("it listens"));
    }
    for stream in &mut crowd {
        // Those that came too late may be closed already.
        let _ = stream.write_all(bytes.as_bytes()).await;
    }
    crowd
}

async fn is_well(worker: &Worker) {
    for path in ["/livez", "/readyz", "/metrics"] {
        let (status, body) = ask(worker.address(), path).await;
        assert_eq!(status, 200, "{path}: {body}");
    }
}

/// Reads one answer, whose body has a length; 0: the connection was closed instead.
async fn status(stream: &mut TcpStream) -> u16 {
    let read = async {
        let mut answer = Vec::new();
        let mut some = [0; 4_096];
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.split("content-length: ").nth(1).expect("a length");
                let length: usize = length
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .parse()
                    .expect("it");
                if body.len() >= length {
                    let status = head.split(' ').nth(1).expect("a status");
                    return status.parse().expect("a number");
                }
            }
            match stream.read(&mut some).await {
                Ok(0) | Err(_) => return 0,
                Ok(read) => answer.extend_from_slice(&some[..read]),
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE, read).await;
    read.expect("it is answered")
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_probes_and_readers_are_answered_beside_crowds_that_hold_every_connection() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let worker = deployment.worker(&[]).await;
    let history = format!("/sessions/history?userId={}", unique("ann"));
    let whole = format!("GET {history} HTTP/1.1\r\nhost: x\r\n\r\n");
    let slow_body = whole.replace("\r\n\r\n", "\r\ncontent-length: 9999\r\n\r\nx");

    // All ask at the same moment, then are idle, and the next ones come.
    let mut asked = crowd(&worker, &whole).await;
    is_well(&worker).await;
    let mut answered = 0;
    for stream in &mut asked {
        let status = status(stream).await;
        assert!([200, 503, 0].contains(&status), "{status}");
        answered += usize::from(status == 200);
    }
    assert!(answered > 0);
    is_well(&worker).await;
    answers(worker.address(), &history, 200).await;

    for bytes in ["", "GET /livez HTTP/1.1\r\nho", slow_body.as_str()] {
        let crowd = crowd(&worker, bytes).await;
        is_well(&worker).await;
        answers(worker.address(), &history, 200).await;
        drop(crowd);
    }
    let _never_read = crowd(&worker, &whole.repeat(50)).await;
    let _idle = crowd(&worker, "").await;
    is_well(&worker).await;
    // Full, it ends as it should.
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_strangers_who_wait_for_keys_that_never_come_hold_up_no_probe() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let provider = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = provider.local_addr().expect("it is bound");
    let keys = format!("http.auth.jwksUrl=http://{address}/keys");
    let worker = deployment.worker(&["http.auth.mode=jwt", &keys]).await;
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"any"}"#);
    let bearer = format!("authorization: Bearer {head}.e30.AA\r\n");
    let asks = format!("GET /sessions/current HTTP/1.1\r\nhost: x\r\n{bearer}\r\n");
    for _ in 0..2 {
        let mut strangers = crowd(&worker, &asks).await;
        is_well(&worker).await;
        let (status_of_another, _) = ask(worker.address(), "/sessions/current").await;
        assert!([401, 503].contains(&status_of_another));
        for stranger in &mut strangers {
            let status = status(stranger).await;
            assert!([503, 0].contains(&status), "{status}");
        }
    }
    answers(worker.address(), "/sessions/current", 401).await;
}

async fn fail_point(mode: &str) {
    let client = Client::with_uri_str(services::mongo_uri()).await;
    let data = doc! {
        "failCommands": ["find"],
        "appName": "session-worker-http",
        "blockConnection": true,
        "blockTimeMS": 60_000,
    };
    let mut command = doc! { "configureFailPoint": "failCommand", "mode": mode };
    if mode != "off" {
        command.insert("data", data);
    }
    let admin = client.expect("a good URI").database("admin");
    let done: Result<Document, _> = admin.run_command(command).await;
    done.expect("the server takes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_views_that_hang_in_the_database_hold_up_no_probe_and_end_with_it() {
    let _disturbing = services::disturbing().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let worker = deployment.worker(&[]).await;
    let history = format!("/sessions/history?userId={}", unique("ann"));
    let reads = "/readyz?for=reads";
    answers(worker.address(), reads, 200).await;
    fail_point("alwaysOn").await;
    let mut views = crowd(
        &worker,
        &format!("GET {history} HTTP/1.1\r\nhost: x\r\n\r\n"),
    )
    .await;
    is_well(&worker).await;
    let (status_of_another, body) = ask(worker.address(), &history).await;
    assert_eq!(status_of_another, 503, "{body}");
    for view in &mut views {
        let status = status(view).await;
        assert!([503, 0].contains(&status), "{status}");
    }
    let body = answers(worker.address(), reads, 503).await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["checks"]["database"]["status"], "fail");
    is_well(&worker).await;
    fail_point("off").await;
    answers(worker.address(), &history, 200).await;
    let body = answers(worker.address(), reads, 200).await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let passes = json!({"status": "pass"});
    let checks = json!({"database": passes, "draining": passes});
    assert_eq!(body, json!({"status": "pass", "checks": checks}));
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_probes_are_served_on_http_ops_listen_and_only_there() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let ops = "http.opsListen=127.0.0.1:0";
    let worker = deployment.unready_worker(&[ops]).await;
    let lines = worker.output();
    let ops = lines.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let address = line["address"].as_str()?.to_owned();
        (line["message"] == "listening for probes").then_some(address)
    });
    let ops = ops.expect("it says where");
    for path in ["/readyz", "/readyz?for=reads", "/livez", "/metrics"] {
        answers(&ops, path, 200).await;
        assert_eq!(ask(worker.address(), path).await.0, 404, "{path}");
    }
    let history = format!("/sessions/history?userId={}", unique("ann"));
    answers(worker.address(), &history, 200).await;
    assert_eq!(ask(&ops, &history).await.0, 404);
    let settings = [
        format!("http.opsListen={ops}"),
        format!("http.listen={}", worker.address()),
    ];
    let settings = settings.each_ref().map(String::as_str);
    let ended = deployment.run(&["probe"], &settings).await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    worker.stop().await;
}
