//! How a lane becomes its partition's owner and where it then stands: fence, load, compare the position
//! with the log. It reads no record and decides nothing; what fails holds the lane and is tried again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Lane;
use crate::clock::Clock;
use crate::kafka::{Log, Publisher};
use crate::lane::disposition::{self, Disposition};
use crate::store::{LaneStore, Store};

/// How often a lane that is adrift looks whether somebody has moved it.
const ADRIFT_LOOK: Duration = Duration::from_secs(5);

enum StartFault {
    Store(crate::store::Error),
    Kafka(crate::kafka::Error),
}

impl<S, L, P, C> Lane<S, L, P, C>
where
    S: Store,
    L: Log,
    P: Publisher,
    C: Clock,
{
    /// Becomes the owner if it is not, loads what a lane has in memory, and compares the position with
    /// the log. What fails holds the lane and is tried again.
    pub(super) async fn start(&mut self) {
        match self.try_start().await {
            Ok(()) => {
                self.faults = 0;
                self.held_until = None;
            }
            Err(StartFault::Store(error)) => {
                let disposition = disposition::of_store(&error);
                self.meter.failed("start", &error, disposition);
                if disposition == Disposition::Restart {
                    self.owner = None;
                }
                self.hold();
            }
            Err(StartFault::Kafka(error)) => {
                self.meter
                    .failed("start", &error, disposition::of_kafka(&error));
                self.hold();
            }
        }
    }

    async fn try_start(&mut self) -> Result<(), StartFault> {
        if self.owner.is_none() {
            self.become_owner().await?;
        }
        if !self.loaded {
            self.load().await?;
        }
        if !self.checked {
            self.check_position().await?;
        }
        Ok(())
    }

    async fn become_owner(&mut self) -> Result<(), StartFault> {
        let fenced = self.shared.store.fence(&self.name, self.home).await;
        let (store, position) = fenced.map_err(StartFault::Store)?;
        if !self.placed || position.next != self.position.next {
            // Another owner, or an unknown commit, has moved the lane: what was read ahead goes on
            // only if it begins where the lane stands.
            let next = position.next.unwrap_or(i64::MIN);
            self.items.retain(|item| item.record.offset >= next);
            self.lookup = None;
            Arc::make_mut(&mut self.undecoded).retain(|record| record.offset >= next);
            let first = self
                .items
                .front()
                .map(|item| &item.record)
                .or(self.undecoded.first());
            if !self.placed || first.map(|record| Some(record.offset)) != Some(position.next) {
                self.forget_intake();
                self.placed = false;
                self.unverified = position.last;
            }
        }
        self.owner = Some(store);
        self.position = position;
        self.loaded = false;
        self.checked = false;
        Ok(())
    }

    async fn load(&mut self) -> Result<(), StartFault> {
        let owner = self.owner.as_ref().expect("only an owner loads");
        self.cache.clear();
        self.timers.clear();
        self.window.reset(self.position.acked);
        self.last_published = self.position.acked;
        self.acknowledge_at = None;
        for batch in owner
            .outbox(self.position.acked)
            .await
            .map_err(StartFault::Store)?
        {
            self.meter.republished(batch.records.len());
            self.last_published = batch.batch;
            self.window.push(batch.batch, batch.records);
        }
        if self.home.is_some() {
            let deadlines = owner.deadlines().await.map_err(StartFault::Store)?;
            for (id, at) in deadlines.sessions {
                self.timers.set(&id, Some(at));
            }
        }
        self.loaded = true;
        Ok(())
    }

    /// Compares the position with the log: outside of it the topic was made again, or records were
    /// deleted before they were consumed, and going on would lose or invent some.
    async fn check_position(&mut self) -> Result<(), StartFault> {
        let (low, high) = self.log.bounds().await.map_err(StartFault::Kafka)?;
        let next = self.position.next;
        if next.is_some_and(|next| next < low || next > high) {
            self.go_adrift("the position lies outside the log");
            self.checked = true;
            return Ok(());
        }
        if self.unverified.is_some_and(|last| last.offset < low) {
            // The last record was deleted since: there is nothing to compare with.
            self.unverified = None;
            self.placed = false;
        }
        if !self.placed {
            let from = self.unverified.map(|last| last.offset).or(next);
            self.log.seek(from).await.map_err(StartFault::Kafka)?;
            self.placed = true;
        }
        self.checked = true;
        // A record to be compared comes first: the topic may have been made again with as many records.
        if self.unverified.is_none() {
            self.adrift = false;
        }
        Ok(())
    }

    /// Stops loudly. The outbox is still published; the position is looked at again now and then, so
    /// that `lanes seek` sets the lane going without a restart.
    pub(super) fn go_adrift(&mut self, why: &'static str) {
        if !self.adrift {
            self.meter.adrift(&self.position, why);
        }
        self.adrift = true;
        self.placed = false;
        self.forget_intake();
        self.look_again_at = Some(Instant::now() + ADRIFT_LOOK);
    }
}
