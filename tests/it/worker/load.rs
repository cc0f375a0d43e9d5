//! Crashes and stops under load: nothing lost, nothing twice (contract 3).

use serde_json::json;

use super::client::{Client, command, text, unique};
use super::deployment::{Deployment, Parts};
use crate::services;

/// Sends rounds of sessions and what happens in them, without waiting for results.
async fn load(client: &Client, rounds: usize, sent: &mut Vec<String>) {
    for _ in 0..rounds {
        let [host, guest] = ["host", "guest"].map(unique);
        let session = uuid::Uuid::new_v4().to_string();
        let body = json!({"sessionId": session, "targetLanguageCode": "fr"});
        let create = command(&host, "CreatePrivateSession", &body);
        sent.push(client.write_command(&create).await);
        let on = json!({"sessionId": session});
        let connection = json!({"sessionId": session, "connectionId": "k"});
        for (user, branch, body) in [
            (&host, "StartSession", &on),
            (&host, "ConnectParticipant", &connection),
            (&guest, "LeaveSession", &on),
            (&host, "DisconnectParticipant", &connection),
            (&host, "EndSession", &on),
        ] {
            sent.push(client.send(user, branch, body).await);
        }
        let found = super::client::found(&[&host, &guest]);
        let id = text(&found["matchId"]);
        client
            .write("match-found", &id, found.to_string().as_bytes(), &[])
            .await;
        sent.push(id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantees_1_and_2_hold_when_one_of_two_workers_is_killed_under_load() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let client = Client::new(&deployment);
    let (doomed, other) = tokio::join!(deployment.worker(&[]), deployment.worker(&[]));
    let mut sent = Vec::new();
    load(&client, 2, &mut sent).await;
    let mut more = Vec::new();
    tokio::join!(load(&client, 30, &mut more), async {
        client.any_result(&sent).await;
        doomed.kill().await;
    });
    sent.extend(more);
    client.guarantees_hold(&sent).await;
    other.stop().await;
    deployment.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_6_a_worker_that_is_stopped_under_load_drains_and_another_goes_on() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let client = Client::new(&deployment);
    let worker = deployment.worker(&[]).await;
    let mut sent = Vec::new();
    load(&client, 10, &mut sent).await;
    let mut more = Vec::new();
    tokio::join!(worker.stop(), load(&client, 10, &mut more));
    sent.extend(more);
    let worker = deployment.worker(&[]).await;
    client.guarantees_hold(&sent).await;
    worker.stop().await;
    deployment.is_sound().await;
}
