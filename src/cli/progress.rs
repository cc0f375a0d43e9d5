//! One line about work that takes its time, on a terminal only: it is wiped when the work is done, and
//! never gets into anything that is kept.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Work that is done before this is not talked about.
const PATIENCE: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_millis(250);

/// How far a command is.
pub(super) struct Progress {
    shown: bool,
    terminal: bool,
    began: Instant,
    last: Instant,
    what: String,
    done: u64,
    of: Option<u64>,
}

impl Progress {
    /// Nothing done, nothing shown.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            shown: false,
            terminal: std::io::stderr().is_terminal(),
            began: now,
            last: now,
            what: String::new(),
            done: 0,
            of: None,
        }
    }

    /// The next part of the work.
    pub(super) fn begin(&mut self, what: &str, of: Option<u64>) {
        what.clone_into(&mut self.what);
        (self.done, self.of) = (0, of);
    }

    /// So many more done.
    pub(super) fn advance(&mut self, count: usize) {
        self.done += u64::try_from(count).unwrap_or(0);
        let due = self.began.elapsed() > PATIENCE && self.last.elapsed() > INTERVAL;
        if self.terminal && due {
            self.last = Instant::now();
            self.shown = true;
            let of = self.of.map_or_else(String::new, |of| format!(" of {of}"));
            // Nothing is lost with a line that cannot be written.
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[Kreading {}: {}{of} …",
                self.what,
                self.done
            );
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
