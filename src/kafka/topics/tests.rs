//! The compiled-in file against contract section 1, and the comparison with what was observed.

use super::*;

fn observed(topic: &Topic) -> Observed {
    let config = topic.config.iter().map(|(key, value)| {
        (
            key.clone(),
            ObservedSetting {
                value: Some(value.clone()),
                on_topic: true,
            },
        )
    });
    Observed::Shown(Shown {
        partitions: topic.partitions,
        replication_factor: 3,
        config: Some(config.collect()),
    })
}

/// The topic, to be made different.
fn shown<'a>(observed: &'a mut BTreeMap<String, Observed>, name: &str) -> &'a mut Shown {
    match observed.get_mut(name) {
        Some(Observed::Shown(shown)) => shown,
        other => panic!("{name} is {other:?}"),
    }
}

fn all_observed(topics: &Topics) -> BTreeMap<String, Observed> {
    topics
        .iter()
        .map(|topic| (topic.name.clone(), observed(topic)))
        .collect()
}

#[test]
fn contract_1_the_compiled_in_topics_are_the_contracts() {
    let topics = Topics::compiled_in();
    let table: Vec<_> = topics
        .iter()
        .map(|t| {
            let rule = t.compatibility.map(|rule| rule.to_string());
            (
                t.name.as_str(),
                t.role,
                t.key.as_deref(),
                t.partitions,
                t.subject.clone(),
                rule,
            )
        })
        .collect();
    let subject = |name: &str| Some(format!("{name}-value"));
    let backward = Some("BACKWARD_TRANSITIVE".to_owned());
    let full = Some("FULL_TRANSITIVE".to_owned());
    assert_eq!(
        table,
        [
            (
                "match-found",
                Role::Input,
                Some("matchId"),
                8,
                subject("match-found"),
                backward.clone()
            ),
            (
                "session-command",
                Role::Input,
                Some("sessionId"),
                8,
                subject("session-command"),
                backward
            ),
            (
                "session-event",
                Role::Output,
                Some("sessionId"),
                8,
                subject("session-event"),
                full.clone()
            ),
            (
                "session-command-result",
                Role::Output,
                Some("commandId"),
                8,
                subject("session-command-result"),
                full
            ),
            ("session-dead-letter", Role::DeadLetter, None, 1, None, None),
        ]
    );
    assert!(topics.iter().all(|topic| topic.replication_factor == -1));
    let dead_letters = topics
        .get("session-dead-letter")
        .expect("it is in the table");
    assert_eq!(
        dead_letters
            .config
            .get("max.message.bytes")
            .map(String::as_str),
        Some("2097152")
    );
}

#[test]
fn the_compiled_in_names_are_the_default_names() {
    let names = TopicNames::default();
    let topics = Topics::compiled_in();
    assert_eq!(topics.clone().renamed(&names), topics);
    for name in [
        names.match_found,
        names.session_command,
        names.session_event,
        names.session_command_result,
        names.session_dead_letter,
    ] {
        assert!(topics.get(&name).is_some(), "{name}");
    }
}

#[test]
fn a_renamed_topic_takes_its_subject_along() {
    let names = TopicNames {
        session_event: "eu.session-event".into(),
        ..TopicNames::default()
    };
    let topics = Topics::compiled_in().renamed(&names);
    let renamed = topics.get("eu.session-event").expect("it was renamed");
    assert_eq!(renamed.subject.as_deref(), Some("eu.session-event-value"));
    assert!(topics.get("session-event").is_none());
}

const ONE: &str = "version: 1
topics:
  - name: a
    role: input
    partitions: 2
    replicationFactor: -1
    config: {}
    subject: null
    compatibility: null
    key: null
    doc: A.
";

#[test]
fn a_faulty_file_is_refused_with_every_fault_named() {
    assert!(Topics::parse(ONE).is_ok());
    for (from, to, said) in [
        ("version: 1", "version: 2", "version 2"),
        ("partitions: 2", "partitions: 0", "partitions"),
        ("partitions: 2", "partitions: many", "partitions"),
        ("    partitions: 2\n", "", "partitions"),
        (
            "replicationFactor: -1",
            "replicationFactor: 0",
            "replicationFactor",
        ),
        ("name: a", "name: a/b", "a/b"),
        ("name: a", "name: ..", ".."),
        ("role: input", "role: both", "both"),
        (
            "subject: null",
            "subject: a-value",
            "subject and compatibility",
        ),
        (
            "config: {}",
            "config: {cleanup.policy: 'delete, compact'}",
            "cleanup.policy",
        ),
        ("doc: A.", "doc: A.\n    colour: red", "colour"),
        ("doc: A.", "doc: [", ""),
    ] {
        let fault = Topics::parse(&ONE.replace(from, to))
            .expect_err(to)
            .to_string();
        assert!(fault.contains(said), "{to}: {fault}");
    }
    let twice = format!(
        "{ONE}{}",
        ONE.split_once("topics:\n").expect("it has topics").1
    );
    let fault = Topics::parse(&twice.replace("version: 1", "version: 7")).expect_err("named twice");
    assert_eq!(fault.faults.len(), 2, "{fault}");
}

#[test]
fn a_number_as_a_setting_is_its_text() {
    let topics = Topics::parse(&ONE.replace("config: {}", "config: {retention.ms: 1000}"))
        .expect("a plain scalar is text");
    let topic = topics.get("a").expect("it is the only one");
    assert_eq!(
        topic.config.get("retention.ms").map(String::as_str),
        Some("1000")
    );
}

#[test]
fn nothing_is_planned_where_nothing_differs() {
    let topics = Topics::compiled_in();
    assert_eq!(
        plan(&topics, &all_observed(&topics), Growth::Refused),
        Plan::default()
    );
}

#[test]
fn no_topic_of_the_worker_may_be_compacted() {
    let topics = Topics::compiled_in();
    for topic in topics.iter() {
        let policy = topic.config.get("cleanup.policy").map(String::as_str);
        assert_eq!(policy, Some("delete"), "{}", topic.name);
    }
    let mut found = all_observed(&topics);
    let config = shown(&mut found, "session-event").config.as_mut();
    let policy = config.and_then(|config| config.get_mut("cleanup.policy"));
    policy.expect("it has settings").value = Some("compact".to_owned());
    let changes = plan(&topics, &found, Growth::Refused).changes;
    let said: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["set cleanup.policy of session-event from compact to delete"]
    );
    assert!(!changes[0].keeps_the_value());
}

#[test]
fn what_may_not_be_looked_at_is_neither_missing_nor_as_it_should_be() {
    let topics = Topics::compiled_in();
    let mut found = all_observed(&topics);
    found.insert("match-found".to_owned(), Observed::Hidden);
    shown(&mut found, "session-event").config = None;
    let plan = plan(&topics, &found, Growth::Refused);
    assert_eq!((plan.changes.len(), plan.drifts.len()), (0, 0), "{plan:?}");
    let unseen = [
        Unseen::Topic("match-found".to_owned()),
        Unseen::Settings("session-event".to_owned()),
    ];
    assert_eq!(plan.unseen, unseen);
    assert!(!plan.is_empty());
    assert!(unseen[1].to_string().contains("DESCRIBE_CONFIGS"));
}

#[test]
fn a_missing_topic_is_created() {
    let topics = Topics::compiled_in();
    let mut found = all_observed(&topics);
    found.remove("session-event");
    let plan = plan(&topics, &found, Growth::Refused);
    let created = Change::Create {
        topic: "session-event".to_owned(),
        partitions: 8,
    };
    assert_eq!(plan.changes, [created]);
    assert_eq!(plan.drifts, []);
}

#[test]
fn a_keyed_topic_grows_only_when_it_is_allowed() {
    let topics = Topics::compiled_in();
    let mut found = all_observed(&topics);
    shown(&mut found, "session-command").partitions = 4;
    let refused = plan(&topics, &found, Growth::Refused);
    assert_eq!(refused.changes, []);
    assert!(
        refused.drifts[0].to_string().contains("--allow-growth"),
        "{:?}",
        refused.drifts
    );
    let allowed = plan(&topics, &found, Growth::Allowed);
    let grown = Change::Grow {
        topic: "session-command".to_owned(),
        from: 4,
        to: 8,
    };
    assert_eq!(
        allowed,
        Plan {
            changes: vec![grown],
            drifts: vec![],
            unseen: vec![],
        }
    );
}

#[test]
fn what_cannot_be_changed_is_named() {
    let text = ONE.replace("replicationFactor: -1", "replicationFactor: 2");
    let topics = Topics::parse(&text).expect("a legal file");
    let found = Observed::Shown(Shown {
        partitions: 5,
        replication_factor: 1,
        config: Some(BTreeMap::new()),
    });
    let plan = plan(
        &topics,
        &BTreeMap::from([("a".to_owned(), found)]),
        Growth::Allowed,
    );
    assert_eq!(plan.changes, []);
    let said: Vec<_> = plan.drifts.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].contains("5 partitions, not 2") && said[1].contains("1 copies"),
        "{said:?}"
    );
}

#[test]
fn a_setting_is_written_where_it_differs_or_is_only_inherited() {
    let topics = Topics::parse(&ONE.replace("config: {}", "config: {retention.ms: '5'}"))
        .expect("a legal file");
    for (value, on_topic, planned) in [("5", true, 0), ("6", true, 1), ("5", false, 1)] {
        let setting = ObservedSetting {
            value: Some(value.to_owned()),
            on_topic,
        };
        let config = BTreeMap::from([("retention.ms".to_owned(), setting)]);
        let found = Observed::Shown(Shown {
            partitions: 2,
            replication_factor: 1,
            config: Some(config),
        });
        let plan = plan(
            &topics,
            &BTreeMap::from([("a".to_owned(), found)]),
            Growth::Refused,
        );
        assert_eq!(plan.changes.len(), planned, "{value} {on_topic}");
    }
}
