//! Time as an input: the one seam through which the shell learns what time it is.
//! Readings come from the database's clock; the host's wall clock is never consulted for a decision.

use crate::domain::Timestamp;

/// Tells the time of decisions.
pub trait Clock: Send + Sync + 'static {
    /// A lower bound of the database's clock: never early, and never falling within one process.
    fn now(&self) -> Timestamp;
}
