//! `lanes show`, `lanes seek` and `lanes resume`: where each input partition stands, and the commands
//! that get one going again that stopped.

mod show;
mod standing;

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Subcommand;

pub(super) use standing::{Standing, standing};

use super::Done;
use super::failure::Failure;
use super::flags::SettingsFlags;
use super::output::{self, Output};
use super::topics;
use crate::kafka;
use crate::record::TopicPartition;
use crate::settings::{Effective, Settings};
use crate::store::mongo::MongoStore;
use crate::store::mongo::inspect::LaneFound;
use crate::store::{Commit, Error, LanePosition, LaneStore, Note, Store};

#[derive(Debug, Subcommand)]
pub(super) enum LanesCommand {
    /// Show every lane's position, lag and state, and how to get a stopped one going again
    ///
    /// LANE    the input partition, as topic/partition
    /// EPOCH   how often the lane has got a new owner
    /// BATCH   the number of its last batch; every batch is one transaction
    /// ACKED   the last batch whose records the brokers have all acknowledged
    /// OUTBOX  batches in MongoDB that are published and not acknowledged, or not swept yet
    /// NEXT    the offset to read next; –: nothing was read yet, the lane begins at FIRST
    /// FIRST   the first offset that the partition still has
    /// END     the offset after its last committed record
    /// LAG     records that wait at NEXT and behind it; 0 where only markers of transactions do
    /// STATE   why nothing is read, and since when; `deaths`: owners that died in a row while they
    ///         read; –: nothing is known to be wrong (whether a worker runs is not known here)
    ///
    /// Below the table, each lane in trouble has the command that fixes it.
    ///
    /// JSON: a list of {lane, epoch, batch, acked, next, outbox, first, end, lag, state, stoppedAt,
    /// since, deaths, remedy}. Fields are only ever added.
    #[command(verbatim_doc_comment)]
    Show {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Move a lane's position; the worker that runs it takes it up within seconds
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
    /// Read a lane again whose intake is stopped, from where it stands; the worker that runs it takes
    /// it up within seconds
    ///
    /// Forgets why the intake was stopped and how many owners died. A lane whose position is not in
    /// its partition stops again: move it with `lanes seek`.
    Resume {
        /// Which lane, as topic/partition
        lane: LaneName,
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
            show::show(&settings, output).await
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
        LanesCommand::Resume { lane, settings } => {
            let Effective { settings, .. } = before.and(settings).load()?;
            resume(&settings, &lane.0).await
        }
    }
}

async fn seek(
    settings: &Settings,
    lane: &TopicPartition,
    position: Position,
    yes: bool,
) -> Result<Done, Failure> {
    is_input(settings, lane)?;
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
    let before = move_to(&store, lane, home(settings, lane), next)
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

/// The partition of `session-command` that the lane is the home of.
fn home(settings: &Settings, lane: &TopicPartition) -> Option<i32> {
    (*lane.topic == *settings.topics.session_command).then_some(lane.partition)
}

fn is_input(settings: &Settings, lane: &TopicPartition) -> Result<(), Failure> {
    let inputs = inputs(settings);
    if inputs.contains(&&*lane.topic) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{lane} is no lane; the worker reads {} and {}",
        inputs[0], inputs[1]
    )))
}

fn inputs(settings: &Settings) -> [&str; 2] {
    [
        &settings.topics.match_found,
        &settings.topics.session_command,
    ]
}

/// Where the input partitions begin and end.
pub(super) async fn bounds(
    settings: &Settings,
) -> Result<BTreeMap<TopicPartition, (i64, i64)>, Failure> {
    kafka::bounds(&settings.kafka.client(), &inputs(settings))
        .await
        .map_err(topics::failure)
}

async fn resume(settings: &Settings, lane: &TopicPartition) -> Result<Done, Failure> {
    is_input(settings, lane)?;
    let store = super::connect(settings).await?;
    let Some(found) = stored(&store, lane).await? else {
        return Err(Failure::Usage(format!(
            "nothing is stored of {lane}: no worker has read it yet; look with `session-worker lanes show`"
        )));
    };
    revise(&store, lane, home(settings, lane))
        .await
        .map_err(super::store_failure)?;
    let deaths = found.position.and_then(Result::ok);
    let deaths = deaths.map_or(0, |position| position.deaths);
    let before = match (found.stop, deaths) {
        (Some(stop), _) => format!("it was stopped: {}", stop.reason.as_str()),
        (None, 0) => "it was not stopped".to_owned(),
        (None, deaths) => format!("{deaths} of its owners had died"),
    };
    output::print(format!("{lane} is read again ({before})\n").as_bytes())?;
    Ok(Done::Ok)
}

async fn stored(store: &MongoStore, lane: &TopicPartition) -> Result<Option<LaneFound>, Failure> {
    let lanes = store.inspect_lanes().await.map_err(super::store_failure)?;
    let name = lane.to_string();
    Ok(lanes.into_iter().find(|found| found.id == name))
}

/// Takes the lane and revises it: the present owner is fenced by that and starts again from what is
/// stored, without the memory of a stopped intake or of deaths.
async fn revise<S: Store>(
    store: &S,
    lane: &TopicPartition,
    home: Option<i32>,
) -> Result<(), Error> {
    let (owned, _) = store.fence(lane, home).await?;
    owned.note(Note::Revised).await
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

    #[tokio::test]
    async fn resuming_fences_the_owner_and_forgets_deaths_and_stops_but_not_the_position() {
        let store = MemoryStore::default();
        let lane = TopicPartition::new("match-found", 3);
        let (mut owner, before) = store.fence(&lane, None).await.expect("the store is up");
        let commit = Commit {
            next: Some(17),
            ..Commit::at(&before)
        };
        owner.commit(&commit).await.expect("it is the owner");
        for _ in 0..5 {
            let (owner, _) = store.fence(&lane, None).await.expect("the store is up");
            owner.note(Note::Reading).await.expect("it is the owner");
        }
        let (owner, position) = store.fence(&lane, None).await.expect("the store is up");
        assert_eq!(position.deaths, 5);
        revise(&store, &lane, None).await.expect("the store is up");
        assert!(matches!(owner.note(Note::Sound).await, Err(Error::Fenced)));
        let (_, after) = store.fence(&lane, None).await.expect("the store is up");
        assert_eq!((after.deaths, after.next), (0, Some(17)));
        assert_eq!(after.revision, position.revision + 1);
    }
}
