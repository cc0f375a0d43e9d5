//! A shell without I/O: it loads, calls the domain, carries out what comes back and checks every
//! invariant on the way. Scripts drive it, one line a message, a deadline or a jump in time
//! (`;` parts lines, too).

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::domain::{
    Action, Admission, Cause, Command, CommandResult, Context, Event, EventKind, InviteCode,
    LeaveReason, Match, MatchedUser, Message, MessageId, Participant, ParticipantStatus, Reason,
    Remembered, Request, Role, Rules, Session, SessionId, SessionStatus, State, Tier, TimerKind,
    Timestamp, UserChange, UserId, UserLimits, admit, decide, elapse, limit_violations, violations,
};

/// 2026-01-01T12:00:00Z; midnight is 43200 seconds away.
pub(super) const T0: Timestamp = Timestamp(1_767_268_800_000);

/// Everything a shell keeps.
#[derive(Clone)]
pub(super) struct World {
    pub(super) rules: Rules,
    pub(super) now: Timestamp,
    /// In order of creation; a script calls them s1, s2, …
    pub(super) sessions: Vec<Session>,
    pub(super) users: Vec<UserLimits>,
    /// Everything ever published.
    pub(super) events: Vec<Event>,
    pub(super) ledger: Vec<(MessageId, Remembered)>,
    commands: u32,
}

/// What came of one line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) result: Option<CommandResult>,
    pub(super) events: Vec<Event>,
    pub(super) users: Vec<UserChange>,
    /// Whether the session has a next state.
    pub(super) changed: bool,
    /// The sessions' ids in order of creation.
    names: Vec<SessionId>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Rules::default())
    }

    pub(super) fn with(rules: Rules) -> Self {
        Self {
            rules,
            now: T0,
            sessions: Vec::new(),
            users: Vec::new(),
            events: Vec::new(),
            ledger: Vec::new(),
            commands: 0,
        }
    }

    /// Takes every line of `script` and tells what came of the last one.
    pub(super) fn run(&mut self, script: &str) -> Told {
        let lines = script
            .split(['\n', ';'])
            .map(str::trim)
            .filter(|line| !line.is_empty());
        lines
            .map(|line| self.line(line))
            .last()
            .expect("a script has a line")
    }

    fn line(&mut self, line: &str) -> Told {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["at", seconds] => {
                let seconds: f64 = seconds.parse().expect("seconds");
                self.now = T0.plus(Duration::from_secs_f64(seconds));
                self.told(None, Vec::new(), Vec::new(), false)
            }
            ["tick", session] => self.tick(self.index(session)),
            ["match", id, ref rest @ ..] => {
                let found = matched(id, None, rest);
                self.send(&Message::Match(found))
            }
            ["backfill", id, session, ref rest @ ..] => {
                let session = self.name(session);
                let found = matched(id, Some(session), rest);
                self.send(&Message::Match(found))
            }
            [user, ref rest @ ..] => {
                let action = self.action(rest);
                let command = self.command(user, action);
                self.send(&Message::Command(command))
            }
            [] => unreachable!("empty lines are skipped"),
        }
    }

    /// A command by `user` (`ann*` is premium) under a fresh id.
    pub(super) fn command(&mut self, user: &str, action: Action) -> Command {
        self.commands += 1;
        let (user_id, tier) = tiered(user);
        Command {
            command_id: format!("c{}", self.commands),
            issued_at: self.now,
            user_id,
            tier,
            action,
        }
    }

    fn action(&self, words: &[&str]) -> Action {
        let seconds = |text: &str| text.parse().expect("seconds");
        match *words {
            ["creates"] => creation(4),
            ["creates", "max", seats] => creation(seats.parse().expect("seats")),
            ["creates", "as", id] => Action::CreatePrivateSession {
                session_id: Some(id.to_owned()),
                target_language_code: "fr".to_owned(),
                topic_id: None,
                topic_title: None,
                max_participants: 4,
            },
            ["joins", session] => {
                let code = self.sessions[self.index(session)].invite_code.as_ref();
                let code = code.expect("a private session").as_str();
                Action::JoinSession {
                    invite_code: code.to_owned(),
                }
            }
            ["enters", ref code @ ..] => Action::JoinSession {
                invite_code: code.join(" "),
            },
            ["starts", session] => Action::StartSession {
                session_id: self.name(session),
            },
            ["ends", session] => Action::EndSession {
                session_id: self.name(session),
            },
            ["leaves", session] => Action::LeaveSession {
                session_id: self.name(session),
                speaking_time_seconds: None,
            },
            ["leaves", session, "speaking", s] => Action::LeaveSession {
                session_id: self.name(session),
                speaking_time_seconds: Some(seconds(s)),
            },
            ["connects", session, id] => Action::ConnectParticipant {
                session_id: self.name(session),
                connection_id: id.to_owned(),
            },
            ["disconnects", session, id] => Action::DisconnectParticipant {
                session_id: self.name(session),
                connection_id: id.to_owned(),
                speaking_time_seconds: None,
            },
            ["disconnects", session, id, "speaking", s] => Action::DisconnectParticipant {
                session_id: self.name(session),
                connection_id: id.to_owned(),
                speaking_time_seconds: Some(seconds(s)),
            },
            ["reports", session, s] => Action::ReportSpeakingTime {
                session_id: self.name(session),
                speaking_time_seconds: seconds(s),
            },
            _ => panic!("not a line of a script: {words:?}"),
        }
    }

    fn index(&self, session: &str) -> usize {
        let number: usize = session.trim_start_matches('s').parse().expect("s1, s2, …");
        number - 1
    }

    /// The id behind `s1`; what is no such name stands for itself.
    fn name(&self, session: &str) -> String {
        let number = session
            .strip_prefix('s')
            .and_then(|n| n.parse::<usize>().ok());
        let found = number.and_then(|n| self.sessions.get(n - 1));
        found.map_or_else(
            || session.to_owned(),
            |session| session.id.as_str().to_owned(),
        )
    }

    /// Judges a message as a lane does.
    pub(super) fn send(&mut self, message: &Message) -> Told {
        let fingerprint = fingerprint(message);
        let remembered = self.remembered(&message.id());
        match admit(message, &fingerprint, remembered, self.now, &self.rules) {
            Admission::Settled { result, remember } => {
                if remember {
                    let result = result.clone();
                    self.ledger.push((
                        message.id(),
                        Remembered {
                            fingerprint,
                            result,
                        },
                    ));
                }
                self.told(Some(result), Vec::new(), Vec::new(), false)
            }
            Admission::Proceed(request) => {
                let told = self.judge(&request);
                let result = told.result.clone().expect("a decision answers");
                self.ledger.push((
                    message.id(),
                    Remembered {
                        fingerprint,
                        result,
                    },
                ));
                told
            }
        }
    }

    pub(super) fn remembered(&self, id: &MessageId) -> Option<&Remembered> {
        self.ledger
            .iter()
            .find(|(known, _)| known == id)
            .map(|(_, remembered)| remembered)
    }

    /// Judges a request, and carries the decision out.
    pub(super) fn judge(&mut self, request: &Request) -> Told {
        let found = match request {
            Request::Join { invite_code, .. } => self
                .sessions
                .iter()
                .position(|session| session.invite_code.as_ref() == Some(invite_code)),
            _ => {
                let id = request.session_id().expect("only a join knows no session");
                self.sessions.iter().position(|session| session.id == *id)
            }
        };
        let limited = request.limited_users();
        let state = State {
            session: found.map(|index| &self.sessions[index]),
            users: self
                .users
                .iter()
                .filter(|user| limited.contains(&&user.user_id))
                .collect(),
        };
        let context = self.context();
        let decision = decide(&state, request, &context);
        assert_eq!(
            decision,
            decide(&state, request, &context),
            "the same input, the same output"
        );
        if let Some(session) = state.session {
            overdue_deadlines_come_first(session, &state, request, &context);
        }
        self.carry_out(
            decision.session,
            decision.events,
            decision.users,
            Some(decision.result),
        )
    }

    /// Fires the deadlines of session number `index` that are due.
    pub(super) fn tick(&mut self, index: usize) -> Told {
        let elapsed = elapse(&self.sessions[index], &self.context());
        self.carry_out(elapsed.session, elapsed.events, elapsed.users, None)
    }

    fn context(&self) -> Context<'_> {
        let drawn = u32::try_from(self.sessions.len()).expect("few sessions");
        let indices = [0, 0, 0, 0, (drawn / 28 % 28) as u8, (drawn % 28) as u8];
        Context {
            now: self.now,
            rules: &self.rules,
            invite_code: Some(InviteCode::from_indices(indices)),
        }
    }

    fn carry_out(
        &mut self,
        after: Option<Session>,
        events: Vec<Event>,
        users: Vec<UserChange>,
        result: Option<CommandResult>,
    ) -> Told {
        let changed = after.is_some();
        if let Some(after) = after {
            assert_eq!(violations(&after), [], "after {events:?}");
            let place = self
                .sessions
                .iter()
                .position(|session| session.id == after.id);
            let before = place.map(|index| &self.sessions[index]);
            let last = before.map_or(0, |session| session.sequence);
            let numbers: Vec<i64> = events.iter().map(|event| event.sequence).collect();
            assert_eq!(
                numbers,
                (last + 1..=after.sequence).collect::<Vec<_>>(),
                "no gap"
            );
            assert!(before.is_none_or(|session| session.updated_at <= after.updated_at));
            assert!(
                events
                    .iter()
                    .all(|event| event.occurred_at == after.updated_at)
            );
            match place {
                Some(index) => self.sessions[index] = after,
                None => self.sessions.push(after),
            }
        } else {
            assert_eq!(events, [], "what has no next state has no event");
        }
        for change in &users {
            let (UserChange::Joined { user_id, .. }
            | UserChange::Released { user_id, .. }
            | UserChange::FailedCode { user_id, .. }) = change;
            let index = self.user(user_id);
            self.users[index].apply(change, &self.rules);
            assert_eq!(limit_violations(&self.users[index]), []);
        }
        self.events.extend(events.iter().cloned());
        self.told(result, events, users, changed)
    }

    fn user(&mut self, user_id: &UserId) -> usize {
        self.users
            .iter()
            .position(|user| user.user_id == *user_id)
            .unwrap_or_else(|| {
                self.users
                    .push(UserLimits::unused(user_id.clone(), self.now.day()));
                self.users.len() - 1
            })
    }

    fn told(
        &self,
        result: Option<CommandResult>,
        events: Vec<Event>,
        users: Vec<UserChange>,
        changed: bool,
    ) -> Told {
        let names = self
            .sessions
            .iter()
            .map(|session| session.id.clone())
            .collect();
        Told {
            result,
            events,
            users,
            changed,
            names,
        }
    }

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

/// Deciding on a session with overdue deadlines is firing them, then deciding.
fn overdue_deadlines_come_first(
    session: &Session,
    state: &State<'_>,
    request: &Request,
    context: &Context<'_>,
) {
    if matches!(request, Request::Create { .. } | Request::Match { .. }) {
        return;
    }
    let elapsed = elapse(session, context);
    let Some(later) = &elapsed.session else {
        return;
    };
    let whole = decide(state, request, context);
    let mut limits: Vec<UserLimits> = state.users.iter().map(|user| (*user).clone()).collect();
    for change in &elapsed.users {
        if let UserChange::Released { user_id, .. } = change {
            let freed = limits.iter_mut().filter(|user| user.user_id == *user_id);
            freed.for_each(|user| user.apply(change, context.rules));
        }
    }
    let state = State {
        session: Some(later),
        users: limits.iter().collect(),
    };
    let rest = decide(&state, request, context);
    assert_eq!(whole.result, rest.result);
    if whole.events.is_empty() {
        return; // Refused before the session was found.
    }
    assert_eq!(whole.events, [elapsed.events, rest.events].concat());
    assert_eq!(
        whole.session,
        Some(rest.session.unwrap_or_else(|| later.clone()))
    );
}

/// A match of `words`: users in order, then `min n` and `max n`.
fn matched(id: &str, session_id: Option<String>, words: &[&str]) -> Match {
    let number = |name| {
        let place = words.iter().position(|word| *word == name)?;
        Some(words[place + 1].parse::<i32>().expect("a number"))
    };
    let users = words
        .iter()
        .take_while(|word| !["min", "max"].contains(word));
    Match {
        match_id: id.to_owned(),
        matched_at: T0,
        target_language_code: "fr".to_owned(),
        topic_id: None,
        topic_title: None,
        participants: users
            .map(|word| {
                let (user_id, tier) = tiered(word);
                MatchedUser { user_id, tier }
            })
            .collect(),
        min_participants: number("min").unwrap_or(2),
        max_participants: number("max").unwrap_or(6),
        session_id,
    }
}

fn tiered(word: &str) -> (String, Tier) {
    match word.strip_suffix('*') {
        Some(user) => (user.to_owned(), Tier::Premium),
        None => (word.to_owned(), Tier::Free),
    }
}

pub(super) fn creation(max_participants: i32) -> Action {
    Action::CreatePrivateSession {
        session_id: None,
        target_language_code: "fr".to_owned(),
        topic_id: None,
        topic_title: None,
        max_participants,
    }
}

/// Stands for the digest of a message's content.
pub(super) fn fingerprint(message: &Message) -> [u8; 32] {
    let content = match message {
        Message::Command(c) => format!("{:?} {:?} {:?}", c.user_id, c.tier, c.action),
        Message::Match(found) => format!("{found:?}"),
    };
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let mut fingerprint = [0; 32];
    fingerprint[..8].copy_from_slice(&hasher.finish().to_be_bytes());
    fingerprint
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
            crate::domain::EndReason::HostEnded => "host_ended",
            crate::domain::EndReason::AllLeft => "all_left",
            crate::domain::EndReason::Timeout => "timeout",
            crate::domain::EndReason::NeverStarted => "never_started",
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
