//! One test an invariant: a state that holds, and the smallest change that breaks it.

use super::*;
use crate::domain::{CommandResult, MessageId};
use crate::domain::{
    Day, InviteCode, ParticipantStatus, Remembered, ResultOrigin, Role, SessionKind,
};
use crate::record::{Origin, TopicPartition};
use crate::store::LastRecord;

const NOW: Timestamp = Timestamp(1_766_400_000_000);

fn id(text: &str) -> SessionId {
    SessionId::from_stored(text.to_owned())
}

fn user(text: &str) -> UserId {
    UserId::from_stored(text.to_owned())
}

/// A private session with its host, waiting.
fn session() -> Session {
    Session {
        id: id("s1"),
        kind: SessionKind::Private,
        status: SessionStatus::Waiting,
        target_language_code: "fr".to_owned(),
        topic_id: None,
        topic_title: None,
        host_user_id: user("u1"),
        min_participants: 2,
        max_participants: 4,
        created_at: NOW,
        started_at: None,
        expires_at: None,
        ended_at: None,
        end_reason: None,
        invite_code: Some(InviteCode::from_stored("K7PQ2M".to_owned())),
        sequence: 2,
        updated_at: NOW,
        waiting_deadline: Some(NOW.plus(Duration::from_secs(1800))),
        warnings: Vec::new(),
        peak_participants: 1,
        next_seniority: 1,
        participants: vec![Participant {
            user_id: user("u1"),
            role: Role::Host,
            status: ParticipantStatus::Waiting,
            joined_at: NOW,
            left_at: None,
            leave_reason: None,
            speaking_time_seconds: 0,
            connection_id: None,
            stint_started_at: NOW,
            seniority: 0,
            present_before_ms: 0,
            disconnected_at: None,
            deadline: None,
            rejoin_count: 0,
        }],
    }
}

fn limits(open: &[&str]) -> UserLimits {
    let open = open.iter().map(|open| id(open)).collect();
    UserLimits {
        open,
        ..UserLimits::unused(user("u1"), Day(20_000))
    }
}

fn users(open: &[&str]) -> HashMap<UserId, UserLimits> {
    HashMap::from([(user("u1"), limits(open))])
}

fn names(offences: &[Offence]) -> Vec<&'static str> {
    offences.iter().map(|offence| offence.invariant).collect()
}

fn judged(
    session: &Session,
    users: &HashMap<UserId, UserLimits>,
    now: Timestamp,
) -> Vec<&'static str> {
    let holders = [session.id.clone()];
    let facts = SessionFacts {
        session,
        version: 1,
        differing: &[],
        code_holders: &holders,
        users,
    };
    names(&of_session(&facts, now))
}

#[test]
fn a_session_that_holds_has_no_offence() {
    assert_eq!(judged(&session(), &users(&["s1"]), NOW), Vec::<&str>::new());
}

#[test]
fn the_domains_violations_are_offences() {
    let mut session = session();
    session.host_user_id = user("u2");
    assert_eq!(judged(&session, &users(&["s1"]), NOW), ["one_host"]);
}

#[test]
fn an_open_participant_of_a_live_session_is_counted_in_the_users_limits() {
    for users in [users(&[]), users(&["s2"]), HashMap::new()] {
        assert_eq!(judged(&session(), &users, NOW), ["open_place_counted"]);
    }
}

#[test]
fn a_deadline_two_minutes_late_was_parked_or_forgotten() {
    let due = NOW.plus(Duration::from_secs(1800));
    for (seconds, offences) in [(0, vec![]), (120, vec![]), (121, vec!["deadline_fired"])] {
        let now = due.plus(Duration::from_secs(seconds));
        assert_eq!(
            judged(&session(), &users(&["s1"]), now),
            offences,
            "{seconds}"
        );
    }
}

#[test]
fn stored_fields_codes_and_counts_are_compared() {
    let (session, users) = (session(), users(&["s1"]));
    let facts = SessionFacts {
        session: &session,
        version: 0,
        differing: &["participantCount".to_owned()],
        code_holders: &[id("s1"), id("s2")],
        users: &users,
    };
    let offences = of_session(&facts, NOW);
    assert_eq!(
        names(&offences),
        [
            "stored_fields_agree",
            "counted_from_one",
            "invite_code_unique"
        ]
    );
    assert_eq!(offences[0].subject.to_string(), "sessions/s1");
}

#[test]
fn a_place_in_the_users_limits_is_open_in_a_live_session() {
    let with = |change: fn(&mut Session)| {
        let mut session = session();
        change(&mut session);
        HashMap::from([(session.id.clone(), session)])
    };
    assert_eq!(of_user(&limits(&["s1"]), &with(|_| {})), []);
    for (sessions, why) in [
        (HashMap::new(), "does not exist or cannot be read"),
        (
            with(|session| session.status = SessionStatus::Ended),
            "has ended",
        ),
        (
            with(|session| session.participants[0].left_at = Some(NOW)),
            "has left",
        ),
        (
            with(|session| session.participants[0].user_id = user("u2")),
            "never in it",
        ),
    ] {
        let offences = of_user(&limits(&["s1"]), &sessions);
        assert_eq!(names(&offences), ["counted_place_open"], "{why}");
        assert!(offences[0].detail.contains(why), "{}", offences[0].detail);
    }
    assert_eq!(
        names(&of_user(&limits(&["s1", "s1"]), &with(|_| {}))),
        ["open_sessions_distinct"]
    );
}

fn entry(code: Option<crate::domain::Code>, replayed: bool) -> LedgerEntry {
    let result = CommandResult {
        id: "c1".to_owned(),
        origin: ResultOrigin::Command,
        user_id: Some("u1".to_owned()),
        code,
        http_status: 200,
        detail: String::new(),
        session_id: Some("s1".to_owned()),
        invite_code: None,
        sequence: None,
        limit: None,
        used: None,
        reset_at: None,
        rejected_users: Vec::new(),
        eligible_user_ids: Vec::new(),
        replayed,
        decided_at: NOW,
    };
    LedgerEntry {
        id: MessageId::Command("c1".to_owned()),
        remembered: Remembered {
            fingerprint: [0; 32],
            result,
        },
        origin: Origin {
            lane: TopicPartition::new("session-command", 0),
            offset: 1,
        },
        forget_at: None,
    }
}

#[test]
fn what_was_accepted_has_its_session() {
    let rejected = Some(crate::domain::Code::SessionNotFound);
    for (code, exists, offences) in [
        (None, true, vec![]),
        (None, false, vec!["accepted_session_exists"]),
        (rejected, false, vec![]),
    ] {
        assert_eq!(
            names(&of_ledger("command:c1", &entry(code, false), exists)),
            offences
        );
    }
    let replay = of_ledger("command:c1", &entry(None, true), true);
    assert_eq!(names(&replay), ["first_result_remembered"]);
}

#[test]
fn a_lane_and_its_outbox_agree() {
    let position = LanePosition {
        epoch: 3,
        batch: 200,
        next: Some(12),
        acked: 198,
        clock: NOW,
        last: Some(LastRecord {
            offset: 11,
            timestamp: -1,
            crc: 0,
        }),
        ..LanePosition::unread()
    };
    let of = |position: LanePosition, outbox: &[i64]| {
        names(&of_lane(
            "match-found/3",
            Some(&position),
            &outbox.iter().copied().collect(),
        ))
    };
    assert_eq!(of(position, &[197, 199, 200]), Vec::<&str>::new());
    assert_eq!(of(position, &[201]), ["outbox_is_committed"]);
    assert_eq!(of(position, &[134]), ["outbox_is_swept"]);
    assert_eq!(
        of(
            LanePosition {
                acked: 201,
                ..position
            },
            &[]
        ),
        ["lane_position_sane"]
    );
    assert_eq!(
        of(
            LanePosition {
                next: Some(11),
                ..position
            },
            &[]
        ),
        ["lane_position_sane"]
    );
    let outbox = BTreeSet::from([1]);
    assert_eq!(
        names(&of_lane("match-found/3", None, &outbox)),
        ["outbox_has_lane"]
    );
}

#[test]
fn orphans_and_unreadable_documents_are_named() {
    let orphan = of_orphan("s1:u1", "s1");
    assert_eq!(orphan.subject.to_string(), "participants/s1:u1");
    let unreadable = unreadable(Subject::User("u1".to_owned()), "missing field `open`");
    assert_eq!(unreadable.invariant, "document_readable");
}
