//! SIGTERM in every phase: one drains, a second ends the process at once (contract 6).

use std::io::Write as _;
use std::net::TcpStream;

use super::deployment::{Deployment, Parts};
use crate::services;

/// A reader that asks for more than fits between the two, and never reads it.
fn slow_reader(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nonblocking(true).expect("a socket");
    let request = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..1_000 {
        // A full buffer is what is wanted.
        if stream.write(request.as_bytes()).is_err() {
            break;
        }
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_a_second_signal_ends_the_worker_while_an_answer_is_slow() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let mut command = deployment.command(&["run"], &["http.listen=127.0.0.1:0"]);
    command.env_remove("RUST_LOG");
    let worker = Deployment::started(command).await;
    worker.readiness(200).await;
    let slow = slow_reader(worker.address());
    worker.signal("-TERM");
    worker.says("answers under way may finish").await;
    worker.signal("-TERM");
    let ended = worker.ended().await;
    drop(slow);
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.text.contains("second signal"), "{}", ended.text);
    assert!(!ended.text.contains("\"stopped\""), "{}", ended.text);
    // Without RUST_LOG, the scheduler of jobs says nothing that the jobs do not.
    assert!(!ended.text.contains("cron"), "{}", ended.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_worker_whose_start_waits() {
    let nowhere = Parts {
        kafka: "127.0.0.1:1".to_owned(),
        registry: "http://127.0.0.1:1".to_owned(),
        mongo: "mongodb://127.0.0.1:1/?replicaSet=rs0".to_owned(),
    };
    let deployment = Deployment::named(nowhere, &[]);
    let worker = deployment.unready_worker(&[]).await;
    worker.says("the start waits").await;
    worker.signal("-TERM");
    let ended = worker.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
}
