//! The instants at which a session acts by itself (contract 2, AC4, AC7 and `session.expiring`).
//! They are stored when they arise and fire in order of their instants, however late.

use super::event::{Cause, EventKind, TimerKind};
use super::participant::{LeaveReason, ParticipantStatus};
use super::session::{EndReason, Session, SessionStatus};
use super::step::Step;
use super::time::Timestamp;

/// What a deadline concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The open participant at this index: dropped for too long, or never connected.
    Participant(usize),
    /// The first of the warnings.
    Warning,
    /// The session itself: its timeout, or its waiting timeout.
    End,
}

impl Session {
    /// The earliest stored deadline: when the session's timer must look at it; `None` once ended.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.earliest().map(|(at, _)| at)
    }

    /// The earliest deadline; of several at one instant participants come first, in their order, then
    /// warnings, then the end.
    fn earliest(&self) -> Option<(Timestamp, Due)> {
        let end = match self.status {
            SessionStatus::Waiting => self.waiting_deadline,
            SessionStatus::Active => self.expires_at,
            SessionStatus::Ended => return None,
        };
        let participants = self
            .participants
            .iter()
            .enumerate()
            .filter(|(_, p)| p.is_open());
        let stints = participants.filter_map(|(i, p)| Some((p.deadline?, Due::Participant(i))));
        stints
            .chain(
                self.warnings
                    .first()
                    .map(|warning| (warning.at, Due::Warning)),
            )
            .chain(end.map(|at| (at, Due::End)))
            .min_by_key(|(at, _)| *at)
    }
}

impl Session {
    /// Whether the deadlines that are due at `now` end the session: its own, or those of everyone who is
    /// still in.
    fn end_is_due(&self, now: Timestamp) -> bool {
        let is_due = |deadline: Option<Timestamp>| deadline.is_some_and(|at| at <= now);
        let own = match self.status {
            SessionStatus::Waiting => self.waiting_deadline,
            SessionStatus::Active => self.expires_at,
            SessionStatus::Ended => return false,
        };
        let mut open = self.participants.iter().filter(|p| p.is_open());
        is_due(own) || open.all(|participant| is_due(participant.deadline))
    }
}

impl Step<'_> {
    /// Fires the deadlines that are due, in order of their instants; an end stops the rest.
    pub(super) fn elapse(&mut self) {
        let now = self.now;
        let session = self.session();
        // None is published once the end is due (contract 1, `session.expiring`).
        if !session.warnings.is_empty() && session.end_is_due(now) {
            self.change().warnings.clear();
        }
        while let Some((at, due)) = self.session().earliest().filter(|(at, _)| *at <= now) {
            match due {
                Due::Participant(index) => self.dismiss(index, at),
                Due::Warning => self.warn(),
                Due::End => self.time_out(at),
            }
        }
    }

    fn dismiss(&mut self, index: usize, at: Timestamp) {
        let participant = &self.session().participants[index];
        let user_id = participant.user_id.clone();
        let (timer, reason, left_at) = match participant.status {
            ParticipantStatus::Disconnected => {
                let left_at = participant
                    .disconnected_at
                    .expect("who is dropped, dropped once");
                (
                    TimerKind::Disconnect(user_id),
                    LeaveReason::DisconnectTimeout,
                    left_at,
                )
            }
            ParticipantStatus::Waiting => (TimerKind::NoShow(user_id), LeaveReason::NoShow, at),
            ParticipantStatus::Connected => unreachable!("who is connected has no deadline"),
        };
        self.caused_by(Cause::Timer(timer), None);
        self.leave(index, reason, left_at, at);
    }

    fn warn(&mut self) {
        let warning = self.change().warnings.remove(0);
        let seconds = warning.before_end.as_secs();
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        let timer = TimerKind::Expiring {
            seconds: i64::from(seconds),
        };
        self.caused_by(Cause::Timer(timer), None);
        self.emit(EventKind::SessionExpiring, None).seconds_left = Some(seconds);
    }

    fn time_out(&mut self, at: Timestamp) {
        let (timer, reason) = if self.session().status == SessionStatus::Waiting {
            (TimerKind::NeverStarted, EndReason::NeverStarted)
        } else {
            (TimerKind::Timeout, EndReason::Timeout)
        };
        self.caused_by(Cause::Timer(timer), None);
        self.end(reason, at);
    }
}
