//! Where a session is at home: murmur2 of its id over the partitions that `session-command` has when
//! the session is created. An existing session's home is stored and never asked here.

use std::sync::atomic::{AtomicI32, Ordering};

use crate::domain::SessionId;
use crate::kafka::partition_of;

/// The number of partitions of `session-command`, as last seen.
#[derive(Debug)]
pub struct Homes {
    partitions: AtomicI32,
}

impl Homes {
    /// Starts with `partitions`, at least 1.
    pub fn new(partitions: i32) -> Self {
        Self {
            partitions: AtomicI32::new(partitions.max(1)),
        }
    }

    /// Takes note that the topic has grown: only sessions made from now on may live there.
    pub fn grown_to(&self, partitions: i32) {
        self.partitions.fetch_max(partitions, Ordering::Relaxed);
    }

    /// The home of a session that is about to be created.
    pub fn home_of(&self, session_id: &SessionId) -> i32 {
        partition_of(
            session_id.as_str().as_bytes(),
            self.partitions.load(Ordering::Relaxed),
        )
    }
}
