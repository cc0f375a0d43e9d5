//! `check` names exactly the operation that is missing, and leaves no trace of having asked.

use std::collections::BTreeMap;

use dev::{Acl, Operation, Resource, WORKER};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{at, borrowed, deployment, may_run, parts, sasl};
use crate::worker::deployment::{Deployment, PATIENCE};

const TOPICS: [(&str, i32); 5] = [
    ("match-found", 8),
    ("session-command", 8),
    ("session-event", 8),
    ("session-command-result", 8),
    ("session-dead-letter", 1),
];

/// The end of every partition, and the positions of the worker's group, seen by a user who may do anything.
fn traces(deployment: &Deployment, kafka: &str) -> (BTreeMap<(String, i32), i64>, usize) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", format!("worker-{}", deployment.name))
        .create()
        .expect("a consumer");
    let mut ends = BTreeMap::new();
    let mut all = TopicPartitionList::new();
    for (topic, partitions) in TOPICS {
        let topic = deployment.topic(topic);
        for partition in 0..partitions {
            let found = consumer.fetch_watermarks(&topic, partition, PATIENCE);
            let (_, end) = found.expect("it answers");
            ends.insert((topic.clone(), partition), end);
            all.add_partition(&topic, partition);
        }
    }
    let committed = consumer.committed_offsets(all, PATIENCE);
    let committed = committed.expect("it answers");
    let elements = committed.elements();
    let positions = elements
        .iter()
        .filter(|element| matches!(element.offset(), Offset::Offset(_)));
    (ends, positions.count())
}

/// The faults that `check` finds, and the lines about what it could not look at.
async fn faults(deployment: &Deployment, settings: &[String]) -> (Vec<String>, Vec<String>) {
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let check = deployment.run(&["check"], &settings).await;
    let of = |verdict: &str| -> Vec<String> {
        let lines = check.text.lines();
        let lines = lines.filter(|line| line.split_whitespace().next() == Some(verdict));
        lines.map(str::to_owned).collect()
    };
    let faults = of("fault");
    let code = i32::from(!faults.is_empty());
    assert_eq!(check.code, Some(code), "{}", check.text);
    (faults, of("unseen"))
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_exactly_the_missing_operation_and_writes_nothing() {
    let (deployment, parts) = (deployment().await, parts().await);
    may_run(&deployment).await;
    let properties = sasl("SASL_PLAINTEXT", "PLAIN", &parts.secrets().password(WORKER));
    let settings = at(&parts.listeners().sasl_plaintext, &borrowed(&properties));
    let before = traces(&deployment, parts.kafka());
    let (found, unseen) = faults(&deployment, &settings).await;
    assert_eq!((found.len(), unseen.len()), (0, 0), "{found:?} {unseen:?}");

    let names = TOPICS.map(|(topic, _)| deployment.topic(topic));
    let group = format!("worker-{}", deployment.name);
    let topic = |topic: &str| {
        let found = names
            .iter()
            .find(|name| name.starts_with(&format!("{topic}-{}", deployment.name)));
        found.expect("one of the topics").as_str()
    };
    let acl = |resource, operation| Acl {
        user: WORKER,
        resource,
        operation,
    };
    let of_topic = |name: &str, operation| acl(Resource::Topic(topic(name)), operation);
    let cases = [
        ("match-found", Operation::Read, "READ"),
        ("session-command", Operation::Read, "READ"),
        ("session-command", Operation::Write, "WRITE"),
        ("session-event", Operation::Write, "WRITE"),
        ("session-command-result", Operation::Write, "WRITE"),
        ("session-dead-letter", Operation::Write, "WRITE"),
    ];
    // Without DESCRIBE the topics are not even seen; with it the operation itself is asked for.
    for described in [false, true] {
        for (name, operation, word) in cases {
            let describe = of_topic(name, Operation::Describe);
            let needed = of_topic(name, operation);
            if described {
                parts.acls().grant(&[describe]).await.expect("granted");
            }
            parts.acls().revoke(&[needed]).await.expect("revoked");
            let (found, _) = faults(&deployment, &settings).await;
            let words = format!("{word} on topic {} is not allowed", topic(name));
            assert_eq!(found.len(), 1, "{words}: {found:?}");
            assert!(found[0].contains(&words), "{words}: {found:?}");
            let needed = of_topic(name, operation);
            parts.acls().grant(&[needed]).await.expect("granted");
        }
    }
    for described in [false, true] {
        if described {
            let describe = acl(Resource::Group(&group), Operation::Describe);
            parts.acls().grant(&[describe]).await.expect("granted");
        }
        let needed = acl(Resource::Group(&group), Operation::Read);
        parts.acls().revoke(&[needed]).await.expect("revoked");
        let (found, _) = faults(&deployment, &settings).await;
        let words = format!("READ on group {group} is not allowed");
        assert!(
            found.len() == 1 && found[0].contains(&words),
            "{words}: {found:?}"
        );
        let needed = acl(Resource::Group(&group), Operation::Read);
        parts.acls().grant(&[needed]).await.expect("granted");
    }
    let configs = of_topic("session-event", Operation::DescribeConfigs);
    parts.acls().revoke(&[configs]).await.expect("revoked");
    let (found, unseen) = faults(&deployment, &settings).await;
    let words = format!("DESCRIBE_CONFIGS on topic {}", topic("session-event"));
    assert!(
        found.len() == 1 && found[0].contains(&words),
        "{words}: {found:?}"
    );
    // Without the topic's limit nothing is sent there.
    let write = format!("WRITE on topic {}", topic("session-event"));
    assert!(
        unseen.iter().any(|line| line.contains(&write)),
        "{unseen:?}"
    );

    assert_eq!(traces(&deployment, parts.kafka()), before);
}
