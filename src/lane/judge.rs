//! Judging a batch: synchronous, on what was loaded, one message after another. Later messages see what
//! earlier ones did; nothing leaves the batch before it is committed. A message that makes the rules
//! panic, or that needs a document which cannot be read, ends as `internal_error` with a dead letter and
//! leaves no other trace.

mod load;
mod plan;
mod workspace;

#[cfg(test)]
mod tests;

pub(super) use load::load_request;
pub(super) use plan::{FailureReason, Outcome, ParkReason, Plan, Tally};

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::domain::{
    Admission, Cause, CommandResult, Context, Decision, InviteCode, MessageId, Remembered, Request,
    Rules, SessionId, State, Timestamp, admit, decide, elapse, refuse_attempts,
};
use crate::kafka::record_bytes;
use crate::planted::{self, Bug};
use crate::record::{Origin, OutRecord};
use crate::store::{Evidence, Forward, ForwardEntry, LedgerEntry, Loaded, Unreadable};
use crate::wire::{Codec, DeadLetterReason, Decoded, Passthrough};

use super::Homes;
use super::cache::Cache;
use super::intake::{Content, Item, Message, Trial};
use workspace::{SessionLocation, Workspace};

/// How often a record may be forwarded (contract 1, Forwarding).
const MAX_HOPS: u32 = 3;
/// How long the evidence of a forward is kept: longer than a topic usually keeps the forwarded record.
const FORWARD_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a match is remembered at least (contract 2).
const MATCH_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a lane knows while it judges.
pub(super) struct JudgeContext<'a> {
    /// The partition of `session-command` that this lane is the home of.
    pub(super) home: Option<i32>,
    pub(super) homes: &'a Homes,
    pub(super) codec: &'a Codec,
    pub(super) rules: &'a Rules,
    pub(super) group: &'a str,
    pub(super) now: Timestamp,
    /// Bytes of output after which the batch ends.
    pub(super) outbox_bytes: usize,
    /// What the broker takes at most in one record of a topic, in bytes.
    pub(super) record_bytes: &'a (dyn Fn(&str) -> usize + Sync),
}

/// Judges due sessions, then items, until the outbox is full.
pub(super) fn judge(
    context: &JudgeContext<'_>,
    cache: &mut Cache,
    loaded: &Loaded,
    items: &[Item],
    due: &[SessionId],
    draw_code: &mut dyn FnMut() -> InviteCode,
) -> Plan {
    let mut batch = Batch {
        context,
        workspace: Workspace::new(cache, loaded, context.rules),
        settled: HashSet::new(),
        outbox_bytes: 0,
        plan: Plan::default(),
    };
    for session_id in due {
        if batch.is_full() {
            break;
        }
        batch.fire_due(session_id);
        batch.plan.deadlines += 1;
    }
    for item in items {
        if batch.is_full() {
            break;
        }
        batch.judge(item, draw_code);
        batch.plan.messages += 1;
    }
    let mut plan = batch.plan;
    batch.workspace.write(&mut plan.writes);
    plan
}

struct Batch<'a, 'b> {
    context: &'a JudgeContext<'b>,
    workspace: Workspace<'a>,
    /// Forwards that this batch itself has judged.
    settled: HashSet<Forward>,
    outbox_bytes: usize,
    plan: Plan,
}

/// One message on its way through the judge.
struct Case<'a> {
    item: &'a Item,
    message: &'a Message,
    /// Where the record was first read.
    origin: Origin,
    /// How often it was forwarded.
    hops: u32,
}

impl Case<'_> {
    fn decoded(&self) -> &Decoded {
        &self.message.decoded
    }

    fn id(&self) -> &MessageId {
        &self.message.id
    }
}

/// A decision with what it publishes: its events, then its result.
struct Encoded {
    decision: Decision,
    records: Vec<OutRecord>,
}

impl Encoded {
    /// Encodes `decision`. What a deadline caused carries nothing of the message (contract 1, Results).
    fn of(codec: &Codec, decision: Decision, passthrough: &Passthrough) -> Self {
        let mut records: Vec<_> = decision
            .events
            .iter()
            .map(|event| match event.cause {
                Cause::Command { .. } | Cause::Match { .. } => {
                    codec.event(event, Some(passthrough))
                }
                Cause::Timer(_) => codec.event(event, None),
            })
            .collect();
        records.push(codec.result(&decision.result, passthrough));
        Self { decision, records }
    }
}

/// The rules panicked: a bug, caught at the message.
struct Panicked;

impl From<Panicked> for FailureReason {
    fn from(_: Panicked) -> Self {
        Self::Panicked
    }
}

impl From<Unreadable> for FailureReason {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

impl<'a> Batch<'a, '_> {
    fn is_full(&self) -> bool {
        self.outbox_bytes >= self.context.outbox_bytes
    }

    fn judge(&mut self, item: &'a Item, draw_code: &mut dyn FnMut() -> InviteCode) {
        let message = match &item.content {
            Content::Message(message) => message,
            Content::Poison(poison) => {
                return self.dead_letter(item, DeadLetterReason::Poison(poison.clone()));
            }
        };
        let evidence = self.evidence_of(message);
        let (origin, hops) = match (&evidence, &message.claim) {
            (Ok(Some(_)), Some((forward, hops))) => (forward.origin.clone(), *hops),
            (Ok(_) | Err(_), _) => (item.record.origin(), 0),
        };
        let case = Case {
            item,
            message,
            origin,
            hops,
        };
        let judged = evidence
            .map_err(FailureReason::from)
            .and_then(|evidence| self.judge_case(&case, evidence, draw_code));
        if let Err(reason) = judged {
            self.fail(&case, reason);
        }
    }

    /// What the database knows of the forward that a message claims; `None`: it is no forward of ours.
    fn evidence_of(&self, message: &Message) -> Result<Option<Evidence>, Unreadable> {
        let Some((forward, _)) = &message.claim else {
            return Ok(None);
        };
        if planted::has(Bug::AnyForwardBelieved) {
            return Ok(Some(Evidence::Sent));
        }
        if self.settled.contains(forward) {
            return Ok(Some(Evidence::Settled));
        }
        let found = self.workspace.loaded().forwards.get(forward);
        found.cloned().transpose()
    }

    fn judge_case(
        &mut self,
        case: &Case<'_>,
        evidence: Option<Evidence>,
        draw_code: &mut dyn FnMut() -> InviteCode,
    ) -> Result<(), FailureReason> {
        let (item, decoded) = (case.item, case.decoded());
        if decoded.admitted && evidence.is_none() {
            self.dead_letter(item, DeadLetterReason::Forbidden);
            return Ok(());
        }
        if let (Some(Evidence::Sent), Some((forward, _))) = (evidence, &case.message.claim) {
            self.settle(forward);
        }
        let known = self
            .workspace
            .remembered(case.id())?
            .filter(|_| !planted::has(Bug::LedgerNotConsulted));
        if known.is_some_and(|entry| is_repeat(entry, case, evidence)) {
            self.plan.tally.outcomes.push(Outcome::Dropped);
            return Ok(());
        }
        // What is remembered is answered from memory: the database has nothing to refuse there.
        if known.is_none() && item.trial == Trial::Condemned {
            return Err(FailureReason::Refused);
        }
        let remembered = known.map(|entry| &entry.remembered);
        let (now, rules) = (self.context.now, self.context.rules);
        let fingerprint = &decoded.fingerprint;
        let admission = guarded(|| admit(&decoded.message, fingerprint, remembered, now, rules))?;
        match admission {
            Admission::Settled { result, remember } => {
                let outcome = if result.replayed {
                    Outcome::Replayed
                } else {
                    Outcome::Decided
                };
                self.publish_result(item, &result);
                if remember {
                    self.remember(case, result);
                }
                self.plan.tally.outcomes.push(outcome);
                Ok(())
            }
            Admission::Proceed(request) => self.route(case, &request, draw_code),
        }
    }

    fn route(
        &mut self,
        case: &Case<'_>,
        request: &Request,
        draw_code: &mut dyn FnMut() -> InviteCode,
    ) -> Result<(), FailureReason> {
        let location = match self.locate(request)? {
            SessionLocation::Elsewhere { session_id, .. }
                if case.hops >= MAX_HOPS && !self.workspace.is_stored(&session_id) =>
            {
                // Workers disagree on the home of a new session: it is created where it is.
                self.plan.tally.hops_exceeded += 1;
                SessionLocation::Here(Some(session_id))
            }
            location => location,
        };
        match location {
            SessionLocation::Elsewhere { session_id, home } => {
                self.judge_elsewhere(case, request, &session_id, home)
            }
            SessionLocation::Here(session_id) => {
                let code = matches!(request, Request::Create { .. }).then(draw_code);
                self.judge_here(case, request, session_id.as_ref(), code)
            }
        }
    }

    /// Forwards a message to its session's home; too many failed codes are refused before that.
    fn judge_elsewhere(
        &mut self,
        case: &Case<'_>,
        request: &Request,
        session_id: &SessionId,
        home: i32,
    ) -> Result<(), FailureReason> {
        let users = self.workspace.limits_of(request, self.context.now)?;
        let state = State {
            session: None,
            users: users.iter().collect(),
        };
        let (codec, context) = (self.context.codec, self.rules_context(None));
        let refusal = guarded(|| {
            let refusal = refuse_attempts(&state, request, &context)?;
            Some(Encoded::of(codec, refusal, &case.item.passthrough))
        })?;
        match refusal {
            Some(encoded) => self.carry_out(case, encoded),
            None => self.forward(case, session_id, home),
        }
        Ok(())
    }

    fn judge_here(
        &mut self,
        case: &Case<'_>,
        request: &Request,
        session_id: Option<&SessionId>,
        invite_code: Option<InviteCode>,
    ) -> Result<(), FailureReason> {
        let users = self.workspace.limits_of(request, self.context.now)?;
        let state = State {
            session: session_id.and_then(|id| self.workspace.session(id)),
            users: users.iter().collect(),
        };
        let (codec, context) = (self.context.codec, self.rules_context(invite_code));
        let encoded = guarded(|| {
            let decision = decide(&state, request, &context);
            Encoded::of(codec, decision, &case.item.passthrough)
        })?;
        self.carry_out(case, encoded);
        Ok(())
    }

    fn rules_context(&self, invite_code: Option<InviteCode>) -> Context<'a> {
        Context {
            now: self.context.now,
            rules: self.context.rules,
            invite_code,
        }
    }

    /// Finds the session of a request: in this batch, in the cache, in what was loaded.
    fn locate(&mut self, request: &Request) -> Result<SessionLocation, Unreadable> {
        let session_id = match request {
            Request::Join { invite_code, .. } => {
                match self.workspace.session_by_code(invite_code) {
                    Some(session_id) => session_id,
                    None => return Ok(SessionLocation::Here(None)),
                }
            }
            Request::Create { session_id, .. }
            | Request::OnSession { session_id, .. }
            | Request::Match { session_id, .. }
            | Request::Backfill { session_id, .. } => session_id.clone(),
        };
        if self.workspace.load_into_batch(&session_id)? {
            return Ok(SessionLocation::Here(Some(session_id)));
        }
        if let Some(home) = self.workspace.stored_elsewhere(&session_id) {
            return Ok(SessionLocation::Elsewhere { session_id, home });
        }
        Ok(match request {
            Request::Create { .. } | Request::Match { .. } => {
                let home = self.context.homes.home_of(&session_id);
                if self.context.home == Some(home) {
                    SessionLocation::Here(Some(session_id))
                } else {
                    SessionLocation::Elsewhere { session_id, home }
                }
            }
            Request::Join { .. } | Request::OnSession { .. } | Request::Backfill { .. } => {
                SessionLocation::Here(None)
            }
        })
    }

    /// Takes a decision into the batch, whole.
    fn carry_out(&mut self, case: &Case<'_>, encoded: Encoded) {
        let Encoded { decision, records } = encoded;
        let Decision {
            session,
            users,
            events,
            result,
        } = decision;
        if let Some(session) = session {
            self.workspace.update(session, self.own_home());
        }
        self.workspace.change_users(users);
        let tally = &mut self.plan.tally;
        tally
            .events
            .extend(events.iter().map(|event| (event.kind, None)));
        tally.results.push(result.code);
        tally.outcomes.push(Outcome::Decided);
        for record in records {
            self.push(record);
        }
        self.remember(case, result);
    }

    fn own_home(&self) -> i32 {
        let home = self.context.home;
        home.expect("only a home lane decides for sessions")
    }

    /// Fires what is due of a session.
    fn fire_due(&mut self, session_id: &SessionId) {
        match self.workspace.load_into_batch(session_id) {
            Ok(true) => {}
            Ok(false) => {
                self.plan.inspected.push((session_id.clone(), None));
                return;
            }
            Err(unreadable) => {
                let reason = ParkReason::Unreadable(unreadable);
                self.plan.parked.push((session_id.clone(), reason));
                return;
            }
        }
        let session = self.workspace.session(session_id);
        let session = session.expect("the session was loaded into the batch");
        let lateness = session
            .next_deadline()
            .map(|at| self.context.now.millis_since(at));
        let (codec, context) = (self.context.codec, self.rules_context(None));
        let elapsed = guarded(|| {
            let elapsed = elapse(session, &context);
            let events = elapsed.events.iter();
            let records: Vec<_> = events.map(|event| codec.event(event, None)).collect();
            (elapsed, records)
        });
        let Ok((elapsed, records)) = elapsed else {
            let parked = (session_id.clone(), ParkReason::Panicked);
            self.plan.parked.push(parked);
            return;
        };
        if let Some(session) = elapsed.session {
            self.workspace.update(session, self.own_home());
        }
        self.workspace.change_users(elapsed.users);
        let events = elapsed.events.iter().map(|event| (event.kind, lateness));
        self.plan.tally.events.extend(events);
        for record in records {
            self.push(record);
        }
        let session = self.workspace.session(session_id);
        let next = session.and_then(crate::domain::Session::next_deadline);
        self.plan.inspected.push((session_id.clone(), next));
    }

    fn publish_result(&mut self, item: &Item, result: &CommandResult) {
        let record = self.context.codec.result(result, &item.passthrough);
        self.push(record);
        self.plan.tally.results.push(result.code);
    }

    fn push(&mut self, record: OutRecord) {
        let max = (self.context.record_bytes)(&record.topic);
        let record = fitted(record, max);
        self.outbox_bytes += record.size();
        self.plan.writes.outbox.push(record);
    }

    fn remember(&mut self, case: &Case<'_>, result: CommandResult) {
        let kept = |retention: Duration| retention.saturating_add(Rules::REMEMBERED_BEYOND);
        let retention = self.context.rules.command_retention;
        // A match is remembered as long as its session, which is kept, and at least 7 days.
        let forget_at = match case.id() {
            MessageId::Match(_) if result.code.is_none() => None,
            MessageId::Match(_) => Some(kept(retention.max(MATCH_RETENTION))),
            MessageId::Command(_) => Some(kept(retention)),
        };
        let entry = LedgerEntry {
            id: case.id().clone(),
            origin: case.origin.clone(),
            forget_at: forget_at.map(|after| result.decided_at.plus(after)),
            remembered: Remembered {
                fingerprint: case.decoded().fingerprint,
                result,
            },
        };
        self.plan.writes.ledger.push(entry.clone());
        self.workspace.remember(entry);
    }

    fn settle(&mut self, forward: &Forward) {
        if self.settled.insert(forward.clone()) {
            self.plan.writes.settled.push(forward.clone());
        }
    }

    fn forward(&mut self, case: &Case<'_>, session_id: &SessionId, home: i32) {
        let (record, decoded, origin) = (&case.item.record, case.decoded(), &case.origin);
        let codec = self.context.codec;
        let record = codec.forward(record, decoded, session_id, home, origin, case.hops + 1);
        self.push(record);
        let forward = Forward {
            origin: case.origin.clone(),
            home,
            fingerprint: decoded.fingerprint,
        };
        let forget_at = self.context.now.plus(FORWARD_RETENTION);
        let forwards = &mut self.plan.writes.forwards;
        forwards.push(ForwardEntry { forward, forget_at });
        self.plan.tally.outcomes.push(Outcome::Forwarded);
    }

    fn dead_letter(&mut self, item: &Item, reason: DeadLetterReason) {
        let (codec, group, now) = (self.context.codec, self.context.group, self.context.now);
        let record = codec.dead_letter(&item.record, &reason, group, now);
        self.push(record);
        self.plan.tally.dead_letters.push(reason);
        self.plan.tally.outcomes.push(Outcome::DeadLettered);
    }

    /// A message that makes the worker fail by itself: `internal_error`, and a dead letter beside it.
    fn fail(&mut self, case: &Case<'_>, reason: FailureReason) {
        let result = CommandResult::internal_error(&case.decoded().message, self.context.now);
        self.publish_result(case.item, &result);
        if !self.workspace.has_entry(case.id()) {
            self.remember(case, result);
        }
        self.plan.tally.failures.push(reason);
        self.dead_letter(case.item, DeadLetterReason::Bug);
    }
}

/// Whether `case` is a further copy of a forward that its home has judged: a crash has repeated it.
fn is_repeat(entry: &LedgerEntry, case: &Case<'_>, evidence: Option<Evidence>) -> bool {
    if entry.remembered.fingerprint != case.decoded().fingerprint
        || planted::has(Bug::ForwardedCopyNotDropped)
    {
        return false;
    }
    match evidence {
        None => false,
        Some(Evidence::Settled) => {
            !planted::has(Bug::SettledForwardIgnored) || entry.origin == case.origin
        }
        Some(Evidence::Sent) => entry.origin == case.origin,
    }
}

/// Cuts headers until `record` fits the broker's maximum: only a sender's own headers, which are passed
/// on, can make it too large, and a record that the broker never takes would hold its lane forever.
fn fitted(mut record: OutRecord, max: usize) -> OutRecord {
    while record_bytes(&record) > max {
        let largest = record
            .headers
            .iter()
            .enumerate()
            .filter(|(_, (name, _))| {
                !name.starts_with("sw-") && !name.starts_with("ce_") && !name.starts_with("dlq-")
            })
            .max_by_key(|(_, (name, value))| name.len() + value.as_ref().map_or(0, Vec::len))
            .map(|(index, _)| index);
        match largest {
            Some(index) => record.headers.remove(index),
            None => break,
        };
    }
    record
}
