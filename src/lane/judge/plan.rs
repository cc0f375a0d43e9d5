//! What judging a batch comes to: what the commit carries out whole, and what is counted after it.

use crate::domain::{Code, EventKind, SessionId, Timestamp};
use crate::record::OutRecord;
use crate::store::{ForwardEntry, LedgerEntry, SessionWrite, UserWrite};
use crate::wire::DeadLetterReason;

/// What became of one record, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lane) enum Fate {
    Decided,
    Replayed,
    Forwarded,
    Dropped,
    DeadLettered,
}

/// What judging a batch came to: everything that a commit needs, and what to note after it.
#[derive(Default)]
pub(in crate::lane) struct Plan {
    /// How many items were judged: fewer than offered where the outbox was full.
    pub(in crate::lane) taken: usize,
    /// How many due sessions were looked at, likewise.
    pub(in crate::lane) timers_taken: usize,
    pub(in crate::lane) outbox: Vec<OutRecord>,
    pub(in crate::lane) ledger: Vec<LedgerEntry>,
    pub(in crate::lane) forwards: Vec<ForwardEntry>,
    pub(in crate::lane) users: Vec<UserWrite>,
    pub(in crate::lane) sessions: Vec<SessionWrite>,
    pub(in crate::lane) fates: Vec<Fate>,
    /// The code of every result, `None` for an accepted one.
    pub(in crate::lane) results: Vec<Option<Code>>,
    /// The events, for the metrics: kind and, of a timer's, how late it fired in milliseconds.
    pub(in crate::lane) events: Vec<(EventKind, Option<i64>)>,
    /// Sessions whose deadlines make the rules panic: parked until the next sweep.
    pub(in crate::lane) parked: Vec<SessionId>,
    pub(in crate::lane) dead_letters: Vec<DeadLetterReason>,
    pub(in crate::lane) hops_exceeded: u64,
    /// Due sessions that were looked at, with their next deadline.
    pub(in crate::lane) looked_at: Vec<(SessionId, Option<Timestamp>)>,
}
