//! AC4: presence, the grace of the dropped and the patience with those who never show.

use insta::assert_snapshot;

use super::world::World;
use std::time::Duration;

use crate::domain::Rules;

fn with_no_show_timeout() -> World {
    World::with(Rules {
        no_show_timeout: Some(Duration::from_secs(60)),
        ..Rules::default()
    })
}

#[test]
fn ac4_the_first_connection_of_a_stint_connects() {
    let mut world = World::new();
    world.run("ann creates");
    assert_snapshot!(world.run("at 3; ann connects s1 x"), @r"
    accepted 200 s1 #3
    #3 participant.connected +3 waiting 1/4 host ann; ann host connected joined +0 present 3 spoke 0; c2 by ann
    ");
}

#[test]
fn ac4_another_connection_while_connected_replaces_the_old_one_without_an_event() {
    let mut world = World::new();
    world.run("ann creates; ann connects s1 x");
    assert_snapshot!(world.run("ann connects s1 y"), @r"
    accepted 200 s1 #3
    the session changes without an event
    ");
    assert_eq!(world.run("ann disconnects s1 x").brief(), "accepted");
    assert_eq!(
        world.run("ann disconnects s1 y").brief(),
        "accepted participant.disconnected"
    );
}

#[test]
fn ac4_the_same_connection_again_changes_nothing() {
    let mut world = World::new();
    world.run("ann creates; ann connects s1 x");
    assert_snapshot!(world.run("ann connects s1 x"), @"accepted 200 s1 #3");
}

#[test]
fn ac4_a_drop_is_followed_by_a_reconnection() {
    let mut world = World::new();
    world.run("ann creates; ann connects s1 x; at 10");
    assert_snapshot!(world.run("ann disconnects s1 x"), @r"
    accepted 200 s1 #4
    #4 participant.disconnected +10 waiting 1/4 host ann; ann host disconnected joined +0 present 10 spoke 0; c3 by ann
    ");
    assert_snapshot!(world.show("s1"), @r"
    waiting host ann next deadline +130
    ann host disconnected rank 0 deadline +130
    ");
    assert_snapshot!(world.run("at 129.999; ann connects s1 x"), @r"
    accepted 200 s1 #5
    #5 participant.reconnected +129.999 waiting 1/4 host ann; ann host connected joined +0 present 129 spoke 0; c4 by ann
    ");
    assert_snapshot!(world.show("s1"), @r"
    waiting host ann next deadline +1800
    ann host connected rank 0 on x
    ");
}

#[test]
fn ac4_a_disconnect_of_who_never_connected_or_dropped_already_changes_nothing() {
    let mut world = World::new();
    world.run("ann creates");
    assert_eq!(
        world.run("ann disconnects s1 x speaking 1").brief(),
        "accepted"
    );
    world.run("ann connects s1 x; ann disconnects s1 x; at 1");
    assert_eq!(
        world.run("ann disconnects s1 x speaking 1").brief(),
        "accepted"
    );
}

#[test]
fn ac4_who_is_disconnected_for_120_s_has_left_when_the_connection_dropped() {
    let mut world = World::new();
    world.run(
        "ann creates; bob joins s1; bob connects s1 x; at 10; bob disconnects s1 x; \
         at 129.999",
    );
    assert_snapshot!(world.run("tick s1"), @"nothing");
    assert_snapshot!(world.run("at 130; tick s1"), @r"
    #6 participant.left +130 waiting 1/4 host ann; bob participant disconnected joined +0 left +10 present 10 spoke 0; disconnect_timeout; timer disconnect:bob
    places -bob
    ");
}

#[test]
fn ac4_without_the_rule_nobody_is_a_no_show() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; at 1799");
    assert_snapshot!(world.run("tick s1"), @"nothing");
}

#[test]
fn ac4_who_never_connected_within_the_no_show_timeout_has_left_at_the_deadline() {
    let mut world = with_no_show_timeout();
    world.run("ann creates; ann connects s1 x; at 5; bob joins s1");
    assert_snapshot!(world.run("at 70; tick s1"), @r"
    #5 participant.left +70 waiting 1/4 host ann; bob participant disconnected joined +5 left +65 present 60 spoke 0; no_show; timer no_show:bob
    places -bob
    ");
}

#[test]
fn ac4_a_rejoin_has_the_whole_no_show_timeout_again() {
    let mut world = with_no_show_timeout();
    world.run(
        "ann creates; ann connects s1 x; bob joins s1; at 50; bob leaves s1; \
         bob joins s1",
    );
    assert_eq!(world.run("at 109; tick s1").brief(), "deadlines");
    assert_eq!(
        world.run("at 110; tick s1").brief(),
        "deadlines participant.left"
    );
}

#[test]
fn ac4_a_stored_grace_stands_whatever_the_setting_becomes() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; bob connects s1 x; bob disconnects s1 x");
    world.rules.disconnect_grace = Duration::from_secs(1);
    assert_eq!(world.run("at 119; tick s1").brief(), "deadlines");
    assert_eq!(
        world.run("at 120; tick s1").brief(),
        "deadlines participant.left"
    );
}
