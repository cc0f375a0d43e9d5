//! The deadlines of a home's sessions, out of an index that holds nothing but proper ones; and, out of
//! the index over the status of sessions, those whose deadline is not a proper one.

use std::collections::HashSet;

use mongodb::bson::raw::RawBsonRef;
use mongodb::bson::{RawDocument, doc};
use mongodb::options::FindOptions;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Inner;
use super::documents::{Malformed, home_of, instant, name};
use super::failure::Failure;
use super::indexes::{SESSIONS, not_ended};
use crate::domain::{SessionId, SessionStatus, Timestamp};
use crate::store::{Deadlines, Unreadable};

/// How many sessions with a damaged deadline are named at once.
const NAMED: i64 = 1_000;

/// The sessions that have not ended and have no proper deadline, of all homes: one look serves every
/// lane of the process that asked before it began.
#[derive(Debug, Default)]
pub(super) struct Undated {
    last: Mutex<Option<Look>>,
}

#[derive(Debug)]
struct Look {
    began: Instant,
    found: Vec<(i32, Unreadable)>,
}

impl Inner {
    /// The deadlines of the sessions at home in `home`.
    pub(super) async fn deadlines(&self, home: i32) -> Result<Deadlines, Failure> {
        let mut filter = doc! { "home": home };
        filter.extend(not_ended());
        let options = FindOptions::builder()
            .projection(doc! { "_id": 1, "nextDeadline": 1 })
            .batch_size(10_000_u32)
            .build();
        let (undated, dated) = futures::try_join!(
            self.undated(home),
            self.find_each(SESSIONS, filter, options, deadline),
        )?;
        let mut deadlines = Deadlines::default();
        for found in dated {
            match found {
                Ok(deadline) => deadlines.sessions.push(deadline),
                Err(unreadable) => deadlines.unreadable.push(unreadable),
            }
        }
        let named: HashSet<&str> = deadlines.unreadable.iter().map(|u| &*u.document).collect();
        let undated = undated
            .into_iter()
            .filter(|u| !named.contains(&*u.document));
        let undated: Vec<Unreadable> = undated.collect();
        deadlines.unreadable.extend(undated);
        Ok(deadlines)
    }

    async fn undated(&self, home: i32) -> Result<Vec<Unreadable>, Failure> {
        let asked = Instant::now();
        let limit = self.timeouts.call;
        let last = tokio::time::timeout(limit, self.undated.last.lock()).await;
        let mut last = last.map_err(|_| Failure::Timeout(limit))?;
        let look = match last.take().filter(|look| look.began >= asked) {
            Some(look) => look,
            None => Look {
                began: Instant::now(),
                found: self.find_undated().await?,
            },
        };
        let look = last.insert(look);
        let of_home = look.found.iter().filter(|(at, _)| *at == home);
        Ok(of_home.map(|(_, unreadable)| unreadable.clone()).collect())
    }

    async fn find_undated(&self) -> Result<Vec<(i32, Unreadable)>, Failure> {
        let live = [SessionStatus::Waiting, SessionStatus::Active].map(name);
        let mut filter = doc! { "status": { "$in": live.to_vec() } };
        for (field, proper) in not_ended() {
            filter.insert(field, doc! { "$not": proper });
        }
        let options = FindOptions::builder()
            .projection(doc! { "_id": 1, "nextDeadline": 1, "home": 1 })
            .limit(NAMED)
            .build();
        let take = |raw: &RawDocument| {
            // A session without a home is missed by every lane alike.
            let home = home_of(raw).ok()?;
            Some((home, no_deadline(raw)))
        };
        let found = self.find_each(SESSIONS, filter, options, take).await?;
        Ok(found.into_iter().flatten().collect())
    }
}

fn deadline(raw: &RawDocument) -> Result<(SessionId, Timestamp), Unreadable> {
    match (raw.get_str("_id"), raw.get_datetime("nextDeadline")) {
        (Ok(id), Ok(at)) => Ok((SessionId::from_stored(id.to_owned()), instant(at))),
        _ => Err(no_deadline(raw)),
    }
}

fn no_deadline(raw: &RawDocument) -> Unreadable {
    let reason = match raw.get("nextDeadline") {
        Ok(None | Some(RawBsonRef::Null)) => {
            "nextDeadline: missing, though the session is not over"
        }
        _ => "nextDeadline: no date",
    };
    Malformed::new(reason).in_document(SESSIONS, raw)
}
