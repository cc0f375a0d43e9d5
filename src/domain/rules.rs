//! The settings `rules.*`: every knob that the contract's section 2 names, with its default.

use std::time::Duration;

/// What must be reached for a public session to start (contract 2, AC5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOn {
    /// Open participants reach `minParticipants`.
    Joined,
    /// Connected participants reach `minParticipants`.
    Connected,
}

/// Whether a public session's host role moves when the host leaves (contract 2, AC6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicHostMigration {
    /// The role stays with whoever was matched first.
    Off,
    /// The role moves as in a private session.
    On,
}

/// The rules' settings. Deadlines are stored when they arise and stand whatever these become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `rules.partialMatch`: a match whose users are partly over a limit is made of the others.
    pub partial_match: bool,
    /// `rules.startOn`.
    pub start_on: StartOn,
    /// `rules.publicHostMigration`.
    pub public_host_migration: PublicHostMigration,
    /// `rules.expiryWarnings`: how long before the end each `session.expiring` fires.
    pub expiry_warnings: Vec<Duration>,
    /// `rules.disconnectGrace`: how long a dropped participant may stay away.
    pub disconnect_grace: Duration,
    /// `rules.noShowTimeout`: how long a participant may take to connect; `None` is off.
    pub no_show_timeout: Option<Duration>,
    /// `rules.sessionTimeout`: from the start to the end.
    pub session_timeout: Duration,
    /// `rules.waitingTimeout`: from the creation to the end without a start.
    pub waiting_timeout: Duration,
    /// `rules.failedCodes`: unknown codes a user may try within the window.
    pub failed_codes: u32,
    /// `rules.failedCodesWindow`.
    pub failed_codes_window: Duration,
    /// `rules.concurrentLimit`: open participations a user, in sessions that have not ended.
    pub concurrent_limit: u32,
    /// `rules.dailyLimitFree`: first joins a UTC day, where the free tier acts.
    pub daily_limit_free: u32,
    /// `rules.commandRetention`: how old a command may be, and how long its result is remembered.
    pub command_retention: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            partial_match: true,
            start_on: StartOn::Joined,
            public_host_migration: PublicHostMigration::Off,
            expiry_warnings: vec![5 * MINUTE, MINUTE],
            disconnect_grace: 2 * MINUTE,
            no_show_timeout: None,
            session_timeout: 30 * MINUTE,
            waiting_timeout: 30 * MINUTE,
            failed_codes: 10,
            failed_codes_window: 10 * MINUTE,
            concurrent_limit: 3,
            daily_limit_free: 10,
            command_retention: 7 * 24 * 60 * MINUTE,
        }
    }
}

impl Rules {
    /// How far ahead of the database's clock a command's `issuedAt` may lie (contract 2).
    pub const ISSUED_AHEAD: Duration = Duration::from_secs(5 * 60);
    /// How long beyond the retention a result stays remembered (contract 2).
    pub const REMEMBERED_BEYOND: Duration = Duration::from_secs(15 * 60);
    /// The most distinct users a session ever takes (contract 2, AC3).
    pub const DISTINCT_USERS: usize = 100;
}
