//! Events are enough: who folds them knows what the worker knows of a session's status, host and
//! members, with nothing but `sequence` order to rely on.

use super::world::World;
use crate::domain::{Event, EventKind, Reason, Role, Session, SessionStatus, Timestamp, UserId};

/// What a reader of events has learnt of one session.
#[derive(Debug, Default)]
pub(super) struct Reader {
    sequence: i64,
    status: Option<SessionStatus>,
    host: Option<UserId>,
    open: Vec<UserId>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    speaking: Vec<(UserId, i64)>,
    joins: i64,
}

impl Reader {
    /// Takes the next event; panics where it contradicts what was read before.
    pub(super) fn read(&mut self, event: &Event) {
        assert_eq!(event.sequence, self.sequence + 1, "sequences have no gap");
        assert_ne!(
            self.status,
            Some(SessionStatus::Ended),
            "session.ended is the last event"
        );
        self.sequence = event.sequence;
        let user = event
            .participant
            .as_ref()
            .map(|participant| participant.user_id.clone());
        match event.kind {
            EventKind::SessionCreated => {
                assert_eq!(event.sequence, 1);
                self.status = Some(SessionStatus::Waiting);
                self.host = Some(event.session.host_user_id.clone());
            }
            EventKind::SessionStarted => {
                assert_eq!(self.status, Some(SessionStatus::Waiting));
                self.status = Some(SessionStatus::Active);
                self.started_at = event.session.started_at;
            }
            EventKind::SessionExpiring => {
                assert_eq!(self.status, Some(SessionStatus::Active));
                assert!(
                    event.session.expires_at > Some(event.occurred_at),
                    "a warning is a warning"
                );
            }
            EventKind::SessionHostChanged => {
                assert_eq!(event.previous_host_user_id, self.host);
                assert_ne!(Some(&event.session.host_user_id), self.host.as_ref());
                assert!(
                    self.open.contains(&event.session.host_user_id),
                    "hosts are open"
                );
                self.host = Some(event.session.host_user_id.clone());
            }
            EventKind::SessionEnded => {
                assert!(self.open.is_empty(), "everybody has left");
                self.status = Some(SessionStatus::Ended);
                self.ended_at = event.session.ended_at;
                self.check_statistics(event);
            }
            EventKind::ParticipantJoined => {
                let user = user.expect("a joined participant");
                assert!(!self.open.contains(&user), "joined and left alternate");
                self.open.push(user);
                self.joins += 1;
            }
            EventKind::ParticipantConnected
            | EventKind::ParticipantDisconnected
            | EventKind::ParticipantReconnected => {
                assert!(
                    self.open.contains(&user.expect("a participant")),
                    "presence is of the open"
                );
            }
            EventKind::ParticipantLeft => {
                let user = user.expect("a left participant");
                assert!(self.open.contains(&user), "joined and left alternate");
                assert!(matches!(event.reason, Some(Reason::Leave(_))));
                self.open.retain(|open| *open != user);
            }
        }
        self.check_snapshot(event);
    }

    fn check_snapshot(&mut self, event: &Event) {
        assert_eq!(Some(event.session.status), self.status, "{event:?}");
        assert_eq!(
            Some(&event.session.host_user_id),
            self.host.as_ref(),
            "{event:?}"
        );
        let count = usize::try_from(event.session.participant_count);
        assert_eq!(count, Ok(self.open.len()), "{event:?}");
        assert!(event.session.participant_count <= event.session.max_participants);
        assert_eq!(event.session.started_at, self.started_at);
        let Some(participant) = &event.participant else {
            return;
        };
        assert!(
            participant.speaking_time_seconds <= participant.present_seconds,
            "{event:?}"
        );
        assert_eq!(
            participant.role == Role::Host,
            Some(&participant.user_id) == self.host.as_ref()
        );
        let known = self
            .speaking
            .iter_mut()
            .find(|(user, _)| *user == participant.user_id);
        match known {
            Some((_, seconds)) => {
                assert!(
                    *seconds <= participant.speaking_time_seconds,
                    "speaking never falls"
                );
                *seconds = participant.speaking_time_seconds;
            }
            None => self.speaking.push((
                participant.user_id.clone(),
                participant.speaking_time_seconds,
            )),
        }
    }

    fn check_statistics(&self, event: &Event) {
        let statistics = event.statistics.as_ref().expect("session.ended sums up");
        let shares: f64 = statistics
            .participants
            .iter()
            .map(|line| line.talk_share)
            .sum();
        assert!(
            shares == 0.0 || (shares - 1.0).abs() < 1e-9,
            "{statistics:?}"
        );
        assert!(
            (0.0..=1.0).contains(&statistics.talk_balance),
            "{statistics:?}"
        );
        let rejoins: i64 = statistics
            .participants
            .iter()
            .map(|line| i64::from(line.rejoin_count))
            .sum();
        assert_eq!(
            i64::from(statistics.total_participants) + rejoins,
            self.joins
        );
        for line in &statistics.participants {
            assert!(line.speaking_time_seconds <= line.present_seconds);
            assert!(line.left_at >= Some(line.joined_at) && line.left_at <= self.ended_at);
            let last = self.speaking.iter().find(|(user, _)| *user == line.user_id);
            assert_eq!(
                last.map(|(_, seconds)| *seconds),
                Some(line.speaking_time_seconds)
            );
        }
    }

    /// Whether the reader knows what `session` says.
    pub(super) fn agrees_with(&self, session: &Session) {
        assert_eq!(self.sequence, session.sequence);
        assert_eq!(self.status, Some(session.status));
        assert_eq!(self.host.as_ref(), Some(&session.host_user_id));
        assert_eq!(
            (self.started_at, self.ended_at),
            (session.started_at, session.ended_at)
        );
        let mut open: Vec<&UserId> = session
            .participants
            .iter()
            .filter(|p| p.is_open())
            .map(|p| &p.user_id)
            .collect();
        let mut read: Vec<&UserId> = self.open.iter().collect();
        open.sort();
        read.sort();
        assert_eq!(read, open);
    }
}

/// Folds every event that `world` published.
pub(super) fn fold(world: &World) {
    for session in &world.sessions {
        let mut reader = Reader::default();
        for event in world
            .events
            .iter()
            .filter(|event| event.session_id == session.id)
        {
            reader.read(event);
        }
        reader.agrees_with(session);
    }
}

#[test]
fn a_session_from_its_creation_to_its_end_folds_to_its_state() {
    let mut world = World::new();
    for line in [
        "ann creates",
        "at 5",
        "bob joins s1",
        "ann connects s1 a",
        "bob connects s1 b",
        "ann starts s1",
        "at 60",
        "bob disconnects s1 b speaking 9",
        "cat joins s1",
        "at 90",
        "ann leaves s1 speaking 30",
        "at 300",
        "ann joins s1",
        "at 1501",
        "tick s1",
        "at 4000",
        "tick s1",
    ] {
        world.run(line);
        fold(&world);
    }
    assert_eq!(world.sessions[0].status, SessionStatus::Ended);
}
