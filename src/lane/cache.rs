//! Sessions at home here, kept from one batch to the next. The lane is their only writer, so the cache
//! is right as long as it learns only after a commit; it belongs to one epoch and is emptied with it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use crate::domain::{InviteCode, SessionId};
use crate::store::{Found, Loaded, StoredSession};

/// The lane's sessions and what it knows of others, the least recently used dropped first.
pub(super) struct Cache {
    sessions: LruCache<SessionId, Arc<StoredSession>>,
    /// Homes of sessions that live elsewhere: set at creation, never changed.
    elsewhere: LruCache<SessionId, i32>,
    /// Which session a code opens: codes are never given out twice.
    codes: LruCache<InviteCode, SessionId>,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self {
            sessions: LruCache::new(capacity),
            elsewhere: LruCache::new(capacity),
            codes: LruCache::new(capacity),
        }
    }

    /// The session, if it is at home here and in memory.
    pub(super) fn get(&mut self, id: &SessionId) -> Option<Arc<StoredSession>> {
        self.sessions.get(id).cloned()
    }

    /// Whether the session's whereabouts are known without a look at the database.
    pub(super) fn contains(&self, id: &SessionId) -> bool {
        self.sessions.contains(id) || self.elsewhere.contains(id)
    }

    /// The home of a session that lives elsewhere.
    pub(super) fn elsewhere(&mut self, id: &SessionId) -> Option<i32> {
        self.elsewhere.get(id).copied()
    }

    /// The session that `code` opens.
    pub(super) fn opens(&self, code: &InviteCode) -> Option<&SessionId> {
        self.codes.peek(code)
    }

    /// Learns what a batch that is now committed has read and written.
    pub(super) fn learn(&mut self, loaded: &Loaded) {
        for (id, found) in &loaded.sessions {
            match found {
                // What the batch changed comes with the commit, by `insert`.
                Found::Here(stored) => {
                    if !self.sessions.contains(id) {
                        self.insert(Arc::clone(stored));
                    }
                }
                Found::Unreadable(_) => {}
                Found::Elsewhere { home } => {
                    self.elsewhere.put(id.clone(), *home);
                }
            }
        }
        for (code, id) in &loaded.invite_codes {
            self.codes.put(code.clone(), id.clone());
        }
    }

    /// Takes a session as it was committed.
    pub(super) fn insert(&mut self, session: Arc<StoredSession>) {
        if let Some(code) = &session.session.invite_code {
            self.codes.put(code.clone(), session.session.id.clone());
        }
        self.sessions.put(session.session.id.clone(), session);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.sessions.clear();
        self.elsewhere.clear();
        self.codes.clear();
    }
}
