//! Probes and views while readers fill every place, on real sockets. Places are few here, so that a
//! test needs few descriptors; `tests/it` fills all of a real worker's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Fixed, exchange, sources, sources_of};
use crate::http::{Listener, router};

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);
const READERS: usize = 24;
const RESERVED: usize = 8;

/// A listener and its end.
struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    async fn new(router: Router, readers: usize, reserved: usize) -> Self {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await;
        let listener = listener.expect("a free port");
        let listener = listener.with_capacity(readers, reserved);
        let address = listener.address();
        let stop = CancellationToken::new();
        let task = tokio::spawn(listener.serve(router, stop.clone()));
        Self {
            address,
            stop,
            task,
        }
    }

    /// A connection that has sent `bytes`.
    async fn sent(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(bytes.as_bytes()).await.expect("it reads");
        stream
    }

    /// The answer to a request on a connection of its own.
    async fn asked(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = exchange(self.address, request.as_bytes());
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        answer.expect("it is answered")
    }

    async fn ends(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("it ends").expect("no panic");
    }
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// Reads an answer whose body is `body`, and leaves the connection open.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(end.as_bytes()) {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await;
        let read = read.expect("it is answered").expect("it stays");
        assert_eq!(
            read,
            1,
            "closed after {:?}",
            String::from_utf8_lossy(&answer)
        );
        answer.extend_from_slice(&byte);
    }
    String::from_utf8(answer).expect("UTF-8")
}

/// A router with a path that is answered when the test says so.
fn with_slow(router: Router) -> (Router, Arc<Semaphore>, Arc<Notify>) {
    let (released, asked) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let (waits, asks) = (Arc::clone(&released), Arc::clone(&asked));
    let slow = move || async move {
        asks.notify_one();
        waits.acquire().await.expect("never closed").forget();
        "at last"
    };
    (router.route("/slow", get(slow)), released, asked)
}

/// A server that takes connections and never says anything.
async fn silence() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            taken.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn contract_5_probes_answer_whatever_readers_do() {
    let large = request("/docs/swagger-ui-bundle.js");
    let crowds = [
        ("say nothing", String::new()),
        ("send half a head", "GET /livez HTTP/1.1\r\nhos".to_owned()),
        ("were answered and stay", request("/livez")),
        ("wait for their answer", request("/slow")),
        ("never read", large.repeat(20)),
        ("send all at once", request("/livez").repeat(400)),
        (
            "send their body slowly",
            "GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nx".to_owned(),
        ),
        ("speak no HTTP", "\u{1}\u{2}\u{3}\r\n\r\n".to_owned()),
    ];
    for (what, bytes) in crowds {
        let (router, _released, _) = with_slow(router(sources(Fixed::default()).await));
        let served = Served::new(router, READERS, RESERVED).await;
        let mut crowd = Vec::new();
        for _ in 0..READERS + 2 * RESERVED {
            crowd.push(served.sent(&bytes).await);
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = served.asked(path).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer:?}");
        }
        drop(crowd);
        served.ends().await;
    }
}

#[tokio::test]
async fn all_who_asked_at_the_same_moment_give_way_once_they_are_idle() {
    let (router, released, _) = with_slow(router(sources(Fixed::default()).await));
    let served = Served::new(router, READERS, RESERVED).await;
    let mut crowd = Vec::new();
    for _ in 0..READERS {
        crowd.push(served.sent(&request("/slow")).await);
    }
    released.add_permits(READERS);
    for reader in &mut crowd {
        read_until(reader, "at last").await;
    }
    // All are idle now. Each new one takes a place, and stays.
    let mut others = Vec::new();
    for _ in 0..READERS {
        let mut other = served.sent(&request("/nothing")).await;
        let answer = read_until(&mut other, "\"}").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
        others.push(other);
    }
    for mut reader in crowd {
        let closed = tokio::time::timeout(PATIENCE, reader.read_u8()).await;
        assert!(closed.expect("it is closed").is_err());
    }
    for mut other in others {
        other
            .write_all(request("/nothing").as_bytes())
            .await
            .expect("it stays");
        read_until(&mut other, "\"}").await;
    }
    served.ends().await;
}

#[tokio::test]
async fn who_comes_while_all_are_busy_is_asked_to_come_back_and_a_probe_is_not() {
    let (router, released, asked) = with_slow(router(sources(Fixed::default()).await));
    let served = Served::new(router, 2, 2).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        busy.push(served.sent(&request("/slow")).await);
        asked.notified().await;
    }
    for _ in 0..3 {
        let answer = served.asked("/sessions/history?userId=ann").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        for part in [
            "retry-after: 1",
            "connection: close",
            "content-type: application/problem+json",
            "\"code\":\"overloaded\"",
        ] {
            assert!(answer.contains(part), "{part}: {answer}");
        }
        let probe = served.asked("/livez").await;
        assert!(probe.starts_with("HTTP/1.1 200"), "{probe}");
        assert!(probe.contains("connection: close"), "{probe}");
    }
    // Accepted while all were busy, and read when one is idle.
    let mut waits = served.sent("GET /nothing HTTP/1.1\r\n").await;
    let probe = served.asked("/livez").await;
    assert!(probe.starts_with("HTTP/1.1 200"), "{probe}");
    released.add_permits(1);
    let first = tokio::select! {
        _ = busy[0].readable() => 0,
        _ = busy[1].readable() => 1,
    };
    read_until(&mut busy[first], "at last").await;
    waits
        .write_all(b"host: x\r\n\r\n")
        .await
        .expect("it is there");
    let answer = read_until(&mut waits, "\"}").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    released.add_permits(1);
    read_until(&mut busy[1 - first], "at last").await;
    served.ends().await;
}

#[tokio::test]
async fn views_in_flight_are_bounded_and_a_database_that_hangs_holds_up_no_probe() {
    let hangs = silence().await;
    let uri = format!("mongodb://{hangs}/?serverSelectionTimeoutMS=60000");
    let router = router(sources_of(Fixed::default(), &uri).await);
    let served = Served::new(router, 200, RESERVED).await;
    let mut blocked = Vec::new();
    for _ in 0..100 {
        blocked.push(served.sent(&request("/sessions/history?userId=ann")).await);
    }
    let probe = served.asked("/livez").await;
    assert!(probe.starts_with("HTTP/1.1 200"), "{probe}");
    let mut codes = std::collections::BTreeMap::new();
    for view in &mut blocked {
        let answer = read_until(view, "\"}").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("retry-after: 1"), "{answer}");
        let code = answer.split("\"code\":\"").nth(1).expect("a code");
        let code = code.split('"').next().unwrap_or_default().to_owned();
        *codes.entry(code).or_insert(0) += 1;
    }
    let expected = [
        ("overloaded".to_owned(), 36),
        ("unavailable".to_owned(), 64),
    ];
    assert_eq!(codes, expected.into());
    served.ends().await;
}

#[tokio::test]
async fn a_full_listener_ends_once_its_answers_are_given() {
    let (router, released, asked) = with_slow(router(sources(Fixed::default()).await));
    let served = Served::new(router, 4, 2).await;
    let mut busy = served.sent(&request("/slow")).await;
    asked.notified().await;
    let mut crowd = Vec::new();
    for bytes in [
        "",
        "GET /li",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\n",
        "",
    ] {
        crowd.push(served.sent(bytes).await);
    }
    served.asked("/livez").await;
    served.stop.cancel();
    for mut idle in crowd {
        let closed = tokio::time::timeout(PATIENCE, idle.read_u8()).await;
        assert!(closed.expect("it is closed").is_err());
    }
    assert!(!served.task.is_finished(), "an answer is under way");
    released.add_permits(1);
    let answer = read_until(&mut busy, "at last").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    served.ends().await;
}
