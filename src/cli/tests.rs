//! What the command line takes, and what it says when asked.

use clap::{CommandFactory, Parser};

use super::Cli;

#[test]
fn the_parser_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn flags_stand_before_or_after_the_command_and_add_up() {
    let cli = Cli::try_parse_from([
        "session-worker",
        "--config",
        "a.toml",
        "--set",
        "a=1",
        "--mongo-uri",
        "mongodb://before",
        "run",
        "--set",
        "b=2=3",
        "--mongo-uri",
        "mongodb://after",
    ])
    .expect("the arguments are right");
    let super::Command::Run {
        settings: after, ..
    } = cli.command
    else {
        panic!("it is `run`")
    };
    let flags = cli.settings.and(after).flags();
    assert_eq!(
        flags.config.as_deref(),
        Some(std::path::Path::new("a.toml"))
    );
    let values: Vec<_> = flags
        .values
        .iter()
        .map(|v| (v.flag.as_str(), v.key.as_str(), v.text.as_str()))
        .collect();
    assert_eq!(
        values,
        [
            ("--mongo-uri", "mongo.uri", "mongodb://after"),
            ("--set", "a", "1"),
            ("--set", "b", "2=3"),
        ]
    );
}

#[test]
fn the_reference_is_what_help_says() {
    let mut page = "\
# Command line

<!-- Written from src/cli: UPDATE_DOCS=1 cargo test --lib the_reference -->

Exit codes: 0 done, 1 failed, 2 usage or settings, 3 something differs from what it should be (`topics
plan`, `topics apply`, `schemas check`). Errors go to standard error, a line each, and end with what to
do. Settings stand in [configuration.md](configuration.md).
"
    .to_owned();
    let mut command = Cli::command();
    command.build();
    describe(&mut command, &mut page);
    crate::documents::assert_current("docs/cli.md", &page);
}

fn describe(command: &mut clap::Command, page: &mut String) {
    let name = command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_owned();
    // What programs may rely on stands in the long text.
    let help = if command.get_long_about().is_some() {
        command.render_long_help()
    } else {
        command.render_help()
    };
    let help = help.to_string();
    // Trailing blanks are clap's.
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    page.push_str(&format!(
        "\n## {name}\n\n```text\n{}\n```\n",
        help.join("\n")
    ));
    for below in command.get_subcommands_mut() {
        if below.get_name() != "help" {
            describe(below, page);
        }
    }
}
