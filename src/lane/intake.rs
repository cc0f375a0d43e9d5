//! How a lane comes to read its partition, as states: the log is surveyed, placed at the position, read,
//! and stopped where only an operator can help. The intake needs the owner's position and nothing else;
//! what stops it stops neither deadlines nor publishing nor acknowledgement.

mod item;
mod reader;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

pub(super) use self::item::{Content, Item, Message, Trial};
pub(super) use self::reader::{Reader, last_record};

use crate::kafka::{Error, Limit, Log};
use crate::planted::{self, Bug};
use crate::record::TopicPartition;
use crate::store::{DEATHS_TOLERATED, IntakeStop, LanePosition, StopReason};
use crate::wire::{Codec, LookupError};

use super::failure::LogStep;

/// Owners that died in a row before a partition is read alone, apart from the process's other suspects.
pub(super) const DEATHS_SUSPICIOUS: i32 = 2;
/// How often damaged bytes are read again before the intake stops.
const DAMAGE_TOLERATED: u32 = 3;
/// The pause before a stopped intake looks whether the damage has healed (another replica leads).
const DAMAGE_RETRY: Duration = Duration::from_secs(60);

/// The end of a step of the log, which travels with the step so that no step is begun twice.
type LogStepDone<L, T> = BoxFuture<'static, (L, Result<T, Error>)>;

/// How far the intake has come.
pub(super) enum State<L> {
    /// The log stands anywhere. Its bounds are asked for at `at`.
    Unplaced { log: L, at: Instant },
    /// The brokers are asked where the log begins and ends.
    Surveying(LogStepDone<L, (i64, i64)>),
    /// The log holds `low` to `high`; the lane decides whether and where to read.
    Surveyed { log: L, low: i64, high: i64 },
    /// The log is being placed.
    Seeking {
        done: LogStepDone<L, ()>,
        verify: Option<crate::store::LastRecord>,
    },
    /// The log is read.
    Reading(Reader<L>),
    /// Only an operator helps, or time where `again_at` says so.
    Stopped {
        log: L,
        stop: IntakeStop,
        again_at: Option<Instant>,
    },
    /// Between two states.
    Moving,
}

/// The intake of one lane.
pub(super) struct Intake<L> {
    state: State<L>,
    /// Failures in a row, and the last one.
    trouble: Option<Trouble>,
    /// How often in a row the bytes at the position were damaged.
    damage: u32,
    noted: Noted,
    comparison: Comparison,
    /// Something was read since the log was placed or stopped.
    has_read: bool,
}

/// What the lane's document says of the intake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noted {
    /// What an earlier owner wrote.
    Unknown,
    /// That it is stopped here.
    Stopped(IntakeStop),
    /// That it runs.
    Running,
}

/// Whether the last record consumed is compared before reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Due,
    /// Its bytes are damaged. Nothing that is still to be read is: reading goes on behind it.
    Impossible,
}

/// Why the intake waits.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) step: &'static str,
    pub(super) reason: String,
    pub(super) attempts: u32,
}

/// What came of waiting for the intake.
pub(super) enum Progress {
    /// A step was made; the states say which.
    Moved,
    /// The log was read beyond the position that it was placed at, or to its end.
    Read,
    /// A step of the log failed.
    Failed(LogStep, Error),
    /// A look-up of writer schemas failed.
    LookUpFailed(LookupError),
    /// The last record consumed is not the one in the log.
    Mismatch,
}

const MOVING: &str = "a transition puts a state back before it returns";

impl<L: Log> Intake<L> {
    /// An intake whose log is placed nowhere.
    pub(super) fn new(log: L) -> Self {
        Self {
            state: State::Unplaced {
                log,
                at: Instant::now(),
            },
            trouble: None,
            damage: 0,
            noted: Noted::Unknown,
            comparison: Comparison::Due,
            has_read: false,
        }
    }

    /// What the lane's document should say of the intake and does not: where it stopped (`Some`), or that
    /// it runs.
    pub(super) fn owed_note(&self) -> Option<Option<IntakeStop>> {
        match &self.state {
            State::Stopped { stop, .. } => {
                (self.noted != Noted::Stopped(*stop)).then_some(Some(*stop))
            }
            State::Reading(_) if self.has_read => (self.noted != Noted::Running).then_some(None),
            _ => None,
        }
    }

    /// The lane's document says this of the intake.
    pub(super) fn noted(&mut self, stop: Option<IntakeStop>) {
        self.noted = stop.map_or(Noted::Running, Noted::Stopped);
    }

    /// The lane has or may have another owner, who may note a stop and read beyond the surveyed end.
    pub(super) fn owner_changed(&mut self) {
        self.noted = Noted::Unknown;
        self.comparison = Comparison::Due;
        self.place_again(Duration::ZERO);
    }

    /// How far it has come.
    pub(super) fn state(&self) -> &State<L> {
        &self.state
    }

    /// Why it waits, if it does.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// The reader, while the log is read.
    pub(super) fn reader(&mut self) -> Option<&mut Reader<L>> {
        match &mut self.state {
            State::Reading(reader) => Some(reader),
            _ => None,
        }
    }

    /// Decodes what was read, as far as that goes without waiting; says whether anything was.
    pub(super) fn decode(&mut self, next: Option<i64>, codec: &Arc<Codec>, is_home: bool) -> bool {
        let decoded = match &mut self.state {
            State::Reading(reader) => reader.decode(next, codec, is_home),
            _ => false,
        };
        if decoded {
            self.trouble = None;
        }
        decoded
    }

    /// Why and where it is stopped.
    pub(super) fn stop(&self) -> Option<IntakeStop> {
        match &self.state {
            State::Stopped { stop, .. } => Some(*stop),
            _ => None,
        }
    }

    /// Records that wait behind `next`, as far as the log knows.
    pub(super) fn lag(&self, next: Option<i64>) -> Option<i64> {
        match &self.state {
            State::Unplaced { log, .. }
            | State::Surveyed { log, .. }
            | State::Stopped { log, .. } => log.lag(next),
            State::Reading(reader) => reader.log().lag(next),
            State::Surveying(_) | State::Seeking { .. } | State::Moving => None,
        }
    }

    /// Reports the position for lag tools.
    pub(super) fn report(&mut self, next: i64) {
        if let State::Reading(reader) = &mut self.state {
            reader.log_mut().report(next);
        }
    }

    /// Forgets what was read and places the log anew, after `pause`. A step under way ends first.
    pub(super) fn place_again(&mut self, pause: Duration) {
        self.has_read = false;
        let at = Instant::now() + pause;
        self.state = match std::mem::replace(&mut self.state, State::Moving) {
            State::Unplaced { log, .. }
            | State::Surveyed { log, .. }
            | State::Stopped { log, .. } => State::Unplaced { log, at },
            State::Reading(reader) => State::Unplaced {
                log: reader.into_log(),
                at,
            },
            State::Seeking { done, .. } => State::Surveying(survey_after(done)),
            State::Surveying(done) => State::Surveying(survey_after(done)),
            State::Moving => unreachable!("{MOVING}"),
        };
    }

    /// A step failed: says how often in a row by now.
    pub(super) fn failed(&mut self, step: &'static str, reason: String) -> u32 {
        let attempts = self.trouble.as_ref().map_or(0, |trouble| trouble.attempts) + 1;
        self.trouble = Some(Trouble {
            step,
            reason,
            attempts,
        });
        attempts
    }

    /// The bytes at the position are damaged: says whether to stop.
    pub(super) fn damaged(&mut self) -> bool {
        let is_comparing = matches!(&self.state, State::Reading(reader) if reader.is_comparing());
        if is_comparing && !planted::has(Bug::OldDamageStops) {
            self.comparison = Comparison::Impossible;
            return false;
        }
        self.damage += 1;
        self.damage >= DAMAGE_TOLERATED
    }

    /// Stops until an operator changes the lane; damage is also looked at again after a while.
    pub(super) fn stop_for(&mut self, stop: IntakeStop) {
        let again_at = match stop.reason {
            StopReason::Damaged => Some(Instant::now() + DAMAGE_RETRY),
            StopReason::PositionLost | StopReason::Recreated | StopReason::Suspect => None,
        };
        self.trouble = None;
        self.has_read = false;
        self.state = match std::mem::replace(&mut self.state, State::Moving) {
            State::Unplaced { log, .. }
            | State::Surveyed { log, .. }
            | State::Stopped { log, .. } => State::Stopped {
                log,
                stop,
                again_at,
            },
            State::Reading(reader) => State::Stopped {
                log: reader.into_log(),
                stop,
                again_at,
            },
            state @ (State::Surveying(_) | State::Seeking { .. } | State::Moving) => {
                unreachable!("a stop follows a finished step, not {}", state.name())
            }
        };
    }

    /// Begins to place a surveyed log at `position`: at the last record consumed where it is still there,
    /// so that it is compared, else at the next one.
    pub(super) fn seek(&mut self, position: &LanePosition) {
        self.state = match std::mem::replace(&mut self.state, State::Moving) {
            State::Surveyed { mut log, low, .. } => {
                let compares = self.comparison == Comparison::Due;
                let verify = (position.last).filter(|last| compares && last.offset >= low);
                let from = verify.map(|last| last.offset).or(position.next);
                let done = async move {
                    let sought = log.seek(from).await;
                    (log, sought)
                };
                State::Seeking {
                    done: done.boxed(),
                    verify,
                }
            }
            other => other,
        };
    }

    /// Waits for the next step and makes it. Cancel-safe: a step under way goes on in the state. `limit`
    /// is what one read may take; `idle` says that nothing may be read now.
    pub(super) async fn progress(&mut self, limit: Limit, idle: bool) -> Progress {
        match &mut self.state {
            State::Unplaced { at, .. } => {
                tokio::time::sleep_until(*at).await;
                self.survey();
                Progress::Moved
            }
            State::Surveying(done) => {
                let (log, bounds) = done.await;
                match bounds {
                    Ok((low, high)) => {
                        self.state = State::Surveyed { log, low, high };
                        Progress::Moved
                    }
                    Err(error) => self.unplaced(log, LogStep::Survey, error),
                }
            }
            State::Seeking { done, verify } => {
                let (log, sought) = done.await;
                let verify = verify.take();
                match sought {
                    Ok(()) => {
                        self.state = State::Reading(Reader::new(log, verify));
                        Progress::Moved
                    }
                    Err(error) => self.unplaced(log, LogStep::Seek, error),
                }
            }
            State::Reading(reader) => {
                if idle && reader.is_between_reads() {
                    return std::future::pending().await;
                }
                let progress = reader.progress(limit).await;
                if matches!(progress, Progress::Read) {
                    self.has_read = true;
                    self.comparison = Comparison::Due;
                    self.trouble = None;
                    self.damage = 0;
                }
                progress
            }
            State::Stopped {
                again_at: Some(at), ..
            } => {
                tokio::time::sleep_until(*at).await;
                self.damage = 0;
                self.place_again(Duration::ZERO);
                Progress::Moved
            }
            // The lane moves these on.
            State::Surveyed { .. } | State::Stopped { again_at: None, .. } => {
                std::future::pending().await
            }
            State::Moving => unreachable!("{MOVING}"),
        }
    }

    fn survey(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Moving) {
            State::Unplaced { mut log, .. } => State::Surveying(
                async move {
                    let bounds = log.bounds().await;
                    (log, bounds)
                }
                .boxed(),
            ),
            other => other,
        };
    }

    fn unplaced(&mut self, log: L, step: LogStep, error: Error) -> Progress {
        self.state = State::Unplaced {
            log,
            at: Instant::now(),
        };
        Progress::Failed(step, error)
    }
}

/// Asks for the bounds once the step under way has ended, since the log travels with it. An answer that is
/// on its way already may be older than the position.
fn survey_after<L: Log, T: Send + 'static>(step: LogStepDone<L, T>) -> LogStepDone<L, (i64, i64)> {
    let survey = async move {
        let (mut log, _) = step.await;
        let bounds = log.bounds().await;
        (log, bounds)
    };
    survey.boxed()
}

impl<L> State<L> {
    /// The name in logs.
    fn name(&self) -> &'static str {
        match self {
            Self::Unplaced { .. } => "unplaced",
            Self::Surveying(_) => "surveying",
            Self::Surveyed { .. } => "surveyed",
            Self::Seeking { .. } => "seeking",
            Self::Reading(_) => "reading",
            Self::Stopped { .. } => "stopped",
            Self::Moving => "moving",
        }
    }
}

/// Whether and where a surveyed log may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survey {
    /// From the position; nothing waits there.
    AtTheEnd,
    /// From the position; something waits.
    Waiting,
    /// Not at all.
    Stop(StopReason),
}

/// What `position` means in a log that holds `low` to `high`, after so many deaths of other owners.
pub(super) fn survey(position: &LanePosition, deaths: i32, (low, high): (i64, i64)) -> Survey {
    let next = position.next.unwrap_or(low);
    if next < low || next > high {
        Survey::Stop(StopReason::PositionLost)
    } else if next == high {
        Survey::AtTheEnd
    } else if deaths >= DEATHS_TOLERATED {
        Survey::Stop(StopReason::Suspect)
    } else {
        Survey::Waiting
    }
}

/// The partition of `session-command` that a lane is the home of, if any.
pub(super) fn home_of_lane(session_command: &str, lane: &TopicPartition) -> Option<i32> {
    (*lane.topic == *session_command).then_some(lane.partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_in_the_log_or_at_its_end_is_read_and_any_other_is_lost() {
        let at = |next: Option<i64>, deaths: i32| {
            let position = LanePosition {
                next,
                ..LanePosition::unread()
            };
            (position, deaths)
        };
        let lost = Survey::Stop(StopReason::PositionLost);
        let suspect = Survey::Stop(StopReason::Suspect);
        for ((position, deaths), low, high, expected) in [
            (at(None, 0), 5, 9, Survey::Waiting),
            (at(None, 0), 0, 0, Survey::AtTheEnd),
            (at(Some(5), 0), 5, 9, Survey::Waiting),
            (at(Some(9), 0), 5, 9, Survey::AtTheEnd),
            // Retention has emptied the partition: findings A1.
            (at(Some(9), 0), 9, 9, Survey::AtTheEnd),
            (at(Some(4), 0), 5, 9, lost),
            (at(Some(10), 0), 5, 9, lost),
            (at(Some(5), DEATHS_TOLERATED - 1), 5, 9, Survey::Waiting),
            (at(Some(5), DEATHS_TOLERATED), 5, 9, suspect),
            // With nothing to read there is nothing to suspect.
            (at(Some(9), DEATHS_TOLERATED), 5, 9, Survey::AtTheEnd),
        ] {
            assert_eq!(
                survey(&position, deaths, (low, high)),
                expected,
                "{position:?} {deaths} {low} {high}"
            );
        }
    }
}
