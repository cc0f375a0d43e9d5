//! Class archives: what a JVM has loaded and checked in one run, mapped by the next ones, which halves
//! the time and the work of a start. Made once for each Java and part; only ever a gain in speed, so
//! a JVM that makes or takes no archive runs without.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::Cache;
use crate::client::Java;
use crate::error::{IoContext as _, Result};
use crate::place::Place;
use crate::progress::Progress;
use crate::service::Service;

const FILE: &str = "classes.jsa";
/// Writing takes 3 s of work, much longer on a machine that has other work to do.
const RECORD_BOUND: Duration = Duration::from_secs(120);

/// What a start does with a class archive.
#[derive(Debug, Clone)]
pub(crate) enum Archive {
    /// Nothing.
    None,
    /// It maps this one.
    Use(PathBuf),
    /// It writes this one at its end.
    Record(PathBuf),
}

impl Archive {
    /// The JVM's argument.
    pub(crate) fn argument(&self) -> Option<OsString> {
        let (flag, path) = match self {
            Self::None => return None,
            Self::Use(path) => ("-XX:SharedArchiveFile=", path),
            Self::Record(path) => ("-XX:ArchiveClassesAtExit=", path),
        };
        let mut argument = OsString::from(flag);
        argument.push(path);
        Some(argument)
    }

    /// The archive of a fetched part; the first time, one start of the service in a folder of its own
    /// records it.
    pub(crate) async fn of(
        cache: &Cache,
        part: &Path,
        title: &str,
        java: &Java,
        progress: Progress,
        start: impl AsyncFnOnce(&Place, Self) -> Result<Service>,
    ) -> Result<Self> {
        let part_name = part.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{part_name}-classes-{:016x}", identity(part, java)?);
        let record = async |folder: &Path| {
            let place = Place::temporary()?;
            let service = start(&place, Self::Record(folder.join(FILE))).await?;
            service.ready().await?;
            // The archive is written on the way out; a JVM may have none to write.
            service.stop_within(RECORD_BOUND).await;
            Ok(())
        };
        let folder = cache.part(&name, title, progress, record).await?;
        let file = folder.join(FILE);
        Ok(if file.is_file() {
            Self::Use(file)
        } else {
            Self::None
        })
    }
}

/// An archive fits one build of Java and jars of one age; others are ignored by the JVM.
fn identity(part: &Path, java: &Java) -> Result<u64> {
    let manifest = Cache::manifest_of(part);
    let fetched = manifest
        .metadata()
        .and_then(|file| file.modified())
        .io("look at", &manifest)?;
    let mut hasher = DefaultHasher::new();
    (&java.program, &java.version, fetched).hash(&mut hasher);
    Ok(hasher.finish())
}
