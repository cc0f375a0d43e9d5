//! Who may read what of a real worker over HTTP (contract 5): tokens and forged ones, gateways, scopes.

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{now, unique};
use super::deployment::Worker;
use super::views::{
    Running, SECRET, claims, get, get_with, ids, reader, running, send, signed, token,
};
use crate::services;

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_another_users_history_takes_the_scope() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, workers, ..
    } = running().await;
    let [ann, bob] = ["ann", "bob"].map(unique);
    let mut made = Vec::new();
    for _ in 0..3 {
        let (session, _) = client.private(&ann, 4).await;
        made.insert(0, session);
    }
    let path = format!("/sessions/history?userId={ann}");
    let own = get(&workers[0], &ann, &path).await.ok();
    assert_eq!(ids(&own), made);
    get(&workers[0], &bob, &path)
        .await
        .is_problem(403, "forbidden");
    get(&workers[0], &bob, "/sessions/history?userId=%00")
        .await
        .is_problem(400, "invalid_argument");
    let empty = get(&workers[0], &bob, "/sessions/history?userId=&limit=").await;
    assert_eq!(ids(&empty.ok()), [""; 0], "an empty value counts as absent");

    let page = get_with(&workers[0], &reader(), &format!("{path}&limit=2")).await;
    let page = page.ok();
    assert_eq!(ids(&page), made[..2]);
    let cursor = page["nextCursor"].as_str().expect("there is more");
    let next = format!("{path}&limit=2&cursor={cursor}");
    let last = get_with(&workers[1], &reader(), &next).await.ok();
    assert_eq!(ids(&last), made[2..]);
    // The same caller's, and another user's list.
    let others = format!("/sessions/history?userId={bob}&cursor={cursor}");
    get_with(&workers[0], &reader(), &others)
        .await
        .is_problem(400, "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_no_valid_token_is_401_whatever_is_asked() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, workers, ..
    } = running().await;
    let ann = unique("ann");
    client.private(&ann, 4).await;
    let with = |field: &str, value: Value| {
        let mut claims = claims(&ann);
        claims[field] = value;
        token(&claims)
    };
    let mut endless = claims(&ann);
    endless.as_object_mut().expect("JSON").remove("exp");
    let good = token(&claims(&ann));
    let (head, rest) = good.split_once('.').expect("three parts");
    let (body, signature) = rest.split_once('.').expect("three parts");
    // {"alg":"none","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let forged = [
        String::new(),
        "nonsense".to_owned(),
        with("exp", json!(now() / 1000 - 10)),
        with("exp", json!("2999")),
        with("nbf", json!(now() / 1000 + 600)),
        with("iss", json!("https://somebody.else")),
        with("sub", json!("")),
        token(&endless),
        signed(&claims(&ann), "another-secret-that-is-long-enough"),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{head}.{body}."),
    ];
    for token in &forged {
        for path in [
            "/sessions/history",
            "/sessions/current",
            "/sessions?status=waiting",
            "/users/x/limits",
            "/sessions/x?nonsense=1",
        ] {
            let answer = get_with(&workers[0], token, path).await;
            answer.is_problem(401, "unauthorized");
            assert!(
                answer.headers.contains_key("www-authenticate"),
                "{answer:?}"
            );
        }
    }
    let bare = send(Method::GET, &workers[0].url("/sessions/history"), &[]).await;
    bare.is_problem(401, "unauthorized");
    // A gateway's headers and a name are nothing here.
    let headers = [("x-user-id", ann.as_str()), ("x-gateway-secret", SECRET)];
    let url = workers[0].url("/sessions/history");
    send(Method::GET, &url, &headers)
        .await
        .is_problem(401, "unauthorized");
    let named = format!("/sessions/current?userId={ann}");
    get(&workers[0], &ann, &named)
        .await
        .is_problem(400, "invalid_argument");
    for open in ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs"] {
        let answer = send(Method::GET, &workers[0].url(open), &[]).await;
        // Readiness comes and goes with the group's members.
        assert!([200, 503].contains(&answer.status), "{open} takes no token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_nothing_is_written_over_http() {
    let _undisturbed = services::undisturbed().await;
    let Running { workers, .. } = running().await;
    let bearer = format!("Bearer {}", token(&claims("ann")));
    for method in [
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ] {
        for path in [
            "/sessions",
            "/sessions/history",
            "/sessions/x/end",
            "/livez",
        ] {
            let url = workers[0].url(path);
            let answer = send(method.clone(), &url, &[("authorization", &bearer)]).await;
            answer.is_problem(405, "method_not_allowed");
            assert_eq!(answer.headers["allow"], "GET, HEAD");
        }
    }
    let url = workers[0].url("/sessions/history");
    let head = send(Method::HEAD, &url, &[("authorization", &bearer)]).await;
    assert_eq!((head.status, head.body), (200, Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_a_trusted_gateway_says_who_asks_and_a_loopback_listener_believes_anybody() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, deployment, ..
    } = running().await;
    let ann = unique("ann");
    let (session, _) = client.private(&ann, 4).await;
    let secret = "http.auth.gatewaySecret=a-gateway-secret";
    let trusting = deployment
        .worker(&["http.auth.mode=trustedHeader", secret])
        .await;
    let url = trusting.url("/sessions/history");
    let known = [
        ("x-user-id", ann.as_str()),
        ("x-gateway-secret", "a-gateway-secret"),
    ];
    let page = send(Method::GET, &url, &known).await.ok();
    assert_eq!(ids(&page), std::slice::from_ref(&session));
    for headers in [
        &known[..1],
        &known[1..],
        &[known[0], ("x-gateway-secret", "a-guess")],
    ] {
        send(Method::GET, &url, headers)
            .await
            .is_problem(401, "unauthorized");
    }
    get_with_scopes(&trusting, &known).await;
    trusting.stop().await;

    let both = deployment
        .worker(&["http.auth.mode=trustedHeader,jwt", secret])
        .await;
    let page = send(Method::GET, &both.url("/sessions/history"), &known).await;
    assert_eq!(ids(&page.ok()), std::slice::from_ref(&session));
    let page = get(&both, &ann, "/sessions/history").await.ok();
    assert_eq!(ids(&page), std::slice::from_ref(&session));
    let bearer = format!("Bearer {}", token(&claims(&ann)));
    let guess = [
        ("authorization", bearer.as_str()),
        ("x-gateway-secret", "a-guess"),
    ];
    send(Method::GET, &both.url("/sessions/history"), &guess)
        .await
        .is_problem(401, "unauthorized");
    both.stop().await;

    let open = deployment.worker(&["http.auth.mode=none"]).await;
    let url = open.url(&format!("/sessions/history?userId={ann}"));
    let page = send(Method::GET, &url, &[]).await.ok();
    assert_eq!(ids(&page), [session]);
    let url = open.url("/sessions/history");
    send(Method::GET, &url, &[])
        .await
        .is_problem(401, "unauthorized");
    open.stop().await;
    let ended = deployment
        .run(&["run"], &["http.auth.mode=none", "http.listen=0.0.0.0:0"])
        .await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
}

/// The list takes a scope, which a gateway names beside its secret.
async fn get_with_scopes(trusting: &Worker, known: &[(&str, &str)]) {
    let url = trusting.url("/sessions?status=waiting&minSeats=1");
    send(Method::GET, &url, known)
        .await
        .is_problem(403, "forbidden");
    let scopes = [known, &[("x-scopes", "profile sessions:read:any")]].concat();
    send(Method::GET, &url, &scopes).await.ok();
}
