//! AC9: the limits of a user.

use insta::assert_snapshot;

use super::world::World;
use crate::domain::{Day, Rules, SessionId, UserChange, UserId, UserLimits};

#[test]
fn ac9_three_open_participations_premium_too_and_waiting_counts() {
    let mut world = World::new();
    world.run("ann creates; ann creates; match m1 ann bob; cat creates");
    assert_snapshot!(world.run("ann joins s4"), @"limit_concurrent 403 s4 used 3 of 3");
    assert_snapshot!(world.run("ann* joins s4"), @"limit_concurrent 403 s4 used 3 of 3");
}

#[test]
fn ac9_a_place_is_held_until_the_end_is_recorded() {
    let mut world = World::new();
    world.run("ann creates; ann creates; ann creates; at 9000");
    assert_eq!(world.run("ann creates").brief(), "limit_concurrent");
    world.run("tick s1");
    assert_eq!(
        world.run("ann creates").brief(),
        "accepted session.created participant.joined"
    );
}

/// `ann` has joined `n` sessions, as premium.
fn joined_today(n: usize) -> World {
    let mut world = World::new();
    for n in 1..=n {
        world.run(&format!("ann* creates; ann ends s{n}"));
    }
    world
}

#[test]
fn ac9_free_has_ten_sessions_a_utc_day_and_every_first_join_counts_whatever_its_tier() {
    let mut world = joined_today(9);
    assert_eq!(
        world
            .run("ann creates")
            .result
            .and_then(|result| result.code),
        None
    );
    world.run("ann ends s10");
    assert_snapshot!(world.run("ann creates"), @"limit_daily 403 used 10 of 10 reset +43200");
}

#[test]
fn ac9_the_tier_of_the_command_at_hand_decides_whether_the_daily_limit_applies() {
    let mut world = joined_today(10);
    assert_eq!(
        world.run("ann* creates").brief(),
        "accepted session.created participant.joined"
    );
    assert_eq!(world.run("ann creates").brief(), "limit_daily");
}

#[test]
fn ac9_the_day_ends_at_midnight_utc() {
    let mut world = joined_today(10);
    assert_eq!(
        world.run("at 43199.999; ann creates").brief(),
        "limit_daily"
    );
    assert_eq!(
        world.run("at 43200; ann creates").brief(),
        "accepted session.created participant.joined"
    );
    let ann = &world.users[0];
    assert_eq!((ann.day, ann.used), (world.now.day(), 1));
}

#[test]
fn ac9_a_match_names_who_is_over_the_daily_limit_and_until_when() {
    let mut world = joined_today(10);
    assert_snapshot!(world.run("match m1 ann bob cat"), @r"
    accepted 201 s11 #4 [ann limit_daily +43200]
    #1 session.created +0 waiting 0/6 host bob; m1
    #2 participant.joined +0 waiting 1/6 host bob; bob host waiting joined +0 present 0 spoke 0; m1
    #3 participant.joined +0 waiting 2/6 host bob; cat participant waiting joined +0 present 0 spoke 0; m1
    #4 session.started +0 active 2/6 host bob started +0 expires +1800; m1
    places +bob(first) +cat(first)
    ");
}

#[test]
fn ac9_where_another_lane_has_begun_the_next_day_its_day_counts() {
    let mut world = joined_today(10);
    world.users[0].day = Day(world.now.day().0 + 1);
    assert_snapshot!(world.run("ann creates"), @"limit_daily 403 used 10 of 10 reset +129600");
}

#[test]
fn ac9_a_limit_of_none_holds_for_who_has_used_nothing() {
    let mut world = World::with(Rules {
        daily_limit_free: 0,
        ..Rules::default()
    });
    assert_snapshot!(world.run("ann creates"), @"limit_daily 403 used 0 of 0 reset +43200");
    assert_eq!(
        world.run("ann* creates").brief(),
        "accepted session.created participant.joined"
    );
}

fn session(name: &str) -> SessionId {
    SessionId::parse(name).expect("a well-formed id")
}

fn ann() -> UserId {
    UserId::parse("ann").expect("a well-formed id")
}

#[test]
fn limits_a_day_that_was_begun_is_never_begun_again() {
    let mut limits = UserLimits {
        used: 4,
        ..UserLimits::unused(ann(), Day(5))
    };
    let at = crate::domain::Timestamp(4 * 86_400_000);
    let late = UserChange::Joined {
        user_id: ann(),
        session_id: session("s1"),
        first: true,
        at,
    };
    limits.apply(&late, &Rules::default());
    assert_eq!((limits.day, limits.used), (Day(5), 5));
}

#[test]
fn limits_a_release_is_idempotent_and_leaves_other_places() {
    let rules = Rules::default();
    let mut limits = UserLimits::unused(ann(), Day(1));
    let at = crate::domain::Timestamp(86_400_000);
    for name in ["s1", "s2"] {
        let joined = UserChange::Joined {
            user_id: ann(),
            session_id: session(name),
            first: true,
            at,
        };
        limits.apply(&joined, &rules);
    }
    let released = UserChange::Released {
        user_id: ann(),
        session_id: session("s1"),
    };
    limits.apply(&released, &rules);
    let once = limits.clone();
    limits.apply(&released, &rules);
    assert_eq!(limits, once);
    assert_eq!((limits.open, limits.used), (vec![session("s2")], 2));
}

#[test]
fn limits_a_place_is_held_once() {
    let mut limits = UserLimits::unused(ann(), Day(0));
    let at = crate::domain::Timestamp(0);
    for first in [true, false] {
        let joined = UserChange::Joined {
            user_id: ann(),
            session_id: session("s1"),
            first,
            at,
        };
        limits.apply(&joined, &Rules::default());
    }
    assert_eq!((limits.open.len(), limits.used), (1, 1));
}

#[test]
fn limits_a_rejoin_takes_a_place_but_is_no_use_of_the_day() {
    let mut limits = UserLimits::unused(ann(), Day(1));
    let at = crate::domain::Timestamp(3 * 86_400_000);
    let rejoined = UserChange::Joined {
        user_id: ann(),
        session_id: session("s1"),
        first: false,
        at,
    };
    limits.apply(&rejoined, &Rules::default());
    assert_eq!((limits.open.len(), limits.day, limits.used), (1, Day(3), 0));
}

#[test]
fn limits_keep_the_newest_failed_codes_of_the_window_in_order() {
    let rules = Rules {
        failed_codes: 3,
        ..Rules::default()
    };
    let mut limits = UserLimits::unused(ann(), Day(0));
    for at in [5, 1, 9, 7, 600_006] {
        let at = crate::domain::Timestamp(at);
        limits.apply(&UserChange::FailedCode { user_id: ann(), at }, &rules);
    }
    let kept: Vec<i64> = limits.failed_codes.iter().map(|at| at.0).collect();
    assert_eq!(kept, [7, 9, 600_006]);
}
