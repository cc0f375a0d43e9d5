//! A value as people can look at it, whatever it is: JSON as it came, Avro by its writer's schema
//! alone, bytes in hexadecimal. Promises nothing about what it means; the decoder does that.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde_json::Value;

use super::schema::subject_name;
use super::{LookupError, SchemaSource, frame_id, limit_allocation, resolve};

/// What a value looks like.
#[derive(Clone, Debug, PartialEq)]
pub enum Glance {
    /// There is none.
    Absent,
    /// JSON.
    Json(Value),
    /// An Avro value, as JSON, and its writer schema's id.
    Avro(u32, Value),
    /// Anything else, and why it is no more than bytes.
    Bytes(String),
}

/// Looks at `value` as one of `topic`'s; asks `source` for its writer schema.
pub async fn glance(topic: &str, value: Option<&[u8]>, source: &dyn SchemaSource) -> Glance {
    let Some(value) = value else {
        return Glance::Absent;
    };
    if value.first() == Some(&b'{') {
        return match serde_json::from_slice(value) {
            Ok(json) => Glance::Json(json),
            Err(_) => Glance::Bytes("it begins as JSON and is none".to_owned()),
        };
    }
    let Some(id) = frame_id(value) else {
        return Glance::Bytes("it is neither JSON nor Avro with a schema id".to_owned());
    };
    let text = match source.writer_schema(&subject_name(topic), id).await {
        Ok(text) => text,
        Err(LookupError::NotFound) => {
            return Glance::Bytes(format!(
                "schema id {id} is not registered under {}",
                subject_name(topic)
            ));
        }
        Err(unavailable) => return Glance::Bytes(unavailable.to_string()),
    };
    match avro(&text, &value[5..]) {
        Ok(json) => Glance::Avro(id, json),
        Err(reason) => Glance::Bytes(format!("it is no value of schema id {id}: {reason}")),
    }
}

/// `bytes` by the schema `text`. The library follows a schema with the stack, so that one without a
/// bound is left alone.
fn avro(text: &str, bytes: &[u8]) -> Result<Value, String> {
    limit_allocation();
    resolve::bounded(text).map_err(|reason| reason.to_string())?;
    let schema = Schema::parse_str(text).map_err(|error| error.to_string())?;
    let mut rest = bytes;
    let value = GenericDatumReader::builder(&schema)
        .build()
        .and_then(|reader| reader.read_value(&mut rest))
        .map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err(format!("{} bytes behind it", rest.len()));
    }
    branches(&value, &schema).map_err(|error| error.to_string())
}

/// A value as JSON; where a union has several records, the branch is named as JSON inputs name it.
fn branches(value: &apache_avro::types::Value, schema: &Schema) -> apache_avro::AvroResult<Value> {
    use apache_avro::types::Value as Avro;
    match (value, schema) {
        (Avro::Record(fields), Schema::Record(record)) => {
            let mut object = serde_json::Map::new();
            for (name, value) in fields {
                let field = record.fields.iter().find(|field| field.name == *name);
                let shown = match field {
                    Some(field) => branches(value, &field.schema)?,
                    None => Value::try_from(value.clone())?,
                };
                object.insert(name.clone(), shown);
            }
            Ok(Value::Object(object))
        }
        (Avro::Union(index, value), Schema::Union(union)) => {
            let branch = usize::try_from(*index)
                .ok()
                .and_then(|index| union.variants().get(index));
            let Some(branch) = branch else {
                return Value::try_from(*value.clone());
            };
            let shown = branches(value, branch)?;
            Ok(match branch.name() {
                Some(name) if !union.is_nullable() => {
                    serde_json::json!({ name.name(): shown })
                }
                _ => shown,
            })
        }
        _ => Value::try_from(value.clone()),
    }
}

/// Bytes in hexadecimal with what of them is ASCII beside it, the first `max` of them.
pub fn hex(bytes: &[u8], max: usize) -> String {
    let mut text = String::new();
    for (row, chunk) in bytes[..bytes.len().min(max)].chunks(16).enumerate() {
        let mut pairs = String::new();
        for (column, byte) in chunk.iter().enumerate() {
            pairs.push_str(if column == 8 { "  " } else { " " });
            pairs.push_str(&format!("{byte:02x}"));
        }
        let ascii: String = chunk
            .iter()
            .map(|byte| match byte {
                0x20..=0x7e => char::from(*byte),
                _ => '.',
            })
            .collect();
        text.push_str(&format!("{:08x} {pairs:49}  {ascii}\n", row * 16));
    }
    if bytes.len() > max {
        text.push_str(&format!("… {} more bytes\n", bytes.len() - max));
    }
    text
}
