//! What commands print: tables for people, JSON for programs, both to standard output.

use std::io::{ErrorKind, Write};

use clap::{Args, ValueEnum};

use super::failure::Failure;
use crate::domain::Timestamp;
use crate::record::Origin;
use crate::wire::rfc3339;

/// The narrowest column worth wrapping to.
const NARROWEST: usize = 24;

/// Shapes of a command's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON document
    Json,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Output {
    /// How to print the outcome
    #[arg(long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    pub(super) format: Format,
}

impl Output {
    /// Prints the shape that was asked for.
    pub(super) fn print(
        self,
        table: impl FnOnce() -> String,
        json: impl FnOnce() -> serde_json::Value,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => print(table().as_bytes()),
            Format::Json => print(format!("{:#}\n", json()).as_bytes()),
        }
    }
}

/// Writes `bytes` to standard output. A reader that has gone away (`| head`) is no failure.
pub(super) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::operation(
            format!("cannot write the output: {error}"),
            "send it somewhere writable",
        )),
        _ => Ok(()),
    }
}

/// How wide the terminal is that standard output goes to; `None` where it goes elsewhere.
pub(super) fn width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(usize::from(width.0))
}

/// `text` without what a terminal would act on.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A place in a log as people and kcat write it: `topic/partition@offset`.
pub(super) fn place(record: &Origin) -> String {
    format!("{}@{}", record.lane, record.offset)
}

/// `at` as `2026-11-25 09:31:42.123`.
pub(super) fn date_time(at: Timestamp) -> String {
    let text = rfc3339(at);
    text.trim_end_matches('Z').replacen('T', " ", 1)
}

/// The time of day of `at`, as `09:31:42.123`.
pub(super) fn clock_time(at: Timestamp) -> String {
    let text = date_time(at);
    text.split_once(' ')
        .map_or_else(String::new, |(_, time)| time.to_owned())
}

/// Says something beside the output, on standard error.
pub(super) fn remark(line: &str) {
    // Nothing is lost with a line that cannot be written.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Lines up `rows` under `heads`; the last column is as wide as it needs to be.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    wrapped(heads, rows, None)
}

/// The same; where that is wider than `width`, the last column goes on below itself.
pub(super) fn wrapped(heads: &[&str], rows: &[Vec<String>], width: Option<usize>) -> String {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows = rows
        .iter()
        .map(|row| row.iter().map(|cell| printable(cell)).collect());
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let columns = lines[0].len();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let widths = lines.iter().filter_map(|line| line.get(column));
            widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let before: usize = widths[..columns - 1].iter().map(|width| width + 2).sum();
    let room = width.map(|width| width.saturating_sub(before).max(NARROWEST));
    let mut text = String::new();
    for mut line in lines {
        let last = line.pop().unwrap_or_default();
        let mut front = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            front.push_str(&format!("{cell:width$}  "));
        }
        let parts = room.map_or_else(|| vec![last.clone()], |room| broken(&last, room));
        for (number, part) in parts.iter().enumerate() {
            let line = if number == 0 {
                format!("{front}{part}")
            } else {
                format!("{:before$}{part}", "")
            };
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// `text` in lines of at most `room`, between words where there are any.
fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() <= room {
            used += 1;
            lines.last_mut().expect("there is one").push(' ');
        } else if used > 0 {
            used = 0;
            lines.push(String::new());
        }
        while word.len() > room {
            let rest = word.split_off(room);
            let line = lines.last_mut().expect("there is one");
            line.extend(word);
            lines.push(String::new());
            word = rest;
        }
        used += word.len();
        lines.last_mut().expect("there is one").extend(word);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_tail() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["longer".to_owned(), "é".to_owned()],
        ];
        assert_eq!(
            table(&["lane", "lag"], &rows),
            "lane    lag\na       1\nlonger  é\n"
        );
    }

    #[test]
    fn the_last_column_goes_on_below_itself_within_the_width() {
        let rows = [vec![
            "a".to_owned(),
            format!("one two {} six", "x".repeat(30)),
        ]];
        let text = wrapped(&["k", "words"], &rows, Some(27));
        let expected = format!(
            "k  words\na  one two\n   {}\n   {} six\n",
            "x".repeat(24),
            "x".repeat(6)
        );
        assert_eq!(text, expected);
        assert_eq!(table(&["k", "words"], &rows).lines().count(), 2);
    }

    #[test]
    fn nothing_that_a_terminal_acts_on_is_printed() {
        assert_eq!(
            printable("a\u{1b}[2Jé\u{9b}\n"),
            "a\\u{1b}[2Jé\\u{9b}\\u{a}"
        );
        let rows = [vec!["a\tb".to_owned()]];
        assert_eq!(table(&["h"], &rows), "h\na\\u{9}b\n");
    }
}
