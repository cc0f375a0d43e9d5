//! What a batch has to load before it can be judged: what is remembered of its messages, the limits of its
//! users, sessions that the cache does not hold. Naming too much costs a look-up, too little is a bug.

use std::collections::HashSet;

use super::{JudgeContext, guarded};
use crate::domain::{Admission, InviteCode, MessageId, Request, SessionId, UserId, admit};
use crate::lane::cache::Cache;
use crate::lane::intake::{Content, Item, Message};
use crate::store::Ask;

/// Names what a batch needs beyond what the cache holds.
pub(in crate::lane) fn load_request(
    context: &JudgeContext<'_>,
    cache: &Cache,
    items: &[Item],
    due: &[SessionId],
) -> Ask {
    let mut collector = Collector {
        cache,
        ask: Ask::default(),
        seen: Seen::default(),
    };
    for item in items {
        if let Content::Message(message) = &item.content {
            collector.message(context, message);
        }
    }
    for session_id in due {
        collector.session(session_id);
    }
    collector.ask
}

struct Collector<'a> {
    cache: &'a Cache,
    ask: Ask,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    ids: HashSet<MessageId>,
    users: HashSet<UserId>,
    codes: HashSet<InviteCode>,
    sessions: HashSet<SessionId>,
}

impl Collector<'_> {
    fn message(&mut self, context: &JudgeContext<'_>, message: &Message) {
        if self.seen.ids.insert(message.id.clone()) {
            self.ask.ids.push(message.id.clone());
        }
        if let Some((forward, _)) = &message.claim {
            self.ask.forwards.push(forward.clone());
        }
        let decoded = &message.decoded;
        let admission = guarded(|| {
            admit(
                &decoded.message,
                &decoded.fingerprint,
                None,
                context.now,
                context.rules,
            )
        });
        let Ok(Admission::Proceed(request)) = admission else {
            return;
        };
        for user in request.limited_users() {
            if self.seen.users.insert(user.clone()) {
                self.ask.users.push(user.clone());
            }
        }
        match &request {
            Request::Join { invite_code, .. } => self.code(invite_code),
            Request::Create { session_id, .. }
            | Request::OnSession { session_id, .. }
            | Request::Match { session_id, .. }
            | Request::Backfill { session_id, .. } => self.session(session_id),
        }
    }

    fn code(&mut self, code: &InviteCode) {
        let cached = self.cache.session_by_code(code);
        let known = cached.is_some_and(|id| self.cache.contains(id));
        if !known && self.seen.codes.insert(code.clone()) {
            self.ask.invite_codes.push(code.clone());
        }
    }

    fn session(&mut self, id: &SessionId) {
        if !self.cache.contains(id) && self.seen.sessions.insert(id.clone()) {
            self.ask.sessions.push(id.clone());
        }
    }
}
