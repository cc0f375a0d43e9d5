//! Protected parts: every way of proving who one is, once from end to end, with the permissions that
//! docs/security.md lists and no others; and the words for what is wrong.

mod brokers;
mod check;
mod databases;
mod permissions;
mod privileges;
mod words;

use std::path::PathBuf;
use std::sync::LazyLock;

use dev::{FailPoints, Mongo, Options, Progress, Protection, Services, WORKER};
use mongodb::bson::{Document, doc};
use serde_json::json;

use self::permissions::{RUN, database_actions, grant};
use crate::services;
use crate::worker::client::Client;
use crate::worker::deployment::{Deployment, Parts};

static PARTS: LazyLock<Services> = LazyLock::new(|| {
    // A thread and a runtime of their own: the parts outlive the runtime of the test that asks first.
    let start = || {
        let options = Options {
            kafka: true,
            mongo: Mongo::Single,
            protection: Protection::Full,
            fail_points: FailPoints::On,
            progress: Progress::Full,
            ..Options::none()
        };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime to start parts on");
        runtime.block_on(Services::start(options))
    };
    let started = std::thread::spawn(start).join();
    match started.expect("starting does not panic") {
        Ok(services) => services,
        Err(error) => panic!("protected parts cannot be started: {error}"),
    }
});

/// Starting takes seconds, and blocks.
async fn parts() -> &'static Services {
    tokio::task::spawn_blocking(|| &*PARTS)
        .await
        .expect("the parts start")
}

/// A deployment whose topics and schemas are there, made and looked at by those who may do everything.
async fn deployment() -> Deployment {
    let parts = parts().await;
    let parts = Parts {
        kafka: parts.kafka().to_owned(),
        registry: services::registry_url(),
        mongo: parts.mongo_uri().to_owned(),
    };
    Deployment::prepared(parts, &[]).await
}

/// A worker with these settings creates a session.
async fn works(deployment: &Deployment, settings: &[String]) {
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let worker = deployment.worker(&settings).await;
    let client = Client::new(deployment);
    let body = json!({"targetLanguageCode": "fr"});
    let made = client.accepted("amina", "CreatePrivateSession", body).await;
    let session = made["sessionId"].as_str().expect("a session").to_owned();
    client.events(&session, "participant.joined").await;
    let output = worker.output();
    let secrets = PARTS.secrets();
    assert!(!output.contains(&secrets.password(WORKER)), "{output}");
    assert!(!output.contains("PRIVATE KEY"), "{output}");
    assert!(!output.contains(CLIENT_SECRET), "{output}");
    worker.stop().await;
}

/// The secret of the client that asks for tokens.
const CLIENT_SECRET: &str = "canary-of-the-token-client";

/// A user of MongoDB with the role of docs/security.md on the deployment's database, made in the
/// database `app`, and a connection string as that user without `authSource`.
async fn database_user(deployment: &Deployment, user: &str) -> String {
    let parts = parts().await;
    let app = admin().await.database("app");
    let role = role(deployment).await;
    let password = parts.secrets().password(user);
    let command = doc! {
        "createUser": user,
        "pwd": &password,
        "roles": [{ "role": role, "db": "admin" }],
    };
    app.run_command(command).await.expect("a user is made");
    uri(&format!("{user}:{password}@"), "")
}

/// Makes the role of docs/security.md for the deployment's database, and names it.
async fn role(deployment: &Deployment) -> String {
    let name = format!("role-{}", deployment.name);
    let database = format!("worker_{}", deployment.name);
    let command = doc! {
        "createRole": &name,
        "privileges": [{
            "resource": { "db": database, "collection": "" },
            "actions": database_actions(),
        }],
        "roles": [],
    };
    let made = admin().await.database("admin").run_command(command).await;
    made.expect("a role is made");
    name
}

async fn admin() -> mongodb::Client {
    mongodb::Client::with_uri_str(parts().await.mongo_uri())
        .await
        .expect("a client")
}

/// A connection string of the protected set with other credentials and further options.
fn uri(credentials: &str, options: &str) -> String {
    let (_, rest) = PARTS.mongo_uri().split_once('@').expect("credentials");
    format!("mongodb://{credentials}{rest}{options}")
}

/// A file with this content, which stays as long as the tests run.
fn file(name: &str, content: &str) -> PathBuf {
    let name = format!("session-worker-it-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, content).expect("a file is written");
    path
}

/// The settings of a worker at one of the listeners, with these properties.
fn at(listener: &str, properties: &[(&str, &str)]) -> Vec<String> {
    let properties = properties
        .iter()
        .map(|(key, value)| format!("kafka.properties.{key}={value}"));
    std::iter::once(format!("kafka.brokers={listener}"))
        .chain(properties)
        .collect()
}

/// The properties of a user with a password.
fn sasl(protocol: &str, mechanism: &str, password: &str) -> Vec<(&'static str, String)> {
    vec![
        ("security.protocol", protocol.to_owned()),
        ("sasl.mechanisms", mechanism.to_owned()),
        ("sasl.username", WORKER.to_owned()),
        ("sasl.password", password.to_owned()),
    ]
}

fn borrowed<'text>(pairs: &'text [(&'static str, String)]) -> Vec<(&'static str, &'text str)> {
    pairs
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect()
}

/// Waits until `condition` holds of the collection's documents.
async fn documents(deployment: &Deployment, collection: &str) -> mongodb::Collection<Document> {
    let database = format!("worker_{}", deployment.name);
    admin().await.database(&database).collection(collection)
}

/// The worker's ACLs for this deployment.
async fn may_run(deployment: &Deployment) {
    grant(&parts().await.acls(), deployment, WORKER, RUN).await;
}
