//! Mode `jwt` with a secret: HS256 and nothing else, and what a token must claim.

use serde_json::{Value, json};

use super::forge::{Signer, claims, encoded, from_now};
use super::{Told, ask, ask_with, authenticator, headers, with_secret};
use crate::settings::Auth;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn signer() -> Signer {
    Signer::secret(SECRET)
}

#[tokio::test]
async fn contract_5_the_caller_is_the_sub_of_a_signed_token() {
    let authenticator = authenticator(&with_secret(SECRET));
    let known = [
        (json!({}), "amina", false),
        (json!({"sub": "  amina\n"}), "amina", false),
        (json!({"sub": "Ægir 🌍"}), "Ægir 🌍", false),
        (json!({"sub": "x".repeat(128)}), &"x".repeat(128), false),
        (json!({"nbf": from_now(-1)}), "amina", false),
        (json!({"nbf": from_now(-1) as f64 + 0.25}), "amina", false),
        (json!({"exp": from_now(600) as f64 + 0.5}), "amina", false),
        // What is not configured is not looked at.
        (json!({"iss": "https://any", "aud": "any"}), "amina", false),
        (
            json!({"iss": ["https://any"], "aud": {"odd": 1}}),
            "amina",
            false,
        ),
        (json!({"scope": "sessions:read:any"}), "amina", true),
        (
            json!({"scope": "openid sessions:read:any email"}),
            "amina",
            true,
        ),
        (json!({"scope": ""}), "amina", false),
        (
            json!({"scope": "sessions:read:anything sessions:read"}),
            "amina",
            false,
        ),
        (json!({"scope": "SESSIONS:READ:ANY"}), "amina", false),
        (json!({"scope": "openid,sessions:read:any"}), "amina", false),
        (
            json!({"scope": ["openid", "sessions:read:any"]}),
            "amina",
            true,
        ),
        (json!({"scope": ["openid", 5]}), "amina", false),
        // A scope of another shape grants nothing.
        (
            json!({"scope": {"sessions:read:any": true}}),
            "amina",
            false,
        ),
        (json!({"scp": "openid sessions:read:any"}), "amina", true),
        (json!({"scp": ["sessions:read:any"]}), "amina", true),
        (
            json!({"scope": "openid", "scp": ["sessions:read:any"]}),
            "amina",
            true,
        ),
        (
            json!({"scp": ["sessions:read:any2", ["sessions:read:any"]]}),
            "amina",
            false,
        ),
    ];
    for (besides, id, reads_any) in known {
        let bearer = signer().bearer(None, &claims(besides.clone()));
        let (told, detail) = ask_with(&authenticator, &bearer).await;
        assert_eq!(told, Told::known(id, reads_any), "{besides}: {detail}");
        if let Told::Known(caller) = told {
            assert_eq!(caller.may_read_any(), reads_any, "{besides}");
        }
    }
}

#[tokio::test]
async fn contract_5_a_token_that_lacks_something_or_whose_time_is_not_is_refused() {
    let authenticator = authenticator(&with_secret(SECRET));
    let refused = [
        (json!({"exp": from_now(-1)}), "the token has expired"),
        (json!({"exp": from_now(0)}), "the token has expired"),
        (json!({"exp": 1}), "the token has expired"),
        (json!({"exp": null}), "the token has no well-formed `exp`"),
        // CVE-2026-25537: a claim of another type must not count as absent.
        (
            json!({"exp": from_now(600).to_string()}),
            "the token has no well-formed `exp`",
        ),
        (json!({"exp": [from_now(600)]}), "the token is malformed"),
        (json!({"exp": true}), "the token has no well-formed `exp`"),
        (json!({"exp": -1}), "the token has no well-formed `exp`"),
        (
            json!({"nbf": from_now(600)}),
            "the token is not valid yet (`nbf`)",
        ),
        (
            json!({"nbf": from_now(-600).to_string()}),
            "the token has no well-formed `nbf`",
        ),
        (json!({"nbf": {}}), "the token has no well-formed `nbf`"),
        (json!({"sub": null}), "the token has no well-formed `sub`"),
        (json!({"sub": 17}), "the token has no well-formed `sub`"),
        (json!({"sub": ["amina"]}), "the token is malformed"),
        (
            json!({"sub": ""}),
            "the token's `sub` is not a user's id of 1 to 128 characters",
        ),
        (
            json!({"sub": " \t"}),
            "the token's `sub` is not a user's id of 1 to 128 characters",
        ),
        (
            json!({"sub": "a\u{0}b"}),
            "the token's `sub` is not a user's id of 1 to 128 characters",
        ),
        (
            json!({"sub": "x".repeat(129)}),
            "the token's `sub` is not a user's id of 1 to 128 characters",
        ),
    ];
    for (besides, why) in refused {
        let bearer = signer().bearer(None, &claims(besides.clone()));
        let answer = ask_with(&authenticator, &bearer).await;
        assert_eq!(answer, (Told::invalid_token(), why.to_owned()), "{besides}");
    }
    let missing = json!({"sub": "amina", "exp": null});
    let answer = ask_with(&authenticator, &signer().bearer(None, &missing)).await;
    assert_eq!(answer.1, "the token has no well-formed `exp`");
}

#[tokio::test]
async fn contract_5_issuer_and_audience_are_checked_when_they_are_configured() {
    let authenticator = authenticator(&Auth {
        issuer: Some("https://id.example".to_owned()),
        audience: Some("sessions".to_owned()),
        ..with_secret(SECRET)
    });
    let right = json!({"iss": "https://id.example", "aud": "sessions"});
    let changes = [
        (json!({}), None),
        (json!({"aud": ["other", "sessions"]}), None),
        (
            json!({"aud": "other"}),
            Some("the token's `aud` does not name this service"),
        ),
        (
            json!({"aud": "session"}),
            Some("the token's `aud` does not name this service"),
        ),
        (
            json!({"aud": ["other"]}),
            Some("the token's `aud` does not name this service"),
        ),
        (
            json!({"aud": []}),
            Some("the token's `aud` does not name this service"),
        ),
        (
            json!({"aud": null}),
            Some("the token has no well-formed `aud`"),
        ),
        (
            json!({"aud": {"sessions": 1}}),
            Some("the token has no well-formed `aud`"),
        ),
        (
            json!({"aud": ["sessions", 1]}),
            Some("the token has no well-formed `aud`"),
        ),
        (
            json!({"iss": "https://id.example/"}),
            Some("the token's `iss` is not the one taken here"),
        ),
        (
            json!({"iss": "https://evil.example"}),
            Some("the token's `iss` is not the one taken here"),
        ),
        (
            json!({"iss": ["https://id.example", "https://evil.example"]}),
            Some("the token's `iss` is not the one taken here"),
        ),
        (
            json!({"iss": null}),
            Some("the token has no well-formed `iss`"),
        ),
        (
            json!({"iss": 1}),
            Some("the token has no well-formed `iss`"),
        ),
    ];
    for (change, why) in changes {
        let mut besides = right.clone();
        for (name, value) in change.as_object().expect("members") {
            besides[name] = value.clone();
        }
        let bearer = signer().bearer(None, &claims(besides.clone()));
        let answer = ask_with(&authenticator, &bearer).await;
        let expected = match why {
            None => (Told::known("amina", false), String::new()),
            Some(why) => (Told::invalid_token(), why.to_owned()),
        };
        assert_eq!(answer, expected, "{besides}");
    }
}

#[tokio::test]
async fn contract_5_a_forged_token_is_refused() {
    let authenticator = authenticator(&with_secret(SECRET));
    let good = claims(json!({}));
    let header = json!({"typ": "JWT", "alg": "HS256"});
    let right = signer().token_of(&header, &good);
    let parts: Vec<&str> = right.split('.').collect();
    let other = encoded(claims(json!({"sub": "boris"})).to_string());
    let unsigned = |header: Value| format!("{}.{}.", encoded(header.to_string()), parts[1]);
    let with_header = |header: Value| signer().token_of(&header, &good);
    let wrong_signature = "the token's signature is not right";
    let no_jwt = "this is not a JWT with an algorithm that is known here";
    let other_algorithm = "the token's `alg` is not the one taken here";
    let twice = format!(r#"{{"sub":"amina","sub":"boris","exp":{}}}"#, from_now(600));
    let refused = [
        (
            Signer::secret("another secret").token_of(&header, &good),
            wrong_signature,
        ),
        (Signer::secret("").token_of(&header, &good), wrong_signature),
        (
            format!("{}.{other}.{}", parts[0], parts[2]),
            wrong_signature,
        ),
        (format!("{}.{}.", parts[0], parts[1]), wrong_signature),
        (
            format!("{}.{}.{}", parts[0], parts[1], &parts[2][..20]),
            wrong_signature,
        ),
        // `none` in every spelling, with and without a signature.
        (unsigned(json!({"alg": "none"})), no_jwt),
        (unsigned(json!({"alg": "None"})), no_jwt),
        (unsigned(json!({"alg": "nOnE", "typ": "JWT"})), no_jwt),
        (unsigned(json!({"alg": ""})), no_jwt),
        (unsigned(json!({"alg": null})), no_jwt),
        (unsigned(json!({"typ": "JWT"})), no_jwt),
        (with_header(json!({"alg": "none"})), no_jwt),
        (with_header(json!({"alg": ["HS256"]})), no_jwt),
        (with_header(json!({"alg": "hs256"})), no_jwt),
        // The algorithm is pinned.
        (with_header(json!({"alg": "HS384"})), other_algorithm),
        (with_header(json!({"alg": "HS512"})), other_algorithm),
        (with_header(json!({"alg": "RS256"})), other_algorithm),
        (
            Signer::p256().token_of(&json!({"alg": "ES256"}), &good),
            other_algorithm,
        ),
        // A key in the token is nobody's key.
        (
            Signer::secret("mine").token_of(
                &json!({"alg": "HS256", "jwk": {"kty": "oct", "k": encoded("mine")}}),
                &good,
            ),
            wrong_signature,
        ),
        (
            with_header(json!({"alg": "HS256", "crit": ["exp"]})),
            "the token wants extensions (`crit`)",
        ),
        (
            with_header(json!({"alg": "HS256", "crit": ["b64"], "b64": false})),
            "the token wants extensions (`crit`)",
        ),
        (
            with_header(json!({"alg": "HS256", "crit": []})),
            "the token wants extensions (`crit`)",
        ),
        (with_header(json!({"alg": "HS256", "crit": "exp"})), no_jwt),
        (
            signer().token_of_texts(&header.to_string(), &twice),
            "the token is malformed",
        ),
        (
            signer().token_of_texts(&header.to_string(), "[]"),
            "the token is malformed",
        ),
        (
            signer().token_of_texts(&header.to_string(), "{"),
            "the token is malformed",
        ),
        (signer().token_of_texts("{", "{}"), no_jwt),
        (right.replace('.', ""), no_jwt),
        (format!("{right}.{}", parts[2]), no_jwt),
        (
            format!("{}={}", &right[..right.len() - 1], "="),
            "the token is malformed",
        ),
        ("..".to_owned(), no_jwt),
        (String::new(), no_jwt),
        ("a.b.c".to_owned(), no_jwt),
        ("x".repeat(1 << 20), no_jwt),
        (format!("{right}{}", "A".repeat(1 << 20)), wrong_signature),
    ];
    for (token, why) in refused {
        let answer = ask_with(&authenticator, &format!("Bearer {token}")).await;
        let short = &token[..token.len().min(200)];
        assert_eq!(answer, (Told::invalid_token(), why.to_owned()), "{short}");
    }
}

#[tokio::test]
async fn contract_5_a_token_comes_in_the_one_authorization_header() {
    let authenticator = authenticator(&with_secret(SECRET));
    let bearer = signer().bearer(None, &claims(json!({})));
    let token = bearer.strip_prefix("Bearer ").expect("it begins so");
    let known = Told::known("amina", false);
    let table = [
        (format!("bearer {token}"), known),
        (format!("BEARER {token}"), Told::known("amina", false)),
        (format!("Bearer   {token}"), Told::known("amina", false)),
        (format!("Bearer {token} "), Told::known("amina", false)),
        (format!("Bearer {token} {token}"), Told::invalid_token()),
        (
            format!("Bearer {} {}", &token[..9], &token[9..]),
            Told::invalid_token(),
        ),
        (format!("Bearer \t{token}"), Told::invalid_token()),
        (format!("Bearer \"{token}\""), Told::invalid_token()),
        (format!("Bearer {token}é"), Told::unauthorized("Bearer")),
        ("Bearer".to_owned(), Told::invalid_token()),
        ("Bearer ".to_owned(), Told::invalid_token()),
        (format!("Bearer\t{token}"), Told::unauthorized("Bearer")),
        (format!("Bearer:{token}"), Told::unauthorized("Bearer")),
        (format!("Basic {token}"), Told::unauthorized("Bearer")),
        (format!("DPoP {token}"), Told::unauthorized("Bearer")),
        (token.to_owned(), Told::unauthorized("Bearer")),
        (String::new(), Told::unauthorized("Bearer")),
    ];
    for (value, expected) in table {
        let (told, detail) = ask_with(&authenticator, &value).await;
        assert_eq!(told, expected, "{value}: {detail}");
    }
    let twice = headers(&[("authorization", &bearer), ("authorization", &bearer)]);
    let (told, detail) = ask(&authenticator, &twice, None).await;
    assert_eq!(told, Told::invalid_token(), "{detail}");
    // No other place is looked at, and the other modes' words count for nothing.
    let others = headers(&[
        ("cookie", &format!("token={token}")),
        ("proxy-authorization", &bearer),
        ("x-user-id", "amina"),
        ("x-gateway-secret", SECRET),
    ]);
    let (told, detail) = ask(&authenticator, &others, Some("amina")).await;
    assert_eq!(told, Told::unauthorized("Bearer"), "{detail}");
    assert!(!authenticator.takes_user_id());
}
