//! Sending dead letters again: one by one, each with what became of it, ended by the first record that
//! the brokers do not acknowledge. What a replay will come to is said before, as far as it is known.

mod verdict;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::filter::Filter;
use super::{Address, Letters, find, text_of};
use crate::cli::Done;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Format, Output, place};
use crate::clock::Clock as _;
use crate::domain::{MessageId, Timestamp};
use crate::kafka::{Sender, Unsent};
use crate::record::{Origin, OutRecord, Record};
use crate::settings::Settings;
use crate::store::LedgerEntry;
use crate::store::mongo::MongoStore;
use crate::wire::{Decoded, Decoder, Letter};
pub(super) use verdict::{Circumstances, Seen, Verdict, judge};

/// Characters of a key that people are shown.
const KEY: usize = 36;

/// How fast, and how many.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct Pace {
    /// Records a second at most
    #[arg(long, value_name = "RECORDS", default_value = "20")]
    rate: NonZeroU32,
    /// Letters at most; the earliest come first
    #[arg(long, value_name = "LETTERS", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Which letters.
#[derive(Debug)]
pub(super) enum Chosen {
    These(BTreeSet<Address>),
    Those(Filter),
}

impl Chosen {
    /// Addresses or a filter; neither is no way to say "all".
    pub(super) fn new(addresses: Vec<Address>, filter: Filter) -> Result<Self, Failure> {
        match (addresses.is_empty(), filter.is_empty()) {
            (false, true) => Ok(Self::These(addresses.into_iter().collect())),
            (true, false) => Ok(Self::Those(filter)),
            (true, true) => Err(Failure::Usage(
                "name the letters to send again, or give a filter, e.g. --reason unknown_schema or \
                 --since 7d"
                    .to_owned(),
            )),
            (false, false) => Err(Failure::Usage(
                "addresses and a filter do not go together; leave one out".to_owned(),
            )),
        }
    }
}

/// What became, or would become, of a letter.
#[derive(Clone, Debug)]
pub(super) struct Line {
    address: Address,
    reason: String,
    topic: String,
    key: Option<Vec<u8>>,
    replays: u32,
    outcome: Outcome,
    detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    WouldSend,
    Sent(Origin),
    /// By filter: another letter stands for it.
    Skipped,
    Refused,
    Failed,
}

impl Outcome {
    fn as_str(&self) -> &'static str {
        match self {
            Self::WouldSend => "wouldSend",
            Self::Sent(_) => "sent",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Sends, or says what it would send.
pub(super) async fn replay(
    settings: &Settings,
    chosen: Chosen,
    pace: Pace,
    yes: bool,
    output: Output,
) -> Result<Done, Failure> {
    let topics = &settings.topics;
    let sender = if yes {
        let inputs: [Arc<str>; 2] = [
            Arc::clone(&topics.match_found),
            Arc::clone(&topics.session_command),
        ];
        let sender = Sender::start(&settings.kafka.client(), &inputs).await;
        Some(sender.map_err(crate::cli::topics::failure)?)
    } else {
        None
    };
    let registry = crate::cli::schemas::registry(settings)?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / pace.rate.get());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut run = Run {
        decoder: Decoder::new(topics.clone(), Arc::new(registry)),
        registry_fault: None,
        store: super::super::connect(settings).await.ok(),
        settings,
        sender,
        ticks,
        interrupts: signal(SignalKind::interrupt()).map_err(|error| {
            Failure::operation(format!("cannot listen for signals: {error}"), "try again")
        })?,
        aloud: yes && output.format == Format::Table,
        left: usize::try_from(pace.limit).unwrap_or(usize::MAX),
        lines: Vec::new(),
        beyond: 0,
        ended: None,
    };
    let letters = run.all(chosen).await;
    // What was done is said whatever came after it.
    run.report(output)?;
    letters?;
    let would = run.count(|outcome| *outcome == Outcome::WouldSend);
    if !yes {
        let of = run.lines.len();
        output::remark(&match would {
            0 => format!("nothing sent; none of {of} letters can be"),
            _ => format!("nothing sent; add --yes to send {would} of {of} letters again"),
        });
        return Ok(Done::Ok);
    }
    let unsent = run.count(|outcome| matches!(outcome, Outcome::Refused | Outcome::Failed));
    let whole = unsent == 0 && run.ended.is_none();
    Ok(if whole { Done::Ok } else { Done::Failed })
}

/// Letters that other letters say they are the later death of.
#[derive(Debug, Default)]
pub(super) struct Superseded(HashMap<Origin, (Address, u32)>);

impl Superseded {
    /// Takes note of what `letter` says.
    pub(super) fn add(&mut self, letter: &Letter) {
        if let Some(of) = &letter.replay_of {
            let later = (Address::of(&letter.place), digest(letter));
            self.0.insert(of.clone(), later);
        }
    }

    /// The letter that stands for `letter`. A header is anybody's to write: only one with the same key
    /// and value counts.
    pub(super) fn by(&self, letter: &Letter) -> Option<Address> {
        let (address, found) = self.0.get(&letter.place)?;
        (*found == digest(letter)).then_some(*address)
    }
}

fn digest(letter: &Letter) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let key = letter.key.as_deref().unwrap_or_default();
    hasher.update(&key.len().to_be_bytes());
    hasher.update(key);
    hasher.update(letter.value.as_deref().unwrap_or_default());
    hasher.finalize()
}

struct Run<'a> {
    settings: &'a Settings,
    decoder: Decoder,
    registry_fault: Option<String>,
    /// `None`: MongoDB does not answer, so that nothing is known of what is remembered.
    store: Option<MongoStore>,
    sender: Option<Sender>,
    ticks: tokio::time::Interval,
    /// SIGINT ends the run between two records, so that what was sent is said.
    interrupts: Signal,
    /// Each outcome is printed as it comes.
    aloud: bool,
    left: usize,
    lines: Vec<Line>,
    /// Letters beyond the limit.
    beyond: u64,
    /// Why it ended before its end.
    ended: Option<String>,
}

impl Run<'_> {
    async fn all(&mut self, chosen: Chosen) -> Result<(), Failure> {
        let superseded = self.superseded().await?;
        match chosen {
            Chosen::These(addresses) => {
                for address in addresses {
                    if self.ended.is_some() {
                        break;
                    }
                    let letter = find(self.settings, address).await?;
                    self.batch(vec![letter], &superseded, true).await?;
                }
            }
            Chosen::Those(filter) => {
                let sieve = filter.sieve(&self.settings.topics);
                let mut letters = Letters::since(self.settings, sieve.begin()).await?;
                // Where the brokers fell silent there is nothing to be read either.
                while self.ended.is_none()
                    && let Some(batch) = letters.next().await?
                {
                    let mut taken = batch.letters;
                    taken.retain(|letter| sieve.takes(letter));
                    self.batch(taken, &superseded, false).await?;
                }
            }
        }
        Ok(())
    }

    /// The letters that were sent again and died again, with the letter that stands for each.
    async fn superseded(&self) -> Result<Superseded, Failure> {
        let mut letters = Letters::since(self.settings, None).await?;
        let mut superseded = Superseded::default();
        while let Some(batch) = letters.next().await? {
            batch
                .letters
                .iter()
                .for_each(|letter| superseded.add(letter));
        }
        Ok(superseded)
    }

    async fn batch(
        &mut self,
        letters: Vec<Letter>,
        superseded: &Superseded,
        by_address: bool,
    ) -> Result<(), Failure> {
        let seen = self.look(&letters).await;
        for (letter, seen) in letters.into_iter().zip(seen) {
            if self.ended.is_some() {
                break;
            }
            if self.left == 0 {
                self.beyond += 1;
                continue;
            }
            let circumstances = Circumstances {
                topics: &self.settings.topics,
                by_address,
                now: self.store.as_ref().map(|store| store.clock().now()),
                retention: self.settings.rules.command_retention,
                died_again_as: superseded.by(&letter),
            };
            let verdict = judge(&letter, &seen, &circumstances);
            if !matches!(verdict, Verdict::Skip(_)) {
                self.left -= 1;
            }
            self.act(&letter, verdict).await?;
        }
        Ok(())
    }

    /// What is to be seen in each of `letters`, and remembered of it.
    async fn look(&mut self, letters: &[Letter]) -> Vec<Seen> {
        let inputs = [
            &self.settings.topics.match_found,
            &self.settings.topics.session_command,
        ];
        let records: Vec<Option<Record>> = letters
            .iter()
            .map(|letter| {
                let known = inputs.contains(&&letter.origin.lane.topic);
                known.then(|| letter.original())
            })
            .collect();
        let known: Vec<Record> = records.iter().flatten().cloned().collect();
        if self.registry_fault.is_none()
            && let Err(error) = self.decoder.prepare(&known).await
        {
            self.registry_fault = Some(error.to_string());
        }
        let mut seen: Vec<Seen> = records
            .iter()
            .map(|record| self.decoded(record.as_ref()))
            .collect();
        let ids: Vec<MessageId> = seen.iter().filter_map(Seen::id).collect();
        let remembered = match &self.store {
            Some(store) => store.remembered(&ids).await.ok(),
            None => None,
        };
        if let Some(entries) = remembered {
            let entries: BTreeMap<MessageId, LedgerEntry> = entries
                .found
                .into_iter()
                .map(|entry| (entry.id.clone(), entry))
                .collect();
            for seen in &mut seen {
                let entry = seen.id().and_then(|id| entries.get(&id));
                seen.remembered = Some(entry.cloned());
            }
        }
        seen
    }

    fn decoded(&self, record: Option<&Record>) -> Seen {
        let framed =
            |record: &Record| record.value.as_deref().and_then(|value| value.first()) == Some(&0);
        let decoded = match record {
            Some(record) if framed(record) && self.registry_fault.is_some() => None,
            Some(record) => Some(
                self.decoder
                    .decode(record)
                    .map_err(|poison| poison.to_string()),
            ),
            None => None,
        };
        Seen {
            decoded,
            remembered: None,
        }
    }

    async fn act(&mut self, letter: &Letter, verdict: Verdict) -> Result<(), Failure> {
        let (outcome, detail) = match verdict {
            Verdict::Skip(why) => (Outcome::Skipped, why),
            Verdict::Refuse(why) => (Outcome::Refused, why),
            Verdict::Send { record, notes } => {
                let notes = notes.join("; ");
                match self.send(&record).await {
                    None => (Outcome::WouldSend, notes),
                    Some(Ok(place)) => (Outcome::Sent(place), notes),
                    Some(Err(Unsent::Refused { reason })) => (Outcome::Refused, reason),
                    Some(Err(unsent)) => {
                        let why = unsent.to_string();
                        self.ended = Some(why.clone());
                        (Outcome::Failed, why)
                    }
                }
            }
        };
        let line = Line {
            address: Address::of(&letter.place),
            reason: letter.reason.clone(),
            topic: letter.origin.lane.topic.to_string(),
            key: letter.key.clone(),
            replays: letter.replays,
            outcome,
            detail,
        };
        if self.aloud {
            output::print(format!("{}\n", spoken(&line)).as_bytes())?;
        }
        self.lines.push(line);
        Ok(())
    }

    /// Sends `record` when its turn has come; `None`: this is a rehearsal.
    async fn send(&mut self, record: &OutRecord) -> Option<Result<Origin, Unsent>> {
        let sender = self.sender.as_ref()?;
        tokio::select! {
            biased;
            _ = self.interrupts.recv() => {
                self.ended = Some("interrupted".to_owned());
                let reason = "interrupted before it was sent".to_owned();
                return Some(Err(Unsent::Refused { reason }));
            }
            _ = self.ticks.tick() => {}
        }
        Some(sender.send(record).await)
    }

    fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.lines
            .iter()
            .filter(|line| which(&line.outcome))
            .count()
    }

    fn report(&self, output: Output) -> Result<(), Failure> {
        if !self.aloud {
            return output.print(|| self.words(), || self.shown());
        }
        let mut text = format!(
            "{} sent, {} refused, {} skipped\n",
            self.count(|outcome| matches!(outcome, Outcome::Sent(_))),
            self.count(|outcome| *outcome == Outcome::Refused),
            self.count(|outcome| *outcome == Outcome::Skipped),
        );
        text.push_str(&self.rest());
        output::print(text.as_bytes())
    }

    fn words(&self) -> String {
        let rows = self.lines.iter().map(|line| {
            vec![
                line.address.to_string(),
                line.reason.clone(),
                line.topic.clone(),
                text_of(line.key.as_deref(), KEY),
                line.replays.to_string(),
                spoken_outcome(line),
            ]
        });
        let heads = [
            "LETTER",
            "REASON",
            "TO",
            "KEY",
            "REPLAYS",
            "WHAT WOULD HAPPEN",
        ];
        let rows: Vec<_> = rows.collect();
        let mut text = output::wrapped(&heads, &rows, output::width());
        if let Some(fault) = &self.registry_fault {
            let fault = output::printable(fault);
            text.push_str(&format!("values in Avro were not decoded: {fault}\n"));
        }
        if self.store.is_none() {
            text.push_str("what is remembered is not known: MongoDB does not answer\n");
        }
        text.push_str(&self.rest());
        text
    }

    fn rest(&self) -> String {
        match (&self.ended, self.beyond) {
            (Some(why), _) => {
                let why = output::printable(why);
                format!("the run ended there ({why}): letters behind it were not looked at\n")
            }
            (None, 0) => String::new(),
            (None, beyond) => format!("{beyond} further letters are beyond --limit\n"),
        }
    }

    fn shown(&self) -> Value {
        let letters = self.lines.iter().map(|line| {
            let record = match &line.outcome {
                Outcome::Sent(record) => Some(place(record)),
                _ => None,
            };
            json!({
                "address": line.address.to_string(),
                "reason": line.reason,
                "topic": line.topic,
                "key": line.key.as_deref().map(|key| text_of(Some(key), usize::MAX)),
                "replays": line.replays,
                "outcome": line.outcome.as_str(),
                "record": record,
                "detail": line.detail,
            })
        });
        json!({
            "dryRun": self.sender.is_none(),
            "letters": letters.collect::<Vec<_>>(),
            "left": self.ended.is_none().then_some(self.beyond),
        })
    }
}

fn spoken(line: &Line) -> String {
    let text = format!("{}  {}", line.address, spoken_outcome(line));
    output::printable(&text)
}

fn spoken_outcome(line: &Line) -> String {
    let what = match &line.outcome {
        Outcome::WouldSend => "sent again".to_owned(),
        Outcome::Sent(record) => format!("sent to {}", place(record)),
        Outcome::Skipped => "skipped".to_owned(),
        Outcome::Refused => "refused".to_owned(),
        Outcome::Failed => "FAILED".to_owned(),
    };
    if line.detail.is_empty() {
        what
    } else {
        format!("{what}: {}", line.detail)
    }
}

impl Seen {
    /// What the message is remembered under, where it is one.
    fn id(&self) -> Option<MessageId> {
        let decoded: &Decoded = self.decoded.as_ref()?.as_ref().ok()?;
        Some(decoded.message.id())
    }
}

/// When a message is forgotten, for people.
fn until(entry: &LedgerEntry) -> String {
    entry.forget_at.map_or_else(String::new, |at: Timestamp| {
        format!(" until {}", output::date_time(at))
    })
}
