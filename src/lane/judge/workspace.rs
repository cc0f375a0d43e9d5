//! What a batch has changed so far: sessions, users, places freed, codes given out, messages remembered.
//! Later messages of the batch see it; nothing of it is seen outside before the commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::domain::{
    InviteCode, MessageId, Request, Rules, Session, SessionId, Timestamp, UserChange, UserId,
    UserLimits,
};
use crate::lane::cache::Cache;
use crate::planted::{self, Bug};
use crate::store::{
    Found, LedgerEntry, Loaded, SessionWrite, StoredSession, Unreadable, UserWrite,
};

use super::plan::Writes;

struct WorkingSession {
    before: Option<Arc<StoredSession>>,
    current: Session,
    home: i32,
    changed: bool,
}

struct WorkingUser {
    expected: Option<i64>,
    limits: UserLimits,
    changed: bool,
}

/// Where a session is.
pub(super) enum SessionLocation {
    /// To be judged here; it may still have to be created.
    Here(Option<SessionId>),
    /// In another partition, its home.
    Elsewhere { session_id: SessionId, home: i32 },
}

/// The state that a batch works on.
pub(super) struct Workspace<'a> {
    cache: &'a mut Cache,
    loaded: &'a Loaded,
    rules: &'a Rules,
    sessions: BTreeMap<SessionId, WorkingSession>,
    users: BTreeMap<UserId, WorkingUser>,
    /// Places freed of users who were not read.
    releases: BTreeMap<UserId, Vec<SessionId>>,
    /// What this batch itself has judged.
    remembered: HashMap<MessageId, LedgerEntry>,
    /// Codes that this batch itself has given out.
    codes: HashMap<InviteCode, SessionId>,
}

impl<'a> Workspace<'a> {
    pub(super) fn new(cache: &'a mut Cache, loaded: &'a Loaded, rules: &'a Rules) -> Self {
        Self {
            cache,
            loaded,
            rules,
            sessions: BTreeMap::new(),
            users: BTreeMap::new(),
            releases: BTreeMap::new(),
            remembered: HashMap::new(),
            codes: HashMap::new(),
        }
    }

    /// What was loaded for the batch.
    pub(super) fn loaded(&self) -> &'a Loaded {
        self.loaded
    }

    /// What is remembered of `id`, in this batch or before.
    pub(super) fn remembered(&self, id: &MessageId) -> Result<Option<&LedgerEntry>, Unreadable> {
        if let Some(entry) = self.remembered.get(id) {
            return Ok(Some(entry));
        }
        match self.loaded.ledger.get(id) {
            None => Ok(None),
            Some(Ok(entry)) => Ok(Some(entry)),
            Some(Err(unreadable)) => Err(unreadable.clone()),
        }
    }

    /// Whether anything is stored under `id`, readable or not.
    pub(super) fn has_entry(&self, id: &MessageId) -> bool {
        self.remembered.contains_key(id) || self.loaded.ledger.contains_key(id)
    }

    /// The session that `code` opens.
    pub(super) fn session_by_code(&self, code: &InviteCode) -> Option<SessionId> {
        (self.codes.get(code))
            .or_else(|| self.loaded.invite_codes.get(code))
            .or_else(|| self.cache.session_by_code(code))
            .cloned()
    }

    /// The home of a session that is stored elsewhere.
    pub(super) fn stored_elsewhere(&mut self, id: &SessionId) -> Option<i32> {
        match self.loaded.sessions.get(id) {
            Some(Found::Elsewhere { home }) => Some(*home),
            Some(Found::Here(_) | Found::Unreadable(_)) | None => self.cache.elsewhere(id),
        }
    }

    /// Whether the session is stored anywhere.
    pub(super) fn is_stored(&self, id: &SessionId) -> bool {
        self.loaded.sessions.contains_key(id) || self.cache.contains(id)
    }

    /// Loads a session at home here into the batch; false where there is none.
    pub(super) fn load_into_batch(&mut self, id: &SessionId) -> Result<bool, Unreadable> {
        if self.sessions.contains_key(id) {
            return Ok(true);
        }
        let stored = match (self.cache.get(id), self.loaded.sessions.get(id)) {
            (Some(cached), _) => cached,
            (None, Some(Found::Here(stored))) => Arc::clone(stored),
            (None, Some(Found::Unreadable(unreadable))) => return Err(unreadable.clone()),
            (None, Some(Found::Elsewhere { .. }) | None) => return Ok(false),
        };
        let working = WorkingSession {
            current: stored.session.clone(),
            home: stored.home,
            before: Some(stored),
            changed: false,
        };
        self.sessions.insert(id.clone(), working);
        Ok(true)
    }

    /// The session as the batch has left it so far.
    pub(super) fn session(&self, id: &SessionId) -> Option<&Session> {
        self.sessions.get(id).map(|working| &working.current)
    }

    /// The limits that a decision on `request` looks at, as the batch has left them so far.
    pub(super) fn limits_of(
        &mut self,
        request: &Request,
        now: Timestamp,
    ) -> Result<Vec<UserLimits>, Unreadable> {
        let users = request.limited_users();
        users
            .into_iter()
            .map(|user_id| self.user(user_id, now).map(|user| user.limits.clone()))
            .collect()
    }

    fn user(&mut self, user_id: &UserId, now: Timestamp) -> Result<&mut WorkingUser, Unreadable> {
        if !self.users.contains_key(user_id) {
            let stored = match self.loaded.users.get(user_id) {
                None => None,
                Some(Ok(stored)) => Some(stored),
                Some(Err(unreadable)) => return Err(unreadable.clone()),
            };
            let mut working = WorkingUser {
                expected: stored.map(|user| user.version),
                limits: stored.map_or_else(
                    || UserLimits::unused(user_id.clone(), now.day()),
                    |user| user.limits.clone(),
                ),
                changed: false,
            };
            for session_id in self.releases.remove(user_id).unwrap_or_default() {
                let user_id = user_id.clone();
                let change = UserChange::Released {
                    user_id,
                    session_id,
                };
                working.limits.apply(&change, self.rules);
                working.changed = true;
            }
            self.users.insert(user_id.clone(), working);
        }
        Ok(self.users.get_mut(user_id).expect("inserted above"))
    }

    /// A session has changed, or was created at home in `home`.
    pub(super) fn update(&mut self, session: Session, home: i32) {
        match self.sessions.get_mut(&session.id) {
            Some(working) => {
                working.current = session;
                working.changed = true;
            }
            None => {
                let id = session.id.clone();
                if let Some(code) = &session.invite_code {
                    self.codes.insert(code.clone(), id.clone());
                }
                let working = WorkingSession {
                    before: None,
                    current: session,
                    home,
                    changed: true,
                };
                self.sessions.insert(id, working);
            }
        }
    }

    /// Users have taken or freed something.
    pub(super) fn change_users(&mut self, changes: Vec<UserChange>) {
        for change in changes {
            let (UserChange::Joined { user_id, .. }
            | UserChange::Released { user_id, .. }
            | UserChange::FailedCode { user_id, .. }) = &change;
            if let Some(working) = self.users.get_mut(user_id) {
                working.limits.apply(&change, self.rules);
                working.changed = true;
                continue;
            }
            match change {
                UserChange::Released {
                    user_id,
                    session_id,
                } => {
                    self.releases.entry(user_id).or_default().push(session_id);
                }
                UserChange::Joined { .. } | UserChange::FailedCode { .. } => {
                    unreachable!("a user who takes something was loaded")
                }
            }
        }
    }

    /// The batch has judged a message.
    pub(super) fn remember(&mut self, entry: LedgerEntry) {
        self.remembered.insert(entry.id.clone(), entry);
    }

    /// Adds what has changed to `writes`.
    pub(super) fn write(self, writes: &mut Writes) {
        for (user_id, sessions) in self
            .releases
            .into_iter()
            .filter(|_| !planted::has(Bug::PlacesNotFreed))
        {
            writes.users.push(UserWrite::Release { user_id, sessions });
        }
        for (_, user) in self.users {
            if user.changed {
                writes.users.push(UserWrite::Replace {
                    expected: user.expected,
                    limits: user.limits,
                });
            }
        }
        for (_, working) in self.sessions {
            if working.changed {
                let version = working.before.as_ref().map_or(0, |before| before.version) + 1;
                let after = Arc::new(StoredSession {
                    session: working.current,
                    home: working.home,
                    version,
                });
                writes.sessions.push(SessionWrite {
                    before: working.before,
                    after,
                });
            }
        }
    }
}
