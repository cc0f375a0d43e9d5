//! `outbox`: one document a batch with every record to publish, in order, already encoded. It is the
//! largest thing a batch writes, so names are short, and a record's headers are one block of bytes
//! (arrays of them cost the server more to validate than all the rest to store).

use std::sync::Arc;

use mongodb::bson::raw::{RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr};
use mongodb::bson::{RawBinaryRef, RawDocument, spec::BinarySubtype};

use super::Malformed;
use crate::record::{Header, OutRecord, TopicPartition};
use crate::store::mongo::indexes::OUTBOX;
use crate::store::{OutboxBatch, Unreadable};

/// The length that stands for a null value.
const NULL: u32 = u32::MAX;

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
    document.append(cstr!("h"), bytes(&header_block(&record.headers)));
    document
}

/// Every header as its name and its value, each after its length in 4 bytes, little-endian; a null
/// value has the length [`NULL`].
fn header_block(headers: &[Header]) -> Vec<u8> {
    let mut block = Vec::with_capacity(headers.len() * 48);
    for (name, value) in headers {
        for bytes in [Some(name.as_bytes()), value.as_deref()] {
            let length = bytes.map_or(NULL, |bytes| {
                u32::try_from(bytes.len()).expect("a header is shorter than 4 GiB")
            });
            block.extend_from_slice(&length.to_le_bytes());
            block.extend_from_slice(bytes.unwrap_or_default());
        }
    }
    block
}

fn bytes(bytes: &[u8]) -> RawBinaryRef<'_> {
    RawBinaryRef {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

/// Reads a stored batch back, byte for byte.
pub(crate) fn outbox_batch(document: &RawDocument) -> Result<OutboxBatch, Unreadable> {
    read_batch(document).map_err(|malformed| malformed.in_document(OUTBOX, document))
}

fn read_batch(document: &RawDocument) -> Result<OutboxBatch, Malformed> {
    let key = document.get_str(cstr!("_id")).map_err(malformed)?;
    let unkeyed = || Malformed::new("_id: no lane and batch");
    let (lane, batch) = key.rsplit_once('#').ok_or_else(unkeyed)?;
    parse_lane(lane)?;
    let batch = batch.parse().map_err(|_| unkeyed())?;
    let mut records = Vec::new();
    for record in document.get_array(cstr!("records")).map_err(malformed)? {
        let record = record.map_err(malformed)?;
        let record = record
            .as_document()
            .ok_or_else(|| Malformed::new("records: a record of another type"))?;
        records.push(read_record(record)?);
    }
    Ok(OutboxBatch {
        batch,
        records: Arc::from(records),
    })
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
            ("h", RawBsonRef::Binary(block)) => record.headers = read_headers(block.bytes)?,
            _ => return Err(Malformed::new("an unknown field of a record")),
        }
    }
    Ok(record)
}

fn read_headers(mut block: &[u8]) -> Result<Vec<Header>, Malformed> {
    let mut headers = Vec::new();
    while !block.is_empty() {
        let name = take(&mut block)?.ok_or_else(|| Malformed::new("a header without a name"))?;
        let name = String::from_utf8(name.to_vec()).map_err(malformed)?;
        headers.push((name, take(&mut block)?.map(<[u8]>::to_vec)));
    }
    Ok(headers)
}

/// The next bytes of a block, or none where it says null.
fn take<'a>(block: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let short = || Malformed::new("a block of headers that ends too early");
    let (length, rest) = block.split_first_chunk().ok_or_else(short)?;
    *block = rest;
    let length = u32::from_le_bytes(*length);
    if length == NULL {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| short())?;
    let (bytes, rest) = block.split_at_checked(length).ok_or_else(short)?;
    *block = rest;
    Ok(Some(bytes))
}

fn malformed(_: impl std::error::Error) -> Malformed {
    Malformed::new("a record's field of another type")
}
