//! What the driver's errors mean for a batch (see [`Error`]): who must decide again, who must wait,
//! who must be asked what happened. Server messages quote documents, so only codes leave this file.

use std::time::Duration;

use mongodb::bson::{Bson, Document};
use mongodb::error::{Error as DriverError, ErrorKind, TRANSIENT_TRANSACTION_ERROR, WriteFailure};

use super::documents::Malformed;
use crate::store::{Conflict, Error};

/// MongoDB's error codes that decide something here.
pub(crate) mod code {
    /// An operation ran into its `maxTimeMS`: on a lane's document, a lock that is not given up.
    pub(crate) const MAX_TIME_EXPIRED: i32 = 50;
    /// Another transaction wrote the same document.
    pub(crate) const WRITE_CONFLICT: i32 = 112;
    /// A unique index has the key already.
    pub(crate) const DUPLICATE_KEY: i32 = 11000;
    /// The collection exists.
    pub(crate) const NAMESPACE_EXISTS: i32 = 48;
}

/// Codes without a label that are about the deployment, never about what was written: waiting (or
/// an operator) helps, splitting the batch does not.
const ENVIRONMENT: &[i32] = &[
    6,     // HostUnreachable
    7,     // HostNotFound
    11,    // UserNotFound
    13,    // Unauthorized
    18,    // AuthenticationFailed
    20,    // IllegalOperation: transactions on a standalone
    24,    // LockTimeout
    50,    // MaxTimeMSExpired
    64,    // WriteConcernTimeout
    79,    // UnknownReplWriteConcern
    89,    // NetworkTimeout
    91,    // ShutdownInProgress
    100,   // UnsatisfiableWriteConcern
    133,   // FailedToSatisfyReadPreference
    134,   // ReadConcernMajorityNotAvailableYet
    146,   // ExceededMemoryLimit
    189,   // PrimarySteppedDown
    202,   // NetworkInterfaceExceededTimeLimit
    225,   // TransactionTooOld
    246,   // SnapshotUnavailable
    251,   // NoSuchTransaction
    262,   // ExceededTimeLimit
    290,   // TransactionExceededLifetimeLimitSeconds
    365,   // TemporarilyUnavailable
    391,   // ReauthenticationRequired
    9001,  // SocketException
    10058, // LegacyNotPrimary
    10107, // NotWritablePrimary
    11600, // InterruptedAtShutdown
    11601, // Interrupted
    11602, // InterruptedDueToReplStateChange
    13435, // NotPrimaryNoSecondaryOk
    13436, // NotPrimaryOrSecondary
    14031, // OutOfDiskSpace
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
    Malformed(Malformed),
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::Driver(Box::new(error))
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
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
            Self::Timeout(_) | Self::Malformed(_) => None,
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
            Self::Malformed(malformed) => malformed.to_string(),
            Self::Driver(error) => match &*error.kind {
                ErrorKind::Command(error) => format!("code {} {}", error.code, error.code_name),
                ErrorKind::Write(_) | ErrorKind::InsertMany(_) | ErrorKind::BulkWrite(_) => {
                    format!("a write failed with code {}", self.code().unwrap_or(0))
                }
                ErrorKind::ConnectionPoolCleared { message, .. } => cause(message).to_owned(),
                kind => kind.to_string(),
            },
        }
    }

    /// The failure of a step after which certainly nothing is or will be committed.
    pub(crate) fn uncommitted(self) -> Error {
        match &self {
            Self::Timeout(_) | Self::WriteConcern(_) => return Error::unavailable(self),
            Self::Malformed(_) => return Error::refused(self),
            Self::Statement(_) | Self::Driver(_) => {}
        }
        match self.code() {
            Some(code::WRITE_CONFLICT | code::DUPLICATE_KEY) => {
                Error::Conflict(Conflict::Contention)
            }
            _ if self.has_label(TRANSIENT_TRANSACTION_ERROR) => Error::unavailable(self),
            Some(code) if ENVIRONMENT.contains(&code) => Error::unavailable(self),
            Some(_) => Error::refused(self),
            None if self.is_of_our_making() => Error::refused(self),
            None => Error::unavailable(self),
        }
    }

    /// Whether the driver refused what it was given, before any server saw it.
    fn is_of_our_making(&self) -> bool {
        matches!(
            self,
            Self::Driver(error)
                if matches!(&*error.kind, ErrorKind::InvalidArgument { .. } | ErrorKind::Bson(_))
        )
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
