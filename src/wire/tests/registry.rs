//! The registry's client against a stub that fails on demand.

use std::time::{Duration, Instant};

use serde_json::json;

use super::stub::{Fault, client, connection, healed, stub, writer};
use crate::record::TopicNames;
use crate::wire::registry::{Confirmation, ConnectionError, RegistryError};
use crate::wire::*;

#[tokio::test]
async fn an_id_is_found_under_its_own_subject_only() {
    let (stub, url) = stub().await;
    stub.add("match-found-value", 1, 5, "one");
    stub.add("match-found-value", 3, 9, "two");
    stub.add("session-command-value", 1, 6, "three");
    let registry = client(&[&url]);
    assert_eq!(writer(&registry, 5).await.as_deref(), Ok("one"));
    assert_eq!(stub.calls(), 3, "one list, two versions");
    assert_eq!(writer(&registry, 9).await.as_deref(), Ok("two"));
    assert_eq!(stub.calls(), 0);
    assert_eq!(writer(&registry, 6).await, Err(LookupError::NotFound));
    assert_eq!(
        writer(&registry, u32::MAX).await,
        Err(LookupError::NotFound)
    );
    let elsewhere = SchemaSource::writer_schema(&registry, "nowhere-value", 5).await;
    assert_eq!(elsewhere, Err(LookupError::NotFound));
}

#[tokio::test]
async fn a_schema_registered_a_moment_ago_is_found() {
    let (stub, url) = stub().await;
    let registry = client(&[&url]);
    assert_eq!(writer(&registry, 5).await, Err(LookupError::NotFound));
    stub.add("match-found-value", 1, 5, "one");
    assert_eq!(writer(&registry, 5).await.as_deref(), Ok("one"));
    stub.add("match-found-value", 2, 6, "two");
    assert_eq!(writer(&registry, 6).await.as_deref(), Ok("two"));
}

#[tokio::test]
async fn a_thousand_unknown_ids_at_once_cost_a_call_or_two() {
    let (stub, url) = stub().await;
    stub.add("match-found-value", 1, 5, "one");
    let registry = client(&[&url]);
    assert!(writer(&registry, 5).await.is_ok());
    stub.calls();
    let asked = futures::future::join_all((1000..2000).map(|id| writer(&registry, id))).await;
    assert!(
        asked
            .iter()
            .all(|answer| *answer == Err(LookupError::NotFound))
    );
    let calls = stub.calls();
    assert!(calls <= 3, "{calls} calls");
}

#[tokio::test]
async fn whatever_is_not_a_clear_no_is_unavailable_and_forgotten_once_it_is_over() {
    let not_found = r#"{"error_code":40401,"message":"Subject not found"}"#;
    let faults = [
        Fault::Status(500, ""),
        Fault::Status(500, r#"{"error_code":50001,"message":"store"}"#),
        Fault::Status(500, not_found),
        Fault::Status(502, "<html>"),
        Fault::Status(503, ""),
        Fault::Status(504, ""),
        Fault::Status(429, r#"{"error_code":42901,"message":"slow down"}"#),
        Fault::Status(401, r#"{"error_code":40101,"message":"who are you"}"#),
        Fault::Status(403, r#"{"error_code":40301,"message":"you may not"}"#),
        Fault::Status(404, ""),
        Fault::Status(404, "<html>no such page</html>"),
        Fault::Status(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#),
        Fault::Status(
            404,
            r#"{"error_code":0,"message":"Could not find resource"}"#,
        ),
        Fault::Status(200, "<html>log in</html>"),
        Fault::Status(200, r#"{"versions":[]}"#),
        Fault::Status(200, ""),
        Fault::HalfAnAnswer,
    ];
    let checked = faults.map(|fault| async move {
        let (stub, url) = stub().await;
        stub.add("match-found-value", 1, 5, "one");
        let registry = client(&[&url]);
        stub.fail(Some(fault));
        for id in [5, 6] {
            let answer = writer(&registry, id).await;
            assert!(
                matches!(answer, Err(LookupError::Unavailable { .. })),
                "{fault:?}: {answer:?}"
            );
        }
        let lookup = registry.lookup("match-found-value", "one").await;
        assert!(
            matches!(lookup, Err(LookupError::Unavailable { .. })),
            "{fault:?}: {lookup:?}"
        );
        stub.fail(None);
        assert_eq!(healed(&registry, 5).await, "one", "{fault:?}");
        assert_eq!(
            writer(&registry, 6).await,
            Err(LookupError::NotFound),
            "{fault:?}"
        );
        assert_eq!(
            registry.lookup("match-found-value", "one").await,
            Ok(5),
            "{fault:?}"
        );
    });
    futures::future::join_all(checked).await;
}

#[tokio::test]
async fn a_silent_registry_is_unavailable_after_2_s_for_all_who_wait() {
    let (stub, url) = stub().await;
    stub.add("match-found-value", 1, 5, "one");
    stub.fail(Some(Fault::Silence));
    let registry = client(&[&url]);
    let start = Instant::now();
    let asked = futures::future::join_all((0..50).map(|_| writer(&registry, 5))).await;
    assert!(
        asked
            .iter()
            .all(|answer| matches!(answer, Err(LookupError::Unavailable { .. })))
    );
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    stub.fail(None);
    assert_eq!(healed(&registry, 5).await, "one");
}

#[tokio::test]
async fn the_next_url_answers_for_one_that_fails() {
    let (broken, first) = stub().await;
    let (stub, second) = stub().await;
    broken.fail(Some(Fault::Status(503, "")));
    stub.add("match-found-value", 1, 5, "one");
    let unreachable = "http://127.0.0.1:1";
    let registry = client(&[unreachable, &first, &format!("{second}/")]);
    assert_eq!(writer(&registry, 5).await.as_deref(), Ok("one"));
    assert_eq!(registry.lookup("match-found-value", "one").await, Ok(5));
    let registry = client(&[unreachable, &first]);
    let answer = writer(&registry, 5).await;
    assert!(
        matches!(answer, Err(LookupError::Unavailable { .. })),
        "{answer:?}"
    );
}

#[test]
fn a_url_that_is_none_is_refused() {
    for urls in [
        &[][..],
        &[""],
        &["127.0.0.1:8081"],
        &["ftp://host"],
        &["http://"],
        &["http://someone:pass/word@host"],
        &["http://someone:8081/word@host"],
        &["http://someone:pass#word@host"],
        &["http://someone:pass?word@host"],
        &["http://host/?key=1"],
        &["http://a:8081,b:8081"],
        &["http://a:8081/api,b:8081/api"],
    ] {
        let made = Registry::new(&connection(urls), Confirmation::INTERACTIVE);
        let unusable = matches!(
            made,
            Err(RegistryError::Connection(
                ConnectionError::Url | ConnectionError::NoUrl
            ))
        );
        assert!(unusable, "{urls:?}");
    }
}

#[tokio::test]
async fn a_fault_never_shows_the_urls_credentials() {
    let registry = client(&["http://someone:HUSH@127.0.0.1:1"]);
    let subjects = subjects(&TopicNames::default());
    for said in [
        format!("{:?}", writer(&registry, 5).await),
        format!("{:?}", registry.lookup("match-found-value", "one").await),
        format!("{:?}", registry.check_all(&subjects).await),
        format!("{:?}", registry.register_all(&subjects).await),
    ] {
        assert!(
            said.contains("Unavailable") && !said.contains("HUSH"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn registering_all_registers_the_raw_texts_under_their_levels_and_may_be_repeated() {
    let (stub, url) = stub().await;
    let registry = client(&[&url]);
    let subjects = subjects(&TopicNames::default());
    let checks = registry.check_all(&subjects).await.expect("it answers");
    assert!(
        checks
            .iter()
            .all(|check| check.id.is_none() && !check.is_settled())
    );
    assert_eq!(
        registry.output_ids(&subjects).await,
        Err(LookupError::NotFound)
    );

    let first = registry
        .register_all(&subjects)
        .await
        .expect("it registers");
    let texts: Vec<_> = {
        let versions = stub.versions.lock().expect("no test panics here");
        versions
            .iter()
            .map(|((name, _), (_, text))| (name.clone(), text.clone()))
            .collect()
    };
    for subject in &subjects {
        assert!(texts.contains(&(subject.name.clone(), subject.text.to_owned())));
    }
    let checks = registry.check_all(&subjects).await.expect("it answers");
    assert!(
        checks.iter().all(registry::SubjectCheck::is_settled),
        "{checks:?}"
    );
    let ids = registry
        .output_ids(&subjects)
        .await
        .expect("they are registered");
    assert_eq!(
        (ids.command, ids.event, ids.result),
        (first[1].id, first[2].id, first[3].id)
    );
}

#[tokio::test]
async fn an_incompatible_schema_is_refused_with_the_registrys_reasons() {
    let (stub, url) = stub().await;
    let registry = client(&[&url]);
    let confluent = json!({ "is_compatible": false, "messages": ["{a}", "{b}"] });
    let apicurio = json!({ "is_compatible": false, "reason": "why" });
    let bare = json!({ "is_compatible": false });
    for (verdict, expected) in [
        (confluent, &["{a}", "{b}"][..]),
        (apicurio, &["why"]),
        (bare, &["the registry gives no reason"]),
    ] {
        *stub.verdict.lock().expect("no test panics here") = Some(verdict);
        let reasons = registry
            .compatibility("session-event-value", SESSION_EVENT)
            .await;
        assert_eq!(reasons.expect("it answers"), expected);
        let registered = registry
            .register("session-event-value", SESSION_EVENT)
            .await;
        assert_eq!(
            registered,
            Err(RegistryError::Refused {
                reason: "incompatible".to_owned()
            })
        );
    }
    let registered = registry.register("session-event-value", "nonsense").await;
    assert_eq!(
        registered,
        Err(RegistryError::Refused {
            reason: "no schema".to_owned()
        })
    );
}
