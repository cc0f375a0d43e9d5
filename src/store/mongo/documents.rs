//! The shapes of stored documents, and domain values to and from them. The field names of `sessions`
//! and `participants` are the contract's section 4; the other collections are the worker's own. A
//! document that cannot be read is an error for the reader that needs it, never a panic.

mod ledger;
mod malformed;
mod outbox;
mod session;
mod user;

#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use mongodb::bson::{Binary, DateTime, RawDocument, RawDocumentBuf, spec::BinarySubtype};
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use ledger::{ForwardDocument, LedgerDocument, forward_key, ledger_key, message_id};
pub(crate) use malformed::{Malformed, id_of, shown_id};
pub(crate) use outbox::{batch_key, outbox_batch, outbox_document, parse_lane};
pub(crate) use session::{
    ParticipantDocument, SessionDocument, assemble, home_of, participant_key,
};
pub(crate) use user::{IntakeStopDocument, LaneDocument, LastRecordDocument, UserDocument};

use malformed::{OUT_OF_RANGE, TOO_MANY, UNKNOWN_WORD};

use crate::domain::Timestamp;
use crate::store::Unreadable;

/// The bytes of a document to store.
///
/// # Panics
/// Never: every document here has string keys and values that BSON knows.
pub(crate) fn to_raw<T: Serialize>(document: &T) -> RawDocumentBuf {
    mongodb::bson::serialize_to_raw_document_buf(document)
        .expect("documents consist of what BSON can say")
}

/// A document from its stored bytes.
pub(crate) fn from_raw<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    mongodb::bson::deserialize_from_slice(bytes)
        .map_err(|error| malformed::explain::<T>(bytes, &error))
}

/// A document of `collection`.
pub(crate) fn read<T: DeserializeOwned>(
    collection: &str,
    document: &RawDocument,
) -> Result<T, Unreadable> {
    from_raw(document.as_bytes()).map_err(|malformed| malformed.in_document(collection, document))
}

/// An instant as BSON's date.
pub(crate) fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.0)
}

/// BSON's date as an instant.
pub(crate) fn instant(date: DateTime) -> Timestamp {
    Timestamp(date.timestamp_millis())
}

/// Values that are stored as words.
pub trait Named: Copy + 'static {
    /// What is named, for an error.
    const WHAT: &'static str;
    /// Every value.
    const ALL: &'static [Self];

    /// The value's word.
    fn name(self) -> &'static str;
}

/// The word that `value` is stored as, which is the contract's.
pub fn name<T: Named>(value: T) -> &'static str {
    value.name()
}

/// Gives every value of an enum its word; one that is left out does not compile.
macro_rules! named {
    ($type:ident, $what:literal, $($value:ident => $name:literal),+ $(,)?) => {
        impl super::Named for $type {
            const WHAT: &'static str = $what;
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name),+
                }
            }
        }
    };
}
use named;

/// A value stored as its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name<T>(pub(crate) T);

impl<T: Named> Serialize for Name<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de, T: Named> Deserialize<'de> for Name<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word<T>(PhantomData<T>);
        impl<T: Named> Visitor<'_> for Word<T> {
            type Value = Name<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::WHAT)
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                let known = T::ALL.iter().find(|value| value.name() == word);
                known
                    .map(|value| Name(*value))
                    .ok_or_else(|| E::custom(format_args!("{UNKNOWN_WORD} for {}", T::WHAT)))
            }
        }
        deserializer.deserialize_str(Word(PhantomData))
    }
}

/// A field that is always written, as null where there is nothing (contract 4).
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(field)
}

/// The most entries that a list within a document may have: far more than any setting allows.
const ENTRIES: usize = 10_000;

/// A list that the worker keeps short.
fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Vec<T>, D::Error> {
    let entries = Vec::deserialize(field)?;
    if entries.len() > ENTRIES {
        return Err(de::Error::custom(format_args!(
            "{TOO_MANY}: {}",
            entries.len()
        )));
    }
    Ok(entries)
}

/// A version, which begins at 1 and can still be raised.
fn version<'de, D: Deserializer<'de>>(field: D) -> Result<i64, D::Error> {
    let version = i64::deserialize(field)?;
    if (1..i64::MAX).contains(&version) {
        Ok(version)
    } else {
        Err(de::Error::custom(format_args!(
            "{OUT_OF_RANGE} for a version"
        )))
    }
}

/// Bytes as BSON's generic binary.
pub(crate) fn binary(bytes: Vec<u8>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

fn fingerprint(binary: &Binary) -> Result<[u8; 32], Malformed> {
    binary
        .bytes
        .as_slice()
        .try_into()
        .map_err(|_| Malformed::new("a fingerprint of other than 32 bytes"))
}
