//! The shapes of input values, the same for Avro and JSON, and what they mean to the domain. A record
//! is given by its fields' names, never by position; defaults are those of the `.avsc` (a test
//! compares them). JSON fails with where and what was expected, never with what was there.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};

use crate::domain::{Action, Command, Match, MatchedUser, Message, Tier, Timestamp};

/// A value of `match-found`.
pub(super) type MatchFoundValue = Named<MatchFound>;
/// A value of `session-command`.
pub(super) type SessionCommandValue = Named<SessionCommand>;

/// A record. Serde's derived shapes also take a JSON array for a record; this takes an object only.
#[derive(Debug)]
pub(super) struct Named<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

#[derive(Debug, Default)]
enum Subscription {
    #[default]
    Free,
    Premium,
}

impl<'de> Deserialize<'de> for Subscription {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Symbol;

        impl Visitor<'_> for Symbol {
            type Value = Subscription;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("free or premium")
            }

            fn visit_str<E: de::Error>(self, symbol: &str) -> Result<Subscription, E> {
                match symbol {
                    "free" => Ok(Subscription::Free),
                    "premium" => Ok(Subscription::Premium),
                    _ => Err(E::invalid_value(de::Unexpected::Other("symbol"), &self)),
                }
            }
        }

        deserializer.deserialize_str(Symbol)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MatchFound {
    match_id: String,
    matched_at: i64,
    target_language_code: String,
    topic_id: Option<String>,
    topic_title: Option<String>,
    participants: Vec<Named<User>>,
    #[serde(default = "min_participants")]
    min_participants: i32,
    #[serde(default = "max_participants")]
    max_participants: i32,
    session_id: Option<String>,
}

fn min_participants() -> i32 {
    2
}

fn max_participants() -> i32 {
    6
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct User {
    user_id: String,
    #[serde(default)]
    tier: Subscription,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SessionCommand {
    command_id: String,
    issued_at: i64,
    user_id: String,
    #[serde(default)]
    tier: Subscription,
    command: Branch,
}

#[derive(Debug, Deserialize)]
enum Branch {
    CreatePrivateSession(Named<CreatePrivateSession>),
    JoinSession(Named<JoinSession>),
    StartSession(Named<OnSession>),
    EndSession(Named<OnSession>),
    LeaveSession(Named<LeaveSession>),
    ConnectParticipant(Named<ConnectParticipant>),
    DisconnectParticipant(Named<DisconnectParticipant>),
    ReportSpeakingTime(Named<ReportSpeakingTime>),
    AdmitMatch(Named<MatchFound>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreatePrivateSession {
    session_id: Option<String>,
    target_language_code: String,
    topic_id: Option<String>,
    topic_title: Option<String>,
    #[serde(default = "private_max_participants")]
    max_participants: i32,
}

fn private_max_participants() -> i32 {
    4
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JoinSession {
    invite_code: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OnSession {
    session_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LeaveSession {
    session_id: String,
    speaking_time_seconds: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConnectParticipant {
    session_id: String,
    connection_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DisconnectParticipant {
    session_id: String,
    connection_id: String,
    speaking_time_seconds: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReportSpeakingTime {
    session_id: String,
    speaking_time_seconds: i64,
}

impl From<Subscription> for Tier {
    fn from(tier: Subscription) -> Self {
        match tier {
            Subscription::Free => Self::Free,
            Subscription::Premium => Self::Premium,
        }
    }
}

impl From<MatchFound> for Match {
    fn from(found: MatchFound) -> Self {
        let users = found.participants.into_iter();
        Self {
            match_id: found.match_id,
            matched_at: Timestamp(found.matched_at),
            target_language_code: found.target_language_code,
            topic_id: found.topic_id,
            topic_title: found.topic_title,
            participants: users
                .map(|Named(user)| MatchedUser {
                    user_id: user.user_id,
                    tier: user.tier.into(),
                })
                .collect(),
            min_participants: found.min_participants,
            max_participants: found.max_participants,
            session_id: found.session_id,
        }
    }
}

impl From<MatchFoundValue> for Message {
    fn from(Named(found): MatchFoundValue) -> Self {
        Self::Match(found.into())
    }
}

/// Of an `AdmitMatch` only the branch counts: what is around it says nothing that a match has.
impl From<SessionCommandValue> for Message {
    fn from(Named(value): SessionCommandValue) -> Self {
        let action = match value.command {
            Branch::AdmitMatch(Named(found)) => return Self::Match(found.into()),
            Branch::CreatePrivateSession(Named(create)) => Action::CreatePrivateSession {
                session_id: create.session_id,
                target_language_code: create.target_language_code,
                topic_id: create.topic_id,
                topic_title: create.topic_title,
                max_participants: create.max_participants,
            },
            Branch::JoinSession(Named(join)) => Action::JoinSession {
                invite_code: join.invite_code,
            },
            Branch::StartSession(Named(start)) => Action::StartSession {
                session_id: start.session_id,
            },
            Branch::EndSession(Named(end)) => Action::EndSession {
                session_id: end.session_id,
            },
            Branch::LeaveSession(Named(leave)) => Action::LeaveSession {
                session_id: leave.session_id,
                speaking_time_seconds: leave.speaking_time_seconds,
            },
            Branch::ConnectParticipant(Named(connect)) => Action::ConnectParticipant {
                session_id: connect.session_id,
                connection_id: connect.connection_id,
            },
            Branch::DisconnectParticipant(Named(disconnect)) => Action::DisconnectParticipant {
                session_id: disconnect.session_id,
                connection_id: disconnect.connection_id,
                speaking_time_seconds: disconnect.speaking_time_seconds,
            },
            Branch::ReportSpeakingTime(Named(report)) => Action::ReportSpeakingTime {
                session_id: report.session_id,
                speaking_time_seconds: report.speaking_time_seconds,
            },
        };
        Self::Command(Command {
            command_id: value.command_id,
            issued_at: Timestamp(value.issued_at),
            user_id: value.user_id,
            tier: value.tier.into(),
            action,
        })
    }
}

/// Reads a JSON value, the whole of `bytes`.
///
/// # Errors
/// Why not, without payload.
pub(super) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        let text = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(text, _)| text);
        // About syntax serde_json speaks in words of its own, about data it quotes.
        let why = if error.is_data() {
            without_payload(text)
        } else {
            text.to_owned()
        };
        format!(
            "JSON: {why} at line {} column {}",
            error.line(),
            error.column()
        )
    })
}

/// The longest name of a sender's that is repeated in a reason.
const NAME_MAX: usize = 64;

/// What serde says, less what it quotes from the payload's values. A name that is missing or duplicate is
/// ours, and so is what was expected, the last part of the text. An unknown name is the sender's: it is
/// repeated where it looks like a name.
fn without_payload(text: &str) -> String {
    if text.starts_with("missing field ") || text.starts_with("duplicate field ") {
        return text.to_owned();
    }
    let expected = match text.rsplit_once(", expected ") {
        Some((_, expected)) => format!(", expected {expected}"),
        None => String::new(),
    };
    for kind in ["unknown field", "unknown variant"] {
        if let Some(rest) = text.strip_prefix(kind) {
            let name = unknown_name(rest).map_or(String::new(), |name| format!(" `{name}`"));
            return format!("{kind}{name}{expected}");
        }
    }
    let kinds = ["invalid type", "invalid value"];
    match kinds.into_iter().find(|kind| text.starts_with(kind)) {
        Some(kind) => format!("{kind}{expected}"),
        None => "unexpected data".to_owned(),
    }
}

/// The name between backticks at the beginning of ` \`name\`, expected …`.
fn unknown_name(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix(" `")?.split_once('`')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    let is_name = !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(is_plain);
    is_name.then_some(name)
}
