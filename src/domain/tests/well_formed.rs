//! What is well-formed, and what a refusal says.

use super::admission::{code, command, found, result, send, start};
use super::script::creation;
use super::world::{T0, World};
use crate::domain::{Action, Code, Command, CommandResult, Match, Message, ResultOrigin};

fn private(session_id: Option<&str>, language: &str, topic_id: Option<&str>, max: i32) -> Action {
    Action::CreatePrivateSession {
        session_id: session_id.map(str::to_owned),
        target_language_code: language.to_owned(),
        topic_id: topic_id.map(str::to_owned),
        topic_title: None,
        max_participants: max,
    }
}

fn connect(session_id: &str, connection_id: &str) -> Action {
    Action::ConnectParticipant {
        session_id: session_id.to_owned(),
        connection_id: connection_id.to_owned(),
    }
}

#[test]
fn a_title_has_at_most_256_unicode_scalars_and_is_kept_as_given() {
    let title = |count: usize| Some(format!(" {}", "é".repeat(count - 1)));
    for (count, code) in [(256, None), (257, Some(Code::InvalidArgument))] {
        let mut world = World::new();
        let Action::CreatePrivateSession {
            session_id,
            target_language_code,
            topic_id,
            max_participants,
            ..
        } = private(None, "fr", None, 4)
        else {
            unreachable!("it is one")
        };
        let create = Action::CreatePrivateSession {
            topic_title: title(count),
            session_id,
            target_language_code,
            topic_id,
            max_participants,
        };
        let create = command("c1", create);
        assert_eq!(super::admission::code(&mut world, &create), code, "{count}");
        let found = Match {
            topic_title: title(count),
            ..found(&["ann", "bob"])
        };
        let result = result(world.send(&Message::Match(found)));
        assert_eq!(result.code, code, "{count}");
        for session in &world.sessions {
            assert_eq!(session.topic_title, title(count));
        }
    }
}

#[test]
fn a_bad_value_is_an_invalid_argument_that_names_the_field_and_is_remembered() {
    let leave = |speaking_time_seconds| Action::LeaveSession {
        session_id: "s".to_owned(),
        speaking_time_seconds,
    };
    let disconnect = |connection_id: &str, speaking_time_seconds| Action::DisconnectParticipant {
        session_id: "s".to_owned(),
        connection_id: connection_id.to_owned(),
        speaking_time_seconds,
    };
    let report = |session_id: &str, speaking_time_seconds| Action::ReportSpeakingTime {
        session_id: session_id.to_owned(),
        speaking_time_seconds,
    };
    let join = |code: &str| Action::JoinSession {
        invite_code: code.to_owned(),
    };
    let uuid = "0d9b6f0e-5c1b-4a52-9c9a-6d1f0a2b3c4d";
    let cases = [
        ("sessionId", private(Some("room"), "fr", None, 4)),
        (
            "sessionId",
            private(Some(&uuid.to_uppercase()), "fr", None, 4),
        ),
        (
            "sessionId",
            private(Some(&uuid.replace('-', "")), "fr", None, 4),
        ),
        (
            "sessionId",
            private(Some(&format!("{{{uuid}}}")), "fr", None, 4),
        ),
        ("sessionId", private(Some(""), "fr", None, 4)),
        ("targetLanguageCode", private(None, "", None, 4)),
        ("topicId", private(None, "fr", Some(" "), 4)),
        ("topicId", private(None, "fr", Some("a\u{0}b"), 4)),
        ("maxParticipants", private(None, "fr", None, 1)),
        ("maxParticipants", private(None, "fr", None, 7)),
        ("maxParticipants", private(None, "fr", None, -4)),
        ("inviteCode", join("")),
        ("inviteCode", join(" -\u{2014}\u{3000}")),
        ("sessionId", start("")),
        (
            "sessionId",
            Action::EndSession {
                session_id: "\u{1b}".to_owned(),
            },
        ),
        ("speakingTimeSeconds", leave(Some(-1))),
        ("connectionId", connect("s", "")),
        ("sessionId", connect("", "x")),
        ("connectionId", disconnect(" ", None)),
        ("speakingTimeSeconds", disconnect("x", Some(i64::MIN))),
        ("speakingTimeSeconds", report("s", -1)),
        ("sessionId", report(" ", 1)),
    ];
    for (field, action) in cases {
        let mut world = World::new();
        let answer = result(send(&mut world, &command("c1", action.clone())));
        assert_eq!(answer.code, Some(Code::InvalidArgument), "{action:?}");
        assert_eq!((answer.http_status, answer.decided_at), (400, T0));
        assert!(
            answer.detail.contains(field),
            "{action:?}: {}",
            answer.detail
        );
        assert_eq!(world.ledger.len(), 1, "{action:?}");
    }
    let nobody = Command {
        user_id: "\u{2003}".to_owned(),
        ..command("c1", creation(4))
    };
    let answer = result(send(&mut World::new(), &nobody));
    assert_eq!(answer.code, Some(Code::InvalidArgument));
    assert!(answer.detail.contains("userId"), "{}", answer.detail);
}

#[test]
fn a_target_language_code_has_bcp_47_shape() {
    for tag in [
        "fr",
        "FR",
        "fil",
        "zh-Hant-TW",
        "es-419",
        "sl-rozaj-biske-1994",
        "de-x-a1",
    ] {
        let mut world = World::new();
        assert_eq!(
            code(&mut world, &command("c1", private(None, tag, None, 4))),
            None,
            "{tag:?}"
        );
        assert_eq!(world.sessions[0].target_language_code, tag);
    }
    for tag in [
        "",
        " fr ",
        "fr\n",
        "f",
        "français",
        "fr_FR",
        "fr-",
        "-fr",
        "fr--FR",
        "fr-abcdefghi",
        "12",
        "f1",
        "fr FR",
        "abcdefghi",
        "fr\n-FR",
        "en-aaaaaaaa-bbbbbbbb-cccccccc-dddddddd",
    ] {
        let told = code(
            &mut World::new(),
            &command("c1", private(None, tag, None, 4)),
        );
        assert_eq!(told, Some(Code::InvalidArgument), "{tag:?}");
    }
}

#[test]
fn results_carry_the_trimmed_id_and_an_ill_formed_one_as_it_came() {
    let mut world = World::new();
    let answer = result(send(
        &mut world,
        &Command {
            user_id: " ann ".to_owned(),
            ..command(" c1 ", start(" nowhere "))
        },
    ));
    assert_eq!(answer.id, "c1");
    assert_eq!(answer.user_id.as_deref(), Some("ann"));
    assert_eq!(answer.session_id.as_deref(), Some("nowhere"));
    assert_eq!(answer.code, Some(Code::SessionNotFound));
    let answer = result(send(
        &mut world,
        &Command {
            user_id: " a\u{1} ".to_owned(),
            ..command(" c2 ", start(" b\u{1} "))
        },
    ));
    assert_eq!(answer.id, "c2");
    assert_eq!(answer.user_id.as_deref(), Some(" a\u{1} "));
    assert_eq!(answer.session_id.as_deref(), Some(" b\u{1} "));
    assert_eq!(answer.code, Some(Code::InvalidArgument));
}

#[test]
fn the_domain_sees_trimmed_ids() {
    let mut world = World::new();
    send(
        &mut world,
        &command("c1", private(None, "fr", Some(" t1 "), 4)),
    );
    let session_id = format!(" {} ", world.sessions[0].id);
    let connect = connect(&session_id, " x ");
    send(
        &mut world,
        &Command {
            user_id: " ann ".to_owned(),
            ..command("c2", connect)
        },
    );
    let session = &world.sessions[0];
    assert_eq!(session.topic_id.as_ref().map(|id| id.as_str()), Some("t1"));
    let connection_id = session.participants[0].connection_id.as_ref();
    assert_eq!(connection_id.map(|id| id.as_str()), Some("x"));
}

#[test]
fn a_topic_title_is_stored_as_given() {
    let mut world = World::new();
    let Action::CreatePrivateSession {
        session_id,
        target_language_code,
        topic_id,
        ..
    } = creation(4)
    else {
        unreachable!("a creation")
    };
    let action = Action::CreatePrivateSession {
        session_id,
        target_language_code,
        topic_id,
        topic_title: Some("  Le café \n".to_owned()),
        max_participants: 4,
    };
    send(&mut world, &command("c1", action));
    assert_eq!(
        world.sessions[0].topic_title.as_deref(),
        Some("  Le café \n")
    );
}

fn judge(found: &Match) -> CommandResult {
    result(World::new().send(&Message::Match(found.clone())))
}

#[test]
fn ac1_a_match_of_bad_values_is_an_invalid_argument() {
    let good = found(&["a", "b"]);
    assert_eq!(judge(&good).code, None);
    let cases = [
        ("participants", found(&[])),
        ("participants", found(&["a"])),
        ("participants", found(&["a", " a "])),
        ("participants", found(&["a", "b", "c", "d", "e", "f", "g"])),
        ("participants.userId", found(&["a", "b", ""])),
        (
            "participants",
            Match {
                max_participants: 2,
                ..found(&["a", "b", "c"])
            },
        ),
        (
            "maxParticipants",
            Match {
                max_participants: 7,
                ..good.clone()
            },
        ),
        (
            "maxParticipants",
            Match {
                max_participants: 1,
                ..good.clone()
            },
        ),
        (
            "minParticipants",
            Match {
                min_participants: 1,
                ..good.clone()
            },
        ),
        (
            "minParticipants",
            Match {
                min_participants: 4,
                max_participants: 3,
                ..good.clone()
            },
        ),
        (
            "targetLanguageCode",
            Match {
                target_language_code: "?".to_owned(),
                ..good.clone()
            },
        ),
        (
            "topicId",
            Match {
                topic_id: Some(String::new()),
                ..good.clone()
            },
        ),
        (
            "matchId",
            Match {
                match_id: String::new(),
                ..good
            },
        ),
    ];
    for (field, bad) in cases {
        let answer = judge(&bad);
        assert_eq!(answer.code, Some(Code::InvalidArgument), "{bad:?}");
        assert!(answer.detail.contains(field), "{bad:?}: {}", answer.detail);
        assert_eq!((answer.origin, answer.user_id), (ResultOrigin::Match, None));
        assert_eq!(answer.session_id, None, "none was named, found or made");
    }
}

#[test]
fn ac1_user_ids_are_trimmed_before_they_are_compared() {
    let mut world = World::new();
    world.send(&Message::Match(found(&[" b ", "a", "b", "a\n"])));
    let users: Vec<&str> = world.sessions[0]
        .participants
        .iter()
        .map(|p| p.user_id.as_str())
        .collect();
    assert_eq!(users, ["b", "a"]);
}

#[test]
fn backfill_takes_1_to_6_distinct_users_and_looks_at_nothing_else() {
    let backfill = |users: &[&str]| Match {
        session_id: Some(" room ".to_owned()),
        target_language_code: "?".to_owned(),
        topic_id: Some(String::new()),
        min_participants: -1,
        max_participants: 99,
        ..found(users)
    };
    let answer = judge(&backfill(&["a", " a"]));
    assert_eq!(answer.code, Some(Code::SessionNotFound));
    assert_eq!(answer.session_id.as_deref(), Some("room"));
    for bad in [
        backfill(&[]),
        backfill(&["a", "b", "c", "d", "e", "f", "g"]),
        backfill(&["a", "\u{7f}"]),
        Match {
            session_id: Some(" ".to_owned()),
            ..found(&["a"])
        },
    ] {
        assert_eq!(judge(&bad).code, Some(Code::InvalidArgument), "{bad:?}");
    }
}
