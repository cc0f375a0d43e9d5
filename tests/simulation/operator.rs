//! What an operator does: `lanes resume` and `lanes seek`, as the command line writes them, and the
//! repairs that a stopped lane asks for.

use std::time::Duration;

use rand::Rng;
use session_worker::record::TopicPartition;
use session_worker::store::{Commit, LaneStore, Note, Store};

use crate::world::{Action, World};

/// What `lanes seek` and `lanes resume` promise (contract 3, guarantee 7).
pub(crate) const TAKEN_UP_WITHIN: Duration = Duration::from_secs(10);

/// What the operator asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// `lanes resume`.
    Resume,
    /// `lanes seek … earliest`.
    SeekEarliest,
    /// `lanes seek … <offset>`.
    Seek(i64),
}

impl World {
    /// Resumes or moves a lane.
    pub(crate) async fn revise(&mut self, lane: &TopicPartition, request: Request) {
        let home = (lane.topic == self.topics.session_command).then_some(lane.partition);
        let (mut owned, position) = self.store.fence(lane, home).await.expect("in memory");
        let from = self.next_of(lane);
        let next = match request {
            Request::Resume => None,
            Request::SeekEarliest => Some(None),
            Request::Seek(offset) => Some(Some(offset)),
        };
        let to = match request {
            Request::Resume | Request::SeekEarliest => from,
            Request::Seek(offset) => offset,
        };
        self.history
            .revised(lane, position.epoch, from..to, next.is_some());
        if let Some(next) = next {
            let commit = Commit {
                next,
                last: None,
                ..Commit::at(&position)
            };
            owned.commit(&commit).await.expect("just fenced");
        }
        owned.note(Note::Revised).await.expect("just fenced");
        if self.is_calm {
            let check = Action::TakenUp(lane.clone(), position.epoch);
            self.later(TAKEN_UP_WITHIN, check);
        }
    }

    /// Resumes or moves a lane for no reason.
    pub(crate) async fn operate(&mut self, lane: &TopicPartition) {
        if self.cause(lane).is_some() {
            return;
        }
        let (low, high) = self.broker.bounds(lane);
        let request = match self.rng.random_range(0..6) {
            0 => Request::SeekEarliest,
            1 => Request::Seek(self.rng.random_range(low..=high)),
            _ => Request::Resume,
        };
        self.revise(lane, request).await;
    }

    /// Does what a stopped lane asks for.
    pub(crate) async fn repair_lane(&mut self, lane: &TopicPartition) {
        let next = self.next_of(lane);
        let (low, high) = self.broker.bounds(lane);
        let is_recreated = self.is_recreated(lane);
        if next < low || next > high || is_recreated {
            self.revise(lane, Request::SeekEarliest).await;
        }
        while let Some((_, to)) = self.broker.damage_behind(lane, self.next_of(lane)) {
            if self.rng.random_bool(0.5) {
                self.broker.heal(lane);
            } else {
                self.revise(lane, Request::Seek(to)).await;
            }
        }
        while let Some(killer) = self.broker.killer_behind(lane, self.next_of(lane)) {
            if self.rng.random_bool(0.5) {
                self.broker.disarm(lane);
                self.revise(lane, Request::Resume).await;
            } else {
                self.revise(lane, Request::Seek(killer + 1)).await;
            }
        }
        // What is not written yet is not damaged either.
        self.broker.heal(lane);
    }
}
