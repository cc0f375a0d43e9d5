//! Deadlines in the timeline: those that fired, with how late, and those still to come. Pure.

use serde_json::json;

use super::timeline::{Entry, Kind, fields, instant, rank};
use super::trail::{Found, Trail};
use crate::cli::output::clock_time;
use crate::domain::{ParticipantStatus, Session, SessionStatus, Timestamp};
use crate::wire::SentEvent;

/// The firing of a deadline, before the first event it caused.
pub(super) fn timer_fired(trail: &Trail, timer: &str, event: &Found<SentEvent>) -> Entry {
    let value = &event.value;
    let at = Timestamp(value.occurred_at);
    let due = due(trail, timer, value).filter(|due| *due <= at);
    let late = due.map(|due| at.millis_since(due));
    let user_id = timer
        .strip_prefix("disconnect:")
        .or_else(|| timer.strip_prefix("no_show:"));
    let detail = match (due, late) {
        (Some(due), Some(late)) => format!("due {}, {} late", clock_time(due), lateness(late)),
        _ => "due at an instant that is not known".to_owned(),
    };
    Entry {
        at: Some(at),
        record: Some(event.record.clone()),
        user_id: user_id.map(str::to_owned),
        more: fields([
            ("dueAt", instant(due.map(|due| due.0))),
            ("lateMs", json!(late)),
        ]),
        detail,
        ..Entry::new(
            Kind::Timer,
            timer,
            (value.occurred_at, value.sequence, rank::TIMER),
        )
    }
}

/// When a deadline that fired was due, from what its first event says. A drop's grace is not told by
/// events: it is the settings', but for a session that it emptied.
fn due(trail: &Trail, timer: &str, event: &SentEvent) -> Option<Timestamp> {
    let left_at = event.participant.as_ref().and_then(|who| who.left_at);
    let ended_at = || {
        let same = trail.events.values().find(|other| {
            other.value.causation_id == event.causation_id && other.value.r#type == "session.ended"
        });
        same.and_then(|other| other.value.session.ended_at)
            .map(Timestamp)
    };
    let (kind, argument) = timer.split_once(':').unwrap_or((timer, ""));
    match kind {
        "timeout" => event.session.expires_at.map(Timestamp),
        "never_started" => left_at.map(Timestamp).or_else(ended_at),
        "expiring" => {
            let seconds: u64 = argument.parse().ok()?;
            let expires_at = event.session.expires_at.map(Timestamp)?;
            Some(expires_at.minus(std::time::Duration::from_secs(seconds)))
        }
        "no_show" => left_at.map(Timestamp),
        "disconnect" => ended_at().or_else(|| Some(Timestamp(left_at?).plus(trail.grace))),
        _ => None,
    }
}

fn lateness(millis: i64) -> String {
    if millis < 10_000 {
        format!("{millis} ms")
    } else if millis < 600_000 {
        format!("{} s", millis / 1000)
    } else {
        format!("{} min", millis / 60_000)
    }
}

/// Timers still to come, by instant.
pub(super) fn upcoming(session: &Session, now: Timestamp) -> Vec<Entry> {
    let mut due: Vec<(Timestamp, String, Option<String>)> = Vec::new();
    if session.status == SessionStatus::Ended {
        return Vec::new();
    }
    let open = session.participants.iter().filter(|p| p.is_open());
    due.extend(open.filter_map(|participant| {
        let timer = match participant.status {
            ParticipantStatus::Waiting => "no_show",
            ParticipantStatus::Connected | ParticipantStatus::Disconnected => "disconnect",
        };
        let user = participant.user_id.to_string();
        Some((participant.deadline?, format!("{timer}:{user}"), Some(user)))
    }));
    due.extend(session.warnings.iter().map(|warning| {
        let timer = format!("expiring:{}", warning.before_end.as_secs());
        (warning.at, timer, None)
    }));
    let end = match session.status {
        SessionStatus::Waiting => session.waiting_deadline.map(|at| (at, "never_started")),
        _ => session.expires_at.map(|at| (at, "timeout")),
    };
    due.extend(end.map(|(at, timer)| (at, timer.to_owned(), None)));
    due.sort_by_key(|(at, ..)| *at);
    let entries = due.into_iter().map(|(at, timer, user_id)| {
        let left = at.millis_since(now);
        let detail = if left >= 0 {
            format!("in {}", lateness(left))
        } else {
            format!("overdue by {}", lateness(-left))
        };
        Entry {
            at: Some(at),
            user_id,
            more: fields([
                ("dueAt", instant(Some(at.0))),
                ("overdueMs", json!((-left).max(0))),
            ]),
            detail,
            ..Entry::new(Kind::Upcoming, timer, (at.0, i64::MAX, rank::TIMER))
        }
    });
    entries.collect()
}
