//! The digest that tells a sender's duplicate from a conflict: SHA-256 over the content as decoded
//! (contract 2: of a command `userId`, `tier` and `command`; of a match every field), so the same for
//! every encoding, writer schema, key and header. Stored for as long as a message is remembered:
//! what it covers and how must never change.

use sha2::{Digest, Sha256};

use crate::domain::{Action, Command, Match, Message, Tier};

/// The digest of `message`'s content.
pub(super) fn of(message: &Message) -> [u8; 32] {
    let mut content = Content(Sha256::new());
    match message {
        Message::Command(command) => content.command(command),
        Message::Match(found) => content.found(found),
    }
    content.0.finalize().into()
}

/// Every part is written with its kind and its length, so that no two contents look alike.
struct Content(Sha256);

impl Content {
    fn text(&mut self, text: &str) {
        self.0.update([b's']);
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.0.update([b'n']);
        self.0.update(number.to_be_bytes());
    }

    fn null(&mut self) {
        self.0.update([b'0']);
    }

    fn optional_text(&mut self, text: Option<&String>) {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    fn optional_number(&mut self, number: Option<i64>) {
        match number {
            Some(number) => self.number(number),
            None => self.null(),
        }
    }

    fn tier(&mut self, tier: Tier) {
        self.text(match tier {
            Tier::Free => "free",
            Tier::Premium => "premium",
        });
    }

    fn command(&mut self, command: &Command) {
        self.text("command");
        self.text(&command.user_id);
        self.tier(command.tier);
        match &command.action {
            Action::CreatePrivateSession {
                session_id,
                target_language_code,
                topic_id,
                topic_title,
                max_participants,
            } => {
                self.text("CreatePrivateSession");
                self.optional_text(session_id.as_ref());
                self.text(target_language_code);
                self.optional_text(topic_id.as_ref());
                self.optional_text(topic_title.as_ref());
                self.number(i64::from(*max_participants));
            }
            Action::JoinSession { invite_code } => {
                self.text("JoinSession");
                self.text(invite_code);
            }
            Action::StartSession { session_id } => {
                self.text("StartSession");
                self.text(session_id);
            }
            Action::EndSession { session_id } => {
                self.text("EndSession");
                self.text(session_id);
            }
            Action::LeaveSession {
                session_id,
                speaking_time_seconds,
            } => {
                self.text("LeaveSession");
                self.text(session_id);
                self.optional_number(*speaking_time_seconds);
            }
            Action::ConnectParticipant {
                session_id,
                connection_id,
            } => {
                self.text("ConnectParticipant");
                self.text(session_id);
                self.text(connection_id);
            }
            Action::DisconnectParticipant {
                session_id,
                connection_id,
                speaking_time_seconds,
            } => {
                self.text("DisconnectParticipant");
                self.text(session_id);
                self.text(connection_id);
                self.optional_number(*speaking_time_seconds);
            }
            Action::ReportSpeakingTime {
                session_id,
                speaking_time_seconds,
            } => {
                self.text("ReportSpeakingTime");
                self.text(session_id);
                self.number(*speaking_time_seconds);
            }
        }
    }

    fn found(&mut self, found: &Match) {
        self.text("match");
        self.text(&found.match_id);
        self.number(found.matched_at.0);
        self.text(&found.target_language_code);
        self.optional_text(found.topic_id.as_ref());
        self.optional_text(found.topic_title.as_ref());
        self.number(found.participants.len() as i64);
        for user in &found.participants {
            self.text(&user.user_id);
            self.tier(user.tier);
        }
        self.number(i64::from(found.min_participants));
        self.number(i64::from(found.max_participants));
        self.optional_text(found.session_id.as_ref());
    }
}
