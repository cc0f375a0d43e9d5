//! From a message as it came to a well-formed request (contract 2): ids trimmed and checked, values
//! within their ranges. A refusal names the field, never its value.

use super::admission::{Request, SessionAction};
use super::command::{Action, Command, Match, Message, Tier};
use super::ids::{ConnectionId, InviteCode, MalformedId, SessionId, TopicId, UserId};
use super::result::{Code, Rejection};

/// The seats a session may have (contract 2, AC1 and AC2).
const SEATS: std::ops::RangeInclusive<i32> = 2..=6;
/// The most distinct users a match names.
const MOST_USERS: usize = 6;
/// How many distinct users a match for a new session names.
const MATCHED: std::ops::RangeInclusive<usize> = 2..=MOST_USERS;
/// How many distinct users a backfill names.
const BACKFILLED: std::ops::RangeInclusive<usize> = 1..=MOST_USERS;
/// The longest language tag: what RFC 5646 (4.4.1) advises to have room for.
const MAX_TAG_LENGTH: usize = 35;
/// Unicode scalars of a topic's title at most.
const MAX_TITLE: usize = 256;

impl Request {
    /// Checks everything of `message` but its `id`, which is well-formed already.
    pub(super) fn from_message(message: &Message, id: &str) -> Result<Self, Rejection> {
        match message {
            Message::Command(command) => from_command(command, id),
            Message::Match(found) => from_match(found, id),
        }
    }
}

/// The refusal of an id that is not one.
pub(super) fn malformed_id(field: &str) -> Rejection {
    invalid(format!(
        "{field} must be 1 to 128 characters after trimming, without control characters"
    ))
}

fn from_command(command: &Command, id: &str) -> Result<Request, Rejection> {
    let user_id = checked("userId", UserId::parse(&command.user_id))?;
    let command_id = id.to_owned();
    let on_session = |session_id: &str, action| {
        Ok(Request::OnSession {
            command_id: command_id.clone(),
            user_id: user_id.clone(),
            session_id: checked("sessionId", SessionId::parse(session_id))?,
            action: action?,
        })
    };
    match &command.action {
        Action::CreatePrivateSession {
            session_id,
            target_language_code,
            topic_id,
            topic_title,
            max_participants,
        } => Ok(Request::Create {
            session_id: match session_id {
                Some(chosen) => chosen_session_id(chosen)?,
                None => SessionId::of_command(id),
            },
            command_id,
            user_id,
            tier: command.tier,
            target_language_code: language(target_language_code)?,
            topic_id: topic(topic_id.as_deref())?,
            topic_title: title(topic_title.as_deref())?,
            max_participants: seats(*max_participants)?,
        }),
        Action::JoinSession { invite_code } => Ok(Request::Join {
            command_id,
            user_id,
            tier: command.tier,
            invite_code: InviteCode::from_entered(invite_code)
                .ok_or_else(|| invalid("inviteCode has nothing but white space and dashes"))?,
        }),
        Action::StartSession { session_id } => on_session(session_id, Ok(SessionAction::Start)),
        Action::EndSession { session_id } => on_session(session_id, Ok(SessionAction::End)),
        Action::LeaveSession {
            session_id,
            speaking_time_seconds,
        } => on_session(
            session_id,
            speaking_time_seconds
                .map(speaking_time)
                .transpose()
                .map(|speaking_time_seconds| SessionAction::Leave {
                    speaking_time_seconds,
                }),
        ),
        Action::ConnectParticipant {
            session_id,
            connection_id,
        } => on_session(
            session_id,
            connection(connection_id).map(|connection_id| SessionAction::Connect { connection_id }),
        ),
        Action::DisconnectParticipant {
            session_id,
            connection_id,
            speaking_time_seconds,
        } => {
            let action = || {
                Ok(SessionAction::Disconnect {
                    connection_id: connection(connection_id)?,
                    speaking_time_seconds: speaking_time_seconds.map(speaking_time).transpose()?,
                })
            };
            on_session(session_id, action())
        }
        Action::ReportSpeakingTime {
            session_id,
            speaking_time_seconds,
        } => on_session(
            session_id,
            speaking_time(*speaking_time_seconds).map(|speaking_time_seconds| {
                SessionAction::ReportSpeakingTime {
                    speaking_time_seconds,
                }
            }),
        ),
    }
}

fn from_match(found: &Match, id: &str) -> Result<Request, Rejection> {
    if let Some(session_id) = &found.session_id {
        // Minimum, maximum, language and topic are those of the session: here they are ignored.
        let session_id = checked("sessionId", SessionId::parse(session_id))?;
        let users = distinct_users(found)?;
        if !BACKFILLED.contains(&users.len()) {
            return Err(invalid("participants must be 1 to 6 distinct users"));
        }
        return Ok(Request::Backfill {
            match_id: id.to_owned(),
            session_id,
            users,
        });
    }
    let target_language_code = language(&found.target_language_code)?;
    let topic_id = topic(found.topic_id.as_deref())?;
    let topic_title = title(found.topic_title.as_deref())?;
    let users = distinct_users(found)?;
    if !MATCHED.contains(&users.len()) {
        return Err(invalid("participants must be 2 to 6 distinct users"));
    }
    let max_participants = seats(found.max_participants)?;
    if usize::try_from(max_participants).is_ok_and(|max| users.len() > max) {
        return Err(invalid("participants must be at most maxParticipants"));
    }
    if !(*SEATS.start()..=max_participants).contains(&found.min_participants) {
        return Err(invalid("minParticipants must be 2 to maxParticipants"));
    }
    Ok(Request::Match {
        match_id: id.to_owned(),
        session_id: SessionId::of_match(id),
        target_language_code,
        topic_id,
        topic_title,
        users,
        min_participants: found.min_participants,
        max_participants,
    })
}

/// The users in match order, each once; the first tier stands (contract 2, AC1). Reading stops at one
/// user too many, so that a list of any length costs no more time than its length.
fn distinct_users(found: &Match) -> Result<Vec<(UserId, Tier)>, Rejection> {
    let mut users: Vec<(UserId, Tier)> = Vec::new();
    for participant in &found.participants {
        let user_id = checked("participants.userId", UserId::parse(&participant.user_id))?;
        if users.iter().all(|(known, _)| *known != user_id) {
            users.push((user_id, participant.tier));
            if users.len() > MOST_USERS {
                break;
            }
        }
    }
    Ok(users)
}

fn chosen_session_id(text: &str) -> Result<SessionId, Rejection> {
    SessionId::parse(text)
        .ok()
        .filter(SessionId::is_lower_case_uuid)
        .ok_or_else(|| invalid("sessionId must be a lower-case hyphenated UUID"))
}

/// Whether `tag` is of BCP 47 shape: letters first, then subtags of 1 to 8 letters and digits.
pub fn is_language_tag(tag: &str) -> bool {
    let mut subtags = tag.split('-');
    let primary = subtags.next().unwrap_or_default();
    (2..=8).contains(&primary.len())
        && primary.bytes().all(|b| b.is_ascii_alphabetic())
        && subtags.all(|subtag| {
            (1..=8).contains(&subtag.len()) && subtag.bytes().all(|b| b.is_ascii_alphanumeric())
        })
        && tag.len() <= MAX_TAG_LENGTH
}

/// A language tag. Whether the language exists is not asked, and the spelling stays the sender's;
/// only ids are trimmed.
fn language(tag: &str) -> Result<String, Rejection> {
    if is_language_tag(tag) {
        Ok(tag.to_owned())
    } else {
        Err(invalid(
            "targetLanguageCode must be a language tag of BCP 47 shape",
        ))
    }
}

fn topic(topic_id: Option<&str>) -> Result<Option<TopicId>, Rejection> {
    topic_id
        .map(|text| checked("topicId", TopicId::parse(text)))
        .transpose()
}

/// A title, as given (contract, `topicTitle`).
fn title(title: Option<&str>) -> Result<Option<String>, Rejection> {
    match title {
        Some(title) if title.chars().nth(MAX_TITLE).is_some() => Err(invalid(format!(
            "topicTitle must have at most {MAX_TITLE} characters"
        ))),
        title => Ok(title.map(str::to_owned)),
    }
}

fn connection(text: &str) -> Result<ConnectionId, Rejection> {
    checked("connectionId", ConnectionId::parse(text))
}

/// The seats asked for: refused outside the range, never clamped (contract 2, AC2).
fn seats(max_participants: i32) -> Result<i32, Rejection> {
    if SEATS.contains(&max_participants) {
        Ok(max_participants)
    } else {
        Err(invalid("maxParticipants must be 2 to 6"))
    }
}

fn speaking_time(seconds: i64) -> Result<i64, Rejection> {
    if seconds < 0 {
        return Err(invalid("speakingTimeSeconds must not be negative"));
    }
    Ok(seconds)
}

fn checked<T>(field: &str, parsed: Result<T, MalformedId>) -> Result<T, Rejection> {
    parsed.map_err(|MalformedId| malformed_id(field))
}

fn invalid(detail: impl Into<String>) -> Rejection {
    Rejection::new(Code::InvalidArgument, detail)
}
