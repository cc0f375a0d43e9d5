//! A batch as the few write commands that save it: one command a collection and kind with all its
//! statements, built before the transaction begins, each with what its reply must say.

use mongodb::bson::raw::{CStr, RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr};
use mongodb::bson::{Document, RawDocument, doc, rawdoc};

use super::documents::{
    ForwardDocument, LastRecordDocument, LedgerDocument, ParticipantDocument, SessionDocument,
    UserDocument, batch_key, date, outbox_document, participant_key, to_raw,
};
use super::indexes::{FORWARDS, LANES, LEDGER, OUTBOX, PARTICIPANTS, SESSIONS, USERS};
use crate::domain::UserId;
use crate::record::TopicPartition;
use crate::store::{Commit, Conflict, Error, SessionWrite, UserWrite};

/// The largest document MongoDB stores.
const DOCUMENT_MAX: usize = 16 * 1024 * 1024;
/// The most bytes of statements in one command, well below the 16 MiB of a whole command.
const COMMAND_MAX: usize = 8 * 1024 * 1024;
/// How many acknowledged batches may wait for the next batch that sweeps them away.
const SWEEP_EVERY: i64 = 8;

/// One command of the transaction.
#[derive(Debug)]
pub(crate) struct Step {
    /// The command.
    pub(crate) command: RawDocumentBuf,
    /// What its reply must say for the batch to go on.
    pub(crate) expect: Expect,
}

/// What the number of documents in a reply must be.
#[derive(Debug)]
pub(crate) enum Expect {
    /// One, or the lane has another owner.
    TheLane,
    /// As many as there are statements, or another writer was faster; of what.
    Exactly(i64, Conflict),
    /// As many as there are statements, less those released users who have no document that
    /// a release could change.
    Users(i64, Vec<UserId>),
    /// Any: what is not there needs no deletion.
    Any,
}

/// Whose batch it is, and what it follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Predecessor<'a> {
    /// The lane.
    pub(crate) lane: &'a TopicPartition,
    /// Its owner's epoch.
    pub(crate) epoch: i64,
    /// The last batch.
    pub(crate) batch: i64,
    /// Up to which batch the outbox was swept.
    pub(crate) swept: i64,
}

/// The commands that save `commit`, and up to which batch they sweep the outbox.
///
/// # Errors
/// [`Error::Refused`] where a document is larger than MongoDB stores.
pub(crate) fn plan(
    commit: &Commit,
    predecessor: Predecessor<'_>,
) -> Result<(Vec<Step>, i64), Error> {
    let mut steps = vec![lane_step(commit, predecessor)];
    users(commit, &mut steps)?;
    sessions(commit, &mut steps)?;
    let ledger = commit
        .ledger
        .iter()
        .map(|entry| to_raw(&LedgerDocument::new(entry)));
    insert(LEDGER, ledger.collect(), Conflict::Ledger, &mut steps)?;
    forwards(commit, &mut steps)?;
    let swept = outbox(commit, predecessor, &mut steps)?;
    Ok((steps, swept))
}

/// The compare-and-set of the lane goes first: what holds anything of this batch, holds the
/// lane's document, so a next owner that got it has nothing else to wait for.
fn lane_step(commit: &Commit, predecessor: Predecessor<'_>) -> Step {
    let mut set = rawdoc! { "batch": predecessor.batch + 1 };
    match commit.next {
        Some(next) => set.append(cstr!("next"), next),
        None => set.append(cstr!("next"), RawBsonRef::Null),
    }
    set.append(cstr!("acked"), commit.acked);
    set.append(cstr!("deaths"), commit.deaths);
    set.append(cstr!("clock"), date(commit.clock));
    match commit.last {
        Some(last) => set.append(cstr!("last"), to_raw(&LastRecordDocument::new(last))),
        None => set.append(cstr!("last"), RawBsonRef::Null),
    }
    let query = rawdoc! {
        "_id": predecessor.lane.to_string(),
        "epoch": predecessor.epoch,
        "batch": predecessor.batch,
    };
    let statement = rawdoc! { "q": query, "u": { "$set": set } };
    let command = command(cstr!("update"), LANES, cstr!("updates"), &[statement]);
    Step {
        command,
        expect: Expect::TheLane,
    }
}

fn users(commit: &Commit, steps: &mut Vec<Step>) -> Result<(), Error> {
    let mut new = Vec::new();
    let mut known = Vec::new();
    let mut released = Vec::new();
    for write in &commit.users {
        match write {
            UserWrite::Replace {
                expected: None,
                limits,
            } => {
                new.push(to_raw(&UserDocument::new(limits, 1)));
            }
            UserWrite::Replace {
                expected: Some(version),
                limits,
            } => {
                known.push(rawdoc! {
                    "q": { "_id": limits.user_id.as_str(), "version": *version },
                    "u": to_raw(&UserDocument::new(limits, version + 1)),
                });
            }
            UserWrite::Release { user_id, sessions } => {
                let mut left = RawArrayBuf::new();
                for session in sessions {
                    left.push(session.as_str());
                }
                let version = rawdoc! { "$lt": i64::MAX, "$not": { "$type": "array" } };
                known.push(rawdoc! {
                    "q": {
                        "_id": user_id.as_str(),
                        "open": { "$type": "array" },
                        "version": version,
                    },
                    "u": { "$pull": { "open": { "$in": left } }, "$inc": { "version": 1_i64 } },
                });
                released.push(user_id.clone());
            }
        }
    }
    if released.is_empty() {
        update(USERS, known, Conflict::User, steps)?;
    } else {
        // In one command whatever their size: only all of them together can be counted.
        let expect = Expect::Users(length(&known), released);
        let command = command(cstr!("update"), USERS, cstr!("updates"), &known);
        steps.push(Step { command, expect });
    }
    insert(USERS, new, Conflict::User, steps)
}

/// Which of the users that `filter` finds a release can change: one whose document is damaged keeps its
/// places, rather than keep a session of other users from ending.
pub(crate) fn releasable(mut filter: Document) -> Document {
    filter.insert("open", doc! { "$type": "array" });
    filter.insert(
        "version",
        doc! { "$lt": i64::MAX, "$not": { "$type": "array" } },
    );
    filter
}

fn sessions(commit: &Commit, steps: &mut Vec<Step>) -> Result<(), Error> {
    let (mut new, mut known) = (Vec::new(), Vec::new());
    let (mut joined, mut changed) = (Vec::new(), Vec::new());
    for SessionWrite { before, after } in &commit.sessions {
        let document = to_raw(&SessionDocument::new(after));
        let id = &after.session.id;
        let former = before
            .as_ref()
            .map_or(&[][..], |before| &before.session.participants);
        match before {
            None => new.push(document),
            Some(before) => known.push(rawdoc! {
                "q": { "_id": id.as_str(), "version": before.version },
                "u": { "$set": changes(&to_raw(&SessionDocument::new(before)), &document) },
            }),
        }
        for (ordinal, participant) in after.session.participants.iter().enumerate() {
            let document = || to_raw(&ParticipantDocument::new(id, ordinal, participant));
            match former.get(ordinal) {
                None => joined.push(document()),
                Some(former) if former == participant => {}
                Some(former) => {
                    let former = to_raw(&ParticipantDocument::new(id, ordinal, former));
                    changed.push(rawdoc! {
                        "q": { "_id": participant_key(id, &participant.user_id) },
                        "u": { "$set": changes(&former, &document()) },
                    });
                }
            }
        }
    }
    update(SESSIONS, known, Conflict::Session, steps)?;
    insert(SESSIONS, new, Conflict::Session, steps)?;
    update(PARTICIPANTS, changed, Conflict::Session, steps)?;
    insert(PARTICIPANTS, joined, Conflict::Session, steps)
}

/// The fields of `after` that are not as in `before`: two documents of one shape.
fn changes(before: &RawDocument, after: &RawDocument) -> RawDocumentBuf {
    let mut set = RawDocumentBuf::new();
    for (before, after) in before.into_iter().zip(after) {
        let (_, before) = before.expect("the store wrote it itself");
        let (name, after) = after.expect("the store wrote it itself");
        if before != after {
            set.append(name, after);
        }
    }
    set
}

/// A forward may be repeated after an operator moved a lane back, so it replaces its like.
fn forwards(commit: &Commit, steps: &mut Vec<Step>) -> Result<(), Error> {
    let statements = commit.forwards.iter().map(|entry| {
        let document = to_raw(&ForwardDocument::new(entry));
        let key = super::documents::forward_key(&entry.forward.origin, entry.forward.home);
        rawdoc! { "q": { "_id": key }, "u": document, "upsert": true }
    });
    update(FORWARDS, statements.collect(), Conflict::Contention, steps)?;
    let settled = commit.settled.iter().map(|forward| {
        let key = super::documents::forward_key(&forward.origin, forward.home);
        rawdoc! { "q": { "_id": key }, "u": { "$set": { "settled": true } } }
    });
    update(FORWARDS, settled.collect(), Conflict::Contention, steps)
}

fn outbox(
    commit: &Commit,
    predecessor: Predecessor<'_>,
    steps: &mut Vec<Step>,
) -> Result<i64, Error> {
    let Predecessor {
        lane, batch, swept, ..
    } = predecessor;
    if !commit.outbox.is_empty() {
        let document = outbox_document(&batch_key(lane, batch + 1), &commit.outbox);
        insert(OUTBOX, vec![document], Conflict::Contention, steps)?;
    }
    let due = commit.acked - swept;
    if due < SWEEP_EVERY && (due == 0 || !commit.outbox.is_empty()) {
        return Ok(swept);
    }
    let statement = rawdoc! {
        "q": { "_id": { "$gt": batch_key(lane, swept), "$lte": batch_key(lane, commit.acked) } },
        "limit": 0,
    };
    let command = command(cstr!("delete"), OUTBOX, cstr!("deletes"), &[statement]);
    steps.push(Step {
        command,
        expect: Expect::Any,
    });
    Ok(commit.acked)
}

fn update(
    collection: &str,
    statements: Vec<RawDocumentBuf>,
    conflict: Conflict,
    steps: &mut Vec<Step>,
) -> Result<(), Error> {
    write(
        cstr!("update"),
        collection,
        cstr!("updates"),
        &statements,
        conflict,
        steps,
    )
}

fn insert(
    collection: &str,
    documents: Vec<RawDocumentBuf>,
    conflict: Conflict,
    steps: &mut Vec<Step>,
) -> Result<(), Error> {
    write(
        cstr!("insert"),
        collection,
        cstr!("documents"),
        &documents,
        conflict,
        steps,
    )
}

fn write(
    verb: &CStr,
    collection: &str,
    field: &CStr,
    statements: &[RawDocumentBuf],
    conflict: Conflict,
    steps: &mut Vec<Step>,
) -> Result<(), Error> {
    let mut rest = statements;
    while !rest.is_empty() {
        let mut bytes = 0;
        let mut end = 0;
        for statement in rest {
            let size = statement.as_bytes().len();
            if size > DOCUMENT_MAX {
                return Err(Error::refused(format!(
                    "a document of {size} bytes for {collection}"
                )));
            }
            bytes += size;
            if end > 0 && bytes > COMMAND_MAX {
                break;
            }
            end += 1;
        }
        let (now, later) = rest.split_at(end);
        let command = command(verb, collection, field, now);
        steps.push(Step {
            command,
            expect: Expect::Exactly(length(now), conflict),
        });
        rest = later;
    }
    Ok(())
}

fn command(
    verb: &CStr,
    collection: &str,
    field: &CStr,
    statements: &[RawDocumentBuf],
) -> RawDocumentBuf {
    let mut list = RawArrayBuf::new();
    for statement in statements {
        list.push(statement.as_ref());
    }
    let mut command = RawDocumentBuf::new();
    command.append(verb, collection);
    command.append(field, list);
    command
}

fn length(statements: &[RawDocumentBuf]) -> i64 {
    i64::try_from(statements.len()).expect("a batch has fewer statements")
}
