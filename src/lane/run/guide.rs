//! What the lane does about its intake: where a surveyed log is read or why not, what a failed step means,
//! and what other processes are told of a stopped intake.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::kafka::{Log, Publisher};
use crate::lane::failure::{DatabaseStep, Disposition, Failure, LogStep, interpret};
use crate::lane::intake::{DEATHS_SUSPICIOUS, Progress, State, Survey, survey};
use crate::lane::pacing::backoff;
use crate::lane::probation::Probation;
use crate::planted::{self, Bug};
use crate::store::{IntakeStop, LaneStore, Note, StopReason, Store};

use super::{Ending, Lane};

impl<S, L, P, C> Lane<S, L, P, C>
where
    S: Store,
    L: Log,
    P: Publisher,
    C: Clock,
{
    /// Moves on what only the owner can move on: the decision after a survey, and what was read.
    pub(super) async fn guide_intake(&mut self) {
        let Some(owner) = self.ownership.owned() else {
            return;
        };
        let position = owner.position;
        if let State::Surveyed { low, high, .. } = self.intake.state() {
            // This owner's own reading is no death.
            let own = i32::from(self.probation.is_on());
            match survey(&position, position.deaths - own, (*low, *high)) {
                Survey::Stop(reason) => self.stop_intake(reason),
                Survey::AtTheEnd => self.intake.seek(&position),
                Survey::Waiting => self.begin_reading().await,
            }
        }
        if self.probation.is_over() && self.write_note(Note::Sound).await {
            self.probation = Probation::Off;
            if let Some(owner) = self.ownership.owned_mut() {
                owner.position.deaths = 0;
            }
        }
        if let Some(stop) = self.intake.owed_note()
            && self.write_note(Note::Intake(stop)).await
        {
            self.intake.noted(stop);
        }
        let (codec, is_home) = (Arc::clone(&self.shared.codec), self.home.is_some());
        if self.intake.decode(position.next, &codec, is_home) {
            self.meter.intake_recovered();
        }
    }

    /// Places the log where something waits to be read. From here on a death of this process counts
    /// against the partition.
    async fn begin_reading(&mut self) {
        let Some(owner) = self.ownership.owned() else {
            return;
        };
        let position = owner.position;
        if !self.probation.is_on() {
            let turn = if position.deaths >= DEATHS_SUSPICIOUS {
                match Arc::clone(&self.shared.suspects).try_acquire_owned() {
                    Ok(turn) => Some(turn),
                    // Another suspect is being read; the loop comes back.
                    Err(_) => return,
                }
            } else {
                None
            };
            if !planted::has(Bug::DeathsNotCounted) && !self.write_note(Note::Reading).await {
                return;
            }
            if let Some(owner) = self.ownership.owned_mut() {
                owner.position.deaths += 1;
            }
            self.probation = Probation::begin(turn);
        }
        self.intake.seek(&position);
    }

    /// Stops the intake for good, or until time or an operator helps.
    fn stop_intake(&mut self, reason: StopReason) {
        let Some(owner) = self.ownership.owned() else {
            return;
        };
        let stop = IntakeStop {
            reason,
            offset: owner.position.next.unwrap_or(0),
            since: self.now(),
        };
        if reason == StopReason::Suspect {
            self.probation = Probation::Off;
        }
        self.intake.stop_for(stop);
        self.meter.intake_stopped(&stop);
    }

    /// Writes a note if the lane is owned; says whether it is written.
    async fn write_note(&mut self, note: Note) -> bool {
        let Some(owner) = self.ownership.owned() else {
            return false;
        };
        match owner.store.note(note).await {
            Ok(()) => {
                if !planted::has(Bug::HoldNeverReleased) {
                    self.hold.release();
                }
                self.meter.recovered();
                true
            }
            Err(error) => {
                self.database_failed(DatabaseStep::Note, &error);
                false
            }
        }
    }

    /// What came of waiting for the intake.
    pub(super) fn intake_progressed(&mut self, progress: Progress) -> Option<Ending> {
        match progress {
            Progress::Moved => {}
            Progress::Read => {
                self.meter.intake_recovered();
            }
            Progress::Mismatch => self.stop_intake(StopReason::Recreated),
            Progress::LookUpFailed(error) => {
                let failure = Failure::LookUp(&error);
                let attempts = self.intake_failed(&failure);
                let at = Instant::now() + backoff(attempts, &mut self.rng);
                if let Some(reader) = self.intake.reader() {
                    reader.look_up_at(at);
                }
            }
            Progress::Failed(step, error) => return self.log_failed(step, &error),
        }
        None
    }

    fn log_failed(&mut self, step: LogStep, error: &crate::kafka::Error) -> Option<Ending> {
        let failure = Failure::Log(step, error);
        match interpret(failure).disposition {
            Disposition::End => {
                self.meter.failed(&failure, interpret(failure), None);
                return Some(Ending::Revoked);
            }
            Disposition::Damaged if planted::has(Bug::DamageSteppedOver) => {}
            Disposition::PlaceAgain
                if planted::has(Bug::FailedReadNotPlacedAgain) && step == LogStep::Read => {}
            Disposition::Damaged if self.intake.damaged() => {
                self.stop_intake(StopReason::Damaged);
            }
            Disposition::Damaged
            | Disposition::PlaceAgain
            | Disposition::DecideAgain { .. }
            | Disposition::FindCulprit
            | Disposition::Wait
            | Disposition::TakeAgain
            | Disposition::SendAgain
            | Disposition::TryLater => {
                let attempts = self.intake_failed(&failure);
                let pause: Duration = backoff(attempts, &mut self.rng);
                self.intake.place_again(pause);
            }
        }
        None
    }

    fn intake_failed(&mut self, failure: &Failure<'_>) -> u32 {
        self.meter.failed(failure, interpret(*failure), None);
        self.intake
            .failed(failure.step().as_str(), failure.reason())
    }
}
