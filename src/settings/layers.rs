//! The layers as they are written: TOML with its lines, environment variables, flags. Each turns
//! into known keys with raw values and their sources; what is unknown or malformed becomes a fault.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::FlagValue;
use super::catalogue::{self, PROPERTIES, SETTINGS};
use super::fault::{Fault, Problem, Source};
use super::secret;
use super::value::Raw;

/// A value for a known key.
pub(super) struct Given {
    /// The key.
    pub(super) key: String,
    /// What it shall be.
    pub(super) raw: Raw,
    /// Who says so.
    pub(super) source: Source,
}

const PREFIX: &str = "SESSION_WORKER__";
const PROPERTIES_VARIABLE: &str = "SESSION_WORKER__KAFKA__PROPERTIES__";
const FILE_SUFFIX: &str = "_FILE";

/// The environment variable of the setting `key` (contract 6).
pub(super) fn variable(key: &str) -> String {
    let mut variable = PREFIX.to_owned();
    for c in key.chars() {
        match c {
            '.' => variable.push_str("__"),
            '-' => variable.push('_'),
            c if c.is_ascii_uppercase() => {
                variable.push('_');
                variable.push(c);
            }
            c => variable.push(c.to_ascii_uppercase()),
        }
    }
    variable
}

fn unknown(hint: Option<String>, otherwise: &str) -> Problem {
    let remedy = hint.map_or_else(
        || otherwise.to_owned(),
        |near| format!("did you mean {near}? If not, {otherwise}"),
    );
    Problem::new("is no setting", remedy)
}

/// Reads the file.
pub(super) fn file(path: &Path, given: &mut Vec<Given>, faults: &mut Vec<Fault>) {
    let source = |line| Source::File {
        path: path.to_owned(),
        line,
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let flag = Source::Flag {
                flag: "--config".to_owned(),
            };
            let what = format!("cannot read {}: {error}", path.display());
            faults.push(Fault::at(
                flag,
                Problem::new(what, "name a readable TOML file"),
            ));
            return;
        }
    };
    let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|b| *b == b'\n').count();
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        let line = error.span().map_or(1, |span| line_of(span.start));
        // A parser's error quotes no value, only what it expected.
        let problem = Problem::new(error.message().to_owned(), "mend the TOML");
        faults.push(Fault::at(source(line), problem));
    }
    let mut walk = Walk {
        source: &|offset| source(line_of(offset)),
        given,
        faults,
    };
    walk.table(table.get_ref(), "");
}

struct Walk<'a> {
    source: &'a dyn Fn(usize) -> Source,
    given: &'a mut Vec<Given>,
    faults: &'a mut Vec<Fault>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, above: &str) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            self.entry(
                &format!("{above}{}", name.get_ref()),
                name.span().start,
                value,
            );
        }
    }

    fn entry(&mut self, key: &str, offset: usize, value: &Spanned<DeValue<'_>>) {
        let section = format!("{key}.");
        let is_section = section.starts_with(PROPERTIES)
            || PROPERTIES.starts_with(&section)
            || SETTINGS
                .iter()
                .any(|setting| setting.key.starts_with(&section));
        match value.get_ref() {
            DeValue::Table(table) if is_section => self.table(table, &section),
            value if catalogue::knows(key) => match raw(value) {
                Ok(raw) => {
                    let source = (self.source)(offset);
                    self.given.push(Given {
                        key: key.to_owned(),
                        raw,
                        source,
                    });
                }
                Err(problem) => self.fault(key, offset, problem),
            },
            _ if is_section => {
                let problem = Problem::new(
                    "is a section",
                    format!("write [{key}] and its settings below"),
                );
                self.fault(key, offset, problem);
            }
            _ => {
                let near = catalogue::nearest(key).map(str::to_owned);
                self.fault(key, offset, unknown(near, "remove it"));
            }
        }
    }

    fn fault(&mut self, key: &str, offset: usize, problem: Problem) {
        self.faults
            .push(Fault::of(key, (self.source)(offset), problem));
    }
}

fn raw(value: &DeValue<'_>) -> Result<Raw, Problem> {
    let DeValue::Array(items) = value else {
        return scalar(value).map(Raw::Text);
    };
    items
        .iter()
        .map(|item| scalar(item.get_ref()))
        .collect::<Result<_, _>>()
        .map(Raw::List)
}

fn scalar(value: &DeValue<'_>) -> Result<String, Problem> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Boolean(on) => Ok(on.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        _ => Err(Problem::new(
            "has a value of the wrong kind",
            "write a text, a number, a boolean or a list of them",
        )),
    }
}

/// Reads the variables below our prefix.
pub(super) fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    given: &mut Vec<Given>,
    faults: &mut Vec<Fault>,
) {
    // Sorted, so that faults come in the same order every time.
    let mut ours = BTreeMap::new();
    for (variable, value) in variables {
        let Ok(variable) = variable.into_string() else {
            continue;
        };
        if variable.starts_with(PREFIX) {
            ours.insert(variable, value);
        }
    }
    for (variable, value) in &ours {
        let source = Source::Environment {
            variable: variable.clone(),
        };
        let Some(text) = value.to_str() else {
            faults.push(Fault::at(
                source,
                Problem::new("is not UTF-8", "write it in UTF-8"),
            ));
            continue;
        };
        match meaning(variable) {
            Some(Meaning::Value(key)) => {
                given.push(Given {
                    key,
                    raw: Raw::Text(text.to_owned()),
                    source,
                });
            }
            Some(Meaning::SecretFile(key, direct)) => {
                if ours.contains_key(&direct) {
                    let problem =
                        Problem::new(format!("{direct} is set, too"), "keep one of the two");
                    faults.push(Fault::of(&key, source, problem));
                    continue;
                }
                match std::fs::read_to_string(text) {
                    Ok(secret) => given.push(Given {
                        key,
                        raw: Raw::Text(secret.trim_end_matches(['\r', '\n']).to_owned()),
                        source: Source::SecretFile {
                            variable: variable.clone(),
                        },
                    }),
                    Err(error) => {
                        let problem = Problem::new(
                            format!("cannot read {text}: {error}"),
                            "name a readable file that holds the secret",
                        );
                        faults.push(Fault::of(&key, source, problem));
                    }
                }
            }
            None => faults.push(Fault::at(
                source,
                unknown(nearest_variable(variable), "unset it"),
            )),
        }
    }
}

enum Meaning {
    Value(String),
    SecretFile(String, String),
}

fn meaning(name: &str) -> Option<Meaning> {
    let property = |name: &str| name.to_ascii_lowercase().replace('_', ".");
    let direct = name.strip_suffix(FILE_SUFFIX);
    if let Some(below) = name.strip_prefix(PROPERTIES_VARIABLE) {
        if below.is_empty() || below.contains("__") {
            return None;
        }
        let base = direct
            .and_then(|direct| direct.strip_prefix(PROPERTIES_VARIABLE))
            .map(property);
        return Some(match (base, direct) {
            (Some(base), Some(direct)) if secret::secret_property(&base) => {
                Meaning::SecretFile(format!("{PROPERTIES}{base}"), direct.to_owned())
            }
            _ => Meaning::Value(format!("{PROPERTIES}{}", property(below))),
        });
    }
    SETTINGS.iter().find_map(|setting| {
        let own = variable(setting.key);
        if own == name {
            return Some(Meaning::Value(setting.key.to_owned()));
        }
        (setting.secret && direct == Some(own.as_str()))
            .then(|| Meaning::SecretFile(setting.key.to_owned(), own))
    })
}

fn nearest_variable(name: &str) -> Option<String> {
    let scored = SETTINGS.iter().map(|setting| {
        let own = variable(setting.key);
        let below = |name: &str| name.strip_prefix(PREFIX).unwrap_or_default().to_owned();
        (strsim::jaro_winkler(&below(&own), &below(name)), own)
    });
    scored
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(score, _)| *score > 0.85)
        .map(|(_, variable)| variable)
}

/// Takes the settings given as flags; of one given twice, the later holds.
pub(super) fn flags(values: &[FlagValue], given: &mut Vec<Given>, faults: &mut Vec<Fault>) {
    for value in values {
        let source = Source::Flag {
            flag: value.flag.clone(),
        };
        if catalogue::knows(&value.key) {
            let raw = Raw::Text(value.text.clone());
            given.push(Given {
                key: value.key.clone(),
                raw,
                source,
            });
        } else {
            let near = catalogue::nearest(&value.key).map(str::to_owned);
            faults.push(Fault::of(&value.key, source, unknown(near, "leave it out")));
        }
    }
}
