//! Backfill: a match that names a public session fills its seats.

use insta::assert_snapshot;

use super::world::World;

#[test]
fn backfill_joins_all_then_starts_once() {
    let mut world = World::new();
    world.run("match m1 ann bob min 3");
    assert_snapshot!(world.run("at 10; backfill m2 s1 cat dan"), @r"
    accepted 200 s1 #6
    #4 participant.joined +10 waiting 3/6 host ann; cat participant waiting joined +10 present 0 spoke 0; m2
    #5 participant.joined +10 waiting 4/6 host ann; dan participant waiting joined +10 present 0 spoke 0; m2
    #6 session.started +10 active 4/6 host ann started +10 expires +1810; m2
    places +cat(first) +dan(first)
    ");
}

#[test]
fn backfill_ignores_the_records_min_max_language_and_topic() {
    let mut world = World::new();
    world.run("match m1 ann bob");
    assert_snapshot!(world.run("backfill m2 s1 cat min 99 max 0"), @r"
    accepted 200 s1 #5
    #5 participant.joined +0 active 3/6 host ann; cat participant waiting joined +0 present 0 spoke 0; m2
    places +cat(first)
    ");
    assert_eq!(world.sessions[0].max_participants, 6);
}

#[test]
fn backfill_of_an_unknown_session_is_session_not_found() {
    assert_snapshot!(World::new().run("backfill m1 nowhere ann"), @"session_not_found 404 nowhere");
}

#[test]
fn backfill_of_a_private_session_is_session_not_found() {
    let mut world = World::new();
    world.run("ann creates");
    assert_snapshot!(world.run("backfill m1 s1 bob"), @"session_not_found 404 s1");
}

#[test]
fn backfill_of_an_ended_session_is_session_ended() {
    let mut world = World::new();
    world.run("match m1 ann bob; ann ends s1");
    assert_snapshot!(world.run("backfill m2 s1 cat"), @"session_ended 410 s1");
}

#[test]
fn backfill_judges_users_one_by_one_as_joins_and_names_who_is_left_out() {
    let mut world = World::new();
    world.run("match m1 ann bob max 4; cat creates; cat creates; cat creates");
    assert_snapshot!(world.run("backfill m2 s1 cat dan eve fay"), @r"
    accepted 200 s1 #6 [cat limit_concurrent] [fay session_full]
    #5 participant.joined +0 active 3/4 host ann; dan participant waiting joined +0 present 0 spoke 0; m2
    #6 participant.joined +0 active 4/4 host ann; eve participant waiting joined +0 present 0 spoke 0; m2
    places +dan(first) +eve(first)
    ");
}

#[test]
fn backfill_with_somebody_already_in_is_accepted() {
    let mut world = World::new();
    world.run("match m1 ann bob max 2");
    assert_snapshot!(world.run("backfill m2 s1 bob cat"), @"accepted 200 s1 #4 [cat session_full]");
}

#[test]
fn backfill_with_nobody_added_is_match_rejected_and_finding_no_seat_is_no_fault() {
    let mut world = World::new();
    world.run("match m1 ann bob max 2; cat creates; cat creates; cat creates");
    assert_snapshot!(world.run("backfill m2 s1 cat dan"), @"match_rejected 403 s1 [cat limit_concurrent] [dan session_full] eligible dan");
}

#[test]
fn backfill_brings_back_who_left_and_an_absent_host_hosts_again() {
    let mut world = World::new();
    world.run("match m1 ann bob; at 10; ann leaves s1; at 20");
    assert_snapshot!(world.run("backfill m2 s1 ann"), @r"
    accepted 200 s1 #6
    #6 participant.joined +20 active 2/6 host ann; ann host waiting joined +0 present 10 spoke 0 rejoin; m2
    places +ann
    ");
}

#[test]
fn backfill_deadlines_that_are_overdue_come_first() {
    let mut world = World::new();
    world.run("match m1 ann bob max 2; ann connects s1 x; ann disconnects s1 x; at 130");
    assert_snapshot!(world.run("backfill m2 s1 cat"), @r"
    accepted 200 s1 #8
    #7 participant.left +130 active 1/2 host ann; ann host disconnected joined +0 left +0 present 0 spoke 0; disconnect_timeout; timer disconnect:ann
    #8 participant.joined +130 active 2/2 host ann; cat participant waiting joined +130 present 0 spoke 0; m2
    places -ann +cat(first)
    ");
}
