//! The measurements themselves: each result is counted once, by its key, and timed by this process's
//! monotonic clock; memory is what the kernel says of the worker.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rdkafka::Message as _;
use rdkafka::consumer::StreamConsumer;
use serde_json::{Value as Json, json};

use super::backlog::Backlog;
use crate::demo::say;
use crate::gateway::{self, Codec, Topics};
use crate::percentiles::Percentiles;
use crate::worker::Running;

/// Without any result for so long, a measurement is given up.
const SILENCE: Duration = Duration::from_secs(90);
const SAMPLE: Duration = Duration::from_millis(250);

/// How a backlog was drained.
pub(super) struct Drain {
    commands: usize,
    /// From the worker's start to its first result: joining the group is in it.
    start_up: Duration,
    /// From the worker's start to the last result.
    whole: Duration,
    /// From the first decision (its `decidedAt`) to the last result seen; the first results come
    /// with a whole batch, so that counting from them would flatter the batches.
    took: Duration,
    memory: Memory,
    /// Results by code.
    codes: BTreeMap<String, u64>,
}

/// The worker's resident memory in kilobytes.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    start: u64,
    /// At a quarter, at three quarters and at the end of the backlog.
    quarter: u64,
    three_quarters: u64,
    end: u64,
    peak: u64,
}

impl Drain {
    #[expect(clippy::cast_precision_loss, reason = "a backlog is small beside 2^52")]
    pub(super) fn rate(&self) -> f64 {
        self.commands as f64 / self.took.as_secs_f64()
    }

    pub(super) fn json(&self) -> Json {
        json!({
            "commands": self.commands,
            "seconds": self.took.as_secs_f64(),
            "secondsToFirstResult": self.start_up.as_secs_f64(),
            "secondsWithStartUp": self.whole.as_secs_f64(),
            "commandsPerSecond": self.rate(),
            "results": self.codes,
            "residentKilobytes": {
                "start": self.memory.start,
                "quarter": self.memory.quarter,
                "threeQuarters": self.memory.three_quarters,
                "end": self.memory.end,
                "peak": self.memory.peak,
            },
        })
    }

    pub(super) fn print(&self, title: &str) {
        let Memory {
            start,
            quarter,
            three_quarters,
            end,
            peak,
        } = self.memory;
        let mb = |kilobytes: u64| kilobytes / 1024;
        say(&format!(
            "{title}: {} commands in {:.1} s, {:.0} commands/s (first result {:.1} s after the worker's start; {:.1} s with that)",
            self.commands,
            self.took.as_secs_f64(),
            self.rate(),
            self.start_up.as_secs_f64(),
            self.whole.as_secs_f64(),
        ));
        let codes = self
            .codes
            .iter()
            .map(|(code, count)| format!("{code} {count}"));
        say(&format!(
            "  results: {}",
            codes.collect::<Vec<_>>().join(", ")
        ));
        say(&format!(
            "  resident memory: {} MB at the first result, {} MB at 1/4, {} MB at 3/4, {} MB at the end, peak {} MB",
            mb(start),
            mb(quarter),
            mb(three_quarters),
            mb(end),
            mb(peak)
        ));
    }
}

/// Waits for a result of every command.
pub(super) async fn drain(
    brokers: &str,
    codec: &Codec,
    topics: &Topics,
    commands: usize,
    running: &Running,
) -> anyhow::Result<Drain> {
    let began = Instant::now();
    let results = results(brokers, topics).await?;
    let mut seen = HashMap::with_capacity(commands);
    let mut first: Option<Instant> = None;
    let mut last = began;
    let mut memory = Memory::default();
    while seen.len() < commands {
        let Some((id, value)) = next(&results, running).await? else {
            continue;
        };
        last = Instant::now();
        first.get_or_insert(last);
        if seen.insert(id, value).is_some() {
            continue;
        }
        if seen.len() == 1 {
            memory.start = resident(running, "VmRSS").unwrap_or_default();
        } else if seen.len() == commands / 4 {
            memory.quarter = resident(running, "VmRSS").unwrap_or_default();
        } else if seen.len() == commands / 4 * 3 {
            memory.three_quarters = resident(running, "VmRSS").unwrap_or_default();
        }
    }
    memory.end = resident(running, "VmRSS").unwrap_or_default();
    memory.peak = resident(running, "VmHWM").unwrap_or_default();
    let ended = gateway::now_millis() - millis(last.elapsed());
    let first = first.unwrap_or(began);
    // Decoded only now, so that it takes nothing from the worker's time.
    let mut codes: BTreeMap<String, u64> = BTreeMap::new();
    let mut decided = ended;
    for value in seen.values() {
        let result = codec.result(value)?;
        let code = result["code"].as_str().unwrap_or("accepted").to_owned();
        *codes.entry(code).or_default() += 1;
        decided = decided.min(result["decidedAt"].as_i64().unwrap_or(ended));
    }
    let took = u64::try_from(ended - decided).unwrap_or_default().max(1);
    Ok(Drain {
        codes,
        commands,
        start_up: first - began,
        whole: last - began,
        took: Duration::from_millis(took),
        memory,
    })
}

/// How long commands waited for their results.
pub(super) struct Latency {
    rate: u32,
    commands: usize,
    millis: Percentiles,
}

impl Latency {
    pub(super) fn json(&self) -> Json {
        json!({
            "commandsPerSecond": self.rate,
            "commands": self.commands,
            "p50Millis": self.millis.p50,
            "p90Millis": self.millis.p90,
            "p99Millis": self.millis.p99,
            "maxMillis": self.millis.worst,
        })
    }

    pub(super) fn print(&self) {
        say(&format!(
            "command to result at {}/s ({} commands): p50 {} ms, p90 {} ms, p99 {} ms, worst {} ms",
            self.rate,
            self.commands,
            self.millis.p50,
            self.millis.p90,
            self.millis.p99,
            self.millis.worst
        ));
    }
}

/// Sends at a steady rate and times each command from when it was due, so that a sender who is held
/// up does not hide a wait.
pub(super) async fn latency(
    brokers: &str,
    topics: &Topics,
    backlog: &Backlog,
    rate: u32,
    running: &Running,
) -> anyhow::Result<Latency> {
    let results = results(brokers, topics).await?;
    let producer = gateway::producer(brokers)?;
    let topic = topics.name("session-command");
    warm_up(&producer, &topic, &results, running).await?;

    let began = Instant::now();
    let send = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        for planned in backlog.commands() {
            ticks.tick().await;
            let value = planned.value()?;
            let record = rdkafka::producer::FutureRecord::to(&topic)
                .key(&planned.key)
                .payload(&value);
            if let Err((error, _)) = producer.send_result(record) {
                bail!("write to {topic}: {error}");
            }
        }
        anyhow::Ok(())
    };
    let wanted: BTreeMap<&str, u32> = backlog
        .commands()
        .iter()
        .map(|p| p.id.as_str())
        .zip(0..)
        .collect();
    let receive = async {
        let mut waited: HashMap<String, u64> = HashMap::with_capacity(wanted.len());
        while waited.len() < wanted.len() {
            let Some((id, _)) = next(&results, running).await? else {
                continue;
            };
            let Some(place) = wanted.get(id.as_str()) else {
                continue;
            };
            let due = began + Duration::from_secs(1) / rate * *place;
            let wait = u64::try_from(due.elapsed().as_millis()).unwrap_or(u64::MAX);
            waited.entry(id).or_insert(wait);
        }
        anyhow::Ok(waited.into_values().collect::<Vec<_>>())
    };
    let ((), waited) = tokio::try_join!(send, receive)?;
    Ok(Latency {
        rate,
        commands: waited.len(),
        millis: Percentiles::of(waited),
    })
}

/// Waits until every lane answers, so that joining the group is not in the numbers.
async fn warm_up(
    producer: &rdkafka::producer::FutureProducer,
    topic: &str,
    results: &StreamConsumer,
    running: &Running,
) -> anyhow::Result<()> {
    let commands = Backlog::of(9 * 50, "warm-up");
    for planned in commands.commands() {
        gateway::produce(producer, topic, &planned.key, &planned.value()?).await?;
    }
    let mut missing: HashSet<&str> = commands.commands().iter().map(|p| p.id.as_str()).collect();
    while !missing.is_empty() {
        if let Some((id, _)) = next(results, running).await? {
            missing.remove(id.as_str());
        }
    }
    Ok(())
}

async fn results(brokers: &str, topics: &Topics) -> anyhow::Result<StreamConsumer> {
    let names = [topics.name("session-command-result")];
    let brokers = brokers.to_owned();
    tokio::task::spawn_blocking(move || gateway::reader(&brokers, &names)).await?
}

/// The next result: its commandId, which is the record's key, and its value.
async fn next(
    results: &StreamConsumer,
    running: &Running,
) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    let began = Instant::now();
    loop {
        ensure!(
            running.exit_code().is_none(),
            "the worker ended by itself; see {}",
            running.log().display()
        );
        ensure!(
            began.elapsed() < SILENCE,
            "no result within {} s; see {}",
            SILENCE.as_secs(),
            running.log().display()
        );
        match tokio::time::timeout(SAMPLE, results.recv()).await {
            // The client tries again by itself.
            Err(_) | Ok(Err(_)) => {}
            Ok(Ok(record)) => {
                let value = record.payload().unwrap_or_default().to_vec();
                let key = record.key();
                return Ok(key.map(|key| (String::from_utf8_lossy(key).into_owned(), value)));
            }
        }
    }
}

/// A line of the kernel's account of the worker's memory, in kilobytes.
fn resident(running: &Running, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid()?)).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
