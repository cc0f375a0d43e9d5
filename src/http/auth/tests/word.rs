//! Modes `trustedHeader` and `none`: a gateway's word with its secret, and anybody's.

use axum::http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::super::AuthSetupError;
use super::forge::{Signer, claims};
use super::{Told, ask, authenticator, headers, settings, with_secret};
use crate::http::Authenticator;
use crate::settings::{Auth, AuthMode, Secret};

const SECRET: &str = "the gateway's secret";
/// What tokens are signed with, where they are taken, too.
const SHARED: &str = "0123456789abcdef0123456789abcdef";

fn gateway() -> Authenticator {
    authenticator(&Auth {
        gateway_secret: Some(Secret::new(SECRET)),
        ..settings(AuthMode::TrustedHeader)
    })
}

#[tokio::test]
async fn contract_5_a_gateway_is_believed_together_with_its_secret() {
    const ID: &str = "x-user-id";
    const KEY: &str = "x-gateway-secret";
    let gateway = gateway();
    let refused = || Told::unauthorized("GatewaySecret");
    let long = "x".repeat(129);
    const SCOPES: &str = "x-scopes";
    const READ_ANY: &str = "sessions:read:any";
    let table: [(&[(&'static str, &str)], Told); 24] = [
        (
            &[(ID, "amina"), (KEY, SECRET), (SCOPES, READ_ANY)],
            Told::known("amina", true),
        ),
        (
            &[
                (ID, "amina"),
                (KEY, SECRET),
                (SCOPES, "openid sessions:read:any"),
            ],
            Told::known("amina", true),
        ),
        (
            &[
                (ID, "amina"),
                (KEY, SECRET),
                (SCOPES, "openid, sessions:read:any"),
            ],
            Told::known("amina", true),
        ),
        (
            &[(ID, "amina"), (KEY, SECRET), (SCOPES, "sessions:read:all")],
            Told::known("amina", false),
        ),
        (
            &[(ID, "amina"), (KEY, SECRET), (SCOPES, "")],
            Told::known("amina", false),
        ),
        (
            &[
                (ID, "amina"),
                (KEY, SECRET),
                (SCOPES, "openid"),
                (SCOPES, READ_ANY),
            ],
            refused(),
        ),
        (&[(ID, "amina"), (SCOPES, READ_ANY)], refused()),
        (&[(ID, "amina"), (KEY, SECRET)], Told::known("amina", false)),
        (
            &[(KEY, SECRET), (ID, " amina ")],
            Told::known("amina", false),
        ),
        (&[(ID, "Ægir"), (KEY, SECRET)], Told::known("Ægir", false)),
        (&[], refused()),
        (&[(ID, "amina")], refused()),
        (&[(KEY, SECRET)], refused()),
        (&[(ID, "amina"), (KEY, "")], refused()),
        (&[(ID, "amina"), (KEY, "the gateway's secre")], refused()),
        (&[(ID, "amina"), (KEY, "the gateway's secret!")], refused()),
        (&[(ID, "amina"), (KEY, "The gateway's secret")], refused()),
        (&[(ID, "amina"), (KEY, SECRET), (KEY, SECRET)], refused()),
        (&[(ID, "amina"), (KEY, "wrong"), (KEY, SECRET)], refused()),
        (&[(ID, "amina"), (ID, "amina"), (KEY, SECRET)], refused()),
        (&[(ID, "amina"), (ID, "boris"), (KEY, SECRET)], refused()),
        (&[(ID, &long), (KEY, "wrong")], refused()),
        (&[(ID, &long), (KEY, SECRET)], refused()),
        (&[(ID, ""), (KEY, SECRET)], refused()),
    ];
    for (given, expected) in table {
        let (told, detail) = ask(&gateway, &headers(given), Some("carla")).await;
        assert_eq!(told, expected, "{given:?}: {detail}");
        assert!(!detail.contains(SECRET), "{detail}");
    }
    let mut no_text = headers(&[(KEY, SECRET)]);
    let bytes = HeaderValue::from_bytes(&[0xff, 0xfe]).expect("a header's value");
    no_text.insert(ID, bytes);
    let (told, detail) = ask(&gateway, &no_text, None).await;
    assert_eq!(told, refused(), "{detail}");
    assert!(!gateway.takes_user_id());
}

#[tokio::test]
async fn contract_5_a_request_with_the_gateways_secret_is_judged_by_it_and_any_other_by_its_token()
{
    const ID: &str = "x-user-id";
    const KEY: &str = "x-gateway-secret";
    let both = authenticator(&Auth {
        gateway_secret: Some(Secret::new(SECRET)),
        ..Auth {
            mode: AuthMode::JwtOrTrustedHeader,
            ..with_secret(SHARED)
        }
    });
    let token = Signer::secret(SHARED).bearer(None, &claims(json!({"sub": "amina"})));
    let token = ("authorization", token.as_str());
    let (gateway, invalid) = (Told::unauthorized("GatewaySecret"), Told::invalid_token());
    let table: [(&[(&'static str, &str)], Told); 7] = [
        (&[token], Told::known("amina", false)),
        (&[(ID, "boris"), (KEY, SECRET)], Told::known("boris", false)),
        (
            &[token, (ID, "boris"), (KEY, SECRET)],
            Told::known("boris", false),
        ),
        (&[token, (ID, "boris"), (KEY, "wrong")], gateway.clone()),
        (&[token, (KEY, "")], gateway),
        // Without the secret it is no word of a gateway's.
        (&[token, (ID, "boris")], Told::known("amina", false)),
        (&[("authorization", "Bearer x"), (ID, "boris")], invalid),
    ];
    for (given, expected) in table {
        let (told, detail) = ask(&both, &headers(given), Some("carla")).await;
        assert_eq!(told, expected, "{given:?}: {detail}");
    }
    assert!(!both.takes_user_id());
}

#[tokio::test]
async fn every_refusal_of_a_gateway_is_the_same() {
    let gateway = gateway();
    let mut answers = Vec::new();
    for given in [
        &[] as &[(&'static str, &str)],
        &[("x-user-id", "amina")],
        &[("x-user-id", "amina"), ("x-gateway-secret", "wrong")],
        &[("x-gateway-secret", SECRET)],
        &[
            ("x-user-id", "amina"),
            ("x-gateway-secret", SECRET),
            ("x-gateway-secret", SECRET),
        ],
    ] {
        answers.push(ask(&gateway, &headers(given), None).await);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn contract_5_without_authentication_the_parameter_says_who_asks() {
    let anybody = authenticator(&settings(AuthMode::None));
    assert!(anybody.takes_user_id());
    let others = headers(&[("x-user-id", "boris"), ("authorization", "Bearer x")]);
    let long = "x".repeat(129);
    for (named, expected) in [
        (Some("amina"), Told::known("amina", false)),
        (Some(" amina"), Told::known("amina", false)),
        (Some(""), Told::invalid_argument()),
        (Some(" "), Told::invalid_argument()),
        (Some("a\nb"), Told::invalid_argument()),
        (Some(long.as_str()), Told::invalid_argument()),
        (None, Told::unauthorized("UserId")),
    ] {
        let (told, detail) = ask(&anybody, &others, named).await;
        assert_eq!(told, expected, "{named:?}: {detail}");
    }
    let (told, detail) = ask(&anybody, &HeaderMap::new(), None).await;
    assert_eq!(told, Told::unauthorized("UserId"), "{detail}");
}

#[test]
fn a_mode_without_what_it_needs_is_refused_at_the_start() {
    let failed = |auth: &Auth| {
        Authenticator::new(auth)
            .err()
            .map(|error| error.to_string())
    };
    let secret = "hunter2";
    let table = [
        (
            settings(AuthMode::TrustedHeader),
            AuthSetupError::Missing("http.auth.gatewaySecret"),
        ),
        (
            settings(AuthMode::Jwt),
            AuthSetupError::Missing("http.auth.jwtSecret or http.auth.jwksUrl"),
        ),
        (
            Auth {
                jwks_url: Some(Secret::new(format!("https://a:{secret}@b:port/"))),
                ..settings(AuthMode::Jwt)
            },
            AuthSetupError::Url,
        ),
    ];
    for (auth, expected) in table {
        let error = failed(&auth).expect("it is refused");
        assert_eq!(error, expected.to_string());
        assert!(!error.contains(secret), "{error}");
    }
}
