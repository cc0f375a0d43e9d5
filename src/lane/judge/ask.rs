//! What a batch has to look up before it can be judged: memory of its messages, limits of its users,
//! sessions that the cache does not hold. Naming too much costs a look, too little is a bug.

use std::collections::HashSet;

use super::{Bench, guarded};
use crate::domain::{Admission, InviteCode, MessageId, Request, SessionId, UserId, admit};
use crate::lane::cache::Cache;
use crate::lane::intake::Item;
use crate::store::Ask;

/// Names what a batch wants to know, beyond what the cache holds.
pub(in crate::lane) fn ask(
    bench: &Bench<'_>,
    cache: &Cache,
    items: &[Item],
    due: &[SessionId],
) -> Ask {
    let mut ask = Ask::default();
    let mut seen = Seen::default();
    for item in items {
        let (Ok(decoded), Some(id)) = (&item.decoded, &item.id) else {
            continue;
        };
        if seen.ids.insert(id.clone()) {
            ask.ids.push(id.clone());
        }
        if let Some(evidence) = item.claimed_evidence(bench.lane) {
            ask.forwards.push(evidence);
        }
        let admission = guarded(|| {
            admit(
                &decoded.message,
                &decoded.fingerprint,
                None,
                bench.now,
                bench.rules,
            )
        });
        let Ok(Admission::Proceed(request)) = admission else {
            continue;
        };
        for user in request.limited_users() {
            if seen.users.insert(user.clone()) {
                ask.users.push(user.clone());
            }
        }
        match &request {
            Request::Join { invite_code, .. } => {
                let known = cache
                    .opens(invite_code)
                    .is_some_and(|id| cache.contains(id));
                if !known && seen.codes.insert(invite_code.clone()) {
                    ask.invite_codes.push(invite_code.clone());
                }
            }
            Request::Create { session_id, .. }
            | Request::OnSession { session_id, .. }
            | Request::Match { session_id, .. }
            | Request::Backfill { session_id, .. } => {
                if !cache.contains(session_id) && seen.sessions.insert(session_id.clone()) {
                    ask.sessions.push(session_id.clone());
                }
            }
        }
    }
    for session_id in due {
        if !cache.contains(session_id) && seen.sessions.insert(session_id.clone()) {
            ask.sessions.push(session_id.clone());
        }
    }
    ask
}

#[derive(Default)]
struct Seen {
    ids: HashSet<MessageId>,
    users: HashSet<UserId>,
    codes: HashSet<InviteCode>,
    sessions: HashSet<SessionId>,
}
