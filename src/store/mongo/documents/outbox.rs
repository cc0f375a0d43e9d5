//! `outbox`: one document a batch with every record to publish, in order, already encoded. Short
//! names and flat arrays, because it is the largest thing a batch writes.

use std::sync::Arc;

use mongodb::bson::raw::{RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr};
use mongodb::bson::{RawArray, RawBinaryRef, RawDocument, spec::BinarySubtype};

use super::Malformed;
use crate::record::{Header, OutRecord, TopicPartition};
use crate::store::OutboxBatch;

/// The `_id` of batch `batch` of `lane`: a lane's batches stand together and in order.
pub(crate) fn batch_key(lane: &TopicPartition, batch: i64) -> String {
    format!("{lane}#{batch:019}")
}

/// The lane that `topic/partition` names.
pub(crate) fn parse_lane(name: &str) -> Result<TopicPartition, Malformed> {
    let parse = || {
        let (topic, partition) = name.rsplit_once('/')?;
        Some(TopicPartition::new(topic, partition.parse().ok()?))
    };
    parse().ok_or_else(|| Malformed::new("a lane that is not topic/partition"))
}

/// The document of a batch.
pub(crate) fn outbox_document(key: &str, records: &[OutRecord]) -> RawDocumentBuf {
    let mut stored = RawArrayBuf::new();
    for record in records {
        stored.push(record_document(record));
    }
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), key);
    document.append(cstr!("records"), stored);
    document
}

fn record_document(record: &OutRecord) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("t"), &*record.topic);
    if let Some(partition) = record.partition {
        document.append(cstr!("p"), partition);
    }
    if let Some(key) = &record.key {
        document.append(cstr!("k"), bytes(key));
    }
    if let Some(value) = &record.value {
        document.append(cstr!("v"), bytes(value));
    }
    let mut headers = RawArrayBuf::new();
    for (name, value) in &record.headers {
        headers.push(name.as_str());
        match value {
            Some(value) => headers.push(bytes(value)),
            None => headers.push(RawBsonRef::Null),
        }
    }
    document.append(cstr!("h"), headers);
    document
}

fn bytes(bytes: &[u8]) -> RawBinaryRef<'_> {
    RawBinaryRef {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

/// A document of `outbox`, read.
#[derive(Debug)]
pub(crate) struct OutboxDocument {
    /// Whose batch it is.
    pub(crate) lane: TopicPartition,
    /// The batch.
    pub(crate) batch: OutboxBatch,
}

impl OutboxDocument {
    /// Reads a stored batch back, byte for byte.
    pub(crate) fn read(document: &RawDocument) -> Result<Self, Malformed> {
        let key = document.get_str(cstr!("_id")).map_err(malformed)?;
        let unkeyed = || Malformed::new("an outbox key without lane and batch");
        let (lane, batch) = key.rsplit_once('#').ok_or_else(unkeyed)?;
        let lane = parse_lane(lane)?;
        let batch = batch.parse().map_err(|_| unkeyed())?;
        let mut records = Vec::new();
        for record in document.get_array(cstr!("records")).map_err(malformed)? {
            let record = record.map_err(malformed)?;
            let record = record
                .as_document()
                .ok_or_else(|| Malformed::new("a record"))?;
            records.push(read_record(record)?);
        }
        Ok(Self {
            lane,
            batch: OutboxBatch {
                batch,
                records: Arc::from(records),
            },
        })
    }
}

fn read_record(document: &RawDocument) -> Result<OutRecord, Malformed> {
    let mut record = OutRecord {
        topic: document.get_str(cstr!("t")).map_err(malformed)?.into(),
        partition: None,
        key: None,
        value: None,
        headers: Vec::new(),
    };
    for element in document {
        let (name, value) = element.map_err(malformed)?;
        match (name.as_str(), value) {
            ("t", _) => {}
            ("p", RawBsonRef::Int32(partition)) => record.partition = Some(partition),
            ("k", RawBsonRef::Binary(key)) => record.key = Some(key.bytes.to_vec()),
            ("v", RawBsonRef::Binary(value)) => record.value = Some(value.bytes.to_vec()),
            ("h", RawBsonRef::Array(headers)) => record.headers = read_headers(headers)?,
            _ => return Err(Malformed::new("an unknown field of a record")),
        }
    }
    Ok(record)
}

fn read_headers(stored: &RawArray) -> Result<Vec<Header>, Malformed> {
    let mut headers = Vec::new();
    let mut elements = stored.into_iter();
    while let Some(name) = elements.next() {
        let name = name.map_err(malformed)?;
        let value = elements.next().transpose().map_err(malformed)?;
        match (name, value) {
            (RawBsonRef::String(name), Some(RawBsonRef::Binary(value))) => {
                headers.push((name.to_owned(), Some(value.bytes.to_vec())));
            }
            (RawBsonRef::String(name), Some(RawBsonRef::Null)) => {
                headers.push((name.to_owned(), None));
            }
            _ => {
                return Err(Malformed::new(
                    "headers that are not pairs of name and value",
                ));
            }
        }
    }
    Ok(headers)
}

fn malformed(error: impl std::fmt::Display) -> Malformed {
    Malformed::new(error.to_string())
}
