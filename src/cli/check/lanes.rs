//! What of the lanes stands still, as far as it is known without their workers.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::cli::lanes::{Standing, bounds, standing};
use crate::settings::Settings;
use crate::store::mongo::inspect::LaneFound;

const ABOUT: &str = "lanes";

/// Looks at every lane's document, and at its partition's ends.
pub(super) async fn look(settings: &Settings) -> Vec<Finding> {
    // What is wrong with it is found beside this.
    let Ok(store) = crate::cli::connect(settings).await else {
        return vec![Finding::unseen(ABOUT, "MongoDB cannot be used")];
    };
    let lanes = match store.inspect_lanes().await {
        Ok(lanes) => lanes,
        Err(error) => return vec![Finding::unseen(ABOUT, error)],
    };
    let (bounds, mut findings) = match bounds(settings).await {
        Ok(bounds) => (bounds, Vec::new()),
        Err(_) => {
            let why = "whether positions are in their partitions: the brokers cannot be asked";
            (BTreeMap::new(), vec![Finding::unseen(ABOUT, why)])
        }
    };
    findings.extend(of_rules(&lanes));
    let count = lanes.len();
    let ends: BTreeMap<String, (i64, i64)> = bounds
        .into_iter()
        .map(|(lane, ends)| (lane.to_string(), ends))
        .collect();
    let faults = lanes.iter().filter_map(|found| {
        let standing = standing(found, ends.get(&found.id).copied());
        let text = standing.remedy(&found.id)?;
        let text = match standing.reason() {
            Some(reason) => format!("{} is not read: {}: {text}", found.id, reason.as_str()),
            None => format!("{}: {text}", found.id),
        };
        Some(match standing {
            Standing::Dying { .. } => Finding::warning(ABOUT, text),
            _ => Finding::fault(ABOUT, text),
        })
    });
    let faults: Vec<Finding> = faults.collect();
    if faults.is_empty() {
        let text = format!("{count} known, none stands still by its document");
        findings.push(Finding::ok(ABOUT, text));
    }
    findings.extend(faults);
    findings
}

/// What a session's rules are must not depend on which worker has its lane.
fn of_rules(lanes: &[LaneFound]) -> Option<Finding> {
    let rules: BTreeSet<&str> = lanes
        .iter()
        .filter_map(|found| found.rules.as_deref())
        .collect();
    (rules.len() > 1).then(|| {
        Finding::warning(
            ABOUT,
            "the last owners of the lanes follow different rules; give all workers the same rules.* settings,              and restart those that have others",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_with_different_rules_are_noticed() {
        let lane = |id: &str, rules: Option<&str>| LaneFound {
            id: id.to_owned(),
            position: None,
            stop: None,
            rules: rules.map(str::to_owned),
            outbox: BTreeSet::new(),
        };
        let same = [
            lane("a/0", Some("x")),
            lane("a/1", Some("x")),
            lane("a/2", None),
        ];
        assert!(of_rules(&same).is_none());
        let different = [lane("a/0", Some("x")), lane("a/1", Some("y"))];
        assert!(of_rules(&different).is_some());
    }
}
