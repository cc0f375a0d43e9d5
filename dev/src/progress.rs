//! Tells a person what is being fetched and started. Silence is a choice of the caller.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where progress lines go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is shown.
    #[default]
    Silent,
    /// Only fetches and waits for another process are shown, on standard error: fit for tests.
    Fetches,
    /// Fetches and starts are shown, on standard error.
    Full,
}

/// Between two signs of life of a fetch.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

impl Progress {
    /// Reports a step of starting.
    pub(crate) fn step(self, line: &str) {
        if self == Self::Full {
            print(line);
        }
    }

    /// Reports a step of fetching or waiting for another process.
    pub(crate) fn fetch(self, line: &str) {
        if self != Self::Silent {
            print(line);
        }
    }

    /// Runs a fetch, with a line before it, one every five seconds and one after it. `folder` is
    /// where the fetched bytes arrive.
    pub(crate) async fn during<T, E>(
        self,
        title: &str,
        folder: &Path,
        fetch: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        self.fetch(&format!("{title}…"));
        let mut fetch = std::pin::pin!(fetch);
        let outcome = loop {
            match tokio::time::timeout(SIGN_OF_LIFE, &mut fetch).await {
                Ok(outcome) => break outcome,
                Err(_) => self.fetch(&format!("{title}… {}", since(began, folder))),
            }
        };
        if outcome.is_ok() {
            self.fetch(&format!("done: {title}, {}", since(began, folder)));
        }
        outcome
    }
}

fn print(line: &str) {
    // A closed standard error must not keep the services from starting.
    let _ = writeln!(io::stderr(), "{line}");
}

fn since(began: Instant, folder: &Path) -> String {
    let seconds = began.elapsed().as_secs();
    match size(folder) / 1_000_000 {
        0 => format!("{seconds} s"),
        megabytes => format!("{seconds} s, {megabytes} MB"),
    }
}

/// The bytes below a folder; what cannot be read counts as nothing.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = folder.read_dir() else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
