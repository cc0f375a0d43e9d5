//! `probe` asks a real worker, as the image's health check does.

use super::deployment::{Deployment, Parts};
use crate::services;

#[tokio::test(flavor = "multi_thread")]
async fn probe_ends_with_0_while_the_worker_is_well_and_with_1_once_it_is_gone() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let worker = deployment.worker(&[]).await;
    let listen = format!("http.listen={}", worker.address());
    for target in ["--ready", "--live"] {
        let ended = deployment.run(&["probe", target], &[&listen]).await;
        assert_eq!(ended.code, Some(0), "{target}: {}", ended.text);
    }
    worker.kill().await;
    let ended = deployment.run(&["probe", "--live"], &[&listen]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(ended.text.contains("start the worker"), "{}", ended.text);
}
