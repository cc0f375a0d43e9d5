//! Whatever keeps a lane from reading is told to it, and reading goes on once it is over: permissions,
//! brokers that are gone or silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dev::{Acl, Operation, Options, Protection, Resource, Services, WORKER};
use rdkafka::ClientConfig;
use session_worker::kafka::{Consumer, Error, Log as _, PartitionLog, Settings};

use super::support::{
    ALL, Lanes, PATIENCE, settings_at, soon, take, to_end, topic_at, until, values, write_by,
};

async fn broker(protection: Protection) -> Services {
    let options = Options {
        kafka: true,
        source: dev::Source::Own,
        protection,
        ..Options::none()
    };
    Services::start(options).await.expect("a broker starts")
}

/// Settings of a user without rights of its own.
fn worker(services: &Services, group: &str) -> Settings {
    let mut settings = settings_at(&services.listeners().sasl_plaintext, group);
    for (key, value) in [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", WORKER),
        ("sasl.password", &services.secrets().password(WORKER)),
    ] {
        settings.properties.insert(key.to_owned(), value.to_owned());
    }
    settings
}

fn sender(services: &Services) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", services.kafka());
    config
}

fn acl(resource: Resource<'_>, operation: Operation) -> Acl<'_> {
    Acl {
        user: WORKER,
        resource,
        operation,
    }
}

/// Seeks to `next` after every fault, as a lane does, until a fetch works; returns the faults.
async fn faults_until_it_reads(log: &mut PartitionLog, next: i64) -> Vec<String> {
    let mut faults = Vec::new();
    soon("fetch that works", async {
        loop {
            match log.records(ALL).await {
                Ok(records) => return assert!(records.is_empty(), "{records:?}"),
                Err(Error::Unavailable { reason }) => faults.push(reason),
                Err(error) => panic!("{error}"),
            }
            // Where the broker is gone it may fail as well.
            drop(log.seek(Some(next)).await);
        }
    })
    .await;
    faults
}

/// What the lane is told once reading does not work any more.
async fn fault(log: &mut PartitionLog) -> String {
    soon("fault", async {
        loop {
            match log.records(ALL).await {
                Ok(records) => assert!(records.is_empty(), "{records:?}"),
                Err(Error::Unavailable { reason }) => return reason,
                // The group gives up a member as soon as that.
                Err(error @ Error::Revoked) => return error.to_string(),
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

fn is_gone(told: &str) -> bool {
    told.contains("does not answer") || told == Error::Revoked.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_a_permission_that_is_taken_away_is_named_until_it_is_back() {
    let services = broker(Protection::Full).await;
    let topic = topic_at(services.kafka(), "guarded", 1, &[]).await;
    write_by(&sender(&services), &topic, 0, 0..3).await;
    let read = [acl(Resource::Topic(&topic), Operation::Read)];
    let acls = services.acls();
    let group = acl(Resource::Group("group"), Operation::Read);
    acls.grant(std::slice::from_ref(&group))
        .await
        .expect("granted");
    acls.grant(&read).await.expect("granted");

    let (lanes, mut logs) = Lanes::new();
    let consumer = Consumer::start(&worker(&services, "group"), &[&topic], lanes as _)
        .await
        .expect("it starts");
    let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
    assert_eq!(values(&to_end(&mut log).await), [0, 1, 2]);

    // Nothing is written meanwhile: an idle lane learns it as well.
    acls.revoke(&read).await.expect("revoked");
    let told = fault(&mut log).await;
    assert!(told.contains("READ on topic guarded"), "{told}");
    soon("seek", log.seek(Some(3))).await.expect("it seeks");
    let told = fault(&mut log).await;
    assert!(told.contains("READ on topic guarded"), "{told}");
    acls.grant(&read).await.expect("granted");
    soon("seek", log.seek(Some(3))).await.expect("it seeks");
    faults_until_it_reads(&mut log, 3).await;
    write_by(&sender(&services), &topic, 0, 3..4).await;
    assert_eq!(values(&take(&mut log, 1).await), [3]);

    // Without the group's permission the lanes go, and it is said why.
    let group = [group];
    acls.revoke(&group).await.expect("revoked");
    soon("revocation", async {
        while !matches!(log.records(ALL).await, Err(Error::Revoked)) {}
    })
    .await;
    until("it is named", || {
        let health = consumer.health();
        let fault = health.fault.unwrap_or_default();
        !health.assigned && fault.contains("READ on the group")
    })
    .await;
    acls.grant(&group).await.expect("granted");
    let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
    assert_eq!(values(&take(&mut log, 4).await), [0, 1, 2, 3]);
    assert_eq!(consumer.health().fault, None);

    consumer.stop(PATIENCE).await.expect("it closes");
    services.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_or_silent_is_told_and_waited_for() {
    let services = broker(Protection::None).await;
    let topic = topic_at(services.kafka(), "outage", 1, &[]).await;
    write_by(&sender(&services), &topic, 0, 0..3).await;
    let (lanes, mut logs) = Lanes::new();
    let consumer = Consumer::start(
        &settings_at(services.kafka(), "group"),
        &[&topic],
        Arc::clone(&lanes) as _,
    )
    .await
    .expect("it starts");
    let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
    assert_eq!(values(&to_end(&mut log).await), [0, 1, 2]);

    services.broker().stop().await;
    let told = fault(&mut log).await;
    assert!(is_gone(&told), "{told}");
    services.broker().restart().await.expect("it comes back");
    drop(log.seek(Some(3)).await);
    let mut next = 3;
    // It may have been away for longer than the group waits for a member.
    let mut resume = async |log: &mut PartitionLog| {
        write_by(&sender(&services), &topic, 0, next..next + 1).await;
        let found = soon("record", async {
            loop {
                match log.records(ALL).await {
                    Ok(records) if records.is_empty() => {}
                    Ok(records) => return records,
                    Err(Error::Revoked) => {
                        (_, *log) = logs.next(1).await.pop_first().expect("one log");
                        drop(log.seek(Some(next.into())).await);
                    }
                    Err(_) => drop(log.seek(Some(next.into())).await),
                }
            }
        })
        .await;
        assert_eq!(values(&found), [next]);
        next += 1;
    };
    resume(&mut log).await;
    services.broker().freeze().await;
    let started = Instant::now();
    let told = fault(&mut log).await;
    assert!(is_gone(&told), "{told}");
    assert!(started.elapsed() < Duration::from_secs(25), "{told}");
    services.broker().thaw().await;
    drop(log.seek(Some(4)).await);
    resume(&mut log).await;

    assert_eq!(consumer.health().failure, None);
    until("it is well", || consumer.health().brokers_up).await;
    consumer.stop(PATIENCE).await.expect("it closes");
    services.stop().await;
}
