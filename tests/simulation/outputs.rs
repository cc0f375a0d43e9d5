//! The outputs as a consumer reads them: Avro by the schemas in `schemas/`, nothing of the worker's own.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use session_worker::record::Record;

static EVENT: LazyLock<Schema> =
    LazyLock::new(|| schema(include_str!("../../schemas/session-event-value.avsc")));
static RESULT: LazyLock<Schema> = LazyLock::new(|| {
    schema(include_str!(
        "../../schemas/session-command-result-value.avsc"
    ))
});

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

fn read<T: DeserializeOwned>(schema: &Schema, record: &Record) -> T {
    let value = record.value.as_deref().expect("outputs have values");
    assert_eq!(value[0], 0, "Confluent's frame begins with a zero");
    let reader = GenericDatumReader::builder(schema)
        .build()
        .expect("a reader");
    let datum = reader.read_value(&mut &value[5..]).expect("it decodes");
    apache_avro::from_value(&datum).expect("it has the contract's shape")
}

/// The results in `records`.
pub(crate) fn results(records: &[Record]) -> Vec<ResultView> {
    records.iter().map(|record| read(&RESULT, record)).collect()
}

/// The events in `records`, by partition, in order.
pub(crate) fn events(records: &[Record]) -> BTreeMap<i32, Vec<(EventView, Vec<u8>)>> {
    let mut by_partition: BTreeMap<i32, Vec<_>> = BTreeMap::new();
    for record in records {
        let bytes = record.value.clone().expect("outputs have values");
        by_partition
            .entry(record.lane.partition)
            .or_default()
            .push((read(&EVENT, record), bytes));
    }
    by_partition
}
