//! Identifiers and invite codes: what is well-formed (contract, "Ids") and how ids derive from inputs,
//! so that a redelivery names the same things again.

use std::fmt;

use uuid::Uuid;

/// An id that is empty after trimming, longer than 128 Unicode scalars, or has control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedId;

/// The longest id, in Unicode scalars.
const MAX_SCALARS: usize = 128;

/// Trims `text` and checks that it is well-formed (contract, "Ids").
pub(super) fn well_formed(text: &str) -> Result<&str, MalformedId> {
    let trimmed = text.trim();
    if trimmed.is_empty()
        || trimmed.chars().count() > MAX_SCALARS
        || trimmed.chars().any(char::is_control)
    {
        return Err(MalformedId);
    }
    Ok(trimmed)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Trims `text` and checks it (contract, "Ids").
            pub fn parse(text: &str) -> Result<Self, MalformedId> {
                well_formed(text).map(|id| Self(id.to_owned()))
            }

            /// Takes an id that was checked before it was stored.
            pub fn from_stored(text: String) -> Self {
                Self(text)
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// Names a session.
    SessionId
}
id! {
    /// Names a learner.
    UserId
}
id! {
    /// Names a topic of conversation.
    TopicId
}
id! {
    /// Names one of a learner's connections.
    ConnectionId
}

/// The namespace under which this worker derives ids (UUID version 5). Part of the contract's
/// promise that a redelivery names the same session and event again: never change it.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_9b1e_52a7_4c55_9d0e_7a53_5e55_10ad);

impl SessionId {
    /// The session that a match creates (contract 2, AC1).
    pub fn of_match(match_id: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("match:{match_id}").as_bytes()).to_string())
    }

    /// The session that a `CreatePrivateSession` without a `sessionId` creates (contract 1).
    pub fn of_command(command_id: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("command:{command_id}").as_bytes()).to_string())
    }

    /// The id of this session's event number `sequence`.
    pub fn event_id(&self, sequence: i64) -> String {
        Uuid::new_v5(
            &NAMESPACE,
            format!("event:{}:{sequence}", self.0).as_bytes(),
        )
        .to_string()
    }

    /// Whether the id is a lower-case hyphenated UUID, as a sender's own choice must be (contract 2, AC2).
    pub fn is_lower_case_uuid(&self) -> bool {
        Uuid::try_parse(&self.0).is_ok_and(|uuid| uuid.hyphenated().to_string() == self.0)
    }
}

/// An invite code, as stored or as normalised from what a learner entered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InviteCode(String);

impl InviteCode {
    /// The 28 symbols of a code: no vowels, no look-alikes (contract 2, AC2).
    pub const ALPHABET: &'static [u8; 28] = b"23456789BCDFGHJKMNPQRSTVWXYZ";
    /// The number of symbols in a code.
    pub const LENGTH: usize = 6;

    /// Spells a code with the symbols at `indices` of the alphabet (each below 28).
    pub fn from_indices(indices: [u8; Self::LENGTH]) -> Self {
        Self(
            indices
                .iter()
                .map(|&i| char::from(Self::ALPHABET[usize::from(i)]))
                .collect(),
        )
    }

    /// Normalises what a learner entered: upper-cased, white space and Unicode dashes taken out;
    /// `None` where nothing is left (contract 2, AC3).
    pub fn from_entered(text: &str) -> Option<Self> {
        let code: String = text
            .chars()
            .filter(|c| !c.is_whitespace() && !is_dash(*c))
            .flat_map(char::to_uppercase)
            .collect();
        if code.is_empty() {
            None
        } else {
            Some(Self(code))
        }
    }

    /// Takes a code that was made before it was stored.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The code's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Unicode's property `Dash`.
fn is_dash(c: char) -> bool {
    matches!(c,
        '\u{2D}' | '\u{58A}' | '\u{5BE}' | '\u{1400}' | '\u{1806}' | '\u{2010}'..='\u{2015}'
        | '\u{2053}' | '\u{207B}' | '\u{208B}' | '\u{2212}' | '\u{2E17}' | '\u{2E1A}'
        | '\u{2E3A}'..='\u{2E3B}' | '\u{2E40}' | '\u{2E5D}' | '\u{301C}' | '\u{3030}' | '\u{30A0}'
        | '\u{FE31}'..='\u{FE32}' | '\u{FE58}' | '\u{FE63}' | '\u{FF0D}' | '\u{10D6E}' | '\u{10EAD}')
}
