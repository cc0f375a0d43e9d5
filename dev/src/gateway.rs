//! A client of the contract, as the gateway and matchmaking are: writes commands and matches (JSON or
//! Avro), reads results, events and dead letters as JSON. Built from `schemas/` alone, so that
//! it sees what any other client would. What cannot be decoded is an error of the worker's.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Map, Value as Json};

const COMMAND: &str = include_str!("../../schemas/session-command-value.avsc");
const MATCH: &str = include_str!("../../schemas/match-found-value.avsc");
const RESULT: &str = include_str!("../../schemas/session-command-result-value.avsc");
const EVENT: &str = include_str!("../../schemas/session-event-value.avsc");

const BOUND: Duration = Duration::from_secs(30);

/// The contract's topics by the names that the brokers know.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    prefix: String,
}

impl Topics {
    /// The contract's names, each with this before it.
    pub(crate) fn with_prefix(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    pub(crate) fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The worker's settings that rename the topics.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let names = [
            "match-found",
            "session-command",
            "session-event",
            "session-command-result",
            "session-dead-letter",
        ];
        let setting = |topic: &str| {
            let key = format!("TOPICS__{}", topic.replace('-', "_").to_uppercase());
            (key, self.name(topic))
        };
        names.into_iter().map(setting).collect()
    }
}

/// Milliseconds since 1970 by this host's clock, for `issuedAt` and latencies.
#[expect(
    clippy::disallowed_methods,
    reason = "a client of the worker has no clock but its host's"
)]
pub(crate) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// How an input is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Avro,
}

/// Writes and reads the values of the contract.
#[derive(Debug)]
pub(crate) struct Codec {
    command: (u32, Schema),
    found: (u32, Schema),
    result: Schema,
    event: Schema,
}

impl Codec {
    /// Asks the registry for the ids to write with.
    pub(crate) async fn new(registry: &str, topics: &Topics) -> anyhow::Result<Self> {
        let id = async |topic: &str| {
            let subject = format!("{}-value", topics.name(topic));
            let url = format!("{registry}/subjects/{subject}/versions/latest");
            let answer = reqwest::get(&url).await?.error_for_status()?;
            let answer: Json = answer.json().await?;
            let id = answer["id"].as_u64().and_then(|id| u32::try_from(id).ok());
            id.with_context(|| format!("the registry names no id of {subject}"))
        };
        Ok(Self {
            command: (id("session-command").await?, Schema::parse_str(COMMAND)?),
            found: (id("match-found").await?, Schema::parse_str(MATCH)?),
            result: Schema::parse_str(RESULT)?,
            event: Schema::parse_str(EVENT)?,
        })
    }

    pub(crate) fn command(&self, value: &Json, encoding: Encoding) -> anyhow::Result<Vec<u8>> {
        encode(&self.command, value, encoding)
    }

    pub(crate) fn found(&self, value: &Json, encoding: Encoding) -> anyhow::Result<Vec<u8>> {
        encode(&self.found, value, encoding)
    }

    pub(crate) fn result(&self, bytes: &[u8]) -> anyhow::Result<Json> {
        decode(&self.result, bytes)
    }

    pub(crate) fn event(&self, bytes: &[u8]) -> anyhow::Result<Json> {
        decode(&self.event, bytes)
    }
}

fn encode(schema: &(u32, Schema), value: &Json, encoding: Encoding) -> anyhow::Result<Vec<u8>> {
    match encoding {
        Encoding::Json => Ok(serde_json::to_vec(value)?),
        Encoding::Avro => {
            let (id, schema) = schema;
            let value = avro(schema, value, &mut BTreeMap::new())?;
            let mut bytes = vec![0];
            bytes.extend(id.to_be_bytes());
            let writer = GenericDatumWriter::builder(schema).build()?;
            bytes.extend(writer.write_value_to_vec(value)?);
            Ok(bytes)
        }
    }
}

fn decode(schema: &Schema, bytes: &[u8]) -> anyhow::Result<Json> {
    let (Some(0), Some(mut datum)) = (bytes.first(), bytes.get(5..)) else {
        bail!("a value is not in the registry's wire format");
    };
    let reader = GenericDatumReader::builder(schema).build()?;
    Ok(Json::try_from(reader.read_value(&mut datum)?)?)
}

/// The value of a schema that the contract's JSON form stands for.
fn avro(
    schema: &Schema,
    value: &Json,
    known: &mut BTreeMap<String, Schema>,
) -> anyhow::Result<Avro> {
    let text = || value.as_str().context("a text").map(str::to_owned);
    let number = || value.as_i64().context("a number");
    Ok(match schema {
        Schema::String => Avro::String(text()?),
        Schema::Int => Avro::Int(i32::try_from(number()?)?),
        Schema::Long => Avro::Long(number()?),
        Schema::TimestampMillis => Avro::TimestampMillis(number()?),
        Schema::Null => Avro::Null,
        Schema::Array(inner) => {
            let items = value.as_array().context("a list")?;
            let items = items.iter().map(|item| avro(&inner.items, item, known));
            Avro::Array(items.collect::<anyhow::Result<_>>()?)
        }
        Schema::Enum(inner) => {
            known.insert(inner.name.name().to_owned(), schema.clone());
            let symbol = text()?;
            let place = inner.symbols.iter().position(|known| *known == symbol);
            Avro::Enum(u32::try_from(place.context("a symbol")?)?, symbol)
        }
        Schema::Ref { name } => {
            let schema = known.get(name.name()).cloned().context("a known type")?;
            avro(&schema, value, known)?
        }
        Schema::Union(inner) => branch(inner.variants(), value, known)?,
        Schema::Record(inner) => {
            known.insert(inner.name.name().to_owned(), schema.clone());
            let empty = Map::new();
            let given = value.as_object().unwrap_or(&empty);
            let mut fields = Vec::new();
            for field in &inner.fields {
                let value = given.get(&field.name).or(field.default.as_ref());
                let value = value.with_context(|| format!("a field {}", field.name))?;
                fields.push((field.name.clone(), avro(&field.schema, value, known)?));
            }
            Avro::Record(fields)
        }
        other => bail!("no schema of the contract's inputs holds {other:?}"),
    })
}

/// The branch of a union: bare for a field that may be null, named for the commands.
fn branch(
    variants: &[Schema],
    value: &Json,
    known: &mut BTreeMap<String, Schema>,
) -> anyhow::Result<Avro> {
    if let [Schema::Null, other] = variants {
        return Ok(match value {
            Json::Null => Avro::Union(0, Box::new(Avro::Null)),
            value => Avro::Union(1, Box::new(avro(other, value, known)?)),
        });
    }
    let (name, value) = value
        .as_object()
        .and_then(|named| named.iter().next())
        .context("a named branch")?;
    let named =
        |schema: &Schema| matches!(schema, Schema::Record(inner) if inner.name.name() == name);
    let place = variants.iter().position(named).context("a known branch")?;
    let inner = avro(&variants[place], value, known)?;
    Ok(Avro::Union(u32::try_from(place)?, Box::new(inner)))
}

/// A producer that partitions as the Java client does (contract 1).
pub(crate) fn producer(brokers: &str) -> anyhow::Result<FutureProducer> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .context("make a producer")
}

/// Writes one record and returns its partition.
pub(crate) async fn produce(
    producer: &FutureProducer,
    topic: &str,
    key: &str,
    value: &[u8],
) -> anyhow::Result<i32> {
    let record = FutureRecord::to(topic).key(key).payload(value);
    match producer.send(record, BOUND).await {
        Ok(delivery) => Ok(delivery.partition),
        Err((error, _)) => Err(error).with_context(|| format!("write to {topic}")),
    }
}

/// A reader of whole topics from their beginning, without a group.
pub(crate) fn reader(brokers: &str, topics: &[String]) -> anyhow::Result<StreamConsumer> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "session-worker-dev-reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()
        .context("make a consumer")?;
    let mut assignment = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), BOUND)?;
        for partition in metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
        {
            assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}
