//! `audit`: reads every collection in `_id` order, a page at a time, and reports what breaks the
//! invariants. The worker may run meanwhile, so a suspect is looked at once more before it is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::Done;
use super::failure::Failure;
use super::flags::SettingsFlags;
use super::output::{self, Output};
use crate::audit::{self, Offence, SessionFacts, Subject};
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::settings::Effective;
use crate::store::Error;
use crate::store::mongo::MongoStore;
use crate::store::mongo::inspect::{
    LaneFound, LedgerFound, Page, ParticipantFound, SessionFound, UserFound, Which,
};

/// How long a suspect has to become right by itself.
const SECOND_LOOK: Duration = Duration::from_secs(5);
/// Offences kept; a database that breaks more is not to be read line by line.
const KEPT: usize = 10_000;
/// Subjects of one second look.
const TOGETHER: usize = 500;

/// What was read and what was found.
#[derive(Debug, Default)]
struct Report {
    read: BTreeMap<&'static str, u64>,
    offences: Vec<Offence>,
    more: u64,
}

impl Report {
    fn add(&mut self, collection: &'static str, offences: Vec<Offence>) {
        *self.read.entry(collection).or_default() += 1;
        for offence in offences {
            if self.offences.len() < KEPT {
                self.offences.push(offence);
            } else {
                self.more += 1;
            }
        }
    }
}

/// Audits the database and prints the offenders.
pub(super) async fn run(flags: SettingsFlags, output: Output) -> Result<Done, Failure> {
    let Effective { settings, .. } = flags.load()?;
    let store = super::connect(&settings).await?;
    let report = audit(&store, SECOND_LOOK)
        .await
        .map_err(super::store_failure)?;
    output.print(|| table(&report), || shown(&report))?;
    Ok(if report.offences.is_empty() {
        Done::Ok
    } else {
        Done::Failed
    })
}

async fn audit(store: &MongoStore, second_look: Duration) -> Result<Report, Error> {
    let mut report = first_look(store).await?;
    if !report.offences.is_empty() {
        tokio::time::sleep(second_look).await;
        report.offences = still_standing(store, std::mem::take(&mut report.offences)).await?;
    }
    Ok(report)
}

async fn first_look(store: &MongoStore) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut after = None;
    loop {
        let Page { items, next } = store.inspect_sessions(Which::After(after.as_ref())).await?;
        let now = store.clock().now();
        items
            .iter()
            .for_each(|found| report.add("sessions", of_session(found, now)));
        let Some(next) = next else { break };
        after = Some(next);
    }
    let mut after = None;
    loop {
        let Page { items, next } = store
            .inspect_participants(Which::After(after.as_ref()))
            .await?;
        items
            .iter()
            .for_each(|found| report.add("participants", of_participant(found)));
        let Some(next) = next else { break };
        after = Some(next);
    }
    let mut after = None;
    loop {
        let Page { items, next } = store.inspect_users(Which::After(after.as_ref())).await?;
        items
            .iter()
            .for_each(|found| report.add("users", of_user(found)));
        let Some(next) = next else { break };
        after = Some(next);
    }
    let mut after = None;
    loop {
        let Page { items, next } = store.inspect_ledger(Which::After(after.as_ref())).await?;
        items
            .iter()
            .for_each(|found| report.add("ledger", of_ledger(found)));
        let Some(next) = next else { break };
        after = Some(next);
    }
    for found in store.inspect_lanes().await? {
        report.add("lanes", of_lane(&found));
    }
    Ok(report)
}

/// The offences that the same subjects still commit.
async fn still_standing(store: &MongoStore, suspects: Vec<Offence>) -> Result<Vec<Offence>, Error> {
    store.clock().refresh().await?;
    let now = store.clock().now();
    let mut again = Vec::new();
    let subjects: BTreeSet<&Subject> = suspects.iter().map(|offence| &offence.subject).collect();
    let ids = |wanted: &'static str| -> Vec<String> {
        let subjects = subjects
            .iter()
            .filter(|subject| subject.collection() == wanted);
        subjects.map(|subject| subject.id().to_owned()).collect()
    };
    for ids in ids("sessions").chunks(TOGETHER) {
        let page = store.inspect_sessions(Which::These(ids)).await?;
        again.extend(page.items.iter().flat_map(|found| of_session(found, now)));
    }
    for ids in ids("participants").chunks(TOGETHER) {
        let page = store.inspect_participants(Which::These(ids)).await?;
        again.extend(page.items.iter().flat_map(of_participant));
    }
    for ids in ids("users").chunks(TOGETHER) {
        let page = store.inspect_users(Which::These(ids)).await?;
        again.extend(page.items.iter().flat_map(of_user));
    }
    for ids in ids("ledger").chunks(TOGETHER) {
        let page = store.inspect_ledger(Which::These(ids)).await?;
        again.extend(page.items.iter().flat_map(of_ledger));
    }
    if !ids("lanes").is_empty() {
        again.extend(store.inspect_lanes().await?.iter().flat_map(of_lane));
    }
    let first: BTreeSet<(&Subject, &str)> = suspects
        .iter()
        .map(|offence| (&offence.subject, offence.invariant))
        .collect();
    again.retain(|offence| first.contains(&(&offence.subject, offence.invariant)));
    Ok(again)
}

fn of_session(found: &SessionFound, now: Timestamp) -> Vec<Offence> {
    match &found.stored {
        Ok(stored) => {
            let facts = SessionFacts {
                session: &stored.session,
                version: stored.version,
                differing: &found.differing,
                code_holders: &found.code_holders,
                users: &found.users,
            };
            audit::of_session(&facts, now)
        }
        Err(reason) => vec![audit::unreadable(
            Subject::Session(found.id.clone()),
            reason,
        )],
    }
}

fn of_participant(found: &ParticipantFound) -> Vec<Offence> {
    if found.session_exists {
        return Vec::new();
    }
    vec![audit::of_orphan(&found.id, &found.session_id)]
}

fn of_user(found: &UserFound) -> Vec<Offence> {
    match &found.limits {
        Ok(limits) => audit::of_user(limits, &found.sessions),
        Err(reason) => vec![audit::unreadable(Subject::User(found.id.clone()), reason)],
    }
}

fn of_ledger(found: &LedgerFound) -> Vec<Offence> {
    match &found.entry {
        Ok(entry) => audit::of_ledger(&found.id, entry, found.session_exists),
        Err(reason) => vec![audit::unreadable(Subject::Ledger(found.id.clone()), reason)],
    }
}

fn of_lane(found: &LaneFound) -> Vec<Offence> {
    match &found.position {
        None => audit::of_lane(&found.id, None, &found.outbox),
        Some(Ok(position)) => audit::of_lane(&found.id, Some(position), &found.outbox),
        Some(Err(reason)) => vec![audit::unreadable(Subject::Lane(found.id.clone()), reason)],
    }
}

fn table(report: &Report) -> String {
    let rows = report.offences.iter().map(|offence| {
        let subject = offence.subject.to_string();
        vec![
            subject,
            offence.invariant.to_owned(),
            offence.detail.clone(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let mut text = if rows.is_empty() {
        String::new()
    } else {
        output::table(&["DOCUMENT", "INVARIANT", "WHAT IS WRONG"], &rows)
    };
    let read = report
        .read
        .iter()
        .map(|(collection, count)| format!("{count} {collection}"));
    let read = read.collect::<Vec<_>>().join(", ");
    let read = if read.is_empty() {
        "an empty database"
    } else {
        &read
    };
    text.push_str(&format!(
        "audited {read}: {} offences",
        report.offences.len()
    ));
    if report.more > 0 {
        text.push_str(&format!(
            " and {} more that were not looked at again",
            report.more
        ));
    }
    text.push('\n');
    text
}

fn shown(report: &Report) -> serde_json::Value {
    let offences = report.offences.iter().map(|offence| {
        json!({
            "document": offence.subject.to_string(),
            "invariant": offence.invariant,
            "detail": offence.detail,
        })
    });
    json!({
        "audited": report.read,
        "offences": offences.collect::<Vec<_>>(),
        "more": report.more,
    })
}
