//! Nothing stands still for longer than its cause (contract 3, guarantee 7): what has to be done within a
//! bounded simulated time once the last fault has ended, and what during a fault that lasts.

use std::collections::BTreeSet;
use std::time::Duration;

use session_worker::domain::{SessionId, Timestamp};
use session_worker::lane::Phase;
use session_worker::record::TopicPartition;
use session_worker::store::StopReason;
use session_worker::store::memory::Document;
use tokio::time::Instant;

use crate::operator::Request;
use crate::world::World;

/// How often the job `sweep` runs.
pub(crate) const SWEEP: Duration = Duration::from_secs(60);
/// How long a lane may take until it works again at full speed. The longest pauses are a hold of 6.4 s, a
/// call that hung for 20 s, and a topic's 30 s after a refusal.
const SETTLED: Duration = Duration::from_secs(40);
/// How late a deadline may fire in a settled lane: the clocks of processes differ by 2 s.
const LATE: Duration = Duration::from_secs(5);
/// How long it may take until everything is judged and published: settling, six deaths by one record
/// with their restarts, three turns of 30 s behind a suspect that cannot commit, and the backlog.
const JUDGED_WITHIN: Duration = Duration::from_secs(180);
/// How long a stopped intake may take to notice that damage has healed: it looks once a minute.
const HEALED_WITHIN: Duration = Duration::from_secs(70);
/// How long the rules let a session live (see `rules`): a command that is judged last may create one.
const SESSION_LIFE: Duration = Duration::from_secs(60);

/// Owners that died in a row before a partition is left unread (`lane::intake`).
const DEATHS_TOLERATED: u32 = 5;

/// Why a lane does not read on, as the simulation knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The position is not in the log, or not of this log.
    Lost,
    /// The batch from this offset is damaged.
    Damaged(i64),
    /// A record ahead kills its readers.
    Killer,
}

impl World {
    /// Whether the log is not the one that the lane has read.
    pub(crate) fn is_recreated(&self, lane: &TopicPartition) -> bool {
        let consumed = self.history.lane(lane, |lane| lane.generation);
        consumed.is_some_and(|consumed| consumed != self.broker.generation(lane))
    }

    /// Why a lane cannot read everything: what it meets first.
    pub(crate) fn cause(&self, lane: &TopicPartition) -> Option<Cause> {
        let next = self.next_of(lane);
        let (low, high) = self.broker.bounds(lane);
        if next < low || next > high || self.is_recreated(lane) {
            return Some(Cause::Lost);
        }
        let killer = self.broker.killer_behind(lane, next);
        let damage = self.broker.damage_behind(lane, next);
        match (killer, damage) {
            (Some(killer), damage) if damage.is_none_or(|(from, _)| killer < from) => {
                Some(Cause::Killer)
            }
            (_, damage) => damage.map(|(from, _)| Cause::Damaged(from)),
        }
    }

    /// What a fault that lasts does not touch, and is not done.
    fn unfinished(&self) -> Vec<String> {
        let mut unfinished = Vec::new();
        for lane in self.lanes() {
            let unpublished = self.history.lane(&lane, |lane| lane.unpublished());
            for topic in unpublished {
                if !self.weather.refuses(&topic, &lane) {
                    unfinished.push(format!("{lane}: {topic} does not have everything"));
                }
            }
            if !self.is_window_refused(&lane) {
                unfinished.extend(self.unread(&lane));
            }
        }
        for (id, stored) in self.store.sessions() {
            if stored.session.ended_at.is_none() && !self.is_untouchable(&id) {
                unfinished.push(format!("session {id} has not ended"));
            }
        }
        unfinished
    }

    /// Whether a topic refuses what a lane has to publish: a window that is full of it takes in nothing
    /// more.
    fn is_window_refused(&self, lane: &TopicPartition) -> bool {
        let stored = self.store.outbox(lane);
        let mut records = stored.iter().flat_map(|batch| batch.records.iter());
        records.any(|record| self.weather.refuses(&record.topic, lane))
    }

    /// What a lane could read and has not, or does not say of itself.
    fn unread(&self, lane: &TopicPartition) -> Option<String> {
        let next = self.next_of(lane);
        let phase = self.phase(lane);
        let stopped = |reasons: &[StopReason]| match &phase {
            Some(Phase::Stopped(stop)) if reasons.contains(&stop.reason) => None,
            other => Some(format!("{lane}: stopped by its log, and says {other:?}")),
        };
        // Deaths of any kind count against the partition that is being read.
        if self.is_suspect(lane) && stopped(&[StopReason::Suspect]).is_none() {
            return None;
        }
        match self.cause(lane) {
            None => {
                let end = self.broker.end_of_data(lane, next);
                let stop = self.store.stops().remove(lane);
                let is_running = phase.as_ref().is_some_and(Phase::works) && stop.is_none();
                (next < end || !is_running).then(|| {
                    format!("{lane}: stands at {next} of {end}, is {phase:?}, noted {stop:?}")
                })
            }
            Some(Cause::Lost) => stopped(&[StopReason::PositionLost, StopReason::Recreated]),
            Some(Cause::Damaged(from)) => {
                let generation = self.broker.generation(lane);
                let data = self.broker.data(lane, generation);
                match data.range(next..from.max(next)).next() {
                    Some(unread) => Some(format!("{lane}: {unread} lies before the damage")),
                    // What holds no records may have been read before it was damaged.
                    None if data.range(next..).next().is_none() => None,
                    None => stopped(&[StopReason::Damaged]),
                }
            }
            Some(Cause::Killer) => stopped(&[StopReason::Suspect]),
        }
    }

    /// Whether enough owners died in a row.
    fn is_suspect(&self, lane: &TopicPartition) -> bool {
        self.history.lane(lane, |lane| lane.killed) >= DEATHS_TOLERATED
    }

    /// Whether a fault stands in the way of a session's deadlines.
    fn is_untouchable(&self, id: &SessionId) -> bool {
        let conditions = self.weather.now();
        conditions.culprit_sessions.contains(id) || holds_session(&conditions.spoiled, id)
    }

    /// Deadlines that should have fired by now. `since`: when the last fault ended.
    fn late_deadlines(&self, since: Instant) -> Vec<String> {
        if since.elapsed() < SETTLED {
            return Vec::new();
        }
        let now = self.clock.truth();
        let mut late = Vec::new();
        for (id, stored) in self.store.sessions() {
            let due = stored.session.next_deadline();
            let by = due.map_or(Timestamp(i64::MAX), |due| due.plus(LATE));
            let may_be_parked = self.may_be_parked(&id) && since.elapsed() < SWEEP + SETTLED;
            if by < now && !may_be_parked && !self.is_untouchable(&id) {
                late.push(format!("session {id}: a deadline did not fire at {due:?}"));
            }
        }
        late
    }

    /// Whether a fault may have parked the session: the next sweep takes it back.
    fn may_be_parked(&self, id: &SessionId) -> bool {
        let ever = &self.weather.now().ever;
        ever.refused_all || ever.culprit_sessions.contains(id) || holds_session(&ever.spoiled, id)
    }

    /// Waits until everything is done that no lasting fault touches.
    async fn await_the_rest(&mut self, within: Duration, what: &str) {
        let since = Instant::now();
        loop {
            let unfinished = self.unfinished();
            if unfinished.is_empty() || self.is_broken() {
                return;
            }
            let late = self.late_deadlines(since);
            if !late.is_empty() {
                return self.history.breaks(format!("{what}: {}", late.join("; ")));
            }
            if since.elapsed() > within {
                let unfinished = unfinished.join("; ");
                return self.history.breaks(format!(
                    "{what}, after {} s: {unfinished}",
                    within.as_secs()
                ));
            }
            self.pass(Instant::now() + Duration::from_secs(1)).await;
        }
    }

    /// Every fault ends but those that last; what these do not touch is finished, then the rest.
    pub(crate) async fn come_to_rest(&mut self) {
        self.end_what_does_not_last().await;
        let within = JUDGED_WITHIN + SESSION_LIFE + SWEEP;
        self.await_the_rest(within, "beside the faults that last")
            .await;
        if self.is_broken() {
            return;
        }
        self.repair_everything().await;
        self.await_the_rest(HEALED_WITHIN + within, "after the last fault")
            .await;
        self.pass(Instant::now() + crate::operator::TAKEN_UP_WITHIN * 2)
            .await;
        if self.is_broken() {
            return;
        }
        for lane in self.lanes() {
            let stored = self.store.outbox_len(&lane);
            if stored > 0 {
                let what = format!("{lane}: {stored} batches are published and still stored");
                self.history.breaks(what);
            }
        }
    }

    /// Repairs what lasts; an operator also resumes a lane that needs it not.
    async fn repair_everything(&mut self) {
        for document in self.weather.end_what_lasts() {
            self.store.repair(&document);
        }
        let lanes = self.lanes();
        for lane in &lanes {
            self.repair_lane(lane).await;
        }
        for lane in &lanes {
            if self.is_suspect(lane) {
                self.revise(lane, Request::Resume).await;
            }
        }
        let idle = usize::try_from(self.plan.seed).expect("small seeds") % lanes.len();
        self.revise(&lanes[idle].clone(), Request::Resume).await;
    }
}

/// Whether one of `documents` keeps a session's deadlines from firing.
fn holds_session(documents: &BTreeSet<Document>, id: &SessionId) -> bool {
    let of = [Document::Session, Document::Home, Document::Deadline];
    of.iter().any(|of| documents.contains(&of(id.clone())))
}
