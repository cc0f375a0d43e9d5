//! Makes keys at run time, and tokens by hand: with the crate under test's cryptography alone, so that
//! it can make what a JWT library would refuse to.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// A private key.
pub(super) struct Signer {
    /// `alg` of its tokens.
    pub(super) algorithm: &'static str,
    /// Its public half as a JWK without `kid`, `use` and `alg`; null for a secret.
    pub(super) public: Value,
    sign: Sign,
}

pub(super) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    /// HS256 with any bytes as the secret.
    pub(super) fn secret(bytes: impl AsRef<[u8]>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref());
        Self {
            algorithm: "HS256",
            public: Value::Null,
            sign: Box::new(move |message| hmac::sign(&key, message).as_ref().to_vec()),
        }
    }

    pub(super) fn rsa() -> Self {
        Self::rsa_as("RS256", &RSA_PKCS1_SHA256)
    }

    pub(super) fn rsa_pss() -> Self {
        Self::rsa_as("PS256", &RSA_PSS_SHA256)
    }

    fn rsa_as(algorithm: &'static str, encoding: &'static dyn RsaEncoding) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        Self {
            algorithm,
            public: json!({"kty": "RSA", "n": encoded(public.n), "e": encoded(public.e)}),
            sign: Box::new(move |message| {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
                    .expect("it signs");
                signature
            }),
        }
    }

    pub(super) fn p256() -> Self {
        Self::ec("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub(super) fn p384() -> Self {
        Self::ec("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn ec(algorithm: &'static str, curve: &str, signing: &'static EcdsaSigningAlgorithm) -> Self {
        let pair = EcdsaKeyPair::generate(signing).expect("a key");
        // An uncompressed point: 4, then both coordinates.
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        Self {
            algorithm,
            public: json!({"kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y)}),
            sign: Box::new(move |message| {
                let signature = pair.sign(&SystemRandom::new(), message);
                signature.expect("it signs").as_ref().to_vec()
            }),
        }
    }

    pub(super) fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let x = encoded(pair.public_key().as_ref());
        Self {
            algorithm: "EdDSA",
            public: json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
            sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
        }
    }

    /// Its public half as a JWK with this `kid` and these members besides.
    pub(super) fn jwk(&self, kid: &str, besides: Value) -> Value {
        let mut jwk = self.public.clone();
        jwk["kid"] = kid.into();
        for (name, value) in besides.as_object().expect("members") {
            jwk[name] = value.clone();
        }
        jwk
    }

    /// A token of this header and these claims, both as they are.
    pub(super) fn token_of(&self, header: &Value, claims: &Value) -> String {
        self.token_of_texts(&header.to_string(), &claims.to_string())
    }

    pub(super) fn token_of_texts(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = encoded((self.sign)(message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// `Bearer` and a token of `claims` with the right header.
    pub(super) fn bearer(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"typ": "JWT", "alg": self.algorithm});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        format!("Bearer {}", self.token_of(&header, claims))
    }
}

/// `seconds` from now.
pub(super) fn from_now(seconds: i64) -> i64 {
    let now = jsonwebtoken::get_current_timestamp();
    i64::try_from(now).expect("a year of this era") + seconds
}

/// Claims that suffice, of user `amina`, with these members besides; a null one is left out.
pub(super) fn claims(besides: Value) -> Value {
    let mut claims = json!({"sub": "amina", "exp": from_now(600)});
    for (name, value) in besides.as_object().expect("members") {
        claims[name] = value.clone();
    }
    if let Some(members) = claims.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    claims
}
