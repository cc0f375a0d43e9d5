//! `lanes show`: the table, what its columns mean, and what to do about lanes that stand still.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::standing::{Standing, standing};
use super::{LaneName, bounds};
use crate::cli::Done;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Output};
use crate::kafka;
use crate::record::TopicPartition;
use crate::settings::Settings;
use crate::store::mongo::inspect::LaneFound;
use crate::store::{IntakeStop, LanePosition};
use crate::wire::rfc3339;

/// Each column and what it holds, in a few words.
const COLUMNS: [(&str, &str); 10] = [
    ("LANE", "input partition"),
    ("EPOCH", "owners so far"),
    ("BATCH", "last batch"),
    ("ACKED", "last batch acknowledged by the brokers"),
    ("OUTBOX", "batches not acknowledged or swept"),
    ("NEXT", "offset to read next"),
    ("FIRST", "first offset in the partition"),
    ("END", "offset after its last record"),
    ("LAG", "records that wait"),
    ("STATE", "why nothing is read"),
];

/// One line of the table.
struct Line {
    lane: String,
    position: Option<LanePosition>,
    outbox: BTreeSet<i64>,
    bounds: Option<(i64, i64)>,
    standing: Standing,
    /// It was read to its end: nothing waits, whatever stands before END.
    at_the_end: bool,
}

impl Line {
    fn new(lane: &str, bounds: Option<(i64, i64)>) -> Self {
        Self {
            lane: lane.to_owned(),
            position: None,
            outbox: BTreeSet::new(),
            bounds,
            standing: Standing::Fine,
            at_the_end: false,
        }
    }

    /// Where reading goes on, in the log.
    fn next(&self) -> Option<i64> {
        let (low, _) = self.bounds?;
        let next = self.position.and_then(|position| position.next);
        Some(next.unwrap_or(low).max(low))
    }

    fn lag(&self) -> Option<i64> {
        let (_, high) = self.bounds?;
        match self.at_the_end {
            true => Some(0),
            false => Some((high - self.next()?).max(0)),
        }
    }

    /// Whether only reading tells if something waits. Where owners died of reading, nobody reads to tell.
    fn may_be_at_the_end(&self) -> bool {
        self.lag().is_some_and(|lag| lag > 0) && self.standing == Standing::Fine
    }
}

/// Prints the table.
pub(super) async fn show(settings: &Settings, output: Output) -> Result<Done, Failure> {
    let store = crate::cli::connect(settings).await?;
    let lanes = store.inspect_lanes().await;
    let lanes = lanes.map_err(crate::cli::store_failure)?;
    let client = settings.kafka.client();
    let (bounds, unknown) = match bounds(settings).await {
        Ok(bounds) => (bounds, None),
        Err(failure) => (BTreeMap::new(), Some(failure)),
    };
    let mut lines = lines(lanes, &bounds);
    look_at_ends(&client, &mut lines).await;
    output.print(|| table(&lines), || shown(&lines))?;
    match unknown {
        // The positions are shown all the same; what is missing is said beside them.
        Some(failure) => Err(failure),
        None => Ok(Done::Ok),
    }
}

/// Every lane that is stored or could be: a partition that nobody has read yet has lag, too.
fn lines(lanes: Vec<LaneFound>, bounds: &BTreeMap<TopicPartition, (i64, i64)>) -> Vec<Line> {
    let mut lines: BTreeMap<(String, i32), Line> = BTreeMap::new();
    for (lane, bounds) in bounds {
        let line = Line::new(&lane.to_string(), Some(*bounds));
        lines.insert((lane.topic.to_string(), lane.partition), line);
    }
    for found in lanes {
        let key = found.id.parse::<LaneName>().map_or_else(
            |_| (found.id.clone(), 0),
            |LaneName(lane)| (lane.topic.to_string(), lane.partition),
        );
        let line = lines
            .entry(key)
            .or_insert_with(|| Line::new(&found.id, None));
        line.standing = standing(&found, line.bounds);
        line.position = found.position.and_then(Result::ok);
        line.outbox = found.outbox;
    }
    lines.into_values().collect()
}

/// Finds the lanes where only markers of transactions and aborted records stand before the end.
async fn look_at_ends(client: &kafka::Settings, lines: &mut [Line]) {
    let asked = lines.iter().filter(|line| line.may_be_at_the_end());
    let asked = asked.filter_map(|line| {
        let LaneName(lane) = line.lane.parse().ok()?;
        Some((lane, line.next()?))
    });
    // Without an answer, everything before the end counts.
    let ends = kafka::at_the_end(client, asked.collect()).await;
    let ends = ends.unwrap_or_default();
    for line in lines {
        let lane = line.lane.parse().map(|LaneName(lane)| lane);
        line.at_the_end = lane.is_ok_and(|lane| ends.contains(&lane));
    }
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
            line.standing.cell(),
        ]
    });
    let heads = COLUMNS.map(|(head, _)| head);
    let mut text = output::table(&heads, &rows.collect::<Vec<_>>());
    for (lane, remedy) in lines.iter().filter_map(remedy) {
        text.push_str(&format!("\n{lane}: {remedy}\n"));
    }
    if output::width().is_some() {
        text.push_str(&legend());
    }
    text
}

fn remedy(line: &Line) -> Option<(&str, String)> {
    let remedy = line.standing.remedy(&line.lane)?;
    Some((&line.lane, remedy))
}

fn legend() -> String {
    let columns = COLUMNS.map(|(head, meaning)| format!("{head} {meaning}"));
    format!("\n{}\n", columns.join(" · "))
}

fn shown(lines: &[Line]) -> serde_json::Value {
    let shown = lines.iter().map(|line| {
        let position = line.position;
        let since = match &line.standing {
            Standing::Stopped(IntakeStop { since, .. }) => Some(rfc3339(*since)),
            _ => None,
        };
        let stopped_at = match &line.standing {
            Standing::Stopped(IntakeStop { offset, .. }) | Standing::WillStop { offset, .. } => {
                Some(*offset)
            }
            _ => None,
        };
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
            "state": state(&line.standing),
            "stoppedAt": stopped_at,
            "since": since,
            "deaths": position.map(|p| p.deaths),
            "remedy": line.standing.remedy(&line.lane),
        })
    });
    shown.collect()
}

/// The state's name; `None`: nothing is known to be wrong.
fn state(standing: &Standing) -> Option<&'static str> {
    match standing {
        Standing::Fine => None,
        Standing::Dying { .. } => Some("dying"),
        Standing::Unreadable(_) => Some("unreadable"),
        Standing::Stopped(_) | Standing::WillStop { .. } => {
            standing.reason().map(crate::store::StopReason::as_str)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn line(next: Option<i64>, bounds: Option<(i64, i64)>) -> Line {
        Line {
            position: Some(LanePosition {
                next,
                ..LanePosition::unread()
            }),
            ..Line::new("a/0", bounds)
        }
    }

    #[test]
    fn lag_counts_from_the_position_or_the_first_record() {
        for (next, bounds, lag) in [
            (Some(7), Some((5, 10)), Some(3)),
            (None, Some((5, 10)), Some(5)),
            (Some(2), Some((5, 10)), Some(5)),
            (Some(12), Some((5, 10)), Some(0)),
            (Some(7), None, None),
        ] {
            assert_eq!(line(next, bounds).lag(), lag);
        }
        let at_the_end = Line {
            at_the_end: true,
            ..line(Some(7), Some((5, 10)))
        };
        assert_eq!(at_the_end.lag(), Some(0));
    }

    #[test]
    fn the_command_that_fixes_a_lane_stands_below_the_table() {
        let standing = Standing::WillStop {
            reason: crate::store::StopReason::PositionLost,
            offset: 4,
        };
        let lost = Line {
            standing,
            ..line(Some(4), Some((5, 10)))
        };
        let table = table(&[lost, line(Some(7), Some((5, 10)))]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].ends_with("position_lost at 4"), "{table}");
        assert!(lines[2].ends_with('–'), "{table}");
        assert!(lines[4].starts_with("a/0: "), "{table}");
        assert!(
            lines[4].contains("session-worker lanes seek a/0 earliest --yes"),
            "{table}"
        );
    }

    #[test]
    fn every_column_is_explained_in_the_help() {
        let mut command = crate::cli::Cli::command();
        let lanes = command.find_subcommand_mut("lanes").expect("`lanes`");
        let show = lanes.find_subcommand_mut("show").expect("`lanes show`");
        let help = show.render_long_help().to_string();
        for (head, _) in COLUMNS {
            let lines = help.lines().map(str::trim_start);
            let mut explained = lines.filter(|line| line.starts_with(&format!("{head} ")));
            assert!(explained.next().is_some(), "{head}: {help}");
        }
    }
}
