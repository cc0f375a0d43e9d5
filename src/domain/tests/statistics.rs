//! AC7: what `session.ended` sums up.

use insta::assert_snapshot;

use super::world::World;

#[test]
fn ac7_statistics_list_everybody_ever_in() {
    let mut world = World::new();
    world.run(
        "ann creates; at 10; bob joins s1; cat joins s1; ann starts s1; at 20; \
         cat leaves s1 speaking 2; at 30; ann leaves s1 speaking 9; ann joins s1; \
         at 110.9; bob reports s1 9",
    );
    assert_snapshot!(world.run("bob ends s1").statistics(), @r"
    duration 100, total 3, peak 3, balance 0.864, silent []
    ann participant joined +0, left +110.900, present 110, spoke 9, share 0.450, session_ended, rejoins 1
    bob host joined +10, left +110.900, present 100, spoke 9, share 0.450, session_ended, rejoins 0
    cat participant joined +10, left +20, present 10, spoke 2, share 0.100, left, rejoins 0
    ");
}

#[test]
fn ac7_duration_is_0_if_never_started() {
    let mut world = World::new();
    world.run("ann creates; at 500");
    let told = world.run("ann ends s1").statistics();
    assert!(told.starts_with("duration 0,"), "{told}");
}

#[test]
fn ac7_duration_runs_to_the_deadline_not_to_the_decision() {
    let mut world = World::new();
    world.run("match m1 ann bob; at 7000");
    let told = world.run("tick s1").statistics();
    assert!(told.starts_with("duration 1800,"), "{told}");
}

#[test]
fn ac7_where_nobody_spoke_shares_are_0_and_everybody_is_silent() {
    let mut world = World::new();
    world.run("match m1 ann bob");
    assert_snapshot!(world.run("ann ends s1").statistics(), @r"
    duration 0, total 2, peak 2, balance 0.000, silent [ann bob]
    ann host joined +0, left +0, present 0, spoke 0, share 0.000, session_ended, rejoins 0
    bob participant joined +0, left +0, present 0, spoke 0, share 0.000, session_ended, rejoins 0
    ");
}

#[test]
fn ac7_talk_balance_is_0_with_fewer_than_two_speakers() {
    let mut world = World::new();
    world.run("match m1 ann bob; at 10; ann reports s1 10");
    let told = world.run("ann ends s1").statistics();
    assert!(told.contains("balance 0.000, silent [bob]"), "{told}");
}

#[test]
fn ac7_talk_balance_is_the_entropy_of_the_shares_over_ln_of_all_participants() {
    let mut world = World::new();
    world.run(
        "match m1 ann bob cat dan; at 100; ann reports s1 50; bob reports s1 25; \
         cat reports s1 25",
    );
    let told = world.run("ann ends s1");
    let ended = told.events.last().expect("it ends");
    let statistics = ended.statistics.as_ref().expect("an ending sums up");
    // (½ ln 2 + 2 · ¼ ln 4) / ln 4 = ¾
    assert!((statistics.talk_balance - 0.75).abs() < 1e-12);
}

#[test]
fn ac7_equal_shares_balance_to_1_and_rounding_never_lifts_them_above() {
    let mut world = World::new();
    world.run("match m1 a b c d e; at 100");
    for user in ["a", "b", "c", "d", "e"] {
        world.run(&format!("{user} reports s1 7"));
    }
    let told = world.run("a ends s1");
    let ended = told.events.last().expect("it ends");
    let statistics = ended.statistics.as_ref().expect("an ending sums up");
    assert_eq!(statistics.talk_balance, 1.0);
}

#[test]
fn ac7_a_share_of_exactly_5_percent_is_not_silent() {
    let mut world = World::new();
    world.run("match m1 ann bob cat; at 1000; ann reports s1 951; bob reports s1 50");
    let told = world.run("ann ends s1").statistics();
    assert!(told.contains("silent [bob cat]"), "{told}");
    world.run("match m2 ann bob; at 2000; ann reports s2 950; bob reports s2 50");
    let told = world.run("ann ends s2").statistics();
    assert!(told.contains("silent []"), "{told}");
}

#[test]
fn ac7_peak_is_the_most_that_were_open_at_once() {
    let mut world = World::new();
    world.run(
        "ann creates; bob joins s1; cat joins s1; bob leaves s1; dan joins s1; \
         cat leaves s1; dan leaves s1",
    );
    let told = world.run("ann ends s1").statistics();
    assert!(told.contains("total 4, peak 3,"), "{told}");
}
