//! Sessions at home here, kept from one batch to the next. The lane is their only writer, so the cache is
//! right as long as it learns only after a commit; it belongs to one epoch and is emptied with it. It is
//! bounded by a number of sessions and by bytes.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use crate::domain::{InviteCode, Session, SessionId};
use crate::store::{Found, Loaded, StoredSession};

/// The lane's sessions and what it knows of others, the least recently used dropped first.
pub(super) struct Cache {
    sessions: LruCache<SessionId, Cached>,
    /// Estimated bytes of `sessions`.
    bytes: usize,
    most_bytes: usize,
    /// Homes of sessions that live elsewhere: set at creation, never changed.
    elsewhere: LruCache<SessionId, i32>,
    /// Which session a code opens: codes are never given out twice.
    codes: LruCache<InviteCode, SessionId>,
}

struct Cached {
    stored: Arc<StoredSession>,
    bytes: usize,
}

impl Cache {
    /// A cache of at most `capacity` sessions and about `most_bytes`.
    pub(super) fn new(capacity: usize, most_bytes: usize) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self {
            sessions: LruCache::new(capacity),
            bytes: 0,
            most_bytes,
            elsewhere: LruCache::new(capacity),
            codes: LruCache::new(capacity),
        }
    }

    /// The session, if it is at home here and in memory.
    pub(super) fn get(&mut self, id: &SessionId) -> Option<Arc<StoredSession>> {
        self.sessions
            .get(id)
            .map(|cached| Arc::clone(&cached.stored))
    }

    /// Whether the session's home is known without a look-up.
    pub(super) fn contains(&self, id: &SessionId) -> bool {
        self.sessions.contains(id) || self.elsewhere.contains(id)
    }

    /// The home of a session that lives elsewhere.
    pub(super) fn elsewhere(&mut self, id: &SessionId) -> Option<i32> {
        self.elsewhere.get(id).copied()
    }

    /// The session that `code` opens.
    pub(super) fn session_by_code(&self, code: &InviteCode) -> Option<&SessionId> {
        self.codes.peek(code)
    }

    /// Learns what a batch that is now committed has read.
    pub(super) fn learn(&mut self, loaded: &Loaded) {
        // In an order that does not vary: what is dropped to make room must not depend on it.
        for (id, found) in sorted(&loaded.sessions) {
            match found {
                // What the batch changed comes with the commit, by `insert`.
                Found::Here(stored) => {
                    if !self.sessions.contains(id) {
                        self.insert(Arc::clone(stored));
                    }
                }
                Found::Elsewhere { home } => {
                    self.elsewhere.put(id.clone(), *home);
                }
                // It may be fixed before it is asked for again.
                Found::Unreadable(_) => {}
            }
        }
        for (code, id) in sorted(&loaded.invite_codes) {
            self.codes.put(code.clone(), id.clone());
        }
    }

    /// Takes a session as it was committed.
    pub(super) fn insert(&mut self, stored: Arc<StoredSession>) {
        let session = &stored.session;
        if let Some(code) = &session.invite_code {
            self.codes.put(code.clone(), session.id.clone());
        }
        let (id, bytes) = (session.id.clone(), estimate(session));
        self.bytes += bytes;
        if let Some((_, dropped)) = self.sessions.push(id, Cached { stored, bytes }) {
            self.bytes -= dropped.bytes;
        }
        while self.bytes > self.most_bytes
            && let Some((_, dropped)) = self.sessions.pop_lru()
        {
            self.bytes -= dropped.bytes;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.sessions.clear();
        self.bytes = 0;
        self.elsewhere.clear();
        self.codes.clear();
    }
}

fn sorted<K: Ord, V>(map: &HashMap<K, V>) -> Vec<(&K, &V)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}

/// About how many bytes a session takes in memory, with its participants' texts.
fn estimate(session: &Session) -> usize {
    /// Ids, connection ids and the allocator's share, per participant.
    const TEXTS: usize = 160;
    let participant = size_of::<crate::domain::Participant>() + TEXTS;
    let title = session.topic_title.as_ref().map_or(0, String::len);
    size_of::<StoredSession>() + title + 4 * TEXTS + session.participants.len() * participant
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::samples::private_session;

    #[test]
    fn a_few_large_sessions_leave_the_cache_as_many_small_ones_do() {
        let mut cache = Cache::new(10_000, 1 << 20);
        let sessions = |title: usize| {
            (0..1_000).map(move |number| {
                let mut stored = private_session(&format!("{title}-{number}"));
                stored.session.topic_title = Some("t".repeat(title));
                Arc::new(stored)
            })
        };
        for stored in sessions(60_000) {
            cache.insert(stored);
        }
        assert!(cache.bytes <= 1 << 20, "{}", cache.bytes);
        assert!(
            (10..20).contains(&cache.sessions.len()),
            "{}",
            cache.sessions.len()
        );
        for stored in sessions(20) {
            cache.insert(stored);
        }
        assert!(cache.bytes <= 1 << 20, "{}", cache.bytes);
        assert!(cache.sessions.len() > 200, "{}", cache.sessions.len());
        let counted: usize = cache.sessions.iter().map(|(_, cached)| cached.bytes).sum();
        assert_eq!(counted, cache.bytes);
    }
}
