//! How a command is judged before its session is found: id valid, replay or conflict, expired,
//! well-formed.

use std::time::Duration;

use super::world::{T0, Told, World, creation, fingerprint};
use crate::domain::{
    Action, Code, Command, CommandResult, Context, Match, MatchedUser, Message, MessageId, Request,
    ResultOrigin, Rules, SessionId, State, Tier, Timestamp, UserId, admit, refuse_attempts,
};

fn command(command_id: &str, action: Action) -> Command {
    Command {
        command_id: command_id.to_owned(),
        issued_at: T0,
        user_id: "ann".to_owned(),
        tier: Tier::Free,
        action,
    }
}

fn start(session_id: &str) -> Action {
    Action::StartSession {
        session_id: session_id.to_owned(),
    }
}

fn send(world: &mut World, command: &Command) -> Told {
    world.send(&Message::Command(command.clone()))
}

fn result(told: Told) -> CommandResult {
    told.result.expect("a message is answered")
}

fn code(world: &mut World, command: &Command) -> Option<Code> {
    result(send(world, command)).code
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn an_ill_formed_command_id_is_an_invalid_argument_and_not_remembered() {
    let longest = "ü".repeat(128);
    for id in ["", " \t", "a\u{7}b", "a\nb", &format!("{longest}x")] {
        let mut world = World::new();
        let answer = result(send(&mut world, &command(id, creation(4))));
        assert_eq!(answer.code, Some(Code::InvalidArgument), "{id:?}");
        assert_eq!(answer.id, id, "as it came");
        assert!(answer.detail.contains("commandId"), "{}", answer.detail);
        assert!(world.ledger.is_empty());
    }
    for id in ["c", &longest, "  c with spaces  "] {
        assert_eq!(
            code(&mut World::new(), &command(id, creation(4))),
            None,
            "{id:?}"
        );
    }
}

#[test]
fn a_replay_is_answered_with_the_first_result_and_no_event() {
    let mut world = World::new();
    let first = command("c1", creation(4));
    let answer = result(send(&mut world, &first));
    world.run("at 10; bob joins s1; at 20");
    let told = send(&mut world, &first);
    assert_eq!(told.brief(), "accepted");
    assert_eq!(
        result(told),
        CommandResult {
            replayed: true,
            ..answer
        }
    );
}

#[test]
fn a_replay_of_a_rejection_is_that_rejection() {
    let mut world = World::new();
    for rejected in [
        command("c1", start("nowhere")),
        command("c2", creation(7)),
        Command {
            issued_at: T0.minus(8 * DAY),
            ..command("c3", creation(4))
        },
        Command {
            issued_at: T0.plus(DAY),
            ..command("c4", creation(4))
        },
    ] {
        let answer = result(send(&mut world, &rejected));
        assert!(answer.code.is_some());
        let again = result(send(&mut world, &rejected));
        assert_eq!(
            again,
            CommandResult {
                replayed: true,
                ..answer
            }
        );
    }
}

#[test]
fn the_same_id_is_what_is_the_same_after_trimming() {
    let mut world = World::new();
    send(&mut world, &command("c1", creation(4)));
    assert!(result(send(&mut world, &command(" c1\n", creation(4)))).replayed);
}

#[test]
fn issued_at_is_no_content_and_a_replay_never_expires() {
    let mut world = World::new();
    let first = command("c1", creation(4));
    send(&mut world, &first);
    for issued_at in [T0.minus(30 * DAY), T0.plus(30 * DAY)] {
        let again = Command {
            issued_at,
            ..first.clone()
        };
        assert!(result(send(&mut world, &again)).replayed);
    }
}

#[test]
fn other_content_under_the_same_id_is_a_command_conflict_and_the_first_content_stays() {
    let mut world = World::new();
    let first = command("c1", creation(4));
    send(&mut world, &first);
    for other in [
        Command {
            user_id: "bob".to_owned(),
            ..first.clone()
        },
        Command {
            tier: Tier::Premium,
            ..first.clone()
        },
        Command {
            action: creation(5),
            ..first.clone()
        },
        Command {
            user_id: " ".to_owned(),
            issued_at: T0.minus(9 * DAY),
            ..first.clone()
        },
    ] {
        let answer = result(send(&mut world, &other));
        assert_eq!(answer.code, Some(Code::CommandConflict));
        assert!(!answer.replayed);
    }
    assert!(result(send(&mut world, &first)).replayed);
}

#[test]
fn issued_at_older_than_the_retention_is_command_expired() {
    let age = |age| Command {
        issued_at: T0.minus(age),
        ..command("c1", creation(4))
    };
    assert_eq!(code(&mut World::new(), &age(7 * DAY)), None);
    let older = age(7 * DAY + Duration::from_millis(1));
    assert_eq!(code(&mut World::new(), &older), Some(Code::CommandExpired));
    let rules = Rules {
        command_retention: DAY,
        ..Rules::default()
    };
    assert_eq!(
        code(&mut World::with(rules), &age(2 * DAY)),
        Some(Code::CommandExpired)
    );
}

#[test]
fn issued_at_more_than_5_min_ahead_is_an_invalid_argument() {
    let ahead = |ahead| Command {
        issued_at: T0.plus(ahead),
        ..command("c1", creation(4))
    };
    let minutes = Duration::from_secs(300);
    assert_eq!(code(&mut World::new(), &ahead(minutes)), None);
    let farther = ahead(minutes + Duration::from_millis(1));
    assert_eq!(
        code(&mut World::new(), &farther),
        Some(Code::InvalidArgument)
    );
}

#[test]
fn issued_at_of_any_number_is_judged() {
    for (issued_at, expected) in [
        (i64::MIN, Code::CommandExpired),
        (i64::MAX, Code::InvalidArgument),
    ] {
        let extreme = Command {
            issued_at: Timestamp(issued_at),
            ..command("c1", creation(4))
        };
        assert_eq!(code(&mut World::new(), &extreme), Some(expected));
    }
}

#[test]
fn expired_comes_before_well_formed() {
    let both = Command {
        issued_at: T0.minus(8 * DAY),
        ..command("c1", creation(99))
    };
    assert_eq!(code(&mut World::new(), &both), Some(Code::CommandExpired));
}

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
        " fr ",
    ] {
        let mut world = World::new();
        assert_eq!(
            code(&mut world, &command("c1", private(None, tag, None, 4))),
            None,
            "{tag:?}"
        );
        assert_eq!(world.sessions[0].target_language_code, tag.trim());
    }
    for tag in [
        "",
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

fn found(users: &[&str]) -> Match {
    Match {
        match_id: "m1".to_owned(),
        matched_at: T0,
        target_language_code: "fr".to_owned(),
        topic_id: None,
        topic_title: None,
        participants: users
            .iter()
            .map(|user| MatchedUser {
                user_id: (*user).to_owned(),
                tier: Tier::Free,
            })
            .collect(),
        min_participants: 2,
        max_participants: 6,
        session_id: None,
    }
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
                ..good.clone()
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

#[test]
fn a_match_never_expires_or_conflicts() {
    let mut world = World::new();
    let old = Match {
        matched_at: T0.minus(100 * DAY),
        ..found(&["a", "b"])
    };
    let first = result(world.send(&Message::Match(old)));
    assert_eq!(first.code, None);
    let other = Match {
        matched_at: T0.plus(100 * DAY),
        ..found(&["c", "d"])
    };
    let told = world.send(&Message::Match(other));
    assert_eq!(told.events, []);
    assert_eq!(
        result(told),
        CommandResult {
            replayed: true,
            ..first
        }
    );
}

#[test]
fn matches_have_their_own_id_space() {
    let mut world = World::new();
    send(&mut world, &command("x", creation(4)));
    let told = world.send(&Message::Match(Match {
        match_id: "x".to_owned(),
        ..found(&["a", "b"])
    }));
    assert!(!result(told).replayed);
    assert_ne!(
        MessageId::Command("x".to_owned()),
        MessageId::Match("x".to_owned())
    );
    assert_ne!(SessionId::of_command("x"), SessionId::of_match("x"));
}

#[test]
fn internal_error_answers_with_what_the_message_named() {
    let message = Message::Command(command(" c1 ", start(" s ")));
    let answer = CommandResult::internal_error(&message, T0);
    assert_eq!(
        (answer.id.as_str(), answer.code),
        ("c1", Some(Code::InternalError))
    );
    assert_eq!((answer.http_status, answer.decided_at), (500, T0));
    assert_eq!(answer.user_id.as_deref(), Some("ann"));
    assert_eq!(answer.session_id.as_deref(), Some("s"));
    let answer = CommandResult::internal_error(&Message::Match(found(&["a", "b"])), T0);
    assert_eq!((answer.origin, answer.user_id), (ResultOrigin::Match, None));
}

#[test]
fn only_a_join_can_be_refused_for_its_attempts() {
    let mut world = World::new();
    for n in 0..10 {
        world.run(&format!("ann enters WRONG{n}"));
    }
    let ann = UserId::parse("ann").expect("a well-formed id");
    let limits: Vec<_> = world
        .users
        .iter()
        .filter(|user| user.user_id == ann)
        .collect();
    assert_eq!(limits[0].failed_codes.len(), 10);
    let state = State {
        session: None,
        users: limits,
    };
    let context = Context {
        now: T0,
        rules: &world.rules,
        invite_code: None,
    };
    let request = |action| {
        let message = Message::Command(command("c1", action));
        match admit(&message, &fingerprint(&message), None, T0, &world.rules) {
            crate::domain::Admission::Proceed(request) => request,
            settled => panic!("{settled:?}"),
        }
    };
    let join: Request = request(Action::JoinSession {
        invite_code: "ABC".to_owned(),
    });
    let refused = refuse_attempts(&state, &join, &context).expect("ten codes failed");
    assert_eq!(refused.result.code, Some(Code::TooManyAttempts));
    assert_eq!(
        (refused.session, refused.users, refused.events),
        (None, vec![], vec![])
    );
    assert_eq!(
        refuse_attempts(&state, &request(start("s")), &context),
        None
    );
    assert_eq!(
        refuse_attempts(&state, &request(creation(4)), &context),
        None
    );
}

#[test]
fn every_code_has_its_http_status() {
    let expected = [
        ("invalid_argument", 400),
        ("not_host", 403),
        ("not_participant", 403),
        ("limit_concurrent", 403),
        ("limit_daily", 403),
        ("match_rejected", 403),
        ("session_not_found", 404),
        ("invite_not_found", 404),
        ("invalid_state", 409),
        ("session_full", 409),
        ("command_conflict", 409),
        ("session_ended", 410),
        ("command_expired", 410),
        ("too_many_attempts", 429),
        ("internal_error", 500),
    ];
    assert_eq!(
        Code::ALL.map(|code| (code.as_str(), code.http_status())),
        expected
    );
}
