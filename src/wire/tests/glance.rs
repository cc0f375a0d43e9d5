//! Values as people look at them.

use futures::FutureExt as _;
use serde_json::json;

use super::support::*;
use crate::wire::*;

fn look(topic: &str, value: Option<&[u8]>, registry: &MemoryRegistry) -> Glance {
    let ready = glance(topic, value, registry).now_or_never();
    ready.expect("the registry in memory never waits")
}

#[test]
fn json_stays_json_and_avro_names_the_branch_of_its_union() {
    let registry = MemoryRegistry::default();
    registry.register("session-command", 2, SESSION_COMMAND);
    let value = br#"{"not": "a command"}"#;
    let seen = look("session-command", Some(value), &registry);
    assert_eq!(seen, Glance::Json(json!({"not": "a command"})));

    for action in actions() {
        let command = a_command(action);
        let value = framed(2, &written(SESSION_COMMAND, command_value(&command)));
        let seen = look("session-command", Some(&value), &registry);
        assert_eq!(seen, Glance::Avro(2, command_json(&command)));
    }
}

#[test]
fn bytes_stay_bytes_and_say_why() {
    let registry = MemoryRegistry::default();
    registry.register("session-command", 2, SESSION_COMMAND);
    let recursive = r#"{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"]}]}"#;
    registry.register("session-command", 3, recursive);
    let deep = [[2].repeat(60_000), vec![0]].concat();
    for (value, why) in [
        (b"\xff\xfe".to_vec(), "neither JSON nor Avro"),
        (b"{\"half".to_vec(), "begins as JSON"),
        (framed(9, b"x"), "schema id 9 is not registered"),
        (framed(2, b"x"), "no value of schema id 2"),
        (framed(3, &deep), "recursive"),
        (Vec::new(), "neither JSON nor Avro"),
    ] {
        match look("session-command", Some(&value), &registry) {
            Glance::Bytes(said) => assert!(said.contains(why), "{said}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(look("session-command", None, &registry), Glance::Absent);
    registry.fail(Some("down"));
    let seen = look("session-command", Some(&framed(2, b"x")), &registry);
    assert_eq!(
        seen,
        Glance::Bytes("the schema registry cannot be asked: down".to_owned())
    );
}

#[test]
fn a_dump_shows_bytes_beside_their_text_and_says_what_it_leaves_out() {
    let bytes: Vec<u8> = (0x1b..0x2d).collect();
    assert_eq!(
        hex(&bytes, 17),
        "00000000  1b 1c 1d 1e 1f 20 21 22  23 24 25 26 27 28 29 2a  ..... !\"#$%&'()*\n\
         00000010  2b                                                +\n\
         … 1 more bytes\n"
    );
}
