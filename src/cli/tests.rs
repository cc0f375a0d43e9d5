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
    let super::Command::Run(after) = cli.command else {
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
