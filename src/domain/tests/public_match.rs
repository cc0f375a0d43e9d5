//! AC1: a match makes a public session.

use insta::assert_snapshot;

use super::world::World;
use crate::domain::Rules;

#[test]
fn ac1_a_match_makes_a_public_session_that_starts_in_the_same_step() {
    assert_snapshot!(World::new().run("match m1 ann bob cat"), @r"
    accepted 201 s1 #5
    #1 session.created +0 waiting 0/6 host ann; m1
    #2 participant.joined +0 waiting 1/6 host ann; ann host waiting joined +0 present 0 spoke 0; m1
    #3 participant.joined +0 waiting 2/6 host ann; bob participant waiting joined +0 present 0 spoke 0; m1
    #4 participant.joined +0 waiting 3/6 host ann; cat participant waiting joined +0 present 0 spoke 0; m1
    #5 session.started +0 active 3/6 host ann started +0 expires +1800; m1
    places +ann(first) +bob(first) +cat(first)
    ");
}

#[test]
fn ac1_user_ids_are_trimmed_and_made_distinct_in_order_and_the_first_tier_stands() {
    let mut world = World::new();
    for _ in 0..10 {
        world.run("ann creates");
        let ends = format!("ann ends s{}", world.sessions.len());
        world.run(&ends);
    }
    assert_snapshot!(world.run("match m1 ann* bob ann"), @r"
    accepted 201 s11 #4
    #1 session.created +0 waiting 0/6 host ann; m1
    #2 participant.joined +0 waiting 1/6 host ann; ann host waiting joined +0 present 0 spoke 0; m1
    #3 participant.joined +0 waiting 2/6 host ann; bob participant waiting joined +0 present 0 spoke 0; m1
    #4 session.started +0 active 2/6 host ann started +0 expires +1800; m1
    places +ann(first) +bob(first)
    ");
    assert_snapshot!(world.run("match m2 ann bob ann*"), @"match_rejected 403 [ann limit_daily +43200] eligible bob");
}

#[test]
fn ac1_nobody_left_out_makes_the_session_also_of_fewer_than_min_participants() {
    assert_snapshot!(World::new().run("match m1 ann bob min 3"), @r"
    accepted 201 s1 #3
    #1 session.created +0 waiting 0/6 host ann; m1
    #2 participant.joined +0 waiting 1/6 host ann; ann host waiting joined +0 present 0 spoke 0; m1
    #3 participant.joined +0 waiting 2/6 host ann; bob participant waiting joined +0 present 0 spoke 0; m1
    places +ann(first) +bob(first)
    ");
}

/// `ann` and `dan` are in three sessions each.
const ANN_AND_DAN_ARE_BUSY: &str = "match b1 ann dan; match b2 ann dan; match b3 ann dan";

#[test]
fn ac1_somebody_left_out_makes_it_if_min_participants_remain_and_the_first_remaining_hosts() {
    let mut world = World::new();
    world.run(ANN_AND_DAN_ARE_BUSY);
    assert_snapshot!(world.run("match m1 ann bob cat dan"), @r"
    accepted 201 s4 #4 [ann limit_concurrent] [dan limit_concurrent]
    #1 session.created +0 waiting 0/6 host bob; m1
    #2 participant.joined +0 waiting 1/6 host bob; bob host waiting joined +0 present 0 spoke 0; m1
    #3 participant.joined +0 waiting 2/6 host bob; cat participant waiting joined +0 present 0 spoke 0; m1
    #4 session.started +0 active 2/6 host bob started +0 expires +1800; m1
    places +bob(first) +cat(first)
    ");
}

#[test]
fn ac1_fewer_than_min_participants_remaining_make_nothing_and_the_innocent_are_named() {
    let mut world = World::new();
    world.run(ANN_AND_DAN_ARE_BUSY);
    assert_snapshot!(world.run("match m1 ann bob cat dan min 3"), @"match_rejected 403 [ann limit_concurrent] [dan limit_concurrent] eligible bob cat");
    assert_snapshot!(world.run("match m2 ann dan"), @"match_rejected 403 [ann limit_concurrent] [dan limit_concurrent]");
}

#[test]
fn ac1_with_partial_match_off_one_left_out_makes_nothing() {
    let mut world = World::with(Rules {
        partial_match: false,
        ..Rules::default()
    });
    world.run(ANN_AND_DAN_ARE_BUSY);
    assert_snapshot!(world.run("match m1 ann bob cat"), @"match_rejected 403 [ann limit_concurrent] eligible bob cat");
    assert_snapshot!(world.run("match m2 bob cat"), @r"
    accepted 201 s4 #4
    #1 session.created +0 waiting 0/6 host bob; m2
    #2 participant.joined +0 waiting 1/6 host bob; bob host waiting joined +0 present 0 spoke 0; m2
    #3 participant.joined +0 waiting 2/6 host bob; cat participant waiting joined +0 present 0 spoke 0; m2
    #4 session.started +0 active 2/6 host bob started +0 expires +1800; m2
    places +bob(first) +cat(first)
    ");
}

#[test]
fn ac1_the_session_id_derives_from_the_match_id() {
    let (mut here, mut there) = (World::new(), World::new());
    here.run("match m1 ann bob");
    there.run("at 99; match m1 cat dan");
    assert_eq!(here.sessions[0].id, there.sessions[0].id);
    here.run("match m2 ann bob");
    assert_ne!(here.sessions[0].id, here.sessions[1].id);
}

#[test]
fn ac1_a_match_whose_session_exists_is_accepted_and_nothing_changes() {
    let mut world = World::new();
    world.run("match m1 ann bob");
    world.ledger.clear();
    assert_snapshot!(world.run("match m1 cat dan"), @"accepted 200 s1 #4");
}

/// The contract is silent: a sender of commands may have chosen the id that a match derives. Nothing
/// can be made, so everybody is innocent.
#[test]
fn ac1_a_match_whose_session_id_a_private_session_took_is_rejected_with_everybody_eligible() {
    let mut elsewhere = World::new();
    elsewhere.run("match m1 ann bob");
    let mut world = World::new();
    world.run(&format!("eve creates as {}", elsewhere.sessions[0].id));
    assert_snapshot!(world.run("match m1 ann bob"), @"match_rejected 403 eligible ann bob");
}
