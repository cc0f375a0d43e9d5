//! How a lane is taken from its last owner: the epoch is raised with majority, after which no older
//! transaction of the lane can commit, because each of them wrote the lane's document first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Bson, RawDocument, doc};
use mongodb::options::FindOptions;
use mongodb::{ClientSession, Collection};
use tokio::time::Instant;

use super::client::bounded;
use super::documents::{LaneDocument, Malformed, date, parse_lane, read};
use super::failure::{Failure, check_write_concern, code};
use super::indexes::LANES;
use super::lane::MongoLane;
use super::transaction::kill;
use super::{Inner, MongoStore};
use crate::domain::Timestamp;
use crate::record::TopicPartition;
use crate::store::{Error, LanePosition, Store};

impl Store for MongoStore {
    type Lane = MongoLane;

    async fn fence(
        &self,
        lane: &TopicPartition,
        home: Option<i32>,
    ) -> Result<(Self::Lane, LanePosition), Error> {
        let unavailable = |failure: Failure| Error::unavailable(failure);
        let session = match self.inner.take_session(lane) {
            Some(session) => session,
            None => bounded(
                self.inner.timeouts.call,
                self.inner.client.start_session().causal_consistency(false),
            )
            .await
            .map_err(unavailable)?,
        };
        let position = match self.inner.raise(lane, &session).await {
            Ok(position) => position,
            Err(failure) => {
                // An attempt that seemed to fail may have made this session the owner.
                self.inner.keep_session(lane.clone(), session);
                return Err(unavailable(failure));
            }
        };
        let handle = MongoLane::new(Arc::clone(&self.inner), lane, home, session, position);
        Ok((handle, position))
    }

    async fn revisions(
        &self,
        lanes: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, i64>, Error> {
        let ids: Vec<String> = lanes.iter().map(TopicPartition::to_string).collect();
        let options = FindOptions::builder()
            .projection(doc! { "revision": 1 })
            .build();
        let revision = |document: &RawDocument| {
            let lane = parse_lane(document.get_str("_id").ok()?).ok()?;
            let revision = document.get_i64("revision");
            Some((lane, revision.unwrap_or(0)))
        };
        let stored = self
            .inner
            .find_each(LANES, doc! { "_id": { "$in": ids } }, options, revision)
            .await
            .map_err(Error::unavailable)?;
        Ok(stored.into_iter().flatten().collect())
    }
}

impl Inner {
    /// Raises the lane's epoch with majority. A lock on its document is an open transaction of an
    /// earlier owner: that owner's session is killed, rather than waited for (60 s by default).
    async fn raise(
        &self,
        lane: &TopicPartition,
        session: &ClientSession,
    ) -> Result<LanePosition, Failure> {
        let until = Instant::now() + self.timeouts.fence;
        let mut wait = self.timeouts.lock;
        loop {
            let failure = match self.raise_once(lane, session, wait).await {
                Ok(position) => return Ok(position),
                Err(failure) => failure,
            };
            if Instant::now() >= until || matches!(failure, Failure::Unreadable(_)) {
                return Err(failure);
            }
            match failure.code() {
                Some(code::TYPE_MISMATCH) => {
                    let malformed = Malformed::new("epoch: no number");
                    return Err(malformed.under(LANES, &lane.to_string()).into());
                }
                Some(code::MAX_TIME_EXPIRED) => {
                    if let Err(failure) = self.end_previous_owner(lane).await {
                        tracing::warn!(
                            %lane,
                            error = failure.reason(),
                            "previous owner's session not killed"
                        );
                    }
                }
                _ => tokio::time::sleep(self.timeouts.lock.min(until - Instant::now())).await,
            }
            wait = (wait * 2).min(self.timeouts.call / 2);
        }
    }

    async fn raise_once(
        &self,
        lane: &TopicPartition,
        session: &ClientSession,
        wait: Duration,
    ) -> Result<LanePosition, Failure> {
        let owner = session.id().get("id").cloned().unwrap_or(Bson::Null);
        let millis = |limit: Duration| i64::try_from(limit.as_millis()).unwrap_or(0);
        let mut set = doc! { "owner": owner };
        if let Some(rules) = self.rules.get() {
            set.insert("rules", rules);
        }
        let raise = self.database.run_command(doc! {
            "findAndModify": LANES,
            "query": { "_id": lane.to_string() },
            "update": {
                "$inc": { "epoch": 1_i64 },
                "$set": set,
                "$setOnInsert": {
                    "batch": 0_i64,
                    "next": Bson::Null,
                    "acked": 0_i64,
                    "clock": date(Timestamp(0)),
                    "last": Bson::Null,
                    "revision": 0_i64,
                    "deaths": 0_i32,
                    "intake": Bson::Null,
                },
            },
            "upsert": true,
            "maxTimeMS": millis(wait),
            "writeConcern": { "w": "majority", "wtimeout": millis(self.timeouts.call) },
        });
        let reply = bounded(self.timeouts.call, raise).await?;
        check_write_concern(&reply)?;
        // What was there before: nothing, or the position at the epoch before this one.
        let mut position = LanePosition::unread();
        if let Ok(before) = reply.get_document("value") {
            let before = RawDocumentBuf::try_from(before).map_err(mongodb::error::Error::from)?;
            let document: LaneDocument = read(LANES, &before)?;
            position = document.position()?;
            self.compare_rules(lane, document.rules.as_deref());
        }
        position.epoch += 1;
        Ok(position)
    }

    /// Notes, and logs once, that the lane's last owner followed other rules than this process.
    fn compare_rules(&self, lane: &TopicPartition, before: Option<&str>) {
        let (Some(own), Some(before)) = (self.rules.get(), before) else {
            return;
        };
        if own != before && !self.rules_differed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %lane,
                rules = own,
                before,
                "the lane's last owner had other rules; unless they are being changed, two workers \
                 have different rules"
            );
        }
    }

    async fn end_previous_owner(&self, lane: &TopicPartition) -> Result<(), Failure> {
        let lanes: Collection<RawDocumentBuf> = self.database.collection(LANES);
        let stored = lanes.find_one(doc! { "_id": lane.to_string() });
        let stored = bounded(self.timeouts.cleanup, stored).await?;
        let owner = stored.as_deref().map(|stored| stored.get_binary("owner"));
        if let Some(Ok(owner)) = owner {
            let lsid = doc! { "id": owner.to_binary() };
            kill(&self.database, &lsid, self.timeouts.cleanup).await?;
        }
        Ok(())
    }
}
