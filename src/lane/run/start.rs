//! How a lane becomes its partition's owner: fence, then load what it keeps in memory. It reads no record
//! and decides nothing; what fails holds the lane and is tried again.

use crate::clock::Clock;
use crate::kafka::{Log, Publisher};
use crate::lane::failure::DatabaseStep;
use crate::lane::ownership::{Owner, Ownership};
use crate::planted::{self, Bug};
use crate::store::{Error, LaneStore, Store};

use super::Lane;

impl<S, L, P, C> Lane<S, L, P, C>
where
    S: Store,
    L: Log,
    P: Publisher,
    C: Clock,
{
    /// Makes the next step towards owning the lane.
    pub(super) async fn start(&mut self) {
        let (step, outcome) = match self.ownership {
            Ownership::NotOwned => (DatabaseStep::Fence, self.fence().await),
            Ownership::Loading(_) => (DatabaseStep::Start, self.load().await),
            Ownership::Owned(_) => return,
        };
        match outcome {
            Ok(()) => self.hold.release(),
            Err(error) => self.database_failed(step, &error),
        }
    }

    async fn fence(&mut self) -> Result<(), Error> {
        let (store, position) = self.shared.store.fence(&self.name, self.home).await?;
        self.ownership.fenced(Owner { store, position });
        if !planted::has(Bug::SurveyOlderThanPosition) {
            self.intake.owner_changed();
        }
        Ok(())
    }

    /// Loads outbox and deadlines, and forgets what was there before.
    async fn load(&mut self) -> Result<(), Error> {
        let Ownership::Loading(owner) = &self.ownership else {
            return Ok(());
        };
        let acked = owner.position.acked;
        let batches = owner.store.outbox(acked).await?;
        let deadlines = match self.home {
            Some(_) => owner.store.deadlines().await?,
            None => crate::store::Deadlines::default(),
        };
        if !planted::has(Bug::CacheKeptAcrossEpochs) {
            self.cache.clear();
        }
        self.timers.clear();
        self.window.reset(acked);
        for batch in batches
            .into_iter()
            .filter(|_| !planted::has(Bug::OutboxNotReloaded))
        {
            self.meter.republished(batch.records.len());
            self.window.push(batch.batch, batch.records);
        }
        for (id, at) in deadlines
            .sessions
            .into_iter()
            .filter(|_| !planted::has(Bug::DeadlineLostAtTakeover))
        {
            self.timers.set(&id, Some(at));
        }
        self.meter.unreadable_deadlines(&deadlines.unreadable);
        self.ownership.loaded();
        // An operator may have changed the lane since the fence.
        self.take_up_revision();
        self.meter.recovered();
        Ok(())
    }
}
