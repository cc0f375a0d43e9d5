//! What a batch loads and saves, as traits: MongoDB is the truth, [`memory`] passes the same contract
//! suite. A store knows no Kafka and no Avro; its errors say what is certain about a commit.

pub mod memory;
pub mod mongo;
mod stop;
pub mod views;

pub use self::stop::{DEATHS_TOLERATED, IntakeStop, Remedy, StopReason};

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;

use crate::domain::{
    InviteCode, MessageId, Remembered, Session, SessionId, Timestamp, UserId, UserLimits,
};
use crate::record::{Origin, OutRecord, TopicPartition};

/// A session as stored, with what the shell keeps beside the rules' state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// The state.
    pub session: Session,
    /// Its home partition of `session-command`, set at creation, never changed.
    pub home: i32,
    /// 1 when new, raised by one at every write, by the code that makes the next state.
    pub version: i64,
}

/// A user's limits as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUser {
    /// The limits.
    pub limits: UserLimits,
    /// 1 when new, raised by one at every write, by the store; compared at the next.
    pub version: i64,
}

/// What the ledger remembers of a judged message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Under which id.
    pub id: MessageId,
    /// Content and first result.
    pub remembered: Remembered,
    /// Where the judged record was first read: a forward with the same origin is the same record.
    pub origin: Origin,
    /// When it may be forgotten; `None` while its session is kept.
    pub forget_at: Option<Timestamp>,
}

/// The evidence that a lane sent a record home: without it a `sw-forward` header counts as absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forward {
    /// Where the record was first read.
    pub origin: Origin,
    /// The partition it was sent to.
    pub home: i32,
    /// The digest of the message's content.
    pub fingerprint: [u8; 32],
}

/// A stored forward and when it may be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardEntry {
    /// The evidence.
    pub forward: Forward,
    /// When it may be forgotten.
    pub forget_at: Timestamp,
}

/// What the evidence of a forward says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The record was sent, and its home has not judged it yet.
    Sent,
    /// Its home has judged it: a further copy is a repeat after a crash.
    Settled,
}

/// A document that exists and is not as the worker writes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the document {document} cannot be read: {reason}")]
pub struct Unreadable {
    /// Its collection and `_id`: `participants/<id>`.
    pub document: String,
    /// Why, without payload.
    pub reason: String,
}

/// The last input record that a batch consumed: how a recreated topic is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds, -1 where it has none.
    pub timestamp: i64,
    /// The CRC-32 of its key and value.
    pub crc: u32,
}

/// A lane's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanePosition {
    /// The fence: raised by every owner before it acts.
    pub epoch: i64,
    /// The number of the last batch.
    pub batch: i64,
    /// The offset to read next; `None`: never read, start at the earliest.
    pub next: Option<i64>,
    /// The last batch whose records are all acknowledged by the broker.
    pub acked: i64,
    /// The time of the last decision.
    pub clock: Timestamp,
    /// The last record consumed.
    pub last: Option<LastRecord>,
    /// How often an operator has changed the lane (`lanes seek`, `lanes resume`).
    pub revision: i64,
    /// How many owners in a row ended without progress while there was something to read
    /// (see [`Note::Reading`]).
    pub deaths: i32,
}

impl LanePosition {
    /// The position of a lane that was never owned.
    pub fn unread() -> Self {
        Self {
            epoch: 0,
            batch: 0,
            next: None,
            acked: 0,
            clock: Timestamp(0),
            last: None,
            revision: 0,
            deaths: 0,
        }
    }
}

/// What a lane writes down about itself outside of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// There is something to read, and reading begins: an owner that ends without a further note or
    /// without consuming anything counts as a death.
    Reading,
    /// The lane has made progress without a batch, or ended in order: earlier deaths do not count.
    Sound,
    /// The intake stopped (`Some`) or runs (`None`).
    Intake(Option<IntakeStop>),
    /// An operator has changed the lane: its revision rises, its owner starts again, and neither earlier
    /// deaths nor a stopped intake count.
    Revised,
}

/// What a batch wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Messages that may have been judged before.
    pub ids: Vec<MessageId>,
    /// Users whose limits matter.
    pub users: Vec<UserId>,
    /// Sessions by id.
    pub sessions: Vec<SessionId>,
    /// Sessions by invite code.
    pub invite_codes: Vec<InviteCode>,
    /// Forwards to be verified.
    pub forwards: Vec<Forward>,
}

/// A session that was looked for and exists.
#[derive(Clone, Debug)]
pub enum Found {
    /// This lane is its home: the whole state.
    Here(Arc<StoredSession>),
    /// Another partition of `session-command` is its home.
    Elsewhere {
        /// That partition.
        home: i32,
    },
    /// The session, or one of its participants, cannot be read.
    Unreadable(Unreadable),
}

/// What the store knows; what is absent here does not exist. A document that cannot be read is
/// [`Unreadable`] under its key and affects only who asks for that key.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Judged messages.
    pub ledger: HashMap<MessageId, Result<LedgerEntry, Unreadable>>,
    /// Users who have used anything.
    pub users: HashMap<UserId, Result<StoredUser, Unreadable>>,
    /// Sessions asked for by id or found by code.
    pub sessions: HashMap<SessionId, Found>,
    /// Which session a code opens.
    pub invite_codes: HashMap<InviteCode, SessionId>,
    /// The forwards that a lane really sent.
    pub forwards: HashMap<Forward, Result<Evidence, Unreadable>>,
}

/// The deadlines of a home's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// The next deadline of every session that has not ended.
    pub sessions: Vec<(SessionId, Timestamp)>,
    /// Sessions whose deadline cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// A session to save.
#[derive(Clone, Debug)]
pub struct SessionWrite {
    /// What was there, compared by version; `None`: the session is new.
    pub before: Option<Arc<StoredSession>>,
    /// What shall be there.
    pub after: Arc<StoredSession>,
}

/// A user to save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserWrite {
    /// The user was read: replaced if still at `expected`; `None`: the user is new.
    Replace {
        /// The version that was read.
        expected: Option<i64>,
        /// The limits that shall be there.
        limits: UserLimits,
    },
    /// The user was not read: places are freed whatever else the user holds.
    Release {
        /// Who.
        user_id: UserId,
        /// The sessions left.
        sessions: Vec<SessionId>,
    },
}

/// The records of one batch, to be published in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxBatch {
    /// The batch's number in its lane.
    pub batch: i64,
    /// What to publish.
    pub records: Arc<[OutRecord]>,
}

/// One batch, whole: everything here is committed by a majority, or nothing.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Where to read on; `None`: still unread.
    pub next: Option<i64>,
    /// The last record consumed, ever.
    pub last: Option<LastRecord>,
    /// The time of this batch's decisions.
    pub clock: Timestamp,
    /// All batches up to this one are acknowledged; their outbox documents go.
    pub acked: i64,
    /// How many owners in a row died while they read: 0 once something is consumed. An acknowledgement or
    /// a deadline is no progress of the intake.
    pub deaths: i32,
    /// New memory.
    pub ledger: Vec<LedgerEntry>,
    /// Evidence of forwards.
    pub forwards: Vec<ForwardEntry>,
    /// Forwards to this lane that this batch judged.
    pub settled: Vec<Forward>,
    /// Users, each at most once.
    pub users: Vec<UserWrite>,
    /// Sessions, each at most once.
    pub sessions: Vec<SessionWrite>,
    /// What to publish, in order; may be empty.
    pub outbox: Arc<[OutRecord]>,
}

impl Commit {
    /// A commit that changes nothing but what stands in `position`.
    pub fn at(position: &LanePosition) -> Self {
        Self {
            next: position.next,
            last: position.last,
            clock: position.clock,
            acked: position.acked,
            deaths: position.deaths,
            ledger: Vec::new(),
            forwards: Vec::new(),
            settled: Vec::new(),
            users: Vec::new(),
            sessions: Vec::new(),
            outbox: Arc::new([]),
        }
    }

    /// Holds callers to what the types cannot say, on every store alike.
    pub(crate) fn assert_consistent(&self) {
        let mut sessions = HashSet::new();
        for SessionWrite { before, after } in &self.sessions {
            assert!(
                sessions.insert(&after.session.id),
                "each session is written at most once"
            );
            let version = before.as_ref().map_or(0, |before| before.version);
            assert_eq!(
                after.version,
                version + 1,
                "every write raises the version by one"
            );
            if let Some(before) = before {
                assert_eq!(
                    before.session.id, after.session.id,
                    "a session keeps its id"
                );
                assert_eq!(before.home, after.home, "a session keeps its home");
            }
        }
        let mut users = HashSet::new();
        for write in &self.users {
            let (UserWrite::Replace {
                limits: UserLimits { user_id, .. },
                ..
            }
            | UserWrite::Release { user_id, .. }) = write;
            assert!(users.insert(user_id), "each user is written at most once");
        }
    }
}

/// What a commit collided with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conflict {
    /// A user's version, or a user who is new no more.
    User,
    /// A session's version, id or invite code, or a participant.
    Session,
    /// The id of a message that was judged meanwhile.
    Ledger,
    /// Another transaction holds one of the documents; which one is not known.
    Contention,
}

impl Conflict {
    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Session => "session",
            Self::Ledger => "ledger",
            Self::Contention => "contention",
        }
    }
}

/// What an operational error came from; its text carries no payload.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong at the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was committed; another writer was in the way. Forget every decision and decide again.
    #[error("conflict: {}", .0.as_str())]
    Conflict(Conflict),
    /// Nothing was committed: the lane's document is not as this owner left it.
    #[error("the lane has another owner or position")]
    Fenced,
    /// The commit may or may not have happened: fence again and read the position.
    #[error("the outcome of the commit is unknown: {source}")]
    Unknown {
        /// What the driver said.
        source: Cause,
    },
    /// A fault of the database or the way to it; nothing was committed. Wait and try again.
    #[error("the database is unavailable: {source}")]
    Unavailable {
        /// What the driver said.
        source: Cause,
    },
    /// The server refused this very content; nothing was committed. Trying again cannot help.
    #[error("the database refused: {source}")]
    Refused {
        /// What the server said.
        source: Cause,
    },
}

impl Error {
    /// A fault with these words.
    pub fn unavailable(source: impl Into<Cause>) -> Self {
        Self::Unavailable {
            source: source.into(),
        }
    }

    /// A refusal with these words.
    pub fn refused(source: impl Into<Cause>) -> Self {
        Self::Refused {
            source: source.into(),
        }
    }

    /// An unknown outcome with these words.
    pub fn unknown(source: impl Into<Cause>) -> Self {
        Self::Unknown {
            source: source.into(),
        }
    }
}

/// The database, for the next owner of a lane.
pub trait Store: Send + Sync + 'static {
    /// The handle that only the lane's owner has.
    type Lane: LaneStore;

    /// Makes the caller the owner of `lane`: ends what an earlier owner left open, raises the epoch
    /// with majority (no older transaction can commit after that), and reads the position.
    /// `home`: the partition of `session-command` this lane is the home of; `None` for other topics.
    ///
    /// # Errors
    /// [`Error::Unavailable`] only, to be tried again.
    fn fence(
        &self,
        lane: &TopicPartition,
        home: Option<i32>,
    ) -> impl Future<Output = Result<(Self::Lane, LanePosition), Error>> + Send;

    /// The revision of each of `lanes` that is stored, in one look-up (see [`LanePosition::revision`]).
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn revisions(
        &self,
        lanes: &[TopicPartition],
    ) -> impl Future<Output = Result<HashMap<TopicPartition, i64>, Error>> + Send;
}

/// One lane's view of the database, as long as no other owner fences the lane.
pub trait LaneStore: Send + Sync + 'static {
    /// Reads what a batch wants to know, majority-committed. Never fails on a document's content.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn load(&self, ask: &Ask) -> impl Future<Output = Result<Loaded, Error>> + Send;

    /// Commits a batch in one transaction with the lane's compare-and-set and returns its number.
    ///
    /// # Errors
    /// Any [`Error`]; only after [`Error::Unknown`] is it uncertain whether it happened.
    fn commit(&mut self, commit: &Commit) -> impl Future<Output = Result<i64, Error>> + Send;

    /// The batches after `acked`, in order: what a new owner publishes again.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; its source names a document that cannot be read.
    fn outbox(&self, acked: i64) -> impl Future<Output = Result<Vec<OutboxBatch>, Error>> + Send;

    /// The deadlines of the sessions at home here. Never fails on a document's content.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn deadlines(&self) -> impl Future<Output = Result<Deadlines, Error>> + Send;

    /// Writes `note` into the lane's document if this handle is still the owner.
    ///
    /// # Errors
    /// [`Error::Fenced`] or [`Error::Unavailable`].
    fn note(&self, note: Note) -> impl Future<Output = Result<(), Error>> + Send;
}
