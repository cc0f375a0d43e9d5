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
pub struct ResultView {
    pub command_id: String,
    pub code: Option<String>,
    pub session_id: Option<String>,
    pub invite_code: Option<String>,
    pub sequence: Option<i64>,
    pub replayed: bool,
}

/// What the checks look at in an event.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    pub event_id: String,
    pub r#type: String,
    pub session_id: String,
    pub sequence: i64,
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
pub fn results(records: &[Record]) -> Vec<ResultView> {
    records.iter().map(|record| read(&RESULT, record)).collect()
}

/// The events in `records`, by partition, in order.
pub fn events(records: &[Record]) -> BTreeMap<i32, Vec<(EventView, Vec<u8>)>> {
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
