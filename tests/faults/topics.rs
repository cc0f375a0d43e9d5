//! Permissions that are taken away and given back: topics that refuse records, inputs that may not be
//! read, a group that may not be joined.

use std::time::Instant;

use dev::{Acl, Operation, Resource, WORKER};

use crate::deployment::{Deployment, Parts};
use crate::load::{ALL, LANE, Sent, session_in};
use crate::permissions::{RUN, grant};
use crate::scene::{DEADLINES, Scene};
use crate::services;
use crate::table::Measured;

/// A worker that may do what docs/security.md lists.
async fn permitted() -> Scene {
    let protected = tokio::task::spawn_blocking(services::protected).await;
    let protected = protected.expect("the broker starts");
    let parts = Parts {
        kafka: protected.kafka().to_owned(),
        ..Parts::shared()
    };
    let deployment = Deployment::prepared(parts, &[DEADLINES]).await;
    grant(&protected.acls(), &deployment, WORKER, RUN).await;
    let settings = [
        format!("kafka.brokers={}", protected.listeners().sasl_plaintext),
        "kafka.properties.security.protocol=SASL_PLAINTEXT".to_owned(),
        "kafka.properties.sasl.mechanisms=PLAIN".to_owned(),
        format!("kafka.properties.sasl.username={WORKER}"),
        format!(
            "kafka.properties.sasl.password={}",
            protected.secrets().password(WORKER)
        ),
    ];
    let settings = settings.each_ref().map(String::as_str);
    Scene::of(deployment, &settings, 1).await
}

fn of(resource: Resource<'_>, operation: Operation) -> [Acl<'_>; 1] {
    [Acl {
        user: WORKER,
        resource,
        operation,
    }]
}

async fn take(resource: Resource<'_>, operation: Operation) {
    let acls = services::protected().acls();
    let taken = acls.revoke(&of(resource, operation)).await;
    taken.expect("it is revoked");
}

async fn give_back(resource: Resource<'_>, operation: Operation) {
    let acls = services::protected().acls();
    let given = acls.grant(&of(resource, operation)).await;
    given.expect("it is granted");
}

pub(crate) async fn dead_letters_refused() -> Measured {
    let mut scene = permitted().await;
    let topic = scene.deployment.topic("session-dead-letter");
    scene.fault_begins();
    take(Resource::Topic(&topic), Operation::Write).await;
    let garbage = session_in(LANE);
    scene
        .client
        .write("session-command", &garbage, b"garbage", &[])
        .await;
    scene.readiness_says(&["publish", topic.as_str()]).await;
    scene.other_lanes_answer().await;
    scene.same_lane_answers().await;
    scene.deadlines_fire().await;
    scene.probes_answer().await;
    assert_eq!(scene.client.dead_letters(), 0);
    give_back(Resource::Topic(&topic), Operation::Write).await;
    let began = Instant::now();
    scene.dead_letters = 1;
    scene.client.dead_letter(&garbage).await;
    let whole = began.elapsed();
    scene.end(whole).await
}

pub(crate) async fn events_refused() -> Measured {
    let mut scene = permitted().await;
    let topic = scene.deployment.topic("session-event");
    scene.load.pause(&ALL).await;
    let sent: Vec<_> = scene.load.sent();
    scene.answered(Instant::now(), &sent).await;
    take(Resource::Topic(&topic), Operation::Write).await;
    // Results say what is stored, and they are of another topic.
    let mut waiting = Vec::new();
    for lane in ALL {
        waiting.push(scene.create(lane).await);
    }
    for sent in &waiting {
        scene.client.result(&sent.command).await;
    }
    scene.results_came();
    scene.readiness_says(&["publish", topic.as_str()]).await;
    scene.probes_answer().await;
    give_back(Resource::Topic(&topic), Operation::Write).await;
    let whole = scene.answered(Instant::now(), &waiting).await;
    scene.load.resume().await;
    scene.end(whole).await
}

pub(crate) async fn reading_refused() -> Measured {
    let mut scene = permitted().await;
    let topic = scene.deployment.topic("session-command");
    scene.fault_begins();
    take(Resource::Topic(&topic), Operation::Read).await;
    let waiting = not_read(&mut scene).await;
    give_back(Resource::Topic(&topic), Operation::Read).await;
    let whole = scene.answered(Instant::now(), &[waiting]).await;
    scene.end(whole).await
}

pub(crate) async fn group_refused() -> Measured {
    let mut scene = permitted().await;
    let group = format!("worker-{}", scene.deployment.name);
    take(Resource::Group(&group), Operation::Read).await;
    scene.readiness_says(&["READ on the group"]).await;
    scene.probes_answer().await;
    give_back(Resource::Group(&group), Operation::Read).await;
    let whole = scene.all_work(Instant::now()).await;
    scene.worker().readiness(200).await;
    scene.end(whole).await
}

/// Nothing is read, and what is owned goes on.
async fn not_read(scene: &mut Scene) -> Sent {
    scene.readiness_says(&["held", "READ on topic"]).await;
    scene.deadlines_fire().await;
    scene.probes_answer().await;
    scene.create(LANE).await
}
