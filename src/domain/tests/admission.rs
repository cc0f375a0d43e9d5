//! How a command is judged before its session is found: id valid, replay or conflict, expired,
//! well-formed.

use std::time::Duration;

use super::script::creation;
use super::told::Told;
use super::world::{T0, World, fingerprint};
use crate::domain::{
    Action, Code, Command, CommandResult, Context, Match, MatchedUser, Message, MessageId, Request,
    ResultOrigin, Rules, SessionId, State, Tier, Timestamp, UserId, admit, refuse_attempts,
};

pub(super) fn command(command_id: &str, action: Action) -> Command {
    Command {
        command_id: command_id.to_owned(),
        issued_at: T0,
        user_id: "ann".to_owned(),
        tier: Tier::Free,
        action,
    }
}

pub(super) fn start(session_id: &str) -> Action {
    Action::StartSession {
        session_id: session_id.to_owned(),
    }
}

pub(super) fn send(world: &mut World, command: &Command) -> Told {
    world.send(&Message::Command(command.clone()))
}

pub(super) fn result(told: Told) -> CommandResult {
    told.result.expect("a message is answered")
}

pub(super) fn code(world: &mut World, command: &Command) -> Option<Code> {
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

pub(super) fn found(users: &[&str]) -> Match {
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
