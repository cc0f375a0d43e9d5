//! Dead letters in groups: by reason, topic and message, in memory that follows the number of groups.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::filter::{Filter, died_at};
use super::{Address, Letters};
use crate::cli::Done;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Output, date_time};
use crate::domain::Timestamp;
use crate::settings::Settings;
use crate::wire::{Letter, rfc3339};

/// Addresses that a group shows.
const EXAMPLES: usize = 3;
/// Groups that are told apart; messages beyond them are one group of their reason and topic.
const GROUPS: usize = 1_000;
const OTHERS: &str = "(other messages)";

/// Reason, topic, message.
type Key = (String, String, String);

/// A group of letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) count: u64,
    /// Letters of records that had been sent again before they died.
    pub(super) again: u64,
    pub(super) first: (Option<i64>, Address),
    pub(super) last: (Option<i64>, Address),
    /// The latest.
    pub(super) examples: Vec<Address>,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) groups: BTreeMap<Key, Group>,
    pub(super) letters: u64,
    others: u64,
}

impl Groups {
    /// Counts `letter` in.
    pub(super) fn add(&mut self, letter: &Letter) {
        self.letters += 1;
        let message = without_position(&letter.message).to_owned();
        let topic = letter.origin.lane.topic.to_string();
        let mut key = (letter.reason.clone(), topic, message);
        if self.groups.len() >= GROUPS && !self.groups.contains_key(&key) {
            OTHERS.clone_into(&mut key.2);
        }
        let met = (died_at(letter), Address::of(&letter.place));
        let group = self.groups.entry(key).or_insert_with(|| Group {
            count: 0,
            again: 0,
            first: met,
            last: met,
            examples: Vec::new(),
        });
        group.count += 1;
        group.again += u64::from(letter.replays > 0);
        group.first = group.first.min(met);
        group.last = group.last.max(met);
        if group.examples.len() == EXAMPLES {
            group.examples.remove(0);
        }
        group.examples.push(met.1);
    }

    /// Most letters first.
    fn sorted(&self) -> Vec<(&Key, &Group)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
        groups
    }
}

/// A JSON fault says where it is, which makes no other fault of it.
fn without_position(message: &str) -> &str {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(message, _)| message)
}

/// Reads the topic and prints the groups.
pub(super) async fn list(
    settings: &Settings,
    filter: &Filter,
    output: Output,
) -> Result<Done, Failure> {
    let sieve = filter.sieve(&settings.topics);
    let mut letters = Letters::since(settings, sieve.begin()).await?;
    let mut groups = Groups::default();
    while let Some(batch) = letters.next().await? {
        groups.others += batch.others;
        let taken = batch.letters.iter().filter(|letter| sieve.takes(letter));
        taken.for_each(|letter| groups.add(letter));
    }
    drop(letters);
    output.print(|| words(&groups), || shown(&groups))?;
    Ok(Done::Ok)
}

fn words(groups: &Groups) -> String {
    if groups.letters == 0 {
        return "no dead letters\n".to_owned();
    }
    let at = |at: Option<i64>| at.map_or_else(|| "–".to_owned(), |at| date_time(Timestamp(at)));
    let rows = groups.sorted().into_iter().map(|(key, group)| {
        let (reason, topic, message) = key;
        let example = group.examples.last().map(ToString::to_string);
        vec![
            reason.clone(),
            topic.clone(),
            group.count.to_string(),
            group.again.to_string(),
            seconds(&at(group.first.0)),
            seconds(&at(group.last.0)),
            example.unwrap_or_default(),
            message.clone(),
        ]
    });
    let heads = [
        "REASON", "TOPIC", "COUNT", "AGAIN", "FIRST", "LAST", "E.G.", "MESSAGE",
    ];
    let rows: Vec<_> = rows.collect();
    let mut text = output::wrapped(&heads, &rows, output::width());
    text.push_str(&format!(
        "{} dead letters; look at one with `session-worker dead-letters show <E.G.>`\n",
        groups.letters
    ));
    if groups.others > 0 {
        text.push_str(&format!("{} records are no dead letters\n", groups.others));
    }
    text
}

fn seconds(text: &str) -> String {
    text.split('.').next().unwrap_or_default().to_owned()
}

fn shown(groups: &Groups) -> Value {
    let met = |(at, address): (Option<i64>, Address)| {
        let at = at.map(|at| rfc3339(Timestamp(at)));
        json!({"at": at, "address": address.to_string()})
    };
    let found = groups.sorted().into_iter().map(|(key, group)| {
        let examples: Vec<String> = group.examples.iter().map(ToString::to_string).collect();
        json!({
            "reason": key.0,
            "topic": key.1,
            "message": key.2,
            "count": group.count,
            "again": group.again,
            "first": met(group.first),
            "last": met(group.last),
            "examples": examples,
        })
    });
    json!({
        "letters": groups.letters,
        "others": groups.others,
        "groups": found.collect::<Vec<_>>(),
    })
}
