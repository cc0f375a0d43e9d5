//! `lanes show` and `lanes seek`: where each input partition stands, and moving one that stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use clap::Subcommand;
use serde_json::json;

use super::Done;
use super::failure::Failure;
use super::flags::SettingsFlags;
use super::output::{self, Output};
use super::topics;
use crate::kafka;
use crate::record::TopicPartition;
use crate::settings::{Effective, Settings};
use crate::store::mongo::inspect::LaneFound;
use crate::store::{Commit, Error, LanePosition, LaneStore, Note, Store};

#[derive(Debug, Subcommand)]
pub(super) enum LanesCommand {
    /// Show every lane's position, lag and outbox
    Show {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Move a lane's position; the worker that runs it takes it up with its next batch
    Seek {
        /// Which lane, as topic/partition
        lane: LaneName,
        /// An offset, `earliest` or `end`
        position: Position,
        /// Do it: records in between are skipped, or judged again
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        settings: SettingsFlags,
    },
}

/// `topic/partition`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LaneName(TopicPartition);

impl FromStr for LaneName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.rsplit_once('/')
            .and_then(|(topic, partition)| Some((topic, partition.parse().ok()?)))
            .filter(|(topic, partition)| !topic.is_empty() && *partition >= 0)
            .map(|(topic, partition)| Self(TopicPartition::new(topic, partition)))
            .ok_or("write topic/partition, e.g. match-found/3")
    }
}

/// Where to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Earliest,
    End,
    Offset(i64),
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "end" => Ok(Self::End),
            offset => offset
                .parse()
                .ok()
                .filter(|offset| *offset >= 0)
                .map(Self::Offset)
                .ok_or("write an offset, earliest or end"),
        }
    }
}

/// Runs one of the commands.
pub(super) async fn run(command: LanesCommand, before: SettingsFlags) -> Result<Done, Failure> {
    match command {
        LanesCommand::Show { output, settings } => {
            let Effective { settings, .. } = before.and(settings).load()?;
            show(&settings, output).await
        }
        LanesCommand::Seek {
            lane,
            position,
            yes,
            settings,
        } => {
            let Effective { settings, .. } = before.and(settings).load()?;
            seek(&settings, &lane.0, position, yes).await
        }
    }
}

/// One line of the table.
struct Line {
    lane: String,
    position: Option<LanePosition>,
    outbox: BTreeSet<i64>,
    bounds: Option<(i64, i64)>,
}

impl Line {
    fn lag(&self) -> Option<i64> {
        let (low, high) = self.bounds?;
        let next = self
            .position
            .and_then(|position| position.next)
            .unwrap_or(low);
        Some((high - next.max(low)).max(0))
    }
}

async fn show(settings: &Settings, output: Output) -> Result<Done, Failure> {
    let store = super::connect(settings).await?;
    let lanes = store.inspect_lanes().await.map_err(super::store_failure)?;
    let client = settings.kafka.client();
    let inputs = inputs(settings);
    let (bounds, unknown) = match kafka::bounds(&client, &inputs).await {
        Ok(bounds) => (bounds, None),
        Err(error) => (BTreeMap::new(), Some(topics::failure(error))),
    };
    let lines = lines(lanes, &bounds);
    output.print(|| table(&lines), || shown(&lines))?;
    match unknown {
        // The positions are shown all the same; what is missing is said beside them.
        Some(failure) => Err(failure),
        None => Ok(Done::Ok),
    }
}

fn inputs(settings: &Settings) -> [&str; 2] {
    [
        &settings.topics.match_found,
        &settings.topics.session_command,
    ]
}

/// Every lane that is stored or could be: a partition that nobody has read yet has lag, too.
fn lines(lanes: Vec<LaneFound>, bounds: &BTreeMap<TopicPartition, (i64, i64)>) -> Vec<Line> {
    let mut lines: BTreeMap<(String, i32), Line> = BTreeMap::new();
    for (lane, bounds) in bounds {
        let line = Line {
            lane: lane.to_string(),
            position: None,
            outbox: BTreeSet::new(),
            bounds: Some(*bounds),
        };
        lines.insert((lane.topic.to_string(), lane.partition), line);
    }
    for found in lanes {
        let key = found.id.parse::<LaneName>().map_or_else(
            |_| (found.id.clone(), 0),
            |LaneName(lane)| (lane.topic.to_string(), lane.partition),
        );
        let line = lines.entry(key).or_insert_with(|| Line {
            lane: found.id.clone(),
            position: None,
            outbox: BTreeSet::new(),
            bounds: None,
        });
        line.position = found.position.and_then(Result::ok);
        line.outbox = found.outbox;
    }
    lines.into_values().collect()
}

fn table(lines: &[Line]) -> String {
    let dash = |value: Option<i64>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
    let rows = lines.iter().map(|line| {
        let position = line.position;
        vec![
            line.lane.clone(),
            dash(position.map(|p| p.epoch)),
            dash(position.map(|p| p.batch)),
            dash(position.map(|p| p.acked)),
            line.outbox.len().to_string(),
            dash(position.and_then(|p| p.next)),
            dash(line.bounds.map(|(low, _)| low)),
            dash(line.bounds.map(|(_, high)| high)),
            dash(line.lag()),
        ]
    });
    let heads = [
        "LANE", "EPOCH", "BATCH", "ACKED", "OUTBOX", "NEXT", "FIRST", "END", "LAG",
    ];
    output::table(&heads, &rows.collect::<Vec<_>>())
}

fn shown(lines: &[Line]) -> serde_json::Value {
    let shown = lines.iter().map(|line| {
        let position = line.position;
        json!({
            "lane": line.lane,
            "epoch": position.map(|p| p.epoch),
            "batch": position.map(|p| p.batch),
            "acked": position.map(|p| p.acked),
            "next": position.and_then(|p| p.next),
            "outbox": line.outbox.len(),
            "first": line.bounds.map(|(low, _)| low),
            "end": line.bounds.map(|(_, high)| high),
            "lag": line.lag(),
        })
    });
    shown.collect()
}

async fn seek(
    settings: &Settings,
    lane: &TopicPartition,
    position: Position,
    yes: bool,
) -> Result<Done, Failure> {
    let inputs = inputs(settings);
    if !inputs.contains(&&*lane.topic) {
        return Err(Failure::Usage(format!(
            "{lane} is no lane; the worker reads {} and {}",
            inputs[0], inputs[1]
        )));
    }
    let bounds = kafka::bounds(&settings.kafka.client(), &[&lane.topic])
        .await
        .map_err(topics::failure)?;
    let Some((low, high)) = bounds.get(lane).copied() else {
        return Err(Failure::Usage(format!(
            "{lane} does not exist; look with `session-worker lanes show`"
        )));
    };
    let next = match position {
        Position::Earliest => None,
        Position::End => Some(high),
        Position::Offset(offset) if (low..=high).contains(&offset) => Some(offset),
        Position::Offset(offset) => {
            return Err(Failure::Usage(format!(
                "offset {offset} is not in {lane}; use {low} to {high}"
            )));
        }
    };
    let to = next.map_or_else(|| "the earliest record".to_owned(), |next| next.to_string());
    if !yes {
        return Err(Failure::Usage(format!(
            "nothing done; add --yes to move {lane} to {to}"
        )));
    }
    let store = super::connect(settings).await?;
    let home = (*lane.topic == *settings.topics.session_command).then_some(lane.partition);
    let before = move_to(&store, lane, home, next)
        .await
        .map_err(super::store_failure)?;
    let from = before
        .next
        .map_or_else(|| "the earliest record".to_owned(), |next| next.to_string());
    output::print(format!("{lane} moved from {from} to {to}\n").as_bytes())?;
    Ok(Done::Ok)
}

/// Takes the lane, moves it in a batch of its own, and returns where it stood. The present owner is
/// fenced by that and starts again from what is stored; its outbox stays.
async fn move_to<S: Store>(
    store: &S,
    lane: &TopicPartition,
    home: Option<i32>,
    next: Option<i64>,
) -> Result<LanePosition, Error> {
    let (mut owned, position) = store.fence(lane, home).await?;
    let commit = Commit {
        next,
        // What was read last says nothing about what comes next any more.
        last: None,
        ..Commit::at(&position)
    };
    owned.commit(&commit).await?;
    owned.note(Note::Revised).await?;
    Ok(position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[test]
    fn lanes_and_positions_are_read_as_they_are_written() {
        let lane = LaneName(TopicPartition::new("a/b", 3));
        assert_eq!("a/b/3".parse(), Ok(lane));
        for text in ["", "a", "a/", "/1", "a/-1", "a/x"] {
            assert!(text.parse::<LaneName>().is_err(), "{text}");
        }
        for (text, position) in [
            ("earliest", Some(Position::Earliest)),
            ("end", Some(Position::End)),
            ("0", Some(Position::Offset(0))),
            ("-1", None),
            ("latest", None),
        ] {
            assert_eq!(text.parse::<Position>().ok(), position, "{text}");
        }
    }

    #[test]
    fn lag_counts_from_the_position_or_the_first_record() {
        let line = |next: Option<i64>, bounds| Line {
            lane: "a/0".to_owned(),
            position: Some(LanePosition {
                next,
                ..LanePosition::unread()
            }),
            outbox: BTreeSet::new(),
            bounds,
        };
        for (next, bounds, lag) in [
            (Some(7), Some((5, 10)), Some(3)),
            (None, Some((5, 10)), Some(5)),
            (Some(2), Some((5, 10)), Some(5)),
            (Some(12), Some((5, 10)), Some(0)),
            (Some(7), None, None),
        ] {
            assert_eq!(line(next, bounds).lag(), lag);
        }
    }

    #[tokio::test]
    async fn a_seek_fences_the_owner_and_moves_the_position() {
        let store = MemoryStore::default();
        let lane = TopicPartition::new("match-found", 3);
        let (mut owner, before) = store
            .fence(&lane, None)
            .await
            .expect("nobody else is there");
        move_to(&store, &lane, None, Some(17))
            .await
            .expect("the store is up");
        let stale = Commit {
            next: Some(1),
            ..Commit::at(&before)
        };
        assert!(matches!(owner.commit(&stale).await, Err(Error::Fenced)));
        let (_, position) = store.fence(&lane, None).await.expect("the store is up");
        assert_eq!(position.next, Some(17));
        assert_eq!(position.last, None);
    }
}
