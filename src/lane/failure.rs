//! The one interpreter of failures: whatever fails at whatever step of a lane becomes an extent (how much
//! of the lane it stops) and a disposition (what the lane does about it). A rejection is not here (it is
//! a result), a bug neither (it is caught at the message or the deadline).

use crate::kafka;
use crate::store::{self, Conflict};
use crate::wire::LookupError;

/// A step of a lane that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Taking the lane from its previous owner.
    Fence,
    /// Loading outbox and deadlines after the fence.
    Start,
    /// Loading what a batch needs.
    Load,
    /// Committing a batch.
    Commit,
    /// Writing a note into the lane's document.
    Note,
    /// Comparing deadlines with the database.
    Sweep,
    /// The last acknowledgement of a lane that stops.
    Finish,
    /// Asking where the log begins and ends.
    Survey,
    /// Placing the log at the position.
    Seek,
    /// Reading records.
    Read,
    /// Looking up writer schemas.
    LookUp,
    /// Publishing a topic's records.
    Publish,
}

impl Step {
    /// The name in logs, metrics and readiness.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Start => "start",
            Self::Load => "load",
            Self::Commit => "commit",
            Self::Note => "note",
            Self::Sweep => "sweep",
            Self::Finish => "finish",
            Self::Survey => "survey",
            Self::Seek => "seek",
            Self::Read => "read",
            Self::LookUp => "look_up",
            Self::Publish => "publish",
        }
    }
}

/// A failure with the step that it belongs to. The steps of one edge share its errors, so that a
/// database error at a step of the log cannot be written.
#[derive(Clone, Copy, Debug)]
pub enum Failure<'a> {
    /// At a step that uses the database.
    Database(DatabaseStep, &'a store::Error),
    /// At a step that uses the input log.
    Log(LogStep, &'a kafka::Error),
    /// While publishing.
    Publish(&'a kafka::Error),
    /// While looking up writer schemas.
    LookUp(&'a LookupError),
}

/// The steps that use the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseStep {
    /// See [`Step::Fence`].
    Fence,
    /// See [`Step::Start`].
    Start,
    /// See [`Step::Load`].
    Load,
    /// See [`Step::Commit`].
    Commit,
    /// See [`Step::Note`].
    Note,
    /// See [`Step::Sweep`].
    Sweep,
    /// See [`Step::Finish`].
    Finish,
}

/// The steps that use the input log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStep {
    /// See [`Step::Survey`].
    Survey,
    /// See [`Step::Seek`].
    Seek,
    /// See [`Step::Read`].
    Read,
}

/// How much of the lane a failure stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// Nothing: it is tried again at its next occasion.
    Nothing,
    /// This attempt at a batch.
    Batch,
    /// Reading. Deadlines, publishing and acknowledgement go on.
    Intake,
    /// One output topic's records. Everything else goes on until the window is full.
    Topic,
    /// Everything of this lane that needs the database.
    Lane,
}

/// What the lane does about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Forget every decision of the batch, load again, decide again; smaller after a few times.
    DecideAgain {
        /// The cache may be outdated, too.
        forget_sessions: bool,
    },
    /// The content is to blame: find the message or deadline, and end only that.
    FindCulprit,
    /// Wait with backoff, then try the same again.
    Wait,
    /// Become the owner again: raise the epoch, read the position, load everything.
    TakeAgain,
    /// Survey the log and place it again at the position, after a pause.
    PlaceAgain,
    /// The bytes at the position cannot be read: place the log again, and stop if that does not help.
    Damaged,
    /// Send the topic's records again from the lowest unacknowledged batch once it recovers.
    SendAgain,
    /// Nothing: the next occasion comes by itself.
    TryLater,
    /// Stop: the partition belongs to another member.
    End,
}

impl Disposition {
    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DecideAgain { .. } => "decide_again",
            Self::FindCulprit => "find_culprit",
            Self::Wait => "wait",
            Self::TakeAgain => "take_again",
            Self::PlaceAgain => "place_again",
            Self::Damaged => "damaged",
            Self::SendAgain => "send_again",
            Self::TryLater => "try_later",
            Self::End => "end",
        }
    }
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How much it stops.
    pub extent: Extent,
    /// What the lane does about it.
    pub disposition: Disposition,
}

/// The table.
pub fn interpret(failure: Failure<'_>) -> Verdict {
    let (extent, disposition) = match failure {
        Failure::Database(step, error) => of_database(step, error),
        Failure::Log(step, error) => of_log(step, error),
        Failure::Publish(error) => of_publish(error),
        // The registry's "not there" becomes a dead letter in the decoder; here it is a fault.
        Failure::LookUp(_) => (Extent::Intake, Disposition::Wait),
    };
    Verdict {
        extent,
        disposition,
    }
}

fn of_database(step: DatabaseStep, error: &store::Error) -> (Extent, Disposition) {
    use store::Error;
    match (step, error) {
        (DatabaseStep::Sweep | DatabaseStep::Finish, _) => (Extent::Nothing, Disposition::TryLater),
        (_, Error::Fenced | Error::Unknown { .. }) => (Extent::Lane, Disposition::TakeAgain),
        (DatabaseStep::Load | DatabaseStep::Commit, Error::Conflict(conflict)) => {
            let forget_sessions = match conflict {
                Conflict::Session => true,
                Conflict::User | Conflict::Ledger | Conflict::Contention => false,
            };
            (Extent::Batch, Disposition::DecideAgain { forget_sessions })
        }
        (DatabaseStep::Load | DatabaseStep::Commit, Error::Refused { .. }) => {
            (Extent::Batch, Disposition::FindCulprit)
        }
        // No content of a batch is involved, so nothing but waiting helps.
        (
            DatabaseStep::Fence | DatabaseStep::Start | DatabaseStep::Note,
            Error::Conflict(_) | Error::Refused { .. },
        )
        | (_, Error::Unavailable { .. }) => (Extent::Lane, Disposition::Wait),
    }
}

fn of_log(step: LogStep, error: &kafka::Error) -> (Extent, Disposition) {
    use kafka::Error;
    match (step, error) {
        (_, Error::Revoked) => (Extent::Lane, Disposition::End),
        (LogStep::Read, Error::Damaged { .. }) => (Extent::Intake, Disposition::Damaged),
        (
            LogStep::Survey | LogStep::Seek | LogStep::Read,
            Error::Unavailable { .. }
            | Error::OutOfRange { .. }
            | Error::Damaged { .. }
            | Error::Delivery { .. }
            | Error::Refused { .. },
        ) => (Extent::Intake, Disposition::PlaceAgain),
    }
}

fn of_publish(error: &kafka::Error) -> (Extent, Disposition) {
    use kafka::Error;
    match error {
        Error::Delivery { .. }
        | Error::Refused { .. }
        | Error::Unavailable { .. }
        | Error::Damaged { .. }
        | Error::OutOfRange { .. } => (Extent::Topic, Disposition::SendAgain),
        Error::Revoked => (Extent::Lane, Disposition::End),
    }
}

impl Failure<'_> {
    /// The step that failed.
    pub fn step(&self) -> Step {
        match self {
            Self::Database(step, _) => match step {
                DatabaseStep::Fence => Step::Fence,
                DatabaseStep::Start => Step::Start,
                DatabaseStep::Load => Step::Load,
                DatabaseStep::Commit => Step::Commit,
                DatabaseStep::Note => Step::Note,
                DatabaseStep::Sweep => Step::Sweep,
                DatabaseStep::Finish => Step::Finish,
            },
            Self::Log(step, _) => match step {
                LogStep::Survey => Step::Survey,
                LogStep::Seek => Step::Seek,
                LogStep::Read => Step::Read,
            },
            Self::Publish(_) => Step::Publish,
            Self::LookUp(_) => Step::LookUp,
        }
    }

    /// What went wrong, without payload.
    pub fn reason(&self) -> String {
        match self {
            Self::Database(_, error) => error.to_string(),
            Self::Log(_, error) | Self::Publish(error) => error.to_string(),
            Self::LookUp(error) => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: [DatabaseStep; 7] = [
        DatabaseStep::Fence,
        DatabaseStep::Start,
        DatabaseStep::Load,
        DatabaseStep::Commit,
        DatabaseStep::Note,
        DatabaseStep::Sweep,
        DatabaseStep::Finish,
    ];

    fn database(step: DatabaseStep, error: &store::Error) -> Verdict {
        interpret(Failure::Database(step, error))
    }

    #[test]
    fn a_fault_is_waited_out_wherever_it_is_met_and_never_blamed_on_the_content() {
        let down = store::Error::unavailable("down");
        for step in DATABASE {
            let disposition = database(step, &down).disposition;
            let waits = matches!(disposition, Disposition::Wait | Disposition::TryLater);
            assert!(waits, "{step:?}: {disposition:?}");
        }
        let unavailable = kafka::Error::Unavailable {
            reason: "down".to_owned(),
        };
        for step in [LogStep::Survey, LogStep::Seek, LogStep::Read] {
            let verdict = interpret(Failure::Log(step, &unavailable));
            assert_eq!(verdict.disposition, Disposition::PlaceAgain);
            assert_eq!(verdict.extent, Extent::Intake);
        }
        let lookup = LookupError::Unavailable {
            reason: "down".to_owned(),
        };
        let verdict = interpret(Failure::LookUp(&lookup));
        assert_eq!(
            (verdict.extent, verdict.disposition),
            (Extent::Intake, Disposition::Wait)
        );
    }

    #[test]
    fn what_is_uncertain_is_resolved_by_taking_the_lane_again() {
        for error in [store::Error::unknown("lost"), store::Error::Fenced] {
            for step in DATABASE {
                if !matches!(step, DatabaseStep::Sweep | DatabaseStep::Finish) {
                    assert_eq!(database(step, &error).disposition, Disposition::TakeAgain);
                }
            }
        }
    }

    #[test]
    fn only_a_conflict_on_sessions_makes_the_cache_doubtful() {
        for (conflict, forget) in [
            (Conflict::Session, true),
            (Conflict::User, false),
            (Conflict::Ledger, false),
            (Conflict::Contention, false),
        ] {
            let verdict = database(DatabaseStep::Commit, &store::Error::Conflict(conflict));
            let forget_sessions = forget;
            assert_eq!(
                verdict.disposition,
                Disposition::DecideAgain { forget_sessions }
            );
            assert_eq!(verdict.extent, Extent::Batch);
        }
    }

    #[test]
    fn only_a_batch_can_be_to_blame_for_a_refusal() {
        let refused = store::Error::refused("too large");
        for step in DATABASE {
            let blamed = database(step, &refused).disposition == Disposition::FindCulprit;
            let batch = matches!(step, DatabaseStep::Load | DatabaseStep::Commit);
            assert_eq!(blamed, batch, "{step:?}");
        }
    }

    #[test]
    fn publishing_stops_its_topic_and_reading_its_intake() {
        let delivery = kafka::Error::Delivery {
            reason: "lost".to_owned(),
        };
        let verdict = interpret(Failure::Publish(&delivery));
        assert_eq!(
            (verdict.extent, verdict.disposition),
            (Extent::Topic, Disposition::SendAgain)
        );
        let damaged = kafka::Error::Damaged {
            offset: 7,
            reason: "crc".to_owned(),
        };
        let verdict = interpret(Failure::Log(LogStep::Read, &damaged));
        assert_eq!(
            (verdict.extent, verdict.disposition),
            (Extent::Intake, Disposition::Damaged)
        );
        let verdict = interpret(Failure::Log(LogStep::Read, &kafka::Error::Revoked));
        assert_eq!(verdict.disposition, Disposition::End);
    }
}
