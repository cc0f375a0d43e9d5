//! Where partitions begin and end, asked over connections of its own: on the consumer's, every answer
//! waits for the fetch before it. Fails with [`Error::Unavailable`] within [`TIMEOUT`].

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::kafka::admin::Quiet;
use crate::kafka::settings::{Settings, SetupError};
use crate::kafka::{Error, words};
use crate::record::TopicPartition;

const TIMEOUT: Duration = Duration::from_secs(5);

/// A client that joins no group and reads nothing.
pub(super) struct Watermarks(BaseConsumer<Quiet>);

impl Watermarks {
    pub(super) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let mut config = settings.admin();
        // The end of the log itself, not of what is committed of it.
        config.set("isolation.level", "read_uncommitted");
        Ok(Self(config.create_with_context(Quiet)?))
    }

    /// Drops what the client has to say; what goes wrong comes back to the caller of `ask`.
    pub(super) fn serve(&self) {
        drop(self.0.poll(Duration::ZERO));
    }

    /// The first offset and the one after the last. Blocks.
    pub(super) fn ask(&self, lane: &TopicPartition) -> Result<(i64, i64), Error> {
        self.0
            .fetch_watermarks(&lane.topic, lane.partition, TIMEOUT)
            .map_err(|error| Error::Unavailable {
                reason: words::asking(&error, lane),
            })
    }
}
