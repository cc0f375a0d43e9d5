//! What the driver's errors mean for a batch (see [`Error`]): whether it is decided again, waits, or
//! has to find out what happened. Server messages quote documents, so only codes leave this file.

use std::time::Duration;

use mongodb::bson::error::ErrorKind as BsonErrorKind;
use mongodb::bson::{Bson, Document};
use mongodb::error::{Error as DriverError, ErrorKind, TRANSIENT_TRANSACTION_ERROR, WriteFailure};

use super::documents::Malformed;
use crate::store::{Conflict, Error, Unreadable};

/// MongoDB's error codes that decide something here.
pub(crate) mod code {
    /// UserNotFound, AuthenticationFailed, MechanismUnavailable.
    pub(crate) const LOG_IN: [i32; 3] = [11, 18, 334];
    /// A stored field is of another type than the update needs.
    pub(crate) const TYPE_MISMATCH: i32 = 14;
    /// The user lacks a privilege.
    pub(crate) const UNAUTHORIZED: i32 = 13;
    /// An operation ran into its `maxTimeMS`: on a lane's document, a lock that is not given up.
    pub(crate) const MAX_TIME_EXPIRED: i32 = 50;
    /// Another transaction wrote the same document.
    pub(crate) const WRITE_CONFLICT: i32 = 112;
    /// A unique index has the key already.
    pub(crate) const DUPLICATE_KEY: i32 = 11000;
    /// The collection does not exist.
    pub(crate) const NAMESPACE_NOT_FOUND: i32 = 26;
    /// The collection exists.
    pub(crate) const NAMESPACE_EXISTS: i32 = 48;
}

/// The only codes that blame what was written: trying the same again cannot help. Every other code,
/// known or not, is a fault of the deployment, which ends; a good command must not be condemned for it.
const CONTENT: &[i32] = &[
    // These three may also be said of a command's own options, which a wrong deployment refuses (a
    // write concern, a read-only view): then nothing else can be committed either, and a lane that
    // splits its batch finds that out before it gives up a message.
    2,      // BadValue: a value that an update operator cannot work with
    9,      // FailedToParse: a statement that the server cannot understand
    14,     // TypeMismatch: a stored field of another type than the update needs
    22,     // InvalidBSON: bytes that are no document
    121,    // DocumentValidationFailure: a validator of the collection rejects the document
    10_334, // BSONObjectTooLarge: the document or the command is larger than 16 MiB
    17_280, // KeyTooLong: a value too long for an index, on servers that bound it
    17_419, // the document would grow beyond 16 MiB by an update
    17_420, // the document would grow beyond 16 MiB by a replacement
];

/// Why a call to the database brought no answer that helps.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No answer in time: the call may still be running on the server.
    Timeout(Duration),
    /// What the driver or the server said.
    Driver(Box<DriverError>),
    /// One statement of a command failed with this code.
    Statement(i32),
    /// The write was not replicated as asked: code of the write concern error.
    WriteConcern(i32),
    /// What was read is not what this worker writes.
    Unreadable(Unreadable),
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::Driver(Box::new(error))
    }
}

impl From<Unreadable> for Failure {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

/// For reads that do not say which document it was.
impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Unreadable(malformed.under("a stored document", "?"))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason())
    }
}

/// The driver's own error is not a source: its text may quote documents.
impl std::error::Error for Failure {}

impl Failure {
    /// The server's code, where it gave one.
    pub(crate) fn code(&self) -> Option<i32> {
        match self {
            Self::Timeout(_) | Self::Unreadable(_) => None,
            Self::Statement(code) | Self::WriteConcern(code) => Some(*code),
            Self::Driver(error) => match &*error.kind {
                ErrorKind::Command(error) => Some(error.code),
                ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
                ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
                _ => None,
            },
        }
    }

    /// Whether the driver or the server gave the failure this label.
    pub(crate) fn has_label(&self, label: &str) -> bool {
        matches!(self, Self::Driver(error) if error.contains_label(label))
    }

    /// What happened, without payload.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Timeout(limit) => format!("no answer within {limit:?}"),
            Self::Statement(code) => format!("a statement failed with code {code}"),
            Self::WriteConcern(code) => format!("the write concern failed with code {code}"),
            Self::Unreadable(unreadable) => unreadable.to_string(),
            Self::Driver(error) => match &*error.kind {
                ErrorKind::Command(error) if error.code == code::UNAUTHORIZED => {
                    "code 13 Unauthorized: the user in mongo.uri lacks a privilege; \
                     `session-worker check` lists what it needs"
                        .to_owned()
                }
                ErrorKind::Command(error) => format!("code {} {}", error.code, error.code_name),
                ErrorKind::Write(_) | ErrorKind::InsertMany(_) | ErrorKind::BulkWrite(_) => {
                    format!("a write failed with code {}", self.code().unwrap_or(0))
                }
                ErrorKind::ConnectionPoolCleared { message, .. } => cause(message).to_owned(),
                kind => kind.to_string(),
            },
        }
    }

    /// The failure of a write after which certainly nothing is or will be committed.
    pub(crate) fn uncommitted(self) -> Error {
        if self.code() == Some(code::WRITE_CONFLICT) || self.code() == Some(code::DUPLICATE_KEY) {
            Error::Conflict(Conflict::Contention)
        } else if self.blames_content() {
            Error::refused(self)
        } else {
            Error::unavailable(self)
        }
    }

    /// Whether what was written is at fault, and nothing that waiting or an operator could change.
    fn blames_content(&self) -> bool {
        if self.has_label(TRANSIENT_TRANSACTION_ERROR) || matches!(self, Self::WriteConcern(_)) {
            return false;
        }
        if let Some(code) = self.code() {
            return CONTENT.contains(&code);
        }
        // What the driver refused to send; bytes that it could not read came from the server.
        matches!(self, Self::Driver(error) if match &*error.kind {
            ErrorKind::InvalidArgument { .. } => true,
            ErrorKind::Bson(error) => matches!(
                error.kind,
                BsonErrorKind::Serialization { .. } | BsonErrorKind::TooLargeUnsignedInteger { .. }
            ),
            _ => false,
        })
    }
}

/// What first went wrong, out of the driver's account of why it dropped its connections.
fn cause(message: &str) -> &str {
    let first = message
        .split_once("Kind: ")
        .map_or(message, |(_, cause)| cause);
    first
        .split_once(", labels: ")
        .map_or(first, |(cause, _)| cause)
}

/// Takes the number of documents a write command matched or inserted from its reply.
pub(crate) fn written(reply: &Document) -> Result<i64, Failure> {
    let first = reply
        .get_array("writeErrors")
        .ok()
        .and_then(|errors| errors.first());
    if let Some(code) = first
        .and_then(Bson::as_document)
        .and_then(|error| error.get_i32("code").ok())
    {
        return Err(Failure::Statement(code));
    }
    check_write_concern(reply)?;
    Ok(integer(reply.get("n")).unwrap_or(0))
}

/// A reply of a command that was asked for a write concern.
pub(crate) fn check_write_concern(reply: &Document) -> Result<(), Failure> {
    match reply
        .get_document("writeConcernError")
        .ok()
        .and_then(|error| error.get_i32("code").ok())
    {
        Some(code) => Err(Failure::WriteConcern(code)),
        None => Ok(()),
    }
}

/// A number, however the server chose to send it.
pub(crate) fn integer(value: Option<&Bson>) -> Option<i64> {
    match value? {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "counts are whole and small"
        )]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
