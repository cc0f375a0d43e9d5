//! What one user has used of the limits (contract 2, AC3 attempts and AC9): one value a user, kept
//! by compare-and-set, never by counting.

use super::command::Tier;
use super::decide::UserChange;
use super::ids::{SessionId, UserId};
use super::result::{Code, Rejection};
use super::rules::Rules;
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
    pub fn apply(&mut self, change: &UserChange, rules: &Rules) {
        match change {
            UserChange::Joined {
                session_id,
                first,
                at,
                ..
            } => {
                self.roll(at.day());
                if !self.open.contains(session_id) {
                    self.open.push(session_id.clone());
                }
                if *first {
                    self.used = self.used.saturating_add(1);
                }
            }
            UserChange::Released { session_id, .. } => self.open.retain(|id| id != session_id),
            UserChange::FailedCode { at, .. } => {
                self.roll(at.day());
                let place = self.failed_codes.partition_point(|earlier| earlier <= at);
                self.failed_codes.insert(place, *at);
                let window = rules.failed_codes_window;
                self.failed_codes.retain(|failed| failed.plus(window) > *at);
                let most = usize::try_from(rules.failed_codes).unwrap_or(usize::MAX);
                self.failed_codes
                    .drain(..self.failed_codes.len().saturating_sub(most));
            }
        }
    }

    /// The day that counts at `today` and its uses. Another lane's clock may be ahead of this one's
    /// around midnight: then its day stands.
    pub fn used_on(&self, today: Day) -> (Day, usize) {
        if today > self.day {
            (today, 0)
        } else {
            (self.day, usize::try_from(self.used).unwrap_or(0))
        }
    }

    fn roll(&mut self, today: Day) {
        if today > self.day {
            self.day = today;
            self.used = 0;
        }
    }
}

/// Why a user with these `limits` (`None`: nothing used) cannot take a place in `session_id` at
/// `now`, if so (contract 2, AC9). A rejoin (`first` false) is no further use of the day.
pub(super) fn refused_place(
    limits: Option<&UserLimits>,
    session_id: &SessionId,
    tier: Tier,
    first: bool,
    now: Timestamp,
    rules: &Rules,
) -> Option<Rejection> {
    // A place in this very session was freed by a deadline of this step.
    let open = limits.map_or(0, |l| l.open.iter().filter(|id| *id != session_id).count());
    if reaches(open, rules.concurrent_limit) {
        return Some(Rejection::by_limit(
            Code::LimitConcurrent,
            "the user is in as many sessions at once as allowed",
            rules.concurrent_limit,
            open,
            None,
        ));
    }
    let (day, used) = limits.map_or((now.day(), 0), |l| l.used_on(now.day()));
    if first && tier == Tier::Free && reaches(used, rules.daily_limit_free) {
        return Some(Rejection::by_limit(
            Code::LimitDaily,
            "the user has joined as many sessions today as the free tier allows",
            rules.daily_limit_free,
            used,
            Some(day.end()),
        ));
    }
    None
}

/// Why a user with these `limits` (`None`: nothing used) may not try an invite code at `now`, if so
/// (contract 2, AC3).
pub(super) fn refused_attempt(
    limits: Option<&UserLimits>,
    now: Timestamp,
    rules: &Rules,
) -> Option<Rejection> {
    let window = rules.failed_codes_window;
    let failed = limits.map_or(&[][..], |l| &l.failed_codes);
    let counted = || failed.iter().filter(|at| at.plus(window) > now);
    let used = counted().count();
    if !reaches(used, rules.failed_codes) {
        return None;
    }
    // Of more failures than the setting counts (it may have been lowered), the newest decide.
    let beyond = used.saturating_sub(usize::try_from(rules.failed_codes).unwrap_or(usize::MAX));
    Some(Rejection::by_limit(
        Code::TooManyAttempts,
        "the user has tried too many unknown invite codes",
        rules.failed_codes,
        used,
        counted().nth(beyond).map(|oldest| oldest.plus(window)),
    ))
}

fn reaches(used: usize, limit: u32) -> bool {
    usize::try_from(limit).is_ok_and(|limit| used >= limit)
}
