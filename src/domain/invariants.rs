//! What must hold of every stored state: `violations` is what properties test and `audit` reports.

use super::limits::UserLimits;
use super::session::Session;

/// A broken invariant: its stable name and what is wrong, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// A stable snake_case name.
    pub invariant: &'static str,
    /// What is wrong, with ids and numbers.
    pub detail: String,
}

/// The invariants that `session` breaks.
pub fn violations(session: &Session) -> Vec<Violation> {
    let _ = session;
    todo!()
}

/// The invariants that `limits` breaks.
pub fn limit_violations(limits: &UserLimits) -> Vec<Violation> {
    let _ = limits;
    todo!()
}
