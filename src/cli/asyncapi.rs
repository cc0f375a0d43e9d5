//! `asyncapi`: the topics as an AsyncAPI 3.0 document, from topics.yaml and the compiled-in schemas, so
//! that it says nothing else than the worker does. Asks nobody.

use serde_json::{Value, json};

use super::Done;
use super::failure::Failure;
use super::flags::{SettingsFlags, TopicsFlag};
use super::output;
use crate::kafka::topics::{Topic, Topics};
use crate::record::TopicNames;
use crate::wire::{
    MATCH_FOUND, MAX_VALUE, REPLAY_COUNT, REPLAY_OF, SESSION_COMMAND, SESSION_COMMAND_RESULT,
    SESSION_EVENT,
};

/// The AsyncAPI bindings for Kafka that are followed.
const BINDING: &str = "0.5.0";
const AVRO: &str = "application/vnd.apache.avro;version=1.9.0";

/// Prints the document.
pub(super) fn run(flags: &SettingsFlags, file: &TopicsFlag) -> Result<Done, Failure> {
    let effective = flags.load()?;
    let names = &effective.settings.topics;
    let topics = file.load(names)?;
    let document = document(&topics, names, &effective.settings.kafka.group_id)?;
    output::print(format!("{document:#}\n").as_bytes())?;
    Ok(Done::Ok)
}

/// A topic as the document speaks of it.
struct Channel<'a> {
    id: &'static str,
    topic: &'a Topic,
    messages: &'static [&'static str],
}

impl Channel<'_> {
    fn described(&self) -> Value {
        let Self {
            topic, messages, ..
        } = self;
        let messages: serde_json::Map<String, Value> = messages
            .iter()
            .map(|name| ((*name).to_owned(), refer(&["components", "messages", name])))
            .collect();
        let mut kafka = json!({
            "topic": topic.name,
            "partitions": topic.partitions,
            "bindingVersion": BINDING,
        });
        if topic.replication_factor > 0 {
            kafka["replicas"] = json!(topic.replication_factor);
        }
        let config: serde_json::Map<String, Value> = topic
            .config
            .iter()
            // The binding has these as numbers, and no others of those in use.
            .filter_map(|(name, text)| Some((name.clone(), json!(text.parse::<i64>().ok()?))))
            .collect();
        if !config.is_empty() {
            kafka["topicConfiguration"] = config.into();
        }
        let mut channel = json!({
            "address": topic.name,
            "title": topic.name,
            "description": topic.doc,
            "messages": messages,
            "bindings": {"kafka": kafka},
        });
        if let (Some(subject), Some(rule)) = (&topic.subject, topic.compatibility) {
            channel["x-subject"] = json!(subject);
            channel["x-compatibility"] = json!(rule.to_string());
        }
        channel
    }
}

fn document(topics: &Topics, names: &TopicNames, group: &str) -> Result<Value, Failure> {
    let topic = |name: &str| {
        topics.get(name).ok_or_else(|| {
            Failure::Usage(format!(
                "the topics file does not name {name}; add it, or leave --topics out"
            ))
        })
    };
    let channel = |id, name: &str, messages| {
        let topic = topic(name)?;
        Ok::<_, Failure>(Channel {
            id,
            topic,
            messages,
        })
    };
    let channels = [
        channel("matchFound", &names.match_found, &["MatchFound"])?,
        channel(
            "sessionCommand",
            &names.session_command,
            &["SessionCommand", "ForwardedRecord"],
        )?,
        channel("sessionEvent", &names.session_event, &["SessionEvent"])?,
        channel(
            "sessionCommandResult",
            &names.session_command_result,
            &["CommandResult"],
        )?,
        channel(
            "sessionDeadLetter",
            &names.session_dead_letter,
            &["DeadLetter"],
        )?,
    ];
    let described: serde_json::Map<String, Value> = channels
        .iter()
        .map(|channel| (channel.id.to_owned(), channel.described()))
        .collect();
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "session-worker",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Live conversation sessions over Kafka: matches and commands come in, \
                events and results go out. Every command and match that can be decoded gets exactly \
                one result, and one more, replayed, for each duplicate. Keys are UTF-8, partitioned \
                by murmur2_random. Described from the worker's side: it receives what you send.",
            "license": {"name": env!("CARGO_PKG_LICENSE")},
        },
        "channels": described,
        "operations": operations(group),
        "components": {
            "messages": messages(),
            "schemas": headers(),
        },
    }))
}

fn refer(path: &[&str]) -> Value {
    json!({"$ref": format!("#/{}", path.join("/"))})
}

fn operations(group: &str) -> Value {
    let messages = |channel: &str, names: &[&str]| {
        let refers = names
            .iter()
            .map(|name| refer(&["channels", channel, "messages", name]));
        refers.collect::<Vec<_>>()
    };
    let receive = |channel: &str, name: &str, summary: &str| {
        json!({
            "action": "receive",
            "channel": refer(&["channels", channel]),
            "messages": messages(channel, &[name]),
            "summary": summary,
            "reply": {
                "channel": refer(&["channels", "sessionCommandResult"]),
                "messages": messages("sessionCommandResult", &["CommandResult"]),
            },
            "bindings": {"kafka": {
                "groupId": {"type": "string", "enum": [group]},
                "bindingVersion": BINDING,
            }},
        })
    };
    let send = |channel: &str, name: &str, summary: &str| {
        json!({
            "action": "send",
            "channel": refer(&["channels", channel]),
            "messages": messages(channel, &[name]),
            "summary": summary,
        })
    };
    json!({
        "receiveMatch": receive(
            "matchFound", "MatchFound",
            "A match, or a backfill, becomes a session; the result's commandId is the matchId.",
        ),
        "receiveCommand": receive(
            "sessionCommand", "SessionCommand",
            "A command is judged; send it again with the same commandId until there is a result.",
        ),
        "receiveForwarded": receive(
            "sessionCommand", "ForwardedRecord",
            "The worker's own: a record that arrived elsewhere, at its session's home.",
        ),
        "forward": send(
            "sessionCommand", "ForwardedRecord",
            "A record that arrived elsewhere goes to its session's home partition.",
        ),
        "publishEvent": send(
            "sessionEvent", "SessionEvent",
            "What happened; again with the same bytes after a crash: keep the last sequence.",
        ),
        "publishResult": send(
            "sessionCommandResult", "CommandResult",
            "The answer to a command or a match.",
        ),
        "publishDeadLetter": send(
            "sessionDeadLetter", "DeadLetter",
            "What can never succeed, as it came; not what a rule refuses.",
        ),
    })
}

fn messages() -> Value {
    let key = |what: &str| json!({"type": "string", "description": what});
    let avro = |schema: &str| {
        let schema: Value = serde_json::from_str(schema)
            .expect("the compiled-in schemas are JSON: tests parse them");
        json!({"schemaFormat": AVRO, "schema": schema})
    };
    let kafka = |key: Value| {
        json!({"kafka": {
            "key": key,
            "schemaIdLocation": "payload",
            "schemaIdPayloadEncoding": "confluent",
            "schemaLookupStrategy": "TopicIdStrategy",
            "bindingVersion": BINDING,
        }})
    };
    let either = "Avro in Confluent's wire format, or JSON where the first byte is `{`. In JSON only \
        the union in `command` names its branch; a nullable field is the bare value or null, an \
        instant is integer milliseconds, and a field with a default may be absent.";
    let at_most = format!("{either} At most {MAX_VALUE} bytes.");
    json!({
        "MatchFound": {
            "name": "MatchFound",
            "title": "A match",
            "summary": "A match that matchmaking made, or a backfill of a public session.",
            "description": at_most,
            "contentType": "application/avro",
            "headers": refer(&["components", "schemas", "InputHeaders"]),
            "correlationId": {"location": "$message.payload#/matchId"},
            "payload": avro(MATCH_FOUND),
            "bindings": kafka(key("matchId")),
        },
        "SessionCommand": {
            "name": "SessionCommand",
            "title": "A command",
            "summary": "What a user asks for; AdmitMatch is the worker's own and refused from others.",
            "description": at_most,
            "contentType": "application/avro",
            "headers": refer(&["components", "schemas", "InputHeaders"]),
            "correlationId": {"location": "$message.payload#/commandId"},
            "payload": avro(SESSION_COMMAND),
            "bindings": kafka(key("sessionId where the sender knows it; any key is accepted")),
        },
        "ForwardedRecord": {
            "name": "ForwardedRecord",
            "title": "A record on its way home",
            "summary": "A copy that the worker wrote; other readers skip records with sw-forward.",
            "description": "A command's bytes as they came, or a match as AdmitMatch.",
            "contentType": "application/avro",
            "headers": refer(&["components", "schemas", "ForwardHeaders"]),
            "correlationId": {"location": "$message.payload#/commandId"},
            "payload": avro(SESSION_COMMAND),
            "bindings": kafka(key("sessionId")),
        },
        "SessionEvent": {
            "name": "SessionEvent",
            "title": "An event",
            "summary": "Something happened in a session; in order, without a gap, per session.",
            "contentType": "application/avro",
            "headers": refer(&["components", "schemas", "CloudEventHeaders"]),
            "correlationId": {"location": "$message.payload#/causationId"},
            "payload": avro(SESSION_EVENT),
            "bindings": kafka(key("sessionId")),
        },
        "CommandResult": {
            "name": "CommandResult",
            "title": "A result",
            "summary": "The answer to one command or match.",
            "contentType": "application/avro",
            "headers": refer(&["components", "schemas", "CloudEventHeaders"]),
            "correlationId": {"location": "$message.payload#/commandId"},
            "payload": avro(SESSION_COMMAND_RESULT),
            "bindings": kafka(key("commandId, or matchId for a match")),
        },
        "DeadLetter": {
            "name": "DeadLetter",
            "title": "A dead letter",
            "summary": "A record that can never succeed, with its original key, headers and bytes.",
            "description": "The value is cut beyond 1 MiB; dlq-truncated then says its size.",
            "contentType": "application/octet-stream",
            "headers": refer(&["components", "schemas", "DeadLetterHeaders"]),
            "bindings": {"kafka": {"key": key("the original key"), "bindingVersion": BINDING}},
        },
    })
}

/// Headers by message: their values are UTF-8 text unless they say otherwise.
fn headers() -> Value {
    let passed = [
        (
            "traceparent",
            "W3C trace context; comes back on what the record causes.",
        ),
        (
            "tracestate",
            "W3C trace context; comes back on what the record causes.",
        ),
        (
            "correlation-id",
            "The sender's own; comes back on what the record causes.",
        ),
    ];
    let replayed = [
        (
            REPLAY_COUNT,
            "How often the record was sent again from the dead letters.",
        ),
        (
            REPLAY_OF,
            "The dead letter it was last sent again from: topic/partition/offset.",
        ),
    ];
    let cloud = [
        ("content-type", "application/avro"),
        ("ce_specversion", "1.0"),
        ("ce_id", "The eventId or the commandId."),
        ("ce_source", "session-worker"),
        ("ce_type", "The event's type, or session.command.result."),
        ("ce_time", "When it was decided, RFC 3339."),
    ];
    let subject = [(
        "ce_subject",
        "The sessionId; absent where a result concerns no session.",
    )];
    let forward = [(
        "sw-forward",
        "topic/partition/offset/hops of the record's first arrival.",
    )];
    let dead = [
        (
            "dlq-reason",
            "undecodable, unknown_schema, too_large, forbidden or bug.",
        ),
        ("dlq-message", "The same in words, without payload."),
        ("dlq-topic", "Where it came from."),
        ("dlq-partition", "Its partition there."),
        ("dlq-offset", "Its offset there."),
        (
            "dlq-timestamp",
            "Its timestamp there, in milliseconds; -1 where it had none.",
        ),
        ("dlq-group", "The consumer group."),
        ("dlq-failed-at", "When it was given up, RFC 3339."),
        ("kafka_dlt-original-topic", "As dlq-topic, for Spring."),
        ("kafka_dlt-original-partition", "4 bytes, big-endian."),
        ("kafka_dlt-original-offset", "8 bytes, big-endian."),
        ("kafka_dlt-original-timestamp", "8 bytes, big-endian."),
    ];
    let sometimes_dead = [
        (
            "dlq-schema-id",
            "The id in the value's frame, where it has one.",
        ),
        ("dlq-truncated", "The value's size, where it was cut."),
        ("dlq-key-truncated", "The key's size, where it was cut."),
        (
            "dlq-headers-dropped",
            "How many headers were not kept, where any.",
        ),
    ];
    json!({
        "InputHeaders": object(&[], &[&passed, &replayed]),
        "ForwardHeaders": object(&[&forward], &[&passed, &replayed]),
        "CloudEventHeaders": object(&[&cloud], &[&subject, &passed]),
        "DeadLetterHeaders": object(&[&dead], &[&sometimes_dead, &passed, &replayed]),
    })
}

type Described<'a> = &'a [(&'a str, &'a str)];

fn object(always: &[Described<'_>], sometimes: &[Described<'_>]) -> Value {
    let all = always
        .iter()
        .chain(sometimes)
        .flat_map(|headers| headers.iter());
    let properties: serde_json::Map<String, Value> = all
        .map(|(name, what)| {
            let described = json!({"type": "string", "description": what});
            ((*name).to_owned(), described)
        })
        .collect();
    let required: Vec<&str> = always
        .iter()
        .flat_map(|headers| headers.iter().map(|(name, _)| *name))
        .collect();
    let mut object = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(names: &TopicNames) -> Value {
        let topics = Topics::compiled_in().renamed(names);
        document(&topics, names, "session-worker").expect("every topic is there")
    }

    /// Every `$ref` below `value`.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(target)) = object.get("$ref") {
                    found.push(target.clone());
                }
                object.values().for_each(|below| references(below, found));
            }
            Value::Array(items) => items.iter().for_each(|below| references(below, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = of(&TopicNames::default());
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20);
        for target in found {
            let path = target.strip_prefix('#').expect("within the document");
            assert!(document.pointer(path).is_some(), "{target}");
        }
    }

    #[test]
    fn every_topic_has_its_channel_with_its_name_partitions_and_subject() {
        let document = of(&TopicNames::default());
        let channels = document["channels"].as_object().expect("an object");
        let topics = Topics::compiled_in();
        assert_eq!(channels.len(), topics.iter().count());
        for topic in topics.iter() {
            let mut named = channels.values();
            let channel = named
                .find(|channel| channel["address"] == *topic.name)
                .unwrap_or_else(|| panic!("no channel {}", topic.name));
            assert_eq!(channel["bindings"]["kafka"]["partitions"], topic.partitions);
            assert_eq!(channel["x-subject"], json!(topic.subject));
        }
    }

    #[test]
    fn every_schema_is_the_payload_of_a_message_that_a_channel_has() {
        let document = of(&TopicNames::default());
        let messages = document["components"]["messages"]
            .as_object()
            .expect("an object");
        let in_channels: BTreeSet<String> = document["channels"]
            .as_object()
            .expect("an object")
            .values()
            .flat_map(|channel| {
                channel["messages"]
                    .as_object()
                    .expect("an object")
                    .keys()
                    .cloned()
            })
            .collect();
        assert_eq!(in_channels, messages.keys().cloned().collect());
        for schema in [
            MATCH_FOUND,
            SESSION_COMMAND,
            SESSION_EVENT,
            SESSION_COMMAND_RESULT,
        ] {
            let schema: Value = serde_json::from_str(schema).expect("JSON");
            let found = messages.values().any(|message| {
                message["payload"]["schemaFormat"] == AVRO && message["payload"]["schema"] == schema
            });
            assert!(found, "{}", schema["name"]);
        }
        for (name, message) in messages {
            assert!(message["bindings"]["kafka"]["key"].is_object(), "{name}");
            assert!(message["headers"].is_object(), "{name}");
        }
    }

    #[test]
    fn commands_and_matches_are_answered_by_results() {
        let document = of(&TopicNames::default());
        for operation in ["receiveMatch", "receiveCommand"] {
            let operation = &document["operations"][operation];
            assert_eq!(operation["action"], "receive");
            assert_eq!(
                operation["reply"]["channel"]["$ref"],
                "#/channels/sessionCommandResult"
            );
        }
        let operations = document["operations"].as_object().expect("an object");
        for (name, operation) in operations {
            // A message of an operation has to be one of its channel's.
            let channel = operation["channel"]["$ref"].as_str().expect("a reference");
            for message in operation["messages"].as_array().expect("a list") {
                let message = message["$ref"].as_str().expect("a reference");
                assert!(
                    message.starts_with(&format!("{channel}/messages/")),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn renamed_topics_are_named_as_in_the_broker() {
        let names = TopicNames {
            session_event: "eu.session-event".into(),
            ..TopicNames::default()
        };
        let channel = &of(&names)["channels"]["sessionEvent"];
        assert_eq!(channel["address"], "eu.session-event");
        assert_eq!(channel["x-subject"], "eu.session-event-value");
    }

    #[test]
    fn the_headers_are_those_that_the_worker_writes() {
        let headers = headers();
        let names = |schema: &str| -> BTreeSet<String> {
            let properties = headers[schema]["properties"].as_object();
            properties.expect("an object").keys().cloned().collect()
        };
        for name in ["ce_id", "ce_subject", "traceparent", "correlation-id"] {
            assert!(names("CloudEventHeaders").contains(name), "{name}");
        }
        for name in ["dlq-reason", "kafka_dlt-original-offset", REPLAY_COUNT] {
            assert!(names("DeadLetterHeaders").contains(name), "{name}");
        }
        assert!(names("ForwardHeaders").contains("sw-forward"));
    }
}
