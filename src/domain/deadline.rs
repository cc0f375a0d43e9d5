//! The instants at which a session acts by itself (contract 2, AC4, AC7 and `session.expiring`).

use super::session::Session;
use super::time::Timestamp;

impl Session {
    /// The earliest stored deadline: when the session's timer must look at it; `None` once ended.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        todo!()
    }
}
