//! The services for real: started, put through every fault, ended. Takes a minute and fetches what is
//! missing, so it runs only with `RUN_SLOW_TESTS=1`.

use std::time::{Duration, Instant};

use dev::{FailPoints, Mongo, Options, Progress, Services, Source};
use mongodb::bson::{Document, doc};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

const BOUND: Duration = Duration::from_secs(60);

fn is_asked_for() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some_and(|value| value == "1")
}

fn own(options: Options) -> Options {
    Options {
        source: Source::Own,
        progress: Progress::Full,
        ..options
    }
}

fn topics(bootstrap: &str) -> Result<Vec<String>, rdkafka::error::KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()?;
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(2))?;
    Ok(metadata
        .topics()
        .iter()
        .map(|topic| topic.name().to_owned())
        .collect())
}

#[tokio::test]
async fn a_broker_keeps_its_topics_through_kill_freeze_and_restart() {
    if !is_asked_for() {
        return;
    }
    let options = own(Options {
        kafka: true,
        ..Options::none()
    });
    let services = Services::start(options).await.expect("a broker");
    let bootstrap = services.kafka();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .expect("a client");
    let topic = NewTopic::new("kept", 2, TopicReplication::Fixed(-1));
    let made = admin
        .create_topics(&[topic], &AdminOptions::new())
        .await
        .expect("an answer");
    assert!(made.iter().all(Result::is_ok), "{made:?}");

    services.broker().kill().await;
    topics(bootstrap).expect_err("a killed broker does not answer");
    services
        .broker()
        .restart()
        .await
        .expect("a restart after a kill");
    assert_eq!(topics(bootstrap).expect("an answer"), ["kept"]);

    services.broker().freeze().await;
    topics(bootstrap).expect_err("a frozen broker does not answer");
    services.broker().thaw().await;
    assert_eq!(topics(bootstrap).expect("an answer"), ["kept"]);

    services
        .broker()
        .restart()
        .await
        .expect("a restart in order");
    assert_eq!(topics(bootstrap).expect("an answer"), ["kept"]);

    let folder = services
        .broker()
        .log()
        .parent()
        .map(std::path::Path::to_path_buf);
    services.stop().await;
    topics(bootstrap_of_nobody()).expect_err("nobody listens");
    assert!(!folder.expect("a folder").exists());
}

/// A port that no service gets.
fn bootstrap_of_nobody() -> &'static str {
    "127.0.0.1:1"
}

#[tokio::test]
async fn a_replica_set_elects_another_primary_when_one_is_frozen() {
    if !is_asked_for() {
        return;
    }
    let options = Options {
        mongo: Mongo::Three,
        fail_points: FailPoints::On,
        ..Options::none()
    };
    let services = Services::start(own(options)).await.expect("a replica set");
    let client = mongodb::Client::with_uri_str(services.mongo_uri())
        .await
        .expect("a client");
    let things = client.database("test").collection::<Document>("things");
    things.insert_one(doc! { "_id": 1 }).await.expect("a write");

    let fail_point = doc! {
        "configureFailPoint": "failCommand",
        "mode": { "times": 1 },
        "data": { "errorCode": 91, "failCommands": ["ping"] },
    };
    client
        .database("admin")
        .run_command(fail_point)
        .await
        .expect("fail points are on");

    let old = services.primary().await.expect("a primary");
    let began = Instant::now();
    old.freeze().await;
    let new = loop {
        assert!(began.elapsed() < BOUND, "no member takes over");
        match services.primary().await {
            Some(primary) if primary.name() != old.name() => break primary,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it took {:?}",
        began.elapsed()
    );
    old.thaw().await;

    new.kill().await;
    new.restart().await.expect("a restart after a kill");
    let kept = client.database("test").collection::<Document>("things");
    assert_eq!(kept.count_documents(doc! {}).await.expect("a read"), 1);
}

#[tokio::test]
async fn a_set_of_one_is_writable_right_after_a_restart() {
    if !is_asked_for() {
        return;
    }
    let options = own(Options {
        mongo: Mongo::Single,
        ..Options::none()
    });
    let services = Services::start(options).await.expect("a replica set");
    let client = mongodb::Client::with_uri_str(services.mongo_uri())
        .await
        .expect("a client");
    for (id, orderly) in [(1_i64, true), (2, false)] {
        let things = client.database("test").collection::<Document>("things");
        things
            .insert_one(doc! { "_id": id })
            .await
            .expect("a write");
        if !orderly {
            services.member(0).kill().await;
        }
        services.member(0).restart().await.expect("a restart");
        let count = things.count_documents(doc! {}).await.expect("a read");
        assert_eq!(i64::try_from(count), Ok(id));
    }
}

#[tokio::test]
async fn a_registry_answers_again_after_a_kill() {
    if !is_asked_for() {
        return;
    }
    let options = own(Options {
        registry: true,
        ..Options::none()
    });
    let services = Services::start(options).await.expect("a registry");
    assert!(services.registry_url().ends_with("/apis/ccompat/v7"));
    let registry = services.registry_process();
    registry.kill().await;
    assert_eq!(registry.pid(), None);
    registry.restart().await.expect("a restart");
    let answer = reqwest::get(format!("{}/subjects", services.registry_url())).await;
    assert_eq!(
        answer.expect("an answer").text().await.expect("a body"),
        "[]"
    );
}
