//! What no well-behaved client sends: written to the broker byte by byte.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use session_worker::kafka::Consumer;

use super::support::{Lanes, PATIENCE, bootstrap, settings, take, topic, unique};

/// A record batch (format 2) of one record, value `hi`, with the headers `good`: `1`, `ff fe` (not
/// UTF-8): `2` and `after`: `3`. Its checksum is part of it, so that it is kept as it is.
const BATCH: [&str; 3] = [
    "00000000000000000000004effffffff02ea6535e50000000000000000019b45a500000000019b45a500",
    "00ffffffffffffffffffffffffffff0000000138000000010468690608676f6f64023104fffe02320a61",
    "667465720233",
];

/// Sends one batch to partition 0 as Produce request, version 3.
fn produce(topic: &str, batch: &[u8]) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small").to_be_bytes();
    let name = u16::try_from(topic.len()).expect("small").to_be_bytes();
    let request = [
        // Produce, version 3, correlation 1, client `x`; no transaction, all replicas, 5 s.
        &[
            0, 0, 0, 3, 0, 0, 0, 1, 0, 1, b'x', 0xff, 0xff, 0xff, 0xff, 0, 0, 0x13, 0x88,
        ][..],
        &[0, 0, 0, 1],
        &name,
        topic.as_bytes(),
        &[0, 0, 0, 1, 0, 0, 0, 0],
        &length(batch),
        batch,
    ]
    .concat();
    let mut broker = TcpStream::connect(bootstrap()).expect("the broker listens");
    broker
        .set_read_timeout(Some(PATIENCE))
        .expect("a legal timeout");
    broker
        .write_all(&[&length(&request)[..], &request].concat())
        .expect("it is sent");
    let mut size = [0; 4];
    broker.read_exact(&mut size).expect("the broker answers");
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(size)).expect("small")];
    broker.read_exact(&mut answer).expect("the broker answers");
    // Correlation, one topic, its name, one partition, partition 0, then the error code.
    let code = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[code..code + 2], [0, 0], "the broker takes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_3_a_header_whose_name_is_not_utf8_is_left_out_and_stops_no_lane() {
    let topic = topic("hostile", 1, &[]).await;
    let hex = BATCH.concat();
    let batch: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("it is hex"))
        .collect();
    for _ in 0..2 {
        produce(&topic, &batch);
    }
    let (lanes, mut logs) = Lanes::new();
    let _consumer = Consumer::start(&settings(&unique("group")), &[&topic], lanes as _)
        .await
        .expect("it starts");
    let (_, mut log) = logs.next(1).await.pop_first().expect("one log");
    for record in take(&mut log, 2).await {
        assert_eq!(record.value.as_deref(), Some(&b"hi"[..]));
        let kept = [
            ("good".to_owned(), Some(b"1".to_vec())),
            ("after".to_owned(), Some(b"3".to_vec())),
        ];
        assert_eq!(record.headers, kept);
    }
}
