//! The folder of a set of services: given by the caller, and then it stays, or a temporary one, which
//! goes with the set.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, IoContext as _, Result};
use crate::guard::{Fate, Spec};

/// The folder of a set, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) root: Root,
}

#[derive(Debug)]
pub(crate) struct Root {
    folder: PathBuf,
    fate: Fate,
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.fate == Fate::Remove {
            // The guards have removed what was in it; a start that failed early leaves more.
            let _ = crate::cache::remove(&self.folder);
        }
    }
}

impl Place {
    pub(crate) fn new(folder: Option<PathBuf>) -> Result<Self> {
        let root = match folder {
            Some(folder) => {
                std::fs::create_dir_all(&folder).io("create", &folder)?;
                let folder = std::path::absolute(&folder).io("find", &folder)?;
                if folder.read_dir().io("list", &folder)?.next().is_some() {
                    return Err(Error::Setup {
                        what: "use the folder for the services' data",
                        detail: format!("{} is not empty", folder.display()),
                    });
                }
                Root {
                    folder,
                    fate: Fate::Keep,
                }
            }
            None => Root {
                folder: temporary()?,
                fate: Fate::Remove,
            },
        };
        Ok(Self { root })
    }

    /// A temporary place of its own.
    pub(crate) fn temporary() -> Result<Self> {
        Self::new(None)
    }

    /// Makes the folder of one service.
    pub(crate) fn service(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.folder.join(name);
        std::fs::create_dir_all(&folder).io("create", &folder)?;
        Ok(folder)
    }

    /// What to run in the folder of one service.
    pub(crate) fn spec(&self, folder: PathBuf, program: PathBuf, arguments: Vec<OsString>) -> Spec {
        let grace_seconds = match self.root.fate {
            Fate::Keep => 10,
            // There is nothing to save in data that go away.
            Fate::Remove => 0,
        };
        let log = log(&folder);
        Spec {
            program,
            arguments,
            folder,
            log,
            fate: self.root.fate,
            grace_seconds,
        }
    }
}

fn log(folder: &Path) -> PathBuf {
    folder.join("service.log")
}

fn temporary() -> Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let parent = std::env::temp_dir();
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("session-worker-dev-{}-{number}", std::process::id());
        let folder = parent.join(name);
        match std::fs::create_dir(&folder) {
            // What an earlier process of this number left behind is not touched.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => {
                made.io("create", &folder)?;
                return std::path::absolute(&folder).io("find", &folder);
            }
        }
    }
}
