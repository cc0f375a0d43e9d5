//! What is wrong is named, with its cure, by `check` and by `run`.

use dev::WORKER;

use super::brokers::Provider;
use super::{at, borrowed, database_user, deployment, parts, sasl, uri};
use crate::worker::deployment::{Deployment, PATIENCE};

/// Runs `check` and returns what it says of one thing.
async fn said(deployment: &Deployment, about: &str, settings: &[String]) -> String {
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let check = deployment.run(&["check"], &settings).await;
    assert_eq!(check.code, Some(1), "{}", check.text);
    let faults = check
        .text
        .lines()
        .filter(|line| line.starts_with("fault") && line.split_whitespace().nth(1) == Some(about));
    let faults = faults.collect::<Vec<_>>().join("\n");
    assert!(!faults.is_empty(), "{}", check.text);
    faults
}

/// What is missing of `words`, for a list of all that is.
fn lacking(what: &str, text: &str, words: &[&str]) -> Vec<String> {
    let missing = words.iter().filter(|word| !text.contains(**word));
    missing
        .map(|word| format!("{what}: `{word}` is missing: {text}"))
        .collect()
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_way_to_the_brokers_is_named() {
    let (deployment, parts) = (deployment().await, parts().await);
    let (secrets, listeners) = (parts.secrets(), parts.listeners());
    let password = secrets.password(WORKER);
    let scram = |password: &str, ca: &str| {
        let mut properties = sasl("SASL_SSL", "SCRAM-SHA-512", password);
        properties.push(("ssl.ca.pem", ca.to_owned()));
        properties
    };
    let right = scram(&password, &secrets.authority);
    let provider = Provider::start(std::time::Duration::from_secs(60)).await;
    let mut wrong_client = provider.properties("wrong");
    wrong_client.push(("security.protocol", "SASL_PLAINTEXT".to_owned()));
    let impostor = vec![
        ("security.protocol", "SSL".to_owned()),
        ("ssl.ca.pem", secrets.authority.clone()),
        ("ssl.certificate.pem", secrets.impostor.certificate.clone()),
        ("ssl.key.pem", secrets.impostor.key.clone()),
    ];
    let cases = [
        (
            "a wrong password",
            &listeners.sasl_ssl,
            scram("canary-wrong", &secrets.authority),
            &["refuse the credentials", "sasl.password"][..],
        ),
        (
            "a wrong client secret",
            &listeners.sasl_plaintext,
            wrong_client,
            &["refuse the credentials", "sasl.oauthbearer"],
        ),
        (
            "a client certificate of a foreign authority",
            &listeners.ssl,
            impostor,
            &["as the settings expect", "client certificate"],
        ),
        (
            "no client certificate where one is asked for",
            &listeners.ssl,
            vec![
                ("security.protocol", "SSL".to_owned()),
                ("ssl.ca.pem", secrets.authority.clone()),
            ],
            &["as the settings expect", "client certificate"],
        ),
        (
            "a foreign authority",
            &listeners.sasl_ssl,
            scram(&password, &secrets.foreign_authority),
            &["certificate verify failed", "ssl.ca.location"],
        ),
        (
            "another host's certificate",
            &listeners.misnamed,
            right.clone(),
            &["not of the host's name", "kafka.brokers"],
        ),
        (
            "TLS to a plain port",
            &listeners.sasl_plaintext,
            right.clone(),
            &["as the settings expect", "security.protocol"],
        ),
        (
            "no TLS to a port with it",
            &listeners.sasl_ssl,
            sasl("SASL_PLAINTEXT", "SCRAM-SHA-512", &password),
            &["as the settings expect", "security.protocol"],
        ),
        (
            "an advertised listener where nothing answers",
            &listeners.astray,
            vec![("security.protocol", "PLAINTEXT".to_owned())],
            &["advertised", "127.0.0.1:1", "advertised.listeners"],
        ),
    ];
    // Some take as long as a broker may take to start, so they are asked for at once.
    let cases = cases.map(async |(what, listener, properties, words)| {
        let text = said(
            &deployment,
            "brokers",
            &at(listener, &borrowed(&properties)),
        )
        .await;
        assert!(!text.contains("canary"), "{what}: {text}");
        lacking(what, &text, words)
    });
    none(&futures::future::join_all(cases).await.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_that_cannot_work_are_settings_faults() {
    let deployment = deployment().await;
    for (settings, words) in [
        (
            &["kafka.properties.sasl.mechanisms=GSSAPI"][..],
            &["sasl.mechanisms", "Kerberos", "SCRAM-SHA-512"][..],
        ),
        (
            &["kafka.properties.security.protocol=SASL_SSL"],
            &["security.protocol", "sasl.mechanisms"],
        ),
        (
            &["kafka.properties.isolation.level=read_uncommitted"],
            &["isolation.level", "the worker's own"],
        ),
    ] {
        let check = deployment.run(&["check"], settings).await;
        assert_eq!(check.code, Some(2), "{settings:?}: {}", check.text);
        none(&lacking(settings[0], &check.text, words));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_way_to_the_database_is_named() {
    let (deployment, parts) = (deployment().await, parts().await);
    let user = format!("words-{}", deployment.name);
    let right = database_user(&deployment, &user).await;
    let (_, rest) = right.split_once('@').expect("credentials");
    let foreign = super::file("foreign.pem", &parts.secrets().foreign_authority);
    let (plain, _) = rest.split_once("&tls=").expect("TLS");
    let password = parts.secrets().password(&user);
    let mut faults = Vec::new();
    for (what, uri, words) in [
        (
            "no authSource",
            right.clone(),
            &["Authentication failed", "add authSource="][..],
        ),
        (
            "a wrong password",
            uri(&format!("{user}:canary-wrong@"), "&authSource=app"),
            &["Authentication failed", "correct user and password"],
        ),
        (
            "no TLS to a port with it",
            format!("mongodb://{user}:{password}@{plain}&authSource=app"),
            &["expects TLS", "tls=true"],
        ),
        (
            "a foreign authority",
            format!(
                "mongodb://{user}:{password}@{plain}&authSource=app&tls=true&tlsCAFile={}",
                foreign.display()
            ),
            &["UnknownIssuer", "tlsCAFile"],
        ),
        (
            "another host's name",
            right.replace("127.0.0.1", "localhost") + "&authSource=app",
            &["not valid for name", "localhost"],
        ),
    ] {
        let text = said(&deployment, "mongodb", &[format!("mongo.uri={uri}")]).await;
        faults.extend(lacking(what, &text, words));
        assert!(
            !text.contains("canary") && !text.contains(&password),
            "{text}"
        );
    }
    none(&faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_wrong_password_says_so() {
    let (deployment, parts) = (deployment().await, parts().await);
    let properties = sasl("SASL_PLAINTEXT", "SCRAM-SHA-512", "canary-wrong");
    let settings = at(&parts.listeners().sasl_plaintext, &borrowed(&properties));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let command = deployment.command(&["run", "--set", "http.listen=127.0.0.1:0"], &settings);
    let process = crate::worker::deployment::Process::spawn(command);
    let began = std::time::Instant::now();
    while !process.output().contains("refuse the credentials") {
        assert!(began.elapsed() < PATIENCE, "{}", process.output());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!process.output().contains("canary"), "{}", process.output());
}
