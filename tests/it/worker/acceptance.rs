//! AC1 to AC9 (contract 2) over Kafka, in one deployment with two workers. What needs short deadlines
//! stands in `deadlines`.

use std::sync::LazyLock;

use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::client::{self, Client, avro_command, avro_match, schema_id, text, types, unique};
use super::deployment::{Deployment, Parts, Worker};
use crate::services;

/// A deployment and its workers.
struct Running {
    client: Client,
    deployment: Deployment,
    _workers: [Worker; 2],
}

/// Started by the first test; its processes end with this one.
static RUNNING: LazyLock<Mutex<Option<&'static Running>>> = LazyLock::new(Mutex::default);

async fn running() -> &'static Running {
    let mut running = RUNNING.lock().await;
    if let Some(running) = *running {
        return running;
    }
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let workers = tokio::join!(deployment.worker(&[]), deployment.worker(&[]));
    let started = Running {
        client: Client::new(&deployment),
        deployment,
        _workers: workers.into(),
    };
    running.insert(Box::leak(Box::new(started)))
}

fn of(session: &str) -> Value {
    json!({"sessionId": session})
}

fn connection(session: &str, connection: &str) -> Value {
    json!({"sessionId": session, "connectionId": connection})
}

async fn document(deployment: &Deployment, collection: &str, id: &str) -> mongodb::bson::Document {
    let client = mongodb::Client::with_uri_str(&deployment.parts.mongo)
        .await
        .expect("a client");
    client
        .database(&format!("worker_{}", deployment.name))
        .collection(collection)
        .find_one(mongodb::bson::doc! { "_id": id })
        .await
        .expect("the database answers")
        .unwrap_or_else(|| panic!("no {collection}/{id}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ac1_a_match_makes_a_public_session_of_its_users() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, deployment, ..
    } = running().await;
    let [ann, bob] = ["ann", "bob"].map(unique);
    let mut found = client::found(&[&ann, &bob]);
    for (name, value) in [("topicId", "t1"), ("topicTitle", "Food")] {
        found[name] = json!(value);
    }
    found["minParticipants"] = json!(2);
    found["maxParticipants"] = json!(4);
    found["sessionId"] = Value::Null;
    for user in found["participants"].as_array_mut().expect("a list") {
        user["tier"] = json!("premium");
    }
    let id = text(&found["matchId"]);
    let schema = schema_id(deployment, "match-found").await;
    let headers = [("correlation-id", "c-1"), ("traceparent", "t-1")];
    client
        .write("match-found", &id, &avro_match(schema, &found), &headers)
        .await;

    let (seen, result) = client.seen_results(&id, 1).await.remove(0);
    assert_eq!(
        (&result["outcome"], &result["origin"], &result["httpStatus"]),
        (&json!("accepted"), &json!("match"), &json!(201)),
        "{result}"
    );
    assert_eq!(seen.key.as_deref(), Some(id.as_bytes()));
    let session = text(&result["sessionId"]);
    for (name, value) in [
        ("ce_specversion", "1.0"),
        ("ce_id", &id),
        ("ce_type", "session.command.result"),
        ("ce_subject", &session),
        ("content-type", "application/avro"),
        ("correlation-id", "c-1"),
        ("traceparent", "t-1"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }

    let events = client.seen_events(&session, "session.started").await;
    let (seen, events): (Vec<_>, Vec<_>) = events.into_iter().unzip();
    assert_eq!(
        types(&events),
        [
            "session.created",
            "participant.joined",
            "participant.joined",
            "session.started"
        ]
    );
    for (seen, event) in seen.iter().zip(&events) {
        assert_eq!(seen.key.as_deref(), Some(session.as_bytes()));
        assert_eq!(seen.header("ce_type"), event["type"].as_str());
        assert_eq!(seen.header("ce_id"), event["eventId"].as_str());
        assert_eq!(event["causationId"], id.as_str());
        assert_eq!(event["correlationId"], "c-1");
    }
    assert_eq!(events[0]["session"]["participantCount"], 0);
    assert_eq!(events[0]["session"]["hostUserId"], ann.as_str());
    assert_eq!(events[1]["participant"]["role"], "host");
    assert_eq!(events[2]["participant"]["userId"], bob.as_str());

    let stored = document(deployment, "sessions", &session).await;
    assert_eq!(stored.get_str("type").ok(), Some("public"));
    assert_eq!(stored.get_str("status").ok(), Some("active"));
    assert_eq!(stored.get_str("topicTitle").ok(), Some("Food"));
    assert_eq!(stored.get("endedAt"), Some(&mongodb::bson::Bson::Null));
    let participant = document(deployment, "participants", &format!("{session}:{bob}")).await;
    assert_eq!(participant.get_str("role").ok(), Some("participant"));
    assert_eq!(participant.get_str("status").ok(), Some("waiting"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ac2_a_private_session_has_a_code_and_its_maker_as_host() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, deployment, ..
    } = running().await;
    let host = unique("host");
    let body = json!({"sessionId": null, "targetLanguageCode": "pt-BR", "topicId": null,
        "topicTitle": null, "maxParticipants": 4});
    let command = client::command(&host, "CreatePrivateSession", &body);
    let id = text(&command["commandId"]);
    let schema = schema_id(deployment, "session-command").await;
    let avro = avro_command(schema, &command);
    client.write("session-command", "any key", &avro, &[]).await;
    let result = client.result(&id).await;
    assert_eq!(result["httpStatus"], 201, "{result}");
    let code = text(&result["inviteCode"]);
    assert_eq!(code.len(), 6);
    assert!(
        code.chars()
            .all(|letter| "23456789BCDFGHJKMNPQRSTVWXYZ".contains(letter)),
        "{code}"
    );
    let session = text(&result["sessionId"]);
    let events = client.events(&session, "participant.joined").await;
    assert_eq!(types(&events), ["session.created", "participant.joined"]);
    assert!(
        events
            .iter()
            .all(|event| !event.to_string().contains(&code))
    );
    let stored = document(deployment, "sessions", &session).await;
    assert_eq!(stored.get_str("inviteCode").ok(), Some(&*code));

    // A duplicate, in the other encoding, gets the first result again and makes no event.
    client
        .write(
            "session-command",
            "other key",
            command.to_string().as_bytes(),
            &[],
        )
        .await;
    let results = client.results(&id, 2).await;
    let mut again = results[1].clone();
    assert_eq!(again["replayed"], true);
    again["replayed"] = json!(false);
    assert_eq!(again, results[0]);

    for seats in [1, 7] {
        let body = json!({"targetLanguageCode": "fr", "maxParticipants": seats});
        let refused = client.refused(&host, "CreatePrivateSession", body).await;
        assert_eq!(refused, ("invalid_argument".to_owned(), 400));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ac3_a_code_opens_the_session_until_it_is_full() {
    let _undisturbed = services::undisturbed().await;
    let client = &running().await.client;
    let [host, guest, third, lost] = ["host", "guest", "third", "lost"].map(unique);
    let (session, code) = client.private(&host, 2).await;
    let entered = format!("{} - {}", &code[..3].to_lowercase(), &code[3..]);
    let joined = client
        .accepted(&guest, "JoinSession", json!({"inviteCode": entered}))
        .await;
    assert_eq!(joined["sessionId"], session.as_str());
    let join = || json!({"inviteCode": code});
    let refused = client.refused(&third, "JoinSession", join()).await;
    assert_eq!(refused, ("session_full".to_owned(), 409));
    for _ in 0..10 {
        let body = json!({"inviteCode": "nosuch"});
        let refused = client.refused(&lost, "JoinSession", body).await;
        assert_eq!(refused, ("invite_not_found".to_owned(), 404));
    }
    let refused = client.refused(&lost, "JoinSession", join()).await;
    assert_eq!(refused, ("too_many_attempts".to_owned(), 429));

    client.accepted(&guest, "LeaveSession", of(&session)).await;
    client.accepted(&guest, "JoinSession", join()).await;
    client.accepted(&host, "EndSession", of(&session)).await;
    let refused = client.refused(&third, "JoinSession", join()).await;
    assert_eq!(refused, ("session_ended".to_owned(), 410));
    let events = client.events(&session, "session.ended").await;
    let rejoin = events
        .iter()
        .rfind(|event| event["type"] == "participant.joined")
        .expect("the rejoin");
    assert_eq!(rejoin["participant"]["rejoin"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn ac4_connections_make_presence() {
    let _undisturbed = services::undisturbed().await;
    let client = &running().await.client;
    let host = unique("host");
    let (session, _) = client.private(&host, 2).await;
    for (branch, id) in [
        ("ConnectParticipant", "k1"),
        ("ConnectParticipant", "k2"),
        // Of the connection that was replaced: it changes nothing.
        ("DisconnectParticipant", "k1"),
        ("DisconnectParticipant", "k2"),
        ("ConnectParticipant", "k3"),
    ] {
        client
            .accepted(&host, branch, connection(&session, id))
            .await;
    }
    let events = client.events(&session, "participant.reconnected").await;
    assert_eq!(
        types(&events)[2..],
        [
            "participant.connected",
            "participant.disconnected",
            "participant.reconnected"
        ]
    );
    let stranger = unique("stranger");
    let refused = client
        .refused(&stranger, "ConnectParticipant", connection(&session, "k"))
        .await;
    assert_eq!(refused, ("not_participant".to_owned(), 403));
}

#[tokio::test(flavor = "multi_thread")]
async fn ac5_the_host_starts_a_private_session_once() {
    let _undisturbed = services::undisturbed().await;
    let client = &running().await.client;
    let [host, guest] = ["host", "guest"].map(unique);
    let (session, code) = client.private(&host, 4).await;
    let body = json!({"inviteCode": code});
    client.accepted(&guest, "JoinSession", body).await;
    let refused = client.refused(&guest, "StartSession", of(&session)).await;
    assert_eq!(refused, ("not_host".to_owned(), 403));
    let started = client.accepted(&host, "StartSession", of(&session)).await;
    let again = client.accepted(&host, "StartSession", of(&session)).await;
    assert_eq!(started["sequence"], again["sequence"], "no second event");
    let events = client.events(&session, "session.started").await;
    let snapshot = &events[3]["session"];
    let instant = |name: &str| snapshot[name].as_i64().expect("an instant");
    assert_eq!(instant("expiresAt") - instant("startedAt"), 30 * 60 * 1000);

    let [ann, bob] = ["ann", "bob"].map(unique);
    let public = text(&client.matched(&[&ann, &bob]).await["sessionId"]);
    let refused = client.refused(&ann, "StartSession", of(&public)).await;
    assert_eq!(refused, ("invalid_state".to_owned(), 409));
}

#[tokio::test(flavor = "multi_thread")]
async fn ac6_the_host_role_moves_to_the_participant_of_longest_standing() {
    let _undisturbed = services::undisturbed().await;
    let client = &running().await.client;
    let [host, first, second] = ["host", "first", "second"].map(unique);
    let (session, code) = client.private(&host, 4).await;
    for user in [&first, &second] {
        let body = json!({"inviteCode": code});
        client.accepted(user, "JoinSession", body).await;
    }
    let body = json!({"sessionId": session, "speakingTimeSeconds": 1_000_000});
    client.accepted(&host, "LeaveSession", body).await;
    let events = client.events(&session, "session.host_changed").await;
    let [left, changed] = &events[events.len() - 2..] else {
        panic!("two events")
    };
    assert_eq!(left["type"], "participant.left");
    assert_eq!(left["reason"], "left");
    // What was said is bounded by how long one was there.
    let participant = &left["participant"];
    assert_eq!(
        participant["speakingTimeSeconds"],
        participant["presentSeconds"]
    );
    assert_eq!(changed["previousHostUserId"], host.as_str());
    assert_eq!(changed["session"]["hostUserId"], first.as_str());
    let refused = client.refused(&second, "EndSession", of(&session)).await;
    assert_eq!(refused, ("not_host".to_owned(), 403));
    client.accepted(&first, "EndSession", of(&session)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ac7_an_end_lets_everybody_leave_and_ends_with_statistics() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, deployment, ..
    } = running().await;
    let [ann, bob] = ["ann", "bob"].map(unique);
    let session = text(&client.matched(&[&ann, &bob]).await["sessionId"]);
    let refused = client.refused(&bob, "EndSession", of(&session)).await;
    assert_eq!(refused, ("not_host".to_owned(), 403));
    client.accepted(&ann, "EndSession", of(&session)).await;
    let again = client.accepted(&bob, "EndSession", of(&session)).await;
    let events = client.events(&session, "session.ended").await;
    assert_eq!(again["sequence"], events.len(), "no further event");
    let [first, second, ended] = &events[events.len() - 3..] else {
        panic!("three events")
    };
    for (event, user) in [(first, &ann), (second, &bob)] {
        assert_eq!(event["type"], "participant.left");
        assert_eq!(event["reason"], "session_ended");
        assert_eq!(event["participant"]["userId"], user.as_str());
        assert_eq!(event["participant"]["leftAt"], ended["session"]["endedAt"]);
    }
    assert_eq!(ended["type"], "session.ended");
    assert_eq!(ended["reason"], "host_ended");
    assert_eq!(ended["statistics"]["totalParticipants"], 2);
    assert_eq!(ended["statistics"]["talkBalance"], 0.0);
    let stored = document(deployment, "sessions", &session).await;
    assert_eq!(stored.get_str("endReason").ok(), Some("host_ended"));

    // Nobody open: it ends in the same step.
    let host = unique("host");
    let (session, _) = client.private(&host, 4).await;
    client.accepted(&host, "LeaveSession", of(&session)).await;
    let events = client.events(&session, "session.ended").await;
    assert_eq!(types(&events)[2..], ["participant.left", "session.ended"]);
    assert_eq!(events[3]["reason"], "all_left");
}

/// The endpoint is the HTTP part's; what it reads is stored by then.
#[tokio::test(flavor = "multi_thread")]
async fn ac8_what_the_history_shows_is_stored_when_the_result_is_published() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, deployment, ..
    } = running().await;
    let [host, guest] = ["host", "guest"].map(unique);
    let (session, code) = client.private(&host, 4).await;
    let body = json!({"inviteCode": code});
    client.accepted(&guest, "JoinSession", body).await;
    client.accepted(&host, "StartSession", of(&session)).await;
    client.accepted(&guest, "LeaveSession", of(&session)).await;
    let left = document(deployment, "participants", &format!("{session}:{guest}")).await;
    assert_eq!(left.get_str("userId").ok(), Some(&*guest));
    left.get_datetime("joinedAt").expect("an instant");
    left.get_datetime("leftAt").expect("an instant");
    let open = document(deployment, "participants", &format!("{session}:{host}")).await;
    assert_eq!(open.get("leftAt"), Some(&mongodb::bson::Bson::Null));
    client.accepted(&host, "EndSession", of(&session)).await;
    let stored = document(deployment, "sessions", &session).await;
    for instant in ["createdAt", "startedAt", "endedAt"] {
        stored.get_datetime(instant).expect("an instant");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ac9_limits_hold_across_partitions_and_workers() {
    let _undisturbed = services::undisturbed().await;
    let client = &running().await.client;
    let user = unique("user");
    // All at once, in whichever partitions their ids put them.
    let body = json!({"targetLanguageCode": "fr"});
    let mut sent = Vec::new();
    for _ in 0..8 {
        sent.push(client.send(&user, "CreatePrivateSession", &body).await);
    }
    let mut sessions = Vec::new();
    for id in sent {
        let result = client.result(&id).await;
        if result["outcome"] == "accepted" {
            sessions.push(text(&result["sessionId"]));
        } else {
            assert_eq!(result["code"], "limit_concurrent", "{result}");
            assert_eq!(result["limit"], 3, "{result}");
        }
    }
    assert_eq!(sessions.len(), 3);
    for _ in 3..10 {
        let session = sessions.pop().expect("an open one");
        client.accepted(&user, "EndSession", of(&session)).await;
        let made = client.private(&user, 4).await;
        sessions.push(made.0);
    }
    client.accepted(&user, "EndSession", of(&sessions[0])).await;
    let result = client.ask(&user, "CreatePrivateSession", body).await;
    // A run over midnight UTC starts a new day.
    if result["outcome"] == "rejected" {
        assert_eq!(result["code"], "limit_daily", "{result}");
        assert_eq!(result["used"], 10, "{result}");
        assert!(result["resetAt"].is_i64(), "{result}");
    }
}
