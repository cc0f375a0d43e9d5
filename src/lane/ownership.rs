//! Who owns the lane's partition, as a type: what a lane may do next follows from it. Deadlines,
//! publishing and acknowledgement need an owner and nothing else; they never look at the intake.

use crate::store::LanePosition;

/// The proof that this process owns the lane, and where the lane stands.
pub(super) struct Owner<L> {
    /// The owner's handle on the database.
    pub(super) store: L,
    /// The lane's document as this owner left it.
    pub(super) position: LanePosition,
}

/// How far this process has come in owning the lane.
pub(super) enum Ownership<L> {
    /// Another process may own it, or a commit's outcome is unknown: fence before anything else.
    NotOwned,
    /// Fenced. The outbox and the deadlines are still to be loaded.
    Loading(Owner<L>),
    /// Everything that the lane keeps in memory is there.
    Owned(Owner<L>),
}

impl<L> Ownership<L> {
    /// The owner, once everything is loaded.
    pub(super) fn owned(&self) -> Option<&Owner<L>> {
        match self {
            Self::Owned(owner) => Some(owner),
            Self::NotOwned | Self::Loading(_) => None,
        }
    }

    /// As [`Ownership::owned`], to act.
    pub(super) fn owned_mut(&mut self) -> Option<&mut Owner<L>> {
        match self {
            Self::Owned(owner) => Some(owner),
            Self::NotOwned | Self::Loading(_) => None,
        }
    }

    /// The fence has succeeded.
    pub(super) fn fenced(&mut self, owner: Owner<L>) {
        *self = Self::Loading(owner);
    }

    /// Outbox and deadlines are loaded.
    pub(super) fn loaded(&mut self) {
        if let Self::Loading(owner) = std::mem::replace(self, Self::NotOwned) {
            *self = Self::Owned(owner);
        }
    }

    /// The lane has another owner, or may have: what is in memory counts for nothing.
    pub(super) fn lost(&mut self) {
        *self = Self::NotOwned;
    }
}
