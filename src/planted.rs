//! Known bugs, planted one at a time, so that the simulation can show that it finds them. Only the feature
//! `planted-bugs` compiles them in, and no release has it; without it every plant is a constant `false`.

/// A bug that somebody could write. Each stands in one line of the product's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A commit does not compare the lane's epoch and batch.
    EpochNotCompared,
    /// Events are published before the commit.
    PublishedBeforeCommit,
    /// A new owner does not publish again what is not acknowledged.
    OutboxNotReloaded,
    /// A user's limits are written without being compared.
    LimitsNotCompared,
    /// A second copy of a forward is answered.
    ForwardedCopyNotDropped,
    /// A new owner does not load the deadlines.
    DeadlineLostAtTakeover,
    /// After one message was condemned, the next one is, too.
    TrialNeverCleared,
    /// A message is condemned although the lane could commit nothing else.
    CondemnedWithoutProof,
    /// A stopped intake stops the lane's deadlines.
    IntakeStopStopsDeadlines,
    /// A lane does not notice what an operator did.
    SeekNotTakenUp,
    /// A conflict on a session leaves the cache as it is.
    SessionConflictKeepsCache,
    /// A message is judged as if it was new.
    LedgerNotConsulted,
    /// A batch is acknowledged that the brokers do not have.
    AcknowledgedTooFar,
    /// Any `sw-forward` header counts.
    AnyForwardBelieved,
    /// A batch is acknowledged when the first of its topics is.
    AcknowledgedByOneTopic,
    /// That a forward was judged counts for nothing.
    SettledForwardIgnored,
    /// A recreated topic is read on.
    LastRecordNotCompared,
    /// The cache outlives its epoch.
    CacheKeptAcrossEpochs,
    /// A damaged batch is stepped over.
    DamageSteppedOver,
    /// A parked deadline is never tried again.
    ParkedNeverTriedAgain,
    /// After a failed delivery batches are sent in another order.
    WindowOrderLost,
    /// After a failed read the log is read on where it stands.
    FailedReadNotPlacedAgain,
    /// Nobody counts the owners that a partition kills.
    DeathsNotCounted,
    /// An acknowledgement makes earlier deaths count for nothing.
    DeathsForgottenWithoutProgress,
    /// A process that takes its lane again counts as one more death.
    DeathsCountedTwice,
    /// Places of users whom nobody read are not freed.
    PlacesNotFreed,
    /// A decision may be earlier than the one before it.
    ClockFallsBack,
    /// The log's bounds may be older than the position.
    SurveyOlderThanPosition,
    /// A lane that failed to write a note says forever that it is held.
    HoldNeverReleased,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 29] = [
        Self::EpochNotCompared,
        Self::PublishedBeforeCommit,
        Self::OutboxNotReloaded,
        Self::LimitsNotCompared,
        Self::ForwardedCopyNotDropped,
        Self::DeadlineLostAtTakeover,
        Self::TrialNeverCleared,
        Self::CondemnedWithoutProof,
        Self::IntakeStopStopsDeadlines,
        Self::SeekNotTakenUp,
        Self::SessionConflictKeepsCache,
        Self::LedgerNotConsulted,
        Self::AcknowledgedTooFar,
        Self::AnyForwardBelieved,
        Self::AcknowledgedByOneTopic,
        Self::SettledForwardIgnored,
        Self::LastRecordNotCompared,
        Self::CacheKeptAcrossEpochs,
        Self::DamageSteppedOver,
        Self::ParkedNeverTriedAgain,
        Self::WindowOrderLost,
        Self::FailedReadNotPlacedAgain,
        Self::DeathsNotCounted,
        Self::DeathsForgottenWithoutProgress,
        Self::DeathsCountedTwice,
        Self::PlacesNotFreed,
        Self::ClockFallsBack,
        Self::SurveyOlderThanPosition,
        Self::HoldNeverReleased,
    ];
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants `bug`, and no other, in everything that this thread runs from now on.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether `bug` is planted.
#[cfg(feature = "planted-bugs")]
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether `bug` is planted: never.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn has(_bug: Bug) -> bool {
    false
}
