//! What came of one line, as tests read it: the answer, then the events, then the places taken (`+`),
//! freed (`-`) and the unknown codes tried (`?`).

use std::fmt;

use super::world::{T0, World};
use crate::domain::{
    Cause, CommandResult, EndReason, Event, EventKind, LeaveReason, Participant, ParticipantStatus,
    Reason, Role, SessionId, SessionStatus, TimerKind, Timestamp, UserChange, UserId,
};

/// What came of one line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) result: Option<CommandResult>,
    pub(super) events: Vec<Event>,
    pub(super) users: Vec<UserChange>,
    /// Whether the session has a next state.
    pub(super) changed: bool,
    /// The sessions' ids in order of creation.
    pub(super) names: Vec<SessionId>,
}

impl Told {
    fn name(&self, id: &str) -> String {
        let place = self.names.iter().position(|known| known.as_str() == id);
        place.map_or_else(|| id.to_owned(), |index| format!("s{}", index + 1))
    }

    /// The answer in a few words, and the names of the events.
    pub(super) fn brief(&self) -> String {
        let answer = match self.result.as_ref().map(|result| result.code) {
            None => "deadlines",
            Some(None) => "accepted",
            Some(Some(code)) => code.as_str(),
        };
        let mut words = vec![answer];
        words.extend(self.events.iter().map(|event| kind(event.kind)));
        if self.events.is_empty() && self.changed {
            words.push("(changed)");
        }
        words.join(" ")
    }

    /// The statistics of the `session.ended` among the events.
    pub(super) fn statistics(&self) -> String {
        let found = self
            .events
            .iter()
            .find_map(|event| event.statistics.as_ref());
        let all = found.expect("an ending");
        let silent: Vec<&str> = all.silent_user_ids.iter().map(UserId::as_str).collect();
        let mut text = format!(
            "duration {}, total {}, peak {}, balance {:.3}, silent [{}]",
            all.duration_seconds,
            all.total_participants,
            all.peak_participants,
            all.talk_balance,
            silent.join(" "),
        );
        for line in &all.participants {
            text.push_str(&format!(
                "\n{} {} joined {}, left {}, present {}, spoke {}, share {:.3}, {}, rejoins {}",
                line.user_id,
                role(line.role),
                offset(line.joined_at),
                line.left_at.map_or_else(|| "never".to_owned(), offset),
                line.present_seconds,
                line.speaking_time_seconds,
                line.talk_share,
                leave_reason(line.leave_reason),
                line.rejoin_count,
            ));
        }
        text
    }

    fn show_result(&self, result: &CommandResult) -> String {
        let mut text = match result.code {
            None => format!("accepted {}", result.http_status),
            Some(code) => format!("{} {}", code.as_str(), result.http_status),
        };
        let mut add = |part: String| {
            text.push(' ');
            text.push_str(&part);
        };
        if let Some(id) = &result.session_id {
            add(self.name(id));
        }
        if let Some(sequence) = result.sequence {
            add(format!("#{sequence}"));
        }
        if let Some(code) = &result.invite_code {
            add(format!("code {}", code.as_str()));
        }
        if let (Some(limit), Some(used)) = (result.limit, result.used) {
            add(format!("used {used} of {limit}"));
        }
        if let Some(at) = result.reset_at {
            add(format!("reset {}", offset(at)));
        }
        for user in &result.rejected_users {
            add(format!("[{} {}", user.user_id, user.code.as_str()));
            add(user
                .reset_at
                .map_or_else(|| "]".to_owned(), |at| format!("{}]", offset(at))));
        }
        if !result.eligible_user_ids.is_empty() {
            let users: Vec<&str> = result
                .eligible_user_ids
                .iter()
                .map(UserId::as_str)
                .collect();
            add(format!("eligible {}", users.join(" ")));
        }
        if result.replayed {
            add("replayed".to_owned());
        }
        text.replace(" ]", "]")
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(self.result.as_ref().map(|result| self.show_result(result)));
        lines.extend(self.events.iter().map(show_event));
        if self.changed && self.events.is_empty() {
            lines.push("the session changes without an event".to_owned());
        }
        let places: Vec<String> = self.users.iter().map(show_place).collect();
        if !places.is_empty() {
            lines.push(format!("places {}", places.join(" ")));
        }
        if lines.is_empty() {
            lines.push("nothing".to_owned());
        }
        f.write_str(&lines.join("\n"))
    }
}

/// `#3 participant.left +130 active 1/6 host ann; bob participant disconnected …; reason; who`.
fn show_event(event: &Event) -> String {
    let session = &event.session;
    let mut text = format!(
        "#{} {} {} {} {}/{} host {}",
        event.sequence,
        kind(event.kind),
        offset(event.occurred_at),
        status(session.status),
        session.participant_count,
        session.max_participants,
        session.host_user_id,
    );
    let instants = [
        ("started", session.started_at),
        ("expires", session.expires_at),
        ("ended", session.ended_at),
    ];
    for (name, at) in instants {
        if let Some(at) = at
            && matches!(
                event.kind,
                EventKind::SessionStarted | EventKind::SessionEnded
            )
        {
            text.push_str(&format!(" {name} {}", offset(at)));
        }
    }
    if let Some(participant) = &event.participant {
        text.push_str(&format!(
            "; {} {} {} joined {}",
            participant.user_id,
            role(participant.role),
            presence(participant.status),
            offset(participant.joined_at),
        ));
        if let Some(left_at) = participant.left_at {
            text.push_str(&format!(" left {}", offset(left_at)));
        }
        text.push_str(&format!(
            " present {} spoke {}",
            participant.present_seconds, participant.speaking_time_seconds
        ));
        if participant.rejoin {
            text.push_str(" rejoin");
        }
    }
    if let Some(previous) = &event.previous_host_user_id {
        text.push_str(&format!("; after {previous}"));
    }
    if let Some(reason) = &event.reason {
        text.push_str(&format!("; {}", show_reason(*reason)));
    }
    if let Some(seconds) = event.seconds_left {
        text.push_str(&format!("; {seconds} s left"));
    }
    let cause = match &event.cause {
        Cause::Command { command_id } => command_id.clone(),
        Cause::Match { match_id } => match_id.clone(),
        Cause::Timer(timer) => format!("timer {}", show_timer(timer)),
    };
    text.push_str(&format!("; {cause}"));
    if let Some(actor) = &event.actor_user_id {
        text.push_str(&format!(" by {actor}"));
    }
    text
}

fn show_participant(participant: &Participant) -> String {
    let mut text = format!(
        "{} {} {} rank {}",
        participant.user_id,
        role(participant.role),
        presence(participant.status),
        participant.seniority,
    );
    if let Some(left_at) = participant.left_at {
        text.push_str(&format!(" left {}", offset(left_at)));
    }
    if let Some(deadline) = participant.deadline {
        text.push_str(&format!(" deadline {}", offset(deadline)));
    }
    if let Some(connection) = &participant.connection_id {
        text.push_str(&format!(" on {connection}"));
    }
    text
}

fn show_place(change: &UserChange) -> String {
    match change {
        UserChange::Joined {
            user_id,
            first: true,
            ..
        } => format!("+{user_id}(first)"),
        UserChange::Joined { user_id, .. } => format!("+{user_id}"),
        UserChange::Released { user_id, .. } => format!("-{user_id}"),
        UserChange::FailedCode { user_id, .. } => format!("?{user_id}"),
    }
}

/// Seconds since [`T0`].
pub(super) fn offset(at: Timestamp) -> String {
    let ms = at.millis_since(T0);
    if ms % 1000 == 0 {
        format!("+{}", ms / 1000)
    } else {
        format!("+{:.3}", ms as f64 / 1000.0)
    }
}

pub(super) fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::SessionCreated => "session.created",
        EventKind::SessionStarted => "session.started",
        EventKind::SessionExpiring => "session.expiring",
        EventKind::SessionHostChanged => "session.host_changed",
        EventKind::SessionEnded => "session.ended",
        EventKind::ParticipantJoined => "participant.joined",
        EventKind::ParticipantConnected => "participant.connected",
        EventKind::ParticipantDisconnected => "participant.disconnected",
        EventKind::ParticipantReconnected => "participant.reconnected",
        EventKind::ParticipantLeft => "participant.left",
    }
}

fn status(status: SessionStatus) -> &'static str {
    match status {
        SessionStatus::Waiting => "waiting",
        SessionStatus::Active => "active",
        SessionStatus::Ended => "ended",
    }
}

fn presence(status: ParticipantStatus) -> &'static str {
    match status {
        ParticipantStatus::Waiting => "waiting",
        ParticipantStatus::Connected => "connected",
        ParticipantStatus::Disconnected => "disconnected",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Host => "host",
        Role::Participant => "participant",
    }
}

fn leave_reason(reason: LeaveReason) -> &'static str {
    match reason {
        LeaveReason::Left => "left",
        LeaveReason::DisconnectTimeout => "disconnect_timeout",
        LeaveReason::NoShow => "no_show",
        LeaveReason::SessionEnded => "session_ended",
    }
}

fn show_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Leave(reason) => leave_reason(reason),
        Reason::End(reason) => match reason {
            EndReason::HostEnded => "host_ended",
            EndReason::AllLeft => "all_left",
            EndReason::Timeout => "timeout",
            EndReason::NeverStarted => "never_started",
        },
    }
}

fn show_timer(timer: &TimerKind) -> String {
    match timer {
        TimerKind::Timeout => "timeout".to_owned(),
        TimerKind::NeverStarted => "never_started".to_owned(),
        TimerKind::Expiring { seconds } => format!("expiring:{seconds}"),
        TimerKind::Disconnect(user) => format!("disconnect:{user}"),
        TimerKind::NoShow(user) => format!("no_show:{user}"),
    }
}

impl World {
    /// One line a participant of `session`: the state that is stored.
    pub(super) fn show(&self, session: &str) -> String {
        let session = &self.sessions[self.index(session)];
        let mut text = format!(
            "{} host {} next deadline {}",
            status(session.status),
            session.host_user_id,
            session
                .next_deadline()
                .map_or_else(|| "none".to_owned(), offset),
        );
        for participant in &session.participants {
            text.push('\n');
            text.push_str(&show_participant(participant));
        }
        text
    }
}
