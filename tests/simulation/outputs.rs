//! The outputs as a consumer reads them: Avro by the schemas in `schemas/`, nothing of the worker's own.

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use serde::Deserialize;
use serde::de::DeserializeOwned;

static EVENT: LazyLock<Schema> =
    LazyLock::new(|| schema(include_str!("../../schemas/session-event-value.avsc")));
static RESULT: LazyLock<Schema> = LazyLock::new(|| {
    schema(include_str!(
        "../../schemas/session-command-result-value.avsc"
    ))
});
static COMMAND: LazyLock<Schema> =
    LazyLock::new(|| schema(include_str!("../../schemas/session-command-value.avsc")));

/// What the checks look at in a result.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResultView {
    pub(crate) command_id: String,
    pub(crate) code: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) invite_code: Option<String>,
    pub(crate) sequence: Option<i64>,
    pub(crate) replayed: bool,
}

impl ResultView {
    /// Whether it is what its message came to, and neither a replay nor a conflict.
    pub(crate) fn is_first(&self) -> bool {
        !self.replayed && self.code.as_deref() != Some("command_conflict")
    }
}

/// What the checks look at in an event.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventView {
    pub(crate) event_id: String,
    pub(crate) r#type: String,
    pub(crate) session_id: String,
    pub(crate) sequence: i64,
}

fn schema(text: &str) -> Schema {
    Schema::parse_str(text).expect("a published schema parses")
}

fn datum(schema: &Schema, value: Option<&[u8]>) -> Value {
    let value = value.expect("outputs have values");
    assert_eq!(value[0], 0, "Confluent's frame begins with a zero");
    let reader = GenericDatumReader::builder(schema)
        .build()
        .expect("a reader");
    reader.read_value(&mut &value[5..]).expect("it decodes")
}

fn read<T: DeserializeOwned>(schema: &Schema, value: Option<&[u8]>) -> T {
    apache_avro::from_value(&datum(schema, value)).expect("it has the contract's shape")
}

/// A result's value.
pub(crate) fn result(value: Option<&[u8]>) -> ResultView {
    read(&RESULT, value)
}

/// An event's value.
pub(crate) fn event(value: Option<&[u8]>) -> EventView {
    read(&EVENT, value)
}

/// The id of a message on its way home, and whether it is a match.
pub(crate) fn forwarded(value: Option<&[u8]>) -> (String, bool) {
    let bytes = value.expect("forwards have values");
    if bytes[0] != 0 {
        let value: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
        let id = value["commandId"].as_str().expect("an id");
        return (id.to_owned(), false);
    }
    let Value::Record(fields) = datum(&COMMAND, value) else {
        panic!("a command is a record");
    };
    let (_, id) = &fields[0];
    match id {
        Value::String(id) => (id.clone(), true),
        other => panic!("an id is text: {other:?}"),
    }
}
