//! AC6: speaking time and presence.

use insta::assert_snapshot;

use super::world::World;

#[test]
fn ac6_report_speaking_time_makes_no_event() {
    let mut world = World::new();
    world.run("ann creates; at 10");
    assert_snapshot!(world.run("ann reports s1 4"), @r"
    accepted 200 s1 #2
    the session changes without an event
    ");
    assert_eq!(world.sessions[0].participants[0].speaking_time_seconds, 4);
}

#[test]
fn ac6_speaking_time_is_cumulative_and_never_falls() {
    let mut world = World::new();
    world.run("ann creates; at 10; ann reports s1 4");
    assert_eq!(world.run("ann reports s1 3").brief(), "accepted");
    assert_eq!(world.sessions[0].participants[0].speaking_time_seconds, 4);
    assert_eq!(world.run("ann reports s1 5").brief(), "accepted (changed)");
}

#[test]
fn ac6_speaking_time_is_clamped_when_reported_to_present_time() {
    let mut world = World::new();
    world.run("ann creates; at 10.999; ann reports s1 9223372036854775807; at 20");
    assert_eq!(world.sessions[0].participants[0].speaking_time_seconds, 10);
}

#[test]
fn ac6_present_time_is_the_sum_of_stints_connected_or_not() {
    let mut world = World::new();
    world.run(
        "ann creates; bob joins s1; at 10.6; bob leaves s1; at 100; bob joins s1; \
         at 120.6; bob reports s1 999",
    );
    assert_eq!(world.sessions[0].participants[1].speaking_time_seconds, 31);
}

#[test]
fn ac6_present_time_of_a_disconnected_one_counts_to_the_disconnect() {
    let mut world = World::new();
    world.run(
        "ann creates; bob joins s1; bob connects s1 b; at 10; bob disconnects s1 b; \
         at 50; bob reports s1 999",
    );
    assert_eq!(world.sessions[0].participants[1].speaking_time_seconds, 10);
    world.run("bob connects s1 b; bob reports s1 999");
    assert_eq!(world.sessions[0].participants[1].speaking_time_seconds, 50);
}

#[test]
fn ac6_a_negative_speaking_time_is_an_invalid_argument() {
    let mut world = World::new();
    world.run("ann creates; ann connects s1 x");
    for line in [
        "ann reports s1 -1",
        "ann leaves s1 speaking -1",
        "ann disconnects s1 x speaking -1",
    ] {
        assert_eq!(world.run(line).brief(), "invalid_argument", "{line}");
    }
}

#[test]
fn ac6_an_absent_speaking_time_keeps_the_last() {
    let mut world = World::new();
    world.run(
        "ann creates; ann connects s1 x; at 10; ann disconnects s1 x speaking 6; \
         ann connects s1 x; ann disconnects s1 x; ann leaves s1",
    );
    assert_eq!(world.sessions[0].participants[0].speaking_time_seconds, 6);
}

#[test]
fn ac6_a_disconnect_with_another_connection_keeps_the_speaking_time() {
    let mut world = World::new();
    world.run("ann creates; ann connects s1 x; at 10; ann disconnects s1 old speaking 6");
    assert_eq!(world.sessions[0].participants[0].speaking_time_seconds, 0);
}
