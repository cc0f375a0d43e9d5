//! What judging a batch comes to: what the commit carries out whole, and what is counted after it.

use crate::domain::{Code, EventKind, SessionId, Timestamp};
use crate::record::OutRecord;
use crate::store::{Forward, ForwardEntry, LedgerEntry, SessionWrite, Unreadable, UserWrite};
use crate::wire::DeadLetterReason;

/// A judged batch.
#[derive(Default)]
pub(in crate::lane) struct Plan {
    /// What the commit carries out.
    pub(in crate::lane) writes: Writes,
    /// What is counted and logged once it is committed.
    pub(in crate::lane) tally: Tally,
    /// How many messages were judged: fewer than offered where the outbox was full.
    pub(in crate::lane) messages: usize,
    /// How many due sessions were inspected, likewise.
    pub(in crate::lane) deadlines: usize,
    /// Inspected sessions with their next deadline.
    pub(in crate::lane) inspected: Vec<(SessionId, Option<Timestamp>)>,
    /// Sessions whose deadline cannot be judged, and why.
    pub(in crate::lane) parked: Vec<(SessionId, ParkReason)>,
}

/// Everything that a batch saves, beside its position.
#[derive(Default)]
pub(in crate::lane) struct Writes {
    pub(in crate::lane) ledger: Vec<LedgerEntry>,
    pub(in crate::lane) forwards: Vec<ForwardEntry>,
    pub(in crate::lane) settled: Vec<Forward>,
    pub(in crate::lane) users: Vec<UserWrite>,
    pub(in crate::lane) sessions: Vec<SessionWrite>,
    pub(in crate::lane) outbox: Vec<OutRecord>,
}

/// What a batch adds to the metrics and the log.
#[derive(Default)]
pub(in crate::lane) struct Tally {
    pub(in crate::lane) outcomes: Vec<Outcome>,
    /// The code of every result, `None` for an accepted one.
    pub(in crate::lane) results: Vec<Option<Code>>,
    /// The events: kind and, of a deadline's, how late it fired in milliseconds.
    pub(in crate::lane) events: Vec<(EventKind, Option<i64>)>,
    pub(in crate::lane) dead_letters: Vec<DeadLetterReason>,
    /// Messages that ended as `internal_error`, and why.
    pub(in crate::lane) failures: Vec<FailureReason>,
    /// Records that were forwarded too often and judged where they are.
    pub(in crate::lane) hops_exceeded: u64,
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lane) enum Outcome {
    Decided,
    Replayed,
    Forwarded,
    Dropped,
    DeadLettered,
}

/// Why a message ends as `internal_error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lane) enum FailureReason {
    /// The rules panicked: a bug.
    Panicked,
    /// The database refuses what the message leads to.
    Refused,
    /// A document that the message needs cannot be read.
    Unreadable(Unreadable),
}

/// Why a session's deadline is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lane) enum ParkReason {
    /// The rules panicked: a bug.
    Panicked,
    /// The database refuses what the deadline leads to.
    Refused,
    /// The session cannot be read.
    Unreadable(Unreadable),
}
