//! `cargo demo`: a hundred simulated learners on real parts for about a minute, one of two workers
//! killed half-way, and at the end what came of it. It knows the contract, not the worker's code; it
//! fails when an answer or an event is missing, doubled or out of order, or `audit` finds anything.

mod learners;
mod ledger;
mod lines;
mod stage;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::gateway::{self, Topics};
use crate::worker::{self, Running, Worker};
use crate::{Options, Progress, Services};
use ledger::Summary;
pub(crate) use ledger::percentiles;
pub(crate) use lines::say;
use stage::Stage;

/// How long learners begin new rounds.
const CROWD_FOR: Duration = Duration::from_secs(32);
/// When worker 1 is killed, after the learners began.
const KILL_AFTER: Duration = Duration::from_secs(15);
/// How long the last sessions may take to end: their time-out, a take-over, and a slow machine.
const WIND_DOWN: Duration = Duration::from_secs(60);
const PROGRESS: Duration = Duration::from_secs(2);
/// Rules short enough that every deadline fires within the minute.
const RULES: [(&str, &str); 6] = [
    ("RULES__SESSION_TIMEOUT", "12s"),
    ("RULES__WAITING_TIMEOUT", "15s"),
    ("RULES__EXPIRY_WARNINGS", "6s,3s"),
    ("RULES__DISCONNECT_GRACE", "3s"),
    // The shortest that a broker takes by default: how soon a killed worker's lanes move.
    ("KAFKA__PROPERTIES__SESSION_TIMEOUT_MS", "6000"),
    ("KAFKA__PROPERTIES__HEARTBEAT_INTERVAL_MS", "1500"),
];
const GROUP: &str = "session-worker";

/// Runs the demo; `false` when a check failed. With `keep` it stays until Ctrl-C.
pub async fn run(keep: bool) -> anyhow::Result<bool> {
    let is_played = AtomicBool::new(false);
    tokio::select! {
        outcome = show(keep, &is_played) => outcome,
        // Once it stays up, Ctrl-C is its ordinary end and the verdict stands.
        ended = async {
            loop {
                interrupted().await?;
                if !is_played.load(Ordering::Relaxed) {
                    return anyhow::Ok(());
                }
            }
        } => {
            ended?;
            anyhow::bail!("interrupted")
        }
    }
}

async fn show(keep: bool, is_played: &AtomicBool) -> anyhow::Result<bool> {
    let folder = std::env::temp_dir().join(format!("session-worker-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let outcome = play(keep, &folder, is_played).await;
    say(&format!("the workers' logs are in {}", folder.display()));
    outcome
}

async fn play(keep: bool, folder: &Path, is_played: &AtomicBool) -> anyhow::Result<bool> {
    say("building the worker…");
    let binary = worker::build().await?;
    let began = Instant::now();
    say("starting Kafka, MongoDB and a schema registry…");
    let services = Services::start(Options {
        progress: Progress::Full,
        ..Options::default()
    });
    let services = services.await?;
    for found in services.found() {
        say(&format!(
            "  {:<10} {}  ({})",
            found.name, found.address, found.origin
        ));
    }
    // Services that somebody else runs may hold the contract's topics already.
    let is_shared = services.found().iter().any(|found| found.pid.is_none());
    let run = format!("demo-{:x}-", gateway::now_millis());
    let topics = Topics::with_prefix(if is_shared { &run } else { "" });
    let mut worker = Worker::new(binary, folder, &services);
    let mut group = GROUP.to_owned();
    if is_shared {
        group = format!("{run}group");
        worker = worker
            .with("KAFKA__GROUP_ID", &group)
            .with("MONGO__DATABASE", &format!("{run}db"));
        for (key, name) in topics.settings() {
            worker = worker.with(&key, &name);
        }
    }
    for (key, value) in RULES {
        worker = worker.with(key, value);
    }
    say("session-worker topics apply");
    worker.must(&["topics", "apply"]).await?;
    say("session-worker schemas register");
    worker.must(&["schemas", "register"]).await?;
    let stage = Stage::new(&services, topics).await?;
    let mut first = Some(worker.start("worker-1")?);
    let second = worker.start("worker-2")?;
    say(&format!(
        "two workers run; ready after {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    say("a hundred learners begin");
    let crowd = learners::crowd(&stage, Instant::now() + CROWD_FOR);
    let mut crowd = std::pin::pin!(crowd);
    let crowd_began = Instant::now();
    let mut ticks = tokio::time::interval(PROGRESS);
    let mut third = None;
    let mut crowd_left = None;
    loop {
        tokio::select! {
            () = &mut crowd, if crowd_left.is_none() => {
                say("the learners are done; deadlines end what they left open");
                crowd_left = Some(Instant::now());
            }
            _ = ticks.tick() => {
                say(&stage.ledger().progress(crowd_began.elapsed()));
                for noted in stage.ledger().take_notes() {
                    say(&format!("  * {noted}"));
                }
                if second.exit_code().is_some() {
                    anyhow::bail!("{} ended by itself; see {}", second.name(), second.log().display());
                }
            }
        }
        if let Some(victim) = first.take_if(|_| crowd_began.elapsed() >= KILL_AFTER) {
            kill(&stage, &group, &victim, &services).await;
            third = Some(worker.clone());
        }
        if let Some(left) = crowd_left {
            let is_over = first.is_none() && stage.ledger().is_over();
            if is_over || left.elapsed() > WIND_DOWN {
                break;
            }
        }
    }
    let took = crowd_began.elapsed();
    if stage.ledger().is_over() {
        // What was published late, or twice, must still be seen.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for noted in stage.ledger().take_notes() {
        say(&format!("  * {noted}"));
    }
    let summary: Summary = stage.ledger().summary(took);
    summary.print();
    let audit = worker.command(&["audit"]).await?;
    say("\nsession-worker audit:");
    for line in audit.text.lines() {
        say(&format!("  {line}"));
    }
    let is_sound = summary.is_sound() && audit.code == Some(0);
    say(&format!(
        "\nverdict: {} ({:.0} s since the services were started)",
        if is_sound {
            "all checks hold"
        } else {
            "A CHECK FAILED"
        },
        began.elapsed().as_secs_f64()
    ));
    if keep {
        let again = third
            .map(|worker| worker.start("worker-1-again"))
            .transpose()?;
        lines::kept(&worker, &services, &stage);
        is_played.store(true, Ordering::Relaxed);
        interrupted().await?;
        say("everything ends");
        drop(again);
    }
    say("draining the worker…");
    let code = second.drain().await;
    if code != 0 {
        say(&format!("{} ended with code {code}", second.name()));
    }
    services.stop().await;
    Ok(is_sound && code == 0)
}

/// Kills a worker as a crash would, and lets the ledger look for the take-over.
async fn kill(stage: &Arc<Stage>, group: &str, victim: &Running, services: &Services) {
    let brokers = services.kafka().to_owned();
    let (group, client) = (group.to_owned(), victim.name().to_owned());
    let topic = stage.topic("session-command");
    let asked = tokio::task::spawn_blocking(move || {
        gateway::partitions_of(&brokers, &group, &client, &topic)
    });
    let partitions = match asked.await {
        Ok(Ok(partitions)) => partitions,
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    let pid = victim.pid().unwrap_or_default();
    victim.kill().await;
    say(&format!(
        "  * kill -9 of {} (pid {pid}), which had partitions {partitions:?} of session-command",
        victim.name()
    ));
    stage.ledger().killed(partitions);
}

/// Waits for SIGINT or SIGTERM.
async fn interrupted() -> anyhow::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt()).context("listen to SIGINT")?;
    let mut terminations = signal(SignalKind::terminate()).context("listen to SIGTERM")?;
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
    }
    Ok(())
}
