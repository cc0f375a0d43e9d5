//! AC7: how a session ends, by whom, and when.

use insta::assert_snapshot;

use super::told::offset;
use super::world::World;
use std::time::Duration;

use crate::domain::Timestamp;

#[test]
fn ac7_the_host_ends_a_private_session_while_waiting() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; at 9");
    assert_snapshot!(world.run("ann ends s1"), @r"
    accepted 200 s1 #6
    #4 participant.left +9 waiting 1/4 host ann; ann host disconnected joined +0 left +9 present 9 spoke 0; session_ended; c3 by ann
    #5 participant.left +9 waiting 0/4 host ann; bob participant disconnected joined +0 left +9 present 9 spoke 0; session_ended; c3 by ann
    #6 session.ended +9 ended 0/4 host ann ended +9; host_ended; c3 by ann
    places -ann -bob
    ");
}

#[test]
fn ac7_the_host_ends_a_public_session_while_active() {
    let mut world = World::new();
    world.run("match m1 ann bob; at 9");
    assert_snapshot!(world.run("ann ends s1"), @r"
    accepted 200 s1 #7
    #5 participant.left +9 active 1/6 host ann; ann host disconnected joined +0 left +9 present 9 spoke 0; session_ended; c1 by ann
    #6 participant.left +9 active 0/6 host ann; bob participant disconnected joined +0 left +9 present 9 spoke 0; session_ended; c1 by ann
    #7 session.ended +9 ended 0/6 host ann started +0 expires +1800 ended +9; host_ended; c1 by ann
    places -ann -bob
    ");
}

#[test]
fn ac7_nobody_open_ends_the_session_in_the_same_step() {
    let mut world = World::new();
    world.run("match m1 ann bob; at 5; ann leaves s1; at 9");
    assert_snapshot!(world.run("bob leaves s1"), @r"
    accepted 200 s1 #7
    #6 participant.left +9 active 0/6 host ann; bob participant disconnected joined +0 left +9 present 9 spoke 0; left; c2 by bob
    #7 session.ended +9 ended 0/6 host ann started +0 expires +1800 ended +9; all_left; c2 by bob
    places -bob
    ");
}

#[test]
fn ac7_30_min_after_the_start_is_the_timeout() {
    let mut world = World::new();
    world.run("match m1 ann bob; at 1799.999; tick s1");
    assert_eq!(world.run("tick s1").brief(), "deadlines");
    assert_snapshot!(world.run("at 1800; tick s1"), @r"
    #7 participant.left +1800 active 1/6 host ann; ann host disconnected joined +0 left +1800 present 1800 spoke 0; session_ended; timer timeout
    #8 participant.left +1800 active 0/6 host ann; bob participant disconnected joined +0 left +1800 present 1800 spoke 0; session_ended; timer timeout
    #9 session.ended +1800 ended 0/6 host ann started +0 expires +1800 ended +1800; timeout; timer timeout
    places -ann -bob
    ");
}

#[test]
fn ac7_30_min_after_the_creation_without_a_start_is_never_started() {
    let mut world = World::new();
    world.run("at 5; ann creates; at 1804.999");
    assert_eq!(world.run("tick s1").brief(), "deadlines");
    assert_snapshot!(world.run("at 1805; tick s1"), @r"
    #3 participant.left +1805 waiting 0/4 host ann; ann host disconnected joined +5 left +1805 present 1800 spoke 0; session_ended; timer never_started
    #4 session.ended +1805 ended 0/4 host ann ended +1805; never_started; timer never_started
    places -ann
    ");
}

#[test]
fn ac7_a_started_session_is_not_ended_by_the_waiting_timeout() {
    let mut world = World::new();
    world.run("ann creates; at 1000; ann starts s1; at 2000");
    assert_eq!(world.run("tick s1").brief(), "deadlines");
}

#[test]
fn ac7_deadlines_stand_whatever_the_settings_become() {
    let mut world = World::new();
    world.run("ann creates; bob creates; bob starts s2");
    world.rules.waiting_timeout = Duration::from_secs(1);
    world.rules.session_timeout = Duration::from_secs(1);
    world.run("at 1799");
    assert_eq!(world.run("tick s1").events, []);
    let ended = world.run("at 1800; tick s1");
    assert_eq!(ended.brief(), "deadlines participant.left session.ended");
    assert_eq!(
        world.sessions[1].next_deadline(),
        Some(Timestamp(super::world::T0.0 + 1_500_000))
    );
}

#[test]
fn ac7_after_a_downtime_deadlines_fire_late_with_ended_at_as_the_deadline() {
    let mut world = World::new();
    world.run("match m1 ann bob; at 5000");
    assert_snapshot!(world.run("tick s1"), @r"
    #5 participant.left +5000 active 1/6 host ann; ann host disconnected joined +0 left +1800 present 1800 spoke 0; session_ended; timer timeout
    #6 participant.left +5000 active 0/6 host ann; bob participant disconnected joined +0 left +1800 present 1800 spoke 0; session_ended; timer timeout
    #7 session.ended +5000 ended 0/6 host ann started +0 expires +1800 ended +1800; timeout; timer timeout
    places -ann -bob
    ");
}

#[test]
fn ac7_all_left_by_grace_ended_at_the_disconnect_plus_the_grace() {
    let mut world = World::new();
    world.run(
        "match m1 ann bob; ann connects s1 a; bob connects s1 b; at 10; \
         ann disconnects s1 a; at 20; bob disconnects s1 b; at 5000",
    );
    assert_snapshot!(world.run("tick s1"), @r"
    #9 participant.left +5000 active 1/6 host ann; ann host disconnected joined +0 left +10 present 10 spoke 0; disconnect_timeout; timer disconnect:ann
    #10 participant.left +5000 active 0/6 host ann; bob participant disconnected joined +0 left +20 present 20 spoke 0; disconnect_timeout; timer disconnect:bob
    #11 session.ended +5000 ended 0/6 host ann started +0 expires +1800 ended +140; all_left; timer disconnect:bob
    places -ann -bob
    ");
}

#[test]
fn ac7_deadlines_fire_in_order_of_their_instants_and_an_end_stops_the_rest() {
    let mut world = World::new();
    world.run(
        "match m1 ann bob cat; ann connects s1 a; bob connects s1 b; at 1400; \
         bob disconnects s1 b; at 1450; ann disconnects s1 a; at 1790",
    );
    assert_snapshot!(world.run("tick s1"), @r"
    #10 session.expiring +1790 active 3/6 host ann; 300 s left; timer expiring:300
    #11 participant.left +1790 active 2/6 host ann; bob participant disconnected joined +0 left +1400 present 1400 spoke 0; disconnect_timeout; timer disconnect:bob
    #12 participant.left +1790 active 1/6 host ann; ann host disconnected joined +0 left +1450 present 1450 spoke 0; disconnect_timeout; timer disconnect:ann
    #13 session.expiring +1790 active 1/6 host ann; 60 s left; timer expiring:60
    places -bob -ann
    ");
}

#[test]
fn ac7_at_one_instant_participants_come_before_warnings_and_warnings_before_the_end() {
    let mut world = World::new();
    world.run(
        "match m1 ann bob; ann connects s1 a; bob connects s1 b; at 1380; \
         bob disconnects s1 b; ann disconnects s1 a; at 1500",
    );
    assert_eq!(
        world.run("tick s1").brief(),
        "deadlines participant.left participant.left session.ended"
    );
    assert_eq!(
        world
            .events
            .iter()
            .filter(|event| event.seconds_left.is_some())
            .count(),
        0
    );
}

#[test]
fn ac7_who_is_dropped_at_the_end_left_then_and_was_present_until_the_drop() {
    let mut world = World::new();
    world.run("match m1 ann bob; ann connects s1 a; at 1790; ann disconnects s1 a; at 1900");
    assert_snapshot!(world.run("tick s1"), @r"
    #9 participant.left +1900 active 1/6 host ann; ann host disconnected joined +0 left +1800 present 1790 spoke 0; session_ended; timer timeout
    #10 participant.left +1900 active 0/6 host ann; bob participant disconnected joined +0 left +1800 present 1800 spoke 0; session_ended; timer timeout
    #11 session.ended +1900 ended 0/6 host ann started +0 expires +1800 ended +1800; timeout; timer timeout
    places -ann -bob
    ");
}

#[test]
fn ac7_participants_leave_in_order_of_first_join_ties_in_match_order() {
    let mut world = World::new();
    world.run(
        "match m1 zoe bob ann; at 5; zoe leaves s1; zoe leaves s1; backfill m2 s1 zoe; \
         zoe ends s1",
    );
    let order: Vec<&str> = world.events[world.events.len() - 4..]
        .iter()
        .filter_map(|event| event.participant.as_ref())
        .map(|participant| participant.user_id.as_str())
        .collect();
    assert_eq!(order, ["zoe", "bob", "ann"]);
}

#[test]
fn ac7_everyones_place_is_free_in_the_same_step() {
    let mut world = World::new();
    world.run("ann creates; ann creates; ann creates; ann ends s2");
    assert_eq!(
        world.run("ann creates").brief(),
        "accepted session.created participant.joined"
    );
}

#[test]
fn ac7_an_ended_session_has_no_deadline() {
    let mut world = World::new();
    world.run(
        "match m1 ann bob; ann connects s1 a; ann disconnects s1 a; bob leaves s1; \
         ann ends s1",
    );
    assert_eq!(world.sessions[0].next_deadline(), None);
    assert_eq!(world.run("at 9999; tick s1").brief(), "deadlines");
}

#[test]
fn time_never_falls_within_a_session() {
    let mut world = World::new();
    world.run("at 100; ann creates; at 50");
    assert_snapshot!(world.run("bob joins s1"), @r"
    accepted 200 s1 #3 code 222222
    #3 participant.joined +100 waiting 2/4 host ann; bob participant waiting joined +100 present 0 spoke 0; c2 by bob
    places +bob(first)
    ");
}

#[test]
fn decided_at_never_falls_below_a_decision_on_the_same_session() {
    let mut world = World::new();
    world.run("at 100; match m1 ann bob; eve creates as 0d9b6f0e-5c1b-4a52-9c9a-6d1f0a2b3c4d");
    world.ledger.clear();
    world.run("at 50");
    for line in [
        "match m1 ann bob",
        "cat creates as 0d9b6f0e-5c1b-4a52-9c9a-6d1f0a2b3c4d",
        "cat joins s2",
        "ann leaves s1",
        "backfill m2 s1 dan",
    ] {
        let result = world.run(line).result.expect("a message is answered");
        assert_eq!(offset(result.decided_at), "+100", "{line}");
    }
}

#[test]
fn overdue_deadlines_take_effect_before_a_command_and_carry_nothing_of_it() {
    let mut world = World::new();
    world.run("match m1 ann bob; at 1900");
    assert_snapshot!(world.run("ann connects s1 a"), @r"
    session_ended 410 s1
    #5 participant.left +1900 active 1/6 host ann; ann host disconnected joined +0 left +1800 present 1800 spoke 0; session_ended; timer timeout
    #6 participant.left +1900 active 0/6 host ann; bob participant disconnected joined +0 left +1800 present 1800 spoke 0; session_ended; timer timeout
    #7 session.ended +1900 ended 0/6 host ann started +0 expires +1800 ended +1800; timeout; timer timeout
    places -ann -bob
    ");
}

/// Findings B4.
#[test]
fn ac7_no_warning_is_published_once_the_end_is_due_by_any_deadline() {
    let mut world = World::new();
    world.run(
        "match m1 ann bob; ann connects s1 x; bob connects s1 y; at 1440; ann disconnects s1 x; \
         bob disconnects s1 y",
    );
    // The warning of 1500 comes before the grace of 1560, and both are judged after it.
    assert_snapshot!(world.run("at 1590; tick s1"), @r"
    #9 participant.left +1590 active 1/6 host ann; ann host disconnected joined +0 left +1440 present 1440 spoke 0; disconnect_timeout; timer disconnect:ann
    #10 participant.left +1590 active 0/6 host ann; bob participant disconnected joined +0 left +1440 present 1440 spoke 0; disconnect_timeout; timer disconnect:bob
    #11 session.ended +1590 ended 0/6 host ann started +0 expires +1800 ended +1560; all_left; timer disconnect:bob
    places -ann -bob
    ");
}

#[test]
fn ac7_a_late_warning_is_published_while_anyone_stays() {
    let mut world = World::new();
    world.run(
        "match m1 ann bob; ann connects s1 x; bob connects s1 y; at 1440; ann disconnects s1 x",
    );
    let told = world.run("at 1590; tick s1");
    assert_eq!(told.brief(), "deadlines session.expiring participant.left");
}
