//! The contract's table, cell by cell: a command against what the session is and what the user is to it.

use super::world::World;

/// The columns: session ended and ever in, ended and never in, never in, has left, in (no host).
/// The cells: what `Told::brief` says.
const TABLE: [(&str, [&str; 5]); 7] = [
    (
        "joins s1",
        [
            "session_ended",
            "session_ended",
            "accepted participant.joined",
            "accepted participant.joined",
            "accepted",
        ],
    ),
    (
        "starts s1",
        [
            "session_ended",
            "session_ended",
            "not_participant",
            "not_participant",
            "not_host",
        ],
    ),
    (
        "ends s1",
        [
            "accepted",
            "not_participant",
            "not_participant",
            "not_participant",
            "not_host",
        ],
    ),
    (
        "leaves s1 speaking 5",
        [
            "accepted",
            "not_participant",
            "not_participant",
            "accepted",
            "accepted participant.left",
        ],
    ),
    (
        "connects s1 x",
        [
            "session_ended",
            "session_ended",
            "not_participant",
            "not_participant",
            "accepted participant.connected",
        ],
    ),
    (
        "reports s1 5",
        [
            "session_ended",
            "session_ended",
            "not_participant",
            "not_participant",
            "accepted (changed)",
        ],
    ),
    (
        "disconnects s1 x speaking 5",
        [
            "accepted",
            "not_participant",
            "not_participant",
            "accepted",
            "accepted",
        ],
    ),
];

/// Waiting and active, private and public: `ann` hosts, `bob` is in since 10 seconds.
const STAGES: [&str; 4] = [
    "ann creates; bob joins s1; at 10",
    "ann creates; bob joins s1; ann starts s1; at 10",
    "match m1 ann bob min 3; at 10",
    "match m1 ann bob; at 10",
];

/// Every way a session ends while `bob` is in, or was.
const ENDINGS: [&str; 4] = [
    "ann ends s1",
    "bob leaves s1; ann leaves s1",
    "at 1800; tick s1",
    "ann connects s1 a; bob connects s1 b; ann disconnects s1 a; bob disconnects s1 b; \
     at 130; tick s1",
];

fn cell(stage: &str, before: &str, line: &str) -> String {
    let mut world = World::new();
    world.run(stage);
    if !before.is_empty() {
        world.run(before);
    }
    world.run(line).brief()
}

#[test]
fn every_cell_of_the_table_holds() {
    for stage in STAGES {
        let public = stage.starts_with("match");
        for (command, [ended_ever_in, ended_never_in, never_in, has_left, is_in]) in TABLE {
            if public && command.starts_with("joins") {
                continue; // A public session has no code to join by.
            }
            let (bob, eve) = (format!("bob {command}"), format!("eve {command}"));
            for ending in ENDINGS {
                assert_eq!(
                    cell(stage, ending, &bob),
                    ended_ever_in,
                    "{stage}; {ending}; {bob}"
                );
                assert_eq!(
                    cell(stage, ending, &eve),
                    ended_never_in,
                    "{stage}; {ending}; {eve}"
                );
            }
            assert_eq!(cell(stage, "", &eve), never_in, "{stage}; {eve}");
            assert_eq!(
                cell(stage, "bob leaves s1", &bob),
                has_left,
                "{stage}; left; {bob}"
            );
            let is_in = if public && command.starts_with("starts") {
                "invalid_state"
            } else {
                is_in
            };
            assert_eq!(cell(stage, "", &bob), is_in, "{stage}; {bob}");
        }
    }
}

#[test]
fn start_asks_public_then_host_then_already_active() {
    for stage in ["match m1 ann bob", "match m1 ann bob min 3"] {
        assert_eq!(cell(stage, "", "ann starts s1"), "invalid_state");
        assert_eq!(cell(stage, "", "bob starts s1"), "invalid_state");
    }
    let active = "ann creates; bob joins s1; ann starts s1";
    assert_eq!(cell(active, "", "bob starts s1"), "not_host");
    assert_eq!(cell(active, "", "ann starts s1"), "accepted");
}

#[test]
fn a_command_on_an_unknown_session_is_session_not_found() {
    for (command, _) in TABLE {
        if command.starts_with("joins") {
            continue;
        }
        let line = format!("ann {}", command.replace("s1", "nowhere"));
        let told = World::new().run(&line);
        assert_eq!(told.to_string(), "session_not_found 404 nowhere", "{line}");
    }
}

#[test]
fn what_changes_nothing_changes_nothing() {
    for (before, line) in [
        ("ann creates", "ann joins s1"),
        ("ann creates; ann starts s1", "ann starts s1"),
        ("ann creates; ann ends s1; at 5", "ann ends s1"),
        ("ann creates; ann ends s1; at 5", "ann leaves s1 speaking 3"),
        (
            "ann creates; bob joins s1; bob leaves s1; at 5",
            "bob leaves s1 speaking 3",
        ),
        (
            "ann creates; ann connects s1 x; at 5",
            "ann disconnects s1 y speaking 3",
        ),
        ("ann creates; ann connects s1 x; at 5", "ann connects s1 x"),
        ("ann creates; at 5; ann reports s1 4", "ann reports s1 4"),
    ] {
        let mut world = World::new();
        world.run(before);
        let session = world.sessions[0].clone();
        let told = world.run(line);
        assert_eq!(told.brief(), "accepted", "{before}; {line}");
        assert!(told.users.is_empty());
        assert_eq!(world.sessions[0], session, "{before}; {line}");
    }
}

#[test]
fn an_accepted_result_has_the_sequence_after_the_step_and_a_rejected_one_has_none() {
    let mut world = World::new();
    let told = world.run("ann creates; bob joins s1; at 1800; ann leaves s1");
    assert_eq!(
        told.brief(),
        "accepted participant.left participant.left session.ended"
    );
    assert_eq!(told.result.and_then(|result| result.sequence), Some(6));
    let told = world.run("ann starts s1");
    assert_eq!(told.result.and_then(|result| result.sequence), None);
}

#[test]
fn a_rejection_still_carries_what_overdue_deadlines_did() {
    let mut world = World::new();
    world.run("ann creates; bob joins s1; bob connects s1 b; bob disconnects s1 b; at 120");
    assert_eq!(
        world.run("bob starts s1").brief(),
        "not_participant participant.left"
    );
}
