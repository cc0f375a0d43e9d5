//! Puts together what a frame shows: the ledger's figures, the consumer group's standing, the workers
//! and the kill. Whoever draws asks for a scene; nothing here waits for a drawing.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::group::{Group, Lane, Standing};
use super::scene::{KillRow, LaneCell, Phase, Scene, TopicRow, WorkerRow};
use super::stage::Stage;

/// The input topics by the contract's names, in the order shown.
pub(super) const INPUTS: [&str; 2] = ["match-found", "session-command"];
/// How often the group's coordinator is asked.
const ASK_EVERY: Duration = Duration::from_millis(500);

pub(super) struct Board {
    began: Instant,
    stage: Arc<Stage>,
    lanes: Vec<Lane>,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    workers: Vec<WorkerRow>,
    standing: Standing,
    kill: Option<KillRow>,
    crowd_left: bool,
    is_over: bool,
}

impl Board {
    pub(super) fn new(began: Instant, stage: &Arc<Stage>, lanes: &[Lane]) -> Arc<Self> {
        Arc::new(Self {
            began,
            stage: Arc::clone(stage),
            lanes: lanes.to_vec(),
            shown: Mutex::default(),
        })
    }

    /// Notes a worker, and its process once that is known.
    pub(super) fn worker(&self, name: &str, pid: Option<u32>) {
        let mut shown = self.shown();
        if let Some(known) = shown.workers.iter_mut().find(|row| row.name == name) {
            known.pid = pid;
            return;
        }
        shown.workers.push(WorkerRow {
            name: name.to_owned(),
            pid,
            is_killed: false,
        });
    }

    /// The lanes that a worker has, as the coordinator said last.
    pub(super) fn lanes_of(&self, worker: &str) -> Vec<Lane> {
        let shown = self.shown();
        let owners = shown.standing.owners.iter();
        let own = owners.filter(|(_, owner)| *owner == worker);
        own.map(|(lane, _)| lane.clone()).collect()
    }

    pub(super) fn killed(&self, victim: &str, lanes: usize) {
        let at = self.began.elapsed();
        let mut shown = self.shown();
        for worker in &mut shown.workers {
            if worker.name == victim {
                worker.is_killed = true;
                worker.pid = None;
            }
        }
        shown.kill = Some(KillRow {
            victim: victim.to_owned(),
            at,
            lanes,
            taken_over: None,
        });
    }

    pub(super) fn crowd_left(&self) {
        self.shown().crowd_left = true;
    }

    pub(super) fn over(&self) {
        self.shown().is_over = true;
    }

    /// This moment.
    pub(super) fn scene(&self) -> Scene {
        let (figures, taken_over) = {
            let ledger = self.stage.ledger();
            (ledger.figures(), ledger.taken_over())
        };
        let shown = self.shown();
        let kill = shown
            .kill
            .clone()
            .map(|kill| KillRow { taken_over, ..kill });
        let phase = match (&kill, taken_over) {
            _ if shown.is_over => Phase::Over,
            (Some(_), None) => Phase::Kill,
            _ if shown.crowd_left => Phase::Deadlines,
            (Some(_), Some(_)) => Phase::Takeover,
            (None, _) if figures.answered > 0 => Phase::Crowd,
            (None, _) => Phase::Join,
        };
        Scene {
            elapsed: self.began.elapsed(),
            phase,
            figures,
            topics: self.topics(&shown),
            workers: shown.workers.clone(),
            kill,
        }
    }

    fn topics(&self, shown: &Shown) -> Vec<TopicRow> {
        let place = |name: &String| shown.workers.iter().position(|row| row.name == *name);
        let cell = |lane: &Lane| LaneCell {
            owner: shown.standing.owners.get(lane).and_then(place),
            lag: shown.standing.lags.get(lane).copied(),
        };
        let row = |name: &str| {
            let topic = self.stage.topic(name);
            let lanes = self.lanes.iter().filter(|(of, _)| *of == topic);
            TopicRow {
                name: name.to_owned(),
                lanes: lanes.map(cell).collect(),
            }
        };
        INPUTS.map(row).into()
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        // It is whole between any two statements, so a panic elsewhere does not spoil it.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the coordinator again and again, until dropped.
pub(super) struct Watch {
    /// Closed by the drop, which ends the thread after the question at hand.
    _stop: mpsc::Sender<()>,
}

impl Watch {
    pub(super) fn start(group: Group, board: &Arc<Board>) -> anyhow::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let board = Arc::clone(board);
        let look = move || {
            while stopped.recv_timeout(ASK_EVERY) == Err(RecvTimeoutError::Timeout) {
                // What cannot be had stays as it was, and is asked for again.
                if let Ok(standing) = group.standing() {
                    board.shown().standing = standing;
                }
            }
        };
        std::thread::Builder::new()
            .name("group-watch".to_owned())
            .spawn(look)
            .context("start a thread that watches the consumer group")?;
        Ok(Self { _stop: stop })
    }
}
