//! The session rules of the contract's section 2, PURE: no clock, no randomness, no I/O, no async, no
//! logging, no serde. The shell loads state, calls [`admit`] and [`decide()`], and carries out what
//! they return without choices of its own. A refusal is a value ([`Code`]); a broken invariant is a
//! bug and panics with its reason, which the lane catches at the command.

mod admission;
mod command;
mod deadline;
mod decide;
mod event;
mod ids;
mod invariants;
mod lifecycle;
mod limits;
mod match_found;
mod membership;
mod participant;
mod private_session;
mod result;
mod rules;
mod session;
mod session_action;
mod statistics;
mod step;
mod time;
mod well_formed;

#[cfg(test)]
mod tests;

pub use admission::{Admission, Remembered, Request, SessionAction, admit};
pub use command::{Action, Command, Match, MatchedUser, Message, MessageId, Tier};
pub use decide::{Context, Decision, Elapsed, State, UserChange, decide, elapse, refuse_attempts};
pub use event::{
    Cause, Event, EventKind, ParticipantSnapshot, ParticipantStatistics, Reason, SessionSnapshot,
    SessionStatistics, TimerKind,
};
pub use ids::{ConnectionId, InviteCode, MalformedId, SessionId, TopicId, UserId};
pub use invariants::{Violation, limit_violations, violations};
pub use limits::UserLimits;
pub use participant::{LeaveReason, Participant, ParticipantStatus, Role, presence_ms};
pub use result::{Code, CommandResult, RejectedUser, ResultOrigin};
pub use rules::{PublicHostMigration, Rules, StartOn};
pub use session::{EndReason, Session, SessionKind, SessionStatus, Warning, duration_seconds};
pub use time::{Day, Timestamp};
pub use well_formed::is_language_tag;
