//! URLs that lag, fail or answer wrongly: a miss is final only if every URL reports it for some
//! seconds, and no URL hides another.

use serde_json::json;
use session_worker::wire::{LookupError, Poison};

use super::proxy::{Behavior, Proxy};
use super::{decoded, decoder, deployment, register};
use crate::services;
use crate::worker::client::{Client, avro_match, found, text};
use crate::worker::deployment::{Deployment, Parts};

const MATCH_FOUND: &str = include_str!("../../../schemas/match-found-value.avsc");
const OLDER: &str = r#"{"type":"record","name":"MatchFound","namespace":"sessions","fields":[{"name":"matchId","type":"string"}]}"#;

/// Every way to be wrong about a schema that is there.
fn wrong() -> Vec<Behavior> {
    vec![
        Behavior::Empty,
        Behavior::Old(1),
        Behavior::Cut,
        Behavior::Forbidden,
        Behavior::Authorization("another".to_owned()),
        Behavior::Text("<html>"),
        Behavior::Text(r#"{"type":"record","name":"Other","fields":[]}"#),
        Behavior::Answer(200, "<html>log in</html>"),
        Behavior::Answer(200, ""),
        Behavior::Answer(404, "<html>no such page</html>"),
        Behavior::Answer(404, r#"{"error_code":40403,"message":"Schema not found"}"#),
        Behavior::Answer(500, r#"{"error_code":40401,"message":"not found"}"#),
        Behavior::Answer(502, "<html>"),
        Behavior::Answer(503, ""),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_is_wrong_never_hides_one_that_is_right() {
    let deployment = deployment();
    let subject = format!("{}-value", deployment.topic("match-found"));
    register(&subject, OLDER, &[]).await;
    let id = register(&subject, MATCH_FOUND, &[]).await;
    let right = services::registry_url();
    let tried = wrong().into_iter().map(async |behavior| {
        let proxy = Proxy::new(behavior.clone()).await;
        for urls in [[proxy.url(), &right], [&right, proxy.url()]] {
            let decoder = decoder(&deployment, &urls);
            let decoded = decoded(&decoder, &deployment, id).await;
            assert!(matches!(decoded, Ok(Ok(_))), "{behavior:?}: {decoded:?}");
        }
    });
    futures::future::join_all(tried).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_is_wrong_for_a_while_makes_no_dead_letter() {
    let deployment = deployment();
    let subject = format!("{}-value", deployment.topic("match-found"));
    register(&subject, OLDER, &[]).await;
    let id = register(&subject, MATCH_FOUND, &[]).await;
    let tried = wrong().into_iter().map(async |behavior| {
        let proxy = Proxy::new(behavior.clone()).await;
        let decoder = decoder(&deployment, &[proxy.url()]);
        let heal = async {
            while proxy.requests() == 0 {
                tokio::task::yield_now().await;
            }
            proxy.set(Behavior::Open);
        };
        let read = async {
            loop {
                match decoded(&decoder, &deployment, id).await {
                    Ok(decoded) => return decoded,
                    Err(LookupError::NotFound) => panic!("{behavior:?}"),
                    Err(LookupError::Unavailable { .. }) => tokio::task::yield_now().await,
                }
            }
        };
        let ((), decoded) = tokio::join!(heal, read);
        assert!(decoded.is_ok(), "{behavior:?}: {decoded:?}");
    });
    futures::future::join_all(tried).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_no_url_has_is_a_dead_letter_after_all() {
    let deployment = deployment();
    let subject = format!("{}-value", deployment.topic("match-found"));
    register(&subject, MATCH_FOUND, &[]).await;
    let registry = services::registry_url();
    let decoder = decoder(&deployment, &[&registry, &registry]);
    let foreign = register(&format!("{subject}-other"), OLDER, &[]).await;
    for id in [foreign, u32::MAX] {
        let decoded = decoded(&decoder, &deployment, id).await;
        assert_eq!(decoded, Ok(Err(Poison::UnknownSchema { id })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn matches_go_through_while_the_first_url_knows_no_subject() {
    let _undisturbed = services::undisturbed().await;
    let prepared = Deployment::prepared(Parts::shared(), &[]).await;
    let id = crate::worker::client::schema_id(&prepared, "match-found").await;
    let proxy = Proxy::new(Behavior::Empty).await;
    let urls = format!("{},{}", proxy.url(), services::registry_url());
    let deployment = super::behind(&prepared, &urls);
    let client = Client::new(&prepared);
    let worker = deployment.worker(&[]).await;
    let users = ["ann", "bob"].map(crate::worker::client::unique);
    let mut found = found(&[&users[0], &users[1]]);
    for (name, value) in [("minParticipants", 2), ("maxParticipants", 6)] {
        found[name] = json!(value);
    }
    for name in ["topicId", "topicTitle", "sessionId"] {
        found[name] = json!(null);
    }
    for user in found["participants"].as_array_mut().expect("a list") {
        user["tier"] = json!("free");
    }
    let key = text(&found["matchId"]);
    client
        .write("match-found", &key, &avro_match(id, &found), &[])
        .await;
    let result = client.result(&key).await;
    assert_eq!(result["outcome"], "accepted", "{result}");
    assert_eq!(client.dead_letters(), 0);
    worker.stop().await;
}
