//! The package clients and other programs of this machine: found on PATH, run to their end under
//! guard, so that a fetch never outlives its owner. Passes no registry's address: what the user
//! configured for Maven and pip (mirrors, proxies, credentials) holds.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::error::{Error, IoContext as _, Result};
use crate::guard::{Fate, Process, Spec};
use crate::progress::Progress;

/// The oldest Java that Kafka 4 runs on.
const JAVA_MAJOR: u32 = 17;

/// The executable file of that name in the folders of `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| {
            file.metadata()
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
}

/// Runs a program to its end in a folder; its output is in the error if it fails.
pub(crate) async fn run(
    what: &str,
    folder: &Path,
    program: &Path,
    arguments: Vec<OsString>,
) -> Result<()> {
    let log = folder.join("client.log");
    let process = Process::start(Spec {
        program: program.to_path_buf(),
        arguments,
        folder: folder.to_path_buf(),
        log: log.clone(),
        fate: Fate::Keep,
        grace_seconds: 0,
    })?;
    match process.ended().await {
        0 => std::fs::remove_file(&log).io("remove", &log),
        code => Err(Error::Fetch {
            what: what.to_owned(),
            code,
            output: tail(&log),
        }),
    }
}

/// Runs a Maven goal; one at a time on this machine, since Maven 3's own cache bears no more.
pub(crate) async fn maven(
    cache: &Cache,
    what: &str,
    folder: &Path,
    arguments: Vec<OsString>,
    variable: &str,
    progress: Progress,
) -> Result<()> {
    let program = maven_program(variable)?;
    let waiting = format!("{what} waits for another fetch with Maven…");
    let _lock = cache.lock("maven", &waiting, progress).await?;
    let quiet = ["--batch-mode", "--quiet"].map(OsString::from);
    run(
        what,
        folder,
        &program,
        quiet.into_iter().chain(arguments).collect(),
    )
    .await
}

/// Maven, or how to get it.
pub(crate) fn maven_program(variable: &str) -> Result<PathBuf> {
    find("mvn").ok_or_else(|| Error::Missing {
        what: "Maven (`mvn`)".to_owned(),
        hint: format!(
            "install it (Debian: `apt-get install maven`; macOS: `brew install maven`), or name a running service with {variable}"
        ),
    })
}

/// A Java that is new enough.
#[derive(Debug)]
pub(crate) struct Java {
    pub(crate) program: PathBuf,
    /// All that it says of itself.
    pub(crate) version: String,
}

/// The `java` of `JAVA_HOME` or `PATH`, if it is new enough.
pub(crate) fn java(variable: &str) -> Result<Java> {
    let missing = |what: String| Error::Missing {
        what,
        hint: format!(
            "install it (Debian: `apt-get install openjdk-{JAVA_MAJOR}-jre-headless`; macOS: `brew \
             install openjdk@{JAVA_MAJOR}` and set JAVA_HOME), or name a running service with \
             {variable}"
        ),
    };
    let program = std::env::var_os("JAVA_HOME")
        .map(|home| Path::new(&home).join("bin/java"))
        .filter(|program| program.is_file())
        .or_else(|| find("java"))
        .ok_or_else(|| missing(format!("Java {JAVA_MAJOR} or newer")))?;
    // macOS has a `java` that only says that there is none, so it must be asked.
    let answer = std::process::Command::new(&program)
        .arg("-version")
        .output();
    let answer = answer.io("run", &program)?;
    let version = String::from_utf8_lossy(&answer.stderr).into_owned();
    match java_major(&version) {
        Some(major) if major >= JAVA_MAJOR => Ok(Java { program, version }),
        Some(major) => Err(missing(format!(
            "Java {JAVA_MAJOR} or newer (found {major})"
        ))),
        None => Err(missing(format!("Java {JAVA_MAJOR} or newer"))),
    }
}

/// Reads `version "17.0.15"` and the old `version "1.8.0_312"`.
fn java_major(answer: &str) -> Option<u32> {
    let version = answer.split_once("version \"")?.1;
    let mut numbers = version.split(|character: char| !character.is_ascii_digit());
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        major => Some(major),
    }
}

/// The last lines of a log, for people; empty when it cannot be read.
pub(crate) fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    const BYTES: u64 = 8 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().collect::<Vec<_>>();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_java_is_read_in_both_spellings() {
        for (answer, major) in [
            ("openjdk version \"17.0.15\" 2025-04-15\n", Some(17)),
            ("openjdk version \"25\" 2025-09-16\n", Some(25)),
            ("java version \"1.8.0_312\"\n", Some(8)),
            ("openjdk version \"26-ea\" 2026-03-17\n", Some(26)),
            (
                "The operation couldn't be completed. Unable to locate a Java Runtime.\n",
                None,
            ),
        ] {
            assert_eq!(java_major(answer), major, "{answer}");
        }
    }

    #[test]
    fn programs_are_found_on_path_only_where_they_can_run() {
        assert!(find("sh").is_some());
        assert!(find("no-program-has-this-name").is_none());
    }
}
