//! The four subjects: the text of every `.avsc` as it is registered, under which name and which
//! compatibility, and parsed once. The texts are compiled in, so a broken one fails every test.

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;

use crate::record::TopicNames;

/// The schema of `match-found` values.
pub const MATCH_FOUND: &str = include_str!("../../schemas/match-found-value.avsc");
/// The schema of `session-command` values.
pub const SESSION_COMMAND: &str = include_str!("../../schemas/session-command-value.avsc");
/// The schema of `session-event` values.
pub const SESSION_EVENT: &str = include_str!("../../schemas/session-event-value.avsc");
/// The schema of `session-command-result` values.
pub const SESSION_COMMAND_RESULT: &str =
    include_str!("../../schemas/session-command-result-value.avsc");

/// The bytes that decoding may allocate for one value (contract 3, guarantee 6).
pub(super) const MAX_ALLOCATION: usize = 1024 * 1024;

/// A subject's compatibility at the registry (contract 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// New readers read everything ever written: inputs, the worker is upgraded first.
    BackwardTransitive,
    /// Every version reads every other: outputs.
    FullTransitive,
}

impl Level {
    /// The registry's name of the level.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }
}

/// A subject of the registry that the worker reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `<topic>-value`, by TopicNameStrategy.
    pub name: String,
    /// The `.avsc` as it is registered: always this text, never a schema written out again, which a
    /// registry would take for a new version.
    pub text: &'static str,
    /// Its compatibility.
    pub level: Level,
}

/// The subject of `topic`'s values.
pub(super) fn subject_name(topic: &str) -> String {
    format!("{topic}-value")
}

/// The subjects of `topics`: match-found, session-command, session-event, session-command-result.
///
/// `session-command` is written by the worker, too, but only with a branch that others skip, so it
/// is under the level of inputs.
pub fn subjects(topics: &TopicNames) -> [Subject; 4] {
    let subject = |topic: &str, text, level| Subject {
        name: subject_name(topic),
        text,
        level,
    };
    [
        subject(&topics.match_found, MATCH_FOUND, Level::BackwardTransitive),
        subject(
            &topics.session_command,
            SESSION_COMMAND,
            Level::BackwardTransitive,
        ),
        subject(&topics.session_event, SESSION_EVENT, Level::FullTransitive),
        subject(
            &topics.session_command_result,
            SESSION_COMMAND_RESULT,
            Level::FullTransitive,
        ),
    ]
}

/// Sets the Avro library's process-wide allocation limit, which can be set only once and is 512 MiB
/// where nobody does: call it first in `main`.
pub fn limit_allocation() {
    apache_avro::util::max_allocation_bytes(MAX_ALLOCATION);
}

fn parsed(text: &str) -> Schema {
    Schema::parse_str(text).expect("the compiled-in schemas parse: every test would fail")
}

fn writer(schema: &'static Schema) -> GenericDatumWriter<'static> {
    GenericDatumWriter::builder(schema)
        .build()
        .expect("the compiled-in schemas resolve: every test would fail")
}

pub(super) static MATCH_FOUND_SCHEMA: LazyLock<Schema> = LazyLock::new(|| parsed(MATCH_FOUND));
pub(super) static COMMAND_SCHEMA: LazyLock<Schema> = LazyLock::new(|| parsed(SESSION_COMMAND));
pub(super) static EVENT_SCHEMA: LazyLock<Schema> = LazyLock::new(|| parsed(SESSION_EVENT));
pub(super) static RESULT_SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| parsed(SESSION_COMMAND_RESULT));

// The writers keep their names resolved: resolving them for each record costs more than encoding it.
pub(super) static COMMAND_WRITER: LazyLock<GenericDatumWriter<'static>> =
    LazyLock::new(|| writer(&COMMAND_SCHEMA));
pub(super) static EVENT_WRITER: LazyLock<GenericDatumWriter<'static>> =
    LazyLock::new(|| writer(&EVENT_SCHEMA));
pub(super) static RESULT_WRITER: LazyLock<GenericDatumWriter<'static>> =
    LazyLock::new(|| writer(&RESULT_SCHEMA));
