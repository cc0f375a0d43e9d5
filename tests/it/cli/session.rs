//! `session show` over sessions that a real worker drove: the whole of a life, and what is said when a
//! part of what it is read from is gone.

use dev::{Options, Services, Source};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::{Ended, ended};
use crate::services;
use crate::worker::client::{Client, avro_command, command, schema_id, text, unique};
use crate::worker::deployment::{Deployment, Parts};

const SHORT: [&str; 3] = [
    "rules.sessionTimeout=6s",
    "rules.expiryWarnings=3s",
    "rules.disconnectGrace=1s",
];

/// Runs a command in `deployment`, its streams apart.
pub(super) async fn run(deployment: &Deployment, arguments: &[&str]) -> Ended {
    let mut command = deployment.command(arguments, &[]);
    tokio::task::spawn_blocking(move || ended(&mut command))
        .await
        .expect("the process was waited for")
}

async fn shown(deployment: &Deployment, id: &str) -> Value {
    let shown = run(deployment, &["session", "show", id, "--output", "json"]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let life: Value = serde_json::from_str(&shown.out).expect("JSON");
    if life["missing"] == json!([]) {
        assert_eq!(shown.err, "");
    } else {
        assert!(shown.err.contains("missing: "), "{}", shown.err);
    }
    life
}

/// Sends a command under its session's key, so that it arrives at home, and returns its result.
async fn at_home(client: &Client, session: &str, user: &str, branch: &str, body: Value) -> Value {
    let command = command(user, branch, &body);
    let value = command.to_string();
    client
        .write("session-command", session, value.as_bytes(), &[])
        .await;
    client.result(&text(&command["commandId"])).await
}

/// Makes a private session whose command arrives at home; its id and code.
async fn private(client: &Client, host: &str) -> (String, String) {
    let id = uuid::Uuid::new_v4().to_string();
    let body = json!({"sessionId": id, "targetLanguageCode": "fr"});
    let made = at_home(client, &id, host, "CreatePrivateSession", body).await;
    assert_eq!(made["httpStatus"], 201, "{made}");
    (id, text(&made["inviteCode"]))
}

/// `kind what` of every entry.
fn story(shown: &Value) -> Vec<String> {
    let entries = shown["timeline"].as_array().expect("a list").iter();
    entries
        .map(|entry| format!("{} {}", text(&entry["kind"]), text(&entry["what"])))
        .collect()
}

fn entries<'a>(shown: &'a Value, kind: &str) -> Vec<&'a Value> {
    let entries = shown["timeline"].as_array().expect("a list").iter();
    entries.filter(|entry| entry["kind"] == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_6_a_sessions_life_is_one_timeline_with_its_records() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &SHORT).await;
    let client = Client::new(&deployment);
    let worker = deployment.worker(&[]).await;
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(unique);
    let (session, code) = private(&client, &ann).await;

    // Under a key that leads elsewhere, often enough that one certainly arrives elsewhere.
    let join = command(&bob, "JoinSession", &json!({"inviteCode": code}));
    let id = text(&join["commandId"]);
    let home = shown(&deployment, &session).await["session"]["home"].clone();
    let mut key = unique("key");
    while text(&home).ends_with(&format!("/{}", partition(&key))) {
        key = unique("key");
    }
    let value = join.to_string();
    client
        .write("session-command", &key, value.as_bytes(), &[])
        .await;
    assert_eq!(client.result(&id).await["outcome"], "accepted");
    client
        .write("session-command", &session, value.as_bytes(), &[])
        .await;
    client.results(&id, 2).await;

    let body = json!({"sessionId": session});
    let refused = at_home(&client, &session, &eve, "EndSession", body.clone()).await;
    assert_eq!(refused["code"], "not_participant");
    let started = at_home(&client, &session, &ann, "StartSession", body).await;
    assert_eq!(started["outcome"], "accepted", "{started}");
    let connection = json!({"sessionId": session, "connectionId": "k"});
    for branch in ["ConnectParticipant", "DisconnectParticipant"] {
        at_home(&client, &session, &bob, branch, connection.clone()).await;
    }
    let before = shown(&deployment, &session).await;
    let upcoming = entries(&before, "upcoming");
    let upcoming: Vec<_> = upcoming.iter().map(|entry| text(&entry["what"])).collect();
    // Bob may be gone by now; what comes after him is not.
    assert_eq!(
        upcoming[upcoming.len() - 2..],
        ["expiring:3".to_owned(), "timeout".to_owned()],
        "{before:#}"
    );
    client.events(&session, "session.ended").await;

    let life = shown(&deployment, &session).await;
    let bob_drops = format!("timer disconnect:{bob}");
    assert_eq!(
        story(&life),
        [
            "command CreatePrivateSession",
            "event session.created",
            "event participant.joined",
            "result 201 accepted",
            "command JoinSession",
            "forward sent home",
            "event participant.joined",
            "result 200 accepted",
            "command JoinSession",
            "result 200 accepted",
            "command EndSession",
            "result 403 not_participant",
            "command StartSession",
            "event session.started",
            "result 200 accepted",
            "command ConnectParticipant",
            "event participant.connected",
            "result 200 accepted",
            "command DisconnectParticipant",
            "event participant.disconnected",
            "result 200 accepted",
            &bob_drops,
            "event participant.left",
            "timer expiring:3",
            "event session.expiring",
            "timer timeout",
            "event participant.left",
            "event session.ended",
        ],
        "{life:#}"
    );
    assert_eq!(life["missing"], json!([]), "{life:#}");
    assert_eq!(life["session"]["status"], "ended");
    assert_eq!(life["session"]["endReason"], "timeout");
    assert_eq!(life["session"]["inviteCode"], code.as_str());
    assert!(!life["timeline"].to_string().contains(&code));
    let users = life["participants"].as_array().expect("a list").iter();
    let users: Vec<_> = users
        .map(|participant| text(&participant["userId"]))
        .collect();
    assert_eq!(users, [ann.clone(), bob.clone()]);

    let records: Vec<_> = life["timeline"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert!(records.iter().all(|entry| entry["record"].is_string()));
    let [first, again] = [4, 8].map(|index| records[index]);
    assert_eq!(
        (&first["judged"], &again["judged"]),
        (&json!("first"), &json!("duplicate"))
    );
    let forward = records[5];
    assert_eq!(forward["from"], first["record"]);
    assert_eq!(
        (&forward["home"], &forward["evidence"]),
        (&home, &json!(true))
    );
    assert_eq!(records[9]["replayed"], true);
    for timer in entries(&life, "timer") {
        assert!(timer["lateMs"].as_i64() >= Some(0), "{timer}");
    }

    let upper = session.to_uppercase();
    let table = run(&deployment, &["session", "show", &upper]).await;
    assert_eq!(table.code, Some(0), "{table:?}");
    for words in [
        "private, ended (timeout)",
        "! timeout",
        "session.ended",
        &code,
    ] {
        assert!(table.out.contains(words), "{words}: {}", table.out);
    }
    worker.stop().await;
}

/// Where the key leads among eight partitions.
fn partition(key: &str) -> i32 {
    session_worker::kafka::partition_of(key.as_bytes(), 8)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_a_backfill_and_a_dead_letter_are_in_the_timeline() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let client = Client::new(&deployment);
    let worker = deployment.worker(&[]).await;
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(unique);
    let session = text(&client.matched(&[&ann, &bob]).await["sessionId"]);
    let mut backfill = crate::worker::client::found(&[&eve]);
    backfill["sessionId"] = json!(session);
    let id = text(&backfill["matchId"]);
    let value = backfill.to_string();
    client
        .write("match-found", &id, value.as_bytes(), &[])
        .await;
    client.result(&id).await;
    client
        .write("session-command", &session, b"not a command", &[])
        .await;
    client.dead_letter(&session).await;

    let life = shown(&deployment, &session).await;
    let matches = entries(&life, "match");
    let whats: Vec<_> = matches.iter().map(|entry| text(&entry["what"])).collect();
    assert_eq!(whats, ["MatchFound", "MatchFound (backfill)"], "{life:#}");
    assert_eq!(matches[0]["arguments"]["userIds"], json!([ann, bob]));
    let results: Vec<_> = entries(&life, "result")
        .iter()
        .map(|entry| entry["httpStatus"].clone())
        .collect();
    assert_eq!(results, [201, 200]);
    let died = entries(&life, "deadLetter");
    assert_eq!(died.len(), 1, "{life:#}");
    assert_eq!(died[0]["reason"], "undecodable");
    let unread = entries(&life, "command");
    assert_eq!(unread[0]["what"], "not decoded");
    assert_eq!(unread[0]["record"], died[0]["of"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_is_shown_and_what_is_missing_is_said() {
    let _undisturbed = services::undisturbed().await;
    let own = Services::start(Options {
        source: Source::Own,
        registry: true,
        ..Options::none()
    })
    .await
    .expect("a registry");
    let parts = Parts {
        registry: own.registry_url().to_owned(),
        ..Parts::shared()
    };
    let deployment = Deployment::prepared(parts, &[]).await;
    let client = Client::new(&deployment);
    let worker = deployment.worker(&[]).await;
    let ann = unique("ann");
    let (session, _) = private(&client, &ann).await;
    let schema = schema_id(&deployment, "session-command").await;
    let start = command(&ann, "StartSession", &json!({"sessionId": session}));
    let id = text(&start["commandId"]);
    client
        .write(
            "session-command",
            &session,
            &avro_command(schema, &start),
            &[],
        )
        .await;
    client.result(&id).await;
    client.events(&session, "session.started").await;
    worker.stop().await;

    own.registry_process().kill().await;
    let life = shown(&deployment, &session).await;
    assert_eq!(
        story(&life),
        [
            "command CreatePrivateSession",
            "event session.created",
            "event participant.joined",
            "result 201 accepted",
            "command not decoded",
            "event session.started",
            "result 200 accepted",
            "upcoming expiring:300",
            "upcoming expiring:60",
            "upcoming timeout",
        ],
        "{life:#}"
    );
    let sources = |life: &Value| -> Vec<String> {
        let missing = life["missing"].as_array().expect("a list").iter();
        missing.map(|missing| text(&missing["source"])).collect()
    };
    assert_eq!(sources(&life), ["registry"]);

    // The first two events and the record that made the session are deleted.
    let events = entries(&life, "event");
    let place = |record: &Value| {
        let record = text(record);
        let (lane, offset) = record.split_once('@').expect("a place");
        let (topic, partition) = lane.rsplit_once('/').expect("a lane");
        (
            topic.to_owned(),
            partition.parse::<i32>().expect("a number"),
            offset.parse::<i64>().expect("a number"),
        )
    };
    let (events, event_partition, event_offset) = place(&events[1]["record"]);
    let (inputs, input_partition, input_offset) = place(&entries(&life, "command")[0]["record"]);
    let mut gone = TopicPartitionList::new();
    for (topic, partition, offset) in [
        (&events, event_partition, event_offset + 1),
        (&inputs, input_partition, input_offset + 1),
    ] {
        gone.add_partition_offset(topic, partition, Offset::Offset(offset))
            .expect("an offset");
    }
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &deployment.parts.kafka)
        .create()
        .expect("a client");
    admin
        .delete_records(&gone, &AdminOptions::new())
        .await
        .expect("the broker deletes");
    let life = shown(&deployment, &session).await;
    let details: Vec<String> = life["missing"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|missing| text(&missing["detail"]))
        .collect();
    assert!(
        details.iter().any(|d| d.starts_with("events 1 to 2 of 3")),
        "{details:?}"
    );
    assert!(
        details.iter().any(|d| d.contains("was deleted")),
        "{details:?}"
    );
    let first = entries(&life, "command")[0];
    assert_eq!(first["unread"], "its record was not read", "{life:#}");
    assert_eq!(first["judged"], "first");

    let nowhere = Parts {
        kafka: "127.0.0.1:1".to_owned(),
        ..deployment.parts.clone()
    };
    let life = shown(&deployment.on(nowhere), &session).await;
    assert!(sources(&life).contains(&"kafka".to_owned()), "{life:#}");
    assert_eq!(life["session"]["status"], "active");
    assert_eq!(entries(&life, "result").len(), 2, "{life:#}");
    assert_eq!(entries(&life, "result")[0]["source"], "ledger");
    assert_eq!(entries(&life, "upcoming").len(), 3);
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_clock_is_far_ahead_hides_no_records() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let worker = deployment.worker(&[]).await;
    let client = Client::new(&deployment);
    let ann = unique("ann");
    let (session, _) = private(&client, &ann).await;
    at_home(
        &client,
        &session,
        &ann,
        "EndSession",
        json!({"sessionId": session}),
    )
    .await;
    client.events(&session, "session.ended").await;
    worker.stop().await;
    let before = shown(&deployment, &session).await;

    // As a database an hour ahead of those who date records would have written it.
    let mongo = mongodb::Client::with_uri_str(&deployment.parts.mongo).await;
    let sessions = mongo
        .expect("a client")
        .database(&format!("worker_{}", deployment.name))
        .collection::<mongodb::bson::Document>("sessions");
    let ahead = vec![mongodb::bson::doc! {
        "$set": { "createdAt": { "$add": ["$createdAt", 3_600_000] } }
    }];
    let of_session = mongodb::bson::doc! { "_id": &session };
    let changed = sessions.update_one(of_session, ahead).await;
    assert_eq!(changed.expect("the database answers").modified_count, 1);
    let after = shown(&deployment, &session).await;
    assert_eq!(story(&after), story(&before));
    assert_eq!(after["missing"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_there_is_a_failure_in_clear_words() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::named(Parts::shared(), &[]);
    let unknown = run(&deployment, &["session", "show", "nobody's"]).await;
    assert_eq!(
        (unknown.code, unknown.out.as_str()),
        (Some(1), ""),
        "{unknown:?}"
    );
    assert!(
        unknown.err.contains("there is no session nobody's"),
        "{}",
        unknown.err
    );
    let malformed = run(&deployment, &["session", "show", " "]).await;
    assert_eq!(malformed.code, Some(2), "{malformed:?}");
    let down = Parts {
        mongo: "mongodb://app:canary@127.0.0.1:1/?replicaSet=rs0".to_owned(),
        ..deployment.parts.clone()
    };
    let down = run(&deployment.on(down), &["session", "show", "x"]).await;
    assert_eq!(down.code, Some(1), "{down:?}");
    assert!(!down.err.contains("canary"), "{}", down.err);
}
