//! What the worker's user may do at the brokers, operation by operation.

use std::collections::BTreeMap;

use super::Finding;
use crate::kafka::topics::Observed;
use crate::kafka::{self, Answer, Operation, Permission, Questions, Resource};
use crate::settings::Settings;

const ABOUT: &str = "permissions";
const MAX_BYTES: &str = "max.message.bytes";

/// Asks for every operation that `run` needs on topics that exist.
pub(super) async fn look(
    settings: &Settings,
    client: &kafka::Settings,
    observed: &BTreeMap<String, Observed>,
) -> Vec<Finding> {
    let topics = &settings.topics;
    let read = [&topics.match_found, &topics.session_command];
    let written = [
        &topics.session_event,
        &topics.session_command_result,
        &topics.session_dead_letter,
        &topics.session_command,
    ];
    let mut questions = Questions::default();
    let mut known = Vec::new();
    for name in read {
        match observed.get(&**name) {
            Some(Observed::Shown(_)) => questions.read.push(name.to_string()),
            other => known.extend(without_asking(Operation::Read, name, other)),
        }
    }
    for name in written {
        match observed.get(&**name) {
            Some(Observed::Shown(shown)) => {
                let limit = shown
                    .setting(MAX_BYTES)
                    .and_then(|limit| limit.parse().ok());
                questions.written.push((name.to_string(), limit));
            }
            other => known.extend(without_asking(Operation::Write, name, other)),
        }
    }
    let configs = observed.iter().filter_map(|(name, observed)| {
        let hidden = observed.shown()?.config.is_none();
        hidden.then(|| denied(Operation::DescribeConfigs, name))
    });
    known.extend(configs);
    match kafka::permissions(client, questions).await {
        Ok(asked) => findings(&[known, asked].concat()),
        Err(error) => vec![Finding::unseen(ABOUT, error)],
    }
}

/// What is known of an operation on a topic that cannot be asked for. READ and WRITE bring DESCRIBE, so a
/// hidden topic denies them.
fn without_asking(
    operation: Operation,
    topic: &str,
    observed: Option<&Observed>,
) -> Option<Permission> {
    match observed {
        Some(Observed::Hidden) => Some(denied(operation, topic)),
        Some(Observed::Shown(_)) => None,
        None => Some(Permission {
            operation,
            resource: Resource::Topic(topic.to_owned()),
            answer: Answer::Unknown("it does not exist".to_owned()),
        }),
    }
}

fn denied(operation: Operation, topic: &str) -> Permission {
    Permission {
        operation,
        resource: Resource::Topic(topic.to_owned()),
        answer: Answer::Denied,
    }
}

fn findings(permissions: &[Permission]) -> Vec<Finding> {
    let allowed = permissions
        .iter()
        .filter(|permission| permission.answer == Answer::Allowed)
        .map(
            |Permission {
                 operation,
                 resource,
                 ..
             }| format!("{operation} on {resource}"),
        );
    let allowed: Vec<String> = allowed.collect();
    let allowed = (!allowed.is_empty()).then(|| Finding::ok(ABOUT, allowed.join(", ")));
    let others = permissions.iter().filter_map(|permission| {
        let Permission {
            operation,
            resource,
            answer,
        } = permission;
        match answer {
            Answer::Allowed => None,
            Answer::Denied => Some(Finding::fault(
                ABOUT,
                format!("{operation} on {resource} is not allowed; grant it to this worker's user"),
            )),
            Answer::Unknown(why) => Some(Finding::unseen(
                ABOUT,
                format!("{operation} on {resource}: {why}"),
            )),
        }
    });
    allowed.into_iter().chain(others).collect()
}
