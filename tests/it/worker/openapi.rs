//! The HTTP views against their own OpenAPI document: schemathesis asks a real worker, over sessions
//! that are there, what the document allows and what it forbids.

use dev::{Cache, Progress, Schemathesis};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::client::{Client, now, unique};
use super::deployment::{Deployment, Parts, Worker};
use crate::services;

const SECRET: &str = "a-secret-of-tests-that-is-long-enough";
const GATEWAY_SECRET: &str = "a-secret-of-the-gateway";

/// Examples an operation and phase: some thousand requests.
const EXAMPLES: &str = "60";
/// Another one finds other things; a fixed one finds the same ones again.
const SEED: &str = "5";

const HOOKS: &str = include_str!("openapi/hooks.py");

fn token(user: &str, scope: &str) -> String {
    // Longer than a run takes on a busy machine.
    let claims = json!({"sub": user, "scope": scope, "exp": now() / 1000 + 3600});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).expect("a token")
}

/// Sessions of every kind and state, so that answers have something to show.
async fn some_sessions(client: &Client, ann: &str) {
    let [bob, eve] = ["bob", "eve"].map(unique);
    let of = |made: &Value| json!({"sessionId": made["sessionId"]});
    let body = json!({"targetLanguageCode": "fr", "topicId": "t1", "topicTitle": "Food"});
    let ended = client.accepted(ann, "CreatePrivateSession", body).await;
    let code = json!({"inviteCode": ended["inviteCode"]});
    client.accepted(&bob, "JoinSession", code).await;
    client.accepted(ann, "StartSession", of(&ended)).await;
    client.accepted(&bob, "LeaveSession", of(&ended)).await;
    client.accepted(ann, "EndSession", of(&ended)).await;
    client.matched(&[&bob, ann]).await;
    client.matched(&[&eve]).await;
    client.private(ann, 4).await;
}

async fn document(url: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build();
    let answer = client.expect("a client").get(url).send().await;
    let answer = answer.expect("the worker listens").error_for_status();
    let document = answer.expect("the document is there").text().await;
    document.expect("the document is whole")
}

async fn schemathesis() -> Schemathesis {
    let cache = Cache::of_user().expect("a cache");
    let found = Schemathesis::find(&cache, Progress::Fetches).await;
    found.unwrap_or_else(|error| panic!("{error}"))
}

/// Asks a worker everything its document says and forbids. `caller` is how to say who asks: lines
/// `scheme.kind = "value"`, by the document's names of its security schemes. `besides` is what else
/// to tell schemathesis.
async fn nothing_is_found(
    schemathesis: &Schemathesis,
    worker: &Worker,
    caller: &str,
    besides: &[&str],
) {
    let base = worker.url("");
    // As a file: what it loads over HTTP it takes for no part of what it tests.
    let document = document(&worker.url("/openapi.json")).await;
    let settings = format!("hooks = \"hooks.py\"\n[auth.openapi]\n{caller}\n");
    let files = [
        ("openapi.json", document.as_str()),
        ("hooks.py", HOOKS),
        ("schemathesis.toml", settings.as_str()),
    ];
    let arguments: [&[&str]; 6] = [
        &["run", "openapi.json", "--url", &base],
        &["--checks", "all", "--max-examples", EXAMPLES],
        &["--phases", "examples,coverage,fuzzing,stateful"],
        &["--seed", SEED, "--generation-database", "none"],
        &["--continue-on-failure", "--no-color"],
        besides,
    ];
    let verdict = schemathesis.run(&files, &arguments.concat()).await;
    let verdict = verdict.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(verdict.code, 0, "{}", verdict.output);
    let document: Value = serde_json::from_str(&document).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").len();
    let tested = format!("Tested: {paths}\n");
    assert!(verdict.output.contains(&tested), "{}", verdict.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_no_answer_is_outside_the_openapi_document() {
    let _undisturbed = services::undisturbed().await;
    let schemathesis = schemathesis().await;
    let deployment = Deployment::prepared(Parts::shared(), &[]).await;
    let jwt = [
        "http.auth.mode=jwt".to_owned(),
        format!("http.auth.jwtSecret={SECRET}"),
    ];
    let gateway = [
        "http.auth.mode=trustedHeader".to_owned(),
        format!("http.auth.gatewaySecret={GATEWAY_SECRET}"),
    ];
    let (jwt, gateway) = (jwt.each_ref(), gateway.each_ref());
    let (jwt, gateway) = (jwt.map(String::as_str), gateway.map(String::as_str));
    let (jwt, gateway, open) = tokio::join!(
        deployment.worker(&jwt),
        deployment.worker(&gateway),
        deployment.worker(&[]),
    );
    let ann = unique("ann");
    some_sessions(&Client::new(&deployment), &ann).await;

    let reader = format!("bearer.bearer = {:?}", token(&ann, "sessions:read:any"));
    let learner = format!("bearer.bearer = {:?}", token(&ann, ""));
    let by_gateway =
        format!("gatewayUser.api_key = {ann:?}\ngatewaySecret.api_key = {GATEWAY_SECRET:?}");
    let by_word = format!("userId.api_key = {ann:?}");
    // Whatever an open listener is told it believes: no word is the wrong one.
    let credulous = ["--exclude-checks", "ignored_auth"];
    tokio::join!(
        nothing_is_found(&schemathesis, &jwt, &reader, &[]),
        nothing_is_found(&schemathesis, &jwt, &learner, &[]),
        nothing_is_found(&schemathesis, &gateway, &by_gateway, &[]),
        nothing_is_found(&schemathesis, &open, &by_word, &credulous),
    );
}
