//! Starts that cannot succeed: an exit code, one message that names what is wrong and says what to do,
//! and never a stack trace (contract 6).

use std::process::Command;

use dev::{Mongo, Options, Services, Source};

use super::client::unique;
use super::deployment::{Deployment, Ended, Parts, Process};
use crate::services;

#[track_caller]
fn says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.text);
    let errors: Vec<&str> = ended
        .text
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert!(!errors.is_empty(), "{}", ended.text);
    for word in words {
        assert!(
            errors.iter().any(|line| line.contains(word)),
            "no {word}: {errors:?}"
        );
    }
    for noise in ["panicked", "stack backtrace", "RUST_BACKTRACE"] {
        assert!(!ended.text.contains(noise), "{}", ended.text);
    }
}

async fn run(deployment: &Deployment, settings: &[&str]) -> Ended {
    let mut all = vec!["http.listen=127.0.0.1:0"];
    all.extend(settings);
    deployment.run(&["run"], &all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_6_bad_settings_end_a_run_with_2() {
    let nowhere = Parts {
        kafka: "127.0.0.1:1".to_owned(),
        registry: "http://127.0.0.1:1".to_owned(),
        mongo: "mongodb://127.0.0.1:1/?replicaSet=rs0".to_owned(),
    };
    let deployment = Deployment::named(nowhere, &[]);
    for (setting, word) in [
        ("rules.concurrentLimit=0", "rules.concurrentLimit"),
        ("rules.sessionTimeout=soon", "rules.sessionTimeout"),
        ("rules.nosuch=1", "rules.nosuch"),
        (
            "kafka.properties.enable.auto.commit=true",
            "enable.auto.commit",
        ),
        ("http.listen=0.0.0.0:0", "http.auth.mode"),
    ] {
        let ended = deployment.run(&["run"], &[setting]).await;
        says(&ended, 2, &[word]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_6_parts_that_do_not_answer_are_named() {
    let _undisturbed = services::undisturbed().await;
    let shared = Parts::shared();
    let prepared = Deployment::prepared(shared.clone(), &[]).await;
    let with = |parts: Parts| prepared.on(parts);
    let broker = with(Parts {
        kafka: "127.0.0.1:1".to_owned(),
        ..shared.clone()
    });
    let registry = with(Parts {
        registry: "http://127.0.0.1:1".to_owned(),
        ..shared.clone()
    });
    let database = with(Parts {
        mongo: "mongodb://app:canary@127.0.0.1:1/?replicaSet=rs0".to_owned(),
        ..shared.clone()
    });
    for (deployment, part, setting) in [
        (broker, "Kafka", "kafka.brokers"),
        (registry, "the schema registry", "registry.urls"),
        (database, "MongoDB", "mongo.uri"),
    ] {
        let worker = deployment.unready_worker(&[]).await;
        worker
            .waits_for(&[&format!("waiting for {part}"), setting])
            .await;
        assert!(!worker.output().contains("canary"), "{}", worker.output());
        worker.stop().await;
    }
}

/// Findings A12, guarantee 8: what comes later is waited for, without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_comes_later_lets_the_start_go_on() {
    let _undisturbed = services::undisturbed().await;
    let shared = Parts::shared();
    let prepared = Deployment::prepared(shared.clone(), &[]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let late = prepared.on(Parts {
        registry: format!("http://{address}{}", path_of(&shared.registry)),
        ..shared.clone()
    });
    let worker = late.unready_worker(&[]).await;
    worker.waits_for(&["waiting for the schema registry"]).await;
    let relay = tokio::spawn(relay(address, host_of(&shared.registry)));
    worker.readiness(200).await;
    worker.stop().await;
    relay.abort();
}

fn host_of(url: &str) -> String {
    let rest = url.trim_start_matches("http://");
    rest.split('/').next().unwrap_or_default().to_owned()
}

fn path_of(url: &str) -> String {
    let rest = url.trim_start_matches("http://");
    rest.split_once('/')
        .map_or_else(String::new, |(_, path)| format!("/{path}"))
}

/// Passes connections at `address` on to `target`.
async fn relay(address: std::net::SocketAddr, target: String) {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .expect("the port is free");
    while let Ok((mut inward, _)) = listener.accept().await {
        let target = target.clone();
        tokio::spawn(async move {
            let mut outward = tokio::net::TcpStream::connect(target).await?;
            tokio::io::copy_bidirectional(&mut inward, &mut outward).await
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_6_what_was_not_prepared_is_named_with_the_command_that_prepares_it() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::named(Parts::shared(), &[]);
    let ended = run(&deployment, &[]).await;
    says(&ended, 1, &["session-worker schemas register"]);
    let registered = deployment.run(&["schemas", "register"], &[]).await;
    assert_eq!(registered.code, Some(0), "{}", registered.text);
    let ended = run(&deployment, &[]).await;
    says(&ended, 1, &["session-worker topics apply"]);
    // Who collects logs sees it, too, in the log's format.
    let lines = ended.text.lines();
    let mut lines = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let last = lines.find(|line| line["message"] == "the worker ends");
    let last = last.unwrap_or_else(|| panic!("no line in the log: {}", ended.text));
    assert_eq!(last["level"], "ERROR");
    let error = last["error"].as_str().expect("a text");
    assert!(error.contains("session-worker topics apply"), "{error}");
}

/// A server of its own without a replica set, by the program that the real parts use.
async fn standalone(data: &std::path::Path) -> (Process, String) {
    let options = Options {
        mongo: Mongo::Single,
        source: Source::Own,
        ..Options::none()
    };
    let services = Services::start(options).await.expect("a replica set");
    let pid = services.member(0).pid().expect("it runs").to_string();
    let shown = Command::new("ps")
        .args(["-ww", "-o", "args=", "-p", &pid])
        .output();
    let shown = String::from_utf8(shown.expect("ps runs").stdout).expect("text");
    let program = shown.split_whitespace().next().expect("a program");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let mut command = Command::new(program);
    command.arg("--dbpath").arg(data).args([
        "--bind_ip",
        "127.0.0.1",
        "--nounixsocket",
        "--wiredTigerCacheSizeGB",
        "0.25",
        "--port",
        &port.to_string(),
    ]);
    let process = Process::spawn(command);
    services.stop().await;
    (process, format!("mongodb://127.0.0.1:{port}/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_4_a_standalone_mongodb_is_refused_with_what_to_do() {
    let _undisturbed = services::undisturbed().await;
    let data = std::env::temp_dir().join(unique("session-worker-standalone"));
    std::fs::create_dir(&data).expect("a folder");
    let (server, mongo) = standalone(&data).await;
    let parts = Parts {
        mongo,
        ..Parts::shared()
    };
    let ended = run(&Deployment::named(parts, &[]), &[]).await;
    drop(server);
    std::fs::remove_dir_all(&data).expect("the folder goes");
    says(&ended, 1, &["standalone", "--replSet", "mongo.uri"]);
}
