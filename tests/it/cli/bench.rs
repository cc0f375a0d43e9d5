//! `bench` on the real parts: it measures what it says, and leaves nothing behind.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::services;
use crate::worker::deployment::{Deployment, Parts};

/// One run at a time: what another has made is not left behind.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What the brokers and the database have that a run may have made.
async fn left_behind() -> (Vec<String>, Vec<String>) {
    let client = mongodb::Client::with_uri_str(services::mongo_uri()).await;
    let databases = client.expect("a client").list_database_names().await;
    let brokers = services::kafka();
    let topics = tokio::task::spawn_blocking(move || {
        use rdkafka::consumer::Consumer as _;
        let consumer: rdkafka::consumer::BaseConsumer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .create()
            .expect("a client");
        let metadata = consumer
            .fetch_metadata(None, std::time::Duration::from_secs(15))
            .expect("the broker answers");
        let names = metadata
            .topics()
            .iter()
            .map(|topic| topic.name().to_owned());
        names.collect::<Vec<_>>()
    });
    let is_ours = |name: &String| name.starts_with("bench-");
    (
        topics
            .await
            .expect("no panic")
            .into_iter()
            .filter(is_ours)
            .collect(),
        databases
            .expect("names")
            .into_iter()
            .filter(is_ours)
            .collect(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_6_bench_compares_in_one_run_and_removes_what_it_made() {
    let _alone = ALONE.lock().await;
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::named(Parts::shared(), &[]);
    let arguments = [
        "bench",
        "--commands",
        "900",
        "--single",
        "180",
        "--rate",
        "100",
        "--seconds",
        "1",
        "--output",
        "json",
    ];
    let ended = deployment.run(&arguments, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let document = ended
        .text
        .find("\n{")
        .expect("a document behind the progress");
    let report: Value = serde_json::from_str(&ended.text[document..]).expect("JSON");
    // Of 100 sessions, ten guess a code; all else is accepted.
    let accepted = json!({"accepted": 890, "invite_not_found": 10});
    assert_eq!(report["batched"]["results"], accepted, "{report}");
    assert_eq!(report["perMessage"]["results"]["accepted"], 178, "{report}");
    assert_eq!(report["latency"]["commands"], 100, "{report}");
    let rate = |mode: &str| report[mode]["commandsPerSecond"].as_f64().expect("a rate");
    let ratio = report["ratio"].as_f64().expect("a ratio");
    assert!(
        (ratio - rate("batched") / rate("perMessage")).abs() < 1e-6,
        "{report}"
    );
    let waits = ["p50Millis", "p90Millis", "p99Millis", "maxMillis"]
        .map(|name| report["latency"][name].as_u64().expect("milliseconds"));
    assert!(waits.is_sorted(), "{report}");

    nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_bench_stops_its_worker_before_it_removes_what_it_made() {
    let _alone = ALONE.lock().await;
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::named(Parts::shared(), &[]);
    // More than is drained before it is interrupted.
    let mut command = deployment.command(&["bench", "--commands", "30000"], &[]);
    let interrupted = tokio::task::spawn_blocking(move || {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let drains = lines.find(|line| line.as_ref().is_ok_and(|line| line.ends_with("drains it")));
        assert!(drains.is_some(), "it never began");
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status();
        assert!(sent.expect("kill runs").success());
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        (child.wait().expect("it ends").code(), rest)
    });
    let (code, rest) = interrupted.await.expect("no panic");
    assert_eq!(code, Some(1), "{rest:?}");
    assert!(
        rest.iter().any(|line| line.contains("interrupted")),
        "{rest:?}"
    );
    nothing_is_left().await;
}

async fn nothing_is_left() {
    // Brokers delete behind the answer.
    for _ in 0..100 {
        if left_behind().await == (Vec::new(), Vec::new()) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("left behind: {:?}", left_behind().await);
}
