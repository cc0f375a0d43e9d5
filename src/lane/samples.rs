//! Sessions, records and a judge for the lane's own tests: a private session of `ann` with the code
//! `K7PQ2M`, commands as JSON, and everything that a batch needs around them.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::domain::{
    InviteCode, Participant, ParticipantStatus, Role, Rules, Session, SessionId, SessionKind,
    SessionStatus, Timestamp, UserId, UserLimits,
};
use crate::record::{Header, Record, TopicNames, TopicPartition};
use crate::store::{StoredSession, StoredUser};
use crate::wire::{Codec, LookupError, OutputIds, SchemaSource};

use super::Homes;
use super::cache::Cache;
use super::intake::Item;
use super::judge::{JudgeContext, Plan, judge};
use crate::store::Loaded;

/// 2026-01-01T12:00:00Z.
pub(super) const NOW: Timestamp = Timestamp(1_767_268_800_000);
/// The partition that the judging lane is the home of.
pub(super) const HOME: i32 = 0;

pub(super) fn session_id(name: &str) -> SessionId {
    SessionId::from_stored(name.to_owned())
}

pub(super) fn user_id(name: &str) -> UserId {
    UserId::from_stored(name.to_owned())
}

/// A waiting private session called `name` of ann.
pub(super) fn private_session(name: &str) -> StoredSession {
    let host = user_id("ann");
    StoredSession {
        session: Session {
            id: session_id(name),
            kind: SessionKind::Private,
            status: SessionStatus::Waiting,
            target_language_code: "fr".to_owned(),
            topic_id: None,
            topic_title: None,
            host_user_id: host.clone(),
            min_participants: 2,
            max_participants: 4,
            created_at: NOW,
            started_at: None,
            expires_at: None,
            ended_at: None,
            end_reason: None,
            invite_code: Some(InviteCode::from_stored("K7PQ2M".to_owned())),
            sequence: 2,
            updated_at: NOW,
            waiting_deadline: Some(Timestamp(NOW.0 + 1_800_000)),
            warnings: Vec::new(),
            peak_participants: 1,
            next_seniority: 1,
            participants: vec![participant(host)],
        },
        home: HOME,
        version: 3,
    }
}

fn participant(user_id: UserId) -> Participant {
    Participant {
        user_id,
        role: Role::Host,
        status: ParticipantStatus::Waiting,
        joined_at: NOW,
        left_at: None,
        leave_reason: None,
        speaking_time_seconds: 0,
        connection_id: None,
        stint_started_at: NOW,
        seniority: 0,
        present_before_ms: 0,
        disconnected_at: None,
        deadline: None,
        rejoin_count: 0,
    }
}

/// A session whose deadline makes the rules panic: a dropped participant who never dropped.
pub(super) fn impossible_session(name: &str) -> StoredSession {
    let mut stored = private_session(name);
    let host = &mut stored.session.participants[0];
    host.status = ParticipantStatus::Disconnected;
    host.deadline = Some(NOW);
    stored
}

/// The limits of ann, who holds a place in `open`.
pub(super) fn ann_in(open: &str) -> StoredUser {
    let mut limits = UserLimits::unused(user_id("ann"), NOW.day());
    limits.open = vec![session_id(open)];
    limits.used = 1;
    StoredUser { limits, version: 1 }
}

/// A command as an operator would send it, at `offset` of `session-command/0`.
pub(super) fn command(offset: i64, id: &str, user: &str, body: &str) -> Record {
    let value = format!(
        r#"{{"commandId":"{id}","issuedAt":{},"userId":"{user}","command":{body}}}"#,
        NOW.0
    );
    record(offset, value.as_bytes(), Vec::new())
}

/// `value` at `offset` of `session-command/0`.
pub(super) fn record(offset: i64, value: &[u8], headers: Vec<Header>) -> Record {
    Record {
        lane: TopicPartition::new("session-command", HOME),
        offset,
        timestamp: Some(NOW.0),
        key: Some(b"key".to_vec()),
        value: Some(value.to_vec()),
        headers,
    }
}

/// A registry that knows no schema: the samples are JSON.
struct NoSchemas;

impl SchemaSource for NoSchemas {
    fn writer_schema<'a>(
        &'a self,
        _subject: &'a str,
        _id: u32,
    ) -> BoxFuture<'a, Result<Arc<str>, LookupError>> {
        Box::pin(std::future::ready(Err(LookupError::NotFound)))
    }
}

/// What a lane judges with.
pub(super) struct Judge {
    pub(super) codec: Arc<Codec>,
    pub(super) rules: Rules,
    pub(super) homes: Homes,
    pub(super) cache: Cache,
    pub(super) loaded: Loaded,
    pub(super) outbox_bytes: usize,
}

impl Judge {
    pub(super) fn new() -> Self {
        let ids = OutputIds {
            event: 1,
            result: 2,
            command: 3,
        };
        let codec = Codec::new(TopicNames::default(), ids, Arc::new(NoSchemas));
        Self {
            codec: Arc::new(codec),
            rules: Rules::default(),
            homes: Homes::new(3),
            cache: Cache::new(100, 1 << 20),
            loaded: Loaded::default(),
            outbox_bytes: 8 << 20,
        }
    }

    /// The items of `records`, as the home lane decodes them.
    pub(super) fn items(&self, records: Vec<Record>) -> Vec<Item> {
        let decode = |record| Item::new(record, &self.codec, true);
        records.into_iter().map(decode).collect()
    }

    /// Judges `items` and the due sessions `due`.
    pub(super) fn judge(&mut self, items: &[Item], due: &[SessionId]) -> Plan {
        let context = JudgeContext {
            home: Some(HOME),
            homes: &self.homes,
            codec: &self.codec,
            rules: &self.rules,
            group: "session-worker",
            now: NOW,
            outbox_bytes: self.outbox_bytes,
            record_bytes: &|_| 1 << 20,
        };
        let mut draw = || InviteCode::from_indices([0; 6]);
        judge(
            &context,
            &mut self.cache,
            &self.loaded,
            items,
            due,
            &mut draw,
        )
    }
}
