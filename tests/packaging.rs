//! The image, compose.yaml and what stands beside them, read as text: nothing here runs an engine, but
//! what they name must exist, be pinned, and agree with the sources. `deploy/dry-build` runs the steps.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// The Dockerfile's instructions, with continued lines joined.
fn dockerfile() -> Vec<(String, String)> {
    let text = read("Dockerfile");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty())
        .collect();
    lines
        .join("\n")
        .replace("\\\n", " ")
        .lines()
        .map(|line| {
            let (word, rest) = line.split_once(' ').expect("an instruction says something");
            (word.to_owned(), rest.trim().to_owned())
        })
        .collect()
}

fn said(word: &str) -> Vec<String> {
    let instructions = dockerfile().into_iter();
    let of_word = instructions.filter(|(found, _)| found == word);
    of_word.map(|(_, rest)| rest).collect()
}

/// What the image takes out of the context.
fn copied() -> Vec<String> {
    let copies = said("COPY");
    let from_context = copies.iter().filter(|rest| !rest.starts_with("--from"));
    from_context
        .flat_map(|rest| {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let (_, sources) = words.split_last().expect("COPY has a target");
            sources
                .iter()
                .map(|source| (*source).to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Whether .dockerignore lets `path` into the context: the last line that names it or a folder above.
fn in_context(path: &Path) -> bool {
    let text = read(".dockerignore");
    let rules = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut passes = true;
    for rule in rules {
        let named = rule.trim_start_matches('!');
        if named == "*" || path.starts_with(named) {
            passes = rule.starts_with('!');
        }
    }
    passes
}

fn compose() -> Value {
    serde_saphyr::from_str(&read("compose.yaml")).expect("compose.yaml is YAML")
}

fn services(compose: &Value) -> impl Iterator<Item = (&String, &Value)> {
    compose["services"].as_object().expect("services").iter()
}

/// The services made of this repository's image.
fn own(compose: &Value) -> Vec<(&String, &Value)> {
    let own: Vec<_> = services(compose)
        .filter(|(_, service)| service.get("build").is_some())
        .collect();
    assert_eq!(own.len(), 4, "topics, schemas and two workers");
    own
}

fn words(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().filter_map(Value::as_str).collect()
}

/// Fails unless docs/cli.md, written from the parser, has the command and each of its flags.
fn is_a_command(arguments: &[&str]) -> Result<(), String> {
    let page = read("docs/cli.md");
    let (flags, command): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .copied()
        .partition(|word| word.starts_with("--"));
    let head = format!("## session-worker {}\n", command.join(" "));
    let (_, section) = page
        .split_once(&head)
        .ok_or_else(|| format!("docs/cli.md knows no `{}`", command.join(" ")))?;
    let section = section.split("\n## ").next().unwrap_or_default();
    match flags.iter().find(|flag| !section.contains(*flag)) {
        None => Ok(()),
        Some(flag) => Err(format!("`{}` has no {flag}", command.join(" "))),
    }
}

#[test]
fn the_image_is_built_with_the_toolchain_that_the_repository_pins() {
    let toolchain = read("rust-toolchain.toml");
    let pinned = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .expect("a channel")
        .trim_matches('"');
    assert_eq!(said("ARG")[0], format!("RUST_VERSION={pinned}"));
    assert!(said("FROM")[0].starts_with("rust:${RUST_VERSION}-"));
    assert!(said("ENV").contains(&"RUSTUP_TOOLCHAIN=${RUST_VERSION}".to_owned()));
}

#[test]
fn the_image_builds_on_the_debian_that_it_runs_on() {
    // A newer C library at build time makes a binary that does not start.
    const SUITES: [(&str, &str); 2] = [("bookworm", "debian12"), ("trixie", "debian13")];
    let from = said("FROM");
    let (_, number) = SUITES
        .into_iter()
        .find(|(suite, _)| from[0].contains(&format!("-{suite} ")))
        .unwrap_or_else(|| panic!("{} names no suite known here", from[0]));
    assert!(from[1].contains(number), "{from:?}");
}

#[test]
fn what_the_image_copies_exists_and_is_in_the_context() {
    let sources = copied();
    assert!(sources.len() > 5, "{sources:?}");
    let mut broken = Vec::new();
    for source in sources {
        if !root().join(&source).exists() {
            broken.push(format!("{source}: is not there"));
        }
        if !in_context(Path::new(&source)) {
            broken.push(format!("{source}: .dockerignore keeps it out"));
        }
    }
    none(&broken, "the image copies what there is");
    for secret in ["target", ".git", "settings.toml", "docs", "dev/src"] {
        assert!(!in_context(Path::new(secret)), "{secret} is in the context");
    }
}

#[test]
fn what_the_sources_include_is_copied_before_they_are_built() {
    let copied = copied();
    let mut folders = vec![root().join("src")];
    let mut included = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is readable") {
            let path = entry.expect("the entry is readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            for rest in text.split("include_").skip(1) {
                let rest = rest.strip_prefix("str!(").or(rest.strip_prefix("bytes!("));
                // What is put together from variables names a place of the build's own.
                let Some(named) = rest.and_then(|rest| rest.trim_start().strip_prefix('"')) else {
                    continue;
                };
                let named = named.split('"').next().unwrap_or_default();
                included.insert(plain(
                    &path.parent().expect("a file lies in a folder").join(named),
                ));
            }
        }
    }
    assert!(included.len() > 4, "{included:?}");
    let broken: Vec<String> = included
        .iter()
        .filter(|path| !copied.iter().any(|source| path.starts_with(source)))
        .map(|path| path.display().to_string())
        .collect();
    none(&broken, "the Dockerfile copies what src includes");
    let script = root().join("build.rs");
    assert!(!script.exists() || copied.contains(&"build.rs".to_owned()));
}

/// `path` from the repository's root, without dots.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path
        .strip_prefix(root())
        .expect("within the repository")
        .components()
    {
        match part {
            Component::ParentDir => {
                assert!(plain.pop(), "{} leaves the repository", path.display());
            }
            Component::Normal(name) => plain.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    plain
}

#[test]
fn the_image_says_what_the_package_says() {
    let package = read("Cargo.toml");
    let labels = said("LABEL").concat();
    for (key, label) in [
        ("version", "version"),
        ("description", "description"),
        ("license", "licenses"),
    ] {
        let value = package
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{key} = ")))
            .unwrap_or_else(|| panic!("Cargo.toml has a {key}"));
        let label = format!("org.opencontainers.image.{label}={value}");
        assert!(labels.contains(&label), "no {label}");
    }
}

#[test]
fn every_image_is_pinned() {
    let compose = compose();
    let mut images: Vec<String> = said("FROM")
        .iter()
        .filter_map(|rest| rest.split_whitespace().next())
        .map(|image| image.replace("${RUST_VERSION}", "1"))
        .collect();
    images.extend(services(&compose).filter_map(|(_, service)| {
        let foreign = service.get("build").is_none();
        foreign.then(|| service["image"].as_str().expect("an image").to_owned())
    }));
    assert_eq!(images.len(), 6, "{images:?}");
    let mut broken = Vec::new();
    for image in &images {
        let last = image.rsplit('/').next().unwrap_or_default();
        let (name, tag) = last.split_once(':').unwrap_or((last, ""));
        // distroless has its version in the name.
        let versioned = format!("{name}:{tag}").contains(|c: char| c.is_ascii_digit());
        if tag.is_empty() || tag.starts_with("latest") || !versioned {
            broken.push(image.clone());
        }
    }
    none(&broken, "images are pinned by a version");
    for (name, service) in own(&compose) {
        let image = service["image"].as_str().expect("an image");
        assert!(image.starts_with("session-worker:"), "{name}: {image}");
    }
}

#[test]
fn nothing_runs_with_more_rights_than_it_needs() {
    let user = said("USER");
    let [user] = user.as_slice() else {
        panic!("one USER: {user:?}")
    };
    let id = user.split(':').next().unwrap_or_default();
    assert!(id.parse::<u32>().is_ok_and(|id| id > 0), "USER {user}");

    let compose = compose();
    for (name, service) in own(&compose) {
        assert_eq!(service["user"], user.as_str(), "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(words(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(
            words(&service["security_opt"]),
            ["no-new-privileges:true"],
            "{name}"
        );
        assert!(service["mem_limit"].is_string(), "{name}");
        assert!(service.get("privileged").is_none(), "{name}");
    }
    for (name, service) in services(&compose) {
        let ports = service.get("ports").map(words).unwrap_or_default();
        for port in ports {
            assert!(
                port.starts_with("127.0.0.1:"),
                "{name}: {port} is open to the network"
            );
        }
    }
}

#[test]
fn pages_and_compose_name_only_settings_that_exist() {
    let known = read("docs/configuration.md");
    let known: BTreeSet<&str> = known
        .split('`')
        .filter(|word| word.starts_with("SESSION_WORKER__"))
        .collect();
    assert!(known.len() > 30, "{known:?}");
    let mut broken = Vec::new();
    for path in [
        "compose.yaml",
        "README.md",
        "docs/integrate.md",
        "docs/operations.md",
    ] {
        let text = read(path);
        for rest in text.split("SESSION_WORKER__").skip(1) {
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_uppercase());
            let name = format!("SESSION_WORKER__{}", &rest[..end.unwrap_or(rest.len())]);
            let whole = name.strip_suffix("_FILE").unwrap_or(&name);
            if !known.contains(whole) && !name.starts_with("SESSION_WORKER__KAFKA__PROPERTIES__") {
                broken.push(format!("{path}: {name}"));
            }
        }
    }
    none(
        &broken,
        "settings are named as docs/configuration.md has them",
    );
}

#[test]
fn every_command_that_a_container_runs_exists() {
    let compose = compose();
    let mut broken = Vec::new();
    let mut probes = 0;
    for (name, service) in own(&compose) {
        let command = words(&service["command"]);
        broken.extend(
            is_a_command(&command)
                .err()
                .map(|why| format!("{name}: {why}")),
        );
        let probe = service["healthcheck"].get("test").map(words);
        if let Some(probe) = probe {
            probes += 1;
            assert_eq!(
                probe[..2],
                ["CMD", "/usr/local/bin/session-worker"],
                "{name}"
            );
            broken.extend(
                is_a_command(&probe[2..])
                    .err()
                    .map(|why| format!("{name}: {why}")),
            );
        }
    }
    assert_eq!(probes, 2, "each worker is probed");

    let health = said("HEALTHCHECK");
    let health = health.first().expect("the image has a health check");
    for list in [health.as_str(), said("CMD").concat().as_str()] {
        let list = &list[list.find('[').expect("a list")..];
        let list: Value = serde_json::from_str(list).expect("a list");
        let list = words(&list);
        let command: Vec<&str> = list
            .into_iter()
            .filter(|word| *word != "/usr/local/bin/session-worker")
            .collect();
        broken.extend(is_a_command(&command).err());
    }
    none(&broken, "containers run commands that exist");
}

#[test]
fn the_image_and_compose_start_the_binary_where_it_is() {
    let copies = said("COPY");
    let binary = copies.last().expect("the binary is copied");
    let target = binary.split_whitespace().last().expect("a target");
    assert_eq!(said("ENTRYPOINT"), [format!("[\"{target}\"]")]);
}

#[test]
fn librdkafkas_assertions_are_built_in() {
    // Its cmake build leaves them out unless `.cargo/librdkafka.cmake` is obeyed, in the image as here.
    const ASSERTION: &[u8] = b"seg && *\"invalid absolute offset\"";
    let binary = fs::read(env!("CARGO_BIN_EXE_session-worker")).expect("the binary is readable");
    let mut windows = binary.windows(ASSERTION.len());
    assert!(windows.any(|bytes| bytes == ASSERTION));
    assert!(copied().contains(&".cargo".to_owned()));
}
