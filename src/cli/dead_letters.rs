//! `dead-letters`: what could not be judged, grouped, looked at, and sent again. Reads
//! `session-dead-letter` as it stands; only `replay --yes` writes, and only to the inputs.

mod filter;
mod list;
mod replay;
mod show;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use clap::Subcommand;

use super::Done;
use super::failure::Failure;
use super::flags::SettingsFlags;
use super::output::Output;
use super::progress::Progress;
use super::topics;
use crate::kafka::{self, Scan};
use crate::record::Origin;
use crate::settings::{Effective, Settings};
use crate::wire::Letter;
use filter::Filter;
use replay::Pace;

#[derive(Debug, Subcommand)]
pub(super) enum DeadLettersCommand {
    /// Show dead letters grouped by reason, topic and message
    ///
    /// Counts, the first and last, and addresses to look at. AGAIN counts those that had been sent again
    /// from the dead letters before they died: by `dead-letters replay`, that is.
    ///
    /// JSON: {letters, others (records of the topic that are no dead letters), groups}, and a group is
    /// {reason, topic, message, count, again, first, last, examples}; `first` and `last` are {at,
    /// address}. Fields are only ever added.
    #[command(verbatim_doc_comment)]
    List {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Show one dead letter: why it died, and what it was
    ///
    /// The value is shown as JSON where it is JSON, or Avro whose schema the registry has; else as bytes.
    /// It is what a sender sent: it may hold what is nobody else's business, invite codes for one.
    ///
    /// JSON: {address, reason, message, origin, sentAt, diedAt, group, schemaId, truncatedFrom,
    /// keyTruncatedFrom, headersDropped, replays, replayOf, replayedAs, key, headers, reasons, value}.
    /// `value` is {kind (absent, json, avro, bytes), schemaId, json, note, base64}; keys and headers are
    /// text, or {base64} where they are none. Fields are only ever added.
    #[command(verbatim_doc_comment)]
    Show {
        /// Which one: an offset, or partition/offset
        address: Address,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Send dead letters again to where they came from; without --yes, show what would happen
    ///
    /// Each goes to its original topic with its original key, value and headers, without the dlq-* and
    /// kafka_dlt-* ones; `sw-replay-count` says how often, `sw-replay-of` from where. A record that dies
    /// again keeps both. Not sent are: what was cut, an AdmitMatch (only the worker writes those), and,
    /// by filter, a letter that was sent again before and died again: its last letter stands for it.
    ///
    /// The commandId of a `bug` letter is remembered with its `internal_error`: sent again it gets the
    /// same result, `replayed`, and nothing else happens. A sender who wants it done sends it under a new
    /// commandId. So it is with every id that was judged: sending it again changes nothing.
    ///
    /// A record that the brokers do not acknowledge ends the run; what was sent and what was not is said,
    /// and the exit code is 1, as it is where a letter cannot be sent.
    ///
    /// JSON: {dryRun, letters, left (beyond --limit; null where the run ended early)}, and a letter is
    /// {address, reason, topic, key, replays, outcome (wouldSend, sent, skipped, refused, failed), record,
    /// detail}. Fields are only ever added.
    #[command(verbatim_doc_comment)]
    Replay {
        /// Which ones: offsets, or partition/offset; none: those that the filter takes
        addresses: Vec<Address>,
        /// Do it
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        pace: Pace,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        settings: SettingsFlags,
    },
}

/// A dead letter's place: `partition/offset`, or the offset alone, since the topic has one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Address {
    partition: i32,
    offset: i64,
}

impl Address {
    fn of(place: &Origin) -> Self {
        Self {
            partition: place.lane.partition,
            offset: place.offset,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (partition, offset) = text.rsplit_once(['/', '@']).unwrap_or(("0", text));
        // As it stands in other outputs: topic/partition@offset.
        let partition = partition
            .rsplit_once('/')
            .map_or(partition, |(_, partition)| partition);
        match (partition.parse(), offset.parse()) {
            (Ok(partition), Ok(offset)) if partition >= 0 && offset >= 0 => {
                Ok(Self { partition, offset })
            }
            _ => Err("write an offset or partition/offset, e.g. 12 or 0/12"),
        }
    }
}

/// Runs one of the commands.
pub(super) async fn run(
    command: DeadLettersCommand,
    before: SettingsFlags,
) -> Result<Done, Failure> {
    match command {
        DeadLettersCommand::List {
            filter,
            output,
            settings,
        } => {
            let Effective { settings, .. } = before.and(settings).load()?;
            list::list(&settings, &filter, output).await
        }
        DeadLettersCommand::Show {
            address,
            output,
            settings,
        } => {
            let Effective { settings, .. } = before.and(settings).load()?;
            show::show(&settings, address, output).await
        }
        DeadLettersCommand::Replay {
            addresses,
            filter,
            pace,
            yes,
            output,
            settings,
        } => {
            let Effective { settings, .. } = before.and(settings).load()?;
            let chosen = replay::Chosen::new(addresses, filter)?;
            replay::replay(&settings, chosen, pace, yes, output).await
        }
    }
}

/// Reads the topic's records in order, from those that `filter` may take on.
struct Letters {
    scan: Scan,
    progress: Progress,
}

/// Some of the topic's records.
struct Batch {
    letters: Vec<Letter>,
    /// Records that are no dead letters.
    others: u64,
}

impl Letters {
    /// Begins to read at the instant `since`, or at the first.
    async fn since(settings: &Settings, since: Option<i64>) -> Result<Self, Failure> {
        let client = settings.kafka.client();
        let topic = &settings.topics.session_dead_letter;
        let spans = kafka::spans(&client, topic, since)
            .await
            .map_err(topics::failure)?;
        Self::start(settings, &spans)
    }

    fn start(
        settings: &Settings,
        spans: &std::collections::BTreeMap<i32, kafka::Span>,
    ) -> Result<Self, Failure> {
        let topic = &settings.topics.session_dead_letter;
        let scan = Scan::start(&settings.kafka.client(), topic, spans).map_err(topics::failure)?;
        let mut progress = Progress::new();
        progress.begin(topic, Some(scan.length()));
        Ok(Self { scan, progress })
    }

    async fn next(&mut self) -> Result<Option<Batch>, Failure> {
        let Some(records) = self.scan.next().await else {
            return Ok(None);
        };
        let records = records.map_err(topics::failure)?;
        self.progress.advance(records.len());
        let count = records.len();
        let letters: Vec<Letter> = records.into_iter().filter_map(Letter::read).collect();
        let others = u64::try_from(count - letters.len()).unwrap_or(0);
        Ok(Some(Batch { letters, others }))
    }
}

/// The letter at `address`.
async fn find(settings: &Settings, address: Address) -> Result<Letter, Failure> {
    let client = settings.kafka.client();
    let topic: &Arc<str> = &settings.topics.session_dead_letter;
    let spans = kafka::spans(&client, topic, None)
        .await
        .map_err(topics::failure)?;
    let Some(span) = spans.get(&address.partition) else {
        let last = spans.keys().last().copied().unwrap_or(0);
        return Err(Failure::Usage(format!(
            "{topic} has no partition {}; use 0 to {last}",
            address.partition
        )));
    };
    if !(span.low..span.end).contains(&address.offset) {
        let there = if span.low == span.end {
            "it is empty".to_owned()
        } else {
            format!("use {} to {}", span.low, span.end - 1)
        };
        return Err(Failure::Usage(format!(
            "there is no {topic}/{address}; {there}"
        )));
    }
    let one = kafka::Span {
        from: address.offset,
        end: address.offset + 1,
        ..*span
    };
    let mut letters = Letters::start(settings, &[(address.partition, one)].into())?;
    while let Some(batch) = letters.next().await? {
        let mut found = batch.letters.into_iter();
        if let Some(letter) = found.find(|letter| Address::of(&letter.place) == address) {
            return Ok(letter);
        }
    }
    Err(Failure::Operation(format!(
        "{topic}/{address} is no dead letter; look with `session-worker dead-letters list`"
    )))
}

/// A key or a header's value for people: text where it is text, cut to `max` characters.
fn text_of(bytes: Option<&[u8]>, max: usize) -> String {
    let Some(bytes) = bytes else {
        return "–".to_owned();
    };
    let text = match std::str::from_utf8(bytes) {
        // Numbers in binary often are text of control characters.
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => {
            let start = bytes.iter().take(max);
            let pairs: String = start.map(|byte| format!("{byte:02x}")).collect();
            format!("0x{pairs}")
        }
    };
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
