//! A published key set (RFC 7517) as far as it can check signatures: what it holds of other kinds,
//! uses and algorithms is passed over, as the RFC wants. Does no I/O.

use std::sync::Arc;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;

/// Keys of a set at most.
const MAX_KEYS: usize = 64;

/// A key and the one algorithm it checks.
pub(super) struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    verifier: DecodingKey,
}

impl Key {
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn verifier(&self) -> &DecodingKey {
        &self.verifier
    }
}

/// The keys of a set that can check signatures.
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
}

/// Why a token has no key in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpicked {
    /// No key has its `kid`.
    Unknown,
    /// It has no `kid`, and there is not exactly one key.
    Unnamed,
    /// Its key is for another algorithm.
    OtherAlgorithm,
}

/// A body that is no key set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Malformed {
    #[error("the answer is not a JSON object with `keys`")]
    NoSet,
    #[error("the answer has more than {MAX_KEYS} keys")]
    TooManyKeys,
}

impl KeySet {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }

        let set: Set = serde_json::from_slice(body).map_err(|_| Malformed::NoSet)?;
        if set.keys.len() > MAX_KEYS {
            return Err(Malformed::TooManyKeys);
        }
        let keys = set.keys.into_iter().filter_map(key).map(Arc::new);
        Ok(Self {
            keys: keys.collect(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// The key of a token with this `kid` and `alg`. A `kid` is compared and nothing else: it is never
    /// a path or an address.
    pub(super) fn pick(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<Key>, Unpicked> {
        let fits = |key: &&Arc<Key>| key.algorithm == algorithm;
        let Some(kid) = kid else {
            return match self.keys.as_slice() {
                [only] => Some(only).filter(fits).cloned(),
                _ => return Err(Unpicked::Unnamed),
            }
            .ok_or(Unpicked::OtherAlgorithm);
        };
        let named = || {
            self.keys
                .iter()
                .filter(|key| key.id.as_deref() == Some(kid))
        };
        match named().find(fits) {
            Some(key) => Ok(Arc::clone(key)),
            None if named().next().is_some() => Err(Unpicked::OtherAlgorithm),
            None => Err(Unpicked::Unknown),
        }
    }
}

/// A key that checks signatures; none where it is something else or of a kind that is not known.
fn key(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let common = &jwk.common;
    let signs = common
        .public_key_use
        .as_ref()
        .is_none_or(|used| *used == PublicKeyUse::Signature);
    let verifies = common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !signs || !verifies {
        return None;
    }
    let algorithm = algorithm(&jwk)?;
    let verifier = DecodingKey::from_jwk(&jwk).ok()?;
    if let DecodingKeyKind::RsaModulusExponent { n, .. } = verifier.kind()
        && n.len() < 256
    {
        // RFC 7518, 3.3: 2048 bits at least.
        return None;
    }
    Some(Key {
        id: jwk.common.key_id,
        algorithm,
        verifier,
    })
}

/// What the key says it is for, if that fits its kind; else what its kind is mostly used for. A secret
/// (`oct`) has no place in a published set.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let fitting: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(point) => match point.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => return None,
    };
    match jwk.common.key_algorithm {
        None => fitting.first().copied(),
        Some(named) => fitting
            .iter()
            .copied()
            .find(|algorithm| KeyAlgorithm::from(*algorithm) == named),
    }
}
