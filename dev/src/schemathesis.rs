//! schemathesis, which puts an API to the test of its own OpenAPI document: fetched with pip, every
//! package pinned by version and digest, and run under guard. Knows nothing of the API.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::cache::{Cache, remove};
use crate::client;
use crate::error::{Error, IoContext as _, Result};
use crate::guard::{Fate, Process, Spec};
use crate::place::Place;
use crate::progress::Progress;

const VERSION: &str = "4.32.5";
const TITLE: &str = "fetching schemathesis 4.32.5 (13 MB)";
/// `uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate`, of
/// schemathesis at that version.
const REQUIREMENTS: &str = include_str!("schemathesis-requirements.txt");

/// The oldest Python that it runs on.
const PYTHON: (u32, u32) = (3, 11);
/// What a Python that is new enough may be called.
const PYTHONS: [&str; 5] = [
    "python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
];

/// Takes only the packages in the folder it is told, and asks what runs here without a proxy.
const LAUNCHER: &str = "\
import os, sys
sys.path.insert(0, sys.argv.pop(1))
os.environ['no_proxy'] = '*'
from schemathesis.cli import schemathesis
sys.exit(schemathesis())
";

/// schemathesis, ready to be run.
#[derive(Debug, Clone)]
pub struct Schemathesis {
    python: PathBuf,
    packages: PathBuf,
}

/// How a run of it ended.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// 0: it found nothing.
    pub code: i32,
    /// Everything it wrote.
    pub output: String,
}

impl Schemathesis {
    /// Finds it in the cache, or fetches it.
    pub async fn find(cache: &Cache, progress: Progress) -> Result<Self> {
        let python = python()?;
        let digest = Sha256::digest(REQUIREMENTS);
        let digest: String = digest[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // Some of its packages are compiled for one version of Python.
        let part = format!("schemathesis-{VERSION}-{}-{digest}", python.tag);
        let packages = cache
            .part(&part, TITLE, progress, async |folder| {
                fetch(&python.program, folder).await
            })
            .await?;
        Ok(Self {
            python: python.program,
            packages,
        })
    }

    /// Runs it to its end, in a folder of its own that holds `files` (name and text) and goes away.
    pub async fn run(&self, files: &[(&str, &str)], arguments: &[&str]) -> Result<Verdict> {
        let place = Place::temporary()?;
        let folder = place.service("schemathesis")?;
        for (name, text) in files {
            let file = folder.join(name);
            std::fs::write(&file, text).io("write", &file)?;
        }
        let log = folder.join("output.log");
        let process = Process::start(Spec {
            program: self.python.clone(),
            arguments: launch(&self.packages, arguments),
            folder,
            log: log.clone(),
            fate: Fate::Keep,
            grace_seconds: 0,
        })?;
        let code = process.ended().await;
        let output = std::fs::read(&log).io("read", &log)?;
        Ok(Verdict {
            code,
            output: String::from_utf8_lossy(&output).into_owned(),
        })
    }
}

fn launch(packages: &Path, arguments: &[&str]) -> Vec<OsString> {
    // Without -B it would write into the cached part, which then counts as damaged.
    let mut all = ["-I", "-B", "-c", LAUNCHER].map(OsString::from).to_vec();
    all.push(packages.into());
    all.extend(arguments.iter().map(OsString::from));
    all
}

async fn fetch(python: &Path, folder: &Path) -> Result<()> {
    const WHAT: &str = "schemathesis";
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS).io("write", &requirements)?;
    let mut arguments = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--require-hashes",
        "--only-binary=:all:",
        "--target",
    ]
    .map(OsString::from)
    .to_vec();
    arguments.extend([folder.into(), "--requirement".into(), requirements.into()]);
    client::run(WHAT, folder, python, arguments).await?;
    // Scripts name this very folder, which is not where they will be.
    remove(&folder.join("bin"))?;
    client::run(WHAT, folder, python, launch(folder, &["--version"])).await
}

/// A Python as it says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Python {
    version: (u32, u32),
    /// Such as `cpython-311`.
    tag: String,
    /// Itself: what is on PATH may choose another one in another folder.
    program: PathBuf,
}

fn python() -> Result<Python> {
    let (major, minor) = PYTHON;
    let what = format!("Python {major}.{minor} or newer with pip");
    let missing = |found: &str| Error::Missing {
        what: what.clone(),
        hint: format!(
            "install it (Debian 12 and later: `apt-get install python3-pip`; macOS: `brew install \
             python`){found}"
        ),
    };
    let mut found = String::new();
    for program in PYTHONS.iter().filter_map(|name| client::find(name)) {
        let Some(python) = ask(&program) else {
            continue;
        };
        let (major, minor) = python.version;
        let shown = program.display();
        if python.version < PYTHON {
            found = format!("; {shown} is {major}.{minor}");
        } else if has_pip(&python.program) {
            return Ok(python);
        } else {
            found = format!("; {shown} has no pip");
        }
    }
    Err(missing(&found))
}

fn ask(program: &Path) -> Option<Python> {
    const ASK: &str =
        "import sys; print(*sys.version_info[:2], sys.implementation.cache_tag, sys.executable)";
    let answer = Command::new(program).args(["-I", "-c", ASK]).output();
    read(&String::from_utf8_lossy(&answer.ok()?.stdout))
}

fn read(answer: &str) -> Option<Python> {
    let mut words = answer.trim_end().splitn(4, ' ');
    let version = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let tag = words.next()?.to_owned();
    let program = words.next().filter(|path| !path.is_empty())?.into();
    Some(Python {
        version,
        tag,
        program,
    })
}

fn has_pip(python: &Path) -> bool {
    let answer = Command::new(python)
        .args(["-m", "pip", "--version"])
        .output();
    answer.is_ok_and(|answer| answer.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_says_what_it_is() {
        let expected = Python {
            version: (3, 11),
            tag: "cpython-311".to_owned(),
            program: PathBuf::from("/opt/my python/bin/python3.11"),
        };
        let answer = "3 11 cpython-311 /opt/my python/bin/python3.11\n";
        assert_eq!(read(answer), Some(expected));
        for answer in [
            "",
            "3\n",
            "3 11 cpython-311\n",
            "3 11 cpython-311 \n",
            "no Python\n",
        ] {
            assert_eq!(read(answer), None, "{answer}");
        }
        assert!((3, 9) < PYTHON && (3, 11) >= PYTHON && (3, 14) >= PYTHON && (4, 0) >= PYTHON);
    }

    #[test]
    fn every_package_is_pinned_by_version_and_digest() {
        let pinned = format!("schemathesis=={VERSION} \\\n");
        assert!(REQUIREMENTS.contains(&pinned));
        assert!(TITLE.contains(VERSION));
        let lines: Vec<&str> = REQUIREMENTS.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let is_package = !line.starts_with("    --hash=sha256:");
            if is_package {
                assert!(line.contains("==") && line.ends_with(" \\"), "{line}");
                let next = lines.get(index + 1).copied().unwrap_or_default();
                assert!(next.starts_with("    --hash=sha256:"), "{line}");
            }
        }
    }
}
