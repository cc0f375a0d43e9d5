//! Protected parts for real: who is let in, what ACLs change, and what is deleted. Runs only with
//! `RUN_SLOW_TESTS=1`, as the other tests of services do.

use std::time::Duration;

use dev::{
    Acl, Mongo, Operation, Options, Progress, Protection, Resource, STRANGER, Services, WORKER,
};
use mongodb::bson::{Document, doc};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};

const BOUND: Duration = Duration::from_secs(30);

fn is_asked_for() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some_and(|value| value == "1")
}

async fn started(options: Options) -> Services {
    let options = Options {
        protection: Protection::Full,
        progress: Progress::Full,
        ..options
    };
    Services::start(options).await.expect("protected parts")
}

fn sasl(services: &Services, mechanism: &str, user: &str, password: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &services.listeners().sasl_plaintext)
        .set("security.protocol", "SASL_PLAINTEXT")
        .set("sasl.mechanisms", mechanism)
        .set("sasl.username", user)
        .set("sasl.password", password);
    config
}

async fn sent(config: &ClientConfig, topic: &str) -> Result<(), String> {
    let producer: FutureProducer = config.create().expect("a producer");
    let record = FutureRecord::to(topic).key("k").payload("v");
    let sent = producer.send(record, BOUND).await;
    sent.map(|_| ()).map_err(|(error, _)| error.to_string())
}

#[tokio::test]
async fn a_protected_broker_lets_users_do_what_acls_say() {
    if !is_asked_for() {
        return;
    }
    let services = started(Options {
        kafka: true,
        kafka_properties: vec![("num.partitions".to_owned(), "3".to_owned())],
        ..Options::none()
    })
    .await;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", services.kafka())
        .create()
        .expect("a client");
    let topic = NewTopic::new("guarded", -1, TopicReplication::Fixed(-1));
    let made = admin.create_topics(&[topic], &AdminOptions::new()).await;
    assert!(made.expect("an answer").iter().all(Result::is_ok));
    let metadata = admin
        .inner()
        .fetch_metadata(Some("guarded"), BOUND)
        .expect("an answer");
    assert_eq!(metadata.topics()[0].partitions().len(), 3);

    let write = [Operation::Describe, Operation::Write].map(|operation| Acl {
        user: WORKER,
        resource: Resource::Topic("guarded"),
        operation,
    });
    let secrets = services.secrets();
    let password = secrets.password(WORKER);
    let worker = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
        .map(|mechanism| sasl(&services, mechanism, WORKER, &password));
    let refused = sent(&worker[0], "guarded").await.expect_err("no ACL yet");
    assert!(refused.contains("authorization failed"), "{refused}");

    services.acls().grant(&write).await.expect("granted");
    for config in &worker {
        sent(config, "guarded").await.expect("allowed");
    }
    let stranger = sasl(&services, "PLAIN", STRANGER, &secrets.password(STRANGER));
    let refused = sent(&stranger, "guarded").await.expect_err("not for them");
    assert!(refused.contains("authorization failed"), "{refused}");

    services.acls().revoke(&write[1..]).await.expect("revoked");
    let refused = sent(&worker[2], "guarded").await.expect_err("taken back");
    assert!(refused.contains("authorization failed"), "{refused}");

    let before = 1;
    let partition = (0..3)
        .find(|partition| {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", services.kafka())
                .create()
                .expect("a consumer");
            let bounds = consumer.fetch_watermarks("guarded", *partition, BOUND);
            bounds.expect("an answer").1 >= before
        })
        .expect("a partition with a record");
    let delete = services.delete_records("guarded", partition, before);
    delete.await.expect("deleted");
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", services.kafka())
        .create()
        .expect("a consumer");
    let bounds = consumer.fetch_watermarks("guarded", partition, BOUND);
    assert_eq!(bounds.expect("an answer").0, before);
    assert!(
        services
            .broker()
            .data()
            .join(format!("guarded-{partition}"))
            .is_dir()
    );
}

#[tokio::test]
async fn a_protected_database_asks_for_a_user_and_for_tls() {
    if !is_asked_for() {
        return;
    }
    let services = started(Options {
        mongo: Mongo::Single,
        ..Options::none()
    })
    .await;
    let admin = mongodb::Client::with_uri_str(services.mongo_uri())
        .await
        .expect("a client");
    let things = admin.database("test").collection::<Document>("things");
    things.insert_one(doc! { "_id": 1 }).await.expect("a write");

    let (scheme, rest) = services.mongo_uri().split_once("://").expect("a URI");
    let (_, address) = rest.split_once('@').expect("credentials");
    let uri = format!("{scheme}://{address}&serverSelectionTimeoutMS=3000");
    let nobody = mongodb::Client::with_uri_str(uri).await.expect("a client");
    let things = nobody.database("test").collection::<Document>("things");
    things
        .insert_one(doc! { "_id": 2 })
        .await
        .expect_err("who is nobody writes nothing");

    services.member(0).restart().await.expect("a restart");
    let things = admin.database("test").collection::<Document>("things");
    assert_eq!(things.count_documents(doc! {}).await.expect("a read"), 1);
}
