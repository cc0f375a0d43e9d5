//! The judge at its own level: what becomes of each record beside the others, as rows of
//! given → records → outcomes, results, dead letters and writes.

use crate::domain::{Code, SessionId};
use crate::lane::intake::Trial;
use crate::lane::samples::{
    Judge, NOW, ann_in, command, impossible_session, private_session, record, session_id, user_id,
};
use crate::record::{Header, Origin, Record, TopicPartition};
use crate::store::{Evidence, Forward, Found, StoredSession, Unreadable};

use super::Plan;
use super::plan::{FailureReason, Outcome, ParkReason};

const START: &str = r#"{"StartSession":{"sessionId":"s1"}}"#;

fn judge_of(stored: StoredSession) -> Judge {
    let mut judge = Judge::new();
    let id = stored.session.id.clone();
    judge
        .loaded
        .users
        .insert(user_id("ann"), Ok(ann_in(id.as_str())));
    judge.loaded.sessions.insert(id, Found::Here(stored.into()));
    judge
}

fn unreadable(document: &str) -> Unreadable {
    Unreadable {
        document: document.to_owned(),
        reason: "an unknown end reason".to_owned(),
    }
}

/// Outcomes and result codes, in order.
fn of(plan: &Plan) -> (Vec<Outcome>, Vec<Option<Code>>) {
    (plan.tally.outcomes.clone(), plan.tally.results.clone())
}

fn topics(plan: &Plan) -> Vec<&str> {
    let outbox = plan.writes.outbox.iter();
    outbox.map(|record| &*record.topic).collect()
}

/// A record that was first read at `offset` of `match-found/2`, as its forward to this home.
fn forwarded(record: Record, offset: i64, hops: u32) -> Record {
    let claim = format!("match-found/2/{offset}/{hops}");
    let headers: Vec<Header> = vec![("sw-forward".to_owned(), Some(claim.into_bytes()))];
    Record { headers, ..record }
}

fn evidence(judge: &mut Judge, record: &Record, offset: i64, evidence: Evidence) -> Forward {
    let items = judge.items(vec![record.clone()]);
    let crate::lane::intake::Content::Message(message) = &items[0].content else {
        panic!("it decodes");
    };
    let forward = Forward {
        origin: Origin {
            lane: TopicPartition::new("match-found", 2),
            offset,
        },
        home: 0,
        fingerprint: message.decoded.fingerprint,
    };
    judge.loaded.forwards.insert(forward.clone(), Ok(evidence));
    forward
}

#[test]
fn a_command_on_a_session_at_home_is_decided_and_a_duplicate_replayed() {
    let mut judge = judge_of(private_session("s1"));
    let start = |offset| command(offset, "c1", "ann", START);
    let items = judge.items(vec![start(0), start(1)]);
    let plan = judge.judge(&items, &[]);
    assert_eq!(of(&plan).0, [Outcome::Decided, Outcome::Replayed]);
    assert_eq!(of(&plan).1, [None, None]);
    assert_eq!((plan.messages, plan.writes.sessions.len()), (2, 1));
    assert_eq!(plan.writes.ledger.len(), 1);
}

#[test]
fn a_command_on_a_session_elsewhere_is_forwarded_with_evidence_and_decides_nothing() {
    let mut judge = Judge::new();
    let elsewhere = Found::Elsewhere { home: 2 };
    judge.loaded.sessions.insert(session_id("s1"), elsewhere);
    let items = judge.items(vec![command(7, "c1", "ann", START)]);
    let plan = judge.judge(&items, &[]);
    assert_eq!(of(&plan), (vec![Outcome::Forwarded], vec![]));
    assert_eq!(topics(&plan), ["session-command"]);
    assert_eq!(plan.writes.outbox[0].partition, Some(2));
    let sent = &plan.writes.forwards[0].forward;
    assert_eq!((sent.home, sent.origin.offset), (2, 7));
    assert!(plan.writes.ledger.is_empty() && plan.writes.sessions.is_empty());
}

#[test]
fn a_forward_is_settled_when_it_is_judged_and_its_copies_are_dropped_silently() {
    let mut judge = judge_of(private_session("s1"));
    let copy = || forwarded(command(3, "c1", "ann", START), 9, 1);
    let forward = evidence(&mut judge, &copy(), 9, Evidence::Sent);
    let items = judge.items(vec![copy(), copy()]);
    let plan = judge.judge(&items, &[]);
    assert_eq!(
        of(&plan),
        (vec![Outcome::Decided, Outcome::Dropped], vec![None])
    );
    assert_eq!(plan.writes.settled, [forward]);
}

/// Findings B2: a sender's duplicate was forwarded, too, and a crash repeats both forwards.
#[test]
fn copies_of_two_forwards_of_one_command_cause_no_second_replay() {
    let mut judge = judge_of(private_session("s1"));
    let copies = || {
        let copy = |offset| forwarded(command(offset, "c1", "ann", START), 100 + offset, 1);
        vec![copy(0), copy(1)]
    };
    for (record, offset) in copies().iter().zip([100, 101]) {
        evidence(&mut judge, record, offset, Evidence::Sent);
    }
    let items = judge.items([copies(), copies()].concat());
    let plan = judge.judge(&items, &[]);
    let outcomes = [
        Outcome::Decided,
        Outcome::Replayed,
        Outcome::Dropped,
        Outcome::Dropped,
    ];
    assert_eq!(of(&plan), (outcomes.to_vec(), vec![None, None]));

    // The same after a restart: the ledger remembers the first, the evidence says settled.
    let entry = plan.writes.ledger[0].clone();
    judge.loaded.ledger.insert(entry.id.clone(), Ok(entry));
    for (record, offset) in copies().iter().zip([100, 101]) {
        evidence(&mut judge, record, offset, Evidence::Settled);
    }
    let items = judge.items(copies());
    let plan = judge.judge(&items, &[]);
    assert_eq!(
        of(&plan),
        (vec![Outcome::Dropped, Outcome::Dropped], vec![])
    );
    assert!(plan.writes.outbox.is_empty());
}

#[test]
fn a_forged_header_gives_no_authority() {
    let mut judge = judge_of(private_session("s1"));
    let forged = forwarded(command(3, "c1", "ann", START), 9, 1);
    let items = judge.items(vec![forged]);
    let plan = judge.judge(&items, &[]);
    assert_eq!(of(&plan).0, [Outcome::Decided]);
    // It counts as the record that it is.
    let origin = &plan.writes.ledger[0].origin;
    assert_eq!(origin.lane, TopicPartition::new("session-command", 0));
    assert!(plan.writes.settled.is_empty());

    let admit = r#"{"AdmitMatch":{"matchId":"m1","matchedAt":1767268800000,"targetLanguageCode":"fr",
        "participants":[{"userId":"ann"},{"userId":"ben"}]}}"#;
    let admit = forwarded(command(4, "m1", "matchmaking", admit), 9, 1);
    let items = judge.items(vec![admit]);
    let plan = judge.judge(&items, &[]);
    assert_eq!(
        of(&plan).0,
        [Outcome::DeadLettered],
        "{:?}",
        plan.tally.dead_letters
    );
}

#[test]
fn after_three_hops_a_new_session_is_created_where_its_record_is() {
    let mut judge = Judge::new();
    let chosen = (0..)
        .map(|n| format!("00000000-0000-4000-8000-{n:012}"))
        .find(|id| judge.homes.home_of(&session_id(id)) != 0)
        .expect("two of three homes are elsewhere");
    let create = format!(
        r#"{{"CreatePrivateSession":{{"sessionId":"{chosen}","targetLanguageCode":"fr"}}}}"#
    );
    for (hops, outcome, alarms) in [(2, Outcome::Forwarded, 0), (3, Outcome::Decided, 1)] {
        let record = forwarded(command(0, "c1", "ann", &create), 5, hops);
        evidence(&mut judge, &record, 5, Evidence::Sent);
        let items = judge.items(vec![record]);
        let plan = judge.judge(&items, &[]);
        assert_eq!(
            (of(&plan).0, plan.tally.hops_exceeded),
            (vec![outcome], alarms)
        );
    }
}

#[test]
fn bytes_that_are_no_message_become_a_dead_letter_beside_innocent_messages() {
    let mut judge = judge_of(private_session("s1"));
    let garbage = record(0, b"{\"not\": \"a command\"}", Vec::new());
    let items = judge.items(vec![garbage, command(1, "c1", "ann", START)]);
    let plan = judge.judge(&items, &[]);
    assert_eq!(of(&plan).0, [Outcome::DeadLettered, Outcome::Decided]);
}

/// Findings A4.
#[test]
fn a_session_that_cannot_be_read_ends_its_own_commands_and_no_other() {
    let mut judge = judge_of(private_session("s1"));
    let spoiled = unreadable("participants/s2:ben");
    let found = Found::Unreadable(spoiled.clone());
    judge.loaded.sessions.insert(session_id("s2"), found);
    let on_s2 = r#"{"StartSession":{"sessionId":"s2"}}"#;
    let items = judge.items(vec![
        command(0, "c1", "ann", on_s2),
        command(1, "c2", "ann", START),
    ]);
    let plan = judge.judge(&items, &[session_id("s2")]);
    let outcomes = vec![Outcome::DeadLettered, Outcome::Decided];
    assert_eq!(of(&plan), (outcomes, vec![Some(Code::InternalError), None]));
    assert_eq!(
        plan.tally.failures,
        [FailureReason::Unreadable(spoiled.clone())]
    );
    assert_eq!(
        plan.parked,
        [(session_id("s2"), ParkReason::Unreadable(spoiled))]
    );
    assert_eq!(plan.messages, 2);
}

#[test]
fn a_user_that_cannot_be_read_ends_only_commands_that_need_the_limits() {
    let mut judge = judge_of(private_session("s1"));
    let spoiled = unreadable("users/ben");
    judge
        .loaded
        .users
        .insert(user_id("ben"), Err(spoiled.clone()));
    let join = r#"{"JoinSession":{"inviteCode":"K7PQ2M"}}"#;
    let code = crate::domain::InviteCode::from_stored("K7PQ2M".to_owned());
    judge.loaded.invite_codes.insert(code, session_id("s1"));
    let items = judge.items(vec![
        command(0, "c1", "ben", join),
        command(1, "c2", "cleo", join),
    ]);
    let plan = judge.judge(&items, &[]);
    assert_eq!(of(&plan).1, [Some(Code::InternalError), None]);
    assert_eq!(plan.tally.failures, [FailureReason::Unreadable(spoiled)]);
    let session = &plan.writes.sessions[0].after.session;
    assert_eq!(session.participants.len(), 2, "cleo is in, ben is not");
}

#[test]
fn a_ledger_entry_that_cannot_be_read_ends_its_command_and_is_not_overwritten() {
    let mut judge = judge_of(private_session("s1"));
    let id = crate::domain::MessageId::Command("c1".to_owned());
    let spoiled = unreadable("ledger/command:c1");
    judge.loaded.ledger.insert(id, Err(spoiled));
    let items = judge.items(vec![command(0, "c1", "ann", START)]);
    let plan = judge.judge(&items, &[]);
    assert_eq!(of(&plan).1, [Some(Code::InternalError)]);
    assert!(plan.writes.ledger.is_empty() && plan.writes.sessions.is_empty());
}

#[test]
fn evidence_that_cannot_be_read_ends_its_record_instead_of_believing_or_forgetting_it() {
    let mut judge = judge_of(private_session("s1"));
    let record = forwarded(command(3, "c1", "ann", START), 9, 1);
    let forward = evidence(&mut judge, &record, 9, Evidence::Sent);
    let spoiled = unreadable("forwards/match-found/2/9>0");
    judge.loaded.forwards.insert(forward, Err(spoiled));
    let items = judge.items(vec![record]);
    let plan = judge.judge(&items, &[]);
    assert_eq!(of(&plan).1, [Some(Code::InternalError)]);
}

#[test]
fn a_deadline_that_makes_the_rules_panic_is_parked_and_leaves_no_trace() {
    let mut judge = judge_of(private_session("s1"));
    let impossible = impossible_session("s2");
    let found = Found::Here(impossible.into());
    judge.loaded.sessions.insert(session_id("s2"), found);
    let due: [SessionId; 2] = [session_id("s2"), session_id("s1")];
    let plan = judge.judge(&[], &due);
    assert_eq!(plan.parked, [(session_id("s2"), ParkReason::Panicked)]);
    assert_eq!(plan.deadlines, 2);
    assert!(plan.writes.sessions.is_empty() && plan.writes.outbox.is_empty());
    // s1 is not due: it is looked at, and stays as it is.
    assert_eq!(plan.inspected.len(), 1);
}

#[test]
fn a_command_that_makes_the_rules_panic_ends_as_internal_error_with_a_dead_letter() {
    let mut judge = judge_of(impossible_session("s1"));
    let items = judge.items(vec![command(0, "c1", "ann", START)]);
    let plan = judge.judge(&items, &[]);
    assert_eq!(
        of(&plan),
        (vec![Outcome::DeadLettered], vec![Some(Code::InternalError)])
    );
    assert_eq!(
        topics(&plan),
        ["session-command-result", "session-dead-letter"]
    );
    assert_eq!(plan.tally.failures, [FailureReason::Panicked]);
    assert_eq!(plan.writes.ledger.len(), 1, "its result is remembered");
    assert!(plan.writes.sessions.is_empty());
}

#[test]
fn a_condemned_message_ends_as_internal_error_beside_messages_that_are_judged() {
    let mut judge = judge_of(private_session("s1"));
    let mut items = judge.items(vec![
        command(0, "c1", "ann", START),
        command(1, "c2", "ann", START),
    ]);
    items[0].trial = Trial::Condemned;
    let plan = judge.judge(&items, &[]);
    assert_eq!(of(&plan).1, [Some(Code::InternalError), None]);
    assert_eq!(plan.tally.failures, [FailureReason::Refused]);
}

/// Simulation, seed 832: two lanes condemned the two copies of a command, and both answered as the first.
#[test]
fn a_condemned_duplicate_is_answered_with_the_first_result() {
    let mut judge = judge_of(private_session("s1"));
    let mut items = judge.items(vec![
        command(0, "c1", "ann", START),
        command(1, "c1", "ann", START),
    ]);
    for item in &mut items {
        item.trial = Trial::Condemned;
    }
    let plan = judge.judge(&items, &[]);
    assert_eq!(
        plan.tally.outcomes,
        [Outcome::DeadLettered, Outcome::Replayed]
    );
    assert_eq!(
        of(&plan).1,
        [Some(Code::InternalError), Some(Code::InternalError)]
    );
    assert_eq!(plan.tally.failures, [FailureReason::Refused]);
    assert_eq!(plan.writes.ledger.len(), 1);
}

#[test]
fn a_full_outbox_ends_the_batch_after_the_message_that_fills_it() {
    let mut judge = judge_of(private_session("s1"));
    judge.outbox_bytes = 1;
    let items = judge.items(
        (0..5)
            .map(|n| command(n, &format!("c{n}"), "ann", START))
            .collect(),
    );
    let plan = judge.judge(&items, &[]);
    assert_eq!(plan.messages, 1);
    let plan = judge.judge(&items, &[session_id("s1")]);
    assert_eq!(
        (plan.deadlines, plan.messages),
        (1, 1),
        "a deadline that writes nothing fills nothing"
    );
}

/// Findings B3: matches are remembered for at least seven days.
#[test]
fn a_rejected_match_is_remembered_for_seven_days_whatever_the_retention_of_commands() {
    let mut judge = Judge::new();
    judge.rules.command_retention = std::time::Duration::from_secs(60);
    let rejected = r#"{"matchId":"m1","matchedAt":1767268800000,"targetLanguageCode":"fr",
        "participants":[{"userId":"ann"}]}"#;
    let mut record = record(0, rejected.as_bytes(), Vec::new());
    record.lane = TopicPartition::new("match-found", 0);
    let items = judge.items(vec![record]);
    let plan = judge.judge(&items, &[]);
    assert_eq!(of(&plan).1, [Some(Code::InvalidArgument)]);
    let week = 7 * 24 * 60 * 60 * 1000;
    let forget_at = plan.writes.ledger[0]
        .forget_at
        .expect("a rejection is forgotten");
    assert!(forget_at.0 >= NOW.0 + week, "{forget_at:?}");
}
