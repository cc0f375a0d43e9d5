//! AC2: private sessions.

use insta::assert_snapshot;

use super::world::World;
use crate::domain::{InviteCode, SessionId};

const CHOSEN: &str = "0d9b6f0e-5c1b-4a52-9c9a-6d1f0a2b3c4d";

#[test]
fn ac2_creating_makes_a_waiting_session_with_a_code_and_its_creator_as_host() {
    assert_snapshot!(World::new().run("ann creates"), @r"
    accepted 201 s1 #2 code 222222
    #1 session.created +0 waiting 0/4 host ann; c1 by ann
    #2 participant.joined +0 waiting 1/4 host ann; ann host waiting joined +0 present 0 spoke 0; c1 by ann
    places +ann(first)
    ");
}

#[test]
fn ac2_the_session_id_is_the_senders_choice() {
    let mut world = World::new();
    world.run(&format!("ann creates as {CHOSEN}"));
    assert_eq!(world.sessions[0].id.as_str(), CHOSEN);
}

#[test]
fn ac2_the_session_id_derives_from_the_command_id_where_none_is_chosen() {
    let mut world = World::new();
    world.run("ann creates");
    assert_eq!(world.sessions[0].id, SessionId::of_command("c1"));
}

#[test]
fn ac2_a_session_id_that_exists_is_a_command_conflict() {
    let mut world = World::new();
    world.run(&format!("ann creates as {CHOSEN}"));
    assert_snapshot!(world.run(&format!("bob creates as {CHOSEN}")), @"command_conflict 409 s1");
}

#[test]
fn ac2_the_code_is_six_symbols_without_vowels_and_look_alikes() {
    let mut world = World::new();
    world.run("ann creates");
    let code = world.sessions[0]
        .invite_code
        .clone()
        .expect("a private session has a code");
    assert_eq!(code.as_str().len(), 6);
    assert!(
        code.as_str()
            .bytes()
            .all(|symbol| InviteCode::ALPHABET.contains(&symbol))
    );
    assert_eq!(InviteCode::ALPHABET, b"23456789BCDFGHJKMNPQRSTVWXYZ");
}

#[test]
fn ac2_an_old_code_answers_session_ended() {
    let mut world = World::new();
    world.run("ann creates; ann ends s1");
    assert_snapshot!(world.run("bob joins s1"), @"session_ended 410 s1");
}

#[test]
fn ac2_creating_is_a_join_for_the_concurrent_limit() {
    let mut world = World::new();
    world.run("ann creates; ann creates; ann creates");
    assert_snapshot!(world.run("ann creates"), @"limit_concurrent 403 used 3 of 3");
}

#[test]
fn ac2_creating_is_a_join_for_the_daily_limit() {
    let mut world = World::new();
    for n in 1..=10 {
        world.run(&format!("ann creates; ann ends s{n}"));
    }
    assert_snapshot!(world.run("ann creates"), @"limit_daily 403 used 10 of 10 reset +43200");
}

#[test]
fn ac2_a_refused_creation_names_the_session_only_if_the_sender_did() {
    let mut world = World::new();
    world.run("ann creates; ann creates; ann creates");
    assert_snapshot!(world.run(&format!("ann creates as {CHOSEN}")), @"limit_concurrent 403 0d9b6f0e-5c1b-4a52-9c9a-6d1f0a2b3c4d used 3 of 3");
}

#[test]
fn ac2_the_invite_code_never_appears_in_an_event() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; ann starts s1; ann leaves s1; bob ends s1");
    let code = world.sessions[0]
        .invite_code
        .clone()
        .expect("a private session has a code");
    let events = format!("{:?}", world.events);
    assert!(!events.contains(code.as_str()), "{events}");
}
