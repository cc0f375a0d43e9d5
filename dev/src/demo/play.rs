//! The play itself: two workers, a hundred learners, a kill half-way, and the wait until every session
//! has ended. Shows it live or in lines; judges nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::sync::watch;

use super::board::{Board, INPUTS, Watch};
use super::group::Group;
use super::house::House;
use super::learners;
use super::lines::say;
use super::scene::Scene;
use super::screen::{Screen, Wish};
use super::stage::Stage;
use super::summary::{Summary, progress};
use crate::worker::Running;

/// How long learners begin new rounds.
const CROWD_FOR: Duration = Duration::from_secs(32);
/// When worker 1 is killed, after the learners began.
const KILL_AFTER: Duration = Duration::from_secs(15);
/// How long the last sessions may take to end: their time-out, a take-over, and a slow machine.
const WIND_DOWN: Duration = Duration::from_secs(60);
/// What was published late, or twice, must still be seen.
const AFTERMATH: Duration = Duration::from_secs(1);
/// Between two lines about how it goes.
const PROGRESS: Duration = Duration::from_secs(2);
/// Between two scenes that may become frames of a picture.
const SCENE: Duration = Duration::from_millis(250);

/// How it is shown.
pub(super) struct Showing<'showing> {
    pub(super) is_live: bool,
    /// Where the viewer's wishes go.
    pub(super) wishes: &'showing watch::Sender<Option<Wish>>,
    /// Whether scenes are kept for a picture.
    pub(super) is_recorded: bool,
}

/// What is left when the curtain falls.
pub(super) struct Played {
    pub(super) stage: Arc<Stage>,
    pub(super) summary: Summary,
    /// The worker that was not killed.
    pub(super) survivor: Running,
    pub(super) scenes: Vec<Scene>,
}

pub(super) async fn play(house: &House, showing: &Showing<'_>) -> anyhow::Result<Played> {
    let stage = Stage::new(&house.services, house.topics.clone(), Instant::now()).await?;
    let group = {
        let (brokers, name) = (house.services.kafka().to_owned(), house.group.clone());
        let topics = INPUTS.map(|topic| stage.topic(topic));
        tokio::task::spawn_blocking(move || Group::new(&brokers, &name, &topics)).await??
    };
    let board = Board::new(stage.began(), &stage, group.lanes());
    let _watch = Watch::start(group, &board)?;
    let mut victim = Some(house.hurried(0)?);
    let survivor = house.hurried(1)?;
    say(&format!(
        "two workers run, {:.1} s after the services were started",
        house.age().as_secs_f64()
    ));
    say("a hundred learners begin");
    let mut voice = Voice::new(showing, &board);

    let players = Arc::clone(&stage);
    let crowd = learners::crowd(&players, Instant::now() + CROWD_FOR);
    let mut crowd = std::pin::pin!(crowd);
    let began = Instant::now();
    let mut ticks = tokio::time::interval(SCENE);
    let mut told = began;
    let mut left = None;
    let mut scenes = Vec::new();
    loop {
        tokio::select! {
            () = &mut crowd, if left.is_none() => {
                voice.tell("the learners are done; deadlines end what they left open");
                left = Some(Instant::now());
                board.crowd_left();
            }
            _ = ticks.tick() => {
                for running in victim.iter().chain([&survivor]) {
                    board.worker(running.name(), running.pid());
                }
                if showing.is_recorded {
                    scenes.push(board.scene());
                }
                if told.elapsed() >= PROGRESS {
                    told = Instant::now();
                    if !voice.is_live() {
                        let scene = board.scene();
                        say(&progress(&scene.figures, scene.lag(), began.elapsed()));
                    }
                    for noted in stage.ledger().take_notes() {
                        voice.tell(&format!("  * {noted}"));
                    }
                }
                if survivor.exit_code().is_some() {
                    bail!("{} ended by itself; see {}", survivor.name(), survivor.log().display());
                }
            }
        }
        if began.elapsed() >= KILL_AFTER
            && victim.is_some()
            && let Some((name, lanes)) = kill(&stage, &board, &mut victim, left.is_some()).await
        {
            voice.tell(&format!("  * kill -9 of {name}, which had {lanes}"));
        }
        if let Some(left) = left {
            let is_over = victim.is_none() && stage.ledger().is_over();
            if is_over || left.elapsed() > WIND_DOWN {
                break;
            }
        }
    }
    let took = began.elapsed();
    board.over();
    tokio::time::sleep(AFTERMATH).await;
    if showing.is_recorded {
        scenes.push(board.scene());
    }
    for noted in stage.ledger().take_notes() {
        voice.tell(&format!("  * {noted}"));
    }
    drop(voice);
    let summary = stage.ledger().summary(took);
    Ok(Played {
        stage,
        summary,
        survivor,
        scenes,
    })
}

/// Kills a worker as a crash would, as soon as it has lanes of commands, and lets the ledger look for
/// the take-over. Returns its name and its lanes.
async fn kill(
    stage: &Stage,
    board: &Board,
    victim: &mut Option<Running>,
    is_late: bool,
) -> Option<(String, String)> {
    let commands = stage.topic("session-command");
    let lanes = victim.as_ref().map(|victim| board.lanes_of(victim.name()));
    let lanes = lanes.unwrap_or_default();
    let own = lanes.iter().filter(|(topic, _)| *topic == commands);
    let partitions: Vec<_> = own.map(|(_, partition)| *partition).collect();
    if partitions.is_empty() && !is_late {
        return None;
    }
    let victim = victim.take()?;
    let name = victim.name().to_owned();
    let pid = victim.pid().unwrap_or_default();
    victim.kill().await;
    board.killed(&name, lanes.len());
    let told = format!("partitions {partitions:?} of session-command");
    stage.ledger().killed(partitions);
    Some((format!("{name} (pid {pid})"), told))
}

/// Says things: at once in lines, or after the view is closed.
struct Voice {
    screen: Option<Screen>,
    kept: Vec<String>,
}

impl Voice {
    fn new(showing: &Showing<'_>, board: &Arc<Board>) -> Self {
        let screen = showing.is_live.then(|| Screen::open(board, showing.wishes));
        let screen = screen.and_then(|opened| match opened {
            Ok(screen) => Some(screen),
            Err(error) => {
                say(&format!("no live view: {error}"));
                None
            }
        });
        Self {
            screen,
            kept: Vec::new(),
        }
    }

    fn is_live(&self) -> bool {
        self.screen.is_some()
    }

    fn tell(&mut self, line: &str) {
        if self.is_live() {
            self.kept.push(line.to_owned());
        } else {
            say(line);
        }
    }
}

impl Drop for Voice {
    /// Closes the view, on every way out, and says what was kept back.
    fn drop(&mut self) {
        self.screen = None;
        for line in self.kept.drain(..) {
            say(&line);
        }
    }
}
