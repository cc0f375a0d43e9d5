//! The terminal while the view is open: one thread draws and hears keys, so that no learner waits for a
//! slow terminal. The terminal is given back on every way out: closed, dropped, `q`, Ctrl-C, a panic
//! anywhere in the process.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use ratatui::{DefaultTerminal, Terminal};
use tokio::sync::watch;

use super::board::Board;
use super::lines::say;
use super::view;

/// Between two frames.
const FRAME: Duration = Duration::from_millis(200);

/// Why the demo has to end before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// `q`
    Quit,
    /// Ctrl-C, or the terminal is gone.
    Interrupt,
    /// Something panicked while the view was open.
    Panicked,
}

/// Whether standard output is a terminal that wants more than plain lines.
pub(super) fn is_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let is_dumb = set("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !is_dumb && set("NO_COLOR").is_none()
}

/// The open view; dropping it closes it.
pub(super) struct Screen {
    door: Arc<Door>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Screen {
    /// Takes the terminal and draws the board from now on; wishes of the viewer go to `wishes`.
    pub(super) fn open(
        board: &Arc<Board>,
        wishes: &watch::Sender<Option<Wish>>,
    ) -> io::Result<Self> {
        let terminal = take().inspect_err(|_| ratatui::restore())?;
        let door = Arc::new(Door::default());
        let on_panic = (Arc::clone(&door), wishes.clone());
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let (door, wishes) = &on_panic;
            if door.close() {
                wishes.send_replace(Some(Wish::Panicked));
            }
            before(panic);
        }));
        let (stop, stopped) = mpsc::channel();
        let artist = Artist {
            board: Arc::clone(board),
            door: Arc::clone(&door),
            wishes: wishes.clone(),
            terminal,
        };
        let thread = thread::Builder::new()
            .name("view".to_owned())
            .spawn(move || artist.draw_until(&stopped));
        let thread = thread.inspect_err(|_| {
            door.close();
        })?;
        Ok(Self {
            door,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

fn take() -> io::Result<DefaultTerminal> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen)?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it was reported by the hook.
            let _ = thread.join();
        }
        self.door.close();
    }
}

/// Whether the terminal is ours. Nobody draws while it is given back.
#[derive(Default)]
struct Door {
    is_closed: AtomicBool,
    drawing: Mutex<()>,
    artist: OnceLock<ThreadId>,
}

impl Door {
    /// Gives the terminal back; `false` if it was given back before.
    fn close(&self) -> bool {
        // The drawing thread itself may panic while it draws, and must not wait for itself.
        let is_artist = self.artist.get() == Some(&thread::current().id());
        let _drawing =
            (!is_artist).then(|| self.drawing.lock().unwrap_or_else(PoisonError::into_inner));
        let is_first = !self.is_closed.swap(true, Ordering::SeqCst);
        if is_first {
            ratatui::restore();
            // A terminal that is gone needs no cursor.
            let _ = execute!(io::stdout(), Show);
        }
        is_first
    }
}

struct Artist {
    board: Arc<Board>,
    door: Arc<Door>,
    wishes: watch::Sender<Option<Wish>>,
    terminal: DefaultTerminal,
}

impl Artist {
    fn draw_until(mut self, stopped: &mpsc::Receiver<()>) {
        let _ = self.door.artist.set(thread::current().id());
        let mut next = Instant::now();
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            if next <= Instant::now() {
                next = Instant::now() + FRAME;
                match self.draw() {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(_) => return self.end(Wish::Interrupt),
                }
            }
            let left = next.saturating_duration_since(Instant::now());
            let event = match event::poll(left) {
                Ok(true) => event::read(),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            match event {
                Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => {
                    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
                    match key.code {
                        KeyCode::Char('c') if is_control => return self.end(Wish::Interrupt),
                        KeyCode::Char('q' | 'Q') => return self.end(Wish::Quit),
                        _ => {}
                    }
                }
                Ok(Event::Resize(..)) => next = Instant::now(),
                Ok(_) => {}
                // Without keys, it is still worth drawing.
                Err(_) => match stopped.recv_timeout(left) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return,
                },
            }
        }
    }

    /// Draws one frame, unless the terminal was given back.
    fn draw(&mut self) -> io::Result<bool> {
        let scene = self.board.scene();
        let _drawing = self
            .door
            .drawing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.door.is_closed.load(Ordering::SeqCst) {
            return Ok(false);
        }
        self.terminal.draw(|frame| {
            let area = frame.area();
            view::draw(&scene, area, frame.buffer_mut());
        })?;
        Ok(true)
    }

    fn end(self, wish: Wish) {
        let Self {
            door,
            wishes,
            terminal,
            ..
        } = self;
        drop(terminal);
        door.close();
        say("ending the workers and the services…");
        wishes.send_replace(Some(wish));
    }
}
