//! What commands print: tables for people, JSON for programs, both to standard output.

use std::io::{ErrorKind, Write};

use clap::{Args, ValueEnum};

use super::failure::Failure;

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

/// Lines up `rows` under `heads`; the last column is as wide as it needs to be.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&heads).chain(rows).collect();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let widths = lines.iter().filter_map(|line| line.get(column));
            widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
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
}
