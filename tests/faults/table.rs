//! The table: its rows, which of them run, and the page that they are written to.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::services;

/// What a fault may stop (contract 3, guarantee 7), and so what must go on beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    Nothing,
    Intake,
    Session,
    User,
    Command,
    Records,
    Reading,
    Database,
    Election,
    Broker,
    Start,
    Process,
}

/// What goes on beside a fault, as a row has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bystander {
    /// Commands on other lanes are answered.
    OtherLanes,
    /// Other commands on the same lane are answered.
    SameLane,
    /// Deadlines of the lane's other sessions fire.
    Deadlines,
    /// Probes are answered.
    Probes,
    /// Readiness names the fault.
    Named,
}

impl Extent {
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Intake => "one partition's intake",
            Self::Session => "one session",
            Self::User => "one user's commands",
            Self::Command => "one command's repeats",
            Self::Records => "one topic's records",
            Self::Reading => "the reading of inputs",
            Self::Database => "what needs the database",
            Self::Election => "what needs the database, until there is a primary",
            Self::Broker => "what needs the broker",
            Self::Start => "the start",
            Self::Process => "one process's lanes, until others own them",
        }
    }

    fn bystanders(self) -> &'static [Bystander] {
        use Bystander::{Deadlines, Named, OtherLanes, Probes, SameLane};
        match self {
            Self::Nothing => &[OtherLanes, Probes],
            Self::Intake => &[OtherLanes, Deadlines, Probes, Named],
            Self::Session | Self::User | Self::Command => {
                &[OtherLanes, SameLane, Deadlines, Probes]
            }
            Self::Records => &[OtherLanes, Probes, Named],
            Self::Reading => &[Deadlines, Probes, Named],
            Self::Database | Self::Broker | Self::Start => &[Probes, Named],
            Self::Election | Self::Process => &[Probes],
        }
    }
}

/// What a row has seen.
pub(crate) struct Measured {
    pub(crate) bystanders: BTreeSet<Bystander>,
    /// In words.
    pub(crate) meanwhile: Vec<String>,
    /// From the fault's end, or from the command that fixes it, until what it touched works.
    pub(crate) whole: Duration,
}

/// One fault.
pub(crate) struct Row {
    pub(crate) fault: &'static str,
    pub(crate) extent: Extent,
    pub(crate) run: fn() -> BoxFuture<'static, Measured>,
}

/// Which rows run.
pub(crate) enum Selection {
    /// The short selection of every `cargo test`.
    Short,
    /// `FAULTS=all`.
    All,
    /// `FAULTS=…`: those whose fault contains this.
    Containing(String),
}

/// Faults of the short selection.
const SHORT: [&str; 5] = [
    "retention empties a partition, the worker is down",
    "records are deleted before they are read, the worker runs",
    "a damaged batch of one record",
    "MongoDB answers 8000, 371 and 8, 3 s each",
    "the document of a user cannot be read",
];

impl Selection {
    pub(crate) fn of_environment() -> Self {
        match std::env::var("FAULTS") {
            Err(_) => Self::Short,
            Ok(text) if text == "all" => Self::All,
            Ok(text) => Self::Containing(text),
        }
    }

    fn has(&self, row: &Row) -> bool {
        match self {
            Self::Short => SHORT.contains(&row.fault),
            Self::All => true,
            Self::Containing(text) => row.fault.contains(text.as_str()),
        }
    }
}

/// Runs the rows one after another; writes the page unless the selection is the short one.
pub(crate) async fn run(rows: Vec<Row>, selection: Selection) {
    let mut failed = Vec::new();
    let selected: Vec<_> = rows.iter().filter(|row| selection.has(row)).collect();
    assert!(!selected.is_empty(), "FAULTS names no fault of the table");
    for row in selected {
        let began = Instant::now();
        // A task of its own, so that the other rows run after one that failed.
        let ran = tokio::spawn((row.run)()).await;
        let spent = began.elapsed().as_secs();
        let Ok(measured) = ran else {
            say(&format!("FAILED after {spent} s: {}", row.fault));
            failed.push(row.fault);
            services::recover().await;
            continue;
        };
        let mut missing = row.extent.bystanders().to_vec();
        missing.retain(|bystander| !measured.bystanders.contains(bystander));
        assert!(missing.is_empty(), "{} looks at no {missing:?}", row.fault);
        let line = line(row, &measured);
        say(&format!("{line} {spent} s"));
        if !matches!(selection, Selection::Short) {
            write(&rows, row, &line);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn line(row: &Row, measured: &Measured) -> String {
    let (fault, extent) = (row.fault, row.extent.shown());
    let meanwhile = measured.meanwhile.join("; ");
    let whole = measured.whole.as_secs_f64();
    format!("| {fault} | {extent} | {meanwhile} | {whole:.1} s |")
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md")
}

const HEAD: &str = "| fault | what may stand still | what went on meanwhile | whole again after |";

/// The page's line about a fault, where it has one.
fn written<'page>(page: &'page str, row: &Row) -> Option<&'page str> {
    let begins = format!("| {} | {} | ", row.fault, row.extent.shown());
    page.lines().find(|line| line.starts_with(&begins))
}

/// Puts a row's new line into the page, in the table's order; the other lines stay.
fn write(rows: &[Row], ran: &Row, line: &str) {
    let before = std::fs::read_to_string(page()).expect("the page is there");
    let (top, _) = before.split_once(HEAD).expect("the page has its table");
    let mut after = format!("{top}{HEAD}\n|---|---|---|---|\n");
    for row in rows {
        let is_new = row.fault == ran.fault;
        if let Some(line) = is_new.then_some(line).or_else(|| written(&before, row)) {
            after.push_str(line);
            after.push('\n');
        }
    }
    std::fs::write(page(), after).expect("the page is written");
}

/// The page has a line for every row, with its extent, and none besides.
pub(crate) fn is_written(rows: &[Row]) {
    let page = std::fs::read_to_string(page()).expect("the page is there");
    for row in rows {
        let fault = row.fault;
        assert!(
            written(&page, row).is_some(),
            "FAULTS={fault:?} writes its line"
        );
    }
    let lines = page.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(lines, rows.len() + 1, "docs/faults.md has lines of no row");
    for fault in SHORT {
        assert!(rows.iter().any(|row| row.fault == fault), "{fault}");
    }
}
