//! Writer schemas that refer to others.

use session_worker::wire::{LookupError, Poison};

use super::proxy::{Behavior, Proxy};
use super::{decoded, decoder, deployment, register};
use crate::services;

const TIER: &str = r#"{"type":"enum","name":"Tier","namespace":"sessions","symbols":["free","premium"],"default":"free"}"#;
const USER: &str = r#"{"type":"record","name":"MatchedUser","namespace":"sessions","fields":[
    {"name":"userId","type":"string"},{"name":"tier","type":"TIER","default":"free"}]}"#;
const MATCH: &str = r#"{"type":"record","name":"MatchFound","namespace":"sessions","fields":[
    {"name":"matchId","type":"string"},
    {"name":"matchedAt","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"targetLanguageCode","type":"string"},
    {"name":"topicId","type":["null","string"],"default":null},
    {"name":"topicTitle","type":["null","string"],"default":null},
    {"name":"participants","type":{"type":"array","items":"USER"}},
    {"name":"minParticipants","type":"int","default":2},
    {"name":"maxParticipants","type":"int","default":6},
    {"name":"sessionId","type":["null","string"],"default":null}MORE]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn references_of_references_are_resolved_however_they_are_named() {
    let registry = services::registry_url();
    for (tier, user, more) in [
        ("Tier", "MatchedUser", ""),
        ("sessions.Tier", "sessions.MatchedUser", ""),
        // Twice, and in a field that we do not have.
        (
            "Tier",
            "sessions.MatchedUser",
            r#",{"name":"more","type":["null","MatchedUser"],"default":null}"#,
        ),
    ] {
        let deployment = deployment();
        let subject = format!("{}-value", deployment.topic("match-found"));
        let (tiers, users) = (format!("{subject}-tier"), format!("{subject}-user"));
        register(&tiers, TIER, &[]).await;
        let text = USER.replace("TIER", tier);
        register(&users, &text, &[("sessions.Tier", &tiers)]).await;
        let text = MATCH.replace("USER", user).replace("MORE", "");
        let named = [
            ("sessions.MatchedUser", &*users),
            ("sessions.Tier", &*tiers),
        ];
        let id = register(&subject, &text, &named).await;
        let decoder = decoder(&deployment, &[&registry]);
        let ours = decoded(&decoder, &deployment, id).await;
        assert!(matches!(ours, Ok(Ok(_))), "{user}: {ours:?}");
        if more.is_empty() {
            continue;
        }
        let text = MATCH.replace("USER", user).replace("MORE", more);
        let id = register(&subject, &text, &named[..1]).await;
        // Our bytes end before that field does; but its schema resolves.
        let longer = decoded(&decoder, &deployment, id).await;
        let Ok(Err(Poison::Undecodable { reason })) = longer else {
            panic!("{longer:?}");
        };
        assert!(reason.starts_with("Avro: "), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn references_that_cannot_be_followed_are_a_fault() {
    let deployment = deployment();
    let subject = format!("{}-value", deployment.topic("match-found"));
    let users = format!("{subject}-user");
    let text = USER.replace(r#""TIER""#, TIER);
    register(&users, &text, &[]).await;
    let text = MATCH.replace("USER", "MatchedUser").replace("MORE", "");
    let id = register(&subject, &text, &[("sessions.MatchedUser", &users)]).await;
    let proxy = Proxy::new(Behavior::Hiding(format!("subjects/{users}/"))).await;
    let decoder = decoder(&deployment, &[proxy.url()]);
    let fault = decoded(&decoder, &deployment, id).await;
    let Err(LookupError::Unavailable { reason }) = fault else {
        panic!("{fault:?}");
    };
    assert!(reason.contains(&users), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn references_in_a_circle_are_a_fault_that_says_so() {
    let deployment = deployment();
    let subject = format!("{}-value", deployment.topic("match-found"));
    let users = format!("{subject}-user");
    let text = USER.replace(r#""TIER""#, TIER);
    register(&users, &text, &[]).await;
    let text = MATCH.replace("USER", "MatchedUser").replace("MORE", "");
    let id = register(&subject, &text, &[("sessions.MatchedUser", &users)]).await;
    // No registry takes one; so everything refers to the users here, and they to themselves.
    let proxy = Proxy::new(Behavior::Circle(users.clone())).await;
    let decoder = decoder(&deployment, &[proxy.url()]);
    let fault = decoded(&decoder, &deployment, id).await;
    let Err(LookupError::Unavailable { reason }) = fault else {
        panic!("{fault:?}");
    };
    assert!(reason.contains("refers to itself"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn references_without_end_are_a_dead_letter() {
    let deployment = deployment();
    let subject = format!("{}-value", deployment.topic("match-found"));
    let mut before: Option<(String, String)> = None;
    for number in 0..20 {
        let name = format!("Link{number}");
        let inner = before.as_ref().map_or("string", |(name, _)| name);
        let text = format!(
            r#"{{"type":"record","name":"{name}","fields":[{{"name":"inner","type":"{inner}"}}]}}"#
        );
        let link = format!("{subject}-{number}");
        let references = before.iter().map(|(name, subject)| (&**name, &**subject));
        register(&link, &text, &references.collect::<Vec<_>>()).await;
        before = Some((name, link));
    }
    let (name, link) = before.expect("there are links");
    let text = format!(
        r#"{{"type":"record","name":"MatchFound","fields":[{{"name":"more","type":"{name}"}}]}}"#
    );
    let id = register(&subject, &text, &[(&name, &link)]).await;
    let registry = services::registry_url();
    let decoder = decoder(&deployment, &[&registry]);
    let poison = decoded(&decoder, &deployment, id).await;
    assert!(
        matches!(poison, Ok(Err(Poison::Undecodable { .. }))),
        "{poison:?}"
    );
}
