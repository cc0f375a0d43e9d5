//! Judging a batch: synchronous, on what was loaded, one message after another. Later messages see what
//! earlier ones did; nothing leaves the batch before it is committed. A message that makes the rules
//! panic ends as `internal_error`, with a dead letter, and leaves no other trace.

mod ask;
mod plan;

pub(super) use ask::ask;
pub(super) use plan::{Fate, Plan};

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::domain::{
    Admission, Cause, CommandResult, Context, Decision, InviteCode, MessageId, Remembered, Request,
    Rules, Session, SessionId, State, Timestamp, UserChange, UserId, UserLimits, admit, decide,
    elapse, refuse_attempts,
};
use crate::kafka::record_bytes;
use crate::record::{Origin, OutRecord, TopicPartition};
use crate::store::{
    Forward, ForwardEntry, Found, LedgerEntry, Loaded, SessionWrite, StoredSession, UserWrite,
};
use crate::wire::{Codec, DeadLetterReason, Decoded, Passthrough};

use super::Homes;
use super::cache::Cache;
use super::intake::Item;

/// How often a record may go home (contract 1, Forwarding).
const MAX_HOPS: u32 = 3;
/// How long the evidence of a forward is kept: longer than a topic usually keeps the forwarded record.
const FORWARD_RETENTION: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 60 * 60);

/// What a lane knows while it judges.
pub(super) struct Bench<'a> {
    pub(super) lane: &'a TopicPartition,
    /// The partition of `session-command` that this lane is the home of.
    pub(super) home: Option<i32>,
    pub(super) homes: &'a Homes,
    pub(super) codec: &'a Codec,
    pub(super) rules: &'a Rules,
    pub(super) group: &'a str,
    pub(super) now: Timestamp,
    pub(super) outbox_bytes: usize,
    /// What the broker takes at most in one record of a topic, in bytes.
    pub(super) record_bytes: &'a (dyn Fn(&str) -> usize + Sync),
}

/// Judges due sessions, then items, until the outbox is full.
pub(super) fn judge(
    bench: &Bench<'_>,
    cache: &mut Cache,
    loaded: &Loaded,
    items: &[Item],
    due: &[SessionId],
    draw_code: &mut dyn FnMut() -> InviteCode,
) -> Plan {
    let mut batch = Batch {
        bench,
        cache,
        loaded,
        sessions: BTreeMap::new(),
        users: BTreeMap::new(),
        releases: BTreeMap::new(),
        remembered: HashMap::new(),
        codes: HashMap::new(),
        outbox_bytes: 0,
        plan: Plan::default(),
    };
    for session_id in due {
        if batch.is_full() {
            break;
        }
        batch.look_at(session_id);
        batch.plan.timers_taken += 1;
    }
    for item in items {
        if batch.is_full() {
            break;
        }
        batch.judge(item, draw_code);
        batch.plan.taken += 1;
    }
    batch.finish()
}

struct Working {
    before: Option<Arc<StoredSession>>,
    /// `None`: the session was looked up and does not exist yet.
    current: Option<Session>,
    home: i32,
    changed: bool,
}

struct WorkingUser {
    expected: Option<i64>,
    limits: UserLimits,
    changed: bool,
}

struct Batch<'a, 'b> {
    bench: &'a Bench<'b>,
    cache: &'a mut Cache,
    loaded: &'a Loaded,
    sessions: BTreeMap<SessionId, Working>,
    users: BTreeMap<UserId, WorkingUser>,
    /// Places freed of users who were not read.
    releases: BTreeMap<UserId, Vec<SessionId>>,
    /// What this batch itself has judged.
    remembered: HashMap<MessageId, LedgerEntry>,
    /// Codes that this batch itself has given out.
    codes: HashMap<InviteCode, SessionId>,
    outbox_bytes: usize,
    plan: Plan,
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

/// Where a request's session is.
enum Whereabouts {
    /// To be judged here; the session may still have to be made.
    Here(Option<SessionId>),
    /// At home in another partition.
    Elsewhere { session_id: SessionId, home: i32 },
}

/// The rules panicked: a bug, caught at the message.
struct Panicked;

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

impl Batch<'_, '_> {
    fn is_full(&self) -> bool {
        self.outbox_bytes >= self.bench.outbox_bytes
    }

    fn judge(&mut self, item: &Item, draw_code: &mut dyn FnMut() -> InviteCode) {
        let (decoded, id) = match (&item.decoded, &item.id) {
            (Ok(decoded), Some(id)) => (decoded, id),
            (Err(poison), _) => {
                return self.dead_letter(item, &DeadLetterReason::Poison(poison.clone()));
            }
            (Ok(_), None) => unreachable!("a decoded message has an id"),
        };
        let claim = item
            .claim
            .as_ref()
            .filter(|_| {
                item.claimed_evidence(self.bench.lane)
                    .is_some_and(|evidence| self.loaded.forwards.contains_key(&evidence))
            })
            .cloned();
        if decoded.admitted && claim.is_none() {
            return self.dead_letter(item, &DeadLetterReason::Forbidden);
        }
        let forwarded = claim.is_some();
        let (origin, hops) = claim.unwrap_or_else(|| (item.record.origin(), 0));
        if item.failing {
            return self.fail(item, decoded, id, origin);
        }
        let known = self
            .remembered
            .get(id)
            .or_else(|| self.loaded.ledger.get(id)?.as_ref().ok());
        if forwarded
            && known.is_some_and(|entry| {
                entry.origin == origin && entry.remembered.fingerprint == decoded.fingerprint
            })
        {
            self.plan.fates.push(Fate::Dropped);
            return;
        }
        let remembered = known.map(|entry| &entry.remembered);
        let (now, rules) = (self.bench.now, self.bench.rules);
        let admission = guarded(|| {
            admit(
                &decoded.message,
                &decoded.fingerprint,
                remembered,
                now,
                rules,
            )
        });
        match admission {
            Err(Panicked) => self.fail(item, decoded, id, origin),
            Ok(Admission::Settled { result, remember }) => {
                let fate = if result.replayed {
                    Fate::Replayed
                } else {
                    Fate::Decided
                };
                self.publish_result(item, &result);
                if remember {
                    self.remember(id, decoded, result, origin);
                }
                self.plan.fates.push(fate);
            }
            Ok(Admission::Proceed(request)) => {
                self.route(item, decoded, id, origin, hops, &request, draw_code);
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one record's circumstances, named"
    )]
    fn route(
        &mut self,
        item: &Item,
        decoded: &Decoded,
        id: &MessageId,
        origin: Origin,
        hops: u32,
        request: &Request,
        draw_code: &mut dyn FnMut() -> InviteCode,
    ) {
        let whereabouts = match self.find(request) {
            Whereabouts::Elsewhere {
                session_id,
                home: _,
            } if hops >= MAX_HOPS && !self.is_known(&session_id) => {
                // Partitions disagree on where a new session belongs: it is made where it is.
                self.plan.hops_exceeded += 1;
                Whereabouts::Here(Some(session_id))
            }
            whereabouts => whereabouts,
        };
        let invite_code = matches!(request, Request::Create { .. }).then(draw_code);
        let context = Context {
            now: self.bench.now,
            rules: self.bench.rules,
            invite_code,
        };
        match whereabouts {
            Whereabouts::Elsewhere { session_id, home } => {
                let users = self.limits_of(request);
                let state = State {
                    session: None,
                    users: users.iter().collect(),
                };
                let codec = self.bench.codec;
                let refusal = guarded(|| {
                    let refusal = refuse_attempts(&state, request, &context)?;
                    Some(Encoded::of(codec, refusal, &item.passthrough))
                });
                match refusal {
                    Err(Panicked) => self.fail(item, decoded, id, origin),
                    Ok(Some(encoded)) => {
                        self.carry_out(decoded, id, origin, request, None, encoded);
                    }
                    Ok(None) => {
                        self.forward(item, decoded, &session_id, home, origin, hops + 1);
                    }
                }
            }
            Whereabouts::Here(session_id) => {
                let users = self.limits_of(request);
                let session = session_id.as_ref().and_then(|id| self.current(id));
                let state = State {
                    session,
                    users: users.iter().collect(),
                };
                let codec = self.bench.codec;
                let decision = guarded(|| {
                    Encoded::of(codec, decide(&state, request, &context), &item.passthrough)
                });
                match decision {
                    Err(Panicked) => self.fail(item, decoded, id, origin),
                    Ok(encoded) => {
                        self.carry_out(decoded, id, origin, request, session_id, encoded);
                    }
                }
            }
        }
    }

    /// Finds the session of a request: in this batch, in the cache, in what was loaded.
    fn find(&mut self, request: &Request) -> Whereabouts {
        let session_id = match request {
            Request::Join { invite_code, .. } => {
                let known = (self.codes.get(invite_code))
                    .or_else(|| self.loaded.invite_codes.get(invite_code))
                    .or_else(|| self.cache.opens(invite_code));
                match known {
                    Some(session_id) => session_id.clone(),
                    None => return Whereabouts::Here(None),
                }
            }
            Request::Create { session_id, .. }
            | Request::OnSession { session_id, .. }
            | Request::Match { session_id, .. }
            | Request::Backfill { session_id, .. } => session_id.clone(),
        };
        if self.bring(&session_id) {
            return Whereabouts::Here(Some(session_id));
        }
        let elsewhere = match self.loaded.sessions.get(&session_id) {
            Some(Found::Elsewhere { home }) => Some(*home),
            Some(Found::Here(_) | Found::Unreadable(_)) | None => self.cache.elsewhere(&session_id),
        };
        if let Some(home) = elsewhere {
            return Whereabouts::Elsewhere { home, session_id };
        }
        match request {
            Request::Create { .. } | Request::Match { .. } => {
                let home = self.bench.homes.home_of(&session_id);
                if self.bench.home == Some(home) {
                    Whereabouts::Here(Some(session_id))
                } else {
                    Whereabouts::Elsewhere { session_id, home }
                }
            }
            Request::Join { .. } | Request::OnSession { .. } | Request::Backfill { .. } => {
                Whereabouts::Here(None)
            }
        }
    }

    /// Brings a session at home here into the batch; false where there is none.
    fn bring(&mut self, session_id: &SessionId) -> bool {
        if let Some(working) = self.sessions.get(session_id) {
            return working.current.is_some();
        }
        let stored =
            self.cache
                .get(session_id)
                .or_else(|| match self.loaded.sessions.get(session_id) {
                    Some(Found::Here(stored)) => Some(Arc::clone(stored)),
                    Some(Found::Elsewhere { .. } | Found::Unreadable(_)) | None => None,
                });
        let Some(stored) = stored else { return false };
        let working = Working {
            current: Some(stored.session.clone()),
            home: stored.home,
            before: Some(stored),
            changed: false,
        };
        self.sessions.insert(session_id.clone(), working);
        true
    }

    fn is_known(&self, session_id: &SessionId) -> bool {
        self.loaded.sessions.contains_key(session_id) || self.cache.contains(session_id)
    }

    fn current(&self, session_id: &SessionId) -> Option<&Session> {
        self.sessions
            .get(session_id)
            .and_then(|working| working.current.as_ref())
    }

    /// The limits the decision looks at, as this batch has left them so far.
    fn limits_of(&mut self, request: &Request) -> Vec<UserLimits> {
        let today = self.bench.now.day();
        request
            .limited_users()
            .into_iter()
            .map(|user_id| {
                let loaded = &self.loaded.users;
                let releases = &mut self.releases;
                let rules = self.bench.rules;
                let working = self.users.entry(user_id.clone()).or_insert_with(|| {
                    let stored = loaded.get(user_id).and_then(|user| user.as_ref().ok());
                    let mut working = WorkingUser {
                        expected: stored.map(|user| user.version),
                        limits: stored.map_or_else(
                            || UserLimits::unused(user_id.clone(), today),
                            |user| user.limits.clone(),
                        ),
                        changed: false,
                    };
                    for session_id in releases.remove(user_id).unwrap_or_default() {
                        let user_id = user_id.clone();
                        working.limits.apply(
                            &UserChange::Released {
                                user_id,
                                session_id,
                            },
                            rules,
                        );
                        working.changed = true;
                    }
                    working
                });
                working.limits.clone()
            })
            .collect()
    }

    /// Takes a decision into the batch, whole.
    fn carry_out(
        &mut self,
        decoded: &Decoded,
        id: &MessageId,
        origin: Origin,
        request: &Request,
        session_id: Option<SessionId>,
        encoded: Encoded,
    ) {
        let Encoded { decision, records } = encoded;
        let Decision {
            session,
            users,
            events,
            result,
        } = decision;
        if let Some(session) = session {
            let session_id = session_id.expect("only a session that was found or made can change");
            if let (Request::Create { .. }, Some(code)) = (request, &session.invite_code) {
                self.codes.insert(code.clone(), session_id.clone());
            }
            self.update(&session_id, session);
        }
        self.change_users(users);
        self.plan
            .events
            .extend(events.iter().map(|event| (event.kind, None)));
        self.plan.results.push(result.code);
        for record in records {
            self.push(record);
        }
        self.remember(id, decoded, result, origin);
        self.plan.fates.push(Fate::Decided);
    }

    fn update(&mut self, session_id: &SessionId, session: Session) {
        let home = self
            .bench
            .home
            .expect("only a home lane decides for sessions");
        let working = self
            .sessions
            .entry(session_id.clone())
            .or_insert_with(|| Working {
                before: None,
                current: None,
                home,
                changed: false,
            });
        working.current = Some(session);
        working.changed = true;
    }

    fn change_users(&mut self, changes: Vec<UserChange>) {
        for change in changes {
            let (UserChange::Joined { user_id, .. }
            | UserChange::Released { user_id, .. }
            | UserChange::FailedCode { user_id, .. }) = &change;
            if let Some(working) = self.users.get_mut(user_id) {
                working.limits.apply(&change, self.bench.rules);
                working.changed = true;
                continue;
            }
            match change {
                UserChange::Released {
                    user_id,
                    session_id,
                } => {
                    self.releases.entry(user_id).or_default().push(session_id);
                }
                UserChange::Joined { .. } | UserChange::FailedCode { .. } => {
                    unreachable!("a user who takes something was looked up")
                }
            }
        }
    }

    /// Looks at a session whose deadline has come.
    fn look_at(&mut self, session_id: &SessionId) {
        if !self.bring(session_id) {
            return;
        }
        let context = Context {
            now: self.bench.now,
            rules: self.bench.rules,
            invite_code: None,
        };
        let session = self.current(session_id).expect("the session was brought");
        let lateness = session
            .next_deadline()
            .map(|at| self.bench.now.millis_since(at));
        let codec = self.bench.codec;
        let elapsed = guarded(|| {
            let elapsed = elapse(session, &context);
            let records: Vec<_> = elapsed
                .events
                .iter()
                .map(|e| codec.event(e, None))
                .collect();
            (elapsed, records)
        });
        let Ok((elapsed, records)) = elapsed else {
            self.plan.parked.push(session_id.clone());
            return;
        };
        if let Some(session) = elapsed.session {
            self.update(session_id, session);
        }
        self.change_users(elapsed.users);
        self.plan
            .events
            .extend(elapsed.events.iter().map(|event| (event.kind, lateness)));
        for record in records {
            self.push(record);
        }
        let next = self.current(session_id).and_then(Session::next_deadline);
        self.plan.looked_at.push((session_id.clone(), next));
    }

    fn publish_result(&mut self, item: &Item, result: &CommandResult) {
        let record = self.bench.codec.result(result, &item.passthrough);
        self.push(record);
        self.plan.results.push(result.code);
    }

    fn push(&mut self, record: OutRecord) {
        let max = (self.bench.record_bytes)(&record.topic);
        let record = fitted(record, max);
        self.outbox_bytes += record.size();
        self.plan.outbox.push(record);
    }

    fn remember(
        &mut self,
        id: &MessageId,
        decoded: &Decoded,
        result: CommandResult,
        origin: Origin,
    ) {
        let retention = self
            .bench
            .rules
            .command_retention
            .saturating_add(Rules::REMEMBERED_BEYOND);
        // A match is remembered as long as its session (contract 2), and sessions are kept.
        let forget_at = match id {
            MessageId::Match(_) if result.code.is_none() => None,
            MessageId::Match(_) | MessageId::Command(_) => Some(result.decided_at.plus(retention)),
        };
        let entry = LedgerEntry {
            id: id.clone(),
            remembered: Remembered {
                fingerprint: decoded.fingerprint,
                result,
            },
            origin,
            forget_at,
        };
        self.plan.ledger.push(entry.clone());
        self.remembered.insert(id.clone(), entry);
    }

    fn forward(
        &mut self,
        item: &Item,
        decoded: &Decoded,
        session_id: &SessionId,
        home: i32,
        origin: Origin,
        hops: u32,
    ) {
        let record =
            self.bench
                .codec
                .forward(&item.record, decoded, session_id, home, &origin, hops);
        self.push(record);
        let forward = Forward {
            origin,
            home,
            fingerprint: decoded.fingerprint,
        };
        let forget_at = self.bench.now.plus(FORWARD_RETENTION);
        self.plan.forwards.push(ForwardEntry { forward, forget_at });
        self.plan.fates.push(Fate::Forwarded);
    }

    fn dead_letter(&mut self, item: &Item, reason: &DeadLetterReason) {
        let now = self.bench.now;
        let record = self
            .bench
            .codec
            .dead_letter(&item.record, reason, self.bench.group, now);
        self.push(record);
        self.plan.dead_letters.push(reason.clone());
        self.plan.fates.push(Fate::DeadLettered);
    }

    /// A message that makes the worker fail by itself: `internal_error`, and a dead letter beside it.
    fn fail(&mut self, item: &Item, decoded: &Decoded, id: &MessageId, origin: Origin) {
        let result = CommandResult::internal_error(&decoded.message, self.bench.now);
        self.publish_result(item, &result);
        let known = self.remembered.contains_key(id) || self.loaded.ledger.contains_key(id);
        if !known {
            self.remember(id, decoded, result, origin);
        }
        self.dead_letter(item, &DeadLetterReason::Bug);
    }

    fn finish(self) -> Plan {
        let mut plan = self.plan;
        for (user_id, sessions) in self.releases {
            plan.users.push(UserWrite::Release { user_id, sessions });
        }
        for (_, user) in self.users {
            if user.changed {
                plan.users.push(UserWrite::Replace {
                    expected: user.expected,
                    limits: user.limits,
                });
            }
        }
        for (_, working) in self.sessions {
            if let (true, Some(session)) = (working.changed, working.current) {
                let version = working.before.as_ref().map_or(0, |before| before.version) + 1;
                let after = Arc::new(StoredSession {
                    session,
                    home: working.home,
                    version,
                });
                plan.sessions.push(SessionWrite {
                    before: working.before,
                    after,
                });
            }
        }
        plan
    }
}

/// Cuts headers until `record` fits the broker's maximum: only a sender's own headers, travelling along,
/// can make it too large, and a record that the broker never takes would hold its lane for ever.
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
