//! The brokers as `check` sees them: whether they can be used, their own addresses, and the topics.

use std::collections::BTreeMap;

use super::{Finding, permissions};
use crate::cli::topics::failure;
use crate::kafka::topics::{self, Change, Growth, Observed, Plan, Topics, is_compacted};
use crate::kafka::{self, ListenerFound};
use crate::settings::Settings;

/// Looks at brokers, topics and permissions.
pub(super) async fn look(settings: &Settings, file: &Topics) -> Vec<Finding> {
    let client = settings.kafka.client();
    let listeners = match kafka::listeners(&client).await {
        Ok(listeners) => listeners,
        Err(error) => {
            let why = "the brokers cannot be asked";
            return vec![
                Finding::fault("brokers", failure(error).text()),
                Finding::unseen("topics", why),
                Finding::unseen("permissions", why),
            ];
        }
    };
    let reached = of_listeners(&client.brokers, &listeners);
    let names: Vec<&str> = file.iter().map(|topic| topic.name.as_str()).collect();
    let observed = match topics::observe(&client, &names).await {
        Ok(observed) => observed,
        Err(error) => {
            let missing = [
                Finding::fault("topics", failure(error).text()),
                Finding::unseen("permissions", "the topics cannot be looked at"),
            ];
            return reached.into_iter().chain(missing).collect();
        }
    };
    let plan = topics::plan(file, &observed, Growth::Refused);
    let granted = permissions::look(settings, &client, &observed).await;
    let topics = of_topics(file, &observed, &plan);
    [reached, topics, granted].concat()
}

/// One finding for the brokers that answer, and one for each that does not.
fn of_listeners(brokers: &str, listeners: &[ListenerFound]) -> Vec<Finding> {
    let silent = listeners.iter().filter_map(|listener| {
        let ListenerFound {
            broker,
            address,
            failure,
        } = listener;
        let failure = failure.as_ref()?;
        Some(Finding::fault(
            "brokers",
            format!(
                "broker {broker} calls itself {address}, and nothing answers there: {failure}; start that \
                 broker, correct its advertised.listeners, or make the address reachable from here"
            ),
        ))
    });
    let reached = Finding::ok("brokers", format!("{brokers} answer"));
    std::iter::once(reached).chain(silent).collect()
}

fn of_topics(file: &Topics, observed: &BTreeMap<String, Observed>, plan: &Plan) -> Vec<Finding> {
    let compacted: BTreeMap<&str, Finding> = file
        .iter()
        .filter_map(|topic| {
            let finding = of_policy(&topic.name, observed.get(&topic.name)?)?;
            Some((topic.name.as_str(), finding))
        })
        .collect();
    // A compacted topic has words of its own.
    let is_said = |change: &Change| match change {
        Change::Configure { topic, key, .. } => {
            key == "cleanup.policy" && compacted.contains_key(topic.as_str())
        }
        Change::Create { .. } | Change::Grow { .. } => false,
    };
    let changes = plan.changes.iter().filter(|change| !is_said(change));
    // What differs without harm to the worker stays the operator's choice.
    let drifts = plan.drifts.iter();
    let drifts = drifts.map(|drift| Finding::warning("topics", drift.to_string()));
    let unseen = plan.unseen.iter();
    let unseen = unseen.map(|unseen| Finding::unseen("topics", unseen));
    let mut findings: Vec<Finding> = changes.map(of_change).chain(drifts).chain(unseen).collect();
    findings.extend(compacted.into_values());
    if findings.is_empty() {
        let count = file.iter().count();
        findings.push(Finding::ok(
            "topics",
            format!("all {count} as they should be"),
        ));
    }
    findings
}

fn of_change(change: &Change) -> Finding {
    let apply = "run `session-worker topics apply`";
    if change.keeps_the_value() {
        Finding::warning("topics", format!("only inherited: {change}; {apply}"))
    } else {
        Finding::fault("topics", format!("not done: {change}; {apply}"))
    }
}

fn of_policy(name: &str, observed: &Observed) -> Option<Finding> {
    let policy = observed.shown()?.setting("cleanup.policy")?;
    is_compacted(policy).then(|| {
        Finding::fault(
            "topics",
            format!(
                "{name} has cleanup.policy={policy}: compaction keeps only the last record of a key and \
                 loses the others; set it to delete, with `session-worker topics apply` where topics.yaml \
                 is in use"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Verdict;
    use crate::kafka::topics::{ObservedSetting, Shown};

    fn observed(file: &Topics, policy: &str, on_topic: bool) -> BTreeMap<String, Observed> {
        let topics = file.iter().map(|topic| {
            let mut config: BTreeMap<_, _> = topic
                .config
                .iter()
                .map(|(key, value)| {
                    let value = Some(value.clone());
                    let on_topic = true;
                    (key.clone(), ObservedSetting { value, on_topic })
                })
                .collect();
            let value = Some(policy.to_owned());
            let setting = ObservedSetting { value, on_topic };
            config.insert("cleanup.policy".to_owned(), setting);
            let shown = Shown {
                partitions: topic.partitions,
                replication_factor: 1,
                config: Some(config),
            };
            (topic.name.clone(), Observed::Shown(shown))
        });
        topics.collect()
    }

    #[test]
    fn a_compacted_topic_is_a_fault_and_an_inherited_policy_a_warning() {
        let file = Topics::compiled_in();
        for (policy, on_topic, verdict) in [
            ("delete", true, Verdict::Ok),
            ("delete", false, Verdict::Warning),
            ("compact", true, Verdict::Fault),
            ("compact,delete", true, Verdict::Fault),
        ] {
            let observed = observed(&file, policy, on_topic);
            let plan = topics::plan(&file, &observed, Growth::Refused);
            let findings = of_topics(&file, &observed, &plan);
            let all = if verdict == Verdict::Ok { 1 } else { 5 };
            assert_eq!(findings.len(), all, "{policy}: {findings:?}");
            let like = findings.iter().all(|finding| finding.verdict == verdict);
            assert!(like, "{policy}: {findings:?}");
        }
    }

    #[test]
    fn an_advertised_address_where_nothing_answers_is_named() {
        let listener = |broker, failure: Option<&str>| ListenerFound {
            broker,
            address: format!("broker-{broker}:9092"),
            failure: failure.map(str::to_owned),
        };
        let found = of_listeners("a:9092", &[listener(1, None), listener(2, Some("refused"))]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[1].verdict, Verdict::Fault);
        for word in [
            "broker 2",
            "broker-2:9092",
            "refused",
            "advertised.listeners",
        ] {
            assert!(found[1].text.contains(word), "{word}: {found:?}");
        }
    }
}
