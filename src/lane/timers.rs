//! The deadlines of the sessions at home here, in a heap. It only says which sessions to look at: the
//! rules decide what is due, by the database's clock, so an outdated entry costs a look and no more.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use crate::domain::{SessionId, Timestamp};
use crate::planted::{self, Bug};

/// What became of a stored deadline that was compared with the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adopted {
    /// It is there.
    Known,
    /// It was not there, which is a bug; now it is.
    Missing,
    /// Its session was parked; it is tried again.
    TriedAgain,
}

/// A lane's deadlines: one per session.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Timestamp, SessionId)>>,
    current: HashMap<SessionId, Timestamp>,
    /// Sessions whose deadlines make the rules fail: set aside until something else changes them.
    parked: HashSet<SessionId>,
}

impl Timers {
    /// Sets the deadline of a session; `None` takes it out.
    pub(super) fn set(&mut self, id: &SessionId, deadline: Option<Timestamp>) {
        self.parked.remove(id);
        match deadline {
            Some(at) => {
                if self.current.insert(id.clone(), at) != Some(at) {
                    self.heap.push(Reverse((at, id.clone())));
                }
            }
            None => {
                self.current.remove(id);
            }
        }
        // Entries that no longer count are dropped when they surface; a rebuild bounds them when
        // sessions end long before their deadlines.
        if self.heap.len() > 1024 && self.heap.len() > 4 * self.current.len() {
            let current = self.current.iter();
            self.heap = current.map(|(id, at)| Reverse((*at, id.clone()))).collect();
        }
    }

    /// Sets a session aside until its deadline is set anew.
    pub(super) fn park(&mut self, id: &SessionId) {
        self.set(id, None);
        self.parked.insert(id.clone());
    }

    /// Compares a stored deadline with what is here, and adds what is not.
    pub(super) fn adopt(&mut self, id: &SessionId, at: Timestamp) -> Adopted {
        let is_ignored = planted::has(Bug::ParkedNeverTriedAgain) && self.parked.contains(id);
        if self.current.contains_key(id) || is_ignored {
            return Adopted::Known;
        }
        let parked = self.parked.contains(id);
        self.set(id, Some(at));
        if parked {
            Adopted::TriedAgain
        } else {
            Adopted::Missing
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&mut self) -> Option<Timestamp> {
        while let Some(Reverse((at, id))) = self.heap.peek() {
            if self.current.get(id) == Some(at) {
                return Some(*at);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes out up to `max` sessions that are due at `now`, earliest first. Whoever takes them puts
    /// back what is still to come, or what could not be done.
    pub(super) fn take_due(&mut self, now: Timestamp, max: usize) -> Vec<(SessionId, Timestamp)> {
        let mut due = Vec::new();
        while due.len() < max && self.next().is_some_and(|at| at <= now) {
            if let Some(Reverse((at, id))) = self.heap.pop() {
                self.current.remove(&id);
                due.push((id, at));
            }
        }
        due
    }

    /// The number of sessions with a deadline.
    pub(super) fn len(&self) -> usize {
        self.current.len()
    }

    pub(super) fn clear(&mut self) {
        self.heap.clear();
        self.current.clear();
        self.parked.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SessionId {
        SessionId::from_stored(text.to_owned())
    }

    #[test]
    fn the_earliest_deadline_comes_first_and_the_latest_setting_counts() {
        let mut timers = Timers::default();
        timers.set(&id("a"), Some(Timestamp(30)));
        timers.set(&id("b"), Some(Timestamp(20)));
        timers.set(&id("b"), Some(Timestamp(40)));
        timers.set(&id("c"), Some(Timestamp(10)));
        timers.set(&id("c"), None);
        assert_eq!(timers.next(), Some(Timestamp(30)));
        assert_eq!(timers.take_due(Timestamp(29), 9), []);
        assert_eq!(
            timers.take_due(Timestamp(40), 9),
            [(id("a"), Timestamp(30)), (id("b"), Timestamp(40))]
        );
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn a_sweep_adds_what_is_missing_and_tries_parked_sessions_again() {
        let mut timers = Timers::default();
        timers.set(&id("known"), Some(Timestamp(10)));
        timers.set(&id("parked"), Some(Timestamp(10)));
        timers.park(&id("parked"));
        assert_eq!(timers.len(), 1);
        assert_eq!(timers.adopt(&id("known"), Timestamp(20)), Adopted::Known);
        assert_eq!(
            timers.adopt(&id("parked"), Timestamp(5)),
            Adopted::TriedAgain
        );
        assert_eq!(timers.adopt(&id("lost"), Timestamp(20)), Adopted::Missing);
        assert_eq!(timers.len(), 3);
        assert_eq!(timers.next(), Some(Timestamp(5)));
    }

    #[test]
    fn entries_that_no_longer_count_do_not_pile_up() {
        let mut timers = Timers::default();
        for at in 0..100_000 {
            timers.set(&id("a"), Some(Timestamp(at)));
        }
        assert!(timers.heap.len() <= 1024);
        assert_eq!(timers.next(), Some(Timestamp(99_999)));
    }
}
