//! Every way to a protected database, once, with the role of docs/security.md and no other; and what a
//! takeover costs between workers of two users.

use std::time::{Duration, Instant};

use dev::WORKER;
use mongodb::bson::{Document, doc};
use serde_json::json;

use super::{admin, database_user, deployment, documents, file, parts, role, uri, works};
use crate::worker::client::Client;

#[tokio::test(flavor = "multi_thread")]
async fn a_password_over_tls_with_an_authority_of_its_own_and_the_documented_role() {
    let deployment = deployment().await;
    let user = format!("scram-{}", deployment.name);
    let uri = database_user(&deployment, &user).await;
    let setting = format!("mongo.uri={uri}&authSource=app");
    works(&deployment, std::slice::from_ref(&setting)).await;
    for command in [&["check"][..], &["audit"], &["lanes", "show"]] {
        let ended = deployment.run(command, &[&setting]).await;
        assert_eq!(ended.code, Some(0), "{command:?}: {}", ended.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_a_user() {
    let (deployment, parts) = (deployment().await, parts().await);
    let role = role(&deployment).await;
    let subject = format!("CN={WORKER},O=session-worker");
    let command = doc! {
        "createUser": subject,
        "roles": [{ "role": role, "db": "admin" }],
    };
    let external = admin().await.database("$external");
    external.run_command(command).await.expect("a user is made");
    let pair = file("x509.pem", &parts.secrets().worker.both());
    let options = format!(
        "&authMechanism=MONGODB-X509&authSource=%24external&tlsCertificateKeyFile={}",
        pair.display()
    );
    works(&deployment, &[format!("mongo.uri={}", uri("", &options))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_is_what_the_uri_asks_for() {
    let deployment = deployment().await;
    for compressor in ["zstd", "zlib"] {
        let before = compressed(compressor).await;
        let uri = format!("{}&compressors={compressor}", deployment.parts.mongo);
        works(&deployment, &[format!("mongo.uri={uri}")]).await;
        assert!(compressed(compressor).await > before, "{compressor}");
    }
}

/// How many bytes came in compressed that way, by the server's own count.
async fn compressed(compressor: &str) -> i64 {
    let admin = admin().await.database("admin");
    let status = admin.run_command(doc! { "serverStatus": 1 }).await;
    let status = status.expect("an answer");
    let network = status.get_document("network").expect("the network's part");
    let of_all = network.get_document("compression").expect("compression");
    let of_one = of_all.get_document(compressor).expect("the compressor");
    let bytes = of_one.get_document("decompressor").expect("the way in");
    bytes.get_i64("bytesIn").expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_from_another_user_waits_for_the_end_of_its_transaction() {
    const LIFETIME: Duration = Duration::from_secs(8);
    let deployment = deployment().await;
    let first = format!("first-{}", deployment.name);
    let second = format!("second-{}", deployment.name);
    let first = database_user(&deployment, &first).await;
    let second = {
        // The role is there already.
        let (app, parts) = (admin().await.database("app"), parts().await);
        let password = parts.secrets().password(&second);
        let role = format!("role-{}", deployment.name);
        let command = doc! {
            "createUser": &second,
            "pwd": &password,
            "roles": [{ "role": role, "db": "admin" }],
        };
        app.run_command(command).await.expect("a user is made");
        uri(&format!("{second}:{password}@"), "&authSource=app")
    };
    let first = format!("{first}&authSource=app");

    // A worker of the first user has owned every lane, and its last transaction is open.
    works(&deployment, &[format!("mongo.uri={first}")]).await;
    let set = |seconds: i32| async move {
        let command = doc! { "setParameter": 1, "transactionLifetimeLimitSeconds": seconds };
        let done = admin().await.database("admin").run_command(command).await;
        done.expect("the parameter is set");
    };
    set(8).await;
    let dead = mongodb::Client::with_uri_str(&first)
        .await
        .expect("a client");
    let mut session = dead.start_session().await.expect("a session");
    session.start_transaction().await.expect("a transaction");
    let owner = session.id().get("id").expect("an id").clone();
    let lanes = documents(&deployment, "lanes").await;
    lanes
        .update_many(doc! {}, doc! { "$set": { "owner": owner } })
        .await
        .expect("the owner is named");
    let theirs = dead.database(&format!("worker_{}", deployment.name));
    let lock = doc! { "$inc": { "batch": 1_i64 } };
    let began = Instant::now();
    theirs
        .collection::<Document>("lanes")
        .update_many(doc! {}, lock)
        .session(&mut session)
        .await
        .expect("the lanes are locked");

    let worker = deployment
        .unready_worker(&[&format!("mongo.uri={second}")])
        .await;
    let client = Client::new(&deployment);
    let body = json!({"targetLanguageCode": "fr"});
    client.accepted("amina", "CreatePrivateSession", body).await;
    let waited = began.elapsed();
    set(60).await;
    // The lock held it up, and MongoDB ended it: 8 s, and the sweep that finds it out.
    assert!(waited >= LIFETIME, "{waited:?}");
    worker.stop().await;
    deployment.is_sound().await;
}
