//! Dead letters of a real worker: listed, looked at, and sent again, to die again or to be judged.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use dev::{Options, Services, Source};
use serde_json::{Value, json};

use super::session::run;
use crate::services;
use crate::worker::client::{Client, avro_command, command, text, unique};
use crate::worker::deployment::{Deployment, Parts};

async fn printed(deployment: &Deployment, arguments: &[&str], code: i32) -> Value {
    let all = [&["dead-letters"], arguments, &["--output", "json"]].concat();
    let ended = run(deployment, &all).await;
    assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
    // Only a dry run says more than its document.
    assert!(
        ended.err.is_empty() || ended.err.starts_with("nothing sent; "),
        "{}",
        ended.err
    );
    serde_json::from_str(&ended.out).expect("JSON")
}

fn column(report: &Value, field: &str) -> Vec<String> {
    let letters = report["letters"].as_array().expect("a list").iter();
    letters.map(|letter| text(&letter[field])).collect()
}

/// Every record that was ever written to a topic, as the number of offsets in its partitions.
async fn written(deployment: &Deployment, topic: &str) -> i64 {
    let settings = session_worker::kafka::Settings {
        brokers: deployment.parts.kafka.clone(),
        group_id: "nobody".to_owned(),
        properties: std::collections::BTreeMap::new(),
    };
    let topic = deployment.topic(topic);
    let spans = session_worker::kafka::spans(&settings, &topic, None).await;
    spans
        .expect("the broker answers")
        .values()
        .map(|span| span.end)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_6_dead_letters_are_listed_shown_and_sent_again() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let client = Client::new(&deployment);
    let worker = deployment.worker(&[]).await;
    let mut unknown = vec![0];
    unknown.extend(2_000_000_000_u32.to_be_bytes());
    unknown.push(1);
    let admit = command(
        "u1",
        "AdmitMatch",
        &json!({"matchId": "m", "matchedAt": 1, "targetLanguageCode": "fr", "participants": []}),
    );
    let cases: [(&str, Vec<u8>); 4] = [
        ("undecodable", b"\xff\xfe\x1b[2J".to_vec()),
        ("unknown_schema", unknown),
        ("too_large", vec![b'x'; 70_000]),
        ("forbidden", admit.to_string().into_bytes()),
    ];
    for (reason, value) in &cases {
        let headers = [("mine", "kept"), ("correlation-id", "c-1")];
        client
            .write("session-command", reason, value, &headers)
            .await;
        client.dead_letter(reason).await;
    }

    let listed = printed(&deployment, &["list"], 0).await;
    assert_eq!(listed["letters"], 4, "{listed:#}");
    let groups = listed["groups"].as_array().expect("a list");
    let mut reasons: Vec<String> = groups.iter().map(|group| text(&group["reason"])).collect();
    reasons.sort();
    assert_eq!(
        reasons,
        ["forbidden", "too_large", "undecodable", "unknown_schema"]
    );
    for group in groups {
        assert_eq!((&group["count"], &group["again"]), (&json!(1), &json!(0)));
        assert_eq!(group["topic"], deployment.topic("session-command"));
    }
    let some = printed(&deployment, &["list", "--reason", "too_large"], 0).await;
    assert_eq!(some["letters"], 1);
    let none = printed(&deployment, &["list", "--from-topic", "match-found"], 0).await;
    assert_eq!(none["letters"], 0);
    let table = run(&deployment, &["dead-letters", "list"]).await;
    assert!(table.out.contains("4 dead letters"), "{table:?}");

    let shown = printed(&deployment, &["show", "0"], 0).await;
    assert_eq!(
        (&shown["reason"], &shown["key"]),
        (&json!("undecodable"), &json!("undecodable"))
    );
    assert_eq!(
        shown["headers"][0],
        json!({"name": "mine", "value": "kept"})
    );
    assert_eq!(shown["value"]["kind"], "bytes");
    let shown = printed(&deployment, &["show", "0/3"], 0).await;
    assert_eq!(shown["value"]["json"], admit);
    let words = run(&deployment, &["dead-letters", "show", "0"]).await;
    assert!(
        words.out.contains("00000000  ff fe 1b 5b 32 4a"),
        "{}",
        words.out
    );
    assert!(!words.out.contains('\u{1b}'), "{}", words.out);
    let beyond = run(&deployment, &["dead-letters", "show", "4"]).await;
    assert_eq!(beyond.code, Some(1), "{beyond:?}");
    assert!(beyond.err.contains("use 0 to 3"), "{}", beyond.err);

    let before = written(&deployment, "session-command").await;
    let dry = printed(&deployment, &["replay", "--since", "1h"], 0).await;
    assert_eq!(dry["dryRun"], true);
    assert_eq!(
        column(&dry, "outcome"),
        ["wouldSend", "wouldSend", "wouldSend", "refused"],
        "{dry:#}"
    );
    assert_eq!(written(&deployment, "session-command").await, before);

    let done = printed(&deployment, &["replay", "--since", "1h", "--yes"], 1).await;
    assert_eq!(
        column(&done, "outcome"),
        ["sent", "sent", "sent", "refused"],
        "{done:#}"
    );
    assert_eq!(written(&deployment, "session-command").await, before + 3);
    client.dead_letter_count(7).await;
    for (offset, (reason, _)) in (4..7).zip(&cases) {
        let address = offset.to_string();
        let again = printed(&deployment, &["show", &address], 0).await;
        assert_eq!(again["reason"], *reason, "{again:#}");
        assert_eq!(
            (&again["key"], &again["replays"]),
            (&json!(reason), &json!(1))
        );
        assert_eq!(again["replayOf"], format!("0/{}", offset - 4));
        let first = printed(&deployment, &["show", &format!("0/{}", offset - 4)], 0).await;
        assert_eq!(first["replayedAs"], json!([format!("0/{offset}")]));
        assert_eq!(first["value"], again["value"]);
        let mine = json!({"name": "mine", "value": "kept"});
        let headers = again["headers"].as_array().expect("a list");
        assert!(headers.contains(&mine), "{again:#}");
        let place = done["letters"][offset - 4]["record"].clone();
        assert_eq!(again["origin"], place);
    }

    // The last letter of a record stands for it, and its count goes on.
    let done = printed(
        &deployment,
        &["replay", "--reason", "undecodable", "--yes"],
        0,
    )
    .await;
    assert_eq!(column(&done, "outcome"), ["skipped", "sent"], "{done:#}");
    client.dead_letter_count(8).await;
    let third = printed(&deployment, &["show", "7"], 0).await;
    assert_eq!(third["replays"], 2, "{third:#}");
    let listed = printed(&deployment, &["list", "--reason", "undecodable"], 0).await;
    assert_eq!(listed["groups"][0]["again"], 2, "{listed:#}");
    worker.stop().await;
}

/// Registers `schema` under the subject of `topic`, and returns its id.
async fn register(deployment: &Deployment, topic: &str, schema: &Value) -> u32 {
    let registry = &deployment.parts.registry;
    let url = format!(
        "{registry}/subjects/{}-value/versions",
        deployment.topic(topic)
    );
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let body = json!({"schema": schema.to_string()});
    let answer = client.post(url).json(&body).send().await;
    let body: Value = answer.expect("an answer").json().await.expect("JSON");
    let id = body["id"]
        .as_u64()
        .unwrap_or_else(|| panic!("no id: {body}"));
    u32::try_from(id).expect("ids are 32 bits")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_schema_came_later_is_judged_once_however_often_it_is_sent_again() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let client = Client::new(&deployment);
    let worker = deployment.worker(&[]).await;
    let host = unique("host");
    let (session, _) = client.private(&host, 4).await;

    // A sender that registered its next version under a subject of its own.
    let mut next: Value =
        serde_json::from_str(include_str!("../../../schemas/session-command-value.avsc"))
            .expect("JSON");
    let more = json!({"name": "more", "type": "string", "default": "", "doc": "More."});
    next["fields"].as_array_mut().expect("a list").push(more);
    let id = register(&deployment, "elsewhere", &next).await;
    let connect = command(
        &host,
        "ConnectParticipant",
        &json!({"sessionId": session, "connectionId": "k"}),
    );
    let command_id = text(&connect["commandId"]);
    let mut value = avro_command(id, &connect);
    value.push(0);
    client.write("session-command", &session, &value, &[]).await;
    let letter = client.dead_letter(&session).await;
    assert_eq!(letter.header("dlq-reason"), Some("unknown_schema"));
    let dry = run(&deployment, &["dead-letters", "replay", "0"]).await;
    assert!(dry.out.contains("it will die again"), "{}", dry.out);

    assert_eq!(register(&deployment, "session-command", &next).await, id);
    let shown = printed(&deployment, &["show", "0"], 0).await;
    assert_eq!(shown["value"]["kind"], "avro", "{shown:#}");
    assert_eq!(shown["value"]["json"]["command"], connect["command"]);
    let dry = run(&deployment, &["dead-letters", "replay", "0"]).await;
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert!(dry.out.contains("it will be judged"), "{}", dry.out);
    assert!(dry.err.contains("add --yes"), "{}", dry.err);
    let done = run(&deployment, &["dead-letters", "replay", "0", "--yes"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.out.starts_with("0/0  sent to "), "{}", done.out);
    assert_eq!(client.result(&command_id).await["outcome"], "accepted");

    let dry = run(&deployment, &["dead-letters", "replay", "0"]).await;
    assert!(
        dry.out.contains("remembered as accepted until"),
        "{}",
        dry.out
    );
    printed(&deployment, &["replay", "0", "--yes"], 0).await;
    let results = client.results(&command_id, 2).await;
    assert_eq!(results[1]["replayed"], true, "{results:?}");
    let events = client.events(&session, "participant.connected").await;
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(client.dead_letters(), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_letter_is_answered_as_replayed_and_its_forward_header_stays_behind() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let client = Client::new(&deployment);
    let worker = deployment.worker(&[]).await;
    // What the worker remembers under the id, a bug's result or another, is what it answers with.
    let refused = command("ann", "StartSession", &json!({"sessionId": "nowhere"}));
    let id = client.write_command(&refused).await;
    assert_eq!(client.result(&id).await["code"], "session_not_found");
    let topic = deployment.topic("session-command");
    let claim = format!("{topic}/0/0/1");
    let headers = [
        ("mine", "kept"),
        ("sw-forward", claim.as_str()),
        ("dlq-reason", "bug"),
        (
            "dlq-message",
            "the worker fails on this message, see its log",
        ),
        ("dlq-topic", topic.as_str()),
        ("dlq-partition", "0"),
        ("dlq-offset", "0"),
    ];
    let value = refused.to_string();
    client
        .write("session-dead-letter", &id, value.as_bytes(), &headers)
        .await;

    let dry = run(&deployment, &["dead-letters", "replay", "--reason", "bug"]).await;
    assert_eq!(dry.code, Some(0), "{dry:?}");
    for words in [
        "remembered as session_not_found",
        "replayed, and nothing else happens",
        "new commandId",
        "without sw-forward",
    ] {
        assert!(dry.out.contains(words), "{words}: {}", dry.out);
    }
    let arguments = ["dead-letters", "replay", "--reason", "bug", "--yes"];
    let done = run(&deployment, &arguments).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let results = client.results(&id, 2).await;
    assert_eq!(results[1]["replayed"], true, "{results:?}");
    assert_eq!(results[1]["code"], "session_not_found");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_down_are_named_and_nothing_is_called_sent() {
    let _undisturbed = services::undisturbed().await;
    let nowhere = Parts {
        kafka: "127.0.0.1:1".to_owned(),
        ..Parts::shared()
    };
    let deployment = Deployment::named(nowhere, &[]);
    for arguments in [
        &["dead-letters", "list"][..],
        &["dead-letters", "show", "0"],
        &["dead-letters", "replay", "0", "--yes"],
    ] {
        let ended = run(&deployment, arguments).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.err.contains("127.0.0.1:1"), "{}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_fails_ends_the_run_and_says_what_was_sent() {
    let _undisturbed = services::undisturbed().await;
    let own = Services::start(Options {
        source: Source::Own,
        kafka: true,
        ..Options::none()
    })
    .await
    .expect("a broker");
    let parts = Parts {
        kafka: own.kafka().to_owned(),
        ..Parts::shared()
    };
    let deployment = Deployment::prepared(parts, &[]).await;
    let client = Client::new(&deployment);
    let topic = deployment.topic("session-command");
    for key in ["a", "b", "c"] {
        let headers = [
            ("dlq-reason", "undecodable"),
            ("dlq-topic", topic.as_str()),
            ("dlq-partition", "0"),
            ("dlq-offset", "0"),
        ];
        client
            .write("session-dead-letter", key, b"x", &headers)
            .await;
    }
    let arguments = [
        "dead-letters",
        "replay",
        "--since",
        "1h",
        "--yes",
        "--rate",
        "1",
    ];
    let mut command = deployment.command(&arguments, &[]);
    let mut replay = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let out = replay.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(out).lines();
    let (first, mut lines) = tokio::task::spawn_blocking(move || {
        let first = lines.next().expect("a line").expect("it is text");
        (first, lines)
    })
    .await
    .expect("the first line came");
    own.broker().freeze().await;
    let (rest, status) = tokio::task::spawn_blocking(move || {
        let rest: Vec<String> = lines.by_ref().map(|line| line.expect("text")).collect();
        (rest, replay.wait().expect("it ends"))
    })
    .await
    .expect("it ended");
    own.broker().thaw().await;
    assert!(
        first.starts_with(&format!("0/0  sent to {topic}/")),
        "{first}"
    );
    assert_eq!(status.code(), Some(1), "{rest:?}");
    let failed = rest
        .iter()
        .filter(|line| line.contains("FAILED: not acknowledged"));
    assert_eq!(failed.count(), 1, "{rest:?}");
    let ended = rest
        .iter()
        .filter(|line| line.contains("the run ended there"));
    assert_eq!(ended.count(), 1, "{rest:?}");
    assert!(!rest.iter().any(|line| line.contains("0/2")), "{rest:?}");
    drop(client);
    own.stop().await;
}
