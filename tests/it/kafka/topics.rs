//! `topics plan` and `topics apply` against a real broker.

use std::collections::BTreeMap;

use session_worker::kafka::topics::{
    Change, Growth, Plan, Topics, apply, observe, partition_count, plan,
};
use session_worker::kafka::{Settings, SetupError};
use session_worker::record::TopicNames;

use super::support::{settings, topic, unique};

async fn planned(settings: &Settings, topics: &Topics, growth: Growth) -> Plan {
    let names: Vec<_> = topics.iter().map(|topic| topic.name.as_str()).collect();
    let observed = observe(settings, &names).await.expect("the broker answers");
    plan(topics, &observed, growth)
}

fn one(name: &str, partitions: i32, key: &str, config: &str) -> Topics {
    Topics::parse(&format!(
        "{{version: 1, topics: [{{name: {name}, role: input, partitions: {partitions}, \
         replicationFactor: -1, config: {config}, subject: null, compatibility: null, \
         key: {key}, doc: d}}]}}"
    ))
    .expect("a legal file")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compiled_in_topics_are_created_once() {
    let prefix = unique("apply");
    let name = |name: &str| format!("{prefix}.{name}").into();
    let topics = Topics::compiled_in().renamed(&TopicNames {
        match_found: name("match-found"),
        session_command: name("session-command"),
        session_event: name("session-event"),
        session_command_result: name("session-command-result"),
        session_dead_letter: name("session-dead-letter"),
    });
    let settings = settings("group");
    let missing = partition_count(&settings, &name("session-command")).await;
    assert!(
        matches!(missing, Err(SetupError::MissingTopic { .. })),
        "{missing:?}"
    );

    let first = planned(&settings, &topics, Growth::Refused).await;
    assert_eq!(first.changes.len(), 5);
    assert!(
        first
            .changes
            .iter()
            .all(|change| matches!(change, Change::Create { .. }))
    );
    apply(&settings, &topics, &first)
        .await
        .expect("the topics are created");
    assert_eq!(
        planned(&settings, &topics, Growth::Refused).await,
        Plan::default()
    );
    // As when two instances apply at once.
    apply(&settings, &topics, &first)
        .await
        .expect("what is there is left alone");
    assert_eq!(
        partition_count(&settings, &name("session-command")).await,
        Ok(8)
    );
    assert_eq!(
        partition_count(&settings, &name("session-dead-letter")).await,
        Ok(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_topic_grows_only_when_it_is_allowed() {
    let (settings, name) = (settings("group"), topic("grow", 2, &[]).await);
    let keyed = one(&name, 3, "userId", "{}");
    let refused = planned(&settings, &keyed, Growth::Refused).await;
    assert_eq!(
        (refused.changes.len(), refused.drifts.len()),
        (0, 1),
        "{refused:?}"
    );
    let allowed = planned(&settings, &keyed, Growth::Allowed).await;
    apply(&settings, &keyed, &allowed).await.expect("it grows");
    assert_eq!(partition_count(&settings, &name).await, Ok(3));
    apply(&settings, &keyed, &allowed)
        .await
        .expect("growing it again changes nothing");

    let smaller = one(&name, 1, "null", "{}");
    let plan = planned(&settings, &smaller, Growth::Allowed).await;
    assert_eq!(
        (plan.changes.len(), plan.drifts.len()),
        (0, 1),
        "nothing shrinks: {plan:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_is_changed_and_foreign_settings_stay() {
    let foreign = [("cleanup.policy", "compact"), ("retention.ms", "1000")];
    let (settings, name) = (settings("group"), topic("config", 1, &foreign).await);
    let topics = one(
        &name,
        1,
        "null",
        "{retention.ms: 2000, max.message.bytes: 3000}",
    );
    let plan = planned(&settings, &topics, Growth::Refused).await;
    assert_eq!(plan.changes.len(), 2, "{plan:?}");
    apply(&settings, &topics, &plan)
        .await
        .expect("it is configured");
    assert_eq!(
        planned(&settings, &topics, Growth::Refused).await,
        Plan::default()
    );

    let observed = observe(&settings, &[&name])
        .await
        .expect("the broker answers");
    let shown = observed[&name].shown().expect("it is shown");
    let config = shown.config.as_ref().expect("its settings are shown");
    let on_topic: BTreeMap<_, _> = config
        .iter()
        .filter(|(_, setting)| setting.on_topic)
        .map(|(key, setting)| (key.as_str(), setting.value.as_deref().unwrap_or_default()))
        .collect();
    let expected = [
        ("cleanup.policy", "compact"),
        ("max.message.bytes", "3000"),
        ("retention.ms", "2000"),
    ];
    assert_eq!(on_topic, BTreeMap::from(expected));
}
