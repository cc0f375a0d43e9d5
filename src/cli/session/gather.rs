//! Finding everything about one session: outputs and inputs from Kafka since it was made, memory by
//! message id from MongoDB. Streams, and keeps only what concerns the session. What fails is noted as
//! missing, once; nothing here ends the command.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::trail::{Claim, Died, Found, Input, Missing, Trail, result_id};
use crate::cli::progress::Progress;
use crate::domain::{MessageId, Timestamp};
use crate::kafka::{self, Scan, SetupError, Span, partition_of};
use crate::record::{Origin, Record};
use crate::store::Unreadable;
use crate::store::mongo::MongoStore;
use crate::wire::{
    Decoder, Letter, Passthrough, Poison, REPLAY_COUNT, Reader, SchemaSource, SentEvent,
    SentResult, claimed_forward,
};

/// How far clocks may disagree: records are dated by whoever wrote them, sessions by the database.
const SKEW: Duration = Duration::from_secs(600);
/// Records of each kind that are kept; a session that had more is not to be read line by line.
const KEPT: usize = 10_000;

/// Where to look.
pub(super) struct Sources<'a> {
    pub(super) store: &'a MongoStore,
    pub(super) kafka: &'a kafka::Settings,
    pub(super) registry: Arc<dyn SchemaSource>,
    pub(super) progress: &'a mut Progress,
}

type Spans = BTreeMap<i32, Span>;

/// Fills `trail`.
pub(super) async fn gather(sources: Sources<'_>, trail: &mut Trail) {
    let since = trail.stored.session.created_at.minus(SKEW).0;
    let mut gathering = Gathering {
        decoder: Decoder::new(trail.topics.clone(), Arc::clone(&sources.registry)),
        reader: Reader::new(&trail.topics, Arc::clone(&sources.registry)),
        sources,
        trail,
        since,
        registry_fault: None,
        known: BTreeSet::new(),
        capped: BTreeSet::new(),
    };
    gathering.all().await;
}

struct Gathering<'a, 't> {
    sources: Sources<'a>,
    trail: &'t mut Trail,
    since: i64,
    decoder: Decoder,
    reader: Reader,
    registry_fault: Option<String>,
    known: BTreeSet<MessageId>,
    capped: BTreeSet<&'static str>,
}

impl Gathering<'_, '_> {
    async fn all(&mut self) {
        let outputs = self.outputs().await;
        let complete = *outputs.as_ref().unwrap_or(&false);
        self.memory(complete).await;
        let read = match outputs {
            Ok(_) => self.rest().await,
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            let failure = crate::cli::topics::failure(error).text();
            self.trail.lacks("kafka", failure);
        }
        self.evidence().await;
        let fault = self
            .registry_fault
            .take()
            .or_else(|| self.reader.registry_fault().map(str::to_owned));
        if let Some(fault) = fault {
            self.trail.lacks(
                "registry",
                format!(
                    "{fault}; commands and matches in Avro are not decoded, and outputs are read by \
                     this version's schemas"
                ),
            );
        }
        for kind in std::mem::take(&mut self.capped) {
            let detail = format!("more than {KEPT} records; those beyond are left out");
            self.trail.lacks(kind, detail);
        }
        gaps(self.trail);
    }

    /// Events and results; whether the results are all there.
    async fn outputs(&mut self) -> Result<bool, SetupError> {
        self.events().await?;
        let topic = Arc::clone(&self.trail.topics.session_command_result);
        let spans = kafka::spans(self.sources.kafka, &topic, Some(self.since)).await?;
        let id = self.trail.id().to_string();
        let of_session = |record: &Record| record.header("ce_subject") == Some(id.as_bytes());
        self.results(&topic, &spans, of_session).await?;
        Ok(!spans.values().any(Span::may_lack))
    }

    async fn events(&mut self) -> Result<(), SetupError> {
        let skipped = self.events_since().await?;
        let found = i64::try_from(self.trail.events.len()).unwrap_or(i64::MAX);
        if skipped && found < self.trail.stored.session.sequence {
            // The database's clock is ahead of those who date records: what seemed older is not.
            self.since = 0;
            self.events_since().await?;
        }
        Ok(())
    }

    /// Whether there are records that seem to be from before the session.
    async fn events_since(&mut self) -> Result<bool, SetupError> {
        let topic = Arc::clone(&self.trail.topics.session_event);
        let spans = kafka::spans(self.sources.kafka, &topic, Some(self.since)).await?;
        let skipped = spans.values().any(|span| span.from > span.low);
        let count = i32::try_from(spans.len()).unwrap_or(i32::MAX);
        let at_home = partition_of(self.trail.id().as_str().as_bytes(), count);
        let (home, others): (Spans, Spans) = spans
            .into_iter()
            .partition(|(partition, _)| *partition == at_home);
        self.events_in(&topic, &home).await?;
        let found = i64::try_from(self.trail.events.len()).unwrap_or(i64::MAX);
        if found < self.trail.stored.session.sequence {
            // Events from before the topic grew stand where their key belonged then.
            self.events_in(&topic, &others).await?;
        }
        Ok(skipped)
    }

    async fn events_in(&mut self, topic: &str, spans: &Spans) -> Result<(), SetupError> {
        let mut scan = self.scan(topic, spans)?;
        while let Some(batch) = scan.next().await {
            let batch = batch?;
            self.sources.progress.advance(batch.len());
            for record in batch {
                if record.key.as_deref() != Some(self.trail.id().as_str().as_bytes()) {
                    continue;
                }
                match self.reader.event(&record).await {
                    Ok(event) => self.keep_event(event, &record),
                    Err(error) => self.unread("events", &record, &error.to_string()),
                }
            }
        }
        Ok(())
    }

    fn keep_event(&mut self, event: SentEvent, record: &Record) {
        if event.session_id != self.trail.id().as_str() {
            return;
        }
        let found = self
            .trail
            .events
            .entry(event.sequence)
            .or_insert_with(|| found(event, record));
        if found.record != record.origin() {
            found.repeats.push(record.origin());
        }
    }

    async fn results(
        &mut self,
        topic: &str,
        spans: &Spans,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<(), SetupError> {
        let mut first: HashMap<SentResult, usize> = HashMap::new();
        let mut scan = self.scan(topic, spans)?;
        while let Some(batch) = scan.next().await {
            let batch = batch?;
            self.sources.progress.advance(batch.len());
            for record in batch.iter().filter(|record| wanted(record)) {
                let result = match self.reader.result(record).await {
                    Ok(result) => result,
                    Err(error) => {
                        self.unread("results", record, &error.to_string());
                        continue;
                    }
                };
                let results = &mut self.trail.results;
                if let Some(index) = first.get(&result).filter(|_| !result.replayed) {
                    results[*index].repeats.push(record.origin());
                } else if results.len() < KEPT {
                    first.insert(result.clone(), results.len());
                    results.push(found(result, record));
                } else {
                    self.capped.insert("results");
                }
            }
        }
        Ok(())
    }

    /// What the ledger knows: by id where the ids are known, else by walking through it.
    async fn memory(&mut self, complete: bool) {
        self.known = self.trail.known_ids();
        if let Err(error) = self.remembered(complete).await {
            let failure = crate::cli::store_failure(error).text();
            self.trail.lacks("ledger", failure);
        }
        self.known = self.trail.known_ids();
    }

    fn lacks_entries(&mut self, unreadable: &[Unreadable]) {
        for unreadable in unreadable {
            self.trail.lacks("ledger", unreadable.to_string());
        }
    }

    async fn remembered(&mut self, complete: bool) -> Result<(), crate::store::Error> {
        let ids: Vec<MessageId> = self.known.iter().cloned().collect();
        let results: BTreeSet<MessageId> = self
            .trail
            .results
            .iter()
            .map(|result| result_id(&result.value))
            .collect();
        let id = self.trail.id().clone();
        let remembered = self.sources.store.remembered(&ids).await?;
        self.lacks_entries(&remembered.unreadable);
        for entry in remembered.found {
            // A cause may be a command's id or a match's, and only one of them is meant.
            let named = entry.remembered.result.session_id.as_deref() == Some(id.as_str());
            if named || results.contains(&entry.id) {
                self.trail.ledger.insert(entry.id.clone(), entry);
            }
        }
        if complete {
            return Ok(());
        }
        let mut after: Option<String> = None;
        self.sources.progress.begin("the ledger", None);
        loop {
            let stretch = self
                .sources
                .store
                .remembered_of(&id, after.as_deref())
                .await?;
            let entries = stretch.entries;
            self.sources.progress.advance(entries.found.len().max(1));
            self.lacks_entries(&entries.unreadable);
            for entry in entries.found {
                if self.trail.ledger.len() < KEPT {
                    self.trail.ledger.insert(entry.id.clone(), entry);
                } else {
                    self.capped.insert("ledger");
                }
            }
            after = stretch.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Inputs, results that do not name the session, dead letters.
    async fn rest(&mut self) -> Result<(), SetupError> {
        let topics = self.trail.topics.clone();
        for topic in [&topics.match_found, &topics.session_command] {
            self.inputs(topic).await?;
        }
        self.late_results().await?;
        self.letters(&topics.session_dead_letter).await
    }

    async fn inputs(&mut self, topic: &Arc<str>) -> Result<(), SetupError> {
        let mut spans = kafka::spans(self.sources.kafka, topic, Some(self.since)).await?;
        // A message may have waited for long before it made the session.
        for entry in self.trail.ledger.values() {
            let origin = &entry.origin;
            if origin.lane.topic == *topic
                && let Some(span) = spans.get_mut(&origin.lane.partition)
            {
                span.from = span.from.min(origin.offset.max(span.low));
            }
        }
        for entry in self.trail.ledger.values() {
            let origin = &entry.origin;
            let low = spans.get(&origin.lane.partition).map(|span| span.low);
            if origin.lane.topic == *topic && low.is_some_and(|low| origin.offset < low) {
                let detail = format!(
                    "{origin} and what is older was deleted; {} begins at {}",
                    origin.lane,
                    low.unwrap_or(0)
                );
                self.trail.missing.push(Missing {
                    source: "inputs",
                    detail,
                });
            }
        }
        let mut copies: HashMap<(Origin, i32), usize> = HashMap::new();
        let mut scan = self.scan(topic, &spans)?;
        while let Some(batch) = scan.next().await {
            let batch = batch?;
            self.sources.progress.advance(batch.len());
            self.prepare(&batch).await;
            for record in &batch {
                let Some(input) = self.input(record) else {
                    continue;
                };
                let copy = input
                    .claim
                    .as_ref()
                    .map(|claim| (claim.origin.clone(), input.record.lane.partition));
                let inputs = &mut self.trail.inputs;
                if let Some(index) = copy.as_ref().and_then(|copy| copies.get(copy)) {
                    inputs[*index].repeats.push(input.record);
                } else if inputs.len() < KEPT {
                    copies.extend(copy.map(|copy| (copy, inputs.len())));
                    inputs.push(input);
                } else {
                    self.capped.insert("inputs");
                }
            }
        }
        Ok(())
    }

    async fn prepare(&mut self, batch: &[Record]) {
        if self.registry_fault.is_some() {
            return;
        }
        if let Err(error) = self.decoder.prepare(batch).await {
            self.registry_fault = Some(error.to_string());
        }
    }

    /// `record` as an input of the session; `None` where it concerns another.
    fn input(&self, record: &Record) -> Option<Input> {
        let framed = record.value.as_deref().and_then(|value| value.first()) == Some(&0);
        let decoded = if framed && self.registry_fault.is_some() {
            Err("its schema is not known while the registry does not answer".to_owned())
        } else {
            self.decoder
                .decode(record)
                .map_err(|poison: Poison| format!("not decoded: {poison}"))
        };
        let remembered = || {
            let mut entries = self.trail.ledger.values();
            entries.find(|entry| entry.origin == record.origin())
        };
        let id = match &decoded {
            Ok(decoded) => Some(decoded.message.id()),
            Err(_) => remembered().map(|entry| entry.id.clone()),
        };
        let concerns = match &decoded {
            Ok(decoded) => self.trail.concerns(&decoded.message, &self.known),
            Err(_) => {
                id.is_some() || record.key.as_deref() == Some(self.trail.id().as_str().as_bytes())
            }
        };
        if !concerns {
            return None;
        }
        let home = record.lane.topic == self.trail.topics.session_command;
        let claim = claimed_forward(record).filter(|_| home);
        let text = |name: &str| {
            let value = record.header(name)?;
            std::str::from_utf8(value).ok().map(str::to_owned)
        };
        let correlation_id = Passthrough::of(record)
            .correlation_id
            .and_then(|value| String::from_utf8(value).ok());
        Some(Input {
            record: record.origin(),
            at: record.timestamp.map(Timestamp),
            fingerprint: decoded.as_ref().ok().map(|decoded| decoded.fingerprint),
            message: decoded.map(|decoded| decoded.message),
            id,
            claim: claim.map(|(origin, hops)| Claim {
                origin,
                hops,
                holds: None,
            }),
            correlation_id,
            replays: text(REPLAY_COUNT)
                .and_then(|count| count.parse().ok())
                .unwrap_or(0),
            repeats: Vec::new(),
        })
    }

    /// Results of joins by the session's code that were refused before the session was found.
    async fn late_results(&mut self) -> Result<(), SetupError> {
        let answered: BTreeSet<MessageId> = self
            .trail
            .results
            .iter()
            .map(|result| result_id(&result.value))
            .collect();
        let inputs = self.trail.inputs.iter();
        let open: BTreeSet<MessageId> = inputs
            .filter_map(|input| input.id.clone())
            .filter(|id| !answered.contains(id))
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        let ids: Vec<MessageId> = open.iter().cloned().collect();
        match self.sources.store.remembered(&ids).await {
            Ok(remembered) => {
                self.lacks_entries(&remembered.unreadable);
                let entries = remembered.found.into_iter();
                let entries = entries.map(|entry| (entry.id.clone(), entry));
                self.trail.ledger.extend(entries);
            }
            Err(error) => {
                let failure = crate::cli::store_failure(error).text();
                self.trail.lacks("ledger", failure);
            }
        }
        let topic = Arc::clone(&self.trail.topics.session_command_result);
        let mut spans = kafka::spans(self.sources.kafka, &topic, Some(self.since)).await?;
        let count = i32::try_from(spans.len()).unwrap_or(i32::MAX);
        let partitions: BTreeSet<i32> = open
            .iter()
            .map(|id| partition_of(id.as_str().as_bytes(), count))
            .collect();
        spans.retain(|partition, _| partitions.contains(partition));
        let keys: BTreeSet<Vec<u8>> = open
            .iter()
            .map(|id| id.as_str().as_bytes().to_vec())
            .collect();
        let wanted = |record: &Record| record.key.as_ref().is_some_and(|key| keys.contains(key));
        self.results(&topic, &spans, wanted).await
    }

    async fn letters(&mut self, topic: &Arc<str>) -> Result<(), SetupError> {
        let spans = kafka::spans(self.sources.kafka, topic, Some(self.since)).await?;
        let inputs: BTreeSet<Origin> = self
            .trail
            .inputs
            .iter()
            .map(|input| input.record.clone())
            .collect();
        let mut scan = self.scan(topic, &spans)?;
        while let Some(batch) = scan.next().await {
            let batch = batch?;
            self.sources.progress.advance(batch.len());
            for letter in batch.into_iter().filter_map(Letter::read) {
                let of_key = letter.key.as_deref() == Some(self.trail.id().as_str().as_bytes());
                if !of_key && !inputs.contains(&letter.origin) {
                    continue;
                }
                if self.trail.letters.len() >= KEPT {
                    self.capped.insert("deadLetters");
                    continue;
                }
                self.trail.letters.push(Died {
                    record: letter.place,
                    at: letter.timestamp.map(Timestamp),
                    reason: letter.reason,
                    message: letter.message,
                    origin: letter.origin,
                });
            }
        }
        Ok(())
    }

    /// Which copies a lane really sent.
    async fn evidence(&mut self) {
        let claims = self.trail.inputs.iter().filter_map(|input| {
            let claim = input.claim.as_ref()?;
            Some((claim.origin.clone(), input.record.lane.partition))
        });
        let claims: Vec<(Origin, i32)> = claims.collect();
        match self.sources.store.sent_home(&claims).await {
            Ok(forwards) => {
                for input in &mut self.trail.inputs {
                    let Some(claim) = &mut input.claim else {
                        continue;
                    };
                    let holds = forwards.found.iter().any(|forward| {
                        forward.origin == claim.origin
                            && forward.home == input.record.lane.partition
                            && input.fingerprint.is_none_or(|f| f == forward.fingerprint)
                    });
                    claim.holds = Some(holds);
                }
            }
            Err(error) => {
                let failure = crate::cli::store_failure(error).text();
                self.trail.lacks("forwards", failure);
            }
        }
    }

    fn scan(&mut self, topic: &str, spans: &Spans) -> Result<Scan, SetupError> {
        let scan = Scan::start(self.sources.kafka, topic, spans)?;
        self.sources.progress.begin(topic, Some(scan.length()));
        Ok(scan)
    }

    fn unread(&mut self, source: &'static str, record: &Record, reason: &str) {
        let place = crate::cli::output::place(&record.origin());
        self.trail
            .lacks(source, format!("{place} is not read: {reason}"));
    }
}

fn found<T>(value: T, record: &Record) -> Found<T> {
    Found {
        value,
        record: record.origin(),
        at: record.timestamp.map(Timestamp),
        repeats: Vec::new(),
    }
}

/// Events that the state says there were and that were not read, where Kafka was.
pub(super) fn gaps(trail: &mut Trail) {
    if trail
        .missing
        .iter()
        .any(|missing| missing.source == "kafka")
    {
        return;
    }
    let sequence = trail.stored.session.sequence;
    let mut stretches: Vec<(i64, i64)> = Vec::new();
    let mut next = 1;
    for found in trail.events.keys().copied().chain([sequence + 1]) {
        if found > next {
            stretches.push((next, found - 1));
        }
        next = next.max(found + 1);
    }
    for (from, to) in stretches {
        let which = if from == to {
            format!("event {from}")
        } else {
            format!("events {from} to {to}")
        };
        let why = "deleted by retention, or not published yet (see `session-worker lanes show`)";
        let topic = &trail.topics.session_event;
        let detail = format!("{which} of {sequence} not found in {topic}: {why}");
        trail.missing.push(Missing {
            source: "events",
            detail,
        });
    }
}
