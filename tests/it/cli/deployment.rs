//! From nothing to a deployment that can run: `check` says what is missing, the commands it names
//! bring it about.

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::{Deployment, ended, worker};
use crate::services;
use crate::worker::deployment::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn what_check_misses_the_commands_it_names_bring_about() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::new();

    let check = deployment.run(&["check"]).await;
    assert_eq!(check.code, Some(1), "{check:?}");
    for word in [
        "session-worker topics apply",
        "session-worker schemas register",
    ] {
        assert!(check.out.contains(word), "{}", check.out);
    }
    assert_eq!(deployment.run(&["topics", "plan"]).await.code, Some(3));
    assert_eq!(deployment.run(&["schemas", "check"]).await.code, Some(3));

    for command in [
        &["topics", "apply"][..],
        &["topics", "plan"][..],
        &["topics", "apply"][..],
        &["schemas", "register"][..],
        &["schemas", "check"][..],
        &["schemas", "register"][..],
        &["check"][..],
    ] {
        let ended = deployment.run(command).await;
        assert_eq!(ended.code, Some(0), "{command:?}: {ended:?}");
    }
    let check = deployment.run(&["check", "--output", "json"]).await;
    let findings: serde_json::Value = serde_json::from_str(&check.out).expect("JSON");
    let verdicts = findings
        .as_array()
        .expect("a list")
        .iter()
        .map(|f| &f["verdict"]);
    assert!(
        verdicts.into_iter().all(|verdict| verdict != "fault"),
        "{findings}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_a_fault_and_apply_takes_the_compaction_back() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::new();
    for command in [["topics", "apply"], ["schemas", "register"]] {
        assert_eq!(deployment.run(&command).await.code, Some(0));
    }
    let topic = deployment.topic("session-event");
    let compacted =
        AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("cleanup.policy", "compact,delete");
    let admin: AdminClient<_> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", services::kafka())
        .create()
        .expect("a client");
    let altered = admin
        .alter_configs([&compacted], &AdminOptions::new())
        .await;
    assert!(altered.expect("it answers")[0].is_ok());
    // Each broker hears of it a moment later.
    let began = std::time::Instant::now();
    while deployment.run(&["topics", "plan"]).await.code != Some(3) {
        assert!(began.elapsed() < PATIENCE, "no broker shows the change");
    }

    let check = deployment.run(&["check"]).await;
    assert_eq!(check.code, Some(1), "{check:?}");
    let faults = check.out.lines().filter(|line| line.starts_with("fault"));
    let faults: Vec<&str> = faults.collect();
    assert_eq!(faults.len(), 1, "{}", check.out);
    for word in [
        topic.as_str(),
        "cleanup.policy",
        "session-worker topics apply",
    ] {
        assert!(faults[0].contains(word), "{word}: {}", check.out);
    }
    for command in [&["topics", "apply"][..], &["topics", "plan"], &["check"]] {
        let ended = deployment.run(command).await;
        assert_eq!(ended.code, Some(0), "{command:?}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b8_what_was_aborted_is_no_lag() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::new();
    assert_eq!(deployment.run(&["topics", "apply"]).await.code, Some(0));
    let topic = deployment.topic("match-found");
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", services::kafka())
        .set("transactional.id", &topic)
        .create()
        .expect("a producer");
    let patience = std::time::Duration::from_secs(30);
    producer.init_transactions(patience).expect("transactions");
    for (partition, commit) in [(3, false), (4, true)] {
        producer.begin_transaction().expect("it begins");
        let record = BaseRecord::<(), str>::to(&topic).partition(partition);
        producer
            .send(record.payload("x"))
            .map_err(|(error, _)| error)
            .expect("it is queued");
        producer.flush(patience).expect("it is written");
        if commit {
            producer.commit_transaction(patience).expect("it commits");
        } else {
            producer.abort_transaction(patience).expect("it aborts");
        }
    }
    let shown = deployment.run(&["lanes", "show", "--output", "json"]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let lanes: Vec<serde_json::Value> = serde_json::from_str(&shown.out).expect("JSON");
    let found = |partition: i32| {
        let lane = format!("{topic}/{partition}");
        let found = lanes.iter().find(|found| found["lane"] == lane);
        let found = found.expect("the lane is shown");
        (found["end"].clone(), found["lag"].clone())
    };
    // A record and its marker; what was committed waits with its marker, as the metric counts it.
    assert_eq!(found(3), (2.into(), 0.into()));
    assert_eq!(found(4), (2.into(), 2.into()));
    assert_eq!(found(5), (0.into(), 0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_down_is_named_at_once() {
    let check = tokio::task::spawn_blocking(|| {
        ended(&mut worker(&[
            "check",
            "--kafka-brokers=127.0.0.1:1",
            "--registry-urls=http://127.0.0.1:1",
            "--mongo-uri=mongodb://app:canary@127.0.0.1:1/?replicaSet=rs0",
        ]))
    });
    let check = check.await.expect("the process was waited for");
    assert_eq!(check.code, Some(1), "{check:?}");
    let faults = check.out.lines().filter(|line| line.starts_with("fault"));
    let about: Vec<_> = faults.map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(
        about,
        [Some("brokers"), Some("registry"), Some("mongodb")],
        "{}",
        check.out
    );
    assert!(!check.out.contains("canary"), "{}", check.out);
    // What could not be looked at is listed.
    let unseen = check.out.lines().filter(|line| line.starts_with("unseen"));
    let about: Vec<_> = unseen.map(|line| line.split_whitespace().nth(1)).collect();
    let expected = ["topics", "permissions", "schemas", "mongodb", "lanes"].map(Some);
    assert_eq!(about, expected, "{}", check.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_are_shown_and_moved() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::new();
    assert_eq!(deployment.run(&["topics", "apply"]).await.code, Some(0));
    let lane = format!("{}/3", deployment.topic("match-found"));

    let refused = deployment.run(&["lanes", "seek", &lane, "end"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    let beyond = deployment
        .run(&["lanes", "seek", &lane, "1", "--yes"])
        .await;
    assert_eq!(beyond.code, Some(2), "{beyond:?}");

    let line = |shown: &str| {
        let lanes: Vec<serde_json::Value> = serde_json::from_str(shown).expect("JSON");
        assert_eq!(lanes.len(), 16);
        lanes
            .into_iter()
            .find(|found| found["lane"] == *lane)
            .expect("the lane is shown")
    };
    let shown = deployment.run(&["lanes", "show", "--output", "json"]).await;
    assert_eq!(line(&shown.out)["epoch"], serde_json::Value::Null);
    let moved = deployment
        .run(&["lanes", "seek", &lane, "end", "--yes"])
        .await;
    assert_eq!(moved.code, Some(0), "{moved:?}");
    let shown = deployment.run(&["lanes", "show", "--output", "json"]).await;
    let found = line(&shown.out);
    assert_eq!(
        (&found["epoch"], &found["next"], &found["lag"]),
        (&1.into(), &0.into(), &0.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn check_fetches_the_keys_that_tokens_are_checked_with() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let router =
        axum::Router::new().route("/keys", axum::routing::get(|| async { "{\"keys\":[]}" }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    for (url, word) in [
        (format!("http://{address}/keys"), "publishes no key"),
        (format!("http://{address}/nothing"), "404"),
        ("http://127.0.0.1:1/keys".to_owned(), "cannot be fetched"),
    ] {
        let check = tokio::task::spawn_blocking(move || {
            ended(&mut worker(&[
                "check",
                "--kafka-brokers=127.0.0.1:1",
                "--registry-urls=http://127.0.0.1:1",
                "--mongo-uri=mongodb://127.0.0.1:1/?replicaSet=rs0",
                "--set=http.auth.mode=jwt",
                &format!("--set=http.auth.jwksUrl={url}"),
            ]))
        });
        let check = check.await.expect("the process was waited for");
        assert_eq!(check.code, Some(1), "{check:?}");
        let mut faults = check.out.lines().filter(|line| line.starts_with("fault"));
        assert!(
            faults.any(|line| line.contains("http.auth.jwksUrl") && line.contains(word)),
            "{word}: {check:?}"
        );
    }
}
