//! Mode `jwt` with published keys: which keys count, and for which algorithm.

use serde_json::{Value, json};

use super::forge::{Signer, claims, encoded};
use super::identity::{Answer, Identity};
use super::scene::{
    ED25519, OTHER_ALGORITHM, P256, P384, RSA, RSA_PSS, UNKNOWN, believing, good, known, refused,
};
use super::{Told, ask_with};

#[tokio::test]
async fn contract_5_tokens_of_every_kind_of_published_key_are_believed() {
    let kinds: [(&Signer, &str, Value); 8] = [
        (&RSA, "rsa", json!({})),
        (&RSA, "rsa-named", json!({"alg": "RS256", "use": "sig"})),
        (&RSA_PSS, "pss-named", json!({"alg": "PS256"})),
        (&P256, "p256", json!({"key_ops": ["verify"]})),
        (&P256, "p256-named", json!({"alg": "ES256"})),
        (&P384, "p384", json!({"use": "sig"})),
        (&ED25519, "ed", json!({})),
        (
            &ED25519,
            "ed-named",
            json!({"alg": "EdDSA", "x5t": "ignored"}),
        ),
    ];
    let mut keys: Vec<Value> = kinds
        .iter()
        .map(|(signer, kid, besides)| signer.jwk(kid, besides.clone()))
        .collect();
    // What is not understood is passed over.
    keys.extend([
        json!(null),
        json!("key"),
        json!({}),
        json!({"kty": "RSA", "kid": "rsa"}),
    ]);
    let identity = Identity::new(Answer::keys(&keys)).await;
    let authenticator = believing(&identity.url());
    assert_eq!(
        identity.asked(),
        0,
        "nothing is fetched before it is needed"
    );
    for (signer, kid, besides) in kinds {
        let answer = ask_with(&authenticator, &good(signer, kid)).await;
        assert_eq!(answer, known(), "{kid} {besides}");
        let other = claims(json!({"scope": "sessions:read:any", "sub": "matchmaking"}));
        let answer = ask_with(&authenticator, &signer.bearer(Some(kid), &other)).await;
        assert_eq!(answer.0, Told::known("matchmaking", true), "{kid}");
        let expired = claims(json!({"exp": 1}));
        let answer = ask_with(&authenticator, &signer.bearer(Some(kid), &expired)).await;
        assert_eq!(answer, refused("the token has expired"), "{kid}");
        // The signature of another token.
        let (right, other) = (good(signer, kid), signer.bearer(Some(kid), &other));
        let (message, _) = right.rsplit_once('.').expect("three parts");
        let (_, signature) = other.rsplit_once('.').expect("three parts");
        let answer = ask_with(&authenticator, &format!("{message}.{signature}")).await;
        assert_eq!(
            answer,
            refused("the token's signature is not right"),
            "{kid}"
        );
    }
    // A stranger's key of the same kind and name.
    let answer = ask_with(&authenticator, &good(&Signer::ed25519(), "ed")).await;
    assert_eq!(answer, refused("the token's signature is not right"));
    assert_eq!(identity.asked(), 1, "a set is fetched once");
}

#[tokio::test]
async fn contract_5_a_key_is_for_one_algorithm_and_never_for_a_mac() {
    let decoded = |name: &str| {
        use base64::Engine as _;
        let text = RSA.public[name].as_str().expect("a member");
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .expect("base64")
    };
    let secret = encoded("0123456789abcdef0123456789abcdef");
    let identity = Identity::new(Answer::keys(&[
        RSA.jwk("rsa", json!({})),
        P256.jwk("p256", json!({})),
        ED25519.jwk("ed", json!({})),
        json!({"kty": "oct", "kid": "secret", "k": secret}),
        json!({"kty": "oct", "kid": "secret-named", "k": secret, "alg": "HS256", "use": "sig"}),
        RSA.jwk("mac", json!({"alg": "HS256"})),
        RSA.jwk("encrypts", json!({"use": "enc"})),
        RSA.jwk("wraps", json!({"key_ops": ["wrapKey"]})),
        RSA.jwk("oaep", json!({"alg": "RSA-OAEP"})),
        RSA.jwk("odd", json!({"alg": "ES256"})),
        P256.jwk("odd-curve", json!({"crv": "P-521"})),
        P384.jwk("odd-alg", json!({"alg": "ES256"})),
        RSA.jwk("weak", json!({"n": encoded([0xc1; 128])})),
        RSA.jwk("no-base64", json!({"n": "+/="})),
    ]))
    .await;
    let authenticator = believing(&identity.url());
    let claims = claims(json!({}));
    let with_header =
        |signer: &Signer, header: Value| format!("Bearer {}", signer.token_of(&header, &claims));
    let mac = |secret: &[u8]| {
        let header = json!({"alg": "HS256", "kid": "rsa"});
        with_header(&Signer::secret(secret), header)
    };
    let modulus = decoded("n");
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        encoded(&modulus)
    );
    let kid = |kid: &str| good(&RSA, kid);
    let table = [
        // What anybody can read of the key, as the secret of a MAC.
        (mac(&modulus), OTHER_ALGORITHM),
        (
            mac(RSA.public["n"].as_str().expect("a member").as_bytes()),
            OTHER_ALGORITHM,
        ),
        (mac(RSA.public.to_string().as_bytes()), OTHER_ALGORITHM),
        (
            mac(RSA.jwk("rsa", json!({})).to_string().as_bytes()),
            OTHER_ALGORITHM,
        ),
        (mac(pem.as_bytes()), OTHER_ALGORITHM),
        (mac(b""), OTHER_ALGORITHM),
        (
            with_header(
                &Signer::secret(&modulus),
                json!({"alg": "RS256", "kid": "rsa"}),
            ),
            "the token's signature is not right",
        ),
        // Another algorithm of the same kind is another algorithm.
        (
            with_header(&RSA, json!({"alg": "PS256", "kid": "rsa"})),
            OTHER_ALGORITHM,
        ),
        (
            with_header(&RSA, json!({"alg": "RS512", "kid": "rsa"})),
            OTHER_ALGORITHM,
        ),
        (
            with_header(&P256, json!({"alg": "ES384", "kid": "p256"})),
            OTHER_ALGORITHM,
        ),
        (
            with_header(&P256, json!({"alg": "ES256", "kid": "ed"})),
            OTHER_ALGORITHM,
        ),
        (
            with_header(&RSA, json!({"alg": "none", "kid": "rsa"})),
            "this is not a JWT with an algorithm that is known here",
        ),
        (
            with_header(&RSA, json!({"alg": "RS256", "kid": "rsa", "crit": ["exp"]})),
            "the token wants extensions (`crit`)",
        ),
        (
            with_header(
                &Signer::secret("x"),
                json!({"alg": "HS256", "kid": "secret"}),
            ),
            UNKNOWN,
        ),
        (
            with_header(
                &Signer::secret("0123456789abcdef0123456789abcdef"),
                json!({"alg": "HS256", "kid": "secret-named"}),
            ),
            UNKNOWN,
        ),
        (kid("mac"), UNKNOWN),
        (kid("encrypts"), UNKNOWN),
        (kid("wraps"), UNKNOWN),
        (kid("oaep"), UNKNOWN),
        (kid("odd"), UNKNOWN),
        (kid("weak"), UNKNOWN),
        (kid("no-base64"), UNKNOWN),
        (good(&P256, "odd-curve"), UNKNOWN),
        (good(&P384, "odd-alg"), UNKNOWN),
    ];
    for (bearer, why) in table {
        let answer = ask_with(&authenticator, &bearer).await;
        assert_eq!(answer, refused(why), "{bearer}");
    }
    assert_eq!(ask_with(&authenticator, &kid("rsa")).await, known());
}

#[tokio::test]
async fn a_token_without_a_kid_needs_a_set_of_one_key() {
    let unnamed = |signer: &Signer| signer.bearer(None, &claims(json!({})));
    let mut nameless = P256.public.clone();
    nameless["alg"] = "ES256".into();
    let table = [
        (vec![P256.jwk("a", json!({}))], known()),
        (vec![nameless.clone()], known()),
        (
            vec![
                P256.jwk("a", json!({})),
                RSA.jwk("b", json!({"use": "enc"})),
            ],
            known(),
        ),
        (
            vec![P256.jwk("a", json!({})), RSA.jwk("b", json!({}))],
            refused("the token has no `kid`, and not exactly one key is published"),
        ),
        (vec![RSA.jwk("b", json!({}))], refused(OTHER_ALGORITHM)),
    ];
    for (keys, expected) in table {
        let identity = Identity::new(Answer::keys(&keys)).await;
        let authenticator = believing(&identity.url());
        let answer = ask_with(&authenticator, &unnamed(&P256)).await;
        assert_eq!(answer, expected, "{keys:?}");
        // A key without a name is not every name's.
        let answer = ask_with(&authenticator, &good(&P256, "")).await;
        assert_eq!(answer, refused(UNKNOWN), "{keys:?}");
    }
    // The same name twice: the algorithm decides, as RFC 7517 (4.5) has it.
    let both = [RSA.jwk("a", json!({})), P256.jwk("a", json!({}))];
    let identity = Identity::new(Answer::keys(&both)).await;
    let authenticator = believing(&identity.url());
    assert_eq!(ask_with(&authenticator, &good(&P256, "a")).await, known());
    assert_eq!(ask_with(&authenticator, &good(&RSA, "a")).await, known());
}

#[tokio::test]
async fn a_kid_is_a_name_and_no_header_says_where_keys_are() {
    let stranger = Signer::p256();
    let strange = Identity::new(Answer::keys(&[stranger.jwk("a", json!({}))])).await;
    let identity = Identity::new(Answer::keys(&[P256.jwk("a", json!({}))])).await;
    let authenticator = believing(&identity.url());
    let long = "k".repeat(100_000);
    for kid in [
        "",
        "A",
        "a ",
        "../../../../dev/null",
        "/dev/null",
        "a' OR '1'='1",
        "http://127.0.0.1/keys",
        &strange.url(),
        "\u{0}",
        &long,
    ] {
        let answer = ask_with(&authenticator, &good(&P256, kid)).await;
        assert_eq!(answer, refused(UNKNOWN), "{kid:.40}");
    }
    let url = strange.url();
    for header in [
        json!({"alg": "ES256", "kid": "a", "jku": url}),
        json!({"alg": "ES256", "kid": "a", "x5u": url}),
        json!({"alg": "ES256", "kid": "a", "jwk": stranger.public}),
        json!({"alg": "ES256", "jku": url, "jwk": stranger.jwk("a", json!({}))}),
    ] {
        let bearer = format!("Bearer {}", stranger.token_of(&header, &claims(json!({}))));
        let answer = ask_with(&authenticator, &bearer).await;
        assert_eq!(
            answer,
            refused("the token's signature is not right"),
            "{header}"
        );
    }
    for kid in [json!(17), json!(["a"]), json!({"a": 1})] {
        let header = json!({"alg": "ES256", "kid": kid});
        let bearer = format!("Bearer {}", P256.token_of(&header, &claims(json!({}))));
        let (told, detail) = ask_with(&authenticator, &bearer).await;
        assert_eq!(told, Told::invalid_token(), "{header}: {detail}");
    }
    assert_eq!((strange.asked(), identity.asked()), (0, 1));
}
