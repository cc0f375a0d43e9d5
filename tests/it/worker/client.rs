//! What stands around the worker: senders of JSON and Avro, and a reader of every output from its
//! beginning, by the schemas in `schemas/` and nothing of the worker's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::UnionSchema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::deployment::{Deployment, PATIENCE};

static EVENT: LazyLock<Schema> =
    LazyLock::new(|| schema(include_str!("../../../schemas/session-event-value.avsc")));
static RESULT: LazyLock<Schema> = LazyLock::new(|| {
    schema(include_str!(
        "../../../schemas/session-command-result-value.avsc"
    ))
});
static COMMAND: LazyLock<Schema> =
    LazyLock::new(|| schema(include_str!("../../../schemas/session-command-value.avsc")));
static MATCH: LazyLock<Schema> =
    LazyLock::new(|| schema(include_str!("../../../schemas/match-found-value.avsc")));

fn schema(text: &str) -> Schema {
    Schema::parse_str(text).expect("a published schema parses")
}

/// A record as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: BTreeMap<String, Vec<u8>>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let bytes = self.headers.get(name)?;
        std::str::from_utf8(bytes).ok()
    }
}

#[derive(Default)]
pub(crate) struct Outputs {
    pub(crate) events: Vec<(Seen, Value)>,
    pub(crate) results: Vec<(Seen, Value)>,
    pub(crate) dead_letters: Vec<Seen>,
}

/// A sender and reader of one deployment.
pub(crate) struct Client {
    deployment: Deployment,
    producer: FutureProducer,
    pub(crate) outputs: Arc<Mutex<Outputs>>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Client {
    pub(crate) fn new(deployment: &Deployment) -> Self {
        let brokers = &deployment.parts.kafka;
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("reconnect.backoff.max.ms", "1000")
            .create()
            .expect("a producer is created");
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "nobody")
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "1000")
            .create()
            .expect("a consumer is created");
        let topics = [
            ("session-event", 8),
            ("session-command-result", 8),
            ("session-dead-letter", 1),
        ];
        let mut all = TopicPartitionList::new();
        for (topic, partitions) in topics {
            for partition in 0..partitions {
                all.add_partition_offset(&deployment.topic(topic), partition, Offset::Beginning)
                    .expect("an offset that exists");
            }
        }
        consumer.assign(&all).expect("the partitions are assigned");
        let outputs: Arc<Mutex<Outputs>> = Arc::default();
        let over = Arc::new(AtomicBool::new(false));
        let names = topics.map(|(topic, _)| deployment.topic(topic));
        let reader = std::thread::spawn({
            let (outputs, over) = (Arc::clone(&outputs), Arc::clone(&over));
            move || {
                while !over.load(Ordering::Relaxed) {
                    // Errors are the outages that tests make; it goes on by itself.
                    if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                        take(&mut outputs.lock().expect("unpoisoned"), &names, &message);
                    }
                }
            }
        });
        Self {
            deployment: deployment.clone(),
            producer,
            outputs,
            over,
            reader: Some(reader),
        }
    }

    /// Writes one record, and returns when it is written.
    pub(crate) async fn write(
        &self,
        topic: &str,
        key: &str,
        value: &[u8],
        headers: &[(&str, &str)],
    ) {
        let topic = self.deployment.topic(topic);
        let mut all = OwnedHeaders::new();
        for (key, value) in headers {
            all = all.insert(Header {
                key,
                value: Some(*value),
            });
        }
        let record = FutureRecord::to(&topic)
            .key(key)
            .payload(value)
            .headers(all);
        let written = self.producer.send(record, PATIENCE).await;
        written
            .map_err(|(error, _)| error)
            .expect("the broker takes it");
    }

    /// Sends a command as JSON and returns its id.
    pub(crate) async fn send(&self, user: &str, branch: &str, body: &Value) -> String {
        let command = command(user, branch, body);
        self.write_command(&command).await
    }

    /// Sends a command that was made with [`command`], and returns its id.
    pub(crate) async fn write_command(&self, command: &Value) -> String {
        let id = text(&command["commandId"]);
        self.write("session-command", &id, command.to_string().as_bytes(), &[])
            .await;
        id
    }

    /// Sends a command as JSON and returns its result.
    pub(crate) async fn ask(&self, user: &str, branch: &str, body: Value) -> Value {
        let id = self.send(user, branch, &body).await;
        self.result(&id).await
    }

    /// The same, and it is accepted.
    pub(crate) async fn accepted(&self, user: &str, branch: &str, body: Value) -> Value {
        let result = self.ask(user, branch, body).await;
        assert_eq!(result["outcome"], "accepted", "{branch}: {result}");
        result
    }

    /// The same, and it is refused; the code.
    pub(crate) async fn refused(&self, user: &str, branch: &str, body: Value) -> (String, i64) {
        let result = self.ask(user, branch, body).await;
        assert_eq!(result["outcome"], "rejected", "{branch}: {result}");
        let status = result["httpStatus"].as_i64().expect("a status");
        (text(&result["code"]), status)
    }

    /// Makes a private session and returns its id and code.
    pub(crate) async fn private(&self, host: &str, seats: i32) -> (String, String) {
        let body = json!({"targetLanguageCode": "fr", "maxParticipants": seats});
        let made = self.accepted(host, "CreatePrivateSession", body).await;
        assert_eq!(made["httpStatus"], 201, "{made}");
        (text(&made["sessionId"]), text(&made["inviteCode"]))
    }

    /// Sends a match as JSON and returns its result.
    pub(crate) async fn matched(&self, users: &[&str]) -> Value {
        let found = found(users);
        let id = text(&found["matchId"]);
        self.write("match-found", &id, found.to_string().as_bytes(), &[])
            .await;
        self.result(&id).await
    }

    /// The first result of a command or match.
    pub(crate) async fn result(&self, id: &str) -> Value {
        let mut results = self.results(id, 1).await;
        results.remove(0)
    }

    /// The results of a command or match, when there are `count`.
    pub(crate) async fn results(&self, id: &str, count: usize) -> Vec<Value> {
        let results = self.seen_results(id, count).await;
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// The same with their records.
    pub(crate) async fn seen_results(&self, id: &str, count: usize) -> Vec<(Seen, Value)> {
        self.until(&format!("{count} results of {id}"), |outputs| {
            let found = outputs
                .results
                .iter()
                .filter(|(_, result)| result["commandId"] == id);
            let found: Vec<_> = found.cloned().collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }

    /// The events of a session once `last` is among them, in order, without repeats.
    pub(crate) async fn events(&self, session: &str, last: &str) -> Vec<Value> {
        self.seen_events(session, last)
            .await
            .into_iter()
            .map(|(_, event)| event)
            .collect()
    }

    /// The same with their records.
    pub(crate) async fn seen_events(&self, session: &str, last: &str) -> Vec<(Seen, Value)> {
        self.until(&format!("{last} of {session}"), |outputs| {
            let events = once(outputs, session);
            let is_there = events.iter().any(|(_, event)| event["type"] == last);
            is_there.then_some(events)
        })
        .await
    }

    /// Waits for a dead letter with this key.
    pub(crate) async fn dead_letter(&self, key: &str) -> Seen {
        self.until(&format!("a dead letter {key}"), |outputs| {
            let mut letters = outputs.dead_letters.iter();
            letters
                .find(|seen| seen.key.as_deref() == Some(key.as_bytes()))
                .cloned()
        })
        .await
    }

    /// Waits until there are `count` dead letters.
    pub(crate) async fn dead_letter_count(&self, count: usize) {
        self.until(&format!("{count} dead letters"), |outputs| {
            (outputs.dead_letters.len() >= count).then_some(())
        })
        .await;
    }

    /// How many dead letters there are so far.
    pub(crate) fn dead_letters(&self) -> usize {
        self.outputs.lock().expect("unpoisoned").dead_letters.len()
    }

    /// Whether a result for `id` has been seen.
    pub(crate) fn is_answered(&self, id: &str) -> bool {
        let outputs = self.outputs.lock().expect("unpoisoned");
        outputs
            .results
            .iter()
            .any(|(_, result)| result["commandId"] == id)
    }

    /// Waits until one of `ids` is answered.
    pub(crate) async fn any_result(&self, ids: &[String]) {
        self.until("answer to any command", |outputs| {
            let mut results = outputs.results.iter();
            results
                .any(|(_, result)| ids.iter().any(|id| result["commandId"] == id.as_str()))
                .then_some(())
        })
        .await;
    }

    async fn until<T>(&self, what: &str, mut condition: impl FnMut(&Outputs) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            let found = condition(&self.outputs.lock().expect("unpoisoned"));
            if let Some(found) = found {
                return found;
            }
            if began.elapsed() > PATIENCE {
                let outputs = self.outputs.lock().expect("unpoisoned");
                let (events, results) = (outputs.events.len(), outputs.results.len());
                let letters = &outputs.dead_letters;
                panic!("no {what}: {events} events, {results} results, dead letters {letters:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Guarantees 1 and 2 (contract 3) for `commands`, each sent once: one result by content, and
    /// events without a gap, in order, in one partition a session, repeats to the byte.
    pub(crate) async fn guarantees_hold(&self, commands: &[String]) {
        self.settled(commands).await;
        self.results_agree(&[]);
        self.events_are_gapless();
        let outputs = self.outputs.lock().expect("unpoisoned");
        assert_eq!(outputs.dead_letters.len(), 0, "{:?}", outputs.dead_letters);
    }

    /// Waits until all `commands` have results, and the events that the results tell of are there.
    pub(crate) async fn settled(&self, commands: &[String]) {
        let wanted: BTreeSet<&str> = commands.iter().map(String::as_str).collect();
        self.until(
            "result of every command and the events it tells of",
            |outputs| {
                let mut ends: BTreeMap<&str, i64> = BTreeMap::new();
                for (_, event) in &outputs.events {
                    let end = ends.entry(event["sessionId"].as_str()?).or_default();
                    *end = (*end).max(event["sequence"].as_i64()?);
                }
                let mut missing = wanted.clone();
                for (_, result) in &outputs.results {
                    let told = result["sequence"].as_i64().unwrap_or(0);
                    let session = result["sessionId"].as_str().unwrap_or("");
                    if ends.get(session).copied().unwrap_or(0) >= told {
                        missing.remove(result["commandId"].as_str()?);
                    }
                }
                missing.is_empty().then_some(())
            },
        )
        .await;
    }

    /// All results of a command are the same, except for those of `others`.
    pub(crate) fn results_agree(&self, others: &[String]) {
        let outputs = self.outputs.lock().expect("unpoisoned");
        let mut firsts: BTreeMap<&str, &Value> = BTreeMap::new();
        for (_, result) in &outputs.results {
            let id = result["commandId"].as_str().expect("an id");
            let first = firsts.entry(id).or_insert(result);
            let is_exempt = others.iter().any(|other| other == id);
            assert!(is_exempt || *first == result, "{id} has two results");
        }
    }

    /// Every session's events have no gap and one partition, and repeats the same bytes.
    pub(crate) fn events_are_gapless(&self) {
        let outputs = self.outputs.lock().expect("unpoisoned");
        let mut last: BTreeMap<&str, (i32, Vec<&[u8]>)> = BTreeMap::new();
        for (seen, event) in &outputs.events {
            let session = event["sessionId"].as_str().expect("an id");
            let sequence = event["sequence"].as_u64().expect("a sequence");
            let sequence = usize::try_from(sequence).expect("a small one");
            let of_session = last.entry(session).or_insert((seen.partition, Vec::new()));
            assert_eq!(of_session.0, seen.partition, "{session} in two partitions");
            if let Some(before) = of_session.1.get(sequence - 1) {
                assert_eq!(*before, seen.value, "{session}/{sequence} has two contents");
            } else {
                assert_eq!(sequence, of_session.1.len() + 1, "a gap in {session}");
                of_session.1.push(&seen.value);
            }
        }
    }
}

fn once(outputs: &Outputs, session: &str) -> Vec<(Seen, Value)> {
    let mut events: Vec<(Seen, Value)> = Vec::new();
    let of_session = outputs
        .events
        .iter()
        .filter(|(_, event)| event["sessionId"] == session);
    for (seen, event) in of_session {
        let sequence = event["sequence"].as_u64().expect("a sequence");
        let due = events.len() as u64 + 1;
        assert!(
            sequence <= due,
            "{sequence} of {session} where {due} was due"
        );
        if sequence == due {
            events.push((seen.clone(), event.clone()));
        }
    }
    events
}

fn take(
    outputs: &mut Outputs,
    names: &[String; 3],
    message: &rdkafka::message::BorrowedMessage<'_>,
) {
    let headers = message.headers().map(|headers| {
        headers
            .iter()
            .map(|header| {
                (
                    header.key.to_owned(),
                    header.value.unwrap_or_default().to_vec(),
                )
            })
            .collect()
    });
    let seen = Seen {
        partition: message.partition(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().unwrap_or_default().to_vec(),
        headers: headers.unwrap_or_default(),
    };
    if message.topic() == names[0] {
        let event = read(&EVENT, &seen.value);
        outputs.events.push((seen, event));
    } else if message.topic() == names[1] {
        let result = read(&RESULT, &seen.value);
        outputs.results.push((seen, result));
    } else {
        outputs.dead_letters.push(seen);
    }
}

fn read(schema: &Schema, value: &[u8]) -> Value {
    assert_eq!(value[0], 0, "Confluent's frame begins with a zero");
    let reader = GenericDatumReader::builder(schema)
        .build()
        .expect("a reader");
    let datum = reader.read_value(&mut &value[5..]).expect("it decodes");
    Value::try_from(datum).expect("it can be shown as JSON")
}

/// A JSON text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The types of `events`, in order.
pub(crate) fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().expect("a text"))
        .collect()
}

/// A name that no other test uses.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4().simple())
}

/// Now, by this machine's clock, in milliseconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970");
    i64::try_from(since.as_millis()).expect("it fits")
}

/// A command as JSON (contract 1, input values).
pub(crate) fn command(user: &str, branch: &str, body: &Value) -> Value {
    json!({
        "commandId": unique("command"), "issuedAt": now(), "userId": user,
        "command": {branch: body},
    })
}

/// A match as JSON.
pub(crate) fn found(users: &[&str]) -> Value {
    let users: Vec<_> = users.iter().map(|user| json!({"userId": user})).collect();
    json!({
        "matchId": unique("match"), "matchedAt": now(), "targetLanguageCode": "fr",
        "participants": users,
    })
}

/// A command's JSON in Avro by the schema that the registry has; every field must be given.
pub(crate) fn avro_command(id: u32, command: &Value) -> Vec<u8> {
    let (branch, body) = command["command"]
        .as_object()
        .and_then(|branches| branches.iter().next())
        .expect("a branch");
    let Schema::Record(record) = &*COMMAND else {
        panic!("a command is a record")
    };
    let field = record.fields.iter().find(|field| field.name == "command");
    let Some(Schema::Union(union)) = field.map(|field| &field.schema) else {
        panic!("a command's body is a union")
    };
    let (index, schema) = named(union, branch);
    let body = avro(body)
        .resolve(schema)
        .expect("the body fits its branch");
    let datum = Avro::Record(vec![
        (
            "commandId".to_owned(),
            Avro::String(text(&command["commandId"])),
        ),
        (
            "issuedAt".to_owned(),
            Avro::TimestampMillis(command["issuedAt"].as_i64().expect("an instant")),
        ),
        ("userId".to_owned(), Avro::String(text(&command["userId"]))),
        ("tier".to_owned(), Avro::Enum(0, "free".to_owned())),
        ("command".to_owned(), Avro::Union(index, Box::new(body))),
    ]);
    framed(id, &COMMAND, datum)
}

/// A match's JSON in Avro.
pub(crate) fn avro_match(id: u32, found: &Value) -> Vec<u8> {
    let datum = avro(found)
        .resolve(&MATCH)
        .expect("the match fits its schema");
    framed(id, &MATCH, datum)
}

fn avro(json: &Value) -> Avro {
    match json {
        Value::Null => Avro::Null,
        Value::Bool(value) => Avro::Boolean(*value),
        Value::Number(number) => Avro::Long(number.as_i64().expect("a whole number")),
        Value::String(text) => Avro::String(text.clone()),
        Value::Array(items) => Avro::Array(items.iter().map(avro).collect()),
        Value::Object(fields) => {
            let fields = fields.iter();
            Avro::Map(
                fields
                    .map(|(key, value)| (key.clone(), avro(value)))
                    .collect(),
            )
        }
    }
}

fn named<'union>(union: &'union UnionSchema, branch: &str) -> (u32, &'union Schema) {
    let mut branches = (0..).zip(union.variants());
    branches
        .find(|(_, schema)| schema.name().is_some_and(|name| name.name() == branch))
        .expect("the schema has the branch")
}

fn framed(id: u32, schema: &Schema, datum: Avro) -> Vec<u8> {
    let writer = GenericDatumWriter::builder(schema)
        .build()
        .expect("a writer");
    let mut bytes = vec![0];
    bytes.extend(id.to_be_bytes());
    bytes.extend(writer.write_value_to_vec(datum).expect("it is written"));
    bytes
}

/// The registry's id of the schema in `subject`.
pub(crate) async fn schema_id(deployment: &Deployment, topic: &str) -> u32 {
    let registry = &deployment.parts.registry;
    let subject = format!("{}-value", deployment.topic(topic));
    let url = format!("{registry}/subjects/{subject}/versions/latest");
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let answer = client.get(url).send().await.expect("the registry answers");
    let body: Value = answer.json().await.expect("JSON");
    let id = body["id"].as_u64().expect("an id");
    u32::try_from(id).expect("ids are 32 bits")
}
