//! What one user has used of the limits (contract 2, AC3 attempts and AC9): one value a user, kept
//! by compare-and-set, never by counting.

use super::ids::{SessionId, UserId};
use super::time::{Day, Timestamp};

/// One user's use of the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLimits {
    /// Whose.
    pub user_id: UserId,
    /// The sessions not yet ended in which the user is open.
    pub open: Vec<SessionId>,
    /// The UTC day that `used` counts.
    pub day: Day,
    /// First joins on that day.
    pub used: i32,
    /// When the user's latest unknown codes were tried, oldest first; bounded by the rule.
    pub failed_codes: Vec<Timestamp>,
}

impl UserLimits {
    /// A user who has used nothing.
    pub fn unused(user_id: UserId, day: Day) -> Self {
        Self {
            user_id,
            open: Vec::new(),
            day,
            used: 0,
            failed_codes: Vec::new(),
        }
    }

    /// The limits after `change`, which must concern this user.
    pub fn apply(&mut self, change: &super::decide::UserChange, rules: &super::rules::Rules) {
        let _ = (change, rules);
        todo!()
    }
}
