//! Deadlines through the whole worker, with short rules, and after a time without any worker.

use serde_json::json;

use super::client::{Client, now, text, types, unique};
use super::deployment::{Deployment, Parts};
use crate::services;

const SHORT: [&str; 4] = [
    "rules.sessionTimeout=4s",
    "rules.waitingTimeout=4s",
    "rules.expiryWarnings=2s,1s",
    "rules.disconnectGrace=1s",
];

#[tokio::test(flavor = "multi_thread")]
async fn ac4_ac7_deadlines_fire_with_their_reasons() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &SHORT).await;
    let worker = deployment.worker(&[]).await;
    let client = Client::new(&deployment);
    let [ann, bob, lone, dropped] = ["ann", "bob", "lone", "dropped"].map(unique);
    let timed = text(&client.matched(&[&ann, &bob]).await["sessionId"]);
    let (unstarted, _) = client.private(&lone, 4).await;
    let (emptied, _) = client.private(&dropped, 4).await;
    let connection = json!({"sessionId": emptied, "connectionId": "k"});
    for branch in ["ConnectParticipant", "DisconnectParticipant"] {
        client.accepted(&dropped, branch, connection.clone()).await;
    }

    let events = client.events(&timed, "session.ended").await;
    assert_eq!(
        types(&events)[4..],
        [
            "session.expiring",
            "session.expiring",
            "participant.left",
            "participant.left",
            "session.ended"
        ]
    );
    assert_eq!(
        (&events[4]["secondsLeft"], &events[5]["secondsLeft"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        events[4]["causationId"],
        format!("timer:{timed}:expiring:2")
    );
    assert_eq!(events[8]["reason"], "timeout");
    assert_eq!(events[8]["causationId"], format!("timer:{timed}:timeout"));
    assert_eq!(
        events[8]["session"]["endedAt"],
        events[8]["session"]["expiresAt"]
    );
    let events = client.events(&unstarted, "session.ended").await;
    assert_eq!(events.last().expect("one")["reason"], "never_started");
    assert_eq!(types(&events)[2..], ["participant.left", "session.ended"]);

    let events = client.events(&emptied, "session.ended").await;
    assert_eq!(
        types(&events)[2..],
        [
            "participant.connected",
            "participant.disconnected",
            "participant.left",
            "session.ended"
        ]
    );
    let (drop, left, ended) = (&events[3], &events[4], &events[5]);
    assert_eq!(left["reason"], "disconnect_timeout");
    assert_eq!(left["participant"]["leftAt"], drop["occurredAt"]);
    assert_eq!(ended["reason"], "all_left");
    let dropped_at = drop["occurredAt"].as_i64().expect("an instant");
    assert_eq!(ended["session"]["endedAt"], dropped_at + 1000);
    worker.stop().await;
    deployment.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ac7_deadlines_that_passed_without_a_worker_fire_late_with_their_instant() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &SHORT).await;
    let client = Client::new(&deployment);
    let worker = deployment.worker(&[]).await;
    let [ann, bob] = ["ann", "bob"].map(unique);
    let session = text(&client.matched(&[&ann, &bob]).await["sessionId"]);
    let events = client.events(&session, "session.started").await;
    let expires = events[3]["session"]["expiresAt"].as_i64().expect("set");
    worker.kill().await;
    // A backlog that finds the session overdue, beside commands that have nothing to do with it.
    let late = client
        .send(&ann, "EndSession", &json!({"sessionId": session}))
        .await;
    let body = json!({"targetLanguageCode": "fr"});
    let mut backlog = Vec::new();
    for _ in 0..20 {
        let user = unique("user");
        backlog.push(client.send(&user, "CreatePrivateSession", &body).await);
    }
    while now() < expires + 1500 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let worker = deployment.worker(&[]).await;
    let events = client.events(&session, "session.ended").await;
    let ended = events.last().expect("one");
    assert_eq!(ended["reason"], "timeout");
    assert_eq!(ended["session"]["endedAt"], expires);
    assert!(
        ended["occurredAt"].as_i64() > Some(expires + 1000),
        "{ended}"
    );
    assert_eq!(client.result(&late).await["outcome"], "accepted");
    backlog.push(late);
    client.guarantees_hold(&backlog).await;
    worker.stop().await;
    deployment.is_sound().await;
}
