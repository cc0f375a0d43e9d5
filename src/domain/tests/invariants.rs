//! `violations` has teeth: every invariant finds the state that was broken for it.

use std::time::Duration;

use super::world::World;
use crate::domain::{
    Day, EndReason, InviteCode, LeaveReason, ParticipantStatus, Role, Session, SessionId,
    SessionStatus, Timestamp, UserId, UserLimits, Warning, limit_violations, violations,
};

/// A live private session: `ann` hosts and is connected, `bob` is dropped, `cat` has left.
fn live() -> Session {
    let mut world = World::new();
    world.run(
        "ann creates; at 1; bob joins s1; at 2; cat joins s1; ann connects s1 a; \
         bob connects s1 b; at 10; ann starts s1; bob disconnects s1 b; cat leaves s1",
    );
    world.sessions[0].clone()
}

fn over() -> Session {
    let mut world = World::new();
    world.run("match m1 ann bob; at 10; bob leaves s1 speaking 3; at 20; ann ends s1");
    world.sessions[0].clone()
}

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("a well-formed id")
}

type Break = fn(&mut Session);

const LIVE: [(&str, Break); 33] = [
    ("seats_in_range", |s| s.max_participants = 7),
    ("seats_in_range", |s| s.min_participants = 1),
    ("capacity", |s| s.max_participants = 1),
    ("peak_participants", |s| s.peak_participants = 1),
    ("peak_participants", |s| s.peak_participants = 4),
    ("one_participant_a_user", |s| {
        s.participants[1].user_id = user("ann");
    }),
    ("one_host", |s| s.participants[1].role = Role::Host),
    ("one_host", |s| s.host_user_id = user("bob")),
    ("private_host_open", |s| {
        s.participants[0].role = Role::Participant;
        s.participants[2].role = Role::Host;
        s.host_user_id = user("cat");
    }),
    ("invite_code", |s| s.invite_code = None),
    ("invite_code", |s| {
        s.invite_code = Some(InviteCode::from_stored("AEIOU1".to_owned()));
    }),
    ("status_fits", |s| s.status = SessionStatus::Waiting),
    ("status_fits", |s| s.status = SessionStatus::Ended),
    ("status_fits", |s| s.expires_at = None),
    ("status_fits", |s| s.end_reason = Some(EndReason::Timeout)),
    ("status_fits", |s| s.waiting_deadline = Some(s.created_at)),
    ("live_somebody_open", |s| {
        for participant in &mut s.participants {
            participant.left_at = Some(s.updated_at);
        }
    }),
    ("instants_in_order", |s| {
        s.started_at = Some(s.created_at.minus(Duration::from_secs(1)));
    }),
    ("instants_in_order", |s| s.updated_at = s.created_at),
    ("instants_in_order", |s| s.expires_at = Some(s.created_at)),
    ("warnings_fit", |s| s.warnings.reverse()),
    ("warnings_fit", |s| {
        s.warnings[0].before_end = Duration::from_secs(7);
    }),
    ("sequence_covers_events", |s| s.sequence = 5),
    ("stints_counted", |s| s.participants[1].rejoin_count = 1),
    ("participants_in_order", |s| s.participants.swap(0, 1)),
    ("seniority_distinct", |s| s.participants[1].seniority = 0),
    ("seniority_distinct", |s| s.participants[1].seniority = 99),
    ("presence_fits", |s| s.participants[0].connection_id = None),
    ("presence_fits", |s| s.participants[1].deadline = None),
    ("leave_reason_fits", |s| {
        s.participants[0].leave_reason = Some(LeaveReason::Left);
    }),
    ("stint_in_order", |s| {
        s.participants[1].stint_started_at = s.created_at;
    }),
    ("speaking_within_presence", |s| {
        s.participants[0].speaking_time_seconds = 11;
    }),
    ("presence_within_membership", |s| {
        s.participants[0].present_before_ms = 10_001;
    }),
];

const OVER: [(&str, Break); 9] = [
    ("ended_nobody_open", |s| {
        s.participants[0].left_at = None;
        s.participants[0].leave_reason = None;
    }),
    ("invite_code", |s| {
        s.invite_code = Some(InviteCode::from_indices([0; 6]));
    }),
    ("end_reason_fits", |s| {
        s.end_reason = Some(EndReason::Timeout);
    }),
    ("end_reason_fits", |s| {
        s.end_reason = Some(EndReason::NeverStarted);
    }),
    ("instants_in_order", |s| {
        s.ended_at = s.expires_at.map(|at| Timestamp(at.0 + 1));
    }),
    ("warnings_fit", |s| {
        let before_end = Duration::from_secs(60);
        let at = s
            .expires_at
            .map(|at| at.minus(before_end))
            .expect("it was started");
        s.warnings = vec![Warning { at, before_end }];
    }),
    ("leave_reason_fits", |s| {
        s.participants[0].left_at = s.started_at;
    }),
    ("presence_fits", |s| {
        s.participants[1].status = ParticipantStatus::Waiting;
    }),
    ("distinct_users", |s| s.participants.clear()),
];

fn finds(healthy: &Session, broken: impl Fn(&mut Session), invariant: &str) {
    assert_eq!(violations(healthy), []);
    let mut session = healthy.clone();
    broken(&mut session);
    let found = violations(&session);
    assert!(
        found.iter().any(|v| v.invariant == invariant),
        "{invariant} not in {found:?}"
    );
    let id = session.id.as_str();
    assert!(
        found.iter().all(|violation| violation.detail.contains(id)),
        "{found:?}"
    );
}

#[test]
fn every_invariant_of_a_live_session_is_checked() {
    let healthy = live();
    for (invariant, broken) in LIVE {
        finds(&healthy, broken, invariant);
    }
}

#[test]
fn every_invariant_of_an_ended_session_is_checked() {
    let healthy = over();
    for (invariant, broken) in OVER {
        finds(&healthy, broken, invariant);
    }
}

#[test]
fn every_invariant_of_limits_is_checked() {
    let healthy = UserLimits::unused(user("ann"), Day(0));
    assert_eq!(limit_violations(&healthy), []);
    let session = SessionId::of_match("m1");
    for (invariant, broken) in [
        (
            "daily_use_not_negative",
            UserLimits {
                used: -1,
                ..healthy.clone()
            },
        ),
        (
            "open_sessions_distinct",
            UserLimits {
                open: vec![session.clone(), session],
                ..healthy.clone()
            },
        ),
        (
            "failed_codes_in_order",
            UserLimits {
                failed_codes: vec![Timestamp(2), Timestamp(1)],
                ..healthy
            },
        ),
    ] {
        let found = limit_violations(&broken);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].invariant, invariant);
    }
}
