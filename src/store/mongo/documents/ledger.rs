//! `ledger` and `forwards`: memory that is forgotten. Absent values are left out: it is bulky.

use std::borrow::Cow;

use mongodb::bson::{Binary, DateTime, RawDocument};
use serde::{Deserialize, Serialize};

use super::{Malformed, Name, binary, date, fingerprint, from_raw, instant, named};
use crate::domain::{
    Code, CommandResult, InviteCode, MessageId, RejectedUser, Remembered, ResultOrigin, Timestamp,
    UserId,
};
use crate::record::Origin;
use crate::store::mongo::indexes::{FORWARDS, LEDGER};
use crate::store::{Evidence, Forward, ForwardEntry, LedgerEntry, Unreadable};

named!(ResultOrigin, "a result's origin", Command => "command", Match => "match");

/// The `_id` of a judged message: commands and matches have id spaces of their own.
pub(crate) fn ledger_key(id: &MessageId) -> String {
    match id {
        MessageId::Command(id) => format!("command:{id}"),
        MessageId::Match(id) => format!("match:{id}"),
    }
}

/// The message that is remembered under `key`.
pub(crate) fn message_id(key: &str) -> Result<MessageId, Malformed> {
    match key.split_once(':') {
        Some(("command", id)) => Ok(MessageId::Command(id.to_owned())),
        Some(("match", id)) => Ok(MessageId::Match(id.to_owned())),
        _ => Err(Malformed::new("a ledger key without its space")),
    }
}

/// A document of `ledger`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LedgerDocument<'a> {
    #[serde(rename = "_id")]
    id: Cow<'a, str>,
    fingerprint: Binary,
    origin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forget_at: Option<DateTime>,
    result: ResultDocument<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultDocument<'a> {
    /// Only where it is not the id that the entry is stored under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    origin: Name<ResultOrigin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Cow<'a, str>>,
    http_status: i32,
    detail: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invite_code: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reset_at: Option<DateTime>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rejected_users: Vec<RejectedUserDocument<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    eligible_user_ids: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
    decided_at: DateTime,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RejectedUserDocument<'a> {
    user_id: Cow<'a, str>,
    code: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reset_at: Option<DateTime>,
}

impl<'a> LedgerDocument<'a> {
    /// The document of `entry`.
    pub(crate) fn new(entry: &'a LedgerEntry) -> Self {
        let result = &entry.remembered.result;
        Self {
            id: ledger_key(&entry.id).into(),
            fingerprint: binary(entry.remembered.fingerprint.to_vec()),
            origin: entry.origin.to_string(),
            forget_at: entry.forget_at.map(date),
            result: ResultDocument {
                id: (result.id != entry.id.as_str()).then(|| result.id.as_str().into()),
                origin: Name(result.origin),
                user_id: result.user_id.as_deref().map(Cow::from),
                code: result.code.map(|code| code.as_str().into()),
                http_status: result.http_status,
                detail: result.detail.as_str().into(),
                session_id: result.session_id.as_deref().map(Cow::from),
                invite_code: result.invite_code.as_ref().map(|code| code.as_str().into()),
                sequence: result.sequence,
                limit: result.limit,
                used: result.used,
                reset_at: result.reset_at.map(date),
                rejected_users: result
                    .rejected_users
                    .iter()
                    .map(|rejected| RejectedUserDocument {
                        user_id: rejected.user_id.as_str().into(),
                        code: rejected.code.as_str().into(),
                        reset_at: rejected.reset_at.map(date),
                    })
                    .collect(),
                eligible_user_ids: result
                    .eligible_user_ids
                    .iter()
                    .map(|id| id.as_str().into())
                    .collect(),
                replayed: result.replayed,
                decided_at: date(result.decided_at),
            },
        }
    }

    /// The entry in `document`.
    pub(crate) fn read(document: &RawDocument) -> Result<LedgerEntry, Unreadable> {
        from_raw(document.as_bytes())
            .and_then(LedgerDocument::entry)
            .map_err(|malformed| malformed.in_document(LEDGER, document))
    }

    /// The entry that was stored.
    pub(crate) fn entry(self) -> Result<LedgerEntry, Malformed> {
        let id = message_id(&self.id)?;
        let result = self.result;
        let rejected = |rejected: RejectedUserDocument<'_>| {
            Ok(RejectedUser {
                user_id: UserId::from_stored(rejected.user_id.into_owned()),
                code: code(&rejected.code)?,
                reset_at: rejected.reset_at.map(instant),
            })
        };
        let remembered = Remembered {
            fingerprint: fingerprint(&self.fingerprint)?,
            result: CommandResult {
                id: result
                    .id
                    .map_or_else(|| id.as_str().to_owned(), Cow::into_owned),
                origin: result.origin.0,
                user_id: result.user_id.map(Cow::into_owned),
                code: result.code.as_deref().map(code).transpose()?,
                http_status: result.http_status,
                detail: result.detail.into_owned(),
                session_id: result.session_id.map(Cow::into_owned),
                invite_code: result
                    .invite_code
                    .map(|code| InviteCode::from_stored(code.into_owned())),
                sequence: result.sequence,
                limit: result.limit,
                used: result.used,
                reset_at: result.reset_at.map(instant),
                rejected_users: result
                    .rejected_users
                    .into_iter()
                    .map(rejected)
                    .collect::<Result<_, _>>()?,
                eligible_user_ids: result
                    .eligible_user_ids
                    .into_iter()
                    .map(|id| UserId::from_stored(id.into_owned()))
                    .collect(),
                replayed: result.replayed,
                decided_at: instant(result.decided_at),
            },
        };
        let origin = origin(&self.origin)?;
        Ok(LedgerEntry {
            id,
            remembered,
            origin,
            forget_at: self.forget_at.map(instant),
        })
    }

    /// Whether the entry may be forgotten at `now`.
    pub(crate) fn is_forgotten(&self, now: Timestamp) -> bool {
        self.forget_at.is_some_and(|at| instant(at) <= now)
    }
}

fn code(name: &str) -> Result<Code, Malformed> {
    Code::ALL
        .into_iter()
        .find(|code| code.as_str() == name)
        .ok_or_else(|| Malformed::new("an unknown code"))
}

fn origin(text: &str) -> Result<Origin, Malformed> {
    text.parse()
        .map_err(|_| Malformed::new("an origin that is not topic/partition/offset"))
}

/// A document of `forwards`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ForwardDocument {
    #[serde(rename = "_id")]
    id: String,
    fingerprint: Binary,
    forget_at: DateTime,
    /// Its home has judged it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    settled: bool,
}

/// The `_id` of a forward: a record may be sent on more than once, but only once to each home.
pub(crate) fn forward_key(origin: &Origin, home: i32) -> String {
    format!("{origin}>{home}")
}

impl ForwardDocument {
    /// The document of `entry`.
    pub(crate) fn new(entry: &ForwardEntry) -> Self {
        Self {
            id: forward_key(&entry.forward.origin, entry.forward.home),
            fingerprint: binary(entry.forward.fingerprint.to_vec()),
            forget_at: date(entry.forget_at),
            settled: false,
        }
    }

    /// What the evidence says.
    pub(crate) fn evidence(&self) -> Evidence {
        if self.settled {
            Evidence::Settled
        } else {
            Evidence::Sent
        }
    }

    /// The evidence in `document`.
    pub(crate) fn read(document: &RawDocument) -> Result<(Forward, Evidence), Unreadable> {
        let read = || {
            let stored: Self = from_raw(document.as_bytes())?;
            Ok((stored.entry()?.forward, stored.evidence()))
        };
        read().map_err(|malformed: Malformed| malformed.in_document(FORWARDS, document))
    }

    /// The entry that was stored.
    pub(crate) fn entry(&self) -> Result<ForwardEntry, Malformed> {
        let malformed = || Malformed::new("a forward's key without origin and home");
        let (from, home) = self.id.rsplit_once('>').ok_or_else(malformed)?;
        let forward = Forward {
            origin: origin(from)?,
            home: home.parse().map_err(|_| malformed())?,
            fingerprint: fingerprint(&self.fingerprint)?,
        };
        Ok(ForwardEntry {
            forward,
            forget_at: instant(self.forget_at),
        })
    }
}
