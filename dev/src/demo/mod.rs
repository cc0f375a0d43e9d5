//! `cargo demo`: a hundred simulated learners on real parts for about a minute, one of two workers
//! killed half-way, and at the end what came of it. It knows the contract, not the worker's code; it
//! fails when an answer or an event is missing, doubled or out of order, a learner's history is not
//! what the events told, a session's timeline cannot be shown, or `audit` finds anything.

mod board;
mod group;
mod history;
mod house;
mod learners;
mod ledger;
mod lines;
mod picture;
mod play;
mod pulse;
#[cfg(test)]
mod samples;
mod scene;
mod screen;
mod stage;
mod summary;
mod view;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use house::House;
pub(crate) use lines::say;
use play::{Played, Showing};
use scene::Scene;
use screen::Wish;

/// How long a printed token is valid.
const TOKEN_FOR: Duration = Duration::from_secs(12 * 60 * 60);

/// What the demo is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Stay up afterwards, and print lines to try by hand.
    pub keep: bool,
    /// Print plain lines even on a terminal.
    pub plain: bool,
    /// Write the live view's key frames to this file.
    pub picture: Option<PathBuf>,
}

/// Runs the demo; `false` when a check failed. With `keep` it stays until Ctrl-C.
pub async fn run(wishes: Wishes) -> anyhow::Result<bool> {
    let is_played = AtomicBool::new(false);
    let (viewer, mut viewers) = watch::channel(None);
    tokio::select! {
        outcome = show(&wishes, &viewer, &is_played) => outcome,
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
            bail!("interrupted")
        }
        wish = viewers.wait_for(Option::is_some) => {
            let wish = wish.ok().and_then(|wish| *wish);
            match wish {
                Some(Wish::Quit) => {
                    say("ended by q before its end: no verdict");
                    Ok(true)
                }
                Some(Wish::Panicked) => bail!("the demo panicked"),
                Some(Wish::Interrupt) | None => bail!("interrupted"),
            }
        }
    }
}

async fn show(
    wishes: &Wishes,
    viewer: &watch::Sender<Option<Wish>>,
    is_played: &AtomicBool,
) -> anyhow::Result<bool> {
    let folder = std::env::temp_dir().join(format!("session-worker-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let house = House::new(&folder).await;
    let outcome = match house {
        Ok(house) => whole(&house, wishes, viewer, is_played)
            .await
            .map(|is_sound| (is_sound, house)),
        Err(error) => Err(error),
    };
    say(&format!("the workers' logs are in {}", folder.display()));
    let (is_sound, house) = outcome?;
    house.services.stop().await;
    Ok(is_sound)
}

/// The play, what came of it, and what stays.
async fn whole(
    house: &House,
    wishes: &Wishes,
    viewer: &watch::Sender<Option<Wish>>,
    is_played: &AtomicBool,
) -> anyhow::Result<bool> {
    let showing = Showing {
        is_live: !wishes.plain && screen::is_wanted(),
        wishes: viewer,
        is_recorded: wishes.picture.is_some(),
    };
    let played = play::play(house, &showing).await?;
    let mut is_sound = verdict(house, &played).await?;
    if let Some(file) = &wishes.picture {
        draw(&played.scenes, file)?;
    }
    say("draining the worker…");
    let code = played.survivor.drain().await;
    if code != 0 {
        say(&format!(
            "{} ended with code {code}",
            played.survivor.name()
        ));
        is_sound = false;
    }
    if wishes.keep {
        say("two workers start again, with the contract's deadlines…");
        let again = [house.unhurried(0)?, house.unhurried(1)?];
        if !(house.ready(0).await && house.ready(1).await) {
            say("they are not ready yet; the lines below may need a moment");
        }
        lines::kept(house, &history::token(&house.secret, "me", TOKEN_FOR)?);
        is_played.store(true, Ordering::Relaxed);
        interrupted().await?;
        say("everything ends");
        drop(again);
    }
    Ok(is_sound)
}

/// Prints what came of it, a session's timeline, a learner's history and the audit.
async fn verdict(house: &House, played: &Played) -> anyhow::Result<bool> {
    let Played { stage, summary, .. } = played;
    summary.print();
    let mut failed = Vec::new();
    if !summary.is_sound() {
        failed.push("what the learners saw");
    }
    let (session, parts) = {
        let ledger = stage.ledger();
        let session = ledger.most_eventful().unwrap_or_default().to_owned();
        (session, ledger.parts())
    };
    if !command(house, &["session", "show", &session]).await? {
        failed.push("session show");
    }
    match history::check(&house.address(1), &house.secret, &parts).await {
        Ok(true) => {}
        Ok(false) => failed.push("the histories"),
        Err(error) => {
            say(&format!("\nFAULT: {error:#}"));
            failed.push("the histories");
        }
    }
    if !command(house, &["audit"]).await? {
        failed.push("audit");
    }
    say(&format!(
        "\nverdict: {} ({:.0} s since the services were started)",
        if failed.is_empty() {
            "all checks hold".to_owned()
        } else {
            format!("A CHECK FAILED: {}", failed.join(", "))
        },
        house.age().as_secs_f64()
    ));
    Ok(failed.is_empty())
}

/// Runs one of the worker's commands and shows what it prints.
async fn command(house: &House, arguments: &[&str]) -> anyhow::Result<bool> {
    let ended = house.worker.command(arguments).await?;
    say(&format!("\nsession-worker {}", arguments.join(" ")));
    for line in ended.text.lines() {
        say(&format!("  {line}"));
    }
    let is_well = ended.code == Some(0);
    if !is_well {
        let code = ended
            .code
            .map_or("a signal".to_owned(), |code| code.to_string());
        say(&format!("FAULT: it ended with {code}"));
    }
    Ok(is_well)
}

fn draw(scenes: &[Scene], file: &Path) -> anyhow::Result<()> {
    let (frames, still) = picture::key_frames(scenes);
    let svg = picture::svg(&frames, still);
    std::fs::write(file, svg).with_context(|| format!("write {}", file.display()))?;
    say(&format!(
        "{} frames of the view are in {}",
        frames.len(),
        file.display()
    ));
    Ok(())
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
