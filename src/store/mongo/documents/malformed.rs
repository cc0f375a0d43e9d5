//! What is wrong with a document that cannot be read, without quoting what it holds, and which
//! document it is. Only ever runs for such a document, so it may take its time.

use mongodb::bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use serde::de::DeserializeOwned;

use crate::store::Unreadable;

/// A document longer than this is not searched for the field at fault.
const SEARCHED: usize = 1024 * 1024;
/// The most characters of an `_id` that are shown.
const SHOWN: usize = 200;
/// What the messages of this module's deserializers begin with; only these are shown as they are.
const OURS: [&str; 3] = [UNKNOWN_WORD, OUT_OF_RANGE, TOO_MANY];
/// A word that this version of the worker does not know.
pub(super) const UNKNOWN_WORD: &str = "unknown word";
/// A number that the worker never writes.
pub(super) const OUT_OF_RANGE: &str = "out of range";
/// More entries than the worker ever writes.
pub(super) const TOO_MANY: &str = "too many entries";

/// A stored document is not what this version of the worker writes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Malformed {
    reason: String,
}

impl Malformed {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }

    /// What an error of BSON or of its deserializer says, without values.
    pub(super) fn from_bson(error: &mongodb::bson::error::Error) -> Self {
        Self::new(match &error.message {
            Some(message) => without_values(message),
            None => error.kind.to_string(),
        })
    }

    /// The error for `document` of `collection`.
    pub(crate) fn in_document(self, collection: &str, document: &RawDocument) -> Unreadable {
        self.under(collection, &shown_id(document))
    }

    /// The error for the document `id` of `collection`.
    pub(crate) fn under(self, collection: &str, id: &str) -> Unreadable {
        Unreadable {
            document: format!("{collection}/{id}"),
            reason: self.reason,
        }
    }
}

/// The `_id` of `document` as text, whatever its type.
pub(crate) fn shown_id(document: &RawDocument) -> String {
    let shown = match document.get("_id") {
        Ok(Some(RawBsonRef::String(id))) if id.len() <= SHOWN => return id.to_owned(),
        Ok(Some(RawBsonRef::String(id))) => id.to_owned(),
        Ok(Some(other)) => mongodb::bson::Bson::try_from(other)
            .map_or_else(|_| "?".to_owned(), |other| other.to_string()),
        Ok(None) | Err(_) => "?".to_owned(),
    };
    match shown.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

/// The whole `_id` of `document`, as text.
pub(crate) fn id_of(document: &RawDocument) -> String {
    document
        .get_str("_id")
        .map_or_else(|_| shown_id(document), str::to_owned)
}

/// Why `bytes` are no `T`, and in which field.
pub(super) fn explain<T: DeserializeOwned>(
    bytes: &[u8],
    error: &mongodb::bson::error::Error,
) -> Malformed {
    let Malformed { reason } = Malformed::from_bson(error);
    match field_at_fault::<T>(bytes) {
        Some(field) => Malformed::new(format!("{field}: {reason}")),
        None => Malformed { reason },
    }
}

/// The field whose value cannot be read: the first that makes the fields up to it unreadable for
/// another reason than what is still to come.
fn field_at_fault<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
    if bytes.len() > SEARCHED {
        return None;
    }
    let mut read = RawDocumentBuf::new();
    for element in RawDocument::from_bytes(bytes).ok()? {
        let (name, value) = element.ok()?;
        read.append(name, value);
        let error = mongodb::bson::deserialize_from_slice::<T>(read.as_bytes()).err()?;
        let is_incomplete = error
            .message
            .is_some_and(|message| message.contains("missing field"));
        if !is_incomplete {
            return Some(name.as_str().to_owned());
        }
    }
    None
}

/// What a deserializer says, less the values that it quotes.
fn without_values(message: &str) -> String {
    if OURS.iter().any(|ours| message.starts_with(ours))
        || message.starts_with("missing field")
        || message.starts_with("duplicate field")
    {
        return message.to_owned();
    }
    let wrong = ["invalid type: ", "invalid value: "];
    if let Some((found, expected)) = wrong
        .iter()
        .find_map(|wrong| message.strip_prefix(wrong))
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        return format!("{} instead of {expected}", before_value(found));
    }
    match message.strip_prefix("expecting ") {
        Some(expected) => format!("no {}", before_value(expected)),
        None => "not the value that the worker writes".to_owned(),
    }
}

fn before_value(text: &str) -> &str {
    let end = text
        .find(['"', '`', '(', '{', '['])
        .or_else(|| text.find(" but "))
        .unwrap_or(text.len());
    text[..end].trim()
}
