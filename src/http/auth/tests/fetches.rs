//! Mode `jwt` with published keys: when they are fetched, and how long they are believed.

use std::sync::Arc;

use serde_json::json;

use super::forge::encoded;
use super::identity::{Answer, Identity, PATIENCE};
use super::scene::{
    A_MOMENT, ED25519, Log, P256, UNKNOWN, answered, believing, good, known, pace, pass, refused,
    settled,
};
use super::{Told, ask_with};

#[tokio::test]
async fn many_callers_wait_for_one_fetch_which_a_hang_up_does_not_end() {
    let identity = Identity::new(Answer::keys(&[P256.jwk("a", json!({}))])).await;
    let authenticator = believing(&identity.url());
    identity.hold();
    let mut callers: Vec<_> = (0..50)
        .map(|_| {
            let authenticator = Arc::clone(&authenticator);
            let bearer = good(&P256, "a");
            tokio::spawn(async move { ask_with(&authenticator, &bearer).await })
        })
        .collect();
    identity.asked_often(1).await;
    // The first one began the fetch.
    callers.remove(0).abort();
    identity.go_on();
    for caller in callers {
        assert_eq!(caller.await.expect("no panic"), known());
    }
    assert_eq!(identity.asked(), 1);
}

#[tokio::test]
async fn a_new_key_works_at_once_and_an_old_one_until_the_next_refresh() {
    let (old, new) = (P256.jwk("old", json!({})), ED25519.jwk("new", json!({})));
    let identity = Identity::new(Answer::keys(std::slice::from_ref(&old))).await;
    let authenticator = believing(&identity.url());
    assert_eq!(ask_with(&authenticator, &good(&P256, "old")).await, known());

    pass(&authenticator, pace().apart).await;
    identity.answers(Answer::keys(&[old, new.clone()]));
    assert_eq!(
        ask_with(&authenticator, &good(&ED25519, "new")).await,
        known()
    );
    assert_eq!(ask_with(&authenticator, &good(&P256, "old")).await, known());
    assert_eq!(identity.asked(), 2);

    // The old one is taken back, but the set is fresh.
    identity.answers(Answer::keys(std::slice::from_ref(&new)));
    pass(&authenticator, pace().fresh - A_MOMENT).await;
    assert_eq!(ask_with(&authenticator, &good(&P256, "old")).await, known());
    assert_eq!(identity.asked(), 2);

    // It is not any more: nobody waits, and the next ones see the new set.
    pass(&authenticator, 2 * A_MOMENT).await;
    identity.hold();
    assert_eq!(ask_with(&authenticator, &good(&P256, "old")).await, known());
    assert_eq!(ask_with(&authenticator, &good(&P256, "old")).await, known());
    identity.go_on();
    let gone = refused(UNKNOWN);
    answered(&authenticator, &good(&P256, "old"), &gone).await;
    assert_eq!(
        ask_with(&authenticator, &good(&ED25519, "new")).await,
        known()
    );
    assert_eq!(identity.asked(), 3);
}

#[tokio::test]
async fn a_key_taken_back_does_not_work_once_more_after_a_quiet_time() {
    let identity = Identity::new(Answer::keys(&[P256.jwk("old", json!({}))])).await;
    let authenticator = believing(&identity.url());
    assert_eq!(ask_with(&authenticator, &good(&P256, "old")).await, known());
    identity.answers(Answer::keys(&[ED25519.jwk("new", json!({}))]));
    pass(&authenticator, pace().fresh + pace().behind + A_MOMENT).await;
    assert_eq!(
        ask_with(&authenticator, &good(&P256, "old")).await,
        refused(UNKNOWN)
    );
    assert_eq!(identity.asked(), 2);
}

#[tokio::test]
async fn strangers_tokens_do_not_flood_the_provider() {
    let identity = Identity::new(Answer::keys(&[P256.jwk("a", json!({}))])).await;
    let authenticator = believing(&identity.url());
    for round in 1..=3 {
        for number in 0..50 {
            let bearer = good(&ED25519, &format!("unknown-{number}"));
            assert_eq!(ask_with(&authenticator, &bearer).await, refused(UNKNOWN));
        }
        assert_eq!(identity.asked(), round);
        assert_eq!(ask_with(&authenticator, &good(&P256, "a")).await, known());
        pass(&authenticator, pace().apart).await;
    }
}

/// Answers that are no key set.
fn outages() -> Vec<(&'static str, Answer)> {
    let keys = Answer::keys(&[P256.jwk("a", json!({}))]);
    let many = vec![P256.jwk("a", json!({})); 65];
    let mut padded = json!({"keys": [P256.jwk("a", json!({}))]}).to_string();
    padded.push_str(&" ".repeat(256 << 10));
    vec![
        ("500", keys.clone().status(500)),
        ("404", keys.clone().status(404)),
        ("204", keys.status(204)),
        ("no JSON", Answer::body("<html>sign in</html>")),
        ("cut off", Answer::body(r#"{"keys": [{"kty""#)),
        ("no set", Answer::body("[]")),
        ("no keys", Answer::body(r#"{"key": []}"#)),
        ("keys are no list", Answer::body(r#"{"keys": {}}"#)),
        ("too many keys", Answer::keys(&many)),
        ("too long", Answer::body(padded)),
    ]
}

#[tokio::test]
async fn without_any_set_the_answer_is_503_until_there_is_one() {
    for (name, outage) in outages() {
        let identity = Identity::new(outage).await;
        let authenticator = believing(&identity.url());
        for _ in 0..3 {
            let (told, _) = ask_with(&authenticator, &good(&P256, "a")).await;
            assert_eq!(told, Told::keys_unavailable(), "{name}");
        }
        assert_eq!(identity.asked(), 1, "{name}");
        identity.answers(Answer::keys(&[P256.jwk("a", json!({}))]));
        pass(&authenticator, pace().retry).await;
        assert_eq!(
            ask_with(&authenticator, &good(&P256, "a")).await,
            known(),
            "{name}"
        );
    }
    let gone = Identity::new(Answer::keys(&[])).await.url();
    let authenticator = believing(&gone);
    let (told, _) = ask_with(&authenticator, &good(&P256, "a")).await;
    assert_eq!(told, Told::keys_unavailable());
    // What is no token needs no keys to be refused.
    let (told, _) = ask_with(&authenticator, "Bearer x").await;
    assert_eq!(told, Told::invalid_token());
}

#[tokio::test]
async fn keys_are_taken_from_their_address_and_no_other() {
    let elsewhere = Identity::new(Answer::keys(&[P256.jwk("a", json!({}))])).await;
    for status in [301, 302, 307, 308] {
        let away = Answer::keys(&[P256.jwk("a", json!({}))])
            .status(status)
            .header("location", elsewhere.url());
        let identity = Identity::new(away).await;
        let authenticator = believing(&identity.url());
        let (told, _) = ask_with(&authenticator, &good(&P256, "a")).await;
        assert_eq!(told, Told::keys_unavailable(), "{status}");
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn a_provider_that_never_answers_is_waited_for_but_not_for_ever() {
    let identity = Identity::new(Answer::keys(&[])).await;
    identity.hold();
    let authenticator = believing(&identity.url());
    // Time passes by itself where nothing else happens.
    tokio::time::pause();
    let bearer = good(&P256, "a");
    let answer = tokio::time::timeout(PATIENCE, ask_with(&authenticator, &bearer)).await;
    assert_eq!(answer.expect("it ends").0, Told::keys_unavailable());
}

#[tokio::test]
async fn through_an_outage_the_known_set_works_for_a_day_and_two_lines_tell() {
    const BEGINS: &str = "cannot fetch the keys that tokens are checked with";
    const ENDS: &str = "the keys that tokens are checked with are fetched again";
    for (name, outage) in outages() {
        let log = Log::of_this_thread();
        let right = Answer::keys(&[P256.jwk("a", json!({}))]);
        let identity = Identity::new(right.clone()).await;
        let authenticator = believing(&identity.url());
        let bearer = good(&P256, "a");
        assert_eq!(ask_with(&authenticator, &bearer).await, known(), "{name}");

        identity.answers(outage);
        pass(&authenticator, pace().fresh + pace().behind + A_MOMENT).await;
        assert_eq!(ask_with(&authenticator, &bearer).await, known(), "{name}");
        for asked in 2..5 {
            assert_eq!(identity.asked(), asked, "{name}");
            pass(&authenticator, pace().apart).await;
            // Nobody waits for a provider that is known to fail.
            identity.hold();
            assert_eq!(ask_with(&authenticator, &bearer).await, known(), "{name}");
            identity.go_on();
            settled(&authenticator).await;
        }
        assert_eq!(
            (log.lines(BEGINS), log.lines(ENDS)),
            (1, 0),
            "{}",
            log.text()
        );

        identity.answers(right.clone());
        pass(&authenticator, pace().apart).await;
        assert_eq!(ask_with(&authenticator, &bearer).await, known(), "{name}");
        settled(&authenticator).await;
        assert_eq!(
            (log.lines(BEGINS), log.lines(ENDS)),
            (1, 1),
            "{}",
            log.text()
        );

        // A set is fresh again, and the next outage outlasts it.
        identity.answers(Answer::body("down"));
        pass(&authenticator, pace().kept + A_MOMENT).await;
        let (told, _) = ask_with(&authenticator, &bearer).await;
        assert_eq!(told, Told::keys_unavailable(), "{name}");

        identity.answers(right);
        pass(&authenticator, pace().retry).await;
        assert_eq!(ask_with(&authenticator, &bearer).await, known(), "{name}");
    }
}

#[tokio::test]
async fn a_set_without_keys_refuses_everybody_and_is_told_of_once() {
    const EMPTY: &str = "http.auth.jwksUrl publishes no key that can check a signature";
    let log = Log::of_this_thread();
    for nothing in [
        Answer::keys(&[]),
        Answer::keys(&[json!({"kty": "oct", "k": encoded("x"), "kid": "a"})]),
    ] {
        let before = log.lines(EMPTY);
        let identity = Identity::new(Answer::keys(&[P256.jwk("a", json!({}))])).await;
        let authenticator = believing(&identity.url());
        assert_eq!(ask_with(&authenticator, &good(&P256, "a")).await, known());
        identity.answers(nothing);
        pass(&authenticator, pace().fresh + pace().behind + A_MOMENT).await;
        for _ in 0..3 {
            assert_eq!(
                ask_with(&authenticator, &good(&P256, "a")).await,
                refused(UNKNOWN)
            );
            pass(&authenticator, pace().apart).await;
        }
        assert_eq!(log.lines(EMPTY), before + 1, "{}", log.text());
        identity.answers(Answer::keys(&[P256.jwk("a", json!({}))]));
        assert_eq!(ask_with(&authenticator, &good(&P256, "a")).await, known());
    }
}

#[tokio::test]
async fn the_answer_may_say_how_long_it_is_fresh_within_bounds() {
    let table = [
        (None, pace().fresh),
        (Some("max-age=7200"), 2 * pace().shortest),
        (
            Some("public, MAX-AGE=7200, must-revalidate"),
            2 * pace().shortest,
        ),
        (Some("max-age=1"), pace().shortest),
        (Some("max-age=0"), pace().shortest),
        (Some("no-store"), pace().shortest),
        (Some("no-cache"), pace().shortest),
        (Some("max-age=99999999"), pace().longest),
        (Some("max-age=-1"), pace().fresh),
        (Some("max-age=soon"), pace().fresh),
        (Some("s-maxage=7200"), pace().fresh),
    ];
    for (said, fresh) in table {
        let mut answer = Answer::keys(&[P256.jwk("a", json!({}))]);
        if let Some(said) = said {
            answer = answer.header("cache-control", said);
        }
        let identity = Identity::new(answer).await;
        let authenticator = believing(&identity.url());
        let bearer = good(&P256, "a");
        assert_eq!(ask_with(&authenticator, &bearer).await, known());
        pass(&authenticator, fresh - A_MOMENT).await;
        assert_eq!(ask_with(&authenticator, &bearer).await, known());
        assert_eq!(identity.asked(), 1, "{said:?}");
        pass(&authenticator, 2 * A_MOMENT).await;
        assert_eq!(ask_with(&authenticator, &bearer).await, known());
        identity.asked_often(2).await;
    }
}

#[tokio::test]
async fn the_addresss_password_is_used_and_never_shown() {
    let log = Log::of_this_thread();
    let identity = Identity::new(Answer::keys(&[P256.jwk("a", json!({}))])).await;
    let authenticator = believing(&identity.url_as("worker:hunt%40r2"));
    let bearer = good(&P256, "a");
    assert_eq!(ask_with(&authenticator, &bearer).await, known());
    // worker:hunt@r2
    assert_eq!(
        identity.authorization().as_deref(),
        Some("Basic d29ya2VyOmh1bnRAcjI=")
    );

    let plain = believing(&identity.url());
    assert_eq!(ask_with(&plain, &bearer).await, known());
    assert_eq!(identity.authorization(), None);

    identity.answers(Answer::body("down"));
    pass(&authenticator, pace().fresh + pace().behind + A_MOMENT).await;
    assert_eq!(ask_with(&authenticator, &bearer).await, known());
    let url = identity.url_as("worker:hunt%40r2");
    drop(identity);
    let gone = believing(&url);
    assert_eq!(ask_with(&gone, &bearer).await.0, Told::keys_unavailable());
    let text = log.text();
    let token = bearer.strip_prefix("Bearer ").expect("it begins so");
    assert_eq!(log.lines("cannot fetch"), 2, "{text}");
    for secret in ["hunt", "d29ya2V", token, "amina"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}
