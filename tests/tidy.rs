//! Rules of the repository as tests: which module may know which, what every source file begins with,
//! and that files which name each other agree. Reads the tree as text and compiles nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules each module of the crate may name, besides itself: imports point one way.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("telemetry", &[]),
    ("domain", &[]),
    ("clock", &["domain"]),
    ("kafka", &["record", "telemetry"]),
    ("planted", &[]),
    (
        "store",
        &["clock", "domain", "planted", "record", "telemetry"],
    ),
    ("wire", &["domain", "record", "telemetry"]),
    (
        "lane",
        &[
            "clock",
            "domain",
            "kafka",
            "planted",
            "record",
            "store",
            "telemetry",
            "wire",
        ],
    ),
    ("audit", &["domain", "record", "store"]),
    ("jobs", &["clock", "domain", "record", "store", "telemetry"]),
    (
        "http",
        &[
            "clock",
            "domain",
            "record",
            "store",
            "settings",
            "telemetry",
        ],
    ),
    // Each edge takes its own struct and alone knows what it accepts; settings ask it.
    (
        "settings",
        &["domain", "kafka", "record", "store", "telemetry", "wire"],
    ),
    (
        "app",
        &[
            "clock",
            "domain",
            "http",
            "jobs",
            "kafka",
            "lane",
            "record",
            "settings",
            "store",
            "telemetry",
            "wire",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "audit",
            "clock",
            "domain",
            "http",
            "kafka",
            "record",
            "settings",
            "store",
            "telemetry",
            "wire",
        ],
    ),
];

/// What is known to every module's tests: pages that are written from code.
const OF_TESTS: &str = "documents";

/// The lines a source file may have.
const MAX_LINES: usize = 700;

const TOPICS: [&str; 5] = [
    "match-found",
    "session-command",
    "session-command-result",
    "session-dead-letter",
    "session-event",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder`, without what is built and what Git keeps for itself.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is readable") {
            let path = entry.expect("the entry is readable").path();
            let name = path.file_name().expect("an entry has a name");
            if name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources(folder: &str) -> Vec<(String, String)> {
    files(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| (shown(&path), read(&path)))
        .collect()
}

fn all_sources() -> Vec<(String, String)> {
    ["src", "tests", "dev"]
        .into_iter()
        .flat_map(sources)
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("sources are UTF-8")
}

fn shown(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("the file is in the tree");
    path.to_string_lossy().into_owned()
}

/// Lines that are not comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// The module of the crate that the file belongs to; `None` for the crate's own two files.
fn module_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix("src/")?;
    let module = path.split('/').next()?;
    let module = module.strip_suffix(".rs").unwrap_or(module);
    (!matches!(module, "main" | "lib" | OF_TESTS)).then_some(module)
}

fn leading_name(text: &str) -> &str {
    let end = text.find(|c: char| c != '_' && !c.is_alphanumeric());
    &text[..end.unwrap_or(text.len())]
}

fn none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn imports_point_one_way() {
    let mut broken = Vec::new();
    for (path, text) in sources("src") {
        let Some(module) = module_of(&path) else {
            continue;
        };
        let Some((_, known)) = MAY_KNOW.iter().find(|(name, _)| *name == module) else {
            broken.push(format!("{path}: give `{module}` its row in MAY_KNOW"));
            continue;
        };
        for line in code(&text) {
            for rest in line.split("crate::").skip(1) {
                let name = leading_name(rest);
                if name.is_empty() {
                    broken.push(format!("{path}: name one module a `use`: {}", line.trim()));
                } else if name != module && name != OF_TESTS && !known.contains(&name) {
                    broken.push(format!("{path}: `{module}` must not know `{name}`"));
                }
            }
        }
    }
    none(&broken, "imports point one way (ARCHITECTURE.md)");
}

/// Nothing that is shipped or run has the bugs that the simulation is to find: no build but the command in
/// CONTRIBUTING.md names their feature, and no feature that is on by itself includes it.
#[test]
fn nothing_that_is_shipped_has_planted_bugs() {
    let mut broken = Vec::new();
    for path in files(".") {
        let name = shown(&path);
        let may_name = name.starts_with("src/planted")
            || name.starts_with("tests/")
            || ["Cargo.toml", "CONTRIBUTING.md", "ARCHITECTURE.md"].contains(&name.as_str());
        let text = fs::read_to_string(&path).unwrap_or_default();
        if !may_name && (text.contains("planted-bugs") || text.contains("--all-features")) {
            broken.push(name);
        }
    }
    none(&broken, "only the simulation enables `planted-bugs`");
    let manifest = read(&root().join("Cargo.toml"));
    let features = manifest.split("[features]").nth(1).unwrap_or_default();
    let features = features.split("\n[").next().unwrap_or_default();
    assert!(features.contains("planted-bugs = []"), "{features}");
    assert!(!features.contains("default"), "{features}");
}

#[test]
fn every_row_of_the_import_table_is_a_module() {
    let modules: BTreeSet<String> = sources("src")
        .iter()
        .filter_map(|(path, _)| module_of(path).map(ToOwned::to_owned))
        .collect();
    let rows: BTreeSet<String> = MAY_KNOW
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(rows, modules);
}

#[test]
fn the_domain_knows_std_and_uuid_and_nothing_that_varies() {
    const FOREIGN: [&str; 12] = [
        "serde",
        "tokio",
        "tracing",
        "futures",
        "metrics::",
        "HashMap",
        "HashSet",
        "async ",
        "SystemTime",
        "Instant::",
        "rand::",
        "println!",
    ];
    let domain: Vec<_> = sources("src/domain")
        .into_iter()
        .filter(|(path, _)| !path.starts_with("src/domain/tests/"))
        .collect();
    let modules: BTreeSet<&str> = domain
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("src/domain/")?.strip_suffix(".rs"))
        .collect();
    let mut broken = Vec::new();
    for (path, text) in &domain {
        for line in code(text) {
            let line = line.trim();
            if let Some(word) = FOREIGN.iter().find(|word| line.contains(**word)) {
                broken.push(format!("{path}: {word} in `{line}`"));
            }
            let used = line.strip_prefix("pub use ").or(line.strip_prefix("use "));
            let Some(name) = used.map(leading_name) else {
                continue;
            };
            let own = ["std", "uuid", "super", "self", "crate"].contains(&name);
            if !own && !modules.contains(name) {
                broken.push(format!("{path}: `{line}`"));
            }
        }
    }
    none(&broken, "the domain is pure");
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let broken: Vec<String> = all_sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    none(&broken, "every source file begins with //!");
}

#[test]
fn nothing_is_left_undone_or_switched_off() {
    // Cut in two, so that this file does not find itself.
    let marks = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("should_", "panic"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
    ];
    let mut broken = Vec::new();
    for (path, text) in all_sources() {
        for mark in marks {
            if text.contains(mark) {
                broken.push(format!("{path}: {mark}"));
            }
        }
    }
    none(&broken, "nothing is left undone or switched off");
}

#[test]
fn files_are_named_for_what_they_hold_and_can_be_read_in_one_go() {
    let mut broken = Vec::new();
    for (path, text) in all_sources() {
        let stem = Path::new(&path).file_stem().and_then(|stem| stem.to_str());
        if stem
            .is_some_and(|stem| ["utils", "util", "common", "manager", "helpers"].contains(&stem))
        {
            broken.push(format!("{path}: name what it holds"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            broken.push(format!("{path}: {lines} lines, at most {MAX_LINES}"));
        }
    }
    none(&broken, "files are named and sized for readers");
}

#[test]
fn contract_1_one_schema_a_subject_and_five_topics() {
    let schemas: BTreeSet<String> = files("schemas")
        .iter()
        .filter_map(|path| path.file_name()?.to_str().map(ToOwned::to_owned))
        .filter(|name| name != "README.md")
        .collect();
    let subjects = TOPICS
        .iter()
        .filter(|topic| **topic != "session-dead-letter")
        .map(|topic| format!("{topic}-value.avsc"));
    assert_eq!(schemas, subjects.collect());

    let yaml = read(&root().join("topics.yaml"));
    let topics: Vec<&str> = yaml
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- name: "))
        .collect();
    assert_eq!(topics.len(), TOPICS.len());
    let topics: BTreeSet<&str> = topics.into_iter().collect();
    assert_eq!(topics, BTreeSet::from(TOPICS));
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for path in files(".") {
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let folder = path.parent().expect("a file lies in a folder");
        for rest in read(&path).split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            if !folder.join(file).exists() {
                broken.push(format!("{}: {target}", shown(&path)));
            }
        }
    }
    none(&broken, "links between pages lead somewhere");
}

/// Every code, dead-letter reason and lane state that an operator can meet.
#[test]
fn the_runbook_knows_every_dead_letter_reason_and_lane_state() {
    let runbook = read(&root().join("docs/operations.md"));
    let names = [
        "undecodable",
        "unknown_schema",
        "too_large",
        "forbidden",
        "bug",
        "starting",
        "running",
        "contended",
        "held",
        "position_lost",
        "recreated",
        "damaged",
        "suspect",
    ];
    let broken: Vec<String> = names
        .into_iter()
        .filter(|name| !runbook.contains(&format!("`{name}`")))
        .map(ToOwned::to_owned)
        .collect();
    none(&broken, "docs/operations.md says what to do about each");
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    let places = [
        concat!("/wo", "rk/"),
        concat!("/tmp/", "scratch"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    let mut broken = Vec::new();
    for path in files(".") {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for place in places {
            if text.contains(place) {
                broken.push(format!("{}: {place}", shown(&path)));
            }
        }
    }
    none(&broken, "no file names a place on somebody's machine");
}
