//! The commands on a session that they name: the rows of the contract's table for Start, End, Leave,
//! Connect, Disconnect and ReportSpeakingTime (contract 2). Overdue deadlines have fired before.

use super::admission::SessionAction;
use super::event::EventKind;
use super::ids::{ConnectionId, UserId};
use super::membership::Standing;
use super::participant::{LeaveReason, ParticipantStatus, Role};
use super::result::{Code, Rejection};
use super::session::{EndReason, SessionKind, SessionStatus};
use super::step::Step;

/// What an accepted command is answered with, for people.
type Accepted = Result<&'static str, Rejection>;

const NOTHING_CHANGES: &str = "nothing changes";

impl Step<'_> {
    /// Takes the row of `action` for `user_id`.
    pub(super) fn act(&mut self, user_id: &UserId, action: &SessionAction) -> Accepted {
        match action {
            SessionAction::Start => self.start_by(user_id),
            SessionAction::End => self.end_by(user_id),
            SessionAction::Leave {
                speaking_time_seconds,
            } => self.leave_by(user_id, *speaking_time_seconds),
            SessionAction::Connect { connection_id } => self.connect(user_id, connection_id),
            SessionAction::Disconnect {
                connection_id,
                speaking_time_seconds,
            } => self.disconnect(user_id, connection_id, *speaking_time_seconds),
            SessionAction::ReportSpeakingTime {
                speaking_time_seconds,
            } => {
                self.refuse_ended()?;
                let index = self.require_in(user_id)?;
                self.report_speaking_time(index, Some(*speaking_time_seconds));
                Ok("speaking time reported")
            }
        }
    }

    fn start_by(&mut self, user_id: &UserId) -> Accepted {
        self.refuse_ended()?;
        let index = self.require_in(user_id)?;
        if self.session().kind == SessionKind::Public {
            let detail = "a public session starts by itself";
            return Err(Rejection::new(Code::InvalidState, detail));
        }
        self.require_host(index)?;
        if self.session().status == SessionStatus::Active {
            return Ok(NOTHING_CHANGES);
        }
        self.start();
        Ok("session started")
    }

    fn end_by(&mut self, user_id: &UserId) -> Accepted {
        if self.has_ended() {
            return self.accept_if_ever_in(user_id);
        }
        let index = self.require_in(user_id)?;
        self.require_host(index)?;
        self.end(EndReason::HostEnded, self.now);
        Ok("session ended")
    }

    fn leave_by(&mut self, user_id: &UserId, speaking_time_seconds: Option<i64>) -> Accepted {
        let Standing::In(index) = self.session().standing(user_id) else {
            return self.accept_if_ever_in(user_id);
        };
        self.report_speaking_time(index, speaking_time_seconds);
        self.leave(index, LeaveReason::Left, self.now, self.now);
        Ok("left")
    }

    fn connect(&mut self, user_id: &UserId, connection_id: &ConnectionId) -> Accepted {
        self.refuse_ended()?;
        let index = self.require_in(user_id)?;
        let participant = &self.session().participants[index];
        if participant.connection_id.as_ref() == Some(connection_id) {
            return Ok(NOTHING_CHANGES);
        }
        let event = match participant.status {
            ParticipantStatus::Waiting => Some(EventKind::ParticipantConnected),
            ParticipantStatus::Disconnected => Some(EventKind::ParticipantReconnected),
            ParticipantStatus::Connected => None,
        };
        let participant = &mut self.change().participants[index];
        participant.connection_id = Some(connection_id.clone());
        participant.status = ParticipantStatus::Connected;
        participant.disconnected_at = None;
        participant.deadline = None;
        let Some(event) = event else {
            return Ok("connection replaced");
        };
        self.emit(event, Some(index));
        self.start_if_ready();
        Ok("connected")
    }

    fn disconnect(
        &mut self,
        user_id: &UserId,
        connection_id: &ConnectionId,
        speaking_time_seconds: Option<i64>,
    ) -> Accepted {
        let Standing::In(index) = self.session().standing(user_id) else {
            return self.accept_if_ever_in(user_id);
        };
        if self.session().participants[index].connection_id.as_ref() != Some(connection_id) {
            return Ok(NOTHING_CHANGES);
        }
        self.report_speaking_time(index, speaking_time_seconds);
        let now = self.now;
        let deadline = now.plus(self.rules.disconnect_grace);
        let participant = &mut self.change().participants[index];
        participant.connection_id = None;
        participant.status = ParticipantStatus::Disconnected;
        participant.disconnected_at = Some(now);
        participant.deadline = Some(deadline);
        self.emit(EventKind::ParticipantDisconnected, Some(index));
        Ok("disconnected")
    }

    fn report_speaking_time(&mut self, index: usize, reported: Option<i64>) {
        let Some(reported) = reported else { return };
        let participant = &self.session().participants[index];
        let after = participant.speaking_time_after(reported, self.now);
        if after != participant.speaking_time_seconds {
            self.change().participants[index].speaking_time_seconds = after;
        }
    }

    fn has_ended(&self) -> bool {
        self.session().status == SessionStatus::Ended
    }

    fn refuse_ended(&self) -> Result<(), Rejection> {
        if self.has_ended() {
            Err(Rejection::session_ended())
        } else {
            Ok(())
        }
    }

    fn require_in(&self, user_id: &UserId) -> Result<usize, Rejection> {
        match self.session().standing(user_id) {
            Standing::In(index) => Ok(index),
            Standing::HasLeft | Standing::NeverIn => Err(not_participant()),
        }
    }

    fn require_host(&self, index: usize) -> Result<(), Rejection> {
        match self.session().participants[index].role {
            Role::Host => Ok(()),
            Role::Participant => Err(Rejection::new(Code::NotHost, "only the host may do this")),
        }
    }

    fn accept_if_ever_in(&self, user_id: &UserId) -> Accepted {
        match self.session().standing(user_id) {
            Standing::In(_) | Standing::HasLeft => Ok(NOTHING_CHANGES),
            Standing::NeverIn => Err(not_participant()),
        }
    }
}

fn not_participant() -> Rejection {
    Rejection::new(Code::NotParticipant, "the user is not in this session")
}
