//! Any sequence of messages and jumps in time, over several sessions and users: what must hold after
//! every step. `World` checks invariants, gaps and determinism as it goes.

use std::time::Duration;

use proptest::prelude::*;

use super::fold::fold;
use super::world::World;
use crate::domain::{
    Action, Command, CommandResult, Match, MatchedUser, Message, PublicHostMigration, Rules,
    Session, SessionStatus, StartOn, Tier, UserChange,
};

const USERS: [&str; 7] = ["ann", "bob", "cat", "dan", "eve", "fay", "gus"];
const CONNECTIONS: [&str; 2] = ["x", "y"];

/// One step of a history. A session's number picks a live one where it can, a user's number in
/// `Act` mostly a member: most of a random history shall happen to sessions, not be refused.
#[derive(Clone, Debug)]
enum Move {
    Wait {
        ms: u64,
    },
    /// The next lane's clock is a little behind.
    Back {
        ms: u64,
    },
    Tick {
        session: usize,
    },
    Create {
        user: usize,
        premium: bool,
        seats: i32,
    },
    Join {
        user: usize,
        premium: bool,
        session: usize,
    },
    Guess {
        user: usize,
    },
    Act {
        user: usize,
        session: usize,
        what: What,
    },
    Match {
        users: Vec<(usize, bool)>,
        min: i32,
        max: i32,
    },
    Backfill {
        users: Vec<(usize, bool)>,
        session: usize,
    },
    Replay {
        message: usize,
    },
}

#[derive(Clone, Debug)]
enum What {
    Start,
    End,
    Leave(Option<i64>),
    Connect(usize),
    Disconnect(usize, Option<i64>),
    Report(i64),
}

fn what() -> impl Strategy<Value = What> {
    let seconds = || prop_oneof![Just(i64::MAX), -1i64..4000];
    prop_oneof![
        3 => Just(What::Start),
        1 => Just(What::End),
        4 => prop::option::of(seconds()).prop_map(What::Leave),
        6 => (0..CONNECTIONS.len()).prop_map(What::Connect),
        5 => (0..CONNECTIONS.len(), prop::option::of(seconds()))
            .prop_map(|(connection, seconds)| What::Disconnect(connection, seconds)),
        2 => seconds().prop_map(What::Report),
    ]
}

fn one_move() -> impl Strategy<Value = Move> {
    let user = || 0..USERS.len();
    let users = || prop::collection::vec((user(), any::<bool>()), 1..7);
    let session = || 0usize..64;
    let wait = prop_oneof![
        9 => 0u64..20_000,
        3 => 20_000u64..200_000,
        1 => 200_000u64..2_000_000,
        // Whole seconds hit deadlines to the millisecond, half a day reaches midnight.
        3 => (0u64..100).prop_map(|seconds| seconds * 1000),
        1 => Just(43_200_000u64),
    ];
    prop_oneof![
        6 => wait.prop_map(|ms| Move::Wait { ms }),
        1 => (0u64..3000).prop_map(|ms| Move::Back { ms }),
        2 => session().prop_map(|session| Move::Tick { session }),
        2 => (user(), any::<bool>(), 1..8).prop_map(|(user, premium, seats)| Move::Create {
            user,
            premium,
            seats
        }),
        6 => (user(), any::<bool>(), session()).prop_map(|(user, premium, session)| Move::Join {
            user,
            premium,
            session
        }),
        2 => user().prop_map(|user| Move::Guess { user }),
        16 => (0usize..64, session(), what())
            .prop_map(|(user, session, what)| Move::Act { user, session, what }),
        2 => (users(), 1..5, 2..7).prop_map(|(users, min, max)| Move::Match { users, min, max }),
        3 => (users(), session()).prop_map(|(users, session)| Move::Backfill { users, session }),
        2 => (0usize..100).prop_map(|message| Move::Replay { message }),
    ]
}

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn rules() -> impl Strategy<Value = Rules> {
    (
        any::<(bool, bool, bool)>(),
        seconds(0u64..200),
        prop::option::of(seconds(60u64..300)),
        seconds(300u64..2000),
        seconds(300u64..2000),
        (1u32..4, 1u32..5, 1u32..9),
    )
        .prop_map(
            |(switches, grace, no_show, session, waiting, limits)| Rules {
                partial_match: switches.0,
                start_on: if switches.1 {
                    StartOn::Joined
                } else {
                    StartOn::Connected
                },
                public_host_migration: if switches.2 {
                    PublicHostMigration::On
                } else {
                    PublicHostMigration::Off
                },
                disconnect_grace: grace,
                no_show_timeout: no_show,
                session_timeout: session,
                waiting_timeout: waiting,
                failed_codes: limits.0,
                concurrent_limit: limits.1,
                daily_limit_free: limits.2,
                ..Rules::default()
            },
        )
}

/// A world and every message that was sent in it.
struct History {
    world: World,
    messages: Vec<Message>,
    /// Whether a clock was ever behind.
    clocks_differ: bool,
}

impl History {
    fn take(&mut self, step: &Move) {
        let world = &mut self.world;
        let nth = |number| nth_session(world, number);
        let message = match step {
            Move::Wait { ms } => {
                world.now = world.now.plus(Duration::from_millis(*ms));
                return;
            }
            Move::Back { ms } => {
                world.now = world.now.minus(Duration::from_millis(*ms));
                self.clocks_differ = true;
                return;
            }
            Move::Tick { session } => {
                let Some(index) = nth(*session) else { return };
                world.tick(index);
                let next = world.sessions[index].next_deadline();
                assert!(next.is_none_or(|at| at > world.now), "nothing due is left");
                return;
            }
            Move::Replay { message } => {
                if !self.messages.is_empty() {
                    self.replay(message % self.messages.len());
                }
                return;
            }
            Move::Create {
                user,
                premium,
                seats,
            } => {
                let action = super::script::creation(*seats);
                Message::Command(command(world, *user, *premium, action))
            }
            Move::Guess { user } => {
                let action = Action::JoinSession {
                    invite_code: "AAAAAA".to_owned(),
                };
                Message::Command(command(world, *user, false, action))
            }
            Move::Join {
                user,
                premium,
                session,
            } => {
                let Some(index) = nth(*session) else { return };
                let Some(code) = &world.sessions[index].invite_code else {
                    return;
                };
                let action = Action::JoinSession {
                    invite_code: code.as_str().to_owned(),
                };
                Message::Command(command(world, *user, *premium, action))
            }
            Move::Act {
                user,
                session,
                what,
            } => {
                let Some(index) = nth(*session) else { return };
                let user = member(&world.sessions[index], *user);
                let action = act(world.sessions[index].id.as_str(), what);
                Message::Command(command(world, user, false, action))
            }
            Move::Match { users, min, max } => {
                Message::Match(matched(self.messages.len(), users, *min, *max, None))
            }
            Move::Backfill { users, session } => {
                let Some(index) = nth(*session) else { return };
                let session_id = world.sessions[index].id.as_str().to_owned();
                Message::Match(matched(self.messages.len(), users, 2, 6, Some(session_id)))
            }
        };
        let told = self.world.send(&message);
        self.messages.push(message);
        limits_hold(&self.world, &told.users, self.clocks_differ);
        let result = told.result.expect("every message is answered");
        assert_eq!(result.sequence.is_some(), result.code.is_none());
        assert!(!result.replayed);
    }

    /// A replay through `admit` gives the first result again and changes nothing.
    fn replay(&mut self, index: usize) {
        let message = self.messages[index].clone();
        let before = self.world.clone();
        let told = self.world.send(&message);
        let first = before
            .remembered(&message.id())
            .expect("judged before")
            .result
            .clone();
        assert_eq!(
            told.result,
            Some(CommandResult {
                replayed: true,
                ..first
            })
        );
        assert_eq!(self.world.sessions, before.sessions);
        assert_eq!(self.world.users, before.users);
        assert_eq!(self.world.events.len(), before.events.len());
        assert_eq!(self.world.ledger.len(), before.ledger.len());
    }
}

/// The live session of that number, or any; seven in eight numbers ask for a live one.
fn nth_session(world: &World, number: usize) -> Option<usize> {
    let all: Vec<usize> = (0..world.sessions.len()).collect();
    let is_live = |index: &usize| world.sessions[*index].status != SessionStatus::Ended;
    let live: Vec<usize> = all.iter().copied().filter(is_live).collect();
    let choice = if live.is_empty() || number.is_multiple_of(8) {
        all
    } else {
        live
    };
    choice.get(number.checked_rem(choice.len())?).copied()
}

/// The member of that number, or anybody; three in four numbers ask for a member.
fn member(session: &Session, number: usize) -> usize {
    let open = session
        .participants
        .iter()
        .filter(|participant| participant.is_open());
    let users = open.map(|participant| participant.user_id.as_str());
    let members: Vec<&str> = users.collect();
    let chosen = number
        .checked_rem(members.len())
        .filter(|_| !number.is_multiple_of(4));
    let place = chosen.and_then(|index| USERS.iter().position(|user| *user == members[index]));
    place.unwrap_or(number % USERS.len())
}

/// A user's places are exactly the live sessions in which the user is open, never more than allowed
/// when one is taken; the day's use grew only by first joins.
fn limits_hold(world: &World, changes: &[UserChange], clocks_differ: bool) {
    for user in &world.users {
        let mut open: Vec<_> = world
            .sessions
            .iter()
            .filter(|session| session.status != SessionStatus::Ended)
            .filter(|session| {
                session
                    .participant(&user.user_id)
                    .is_some_and(|p| p.is_open())
            })
            .map(|session| &session.id)
            .collect();
        open.sort();
        let mut places: Vec<_> = user.open.iter().collect();
        places.sort();
        assert_eq!(places, open, "{}", user.user_id);
        let joins: Vec<_> = world
            .sessions
            .iter()
            .filter_map(|session| session.participant(&user.user_id))
            .filter(|participant| participant.joined_at.day() == user.day)
            .collect();
        let used = usize::try_from(user.used).expect("no negative use");
        assert!(used >= joins.len(), "{}", user.user_id);
        // Who joins by a clock that is behind midnight joins on the day that was begun.
        assert!(used == joins.len() || clocks_differ, "{}", user.user_id);
    }
    for change in changes {
        if let UserChange::Joined { user_id, .. } = change {
            let user = world.users.iter().find(|user| user.user_id == *user_id);
            let places = user.map_or(0, |user| user.open.len());
            assert!(u32::try_from(places).is_ok_and(|n| n <= world.rules.concurrent_limit));
        }
    }
}

fn command(world: &mut World, user: usize, premium: bool, action: Action) -> Command {
    let tier = if premium { Tier::Premium } else { Tier::Free };
    Command {
        tier,
        ..world.command(USERS[user], action)
    }
}

fn act(session_id: &str, what: &What) -> Action {
    let session_id = session_id.to_owned();
    match what {
        What::Start => Action::StartSession { session_id },
        What::End => Action::EndSession { session_id },
        What::Leave(speaking_time_seconds) => Action::LeaveSession {
            session_id,
            speaking_time_seconds: *speaking_time_seconds,
        },
        What::Connect(connection) => Action::ConnectParticipant {
            session_id,
            connection_id: CONNECTIONS[*connection].to_owned(),
        },
        What::Disconnect(connection, speaking_time_seconds) => Action::DisconnectParticipant {
            session_id,
            connection_id: CONNECTIONS[*connection].to_owned(),
            speaking_time_seconds: *speaking_time_seconds,
        },
        What::Report(seconds) => Action::ReportSpeakingTime {
            session_id,
            speaking_time_seconds: *seconds,
        },
    }
}

fn matched(
    number: usize,
    users: &[(usize, bool)],
    min_participants: i32,
    max_participants: i32,
    session_id: Option<String>,
) -> Match {
    Match {
        match_id: format!("m{number}"),
        matched_at: super::world::T0,
        target_language_code: "fr".to_owned(),
        topic_id: None,
        topic_title: None,
        participants: users
            .iter()
            .map(|(user, premium)| MatchedUser {
                user_id: USERS[*user].to_owned(),
                tier: if *premium { Tier::Premium } else { Tier::Free },
            })
            .collect(),
        min_participants,
        max_participants,
        session_id,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_every_invariant(
        rules in rules(),
        moves in prop::collection::vec(one_move(), 1..120),
    ) {
        let mut history = History { world: World::with(rules), messages: Vec::new(), clocks_differ: false };
        for step in &moves {
            history.take(step);
        }
        fold(&history.world);
        // Whatever happened, time ends every session, and every place is free again.
        let world = &mut history.world;
        world.now = world.now.plus(Duration::from_secs(100_000));
        for index in 0..world.sessions.len() {
            world.tick(index);
        }
        fold(world);
        assert!(world.sessions.iter().all(|session| session.status == SessionStatus::Ended));
        assert!(world.users.iter().all(|user| user.open.is_empty()));
    }
}
