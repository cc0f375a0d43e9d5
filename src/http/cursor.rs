//! Where the next page begins, sealed: only the workers can read or make a cursor, and one opens
//! nothing but the list it was given out for, to the caller it was given to, with the same filters.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The longest cursor that is looked at; ours are shorter.
const LONGEST: usize = 2_048;

/// Seals and opens cursors with one key.
pub(super) struct Cursors {
    key: RandomizedNonceKey,
}

impl Cursors {
    /// With the key that all workers on a database share.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let key =
            RandomizedNonceKey::new(&AES_256_GCM, key).expect("32 bytes are a key of AES-256-GCM");
        Self { key }
    }

    /// The cursor of `place` in the list that `scope` names.
    pub(super) fn seal<P: Serialize>(&self, place: &P, scope: &Scope<'_>) -> String {
        let mut sealed = serde_json::to_vec(place).expect("places are texts and numbers");
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(scope.bytes()), &mut sealed)
            .expect("a place is far shorter than AES-GCM allows");
        let mut cursor = nonce.as_ref().to_vec();
        cursor.append(&mut sealed);
        URL_SAFE_NO_PAD.encode(cursor)
    }

    /// The place that `cursor` was made of, if it was made by a worker for the same scope.
    pub(super) fn open<P: DeserializeOwned>(
        &self,
        cursor: &str,
        scope: &Scope<'_>,
    ) -> Result<P, Problem> {
        self.opened(cursor, scope).ok_or_else(|| {
            Problem::invalid("cursor: must be the nextCursor of the same caller's same list")
        })
    }

    fn opened<P: DeserializeOwned>(&self, cursor: &str, scope: &Scope<'_>) -> Option<P> {
        if cursor.len() > LONGEST {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let place = self
            .key
            .open_in_place(nonce, Aad::from(scope.bytes()), sealed)
            .ok()?;
        serde_json::from_slice(place).ok()
    }
}

/// The list that a cursor belongs to.
#[derive(Debug, Serialize)]
pub(super) struct Scope<'a> {
    /// The path.
    pub(super) path: &'static str,
    /// Who asks.
    pub(super) caller: &'a str,
    /// The filters.
    pub(super) filters: &'a [Option<String>],
}

impl Scope<'_> {
    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a scope is texts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope<'a>(caller: &'a str, filters: &'a [Option<String>]) -> Scope<'a> {
        Scope {
            path: "/sessions/history",
            caller,
            filters,
        }
    }

    #[test]
    fn contract_5_a_cursor_opens_only_for_whom_and_what_it_was_made() {
        let cursors = Cursors::new(&[7; 32]);
        let place = (42_i64, "s-1".to_owned());
        let fr = [Some("fr".to_owned())];
        let ann = scope("ann", &fr);
        let cursor = cursors.seal(&place, &ann);
        assert_eq!(cursors.open::<(i64, String)>(&cursor, &ann), Ok(place));

        let strangers = [
            scope("bob", &fr),
            scope("ann", &[]),
            scope("ann", &[None]),
            Scope {
                path: "/sessions",
                ..scope("ann", &fr)
            },
        ];
        for stranger in &strangers {
            let opened = cursors.open::<(i64, String)>(&cursor, stranger);
            assert_eq!(opened.map_err(|p| p.status()), Err(400), "{stranger:?}");
        }
        let others = Cursors::new(&[8; 32]);
        assert!(others.open::<(i64, String)>(&cursor, &ann).is_err());
    }

    #[test]
    fn no_bytes_of_a_strangers_making_open_anything() {
        let cursors = Cursors::new(&[7; 32]);
        let ann = scope("ann", &[]);
        let cursor = cursors.seal(&(42_i64, "s-1".to_owned()), &ann);
        assert!(!cursor.contains("s-1"), "what it says cannot be read");
        let mut forged = vec![
            String::new(),
            "x".to_owned(),
            "not base64!".to_owned(),
            URL_SAFE_NO_PAD.encode([0; 11]),
            URL_SAFE_NO_PAD.encode([0; 12]),
            URL_SAFE_NO_PAD.encode([0; 28]),
            URL_SAFE_NO_PAD.encode(br#"[42,"s-1"]"#),
            format!("{cursor}="),
            "A".repeat(LONGEST + 1),
        ];
        let bytes = URL_SAFE_NO_PAD.decode(&cursor).expect("ours is base64");
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            forged.push(URL_SAFE_NO_PAD.encode(changed));
        }
        for cursor in forged {
            assert!(
                cursors.open::<(i64, String)>(&cursor, &ann).is_err(),
                "{cursor}"
            );
        }
    }
}
