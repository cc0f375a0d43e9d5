//! Registries that ask for credentials: the settings, and the errors if they are wrong.

use base64::Engine as _;

use super::proxy::{Behavior, Proxy};
use super::{behind, deployment};
use crate::worker::deployment::{Deployment, Ended};

fn basic(user: &str, password: &str) -> Behavior {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    Behavior::Authorization(format!("Basic {encoded}"))
}

/// Registers and checks.
async fn works(deployment: &Deployment, settings: &[&str]) {
    for command in ["register", "check"] {
        let ended = deployment.run(&["schemas", command], settings).await;
        assert_eq!(ended.code, Some(0), "{settings:?}: {}", ended.text);
        assert!(!ended.text.contains("canary"), "{}", ended.text);
    }
}

#[track_caller]
fn says(ended: &Ended, words: &[&str], not: &[&str]) {
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    for word in words {
        assert!(ended.text.contains(word), "no {word}: {}", ended.text);
    }
    for word in not {
        assert!(!ended.text.contains(word), "{word}: {}", ended.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password_are_taken_from_settings_files_and_urls() {
    let password = "canary,/?#@:% \u{e9}";
    let proxy = Proxy::new(basic("worker", password)).await;
    let plain = behind(&deployment(), proxy.url());
    let given = format!("registry.password={password}");
    works(&plain, &["registry.username=worker", &given]).await;

    let secret = std::env::temp_dir().join(crate::worker::client::unique("session-worker-secret"));
    std::fs::write(&secret, format!("{password}\n")).expect("the file is written");
    let mut command = plain.command(&["schemas", "check"], &["registry.username=worker"]);
    command.env("SESSION_WORKER__REGISTRY__PASSWORD_FILE", &secret);
    let status = tokio::task::spawn_blocking(move || command.output()).await;
    let output = status.expect("it does not panic").expect("it runs");
    std::fs::remove_file(&secret).expect("the file goes");
    assert!(output.status.success(), "{output:?}");

    let encoded = "worker:canary%2C%2F%3F%23%40%3A%25%20%C3%A9";
    let in_url = behind(&deployment(), &proxy.url_of(encoded));
    works(&in_url, &[]).await;
    // What stands in the URL comes before the settings.
    works(&in_url, &["registry.token=other"]).await;
    let other = behind(&deployment(), proxy.url());
    let wrong = other
        .run(&["schemas", "check"], &["registry.username=worker"])
        .await;
    says(
        &wrong,
        &["401", "refuses our credentials", "registry.password"],
        &["start the registry"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_is_taken() {
    let proxy = Proxy::new(Behavior::Authorization(
        "Bearer canary.to-ken~+/=".to_owned(),
    ))
    .await;
    let deployment = behind(&deployment(), proxy.url());
    works(&deployment, &["registry.token=canary.to-ken~+/="]).await;
    let wrong = deployment
        .run(&["schemas", "check"], &["registry.token=canary-other"])
        .await;
    says(
        &wrong,
        &["401", "refuses our credentials", "registry.token"],
        &["start the registry", "canary"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn causes_are_named_apart() {
    let refuse = "refuses our credentials";
    let anonymous = "asks for credentials";
    let start = "start the registry";
    let base = "base of Confluent's API";
    for (behavior, words, not) in [
        (
            basic("a", "b"),
            vec!["401", anonymous, "registry.username"],
            vec![start, refuse],
        ),
        (Behavior::Forbidden, vec!["403", anonymous], vec![start]),
        (
            Behavior::Answer(401, "<html>"),
            vec!["401", anonymous],
            vec![start],
        ),
        (
            Behavior::Answer(403, ""),
            vec!["403", anonymous],
            vec![start],
        ),
        (Behavior::Answer(200, "<html>"), vec![base], vec![start]),
        (
            Behavior::Answer(404, "nothing here"),
            vec!["404", base],
            vec![start],
        ),
        (
            Behavior::Answer(503, ""),
            vec!["503", "look at the registry"],
            vec![start],
        ),
    ] {
        let proxy = Proxy::new(behavior.clone()).await;
        let deployment = behind(&deployment(), proxy.url());
        for arguments in [["schemas", "check"], ["schemas", "register"]] {
            let ended = deployment.run(&arguments, &[]).await;
            says(&ended, &words, &not);
        }
    }
    let unreachable = behind(&deployment(), "http://127.0.0.1:1");
    let ended = unreachable
        .run(&["schemas", "check"], &["registry.token=t"])
        .await;
    says(&ended, &[start, "registry.urls", "refused"], &[refuse]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_url_that_refuses_us_does_not_hide_another() {
    let strict = Proxy::new(basic("other", "one")).await;
    let open = Proxy::new(basic("worker", "canary")).await;
    let urls = format!("{},{}", strict.url(), open.url());
    let deployment = behind(&deployment(), &urls);
    works(
        &deployment,
        &["registry.username=worker", "registry.password=canary"],
    )
    .await;
}
