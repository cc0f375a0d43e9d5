//! What must hold of every stored state: `violations` is what properties test and `audit` reports.
//! The checks read only the state itself, never the settings, which may have changed since.

use super::ids::InviteCode;
use super::limits::UserLimits;
use super::participant::{LeaveReason, Participant, ParticipantStatus, Role};
use super::rules::Rules;
use super::session::{EndReason, Session, SessionKind, SessionStatus, count};
use super::time::Timestamp;

/// A broken invariant: its stable name and what is wrong, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// A stable snake_case name.
    pub invariant: &'static str,
    /// What is wrong, with ids and numbers.
    pub detail: String,
}

/// The invariants that `session` breaks.
pub fn violations(session: &Session) -> Vec<Violation> {
    let mut found = Findings {
        subject: format!("session {}", session.id),
        violations: Vec::new(),
    };
    seats(session, &mut found);
    host(session, &mut found);
    status(session, &mut found);
    instants(session, &mut found);
    warnings(session, &mut found);
    sequence(session, &mut found);
    order(session, &mut found);
    for participant in &session.participants {
        stint(session, participant, &mut found);
        presence(session, participant, &mut found);
    }
    found.violations
}

/// The invariants that `limits` breaks.
pub fn limit_violations(limits: &UserLimits) -> Vec<Violation> {
    let mut found = Findings {
        subject: format!("user {}", limits.user_id),
        violations: Vec::new(),
    };
    found.require(all_distinct(&limits.open), "open_sessions_distinct", || {
        format!("open holds a session twice: {:?}", limits.open)
    });
    found.require(limits.used >= 0, "daily_use_not_negative", || {
        format!("used {}", limits.used)
    });
    found.require(
        limits.failed_codes.is_sorted(),
        "failed_codes_in_order",
        || format!("failedCodes {:?}", limits.failed_codes),
    );
    found.violations
}

struct Findings {
    subject: String,
    violations: Vec<Violation>,
}

impl Findings {
    fn require(&mut self, holds: bool, invariant: &'static str, detail: impl FnOnce() -> String) {
        if !holds {
            let detail = format!("{}: {}", self.subject, detail());
            self.violations.push(Violation { invariant, detail });
        }
    }
}

/// Capacity (contract 2, AC1–AC3).
fn seats(session: &Session, found: &mut Findings) {
    let (min, max) = (session.min_participants, session.max_participants);
    let in_range = (2..=6).contains(&max) && (2..=6).contains(&min);
    let in_order = session.kind == SessionKind::Private || min <= max;
    found.require(in_range && in_order, "seats_in_range", || {
        format!("min {min}, max {max}")
    });
    let open = count(session.open_count());
    found.require(open <= max, "capacity", || format!("{open} open of {max}"));
    let ever = session.participants.len();
    found.require(
        (1..=Rules::DISTINCT_USERS).contains(&ever),
        "distinct_users",
        || format!("{ever} users ever"),
    );
    let peak = session.peak_participants;
    found.require(
        peak >= open.max(1) && peak <= max && peak <= count(ever),
        "peak_participants",
        || format!("peak {peak}, {open} open, {ever} ever, max {max}"),
    );
    let users: Vec<_> = session.participants.iter().map(|p| &p.user_id).collect();
    found.require(all_distinct(&users), "one_participant_a_user", || {
        format!("{users:?}")
    });
}

/// Who hosts, and the code that opens a private session (contract 2, AC2 and AC6).
fn host(session: &Session, found: &mut Findings) {
    let hosts: Vec<_> = session
        .participants
        .iter()
        .filter(|p| p.role == Role::Host)
        .collect();
    found.require(
        hosts.len() == 1 && hosts[0].user_id == session.host_user_id,
        "one_host",
        || {
            let hosts: Vec<_> = hosts.iter().map(|p| p.user_id.as_str()).collect();
            format!("hostUserId {}, roles say {hosts:?}", session.host_user_id)
        },
    );
    if session.kind == SessionKind::Private && session.status != SessionStatus::Ended {
        found.require(
            hosts.iter().any(|p| p.is_open()),
            "private_host_open",
            || format!("the host {} has left", session.host_user_id),
        );
    }
    let code_fits = match (&session.kind, &session.invite_code) {
        (SessionKind::Public, code) => code.is_none(),
        (SessionKind::Private, code) => code.as_ref().is_some_and(well_made),
    };
    found.require(code_fits, "invite_code", || {
        "a private session has a code of 6, no other has".to_owned()
    });
}

/// What each status fixes (contract 2, AC5 and AC7).
fn status(session: &Session, found: &mut Findings) {
    let open = session.open_count();
    let started = session.started_at.is_some();
    let over = session.ended_at.is_some();
    let holds = match session.status {
        SessionStatus::Waiting => !started && !over && session.waiting_deadline.is_some(),
        SessionStatus::Active => started && !over && session.waiting_deadline.is_none(),
        SessionStatus::Ended => over && session.waiting_deadline.is_none(),
    };
    found.require(
        holds && started == session.expires_at.is_some() && over == session.end_reason.is_some(),
        "status_fits",
        || {
            format!(
                "status {:?}, startedAt {:?}, expiresAt {:?}, endedAt {:?}, endReason {:?}, waiting deadline {:?}",
                session.status,
                session.started_at,
                session.expires_at,
                session.ended_at,
                session.end_reason,
                session.waiting_deadline
            )
        },
    );
    if session.status == SessionStatus::Ended {
        found.require(open == 0, "ended_nobody_open", || format!("{open} open"));
    } else {
        found.require(open > 0, "live_somebody_open", || {
            "nobody is open".to_owned()
        });
    }
    let reason_fits = match session.end_reason {
        Some(EndReason::NeverStarted) => !started,
        Some(EndReason::Timeout) => started && session.ended_at == session.expires_at,
        Some(EndReason::HostEnded | EndReason::AllLeft) | None => true,
    };
    found.require(reason_fits, "end_reason_fits", || {
        format!(
            "endReason {:?}, startedAt {:?}",
            session.end_reason, session.started_at
        )
    });
}

/// The order of a session's instants.
fn instants(session: &Session, found: &mut Findings) {
    let chain = [
        Some(session.created_at),
        session.started_at,
        session.ended_at,
        Some(session.updated_at),
    ];
    let chain: Vec<Timestamp> = chain.into_iter().flatten().collect();
    let before_end = match (session.ended_at, session.expires_at) {
        (Some(ended_at), Some(expires_at)) => ended_at <= expires_at,
        _ => true,
    };
    let deadlines_ahead = session
        .waiting_deadline
        .is_none_or(|at| at >= session.created_at)
        && session.expires_at >= session.started_at;
    found.require(chain.is_sorted() && before_end && deadlines_ahead, "instants_in_order", || {
        format!(
            "createdAt, startedAt, endedAt, updatedAt {chain:?}, expiresAt {:?}, waiting deadline {:?}",
            session.expires_at, session.waiting_deadline
        )
    });
}

/// Warnings still to come (contract 1, `session.expiring`).
fn warnings(session: &Session, found: &mut Findings) {
    let active = session.status == SessionStatus::Active;
    let between = session.warnings.iter().all(|warning| {
        Some(warning.at) > session.started_at
            && Some(warning.at) < session.expires_at
            && Some(warning.at.plus(warning.before_end)) == session.expires_at
    });
    let rising = session.warnings.is_sorted_by(|a, b| a.at < b.at);
    found.require(
        session.warnings.is_empty() || (active && between && rising),
        "warnings_fit",
        || format!("{:?} while {:?}", session.warnings, session.status),
    );
}

/// Every change that leaves a trace had an event (contract 3, 2).
fn sequence(session: &Session, found: &mut Findings) {
    let joins: i64 = session
        .participants
        .iter()
        .map(|p| 1 + i64::from(p.rejoin_count))
        .sum();
    let leaves = joins
        - session
            .participants
            .iter()
            .map(|p| i64::from(p.is_open()))
            .sum::<i64>();
    let edges = 1 + i64::from(session.started_at.is_some()) + i64::from(session.ended_at.is_some());
    found.require(
        session.sequence >= joins + leaves + edges,
        "sequence_covers_events",
        || {
            format!(
                "sequence {}, at least {} events",
                session.sequence,
                joins + leaves + edges
            )
        },
    );
    found.require(session.next_seniority == joins, "stints_counted", || {
        format!("next seniority {}, {joins} joins", session.next_seniority)
    });
}

/// The order of participants: first joins (contract 2, AC7), and seniority.
fn order(session: &Session, found: &mut Findings) {
    let participants = &session.participants;
    found.require(
        participants.is_sorted_by_key(|p| p.joined_at),
        "participants_in_order",
        || "not in order of joinedAt".to_owned(),
    );
    let ranks: Vec<i64> = participants.iter().map(|p| p.seniority).collect();
    let in_range = ranks
        .iter()
        .all(|rank| (0..session.next_seniority).contains(rank));
    found.require(
        in_range && all_distinct(&ranks),
        "seniority_distinct",
        || format!("{ranks:?}"),
    );
}

/// What a participant's presence fixes (contract 2, AC4).
fn stint(session: &Session, participant: &Participant, found: &mut Findings) {
    let connected = participant.connection_id.is_some();
    let dropped = participant.disconnected_at.is_some();
    let timed = participant.deadline.is_some();
    let holds = match (participant.is_open(), participant.status) {
        (true, ParticipantStatus::Waiting) => !connected && !dropped,
        (true, ParticipantStatus::Connected) => connected && !dropped && !timed,
        (true, ParticipantStatus::Disconnected) => !connected && dropped && timed,
        (false, ParticipantStatus::Disconnected) => !connected && !dropped && !timed,
        (false, ParticipantStatus::Waiting | ParticipantStatus::Connected) => false,
    };
    found.require(holds, "presence_fits", || format!("{participant:?}"));
    let reason_fits = match participant.leave_reason {
        None => participant.is_open(),
        Some(LeaveReason::SessionEnded) => {
            participant.left_at.is_some() && participant.left_at == session.ended_at
        }
        Some(LeaveReason::Left | LeaveReason::DisconnectTimeout | LeaveReason::NoShow) => {
            !participant.is_open()
        }
    };
    found.require(reason_fits, "leave_reason_fits", || {
        format!("{participant:?}")
    });
    let chain = [
        Some(session.created_at),
        Some(participant.joined_at),
        Some(participant.stint_started_at),
        participant.disconnected_at.or(participant.left_at),
        session.ended_at.or(Some(session.updated_at)),
    ];
    let chain: Vec<Timestamp> = chain.into_iter().flatten().collect();
    let first_stint =
        participant.rejoin_count > 0 || participant.stint_started_at == participant.joined_at;
    let timer_ahead = participant.deadline.is_none_or(|at| {
        at >= participant
            .disconnected_at
            .unwrap_or(participant.stint_started_at)
    });
    found.require(
        chain.is_sorted() && first_stint && timer_ahead,
        "stint_in_order",
        || format!("{participant:?}"),
    );
}

/// Speaking and presence (contract 2, AC6).
fn presence(session: &Session, participant: &Participant, found: &mut Findings) {
    let present = participant.present_seconds(session.updated_at);
    let spoken = participant.speaking_time_seconds;
    found.require(
        (0..=present).contains(&spoken),
        "speaking_within_presence",
        || format!("{} spoke {spoken} s in {present} s", participant.user_id),
    );
    let longest = session.updated_at.millis_since(participant.joined_at);
    let before = participant.present_before_ms;
    found.require(
        (0..=longest).contains(&before),
        "presence_within_membership",
        || {
            format!(
                "{} was present {before} ms of {longest} ms",
                participant.user_id
            )
        },
    );
}

fn well_made(code: &InviteCode) -> bool {
    let symbols = code.as_str().as_bytes();
    symbols.len() == InviteCode::LENGTH && symbols.iter().all(|s| InviteCode::ALPHABET.contains(s))
}

fn all_distinct<T: Ord>(items: &[T]) -> bool {
    let mut sorted: Vec<&T> = items.iter().collect();
    sorted.sort();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}
