//! Records that can never succeed (contract 1, Dead letters): as they came, with why, and in nobody's
//! way.

use serde_json::json;

use super::client::{Client, command, unique};
use super::deployment::{Deployment, Parts};
use crate::services;

#[tokio::test(flavor = "multi_thread")]
async fn contract_1_what_can_never_succeed_becomes_a_dead_letter_with_its_reason() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let client = Client::new(&deployment);
    let worker = deployment.worker(&[]).await;
    let mut unknown = vec![0];
    unknown.extend(2_000_000_000_u32.to_be_bytes());
    unknown.push(1);
    let admit = command(
        "u1",
        "AdmitMatch",
        &json!({"matchId": "m", "matchedAt": 1, "targetLanguageCode": "fr", "participants": []}),
    );
    let large = format!("{{\"commandId\":\"{}\"}}", "x".repeat(70_000));
    let cases: [(&str, Vec<u8>); 5] = [
        ("undecodable", b"\xff\xfe".to_vec()),
        ("undecodable", b"{\"not\": \"a command\"}".to_vec()),
        ("unknown_schema", unknown),
        ("too_large", large.into_bytes()),
        ("forbidden", admit.to_string().into_bytes()),
    ];
    for (reason, value) in &cases {
        let key = unique(reason);
        // The second is forged, and counts as absent.
        let headers = [("mine", "kept"), ("sw-forward", "nowhere/0/0/1")];
        client.write("session-command", &key, value, &headers).await;
        let letter = client.dead_letter(&key).await;
        assert_eq!(letter.header("dlq-reason"), Some(*reason));
        assert_eq!(&letter.value, value, "{reason}");
        assert_eq!(letter.header("mine"), Some("kept"), "{reason}");
        let topic = deployment.topic("session-command");
        assert_eq!(letter.header("dlq-topic"), Some(&*topic));
        assert_eq!(letter.header("kafka_dlt-original-topic"), Some(&*topic));
        for name in [
            "dlq-message",
            "dlq-partition",
            "dlq-offset",
            "dlq-timestamp",
            "dlq-group",
            "dlq-failed-at",
        ] {
            assert_ne!(letter.header(name).unwrap_or(""), "", "{reason}: {name}");
        }
        let partition: i32 = letter
            .header("dlq-partition")
            .and_then(|text| text.parse().ok())
            .expect("a number");
        assert_eq!(
            letter.headers["kafka_dlt-original-partition"],
            partition.to_be_bytes()
        );
        assert_eq!(letter.headers["kafka_dlt-original-offset"].len(), 8);
        assert_eq!(letter.headers["kafka_dlt-original-timestamp"].len(), 8);
        let schema = letter.header("dlq-schema-id");
        let expected = (*reason == "unknown_schema").then_some("2000000000");
        assert_eq!(schema, expected, "{reason}");
    }
    assert_eq!(client.dead_letters(), cases.len());
    // No lane is stopped.
    for _ in 0..16 {
        client.private(&unique("user"), 4).await;
    }
    worker.stop().await;
}
