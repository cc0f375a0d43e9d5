//! A session as people read it, and as programs do. The invite code stands once, in the state.

use serde_json::{Map, Value, json};

use super::timeline::{Entry, Kind};
use super::trail::Trail;
use crate::cli::output::{self, clock_time, date_time, place};
use crate::domain::{Participant, Timestamp};
use crate::store::mongo::name;
use crate::wire::rfc3339;

/// From this width on a message's id has room beside what is said of it; JSON always has it.
const ROOM_FOR_IDS: usize = 130;

/// For people.
pub(super) fn words(trail: &Trail, timeline: &[Entry], width: Option<usize>) -> String {
    let mut text = state(trail);
    text.push('\n');
    text.push_str(&participants(trail, width));
    text.push_str(&format!(
        "\nTIMELINE in UTC; it is {}\n> sent, a number an event, = a result, ! a timer that fired, ? \
         one to come\n\n",
        date_time(trail.now)
    ));
    text.push_str(&entries(timeline, width));
    if !trail.missing.is_empty() {
        text.push_str("\nMISSING\n");
        for missing in &trail.missing {
            let detail = output::printable(&missing.detail);
            text.push_str(&format!("{}: {detail}\n", missing.source));
        }
    }
    text
}

fn state(trail: &Trail) -> String {
    let session = &trail.stored.session;
    let dash = |at: Option<Timestamp>| at.map_or_else(|| "–".to_owned(), date_time);
    let (kind, status) = (name(session.kind), name(session.status));
    let reason = session
        .end_reason
        .map_or_else(String::new, |reason| format!(" ({})", name(reason)));
    let topic = match (&session.topic_id, &session.topic_title) {
        (None, None) => String::new(),
        (id, title) => format!(
            ", topic {}",
            [id.as_ref().map(ToString::to_string), title.clone()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ")
        ),
    };
    let seats = format!(
        "{} of {} taken, {} ever in, {} at most at once",
        session.open_count(),
        session.max_participants,
        session.participants.len(),
        session.peak_participants
    );
    let home = format!("{}/{}", trail.topics.session_command, trail.stored.home);
    let mut rows = vec![
        ("session", session.id.to_string()),
        ("state", format!("{kind}, {status}{reason}")),
        (
            "language",
            format!("{}{topic}", session.target_language_code),
        ),
        ("host", session.host_user_id.to_string()),
        ("seats", seats),
    ];
    if let Some(code) = &session.invite_code {
        rows.push((
            "invite code",
            format!("{} (its members' secret)", code.as_str()),
        ));
    }
    rows.extend([
        ("created", date_time(session.created_at)),
        ("started", dash(session.started_at)),
        ("expires", dash(session.expires_at)),
        ("ended", dash(session.ended_at)),
        ("home", home),
        (
            "events",
            format!("{}, version {}", session.sequence, trail.stored.version),
        ),
    ]);
    let lines = rows
        .into_iter()
        .map(|(label, value)| format!("{label:12} {}\n", output::printable(&value)));
    lines.collect()
}

fn participants(trail: &Trail, width: Option<usize>) -> String {
    let rows = trail.stored.session.participants.iter().map(|participant| {
        let left = participant.left_at;
        let left = left.map_or_else(|| "–".to_owned(), clock_time);
        vec![
            participant.user_id.to_string(),
            name(participant.role).to_owned(),
            name(participant.status).to_owned(),
            clock_time(participant.joined_at),
            left,
            format!("{} s", present(participant, trail)),
            format!("{} s", participant.speaking_time_seconds),
            note(participant),
        ]
    });
    let heads = [
        "USER", "ROLE", "STATUS", "JOINED", "LEFT", "PRESENT", "SPOKE", "NOTE",
    ];
    output::wrapped(&heads, &rows.collect::<Vec<_>>(), width)
}

fn note(participant: &Participant) -> String {
    let reason = participant.leave_reason.map(name).map(str::to_owned);
    let connection = participant.connection_id.as_ref();
    let connection = connection.map(|id| format!("connection {id}"));
    let dropped = participant.disconnected_at;
    let dropped = dropped.map(|at| format!("dropped at {}", clock_time(at)));
    let rejoins = match participant.rejoin_count {
        0 => None,
        1 => Some("rejoined once".to_owned()),
        count => Some(format!("rejoined {count} times")),
    };
    let notes = [reason, connection, dropped, rejoins];
    notes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn present(participant: &Participant, trail: &Trail) -> i64 {
    participant.present_seconds(trail.stored.session.ended_at.unwrap_or(trail.now))
}

fn entries(timeline: &[Entry], width: Option<usize>) -> String {
    let has_room = width.is_none_or(|width| width >= ROOM_FOR_IDS);
    let mut rows = Vec::new();
    let mut day = None;
    for entry in timeline {
        if let Some(at) = entry.at
            && day != Some(at.day())
        {
            day = Some(at.day());
            let date = date_time(at)
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned();
            rows.push(vec![date, String::new(), String::new(), String::new()]);
        }
        let what = match entry.kind {
            Kind::Event => {
                let number = entry.more.get("sequence").and_then(Value::as_i64);
                format!("{:>3} {}", number.unwrap_or(0), entry.what)
            }
            Kind::Timer => format!("  ! {}", entry.what),
            Kind::Upcoming => format!("  ? {}", entry.what),
            Kind::Result => format!("  = {}", entry.what),
            Kind::Command | Kind::Match => format!("> {}", entry.what),
            Kind::Forward | Kind::DeadLetter => format!("  > {}", entry.what),
        };
        let again = match entry.repeats.as_slice() {
            [] => String::new(),
            [one] => format!(", again at {}", place(one)),
            [one, more @ ..] => format!(", again at {} and {} more", place(one), more.len()),
        };
        let sent = matches!(entry.kind, Kind::Command | Kind::Match);
        let id = entry.message_id.as_ref().filter(|_| sent && has_room);
        let id = id.map_or_else(String::new, |id| format!(" id {id}"));
        rows.push(vec![
            entry.at.map_or_else(|| "–".to_owned(), clock_time),
            what,
            entry.record.as_ref().map_or_else(|| "–".to_owned(), place),
            format!("{}{id}{again}", entry.detail),
        ]);
    }
    let heads = ["TIME", "WHAT", "RECORD", "DETAIL"];
    output::wrapped(&heads, &rows, width)
}

/// For programs.
pub(super) fn shown(trail: &Trail, timeline: &[Entry]) -> Value {
    let session = &trail.stored.session;
    let at = |at: Option<Timestamp>| at.map(rfc3339);
    let home = format!("{}/{}", trail.topics.session_command, trail.stored.home);
    let participants = session.participants.iter().map(|participant| {
        json!({
            "userId": participant.user_id.as_str(),
            "role": name(participant.role),
            "status": name(participant.status),
            "joinedAt": rfc3339(participant.joined_at),
            "leftAt": at(participant.left_at),
            "leaveReason": participant.leave_reason.map(name),
            "presentSeconds": present(participant, trail),
            "speakingTimeSeconds": participant.speaking_time_seconds,
            "connectionId": participant.connection_id.as_ref().map(|id| id.as_str()),
            "disconnectedAt": at(participant.disconnected_at),
            "deadline": at(participant.deadline),
            "rejoinCount": participant.rejoin_count,
        })
    });
    let missing = trail
        .missing
        .iter()
        .map(|missing| json!({"source": missing.source, "detail": missing.detail}));
    json!({
        "asOf": rfc3339(trail.now),
        "session": {
            "sessionId": session.id.as_str(),
            "type": name(session.kind),
            "status": name(session.status),
            "targetLanguageCode": session.target_language_code,
            "topicId": session.topic_id.as_ref().map(|id| id.as_str()),
            "topicTitle": session.topic_title,
            "hostUserId": session.host_user_id.as_str(),
            "minParticipants": session.min_participants,
            "maxParticipants": session.max_participants,
            "participantCount": session.open_count(),
            "createdAt": rfc3339(session.created_at),
            "startedAt": at(session.started_at),
            "expiresAt": at(session.expires_at),
            "endedAt": at(session.ended_at),
            "endReason": session.end_reason.map(name),
            "inviteCode": session.invite_code.as_ref().map(|code| code.as_str()),
            "sequence": session.sequence,
            "version": trail.stored.version,
            "home": home,
        },
        "participants": participants.collect::<Vec<_>>(),
        "timeline": timeline.iter().map(line).collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
    })
}

fn line(entry: &Entry) -> Value {
    let mut line = Map::new();
    let mut set = |name: &str, value: Value| line.insert(name.to_owned(), value);
    set("kind", json!(entry.kind.as_str()));
    set("at", json!(entry.at.map(rfc3339)));
    set("what", json!(entry.what));
    set("record", json!(entry.record.as_ref().map(place)));
    set(
        "repeats",
        json!(entry.repeats.iter().map(place).collect::<Vec<_>>()),
    );
    set("messageId", json!(entry.message_id));
    set("userId", json!(entry.user_id));
    line.extend(entry.more.clone());
    Value::Object(line)
}
