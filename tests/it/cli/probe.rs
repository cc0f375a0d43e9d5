//! `probe` as an image's health check calls it: against listeners that answer well, badly, slowly, or
//! not at all. `worker/probe.rs` asks a real worker.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Ended, ended, worker};

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

async fn probe(address: SocketAddr, arguments: &'static [&'static str]) -> Ended {
    let probe = tokio::task::spawn_blocking(move || {
        let mut command = worker(&["probe", "--http-listen", &address.to_string()]);
        ended(command.args(arguments))
    });
    probe.await.expect("the process was waited for")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_alive_and_not_ready_fails_only_the_one_probe() {
    let (listener, address) = listener().await;
    let unready = r#"{"status":"fail","checks":{"clock":{"status":"fail","detail":"is late"}}}"#;
    let router = Router::new()
        .route("/livez", get(|| async { r#"{"status":"pass"}"# }))
        .route(
            "/readyz",
            get(move || async move { (StatusCode::SERVICE_UNAVAILABLE, unready) }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await });
    for (arguments, code, out) in [
        (&["--live"][..], 0, "/livez: ok\n"),
        (&["--ready"][..], 1, "/readyz: clock: is late\n"),
        (&[][..], 1, "/readyz: clock: is late\n"),
    ] {
        let ended = probe(address, arguments).await;
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (Some(code), out),
            "{ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_answer_as_a_worker_is_named_with_what_to_do() {
    let (silent, silent_at) = listener().await;
    // Bound and never accepted from: the kernel takes the connection, nobody answers.
    let (gone, gone_at) = listener().await;
    drop(gone);
    let (stranger, stranger_at) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = stranger.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail\r\n").await;
        }
    });
    for (address, word) in [
        (silent_at, "no answer within"),
        (gone_at, "refused"),
        (stranger_at, "cannot ask"),
    ] {
        let ended = probe(address, &["--ready"]).await;
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (Some(1), ""),
            "{word}: {ended:?}"
        );
        assert!(
            ended.err.contains(word) && ended.err.contains("http.listen"),
            "{word}: {ended:?}"
        );
    }
    drop(silent);
}
