//! Scripts: one line a message, a deadline or a jump in time (`;` parts lines, too). `s1` is the first
//! session that was made, `ann*` is premium, instants are seconds since the world began.

use std::time::Duration;

use super::told::Told;
use super::world::{T0, World};
use crate::domain::{Action, Command, Match, MatchedUser, Message, Tier};

impl World {
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

    pub(super) fn index(&self, session: &str) -> usize {
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
