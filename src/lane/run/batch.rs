//! One attempt at one batch: load, judge, commit, learn. What a failure of it means stands in the
//! interpreter; here it is carried out, down to the one message or deadline that is to blame.

use std::sync::Arc;

use rand::Rng;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::domain::{InviteCode, SessionId, Timestamp};
use crate::kafka::{Log, Publisher};
use crate::lane::failure::{DatabaseStep, Disposition, Failure, interpret};
use crate::lane::intake::{Item, Trial, last_record};
use crate::lane::judge::{self, JudgeContext, ParkReason, Plan};
use crate::lane::probation::Probation;
use crate::planted::{self, Bug};
use crate::store::{Ask, Commit, Error, LanePosition, LaneStore, Loaded, Store};

use super::Lane;

/// What a batch was offered.
struct Offered {
    now: Timestamp,
    due: Vec<(SessionId, Timestamp)>,
    messages: usize,
}

impl<S, L, P, C> Lane<S, L, P, C>
where
    S: Store,
    L: Log,
    P: Publisher,
    C: Clock,
{
    /// One attempt at one batch.
    pub(super) async fn batch(&mut self) {
        if !self.prove_that_others_commit().await {
            return;
        }
        let offered = self.offer();
        match self.attempt(&offered).await {
            Ok(plan) => {
                // What the outbox had no room for is still due.
                for (id, at) in offered.due.iter().skip(plan.deadlines) {
                    self.timers.set(id, Some(*at));
                }
                self.pacing.committed(plan.messages);
                self.hold.release();
                self.meter.recovered();
            }
            Err((step, error)) => {
                for (id, at) in &offered.due {
                    self.timers.set(id, Some(*at));
                }
                self.recover(step, &error, &offered);
            }
        }
    }

    /// Takes due deadlines off the heap and says how many messages go along.
    fn offer(&mut self) -> Offered {
        let now = self.now();
        let due = self.has_room_for_deadlines() && self.timers.next().is_some_and(|at| at <= now);
        let offer = self.pacing.offer(due);
        let due = if due {
            self.timers.take_due(now, offer.deadlines)
        } else {
            Vec::new()
        };
        let has_room = self.has_room();
        let messages = match self.intake.reader() {
            Some(reader) if has_room => match reader.items().front() {
                // A message on trial goes alone.
                Some(first) if first.trial != Trial::Untried && due.is_empty() => 1,
                Some(first) if first.trial != Trial::Untried => 0,
                _ => reader.items().len().min(offer.records),
            },
            _ => 0,
        };
        Offered { now, due, messages }
    }

    /// Before a message that was refused alone is tried again, the lane commits something else: a refusal
    /// that meets everything is nobody's fault. False: not now.
    async fn prove_that_others_commit(&mut self) -> bool {
        let on_trial = self.intake.reader().and_then(|r| r.items().front());
        if on_trial.is_none_or(|item| item.trial != Trial::Refused)
            || planted::has(Bug::CondemnedWithoutProof)
        {
            return true;
        }
        let acked = self.window.acked();
        let Some(owner) = self.ownership.owned_mut() else {
            return false;
        };
        let position = owner.position;
        let commit = Commit {
            acked,
            ..Commit::at(&position)
        };
        match owner.store.commit(&commit).await {
            Ok(batch) => {
                self.advance(&commit, batch, Arc::from([]));
                true
            }
            Err(error) => {
                if let Some(item) = self.intake.reader().and_then(|r| r.items_mut().front_mut()) {
                    item.trial = Trial::Untried;
                }
                self.database_failed(DatabaseStep::Commit, &error);
                false
            }
        }
    }

    fn recover(&mut self, step: DatabaseStep, error: &Error, offered: &Offered) {
        let failure = Failure::Database(step, error);
        let verdict = interpret(failure);
        match verdict.disposition {
            Disposition::DecideAgain { forget_sessions } => {
                self.meter.failed(&failure, verdict, None);
                if forget_sessions && !planted::has(Bug::SessionConflictKeepsCache) {
                    self.cache.clear();
                }
                let (records, deadlines) = (offered.messages, offered.due.len());
                if self.pacing.conflicted(records, deadlines, &mut self.rng) {
                    self.meter.split();
                }
                self.meter.conflicts(self.pacing.conflicts());
            }
            Disposition::FindCulprit => {
                self.meter.failed(&failure, verdict, None);
                self.find_culprit(&failure, offered);
            }
            Disposition::Wait
            | Disposition::TakeAgain
            | Disposition::PlaceAgain
            | Disposition::Damaged
            | Disposition::SendAgain
            | Disposition::TryLater
            | Disposition::End => self.database_failed(step, error),
        }
    }

    /// The database refused the content: only one message or one deadline may pay for it.
    fn find_culprit(&mut self, failure: &Failure<'_>, offered: &Offered) {
        match (&offered.due[..], offered.messages) {
            ([], 0) => self.hold(failure),
            ([], 1) => {
                let reader = self.intake.reader();
                let first = reader.and_then(|reader| reader.items_mut().front_mut());
                let first: &mut Item = first.expect("the batch had one message");
                first.trial = match first.trial {
                    Trial::Untried => Trial::Refused,
                    Trial::Refused => Trial::Condemned,
                    // Even its dead letter is refused: nothing is lost by waiting.
                    Trial::Condemned => Trial::Untried,
                };
                self.hold(failure);
            }
            ([], several) => {
                self.pacing.halve_records(several);
                self.meter.split();
            }
            ([(only, _)], 0) => {
                self.meter.parked(only, &ParkReason::Refused);
                self.timers.park(only);
            }
            (several, 0) => {
                self.pacing.halve_deadlines(several.len());
                self.meter.split();
            }
            (_, _) => self.pacing.separate(),
        }
    }

    /// Loads, judges and commits what was offered.
    async fn attempt(&mut self, offered: &Offered) -> Result<Plan, (DatabaseStep, Error)> {
        let shared = Arc::clone(&self.shared);
        let publisher = Arc::clone(self.window.publisher());
        let context = JudgeContext {
            home: self.home,
            homes: &shared.homes,
            codec: &shared.codec,
            rules: &shared.rules,
            group: &shared.group,
            now: offered.now,
            outbox_bytes: shared.bounds.outbox_bytes,
            record_bytes: &|topic| publisher.max_record_bytes(topic),
        };
        let owner = self.ownership.owned_mut();
        let owner = owner.expect("a batch is attempted only while the lane is owned");
        let position = owner.position;
        let items: &[Item] = match self.intake.reader() {
            Some(reader) if offered.messages > 0 => {
                &reader.items_mut().make_contiguous()[..offered.messages]
            }
            _ => &[],
        };
        let due: Vec<SessionId> = offered.due.iter().map(|(id, _)| id.clone()).collect();
        let request = judge::load_request(&context, &self.cache, items, &due);
        let loaded = if request == Ask::default() {
            Loaded::default()
        } else {
            let loaded = owner.store.load(&request).await;
            loaded.map_err(|error| (DatabaseStep::Load, error))?
        };
        let rng = &mut self.rng;
        let mut draw =
            || InviteCode::from_indices(std::array::from_fn(|_| rng.random_range(0..28)));
        let mut plan = judge::judge(&context, &mut self.cache, &loaded, items, &due, &mut draw);
        let commit = commit_of(
            &mut plan,
            items,
            &position,
            offered.now,
            self.window.acked(),
        );
        let changes_nothing =
            plan.messages == 0 && commit.sessions.is_empty() && commit.outbox.is_empty();
        if !changes_nothing || commit.acked > position.acked {
            let began = Instant::now();
            if planted::has(Bug::PublishedBeforeCommit) {
                drop(
                    publisher
                        .send(&shared.topics.session_event, Arc::clone(&commit.outbox))
                        .await,
                );
            }
            let committed = owner.store.commit(&commit).await;
            let batch = committed.map_err(|error| (DatabaseStep::Commit, error))?;
            self.meter.committed(plan.messages, began.elapsed());
            self.advance(&commit, batch, Arc::clone(&commit.outbox));
        }
        self.cache.learn(&loaded);
        self.take_note_of(&plan, &commit);
        Ok(plan)
    }

    /// The lane stands where `commit` says, and its outbox is on its way.
    fn advance(&mut self, commit: &Commit, batch: i64, outbox: Arc<[crate::record::OutRecord]>) {
        let owner = self.ownership.owned_mut();
        let owner = owner.expect("only an owner commits");
        owner.position = LanePosition {
            batch,
            next: commit.next,
            acked: commit.acked,
            clock: commit.clock,
            last: commit.last,
            deaths: commit.deaths,
            ..owner.position
        };
        self.window.push(batch, outbox);
        self.window.acknowledged_to(commit.acked);
        if commit.deaths == 0 {
            self.probation = Probation::Off;
        }
        if let Some(next) = commit.next {
            self.intake.report(next);
        }
    }

    /// Moves everything in memory to what is now committed.
    fn take_note_of(&mut self, plan: &Plan, commit: &Commit) {
        if let Some(reader) = self.intake.reader() {
            for item in reader.items_mut().drain(..plan.messages) {
                self.meter.age(&item.record, commit.clock);
            }
            reader
                .items_mut()
                .iter_mut()
                .take(plan.tally.failures.len())
                .filter(|_| planted::has(Bug::TrialNeverCleared))
                .for_each(|next| next.trial = Trial::Condemned);
        }
        for write in &commit.sessions {
            let session = &write.after.session;
            self.timers.set(&session.id, session.next_deadline());
            self.cache.insert(Arc::clone(&write.after));
        }
        for (id, next) in &plan.inspected {
            self.timers.set(id, *next);
        }
        for (id, reason) in &plan.parked {
            self.meter.parked(id, reason);
            self.timers.park(id);
        }
        self.meter.judged(&plan.tally);
        self.meter.unacknowledged(self.window.len());
        self.meter.timers(self.timers.len());
    }
}

/// The commit of a judged batch.
fn commit_of(
    plan: &mut Plan,
    items: &[Item],
    position: &LanePosition,
    now: Timestamp,
    acked: i64,
) -> Commit {
    let last = plan
        .messages
        .checked_sub(1)
        .map(|index| &items[index].record);
    let writes = std::mem::take(&mut plan.writes);
    Commit {
        next: last.map_or(position.next, |record| Some(record.offset + 1)),
        last: last.map(last_record).or(position.last),
        clock: now,
        acked,
        deaths: if last.is_some() || planted::has(Bug::DeathsForgottenWithoutProgress) {
            0
        } else {
            position.deaths
        },
        ledger: writes.ledger,
        forwards: writes.forwards,
        settled: writes.settled,
        users: writes.users,
        sessions: writes.sessions,
        outbox: writes.outbox.into(),
    }
}
