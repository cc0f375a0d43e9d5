//! AC3: joining by code.

use insta::assert_snapshot;

use super::world::World;
use crate::domain::Rules;

#[test]
fn ac3_joining_makes_a_waiting_participant() {
    let mut world = World::new();
    world.run("ann creates");
    assert_snapshot!(world.run("at 5; bob joins s1"), @r"
    accepted 200 s1 #3 code 222222
    #3 participant.joined +5 waiting 2/4 host ann; bob participant waiting joined +5 present 0 spoke 0; c2 by bob
    places +bob(first)
    ");
}

#[test]
fn ac3_an_entered_code_is_upper_cased_and_white_space_and_dashes_are_taken_out() {
    let mut world = World::new();
    world.run("ann creates");
    assert_eq!(
        world
            .run("bob enters 22-2 \u{2014} 2\u{a0}2\u{2010}2")
            .brief(),
        "accepted participant.joined"
    );
    let mut world = World::new();
    for n in 1..=11 {
        world.run(&format!("u{n} creates"));
    }
    assert_eq!(
        world.sessions[10]
            .invite_code
            .as_ref()
            .map(|code| code.as_str()),
        Some("22222D")
    );
    assert_eq!(
        world.run("bob enters 22222d").brief(),
        "accepted participant.joined"
    );
}

#[test]
fn ac3_a_code_of_which_nothing_is_left_is_an_invalid_argument() {
    let mut world = World::new();
    assert_snapshot!(world.run("bob enters - \u{2212}"), @"invalid_argument 400");
    assert!(world.users.is_empty(), "it does not count as failed");
}

#[test]
fn ac3_an_unknown_code_of_whatever_shape_is_invite_not_found_and_counts_as_failed() {
    let mut world = World::new();
    assert_snapshot!(world.run("bob enters nothing_like_a_code!"), @r"
    invite_not_found 404
    places ?bob
    ");
}

#[test]
fn ac3_only_an_unknown_code_counts_as_failed() {
    let mut world = World::new();
    world.run("ann creates max 2; bob joins s1; cat joins s1; ann ends s1; cat joins s1");
    assert!(world.users.iter().all(|user| user.failed_codes.is_empty()));
}

#[test]
fn ac3_from_the_eleventh_try_every_code_is_too_many_attempts() {
    let mut world = World::new();
    world.run("ann creates");
    for second in 0..10 {
        let told = world.run(&format!("at {second}; bob enters WRONG{second}"));
        assert_eq!(told.brief(), "invite_not_found");
    }
    assert_snapshot!(world.run("bob enters WRONG"), @"too_many_attempts 429 used 10 of 10 reset +600");
    assert_snapshot!(world.run("bob joins s1"), @"too_many_attempts 429 used 10 of 10 reset +600");
    assert_eq!(
        world.run("cat joins s1").brief(),
        "accepted participant.joined"
    );
}

#[test]
fn ac3_the_window_of_failed_tries_slides() {
    let mut world = World::new();
    world.run("ann creates");
    for second in 0..10 {
        world.run(&format!("at {second}; bob enters WRONG{second}"));
    }
    assert_eq!(
        world.run("at 599.999; bob joins s1").brief(),
        "too_many_attempts"
    );
    assert_eq!(
        world.run("at 600; bob enters WRONG").brief(),
        "invite_not_found"
    );
    assert_eq!(world.run("bob joins s1").brief(), "too_many_attempts");
    assert_eq!(
        world.run("at 601; bob joins s1").brief(),
        "accepted participant.joined"
    );
}

#[test]
fn ac3_of_more_failures_than_a_lowered_setting_counts_the_newest_decide() {
    let mut world = World::new();
    for second in 0..10 {
        world.run(&format!("at {second}; bob enters WRONG{second}"));
    }
    world.rules.failed_codes = 2;
    assert_snapshot!(world.run("bob enters WRONG"), @"too_many_attempts 429 used 10 of 2 reset +608");
}

#[test]
fn ac3_capacity_counts_who_is_open_disconnected_ones_too() {
    let mut world = World::new();
    world.run("ann creates max 2; bob joins s1; bob connects s1 x; bob disconnects s1 x");
    assert_snapshot!(world.run("cat joins s1"), @"session_full 409 s1");
    world.run("bob leaves s1");
    assert_eq!(
        world.run("cat joins s1").brief(),
        "accepted participant.joined"
    );
}

#[test]
fn ac3_a_session_takes_at_most_100_distinct_users_ever() {
    let mut world = World::new();
    world.run("ann creates");
    for n in 1..100 {
        world.run(&format!("u{n} joins s1; u{n} leaves s1"));
    }
    assert_eq!(world.run("u100 joins s1").brief(), "session_full");
    assert_eq!(
        world.run("u7 joins s1").brief(),
        "accepted participant.joined"
    );
}

#[test]
fn ac3_who_joins_again_while_in_is_accepted_without_an_event() {
    let mut world = World::new();
    world.run("ann creates");
    assert_snapshot!(world.run("ann joins s1"), @"accepted 200 s1 #2 code 222222");
}

#[test]
fn ac3_a_rejoin_reopens_the_same_participant_and_shows_in_every_snapshot_from_then_on() {
    let mut world = World::new();
    world.run(
        "ann creates; at 10; bob joins s1; bob connects s1 x; at 20; bob leaves s1; \
         at 30",
    );
    assert_snapshot!(world.run("bob joins s1"), @r"
    accepted 200 s1 #6 code 222222
    #6 participant.joined +30 waiting 2/4 host ann; bob participant waiting joined +10 present 10 spoke 0 rejoin; c5 by bob
    places +bob
    ");
    assert_snapshot!(world.run("bob connects s1 y"), @r"
    accepted 200 s1 #7
    #7 participant.connected +30 waiting 2/4 host ann; bob participant connected joined +10 present 10 spoke 0 rejoin; c6 by bob
    ");
    assert_snapshot!(world.show("s1"), @r"
    waiting host ann next deadline +1800
    ann host waiting rank 0
    bob participant connected rank 2 on y
    ");
}

#[test]
fn ac3_a_rejoin_is_no_second_daily_use() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; bob leaves s1");
    for n in 2..=10 {
        world.run(&format!("bob creates; bob ends s{n}"));
    }
    assert_eq!(world.run("bob creates").brief(), "limit_daily");
    assert_eq!(
        world.run("bob joins s1").brief(),
        "accepted participant.joined"
    );
}

#[test]
fn ac3_a_rejoin_needs_a_free_place() {
    let mut world = World::new();
    world.run("ann creates max 2; bob joins s1; bob leaves s1; cat joins s1");
    assert_eq!(world.run("bob joins s1").brief(), "session_full");
    world.run("cat leaves s1; bob creates; bob creates; bob creates");
    assert_eq!(world.run("bob joins s1").brief(), "limit_concurrent");
}

#[test]
fn ac3_an_ex_host_who_rejoins_is_a_participant() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; ann leaves s1");
    assert_snapshot!(world.run("ann joins s1"), @r"
    accepted 200 s1 #6 code 222222
    #6 participant.joined +0 waiting 2/4 host bob; ann participant waiting joined +0 present 0 spoke 0 rejoin; c4 by ann
    places +ann
    ");
}

#[test]
fn ac3_a_late_join_never_moves_expires_at() {
    let mut world = World::new();
    world.run("ann creates; ann starts s1; at 1799; tick s1");
    let before = world.sessions[0].expires_at;
    assert_eq!(
        world.run("bob joins s1").brief(),
        "accepted participant.joined"
    );
    assert_eq!(world.sessions[0].expires_at, before);
    assert_eq!(
        world.run("at 1800; cat joins s1").brief(),
        "session_ended participant.left participant.left session.ended"
    );
}

#[test]
fn ac3_the_limits_come_before_the_seats_and_concurrent_before_daily() {
    let mut world = World::with(Rules {
        daily_limit_free: 3,
        ..Rules::default()
    });
    world.run("ann creates max 2; bob joins s1; cat creates; cat creates; cat creates");
    assert_eq!(world.run("cat joins s1").brief(), "limit_concurrent");
    world.run("cat ends s2");
    assert_eq!(world.run("cat joins s1").brief(), "limit_daily");
    assert_eq!(world.run("cat* joins s1").brief(), "session_full");
}

#[test]
fn ac3_who_was_dropped_for_too_long_frees_the_own_place_before_rejoining() {
    let mut world = World::new();
    world.run(
        "ann creates; bob joins s1; bob connects s1 x; bob creates; bob creates; \
         bob disconnects s1 x; at 130",
    );
    assert_snapshot!(world.run("bob joins s1"), @r"
    accepted 200 s1 #7 code 222222
    #6 participant.left +130 waiting 1/4 host ann; bob participant disconnected joined +0 left +0 present 0 spoke 0; disconnect_timeout; timer disconnect:bob
    #7 participant.joined +130 waiting 2/4 host ann; bob participant waiting joined +0 present 0 spoke 0 rejoin; c7 by bob
    places -bob +bob
    ");
}
