//! The per-user folder that holds what was fetched. A part appears there by one rename, complete and
//! checked, so that any number of processes may fetch and use it at once; a part that was damaged
//! later is noticed by its manifest and fetched again. Knows no part by name.

use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, IoContext as _, Result};
use crate::progress::Progress;

/// Names the cache folder; default `$XDG_CACHE_HOME/session-worker-dev`.
pub const CACHE_VARIABLE: &str = "SESSION_WORKER_DEV_CACHE";

const MANIFEST: &str = "manifest";
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// The folder of fetched parts.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Finds the user's cache: `SESSION_WORKER_DEV_CACHE`, or `session-worker-dev` in
    /// `XDG_CACHE_HOME` or `~/.cache`.
    pub fn of_user() -> Result<Self> {
        let named = |variable| std::env::var_os(variable).filter(|value| !value.is_empty());
        let folder = if let Some(folder) = named(CACHE_VARIABLE) {
            PathBuf::from(folder)
        } else if let Some(folder) = named("XDG_CACHE_HOME") {
            Path::new(&folder).join("session-worker-dev")
        } else if let Some(home) = std::env::home_dir() {
            home.join(".cache/session-worker-dev")
        } else {
            return Err(Error::Missing {
                what: "a home folder".to_owned(),
                hint: format!("set {CACHE_VARIABLE} to a folder that may be written"),
            });
        };
        // The services run in other working directories, so their paths must not be relative.
        Ok(Self {
            folder: std::path::absolute(&folder).io("find", &folder)?,
        })
    }

    /// A cache in a folder of the caller's choice.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
        }
    }

    /// The file that lists what a part holds, written when it was fetched.
    pub(crate) fn manifest_of(part: &Path) -> PathBuf {
        part.join(MANIFEST)
    }

    /// Whether a part is there and whole.
    pub(crate) fn has(&self, name: &str) -> bool {
        is_whole(&self.folder.join(name))
    }

    /// A folder of the cache, made if need be.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).io("create", &folder)?;
        Ok(folder)
    }

    /// The folder of a part: the cached one, or the one that `fetch` fills. `fetch` gets an empty
    /// folder and must fail if what it fetched is not what was asked for. `title` is what people see.
    pub(crate) async fn part(
        &self,
        name: &str,
        title: &str,
        progress: Progress,
        fetch: impl AsyncFnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let part = self.folder.join(name);
        if is_whole(&part) {
            return Ok(part);
        }
        let waiting = format!("waiting for another process: {title}…");
        let _lock = self.lock(name, &waiting, progress).await?;
        // Another process may have fetched it meanwhile.
        if is_whole(&part) {
            return Ok(part);
        }
        // Whatever lies in the staging area is of a fetch that was cut off: its owner held the lock.
        let staging = self.folder("staging")?.join(name);
        remove(&staging)?;
        let fresh = staging.join("fresh");
        std::fs::create_dir_all(&fresh).io("create", &fresh)?;
        if part.exists() {
            progress.fetch(&format!("{} is damaged and replaced", part.display()));
        }
        progress.during(title, &staging, fetch(&fresh)).await?;
        let manifest = manifest(&fresh)?;
        let list = Self::manifest_of(&fresh);
        std::fs::write(&list, manifest).io("write", &list)?;
        if part.exists() {
            std::fs::rename(&part, staging.join("damaged")).io("move away", &part)?;
        }
        std::fs::rename(&fresh, &part).io("move into place", &part)?;
        remove(&staging)?;
        Ok(part)
    }

    /// Holds a lock against other processes and tasks until the file is dropped. `waiting` is shown
    /// if somebody else holds it.
    pub(crate) async fn lock(&self, name: &str, waiting: &str, progress: Progress) -> Result<File> {
        let path = self.folder("locks")?.join(name);
        let file = File::create(&path).io("create", &path)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(source).io("lock", &path),
            }
            if !told {
                progress.fetch(waiting);
                told = true;
            }
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
    }
}

/// The lower-case hexadecimal SHA-256 of a file.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).io("open", path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).io("read", path)? {
            0 => break,
            length => digest.update(&buffer[..length]),
        }
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Refuses a file whose SHA-256 is not the pinned one.
pub(crate) fn check_sha256(path: &Path, expected: &str) -> Result<()> {
    let found = sha256(path)?;
    if found == expected {
        return Ok(());
    }
    let file = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    Err(Error::Checksum {
        file,
        expected: expected.to_owned(),
        found,
    })
}

/// Removes a folder and all in it; one that is not there is no error.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).io("remove", folder)
        }
        _ => Ok(()),
    }
}

/// One line `size path` a file: cheap enough to be compared at every start, unlike digests of some
/// hundred megabytes, and sees what happens to caches: files cut off or cleaned away.
fn manifest(folder: &Path) -> Result<String> {
    let mut lines = Vec::new();
    list(folder, folder, &mut lines)?;
    lines.sort_unstable();
    Ok(lines.concat())
}

fn list(root: &Path, folder: &Path, lines: &mut Vec<String>) -> Result<()> {
    for entry in folder.read_dir().io("list", folder)? {
        let path = entry.io("list", folder)?.path();
        let metadata = path.symlink_metadata().io("look at", &path)?;
        if metadata.is_dir() {
            list(root, &path, lines)?;
        } else if let Ok(name) = path.strip_prefix(root)
            && name != Path::new(MANIFEST)
        {
            lines.push(format!("{} {}\n", metadata.len(), name.display()));
        }
    }
    Ok(())
}

fn is_whole(part: &Path) -> bool {
    let Ok(expected) = std::fs::read_to_string(part.join(MANIFEST)) else {
        return false;
    };
    manifest(part).is_ok_and(|found| found == expected)
}

#[cfg(test)]
mod tests;
