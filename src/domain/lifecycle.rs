//! How a session starts and ends (contract 2, AC5 and AC7): the two edges of
//! `waiting → active → ended`, and what each does to deadlines and to whoever is open.

use super::event::{EventKind, Reason, SessionStatistics};
use super::participant::{LeaveReason, ParticipantStatus};
use super::rules::{Rules, StartOn};
use super::session::{EndReason, Session, SessionKind, SessionStatus, Warning, count};
use super::step::Step;
use super::time::Timestamp;

impl Step<'_> {
    /// Starts a public session in the step in which it has enough participants (contract 2, AC5).
    pub(super) fn start_if_ready(&mut self) {
        let session = self.session();
        if session.kind == SessionKind::Public
            && session.status == SessionStatus::Waiting
            && ready(session, self.rules.start_on) >= session.min_participants
        {
            self.start();
        }
    }

    /// Starts a waiting session: its end and the warnings before it are fixed here, for good.
    pub(super) fn start(&mut self) {
        let now = self.now;
        let expires_at = now.plus(self.rules.session_timeout);
        let warnings = warnings(self.rules, now, expires_at);
        let session = self.change();
        session.status = SessionStatus::Active;
        session.started_at = Some(now);
        session.expires_at = Some(expires_at);
        session.waiting_deadline = None;
        session.warnings = warnings;
        self.emit(EventKind::SessionStarted, None);
    }

    /// Ends the session: every open participant leaves, in order of first join, then it is over.
    pub(super) fn end(&mut self, reason: EndReason, ended_at: Timestamp) {
        for index in 0..self.session().participants.len() {
            if self.session().participants[index].is_open() {
                self.go(index, LeaveReason::SessionEnded, ended_at);
            }
        }
        let now = self.now;
        let session = self.change();
        session.status = SessionStatus::Ended;
        session.ended_at = Some(ended_at);
        session.end_reason = Some(reason);
        session.waiting_deadline = None;
        session.warnings.clear();
        let statistics = SessionStatistics::of(session, now);
        let event = self.emit(EventKind::SessionEnded, None);
        event.reason = Some(Reason::End(reason));
        event.statistics = Some(statistics);
    }
}

fn ready(session: &Session, start_on: StartOn) -> i32 {
    match start_on {
        StartOn::Joined => count(session.open_count()),
        StartOn::Connected => {
            let connected = |status| status == ParticipantStatus::Connected;
            count(
                session
                    .participants
                    .iter()
                    .filter(|p| connected(p.status))
                    .count(),
            )
        }
    }
}

/// The configured warnings that lie between start and end, earliest first, each once.
fn warnings(rules: &Rules, started_at: Timestamp, expires_at: Timestamp) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = rules
        .expiry_warnings
        .iter()
        .map(|before_end| Warning {
            at: expires_at.minus(*before_end),
            before_end: *before_end,
        })
        .filter(|warning| started_at < warning.at && warning.at < expires_at)
        .collect();
    warnings.sort_by_key(|warning| warning.at);
    warnings.dedup();
    warnings
}
