//! AC6: leaving, and who hosts then.

use insta::assert_snapshot;

use super::world::World;
use crate::domain::{PublicHostMigration, Rules};

#[test]
fn ac6_leaving_sets_left_at_and_frees_the_place() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; at 42.5");
    assert_snapshot!(world.run("bob leaves s1 speaking 12"), @r"
    accepted 200 s1 #4
    #4 participant.left +42.500 waiting 1/4 host ann; bob participant disconnected joined +0 left +42.500 present 42 spoke 12; left; c3 by bob
    places -bob
    ");
}

#[test]
fn ac6_the_open_participant_of_longest_standing_becomes_host() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; cat joins s1");
    assert_snapshot!(world.run("ann leaves s1"), @r"
    accepted 200 s1 #6
    #5 participant.left +0 waiting 2/4 host ann; ann host disconnected joined +0 left +0 present 0 spoke 0; left; c4 by ann
    #6 session.host_changed +0 waiting 2/4 host bob; after ann; left; c4 by ann
    places -ann
    ");
}

#[test]
fn ac6_standing_is_that_of_the_present_stint() {
    let mut world = World::new();
    world.run(
        "ann creates; bob joins s1; cat joins s1; bob leaves s1; bob joins s1; \
         ann leaves s1",
    );
    assert_eq!(world.sessions[0].host_user_id.as_str(), "cat");
}

#[test]
fn ac6_a_disconnected_participant_hosts_only_if_there_is_no_other() {
    let mut world = World::new();
    world.run(
        "ann creates; bob joins s1; bob connects s1 b; bob disconnects s1 b; \
         cat joins s1; ann leaves s1",
    );
    assert_eq!(world.sessions[0].host_user_id.as_str(), "cat");
    world.run("cat leaves s1");
    assert_eq!(world.sessions[0].host_user_id.as_str(), "bob");
}

#[test]
fn ac6_the_host_role_moves_for_any_reason_but_the_end() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; ann connects s1 a; at 10; ann disconnects s1 a");
    assert_snapshot!(world.run("at 131; tick s1"), @r"
    #6 participant.left +131 waiting 1/4 host ann; ann host disconnected joined +0 left +10 present 10 spoke 0; disconnect_timeout; timer disconnect:ann
    #7 session.host_changed +131 waiting 1/4 host bob; after ann; disconnect_timeout; timer disconnect:ann
    places -ann
    ");
    assert_eq!(
        world.run("bob ends s1").brief(),
        "accepted participant.left session.ended",
    );
}

#[test]
fn ac6_a_no_show_host_hands_over_too() {
    let mut world = World::with(Rules {
        no_show_timeout: Some(std::time::Duration::from_secs(60)),
        ..Rules::default()
    });
    world.run("ann creates; at 1; bob joins s1; bob connects s1 b");
    assert_snapshot!(world.run("at 60; tick s1"), @r"
    #5 participant.left +60 waiting 1/4 host ann; ann host disconnected joined +0 left +60 present 60 spoke 0; no_show; timer no_show:ann
    #6 session.host_changed +60 waiting 1/4 host bob; after ann; no_show; timer no_show:ann
    places -ann
    ");
}

#[test]
fn ac6_an_ex_host_who_returns_is_a_participant_and_may_not_act_as_host() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; ann leaves s1; ann joins s1");
    assert_eq!(world.run("ann starts s1").brief(), "not_host");
    assert_eq!(world.run("ann ends s1").brief(), "not_host");
    assert_eq!(
        world.run("bob starts s1").brief(),
        "accepted session.started"
    );
}

#[test]
fn ac6_a_public_session_keeps_its_host_who_hosts_again_on_return() {
    let mut world = World::new();
    world.run("match m1 ann bob");
    assert_snapshot!(world.run("ann leaves s1"), @r"
    accepted 200 s1 #5
    #5 participant.left +0 active 1/6 host ann; ann host disconnected joined +0 left +0 present 0 spoke 0; left; c1 by ann
    places -ann
    ");
    assert_eq!(world.run("bob ends s1").brief(), "not_host");
    assert_eq!(world.run("ann ends s1").brief(), "not_participant");
    assert_snapshot!(world.run("backfill m2 s1 ann"), @r"
    accepted 200 s1 #6
    #6 participant.joined +0 active 2/6 host ann; ann host waiting joined +0 present 0 spoke 0 rejoin; m2
    places +ann
    ");
    assert_eq!(
        world.run("ann ends s1").brief(),
        "accepted participant.left participant.left session.ended"
    );
}

#[test]
fn ac6_with_public_host_migration_on_a_public_session_does_as_a_private_one() {
    let mut world = World::with(Rules {
        public_host_migration: PublicHostMigration::On,
        ..Rules::default()
    });
    world.run("match m1 ann bob");
    assert_snapshot!(world.run("ann leaves s1"), @r"
    accepted 200 s1 #6
    #5 participant.left +0 active 1/6 host ann; ann host disconnected joined +0 left +0 present 0 spoke 0; left; c1 by ann
    #6 session.host_changed +0 active 1/6 host bob; after ann; left; c1 by ann
    places -ann
    ");
    assert_snapshot!(world.run("backfill m2 s1 ann"), @r"
    accepted 200 s1 #7
    #7 participant.joined +0 active 2/6 host bob; ann participant waiting joined +0 present 0 spoke 0 rejoin; m2
    places +ann
    ");
}

#[test]
fn ac6_the_last_to_leave_leaves_then_the_session_ends_without_a_new_host() {
    let mut world = World::new();
    world.run("ann creates; at 8");
    assert_snapshot!(world.run("ann leaves s1"), @r"
    accepted 200 s1 #4
    #3 participant.left +8 waiting 0/4 host ann; ann host disconnected joined +0 left +8 present 8 spoke 0; left; c2 by ann
    #4 session.ended +8 ended 0/4 host ann ended +8; all_left; c2 by ann
    places -ann
    ");
}

#[test]
fn ac6_leaving_while_disconnected_leaves_at_the_command_and_was_present_until_the_drop() {
    let mut world = World::new();
    world.run(
        "ann creates; bob joins s1; bob connects s1 b; at 10; bob disconnects s1 b; \
         at 50",
    );
    assert_snapshot!(world.run("bob leaves s1 speaking 99"), @r"
    accepted 200 s1 #6
    #6 participant.left +50 waiting 1/4 host ann; bob participant disconnected joined +0 left +50 present 10 spoke 10; left; c5 by bob
    places -bob
    ");
}
