//! What of the lanes stands still, as far as it is known without their workers.

use super::Finding;
use crate::cli::lanes::{Standing, bounds, standing};
use crate::settings::Settings;

const ABOUT: &str = "lanes";

/// Looks at every lane's document, and at its partition's ends.
pub(super) async fn look(settings: &Settings) -> Vec<Finding> {
    let store = match crate::cli::connect(settings).await {
        Ok(store) => store,
        // What is wrong with it is found beside this.
        Err(_) => return vec![Finding::unseen(ABOUT, "MongoDB cannot be used")],
    };
    let lanes = match store.inspect_lanes().await {
        Ok(lanes) => lanes,
        Err(error) => return vec![Finding::unseen(ABOUT, error)],
    };
    let (bounds, mut findings) = match bounds(settings).await {
        Ok(bounds) => (bounds, Vec::new()),
        Err(_) => {
            let why = "whether positions are in their partitions: the brokers cannot be asked";
            (Default::default(), vec![Finding::unseen(ABOUT, why)])
        }
    };
    let count = lanes.len();
    let ends: std::collections::BTreeMap<String, (i64, i64)> = bounds
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
