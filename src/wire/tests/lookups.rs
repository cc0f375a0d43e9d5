//! When a miss is final and what is a fault: URLs that lag, lost subjects, texts that are not schemas;
//! and how often the registry is asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::stub::{Fault, client, confirming, stub, writer};
use super::support::{IDS, a_match, framed, match_value, record, written};
use crate::record::TopicNames;
use crate::wire::registry::Confirmation;
use crate::wire::*;

/// Shorter than for a worker.
const LITTLE: Duration = Duration::from_millis(800);

const SUBJECT: &str = "match-found-value";

#[tokio::test]
async fn a_url_that_lags_does_not_hide_one_that_does_not() {
    let (behind, first) = stub().await;
    let (stub, second) = stub().await;
    behind.add(SUBJECT, 1, 5, "one");
    stub.add(SUBJECT, 1, 5, "one");
    stub.add(SUBJECT, 2, 6, "two");
    stub.add("session-command-value", 1, 7, "three");
    let registry = client(&[&first, &second]);
    assert_eq!(writer(&registry, 6).await.as_deref(), Ok("two"));
    let elsewhere = SchemaSource::writer_schema(&registry, "session-command-value", 7).await;
    assert_eq!(
        elsewhere.as_deref(),
        Ok("three"),
        "the first has no such subject"
    );
    assert_eq!(registry.lookup(SUBJECT, "two").await, Ok(6));
}

#[tokio::test]
async fn a_miss_at_one_url_is_not_final_while_another_fails() {
    let (stub, first) = stub().await;
    stub.add(SUBJECT, 1, 5, "one");
    for urls in [
        [first.as_str(), "http://127.0.0.1:1"],
        ["http://127.0.0.1:1", &first],
    ] {
        let registry = client(&urls);
        let answer = writer(&registry, 6).await;
        assert!(
            matches!(answer, Err(LookupError::Unavailable { .. })),
            "{answer:?}"
        );
        assert_eq!(writer(&registry, 5).await.as_deref(), Ok("one"));
    }
}

#[tokio::test]
async fn a_miss_is_final_for_a_worker_only_after_several_rounds() {
    let (stub, url) = stub().await;
    stub.add(SUBJECT, 1, 5, "one");
    let registry = confirming(&[&url], Confirmation::short(LITTLE));
    assert!(writer(&registry, 5).await.is_ok());
    stub.calls();
    let began = Instant::now();
    assert_eq!(writer(&registry, 6).await, Err(LookupError::NotFound));
    assert!(began.elapsed() >= LITTLE, "{:?}", began.elapsed());
    assert!(stub.calls() >= 3 * 2, "a list and a version a round");
    // Meanwhile the same id costs one round, as for another lane or the next record.
    assert_eq!(writer(&registry, 6).await, Err(LookupError::NotFound));
    assert_eq!(stub.calls(), 2);
}

#[tokio::test]
async fn a_schema_that_appears_during_the_confirmation_is_found() {
    let (stub, url) = stub().await;
    let registry = Arc::new(confirming(&[&url], Confirmation::WORKER));
    let waiting = tokio::spawn({
        let registry = Arc::clone(&registry);
        async move { writer(&registry, 6).await }
    });
    while stub.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stub.add(SUBJECT, 1, 6, "late");
    let found = waiting.await.expect("it does not panic");
    assert_eq!(found.as_deref(), Ok("late"));
}

#[tokio::test]
async fn a_fault_during_the_confirmation_is_a_fault() {
    let (stub, url) = stub().await;
    stub.add(SUBJECT, 1, 5, "one");
    let registry = Arc::new(confirming(&[&url], Confirmation::short(LITTLE)));
    let waiting = tokio::spawn({
        let registry = Arc::clone(&registry);
        async move { writer(&registry, 6).await }
    });
    while stub.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stub.fail(Some(Fault::Status(503, "")));
    let answer = waiting.await.expect("it does not panic");
    assert!(
        matches!(answer, Err(LookupError::Unavailable { .. })),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_missing_subject_of_our_own_is_a_fault() {
    let (stub, url) = stub().await;
    stub.add(SUBJECT, 1, 5, "one");
    let registry = client(&[&url]);
    assert_eq!(registry.lookup(SUBJECT, "one").await, Ok(5));
    assert_eq!(writer(&registry, 6).await, Err(LookupError::NotFound));

    stub.versions.lock().expect("no test panics here").clear();
    stub.add(SUBJECT, 1, 4, "older");
    let answer = writer(&registry, 6).await;
    let Err(LookupError::Unavailable { reason }) = answer else {
        panic!("a list without our own schema is an old one: {answer:?}");
    };
    assert!(reason.contains("our own schema 5"), "{reason}");
    assert_eq!(
        writer(&registry, 4).await.as_deref(),
        Ok("older"),
        "what it has is confirmed"
    );

    let gone = client(&[&url]);
    assert_eq!(gone.lookup(SUBJECT, "older").await, Ok(4));
    stub.versions.lock().expect("no test panics here").clear();
    let answer = writer(&gone, 6).await;
    assert!(
        matches!(answer, Err(LookupError::Unavailable { .. })),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_subject_recreated_with_the_same_version_numbers_is_read_again() {
    let (stub, url) = stub().await;
    stub.add(SUBJECT, 1, 5, "one");
    stub.add(SUBJECT, 2, 6, "two");
    let registry = client(&[&url]);
    assert_eq!(writer(&registry, 6).await.as_deref(), Ok("two"));
    stub.versions.lock().expect("no test panics here").clear();
    for (version, id) in [(1, 7), (2, 8), (3, 9)] {
        stub.add(SUBJECT, version, id, "new");
    }
    for id in [9, 7, 8] {
        assert_eq!(writer(&registry, id).await.as_deref(), Ok("new"), "{id}");
    }
}

#[tokio::test]
async fn a_failing_registry_is_asked_at_a_falling_rate_however_many_lanes_wait() {
    let (stub, url) = stub().await;
    stub.fail(Some(Fault::Status(503, "")));
    let registry = client(&[&url]);
    let began = Instant::now();
    let lane = async || {
        for _ in 0..40 {
            assert!(writer(&registry, 5).await.is_err());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    join_all((0..16).map(|_| lane())).await;
    // A call now, one half a second later, then ever more seldom.
    let halves = began.elapsed().as_millis() / 500;
    let most = 1 + halves.next_power_of_two().ilog2() + 1;
    let calls = stub.calls();
    assert!(calls <= most as usize, "{calls} calls, {most} at most");
}

fn a_record(id: u32) -> crate::record::Record {
    let value = written(MATCH_FOUND, match_value(&a_match()));
    record("match-found", framed(id, &value))
}

async fn decoded(codec: &Codec, id: u32) -> Result<Decoded, Poison> {
    let record = a_record(id);
    let prepared = codec.prepare(std::slice::from_ref(&record)).await;
    prepared.expect("the registry answers");
    codec.decode(&record)
}

fn codec(urls: &[&str]) -> Codec {
    let registry = confirming(urls, Confirmation::short(LITTLE));
    Codec::new(TopicNames::default(), IDS, Arc::new(registry))
}

#[tokio::test]
async fn a_text_that_is_not_a_schema_is_fetched_again() {
    for damaged in [
        "<html>",
        "",
        "{\"type\":\"rec",
        r#"{"type":"record"}"#,
        "null",
    ] {
        let (stub, url) = stub().await;
        stub.add(SUBJECT, 1, 5, damaged);
        let codec = codec(&[&url]);
        let record = a_record(5);
        let mut prepared = Box::pin(codec.prepare(std::slice::from_ref(&record)));
        while stub.calls() < 2 {
            let soon = tokio::time::timeout(Duration::from_millis(10), &mut prepared).await;
            assert!(soon.is_err(), "{damaged}: it is not confirmed at once");
        }
        stub.add(SUBJECT, 1, 5, MATCH_FOUND);
        prepared.await.expect("the registry answers");
        assert!(codec.decode(&record).is_ok(), "{damaged}");
    }
}

#[tokio::test]
async fn a_text_that_is_never_a_schema_is_a_dead_letter_until_it_is_fixed() {
    let (stub, url) = stub().await;
    stub.add(SUBJECT, 1, 5, r#"syntax = "proto3";"#);
    let codec = codec(&[&url]);
    let refused = decoded(&codec, 5).await;
    assert!(
        matches!(refused, Err(Poison::Undecodable { .. })),
        "{refused:?}"
    );
    stub.add(SUBJECT, 1, 5, MATCH_FOUND);
    assert!(decoded(&codec, 5).await.is_ok());
}

#[tokio::test]
async fn a_schema_that_does_not_resolve_is_a_dead_letter_if_every_url_serves_it() {
    let other = r#"{"type":"record","name":"Other","fields":[]}"#;
    let (wrong, first) = stub().await;
    let (right, second) = stub().await;
    wrong.add(SUBJECT, 1, 5, other);
    right.add(SUBJECT, 1, 5, other);
    let refused = decoded(&codec(&[&first, &second]), 5).await;
    assert!(
        matches!(refused, Err(Poison::Undecodable { .. })),
        "{refused:?}"
    );

    right.add(SUBJECT, 1, 5, MATCH_FOUND);
    assert!(decoded(&codec(&[&first, &second]), 5).await.is_ok());

    right.add(
        SUBJECT,
        1,
        5,
        r#"{"type":"record","name":"Third","fields":[]}"#,
    );
    let record = a_record(5);
    let codec = codec(&[&first, &second]);
    let unclear = codec.prepare(std::slice::from_ref(&record)).await;
    assert!(
        matches!(unclear, Err(LookupError::Unavailable { .. })),
        "{unclear:?}"
    );
}
