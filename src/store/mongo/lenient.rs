//! Stored documents as the views read them: only the fields that are shown, and words as they are
//! stored, so that what a later version has written is shown. A document whose fields are of other
//! types is left out, counted, and named once in the log. Lanes read strictly; see `documents`.

use std::collections::HashSet;
use std::sync::Arc;

use mongodb::bson::RawDocumentBuf;
use mongodb::bson::raw::{RawBsonRef, RawDocument};
use parking_lot::Mutex;

use super::indexes::{PARTICIPANTS, SESSIONS, USERS};
use crate::domain::{Day, SessionId, Timestamp, UserId};
use crate::store::views::{Member, Membership, SessionOutline};
use crate::telemetry::names;

/// The first and the last instant that RFC 3339 can say: the years 0 to 9999.
pub(super) const EARLIEST: Timestamp = Timestamp(-62_167_219_200_000);
pub(super) const LATEST: Timestamp = Timestamp(253_402_300_799_999);
/// Documents that are named in the log at most; all are counted.
const NAMED: usize = 1_000;

/// A field that is absent or of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IllTyped(&'static str);

/// A document's fields.
struct Fields<'a>(&'a RawDocument);

impl<'a> Fields<'a> {
    /// The value, if it is there and not null.
    fn value(&self, name: &'static str) -> Result<Option<RawBsonRef<'a>>, IllTyped> {
        let value = self.0.get(name).map_err(|_| IllTyped(name))?;
        Ok(value.filter(|value| !matches!(value, RawBsonRef::Null)))
    }

    fn optional_text(&self, name: &'static str) -> Result<Option<&'a str>, IllTyped> {
        match self.value(name)? {
            None => Ok(None),
            Some(RawBsonRef::String(text)) => Ok(Some(text)),
            Some(_) => Err(IllTyped(name)),
        }
    }

    fn text(&self, name: &'static str) -> Result<&'a str, IllTyped> {
        self.optional_text(name)?.ok_or(IllTyped(name))
    }

    fn owned(&self, name: &'static str) -> Result<Option<String>, IllTyped> {
        Ok(self.optional_text(name)?.map(str::to_owned))
    }

    fn number(&self, name: &'static str) -> Result<i64, IllTyped> {
        match self.value(name)? {
            Some(RawBsonRef::Int32(number)) => Ok(i64::from(number)),
            Some(RawBsonRef::Int64(number)) => Ok(number),
            _ => Err(IllTyped(name)),
        }
    }

    fn count(&self, name: &'static str) -> Result<i32, IllTyped> {
        let number = self.number(name)?;
        i32::try_from(number).map_err(|_| IllTyped(name))
    }

    fn optional_instant(&self, name: &'static str) -> Result<Option<Timestamp>, IllTyped> {
        let at = match self.value(name)? {
            None => return Ok(None),
            Some(RawBsonRef::DateTime(at)) => Timestamp(at.timestamp_millis()),
            Some(_) => return Err(IllTyped(name)),
        };
        if (EARLIEST..=LATEST).contains(&at) {
            Ok(Some(at))
        } else {
            Err(IllTyped(name))
        }
    }

    fn instant(&self, name: &'static str) -> Result<Timestamp, IllTyped> {
        self.optional_instant(name)?.ok_or(IllTyped(name))
    }
}

/// A document that a view can show.
pub(super) trait Shown: Sized {
    /// Where such documents are stored.
    const COLLECTION: &'static str;

    /// What is shown of `document`.
    fn read(document: &RawDocument) -> Result<Self, IllTyped>;
}

impl Shown for SessionOutline {
    const COLLECTION: &'static str = SESSIONS;

    fn read(document: &RawDocument) -> Result<Self, IllTyped> {
        let fields = Fields(document);
        Ok(Self {
            id: SessionId::from_stored(fields.text("_id")?.to_owned()),
            kind: fields.text("type")?.to_owned(),
            status: fields.text("status")?.to_owned(),
            target_language_code: fields.text("targetLanguageCode")?.to_owned(),
            topic_id: fields.owned("topicId")?,
            topic_title: fields.owned("topicTitle")?,
            host_user_id: UserId::from_stored(fields.text("hostUserId")?.to_owned()),
            min_participants: fields.count("minParticipants")?,
            max_participants: fields.count("maxParticipants")?,
            participant_count: fields.count("participantCount")?,
            total_participants: fields.count("totalParticipants")?,
            created_at: fields.instant("createdAt")?,
            started_at: fields.optional_instant("startedAt")?,
            expires_at: fields.optional_instant("expiresAt")?,
            ended_at: fields.optional_instant("endedAt")?,
            end_reason: fields.owned("endReason")?,
            invite_code: fields.owned("inviteCode")?,
        })
    }
}

impl Shown for Membership {
    const COLLECTION: &'static str = PARTICIPANTS;

    fn read(document: &RawDocument) -> Result<Self, IllTyped> {
        let fields = Fields(document);
        Ok(Self {
            session_id: SessionId::from_stored(fields.text("sessionId")?.to_owned()),
            role: fields.text("role")?.to_owned(),
            joined_at: fields.instant("joinedAt")?,
            stint_started_at: fields.instant("stintStartedAt")?,
            left_at: fields.optional_instant("leftAt")?,
            speaking_time_seconds: fields.number("speakingTimeSeconds")?,
        })
    }
}

impl Shown for Member {
    const COLLECTION: &'static str = PARTICIPANTS;

    fn read(document: &RawDocument) -> Result<Self, IllTyped> {
        let fields = Fields(document);
        Ok(Self {
            user_id: UserId::from_stored(fields.text("userId")?.to_owned()),
            ordinal: fields.number("ordinal")?,
            status: fields.text("status")?.to_owned(),
            present_before_ms: fields.number("presentBeforeMs")?,
            disconnected_at: fields.optional_instant("disconnectedAt")?,
            rejoin_count: fields.number("rejoinCount")?,
            membership: Membership::read(document)?,
        })
    }
}

/// What a user's document says of the limits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) open: usize,
    pub(super) day: Day,
    pub(super) used: usize,
}

impl Shown for Uses {
    const COLLECTION: &'static str = USERS;

    fn read(document: &RawDocument) -> Result<Self, IllTyped> {
        let fields = Fields(document);
        let Some(RawBsonRef::Array(open)) = fields.value("open")? else {
            return Err(IllTyped("open"));
        };
        let day = fields.number("day")?;
        if !(0..LATEST.day().0).contains(&day) {
            return Err(IllTyped("day"));
        }
        let used = usize::try_from(fields.number("used")?).map_err(|_| IllTyped("used"))?;
        Ok(Self {
            open: open.into_iter().count(),
            day: Day(day),
            used,
        })
    }
}

impl Uses {
    /// Of a user who was never seen.
    pub(super) fn none(today: Day) -> Self {
        Self {
            open: 0,
            day: today,
            used: 0,
        }
    }

    /// The day that counts today, and its uses. Around midnight another lane's clock may be ahead of
    /// what is asked here: then its day stands.
    pub(super) fn by(self, today: Day) -> Self {
        if today > self.day {
            return Self {
                open: self.open,
                ..Self::none(today)
            };
        }
        self
    }
}

/// The field `name` of `document` where it is a text.
pub(super) fn text_of<'a>(document: &'a RawDocument, name: &'static str) -> Option<&'a str> {
    Fields(document).text(name).ok()
}

/// The field `name` of `document` where it is an instant.
pub(super) fn instant_of(document: &RawDocument, name: &'static str) -> Option<Timestamp> {
    Fields(document).instant(name).ok()
}

/// Reads documents, and says which it left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Lenient {
    named: Arc<Mutex<HashSet<(&'static str, String)>>>,
}

impl Lenient {
    /// What is shown of `document`, if it can be read.
    pub(super) fn read<T: Shown>(&self, document: &RawDocument) -> Option<T> {
        match T::read(document) {
            Ok(shown) => Some(shown),
            Err(IllTyped(field)) => {
                self.leave_out(T::COLLECTION, document, field);
                None
            }
        }
    }

    /// What is shown of those `documents` that can be read.
    pub(super) fn read_all<T: Shown>(&self, documents: &[RawDocumentBuf]) -> Vec<T> {
        let shown = documents.iter().map(|document| self.read(document));
        shown.flatten().collect()
    }

    fn leave_out(&self, collection: &'static str, document: &RawDocument, field: &'static str) {
        metrics::counter!(names::HTTP_UNREADABLE, "collection" => collection).increment(1);
        let id = text_of(document, "_id").unwrap_or("not a text").to_owned();
        let mut named = self.named.lock();
        if named.len() < NAMED && named.insert((collection, id.clone())) {
            tracing::warn!(
                collection,
                id,
                field,
                "a stored document is not as a worker writes it; views leave it out until it is fixed"
            );
        }
    }
}
