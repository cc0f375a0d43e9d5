//! What scenarios are about: lanes, sessions and users of their own, never shared with another test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use session_worker::domain::{
    Code, CommandResult, ConnectionId, Day, EndReason, InviteCode, LeaveReason, MessageId,
    Participant, ParticipantStatus, RejectedUser, Remembered, ResultOrigin, Role, Session,
    SessionId, SessionKind, SessionStatus, Timestamp, TopicId, UserId, UserLimits, Warning,
};
use session_worker::record::{Origin, OutRecord, TopicPartition};
use session_worker::store::{
    Commit, Error, Forward, ForwardEntry, LaneStore, LedgerEntry, OutboxBatch, SessionWrite, Store,
    StoredSession, UserWrite,
};

/// 2026-11-23T00:00:00Z
pub(crate) const NOW: Timestamp = Timestamp(1_795_392_000_000);
/// When memory may be forgotten that these tests want kept, whenever they run.
const MUCH_LATER: Timestamp = Timestamp(10_000_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

/// A lane of `session-command`, the home of its partition, and names that nobody else uses.
pub(crate) struct Scene {
    number: i32,
    pub(crate) lane: TopicPartition,
}

impl Scene {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicI32 = AtomicI32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            number,
            lane: TopicPartition::new("session-command", number),
        }
    }

    pub(crate) fn home(&self) -> i32 {
        self.number
    }

    pub(crate) async fn fence<S: Store>(&self, store: &S) -> S::Lane {
        store
            .fence(&self.lane, Some(self.home()))
            .await
            .expect("the lane is free")
            .0
    }

    pub(crate) fn session_id(&self, name: &str) -> SessionId {
        SessionId::from_stored(format!("session-{}-{name}", self.number))
    }

    pub(crate) fn user(&self, name: &str) -> UserId {
        UserId::from_stored(format!("user-{}-{name}", self.number))
    }

    pub(crate) fn code(&self, name: &str) -> InviteCode {
        InviteCode::from_stored(format!("{}{name}", self.number))
    }

    pub(crate) fn origin(&self, offset: i64) -> Origin {
        Origin {
            lane: self.lane.clone(),
            offset,
        }
    }

    /// A waiting private session with its host.
    pub(crate) fn session(&self, name: &str) -> StoredSession {
        let host = self.user("host");
        let session = Session {
            id: self.session_id(name),
            kind: SessionKind::Private,
            status: SessionStatus::Waiting,
            target_language_code: "fr".to_owned(),
            topic_id: Some(TopicId::from_stored("travel".to_owned())),
            topic_title: None,
            host_user_id: host.clone(),
            min_participants: 2,
            max_participants: 4,
            created_at: NOW,
            started_at: None,
            expires_at: None,
            ended_at: None,
            end_reason: None,
            invite_code: Some(self.code(name)),
            sequence: 2,
            updated_at: NOW,
            waiting_deadline: Some(NOW.plus(30 * MINUTE)),
            warnings: Vec::new(),
            peak_participants: 1,
            next_seniority: 1,
            participants: vec![Participant {
                role: Role::Host,
                ..participant(host, 0)
            }],
        };
        StoredSession {
            session,
            home: self.home(),
            version: 1,
        }
    }

    /// The same session later: started, joined, with every optional field set somewhere.
    pub(crate) fn started(&self, stored: &StoredSession) -> StoredSession {
        let at = NOW.plus(MINUTE);
        let mut session = stored.session.clone();
        session.status = SessionStatus::Active;
        session.topic_title = Some("Voyages".to_owned());
        session.started_at = Some(at);
        session.expires_at = Some(at.plus(30 * MINUTE));
        session.waiting_deadline = None;
        session.warnings = vec![
            Warning {
                at: at.plus(25 * MINUTE),
                before_end: 5 * MINUTE,
            },
            Warning {
                at: at.plus(29 * MINUTE),
                before_end: MINUTE,
            },
        ];
        session.sequence += 3;
        session.updated_at = at;
        session.peak_participants = 2;
        session.next_seniority = 2;
        let host = &mut session.participants[0];
        host.status = ParticipantStatus::Connected;
        host.connection_id = Some(ConnectionId::from_stored("connection-1".to_owned()));
        host.speaking_time_seconds = 17;
        session.participants.push(Participant {
            status: ParticipantStatus::Disconnected,
            disconnected_at: Some(at),
            deadline: Some(at.plus(2 * MINUTE)),
            present_before_ms: 1_234,
            rejoin_count: 1,
            ..participant(self.user("guest"), 1)
        });
        StoredSession {
            session,
            home: stored.home,
            version: stored.version + 1,
        }
    }

    /// The same session, over.
    pub(crate) fn ended(&self, stored: &StoredSession) -> StoredSession {
        let at = NOW.plus(10 * MINUTE);
        let mut session = stored.session.clone();
        session.status = SessionStatus::Ended;
        session.ended_at = Some(at);
        session.end_reason = Some(EndReason::HostEnded);
        session.waiting_deadline = None;
        session.warnings.clear();
        session.sequence += 1;
        session.updated_at = at;
        for participant in &mut session.participants {
            participant.status = ParticipantStatus::Disconnected;
            participant.left_at = Some(at);
            participant.leave_reason = Some(LeaveReason::SessionEnded);
            participant.connection_id = None;
            participant.disconnected_at = None;
            participant.deadline = None;
        }
        StoredSession {
            session,
            home: stored.home,
            version: stored.version + 1,
        }
    }

    /// Limits of the user called `name` with a place in the sessions called `open`.
    pub(crate) fn limits(&self, name: &str, open: &[&str]) -> UserLimits {
        UserLimits {
            user_id: self.user(name),
            open: open.iter().map(|name| self.session_id(name)).collect(),
            day: Day(20_780),
            used: 2,
            failed_codes: vec![NOW, NOW.plus(MINUTE)],
        }
    }

    pub(crate) fn command_id(&self, name: &str) -> MessageId {
        MessageId::Command(format!("command-{}-{name}", self.number))
    }

    /// A remembered rejection that uses every field.
    pub(crate) fn judged(&self, id: MessageId) -> LedgerEntry {
        let result = CommandResult {
            id: id.as_str().to_owned(),
            origin: ResultOrigin::Command,
            user_id: Some("u".to_owned()),
            code: Some(Code::LimitDaily),
            http_status: 403,
            detail: "no more today".to_owned(),
            session_id: Some("s".to_owned()),
            invite_code: Some(self.code("judged")),
            sequence: Some(4),
            limit: Some(10),
            used: Some(10),
            reset_at: Some(NOW.plus(MINUTE)),
            rejected_users: vec![RejectedUser {
                user_id: self.user("rejected"),
                code: Code::LimitConcurrent,
                reset_at: None,
            }],
            eligible_user_ids: vec![self.user("eligible")],
            replayed: false,
            decided_at: NOW,
        };
        LedgerEntry {
            id,
            remembered: Remembered {
                fingerprint: [7; 32],
                result,
            },
            origin: self.origin(12),
            forget_at: Some(MUCH_LATER),
        }
    }

    /// Evidence that the record at `offset` was sent to `home`.
    pub(crate) fn forward(&self, offset: i64, home: i32) -> ForwardEntry {
        let forward = Forward {
            origin: self.origin(offset),
            home,
            fingerprint: [9; 32],
        };
        ForwardEntry {
            forward,
            forget_at: MUCH_LATER,
        }
    }

    /// A record to publish, named so that order can be seen.
    pub(crate) fn record(&self, name: &str) -> OutRecord {
        OutRecord {
            topic: "session-event".into(),
            partition: None,
            key: Some(format!("{}-{name}", self.number).into_bytes()),
            value: Some(vec![0, 0, 0, 0, 9, 255]),
            headers: vec![("ce_id".to_owned(), Some(name.as_bytes().to_vec()))],
        }
    }
}

fn participant(user_id: UserId, seniority: i64) -> Participant {
    Participant {
        user_id,
        role: Role::Participant,
        status: ParticipantStatus::Waiting,
        joined_at: NOW,
        left_at: None,
        leave_reason: None,
        speaking_time_seconds: 0,
        connection_id: None,
        stint_started_at: NOW,
        seniority,
        present_before_ms: 0,
        disconnected_at: None,
        deadline: None,
        rejoin_count: 0,
    }
}

/// A batch that saves nothing but its position.
pub(crate) fn nothing() -> Commit {
    Commit {
        next: None,
        last: None,
        clock: NOW,
        acked: 0,
        deaths: 0,
        ledger: Vec::new(),
        forwards: Vec::new(),
        settled: Vec::new(),
        users: Vec::new(),
        sessions: Vec::new(),
        outbox: Arc::from([]),
    }
}

/// A batch that saves `after` over `before`.
pub(crate) fn saving(before: Option<&StoredSession>, after: &StoredSession) -> Commit {
    let before = before.cloned().map(Arc::new);
    let write = SessionWrite {
        before,
        after: Arc::new(after.clone()),
    };
    Commit {
        sessions: vec![write],
        ..nothing()
    }
}

/// A batch that saves a user.
pub(crate) fn saving_user(expected: Option<i64>, limits: UserLimits) -> Commit {
    Commit {
        users: vec![UserWrite::Replace { expected, limits }],
        ..nothing()
    }
}

/// Commits, deciding again after a conflict as a lane does, and returns the batch's number.
pub(crate) async fn insist<L: LaneStore>(lane: &mut L, commit: &Commit) -> i64 {
    for _ in 0..100 {
        match lane.commit(commit).await {
            Ok(batch) => return batch,
            Err(Error::Conflict(_) | Error::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("the batch is neither committed nor in conflict: {error}"),
        }
    }
    panic!("the batch was never committed");
}

/// Whether the commit was refused as a conflict.
pub(crate) fn is_conflict<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Conflict(_)))
}

/// The names of the records in `batches`.
pub(crate) fn names(batches: &[OutboxBatch]) -> Vec<(i64, Vec<String>)> {
    let name = |record: &OutRecord| {
        let (_, value) = &record.headers[0];
        String::from_utf8(value.clone().expect("a name")).expect("a name in UTF-8")
    };
    batches
        .iter()
        .map(|batch| (batch.batch, batch.records.iter().map(name).collect()))
        .collect()
}
