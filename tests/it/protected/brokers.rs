//! Every way to protected brokers, once, with a command in and its result out.

use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use dev::{STRANGER, WORKER};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::permissions::{APPLY, READ, RUN, grant};
use super::{CLIENT_SECRET, at, borrowed, deployment, file, may_run, parts, sasl, works};
use crate::services;
use crate::worker::client::{Client, command};
use crate::worker::deployment::{Deployment, PATIENCE, Parts};

#[tokio::test(flavor = "multi_thread")]
async fn scram_512_over_tls_with_an_authority_in_a_file() {
    let (deployment, parts) = (deployment().await, parts().await);
    may_run(&deployment).await;
    let secrets = parts.secrets();
    let mut properties = sasl("SASL_SSL", "SCRAM-SHA-512", &secrets.password(WORKER));
    let authority = file("authority.pem", &secrets.authority);
    properties.push(("ssl.ca.location", authority.display().to_string()));
    let settings = at(&parts.listeners().sasl_ssl, &borrowed(&properties));
    works(&deployment, &settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scram_256_over_tls_with_an_authority_as_text() {
    let (deployment, parts) = (deployment().await, parts().await);
    may_run(&deployment).await;
    let secrets = parts.secrets();
    let mut properties = sasl("sasl_ssl", "SCRAM-SHA-256", &secrets.password(WORKER));
    properties.push(("ssl.ca.pem", secrets.authority.clone()));
    let settings = at(&parts.listeners().sasl_ssl, &borrowed(&properties));
    works(&deployment, &settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_without_tls() {
    let (deployment, parts) = (deployment().await, parts().await);
    may_run(&deployment).await;
    let password = parts.secrets().password(WORKER);
    let properties = sasl("SASL_PLAINTEXT", "PLAIN", &password);
    let settings = at(&parts.listeners().sasl_plaintext, &borrowed(&properties));
    works(&deployment, &settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_as_text() {
    let (deployment, parts) = (deployment().await, parts().await);
    may_run(&deployment).await;
    let secrets = parts.secrets();
    let properties = [
        ("security.protocol", "SSL"),
        ("ssl.ca.pem", &secrets.authority),
        ("ssl.certificate.pem", &secrets.worker.certificate),
        ("ssl.key.pem", &secrets.worker.key),
    ];
    works(&deployment, &at(&parts.listeners().ssl, &properties)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_in_files() {
    let (deployment, parts) = (deployment().await, parts().await);
    let secrets = parts.secrets();
    may_run(&deployment).await;
    let files = [
        file("ca.pem", &secrets.authority),
        file("certificate.pem", &secrets.worker.certificate),
        file("key.pem", &secrets.worker.key),
    ];
    let [authority, certificate, key] = files.map(|path| path.display().to_string());
    let properties = [
        ("security.protocol", "SSL"),
        ("ssl.ca.location", authority.as_str()),
        ("ssl.certificate.location", &certificate),
        ("ssl.key.location", &key),
    ];
    works(&deployment, &at(&parts.listeners().ssl, &properties)).await;
}

/// An identity provider that knows one client, and counts the tokens it gave.
pub(super) struct Provider {
    pub(super) url: String,
    given: watch::Receiver<u32>,
}

impl Provider {
    pub(super) async fn start(lifetime: Duration) -> Self {
        let (sender, given) = watch::channel(0);
        let router = Router::new()
            .route("/token", post(token))
            .with_state((sender, lifetime));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("http://{address}/token");
        Self { url, given }
    }

    pub(super) fn properties(&self, secret: &str) -> Vec<(&'static str, String)> {
        vec![
            ("sasl.mechanisms", "OAUTHBEARER".to_owned()),
            ("sasl.oauthbearer.method", "oidc".to_owned()),
            ("sasl.oauthbearer.token.endpoint.url", self.url.clone()),
            ("sasl.oauthbearer.client.id", "session-worker".to_owned()),
            ("sasl.oauthbearer.client.secret", secret.to_owned()),
            ("sasl.oauthbearer.scope", "kafka".to_owned()),
        ]
    }
}

async fn token(
    State((given, lifetime)): State<(watch::Sender<u32>, Duration)>,
    headers: HeaderMap,
    form: String,
) -> (axum::http::StatusCode, Json<Value>) {
    let client = format!("session-worker:{CLIENT_SECRET}");
    let basic = base64::engine::general_purpose::STANDARD.encode(client);
    let says = headers.get("authorization").and_then(|v| v.to_str().ok());
    if says != Some(&format!("Basic {basic}")) {
        let refusal = json!({"error": "invalid_client"});
        return (axum::http::StatusCode::UNAUTHORIZED, Json(refusal));
    }
    let form: std::collections::BTreeMap<_, _> = form_urlencoded::parse(form.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["scope"], "kafka");
    let token = parts().await.secrets().token(WORKER, lifetime);
    given.send_modify(|count| *count += 1);
    let answer = json!({
        "access_token": token.expect("a token"),
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
    });
    (axum::http::StatusCode::OK, Json(answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_by_client_credentials_are_renewed_in_time() {
    let (deployment, parts) = (deployment().await, parts().await);
    may_run(&deployment).await;
    let mut provider = Provider::start(Duration::from_secs(10)).await;
    let mut properties = provider.properties(CLIENT_SECRET);
    properties.push(("security.protocol", "SASL_SSL".to_owned()));
    properties.push(("ssl.ca.pem", parts.secrets().authority.clone()));
    let settings = at(&parts.listeners().sasl_ssl, &borrowed(&properties));
    works(&deployment, &settings).await;

    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let _worker = deployment.worker(&settings).await;
    let before = *provider.given.borrow_and_update();
    // The consumer's and the producer's next ones.
    let renewed = provider.given.wait_for(|given| *given >= before + 2);
    tokio::time::timeout(PATIENCE, renewed)
        .await
        .expect("tokens are renewed")
        .expect("the provider runs");
    let client = Client::new(&deployment);
    client.private("bruno", 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_every_compression_are_read() {
    let deployment = deployment().await;
    let worker = deployment.worker(&[]).await;
    let client = Client::new(&deployment);
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &deployment.parts.kafka)
            .set("compression.type", compression)
            .create()
            .expect("a producer");
        // A record that does not shrink is sent as it is.
        let title = "a".repeat(200);
        let body = json!({"targetLanguageCode": "fr", "topicTitle": title});
        let command = command(compression, "CreatePrivateSession", &body);
        let id = command["commandId"].as_str().expect("an id").to_owned();
        let (topic, value) = (deployment.topic("session-command"), command.to_string());
        let record = FutureRecord::to(&topic).key(&id).payload(&value);
        let sent = producer.send(record, PATIENCE).await;
        sent.map_err(|(error, _)| error).expect("it is written");
        let result = client.result(&id).await;
        assert_eq!(result["outcome"], "accepted", "{compression}: {result}");
    }
    worker.stop().await;

    let settings = ["kafka.properties.compression.type=zstd"];
    let worker = deployment.worker(&settings).await;
    client.private("chloe", 4).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_an_aborted_transaction_is_none() {
    let deployment = deployment().await;
    let worker = deployment.worker(&[]).await;
    let client = Client::new(&deployment);
    let body = json!({"targetLanguageCode": "fr"});
    let aborted = command("amina", "CreatePrivateSession", &body);
    let id = aborted["commandId"].as_str().expect("an id").to_owned();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &deployment.parts.kafka)
        .set("transactional.id", &deployment.name)
        .create()
        .expect("a producer");
    let (topic, value) = (deployment.topic("session-command"), aborted.to_string());
    let transaction = producer.clone();
    let begun = tokio::task::spawn_blocking(move || {
        transaction.init_transactions(PATIENCE)?;
        transaction.begin_transaction()
    });
    begun
        .await
        .expect("no panic")
        .expect("a transaction begins");
    let record = FutureRecord::to(&topic)
        .partition(0)
        .key(&id)
        .payload(&value);
    let sent = producer.send(record, PATIENCE).await;
    sent.map_err(|(error, _)| error).expect("it is written");
    let ended = tokio::task::spawn_blocking(move || producer.abort_transaction(PATIENCE));
    ended.await.expect("no panic").expect("it is aborted");

    // What stands behind it in the same partition has been judged.
    let behind = command("bruno", "CreatePrivateSession", &body);
    let id_behind = behind["commandId"].as_str().expect("an id").to_owned();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &deployment.parts.kafka)
        .create()
        .expect("a producer");
    let value = behind.to_string();
    let record = FutureRecord::to(&topic)
        .partition(0)
        .key(&id_behind)
        .payload(&value);
    let sent = producer.send(record, PATIENCE).await;
    sent.map_err(|(error, _)| error).expect("it is written");
    client.result(&id_behind).await;
    assert!(!client.is_answered(&id));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_goes_with_the_permissions_of_its_table() {
    let parts = parts().await;
    let deployment = Deployment::named(
        Parts {
            kafka: parts.kafka().to_owned(),
            registry: services::registry_url(),
            mongo: parts.mongo_uri().to_owned(),
        },
        &[],
    );
    let password = parts.secrets().password(WORKER);
    let properties = sasl("SASL_PLAINTEXT", "SCRAM-SHA-512", &password);
    let settings = at(&parts.listeners().sasl_plaintext, &borrowed(&properties));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let run = async |arguments: &[&str]| deployment.run(arguments, &settings).await;

    grant(&parts.acls(), &deployment, WORKER, RUN).await;
    let refused = run(&["topics", "apply"]).await;
    assert_ne!(refused.code, Some(0), "{}", refused.text);
    grant(&parts.acls(), &deployment, WORKER, APPLY).await;
    for arguments in [["topics", "apply"], ["schemas", "register"]] {
        let ended = run(&arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.text);
    }

    let worker = deployment.worker(&settings).await;
    let client = Client::new(&deployment);
    let (session, _) = client.private("amina", 4).await;
    client.write("session-command", "x", b"garbage", &[]).await;
    client.dead_letter("x").await;
    let refused = run(&["session", "show", &session]).await;
    assert!(refused.text.contains("uthoriz"), "{}", refused.text);

    grant(&parts.acls(), &deployment, WORKER, READ).await;
    for arguments in [
        &["check"][..],
        &["topics", "plan"],
        &["lanes", "show"],
        &["audit"],
        &["session", "show", &session],
        &["dead-letters", "list"],
    ] {
        let ended = run(arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.text);
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_permissions_is_told_which_topic_refuses() {
    let (deployment, parts) = (deployment().await, parts().await);
    let password = parts.secrets().password(STRANGER);
    let mut properties = sasl("SASL_PLAINTEXT", "PLAIN", &password);
    properties.retain(|(key, _)| *key != "sasl.username");
    properties.push(("sasl.username", STRANGER.to_owned()));
    let settings = at(&parts.listeners().sasl_plaintext, &borrowed(&properties));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let check = deployment.run(&["check"], &settings).await;
    assert_eq!(check.code, Some(1), "{}", check.text);
    let fault = check.text.lines().find(|line| {
        line.starts_with("fault") && line.contains(&deployment.topic("session-command"))
    });
    assert!(fault.is_some(), "{}", check.text);
}
