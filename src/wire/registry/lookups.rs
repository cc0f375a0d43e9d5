//! The look-ups of writer schemas under one subject, one at a time for the whole process: callers that
//! wait share what a round finds. A round asks the URLs in order until one has the schema that its
//! caller wants. After a round without success there is a pause, which grows.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use super::fault::{self, Fault, FaultKind};
use super::node::Node;
use super::{Confirmation, Nodes, references};
use crate::telemetry::names;
use crate::wire::LookupError;

/// How many versions of a subject are fetched at once.
const CONCURRENT: usize = 8;
/// The first pause after a round that failed; each further one is twice as long.
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(500);
/// The longest pause after a round that failed.
const LONGEST_AFTER_FAULT: Duration = Duration::from_secs(5);
/// The longest pause after a round in which something was missing.
const LONGEST_AFTER_MISS: Duration = Duration::from_secs(2);
/// How long a confirmed miss is remembered. Meanwhile one more round confirms it again.
const CONFIRMED_KEPT: Duration = Duration::from_secs(60);
/// How many confirmed misses are kept before old ones are removed.
const CONFIRMED_PRUNED: usize = 16 * 1024;
/// How many rounds are remembered. A confirmation needs fewer.
const ROUNDS_KEPT: usize = 64;

/// Everything about one subject.
pub(super) struct Lookups {
    subject: String,
    known: Mutex<Known>,
    rounds: tokio::sync::Mutex<Rounds>,
}

#[derive(Default)]
struct Known {
    texts: HashMap<u32, Arc<str>>,
    /// Texts that callers could not use, to be fetched again in every round.
    rejected: HashMap<u32, Arc<str>>,
    /// The id of our own schema, once this process has registered it or looked it up. A URL that does
    /// not list it is out of date.
    own: Option<u32>,
}

struct Rounds {
    /// What each URL has.
    nodes: Vec<Versions>,
    /// When the latest rounds in a row began in which every URL answered and a schema was missing.
    missed: VecDeque<Instant>,
    /// The last round, if it failed: when it began, and why.
    failed: Option<(Instant, String)>,
    /// How many rounds in a row had no success.
    unsuccessful: u32,
    /// When the next round may begin.
    due: Instant,
    /// Confirmed misses and when: the id, and whether a text of it was rejected.
    confirmed: HashMap<(u32, bool), Instant>,
}

/// What a caller wants: the text of a schema, other than `rejected`.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    id: u32,
    rejected: Option<&'a Arc<str>>,
}

impl Wanted<'_> {
    fn is(self, text: &Arc<str>) -> bool {
        self.rejected.is_none_or(|rejected| rejected != text)
    }

    fn key(self) -> (u32, bool) {
        (self.id, self.rejected.is_some())
    }
}

impl Lookups {
    pub(super) fn new(subject: &str, nodes: usize) -> Self {
        Self {
            subject: subject.to_owned(),
            known: Mutex::default(),
            rounds: tokio::sync::Mutex::new(Rounds {
                nodes: (0..nodes).map(|_| Versions::default()).collect(),
                missed: VecDeque::new(),
                failed: None,
                unsuccessful: 0,
                due: Instant::now(),
                confirmed: HashMap::new(),
            }),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers `id` as the one of our own schema.
    pub(super) fn own(&self, id: u32) {
        self.known().own = Some(id);
    }

    /// Has schema `id` fetched again in every round, as long as the returned guard lives.
    pub(super) fn reject(&self, id: u32, text: &Arc<str>) -> Recheck<'_> {
        let mut known = self.known();
        known.rejected.insert(id, Arc::clone(text));
        if known.texts.get(&id) == Some(text) {
            known.texts.remove(&id);
        }
        Recheck { lookups: self, id }
    }

    fn text(&self, wanted: Wanted<'_>) -> Option<Arc<str>> {
        let known = self.known();
        let text = known.texts.get(&wanted.id)?;
        wanted.is(text).then(|| Arc::clone(text))
    }

    /// The text of schema `id`, other than `rejected`. Once a miss is confirmed: `rejected` if a URL
    /// serves it, else [`LookupError::NotFound`].
    pub(super) async fn find(
        &self,
        nodes: &Nodes,
        id: u32,
        rejected: Option<&Arc<str>>,
        confirmation: Confirmation,
    ) -> Result<Arc<str>, LookupError> {
        let wanted = Wanted { id, rejected };
        let asked = Instant::now();
        loop {
            if let Some(text) = self.text(wanted) {
                return Ok(text);
            }
            let mut rounds = self.rounds.lock().await;
            if let Some(text) = self.text(wanted) {
                return Ok(text);
            }
            // A round that began after this call answers it, too, also by failing. An older round does
            // not, because the schema may be newer. After a fault, the pause has to be over.
            if let Some((began, reason)) = &rounds.failed
                && (*began >= asked || Instant::now() < rounds.due)
            {
                return Err(LookupError::Unavailable {
                    reason: reason.clone(),
                });
            }
            if rounds.is_final(wanted, asked, confirmation) {
                return rounds.confirm(wanted);
            }
            tokio::time::sleep_until(rounds.due).await;
            self.round(&mut rounds, nodes, wanted, confirmation).await;
        }
    }

    /// Asks the URLs in order until one has what the caller wants.
    async fn round(
        &self,
        rounds: &mut Rounds,
        nodes: &Nodes,
        wanted: Wanted<'_>,
        confirmation: Confirmation,
    ) {
        let began = Instant::now();
        let mut faults = Vec::new();
        let mut found = false;
        for (node, versions) in nodes.0.iter().zip(&mut rounds.nodes) {
            let rejected = self.known().rejected.clone();
            let outcome = versions.update(node, &self.subject, &rejected).await;
            let mut known = self.known();
            for (id, text) in versions.listed() {
                // A rejected text never replaces another one.
                if known.rejected.get(&id) != Some(text) || !known.texts.contains_key(&id) {
                    known.texts.insert(id, Arc::clone(text));
                }
            }
            found = versions.texts(wanted.id).any(|text| wanted.is(text));
            if found {
                break;
            }
            match (outcome, known.own) {
                (Err(fault), _) => faults.push(fault),
                (Ok(()), Some(own)) if versions.texts(own).next().is_none() => {
                    faults.push(out_of_date(node, &self.subject, own));
                }
                (Ok(()), _) => {}
            }
        }
        if found && !faults.is_empty() {
            let reason = fault::reason(&faults);
            tracing::warn!(reason, "a URL of the registry fails; another one answers");
        }
        let answered = found || faults.is_empty();
        let answer = if answered { "answered" } else { "failed" };
        metrics::counter!(names::REGISTRY_LOOKUPS, "outcome" => answer).increment(1);
        rounds.ended(began, found, &faults, confirmation);
    }
}

fn out_of_date(node: &Node, subject: &str, own: u32) -> Fault {
    let detail = format!("it does not list our own schema {own} under {subject}");
    node.fault(FaultKind::OutOfDate, detail)
}

/// While it lives, a rejected text is fetched again in every round.
pub(super) struct Recheck<'a> {
    lookups: &'a Lookups,
    id: u32,
}

impl Drop for Recheck<'_> {
    fn drop(&mut self) {
        self.lookups.known().rejected.remove(&self.id);
    }
}

impl Rounds {
    fn ended(&mut self, began: Instant, found: bool, faults: &[Fault], confirmation: Confirmation) {
        self.failed = None;
        if found {
            self.unsuccessful = 0;
            self.due = Instant::now();
            return;
        }
        let growth = 2_u32.saturating_pow(self.unsuccessful);
        self.unsuccessful += 1;
        let pause = if faults.is_empty() {
            self.missed.push_back(began);
            if self.missed.len() > ROUNDS_KEPT {
                self.missed.pop_front();
            }
            confirmation
                .pause
                .saturating_mul(growth)
                .min(LONGEST_AFTER_MISS)
        } else {
            self.missed.clear();
            self.failed = Some((began, fault::reason(faults)));
            PAUSE_AFTER_FAULT
                .saturating_mul(growth)
                .min(LONGEST_AFTER_FAULT)
        };
        self.due = Instant::now() + pause;
    }

    /// Whether the rounds that began since `asked` confirm a miss.
    fn is_final(&self, wanted: Wanted<'_>, asked: Instant, confirmation: Confirmation) -> bool {
        let mut since = self.missed.iter().filter(|began| **began >= asked);
        let Some(first) = since.next() else {
            return false;
        };
        let last = since.clone().next_back().unwrap_or(first);
        let lasted = last.duration_since(*first) >= confirmation.over;
        let confirmed = self.confirmed.get(&wanted.key());
        (1 + since.count() >= confirmation.rounds && lasted)
            || confirmed.is_some_and(|at| at.elapsed() < CONFIRMED_KEPT)
    }

    /// Remembers a confirmed miss and returns what it means.
    fn confirm(&mut self, wanted: Wanted<'_>) -> Result<Arc<str>, LookupError> {
        self.confirmed.insert(wanted.key(), Instant::now());
        if self.confirmed.len() > CONFIRMED_PRUNED {
            self.confirmed.retain(|_, at| at.elapsed() < CONFIRMED_KEPT);
        }
        if self.confirmed.len() > CONFIRMED_PRUNED {
            self.confirmed.clear();
        }
        let served = |rejected: &&Arc<str>| {
            let mut texts = self.nodes.iter().flat_map(|node| node.texts(wanted.id));
            texts.any(|text| text == *rejected)
        };
        match wanted.rejected.filter(served) {
            Some(text) => Ok(Arc::clone(text)),
            None => Err(LookupError::NotFound),
        }
    }
}

/// What one URL has under the subject.
#[derive(Default)]
struct Versions {
    listed: Vec<u32>,
    fetched: BTreeMap<u32, (u32, Arc<str>)>,
}

impl Versions {
    fn listed(&self) -> impl Iterator<Item = (u32, &Arc<str>)> {
        let fetched = self.listed.iter().filter_map(|v| self.fetched.get(v));
        fetched.map(|(id, text)| (*id, text))
    }

    fn texts(&self, wanted: u32) -> impl Iterator<Item = &Arc<str>> {
        self.listed()
            .filter(move |(id, _)| *id == wanted)
            .map(|(_, text)| text)
    }

    /// Lists the versions and fetches those that are new, rejected, or the first or last of the list:
    /// after a permanent deletion, a registry uses version numbers again.
    async fn update(
        &mut self,
        node: &Node,
        subject: &str,
        rejected: &HashMap<u32, Arc<str>>,
    ) -> Result<(), Fault> {
        self.listed.clear();
        self.listed = node.versions(subject, true).await?;
        let ends = [self.listed.iter().min(), self.listed.iter().max()];
        let outdated = |version: &u32| match self.fetched.get(version) {
            None => true,
            Some((id, text)) => {
                ends.contains(&Some(version))
                    || rejected.get(id).is_some_and(|rejected| rejected == text)
            }
        };
        let wanted: Vec<u32> = self.listed.iter().copied().filter(outdated).collect();
        let known = self.fetched.clone();
        let mut outcome = self.fetch(node, subject, wanted).await;
        let replaced = |(version, (id, _)): (&u32, &(u32, Arc<str>))| {
            self.fetched.get(version).is_some_and(|(now, _)| now != id)
        };
        if known.iter().any(replaced) {
            let again = self.listed.clone();
            outcome = outcome.and(self.fetch(node, subject, again).await);
        }
        outcome
    }

    /// Fetches `versions`. One that fails does not hide the others.
    async fn fetch(&mut self, node: &Node, subject: &str, versions: Vec<u32>) -> Result<(), Fault> {
        let fetched: Vec<_> = stream::iter(versions)
            .map(|version| async move { (version, fetch(node, subject, version).await) })
            .buffer_unordered(CONCURRENT)
            .collect()
            .await;
        let mut outcome = Ok(());
        for (version, schema) in fetched {
            match schema {
                Ok(Some(schema)) => {
                    self.fetched.insert(version, schema);
                }
                // It was deleted permanently after it was listed.
                Ok(None) => {
                    self.fetched.remove(&version);
                }
                Err(fault) => {
                    self.fetched.remove(&version);
                    outcome = Err(fault);
                }
            }
        }
        outcome
    }
}

/// A version's id and its text, with references inlined.
pub(super) async fn fetch(
    node: &Node,
    subject: &str,
    version: u32,
) -> Result<Option<(u32, Arc<str>)>, Fault> {
    let Some(schema) = node.version(subject, version).await? else {
        return Ok(None);
    };
    let (Some(id), Some(text)) = (schema.id, schema.schema) else {
        let detail = format!("version {version} of {subject} has no id or no schema");
        return Err(node.fault(FaultKind::OtherApi, detail));
    };
    let references = schema.references.unwrap_or_default();
    let text = references::inline(node, text, &references).await?;
    Ok(Some((id, text.into())))
}
