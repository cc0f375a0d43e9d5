//! Dead letters: addresses, groups, filters, and what is said before one is sent again.

use std::time::Duration;

use super::filter::When;
use super::list::Groups;
use super::replay::{Chosen, Circumstances, Seen, Superseded, Verdict, judge};
use super::{Address, Named, text_of};
use crate::cli::Cli;
use crate::domain::{
    Action, Code, Command, CommandResult, Message, MessageId, Remembered, Tier, Timestamp,
};
use crate::record::{Header, Origin, Record, TopicNames, TopicPartition};
use crate::store::LedgerEntry;
use crate::wire::{Decoded, Letter};
use clap::Parser as _;

const NOW: Timestamp = Timestamp(1_766_402_400_000);

fn header(name: &str, value: &str) -> Header {
    (name.to_owned(), Some(value.as_bytes().to_vec()))
}

/// A letter of a record with `headers`, at `offset`.
fn letter(reason: &str, message: &str, offset: i64, headers: &[Header]) -> Letter {
    let said = [
        header("dlq-reason", reason),
        header("dlq-message", message),
        header("dlq-topic", "session-command"),
        header("dlq-partition", "3"),
        header("dlq-offset", "17"),
        header("dlq-failed-at", "2025-12-22T11:20:00.000Z"),
    ];
    let record = Record {
        lane: TopicPartition::new("session-dead-letter", 0),
        offset,
        timestamp: Some(NOW.0 + offset),
        key: Some(b"key".to_vec()),
        value: Some(b"{}".to_vec()),
        headers: [headers, &said[..]].concat(),
    };
    Letter::read(record).expect("a dead letter")
}

fn command(issued_at: Timestamp) -> Decoded {
    Decoded {
        message: Message::Command(Command {
            command_id: "c1".to_owned(),
            issued_at,
            user_id: "ann".to_owned(),
            tier: Tier::Free,
            action: Action::StartSession {
                session_id: "s".to_owned(),
            },
        }),
        fingerprint: [0; 32],
        admitted: false,
    }
}

fn seen(decoded: Option<Result<Decoded, String>>) -> Seen {
    Seen {
        decoded,
        remembered: Some(None),
    }
}

fn verdict(letter: &Letter, seen: &Seen, by_address: bool, later: Option<Address>) -> Verdict {
    let circumstances = Circumstances {
        topics: &TopicNames::default(),
        by_address,
        now: Some(NOW),
        retention: Duration::from_secs(7 * 24 * 60 * 60),
        died_again_as: later,
    };
    judge(letter, seen, &circumstances)
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Send { notes, .. } => notes.join("; "),
        Verdict::Skip(why) | Verdict::Refuse(why) => why.clone(),
    }
}

#[test]
fn addresses_are_read_as_they_are_written() {
    let address = |text: &str| -> Result<String, String> {
        let named: Named = text.parse().map_err(str::to_owned)?;
        let address = named.of("letters").map_err(|failure| failure.text())?;
        Ok(address.to_string())
    };
    for text in ["12", "0/12", "letters/0@12"] {
        assert_eq!(address(text).as_deref(), Ok("0/12"), "{text}");
    }
    for text in [
        "",
        "x",
        "0/",
        "/1",
        "-1",
        "0/-1",
        "topic@1",
        "1/2x",
        "letters/0/12",
        "0@12",
    ] {
        assert!(address(text).is_err(), "{text}");
    }
    let other = address("session-command/0@12").expect_err("another topic");
    assert!(other.starts_with("session-command is not where"), "{other}");
}

#[test]
fn instants_are_told_or_counted_back() {
    assert_eq!("2h".parse(), Ok(When::Ago(Duration::from_secs(7200))));
    assert_eq!(
        "2025-12-22T11:20:00Z".parse(),
        Ok(When::At(1_766_402_400_000))
    );
    assert_eq!(
        "2025-12-22T12:20:00.5+01:00".parse(),
        Ok(When::At(1_766_402_400_500))
    );
    for text in ["yesterday", "", "2025-12-22", "-2h"] {
        assert!(text.parse::<When>().is_err(), "{text}");
    }
}

#[test]
fn groups_tell_reasons_topics_and_messages_apart_but_not_places_in_a_text() {
    let mut groups = Groups::default();
    for (offset, reason, message) in [
        (1, "undecodable", "JSON: unknown field at line 1 column 6"),
        (2, "undecodable", "JSON: unknown field at line 3 column 1"),
        (3, "undecodable", "the value is empty"),
        (4, "unknown_schema", "schema id 5 is not registered"),
        (5, "unknown_schema", "schema id 6 is not registered"),
        (6, "undecodable", "JSON: unknown field at line 1 column 6"),
        (7, "undecodable", "JSON: unknown field at line 1 column 6"),
    ] {
        let again = [header("sw-replay-count", "2")];
        let headers = if offset == 6 { &again[..] } else { &[] };
        groups.add(&letter(reason, message, offset, headers));
    }
    assert_eq!((groups.letters, groups.groups.len()), (7, 4));
    let key = |reason: &str, message: &str| {
        let topic = "session-command";
        (reason.to_owned(), topic.to_owned(), message.to_owned())
    };
    let group = &groups.groups[&key("undecodable", "JSON: unknown field")];
    assert_eq!((group.count, group.again), (4, 1));
    let offsets = [&group.first.1, &group.last.1].map(ToString::to_string);
    assert_eq!(offsets, ["0/1", "0/7"]);
    let examples: Vec<_> = group.examples.iter().map(ToString::to_string).collect();
    assert_eq!(examples, ["0/2", "0/6", "0/7"]);
}

#[test]
fn groups_have_a_bound() {
    let mut groups = Groups::default();
    for number in 0..2_000 {
        groups.add(&letter(
            "undecodable",
            &format!("message {number}"),
            number,
            &[],
        ));
    }
    assert_eq!((groups.letters, groups.groups.len()), (2_000, 1_001));
}

#[test]
fn a_filter_takes_what_all_of_it_takes() {
    let takes = |arguments: &[&str]| {
        let all = [&["session-worker", "dead-letters", "list"], arguments].concat();
        let cli = Cli::try_parse_from(all).expect("the arguments are right");
        let crate::cli::Command::DeadLetters(super::DeadLettersCommand::List { filter, .. }) =
            cli.command
        else {
            panic!("it is `list`")
        };
        let letter = letter("too_large", "the value has 70000 bytes", 4, &[]);
        filter.sieve(&TopicNames::default()).takes(&letter)
    };
    for (arguments, taken) in [
        (&[][..], true),
        (&["--reason", "too_large"], true),
        (&["--reason", "bug", "--reason", "too_large"], true),
        (&["--reason", "bug"], false),
        (&["--from-topic", "session-command"], true),
        (&["--from-topic", "match-found"], false),
        (&["--since", "2025-12-22T11:20:00Z"], true),
        (&["--since", "2025-12-22T11:20:01Z"], false),
        (&["--until", "2025-12-22T11:20:00Z"], false),
        (&["--until", "2025-12-22T11:20:01Z"], true),
        (&["--key", "key"], true),
        (&["--key", "ke"], false),
        (&["--message", "70000"], true),
        (&["--message", "80000", "--key", "key"], false),
    ] {
        assert_eq!(takes(arguments), taken, "{arguments:?}");
    }
}

#[test]
fn letters_are_chosen_by_address_or_by_filter_and_never_all_by_omission() {
    let filter = |arguments: &[&str]| {
        let all = [&["session-worker", "dead-letters", "list"], arguments].concat();
        match Cli::try_parse_from(all).expect("right").command {
            crate::cli::Command::DeadLetters(super::DeadLettersCommand::List {
                filter, ..
            }) => filter,
            _ => panic!("it is `list`"),
        }
    };
    let address = || {
        vec![Address {
            partition: 0,
            offset: 3,
        }]
    };
    assert!(Chosen::new(address(), filter(&[])).is_ok());
    assert!(Chosen::new(Vec::new(), filter(&["--key", "k"])).is_ok());
    assert!(Chosen::new(Vec::new(), filter(&[])).is_err());
    assert!(Chosen::new(address(), filter(&["--key", "k"])).is_err());
}

#[test]
fn a_bug_letter_is_said_to_be_answered_as_replayed() {
    let letter = letter("bug", "the worker fails on this message", 4, &[]);
    let decoded = command(NOW);
    let result = CommandResult::internal_error(&decoded.message, NOW);
    let entry = LedgerEntry {
        id: MessageId::Command("c1".to_owned()),
        remembered: Remembered {
            fingerprint: [0; 32],
            result,
        },
        origin: Origin {
            lane: TopicPartition::new("session-command", 3),
            offset: 17,
        },
        forget_at: Some(NOW),
    };
    let mut seen = seen(Some(Ok(decoded)));
    seen.remembered = Some(Some(entry));
    let text = said(&verdict(&letter, &seen, false, None));
    for word in [
        Code::InternalError.as_str(),
        "until 2025-12-22 11:20:00.000",
        "replayed, and nothing else happens",
        "new commandId",
    ] {
        assert!(text.contains(word), "{text}");
    }
    seen.remembered = None;
    let text = said(&verdict(&letter, &seen, false, None));
    assert!(
        text.contains("probably remembered as internal_error"),
        "{text}"
    );
}

#[test]
fn what_will_come_of_a_replay_is_said_before() {
    let unknown = letter("unknown_schema", "schema id 5", 4, &[]);
    for (seen, words) in [
        (seen(Some(Ok(command(NOW)))), "it will be judged"),
        (seen(Some(Ok(command(Timestamp(0))))), "command_expired"),
        (
            seen(Some(Err("schema id 5".to_owned()))),
            "it will die again: schema id 5",
        ),
        (seen(None), "is not known"),
    ] {
        let verdict = verdict(&unknown, &seen, false, None);
        assert!(matches!(verdict, Verdict::Send { .. }), "{verdict:?}");
        assert!(said(&verdict).contains(words), "{}", said(&verdict));
    }
}

#[test]
fn a_letter_stands_for_another_only_if_it_is_the_same_record() {
    let first = letter("undecodable", "why", 4, &[]);
    let of = [header("sw-replay-of", "session-dead-letter/0/4")];
    let mut later = letter("undecodable", "why", 9, &of);
    let mut superseded = Superseded::default();
    superseded.add(&later);
    let address = superseded.by(&first);
    assert_eq!(
        address.map(|address| address.to_string()).as_deref(),
        Some("0/9")
    );
    later.value = Some(b"another".to_vec());
    let mut forged = Superseded::default();
    forged.add(&later);
    assert_eq!(forged.by(&first), None);
}

#[test]
fn only_the_last_letter_of_a_record_is_sent_by_filter() {
    let first = letter("undecodable", "why", 4, &[]);
    let later = Some(Address {
        partition: 0,
        offset: 9,
    });
    let seen = seen(Some(Err("why".to_owned())));
    let by_filter = verdict(&first, &seen, false, later);
    assert_eq!(
        by_filter,
        Verdict::Skip("sent again before, and died again as 0/9".to_owned())
    );
    let named = verdict(&first, &seen, true, later);
    assert!(matches!(named, Verdict::Send { .. }));
    assert!(said(&named).contains("died again as 0/9"));
}

#[test]
fn the_workers_own_and_what_was_cut_and_foreign_topics_are_refused() {
    let cut = letter(
        "too_large",
        "large",
        4,
        &[header("dlq-truncated", "2000000")],
    );
    let mut foreign = letter("undecodable", "why", 4, &[]);
    foreign.origin.lane.topic = "elsewhere".into();
    let forwarded = [header("sw-forward", "match-found/0/1/1")];
    let admitted = Decoded {
        admitted: true,
        ..command(NOW)
    };
    for (letter, seen, word) in [
        (cut, seen(Some(Err("large".to_owned()))), "only a part"),
        (foreign, seen(None), "no input here"),
        (
            letter("forbidden", "an AdmitMatch", 4, &[]),
            seen(None),
            "AdmitMatch",
        ),
        (
            letter("bug", "bug", 4, &forwarded),
            seen(Some(Ok(admitted))),
            "match-found",
        ),
        (
            letter("bug", "bug", 4, &forwarded),
            seen(None),
            "registry cannot be asked",
        ),
    ] {
        let verdict = verdict(&letter, &seen, true, None);
        assert!(matches!(verdict, Verdict::Refuse(_)), "{verdict:?}");
        assert!(said(&verdict).contains(word), "{}", said(&verdict));
    }
}

#[test]
fn a_forwarded_command_goes_as_a_record_of_its_own() {
    let letter = letter(
        "bug",
        "bug",
        4,
        &[header("sw-forward", "session-command/1/2/1")],
    );
    let verdict = verdict(&letter, &seen(Some(Ok(command(NOW)))), true, None);
    let Verdict::Send { record, notes } = verdict else {
        panic!("{verdict:?}")
    };
    assert!(record.headers.iter().all(|(name, _)| name != "sw-forward"));
    assert!(notes.iter().any(|note| note.contains("sw-forward")));
}

#[test]
fn bytes_that_are_no_text_are_shown_as_such() {
    for (bytes, text) in [
        (None, "–"),
        (Some(&b"key"[..]), "key"),
        (Some(b"\xff\x01"), "0xff01"),
        (Some(b"\0\0\0\x03"), "0x00000003"),
        (Some(b"longer than that"), "longer tha…"),
    ] {
        assert_eq!(text_of(bytes, 10), text);
    }
}
