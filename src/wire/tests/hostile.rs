//! Bytes and writer schemas that mean harm: nothing panics, nothing is misread, nothing costs more
//! than its bound (contract 3, guarantee 6).

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::support::*;
use crate::domain::{Action, Match, Message};
use crate::wire::resolve::resolve;
use crate::wire::schema::MATCH_FOUND_SCHEMA;
use crate::wire::*;

const MATCH: &str = "match-found";
const COMMAND: &str = "session-command";

/// Far more than any of these costs, far less than one without a bound would.
const SOON: Duration = Duration::from_secs(5);

fn read(topic: &str, writer: &str, avro: &[u8]) -> Result<Message, Poison> {
    let (codec, registry) = codec();
    registry.register(topic, 7, writer);
    decode(&codec, &record(topic, framed(7, avro))).map(|decoded| decoded.message)
}

fn long(number: i64) -> Vec<u8> {
    let mut zigzag = ((number << 1) ^ (number >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while zigzag > 0x7f {
        bytes.push(0x80 | u8::try_from(zigzag & 0x7f).expect("7 bits"));
        zigzag >>= 7;
    }
    bytes.push(u8::try_from(zigzag).expect("7 bits"));
    bytes
}

/// Our schema of matches with one more field before the others.
fn with_extra(extra: serde_json::Value) -> String {
    let mut writer: serde_json::Value = serde_json::from_str(MATCH_FOUND).expect("it is JSON");
    writer["fields"]
        .as_array_mut()
        .expect("fields")
        .insert(0, json!({"name": "extra", "type": extra}));
    writer.to_string()
}

#[test]
fn a_value_cut_anywhere_is_undecodable() {
    for action in actions() {
        let bytes = written(SESSION_COMMAND, command_value(&a_command(action)));
        for length in 0..bytes.len() {
            let result = read(COMMAND, SESSION_COMMAND, &bytes[..length]);
            assert!(
                matches!(result, Err(Poison::Undecodable { .. })),
                "{length}: {result:?}"
            );
        }
    }
    // The last field of a match is ["null","string"]: apache-avro reads a cut one as null.
    let found = Match {
        session_id: Some("s-1".to_owned()),
        ..a_match()
    };
    let bytes = written(MATCH_FOUND, match_value(&found));
    for length in 0..bytes.len() {
        let result = read(MATCH, MATCH_FOUND, &bytes[..length]);
        assert!(
            matches!(result, Err(Poison::Undecodable { .. })),
            "{length}: {result:?}"
        );
    }
}

#[test]
fn bytes_behind_the_value_are_undecodable() {
    let (codec, _) = codec();
    let mut value = framed(1, &written(MATCH_FOUND, match_value(&a_match())));
    assert!(decode(&codec, &record(MATCH, value.clone())).is_ok());
    value.push(0);
    let decoded = decode(&codec, &record(MATCH, value));
    let reason = "Avro: 1 bytes behind the value".to_owned();
    assert_eq!(decoded, Err(Poison::Undecodable { reason }));
}

#[test]
fn a_frame_without_its_id_is_undecodable() {
    let (codec, registry) = codec();
    for value in [
        &[0][..],
        &[0, 0],
        &[0, 0, 0, 0],
        &[1, 0, 0, 0, 1],
        &[0xff],
        b"null",
    ] {
        let decoded = decode(&codec, &record(MATCH, value));
        assert!(
            matches!(decoded, Err(Poison::Undecodable { .. })),
            "{value:?}: {decoded:?}"
        );
    }
    assert_eq!(registry.asked.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn numbers_lengths_branches_and_symbols_out_of_range_are_undecodable() {
    let head = [2, b'm', 0, 2, b'f', 0, 0];
    let cases: [(&str, Vec<u8>); 12] = [
        ("a negative length", long(-1)),
        ("the longest length", long(i64::MAX)),
        ("the most negative length", long(i64::MIN)),
        ("a length of 11 bytes", vec![0xff; 11]),
        ("a length of 65 bits", [&[0xff; 9][..], &[2]].concat()),
        ("not UTF-8", vec![2, 0xff]),
        ("not UTF-8, a surrogate", vec![6, 0xed, 0xa0, 0x80]),
        ("a branch beyond", [&head[..5], &long(2)].concat()),
        ("a negative branch", [&head[..5], &long(-1)].concat()),
        (
            "a symbol beyond",
            [&head[..], &[2, 2, b'u', 4, 0, 4, 12, 0]].concat(),
        ),
        (
            "a negative symbol",
            [&head[..], &[2, 2, b'u', 1, 0, 4, 12, 0]].concat(),
        ),
        (
            "an int of 33 bits",
            [&head[..], &[2, 2, b'u', 0, 0], &long(1 << 31), &[12, 0]].concat(),
        ),
    ];
    for (name, bytes) in cases {
        let result = read(MATCH, MATCH_FOUND, &bytes);
        assert!(
            matches!(result, Err(Poison::Undecodable { .. })),
            "{name}: {result:?}"
        );
    }
    let good = [&head[..], &[2, 2, b'u', 2, 0, 4, 12, 0]].concat();
    assert!(read(MATCH, MATCH_FOUND, &good).is_ok());
    let sized = [&head[..], &[1, 6, 2, b'u', 2, 0, 4, 12, 0]].concat();
    assert_eq!(
        read(MATCH, MATCH_FOUND, &sized),
        read(MATCH, MATCH_FOUND, &good),
        "a sized block"
    );
}

#[test]
fn decode_bombs_are_undecodable_and_cost_little() {
    let million = long(1_000_000_000_000);
    let nothing = json!({"type": "record", "name": "Nothing", "fields": []});
    let many_nulls: Vec<_> = (0..1000)
        .map(|n| json!({"name": format!("n{n}"), "type": "null"}))
        .collect();
    let wide = json!({"type": "record", "name": "Wide", "fields": many_nulls});
    let array = |items: serde_json::Value| json!({"type": "array", "items": items});
    let cases = [
        ("an array of nulls", array(json!("null")), million.clone()),
        (
            "nulls, the most negative count",
            array(json!("null")),
            [long(i64::MIN), long(0)].concat(),
        ),
        ("an array of empty records", array(nothing), million.clone()),
        (
            "an array of empty fixeds",
            array(json!({"type": "fixed", "name": "F", "size": 0})),
            million.clone(),
        ),
        ("wide records", array(wide), million.clone()),
        (
            "arrays of arrays of nulls",
            array(array(json!("null"))),
            million.repeat(5000),
        ),
        (
            "a map of nulls",
            json!({"type": "map", "values": "null"}),
            million.clone(),
        ),
        ("a long string", json!("string"), long(i64::MAX)),
        ("long bytes", json!("bytes"), long(i64::MAX)),
        (
            "a fixed of a tebibyte",
            json!({"type": "fixed", "name": "F", "size": 1_u64 << 40}),
            vec![0; 9],
        ),
    ];
    for (name, extra, bytes) in cases {
        let start = Instant::now();
        let result = read(MATCH, &with_extra(extra), &bytes);
        assert!(
            matches!(result, Err(Poison::Undecodable { .. })),
            "{name}: {result:?}"
        );
        assert!(start.elapsed() < SOON, "{name} took {:?}", start.elapsed());
    }
}

#[test]
fn a_match_of_more_than_a_mebibyte_when_decoded_is_undecodable() {
    let head = [2, b'm', 0, 2, b'f', 0, 0];
    let users = |count: usize| {
        let users = [0, 0].repeat(count);
        let count = long(i64::try_from(count).expect("small"));
        [&head[..], &count, &users, &[0, 4, 12, 0]].concat()
    };
    let Ok(Message::Match(found)) = read(MATCH, MATCH_FOUND, &users(16_000)) else {
        panic!("it decodes")
    };
    assert_eq!(found.participants.len(), 16_000);
    assert!(size_of_val(&found.participants[..]) <= 1024 * 1024);
    let Err(Poison::Undecodable { reason }) = read(MATCH, MATCH_FOUND, &users(32_000)) else {
        panic!("it is too much")
    };
    assert_eq!(reason, "Avro: more than 1048576 bytes when decoded");
}

#[test]
fn a_recursive_writer_schema_does_not_resolve() {
    let list = json!({"type": "record", "name": "List", "fields": [
        {"name": "next", "type": ["null", "List"], "default": null},
    ]});
    let endless = json!({"type": "record", "name": "Endless", "fields": [
        {"name": "me", "type": "Endless", "default": {}},
    ]});
    let matches = json!({"type": "record", "name": "MatchFound", "namespace": "sessions", "fields": [
        {"name": "matchId", "type": "MatchFound"},
    ]});
    for writer in [with_extra(list), with_extra(endless), matches.to_string()] {
        let result = read(MATCH, &writer, &[2; 1000]);
        let Err(Poison::Undecodable { reason }) = result else {
            panic!("{result:?}")
        };
        assert!(reason.contains("does not resolve"), "{reason}");
    }
}

#[test]
fn a_writer_schema_too_deep_too_large_or_too_wide_does_not_resolve() {
    let deep = (0..60).fold(
        json!("null"),
        |items, _| json!({"type": "array", "items": items}),
    );
    let deeper = "{\"type\":\"array\",\"items\":".repeat(20_000) + "\"null\"" + &"}".repeat(20_000);
    let padded = with_extra(json!("null")) + &" ".repeat(300 * 1024);
    // 20 records that each hold the one before twice: a million types, written out.
    let mut doubling =
        json!({"type": "record", "name": "R0", "fields": [{"name": "x", "type": "int"}]});
    for n in 1..20 {
        doubling = json!({"type": "record", "name": format!("R{n}"), "fields": [
            {"name": "a", "type": doubling, "default": {}},
            {"name": "b", "type": format!("R{}", n - 1), "default": {}},
        ]});
    }
    for writer in [with_extra(deep), deeper, padded, with_extra(doubling)] {
        let start = Instant::now();
        let result = read(MATCH, &writer, &[0; 1000]);
        assert!(
            matches!(result, Err(Poison::Undecodable { .. })),
            "{result:?}"
        );
        assert!(start.elapsed() < SOON);
    }
}

#[test]
fn json_nested_without_end_is_undecodable() {
    let (codec, _) = codec();
    for value in [
        "{\"a\":".repeat(10_000),
        format!("{{\"command\":{}", "[".repeat(60_000)),
    ] {
        let decoded = decode(&codec, &record(COMMAND, value));
        assert!(matches!(decoded, Err(Poison::Undecodable { .. })));
    }
}

#[test]
fn tens_of_thousands_of_unknown_ids_are_remembered_for_their_decoding() {
    let (codec, _) = codec();
    let records: Vec<_> = (1000..40_000)
        .map(|id| record(MATCH, framed(id, &[0])))
        .collect();
    futures::executor::block_on(codec.prepare(&records)).expect("it answers");
    for (record, id) in records.iter().zip(1000..) {
        assert_eq!(codec.decode(record), Err(Poison::UnknownSchema { id }));
    }
}

#[test]
fn a_match_of_64_kib_still_fits_when_it_travels_home() {
    let (codec, _) = codec();
    let mut found = Match {
        match_id: "é".repeat(128),
        ..a_match()
    };
    let size = |found: &Match| framed(1, &written(MATCH_FOUND, match_value(found))).len();
    found.topic_title = Some(String::new());
    // The title's length takes two bytes more than nothing's.
    found.topic_title = Some("x".repeat(MAX_VALUE - size(&found) - 2));
    assert_eq!(size(&found), MAX_VALUE);

    let value = record(MATCH, framed(1, &written(MATCH_FOUND, match_value(&found))));
    let decoded = decode(&codec, &value).expect("it decodes");
    let forward = codec.forward(&value, &decoded, &session_id(), 5, &value.origin(), 1);
    let home = Record {
        headers: forward.headers,
        ..record(COMMAND, forward.value.expect("it has a value"))
    };
    assert!(home.size() > MAX_VALUE);
    assert_eq!(
        decode(&codec, &home).expect("it decodes").message,
        decoded.message
    );
    let stripped = Record {
        headers: Vec::new(),
        ..home
    };
    assert!(matches!(
        decode(&codec, &stripped),
        Err(Poison::TooLarge { .. })
    ));
}

/// Changes a schema text here and there.
fn mangled() -> impl Strategy<Value = String> {
    let texts = prop_oneof![
        Just(MATCH_FOUND),
        Just(SESSION_COMMAND),
        Just(SESSION_EVENT)
    ];
    let tokens = prop::sample::select(vec![
        "\"null\"",
        "\"long\"",
        "\"bytes\"",
        "\"Tier\"",
        "\"MatchFound\"",
        "\"fixed\"",
        "\"array\"",
        "\"record\"",
        "\"enum\"",
        "\"map\"",
        "{}",
        "[]",
        "null",
        "-1",
        "\"\"",
        "\"sessions.Tier\"",
        "\"decimal\"",
        "\"duration\"",
        "\"uuid\"",
        "\"big-decimal\"",
    ]);
    let cut = (any::<prop::sample::Index>(), tokens);
    (texts, proptest::collection::vec(cut, 1..4)).prop_map(|(text, cuts)| {
        let mut text = text.to_owned();
        for (at, token) in cuts {
            // A quoted word is replaced by another token: mostly JSON still.
            let quotes: Vec<_> = text.match_indices('"').map(|(at, _)| at).collect();
            let start = at.index(quotes.len() / 2) * 2;
            if let [from, to, ..] = quotes[start..] {
                text.replace_range(from..=to, token);
            }
        }
        text
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        first in prop::sample::select(&[0_u8, b'{', 1][..]),
        id in 0_u8..4,
    ) {
        let (codec, _) = codec();
        for topic in [MATCH, COMMAND] {
            let raw = decode(&codec, &record(topic, bytes.clone()));
            prop_assert!(raw.is_err());
            let _ = decode(&codec, &record(topic, [&[first, 0, 0, 0, id], &bytes[..]].concat()));
        }
    }

    #[test]
    fn a_value_changed_in_one_byte_decodes_or_not_but_never_panics(
        branch in 0_usize..8,
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let command = a_command(actions().remove(branch));
        let mut avro = written(SESSION_COMMAND, command_value(&command));
        let at_avro = at.index(avro.len());
        avro[at_avro] = to;
        let _ = read(COMMAND, SESSION_COMMAND, &avro);
        let mut json = command_json(&command).to_string().into_bytes();
        let at_json = at.index(json.len());
        json[at_json] = to;
        let (codec, _) = codec();
        let _ = decode(&codec, &record(COMMAND, json));
    }

    #[test]
    fn a_mangled_writer_schema_resolves_or_not_but_never_panics(
        text in mangled(),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = resolve(&text, &MATCH_FOUND_SCHEMA);
        let _ = read(COMMAND, &text, &bytes);
        let _ = read(MATCH, &text, &bytes);
    }
}

#[test]
fn an_unprepared_record_is_a_bug_of_the_caller_not_a_dead_letter() {
    let (codec, _) = codec();
    let value = record(MATCH, framed(1, &[0]));
    let decoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| codec.decode(&value)));
    assert!(decoded.is_err());
}

#[test]
fn a_forged_admission_still_decodes_and_says_that_it_is_one() {
    let (codec, _) = codec();
    let value = outbound::admit_match(&a_match(), "m-1", IDS.command);
    let decoded = decode(&codec, &record(COMMAND, value)).expect("it decodes");
    assert!(decoded.admitted);
    let end = Action::EndSession {
        session_id: "s".to_owned(),
    };
    let value = command_json(&a_command(end)).to_string();
    assert!(
        !decode(&codec, &record(COMMAND, value))
            .expect("it decodes")
            .admitted
    );
}
