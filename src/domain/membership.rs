//! How users come into a session and go out of it, and what follows at once: places taken and freed,
//! the host's succession, the end of a session that nobody is left in (contract 2, AC3, AC6, AC9).

use super::command::Tier;
use super::decide::{State, UserChange};
use super::event::{EventKind, Reason};
use super::ids::UserId;
use super::limits::refused_place;
use super::participant::{LeaveReason, Participant, ParticipantStatus, Role};
use super::result::{Code, Rejection};
use super::rules::{PublicHostMigration, Rules};
use super::session::{EndReason, Session, SessionKind, count};
use super::step::Step;
use super::time::Timestamp;

/// What a user is to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In: the open participant at this index.
    In(usize),
    /// Was in, and left.
    HasLeft,
    /// Never was in.
    NeverIn,
}

impl Session {
    /// What `user_id` is to this session.
    pub(super) fn standing(&self, user_id: &UserId) -> Standing {
        let position = self.participants.iter().position(|p| p.user_id == *user_id);
        match position {
            Some(index) if self.participants[index].is_open() => Standing::In(index),
            Some(_) => Standing::HasLeft,
            None => Standing::NeverIn,
        }
    }
}

impl Step<'_> {
    /// Lets `user_id` in if the limits and the seats allow it; who is in already stays as they are
    /// (contract 2, the row of Join). Returns whether the user came in.
    pub(super) fn admit_user(
        &mut self,
        user_id: &UserId,
        tier: Tier,
        state: &State<'_>,
    ) -> Result<bool, Rejection> {
        let session = self.session();
        let standing = session.standing(user_id);
        if let Standing::In(_) = standing {
            return Ok(false);
        }
        let first = standing == Standing::NeverIn;
        let limits = state.limits_of(user_id);
        if let Some(rejection) =
            refused_place(limits, &session.id, tier, first, self.now, self.rules)
        {
            return Err(rejection);
        }
        if !session.has_seat() {
            return Err(Rejection::new(Code::SessionFull, "every seat is taken"));
        }
        if first && session.participants.len() >= Rules::DISTINCT_USERS {
            let detail = "the session has seen as many users as it may ever take";
            return Err(Rejection::new(Code::SessionFull, detail));
        }
        self.join(user_id);
        Ok(true)
    }

    /// Opens a stint of `user_id`, whom the rules let in.
    pub(super) fn join(&mut self, user_id: &UserId) {
        let now = self.now;
        let deadline = self.rules.no_show_timeout.map(|timeout| now.plus(timeout));
        let session = self.change();
        let seniority = session.next_seniority;
        session.next_seniority += 1;
        let position = session
            .participants
            .iter()
            .position(|p| p.user_id == *user_id);
        let index = if let Some(index) = position {
            // The role is right already: a host who handed over has lost it, and one who did not (of a
            // public session) is host again on return (contract 2, AC6).
            let participant = &mut session.participants[index];
            participant.open_stint(seniority, now, deadline);
            participant.rejoin_count += 1;
            index
        } else {
            let creator = session.host_user_id == *user_id;
            session.participants.push(Participant {
                user_id: user_id.clone(),
                role: if creator {
                    Role::Host
                } else {
                    Role::Participant
                },
                status: ParticipantStatus::Waiting,
                joined_at: now,
                left_at: None,
                leave_reason: None,
                speaking_time_seconds: 0,
                connection_id: None,
                stint_started_at: now,
                seniority,
                present_before_ms: 0,
                disconnected_at: None,
                deadline,
                rejoin_count: 0,
            });
            session.participants.len() - 1
        };
        session.peak_participants = session.peak_participants.max(count(session.open_count()));
        let session_id = session.id.clone();
        self.note(UserChange::Joined {
            user_id: user_id.clone(),
            session_id,
            first: position.is_none(),
            at: now,
        });
        self.emit(EventKind::ParticipantJoined, Some(index));
    }

    /// Closes the stint of the open participant at `index`, with all that follows: the session ends at
    /// `ended_at` if nobody is left, else the host's role may move (contract 2, AC6).
    pub(super) fn leave(
        &mut self,
        index: usize,
        reason: LeaveReason,
        left_at: Timestamp,
        ended_at: Timestamp,
    ) {
        self.go(index, reason, left_at);
        if self.session().open_count() == 0 {
            self.end(EndReason::AllLeft, ended_at);
        } else if self.session().participants[index].role == Role::Host && self.host_migrates() {
            self.hand_over(index, reason);
        }
    }

    /// Closes the stint of the open participant at `index`; nothing follows.
    pub(super) fn go(&mut self, index: usize, reason: LeaveReason, left_at: Timestamp) {
        let session = self.change();
        let participant = &mut session.participants[index];
        participant.close_stint(reason, left_at);
        let released = UserChange::Released {
            user_id: participant.user_id.clone(),
            session_id: session.id.clone(),
        };
        self.note(released);
        self.emit(EventKind::ParticipantLeft, Some(index)).reason = Some(Reason::Leave(reason));
    }

    fn host_migrates(&self) -> bool {
        match self.session().kind {
            SessionKind::Private => true,
            SessionKind::Public => self.rules.public_host_migration == PublicHostMigration::On,
        }
    }

    /// Makes the open participant of longest standing host, a disconnected one only if there is no
    /// other (contract 2, AC6).
    fn hand_over(&mut self, from: usize, reason: LeaveReason) {
        let participants = &self.session().participants;
        let to = (0..participants.len())
            .filter(|index| participants[*index].is_open())
            .min_by_key(|index| {
                let heir = &participants[*index];
                (
                    heir.status == ParticipantStatus::Disconnected,
                    heir.seniority,
                )
            })
            .expect("a session that nobody is left in has ended");
        let session = self.change();
        session.participants[from].role = Role::Participant;
        session.participants[to].role = Role::Host;
        let heir = session.participants[to].user_id.clone();
        let previous = std::mem::replace(&mut session.host_user_id, heir);
        let event = self.emit(EventKind::SessionHostChanged, None);
        event.previous_host_user_id = Some(previous);
        event.reason = Some(Reason::Leave(reason));
    }
}
