//! AC5: how a session starts, and the end that the start fixes.

use insta::assert_snapshot;

use super::world::World;
use std::time::Duration;

use crate::domain::{Rules, StartOn};

#[test]
fn ac5_a_public_session_starts_in_the_step_in_which_min_participants_are_open() {
    let mut world = World::new();
    world.run("match m1 ann bob min 3");
    assert_eq!(
        world.run("backfill m2 s1 cat").brief(),
        "accepted participant.joined session.started"
    );
}

#[test]
fn ac5_with_start_on_connected_it_is_the_connected_who_count() {
    let mut world = World::with(Rules {
        start_on: StartOn::Connected,
        ..Rules::default()
    });
    assert_eq!(
        world.run("match m1 ann bob cat").brief(),
        "accepted session.created participant.joined participant.joined participant.joined"
    );
    world.run("ann connects s1 a; ann disconnects s1 a");
    assert_eq!(
        world.run("bob connects s1 b").brief(),
        "accepted participant.connected"
    );
    assert_snapshot!(world.run("at 7; ann connects s1 a"), @r"
    accepted 200 s1 #9
    #8 participant.reconnected +7 waiting 3/6 host ann; ann host connected joined +0 present 7 spoke 0; c4 by ann
    #9 session.started +7 active 3/6 host ann started +7 expires +1807; c4 by ann
    ");
}

#[test]
fn ac5_a_public_session_that_falls_below_min_participants_keeps_waiting() {
    let mut world = World::new();
    world.run("match m1 ann bob min 3; bob leaves s1");
    assert_eq!(
        world.run("backfill m2 s1 cat").brief(),
        "accepted participant.joined"
    );
    assert_eq!(
        world.run("backfill m3 s1 bob").brief(),
        "accepted participant.joined session.started"
    );
}

#[test]
fn ac5_a_private_session_is_started_by_its_host_who_may_be_alone() {
    let mut world = World::new();
    world.run("ann creates; at 12");
    assert_snapshot!(world.run("ann starts s1"), @r"
    accepted 200 s1 #3
    #3 session.started +12 active 1/4 host ann started +12 expires +1812; c2 by ann
    ");
}

#[test]
fn ac5_a_private_session_never_starts_by_itself() {
    let mut world = World::new();
    world.run("ann creates");
    assert_eq!(
        world.run("bob joins s1").brief(),
        "accepted participant.joined"
    );
    assert_eq!(
        world.run("bob connects s1 x").brief(),
        "accepted participant.connected"
    );
    assert_eq!(world.sessions[0].min_participants, 2);
}

#[test]
fn ac5_expires_at_is_set_once_and_unmoved_by_anything_changed_settings_included() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; ann starts s1");
    let fixed = world.sessions[0].expires_at;
    world.rules.session_timeout = Duration::from_secs(1);
    world.run(
        "at 100; ann starts s1; ann leaves s1; ann joins s1; bob starts s1; \
         cat joins s1; tick s1",
    );
    assert_eq!(world.sessions[0].expires_at, fixed);
    assert_eq!(
        fixed,
        world.sessions[0]
            .started_at
            .map(|at| at.plus(Duration::from_secs(1800)))
    );
}

#[test]
fn expiring_warns_300_and_60_seconds_before_the_end_once_each() {
    let mut world = World::new();
    world.run("match m1 ann bob; at 1499.999");
    assert_snapshot!(world.run("tick s1"), @"nothing");
    assert_snapshot!(world.run("at 1500; tick s1"), @"#5 session.expiring +1500 active 2/6 host ann; 300 s left; timer expiring:300");
    assert_snapshot!(world.run("tick s1"), @"nothing");
    assert_snapshot!(world.run("at 1741; tick s1"), @"#6 session.expiring +1741 active 2/6 host ann; 60 s left; timer expiring:60");
    assert_snapshot!(world.run("at 1799; tick s1"), @"nothing");
}

#[test]
fn expiring_warns_late_with_the_configured_seconds() {
    let mut world = World::new();
    world.run("match m1 ann bob; at 1790");
    assert_snapshot!(world.run("tick s1"), @r"
    #5 session.expiring +1790 active 2/6 host ann; 300 s left; timer expiring:300
    #6 session.expiring +1790 active 2/6 host ann; 60 s left; timer expiring:60
    ");
}

#[test]
fn expiring_never_warns_once_the_end_is_due() {
    let mut world = World::new();
    world.run("match m1 ann bob; at 1800");
    assert_eq!(
        world.run("tick s1").brief(),
        "deadlines participant.left participant.left session.ended"
    );
}

#[test]
fn expiring_never_warns_at_or_before_the_start() {
    let mut world = World::with(Rules {
        session_timeout: Duration::from_secs(300),
        expiry_warnings: [600, 300, 299, 60, 60, 0].map(Duration::from_secs).to_vec(),
        ..Rules::default()
    });
    world.run("match m1 ann bob");
    let stored: Vec<u64> = world.sessions[0]
        .warnings
        .iter()
        .map(|warning| warning.before_end.as_secs())
        .collect();
    assert_eq!(stored, [299, 60]);
}
