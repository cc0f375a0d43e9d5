//! Timelines: order, timers, forwards, duplicates, and what is not there any more.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::timeline::{Entry, Kind, timeline};
use super::trail::{Claim, Died, Found, Input, Missing, Trail};
use super::{forms, gather, view};
use crate::domain::{
    Action, Code, Command, CommandResult, InviteCode, LeaveReason, Message, MessageId, Participant,
    ParticipantStatus, Remembered, ResultOrigin, Role, Session, SessionId, SessionKind,
    SessionStatus, Tier, Timestamp, UserId, Warning,
};
use crate::record::{Origin, TopicNames, TopicPartition};
use crate::store::{LedgerEntry, StoredSession};
use crate::wire::{SentEvent, SentParticipant, SentResult, SentSession};

const ID: &str = "6b8c3a52-6f0e-5f5e-9d65-0f2f6f6d8a11";
const T0: i64 = 1_766_402_400_000;
const GRACE: Duration = Duration::from_secs(120);

fn place(topic: &str, partition: i32, offset: i64) -> Origin {
    Origin {
        lane: TopicPartition::new(topic, partition),
        offset,
    }
}

fn participant(user: &str, status: ParticipantStatus, deadline: Option<i64>) -> Participant {
    Participant {
        user_id: UserId::from_stored(user.to_owned()),
        role: Role::Participant,
        status,
        joined_at: Timestamp(T0),
        left_at: None,
        leave_reason: None,
        speaking_time_seconds: 0,
        connection_id: None,
        stint_started_at: Timestamp(T0),
        seniority: 0,
        present_before_ms: 0,
        disconnected_at: None,
        deadline: deadline.map(Timestamp),
        rejoin_count: 0,
    }
}

fn session(status: SessionStatus) -> Session {
    Session {
        id: SessionId::from_stored(ID.to_owned()),
        kind: SessionKind::Private,
        status,
        target_language_code: "fr".to_owned(),
        topic_id: None,
        topic_title: None,
        host_user_id: UserId::from_stored("ann".to_owned()),
        min_participants: 2,
        max_participants: 4,
        created_at: Timestamp(T0),
        started_at: None,
        expires_at: None,
        ended_at: None,
        end_reason: None,
        invite_code: Some(InviteCode::from_stored("K7PQ2M".to_owned())),
        sequence: 0,
        updated_at: Timestamp(T0),
        waiting_deadline: Some(Timestamp(T0 + 1_800_000)),
        warnings: Vec::new(),
        peak_participants: 1,
        next_seniority: 1,
        participants: vec![participant("ann", ParticipantStatus::Waiting, None)],
    }
}

fn trail(session: Session) -> Trail {
    let stored = StoredSession {
        session,
        home: 3,
        version: 1,
    };
    let now = Timestamp(T0 + 60_000);
    Trail::of(stored, now, GRACE, &TopicNames::default())
}

fn event(sequence: i64, at: i64, kind: &str, cause: &str) -> Found<SentEvent> {
    Found {
        value: SentEvent {
            event_id: String::new(),
            r#type: kind.to_owned(),
            session_id: ID.to_owned(),
            sequence,
            occurred_at: T0 + at,
            causation_id: cause.to_owned(),
            correlation_id: None,
            session: SentSession {
                status: "active".to_owned(),
                host_user_id: "ann".to_owned(),
                participant_count: 1,
                max_participants: 4,
                expires_at: Some(T0 + 1_000_000),
                ended_at: None,
            },
            participant: None,
            reason: None,
            actor_user_id: None,
            previous_host_user_id: None,
            seconds_left: None,
        },
        record: place("session-event", 3, sequence),
        at: Some(Timestamp(T0 + at)),
        repeats: Vec::new(),
    }
}

fn left(sequence: i64, at: i64, user: &str, left_at: i64, cause: &str) -> Found<SentEvent> {
    let mut event = event(sequence, at, "participant.left", cause);
    event.value.participant = Some(SentParticipant {
        user_id: user.to_owned(),
        role: "participant".to_owned(),
        status: "disconnected".to_owned(),
        left_at: Some(T0 + left_at),
        rejoin: false,
    });
    event
}

fn result(id: &str, at: i64, sequence: Option<i64>, offset: i64) -> Found<SentResult> {
    Found {
        value: SentResult {
            command_id: id.to_owned(),
            origin: "command".to_owned(),
            user_id: Some("ann".to_owned()),
            outcome: "accepted".to_owned(),
            code: None,
            http_status: 200,
            detail: "done".to_owned(),
            session_id: Some(ID.to_owned()),
            sequence,
            replayed: false,
            decided_at: T0 + at,
        },
        record: place("session-command-result", 0, offset),
        at: Some(Timestamp(T0 + at + 5)),
        repeats: Vec::new(),
    }
}

fn input(id: &str, at: i64, record: Origin) -> Input {
    Input {
        record,
        at: Some(Timestamp(T0 + at)),
        message: Ok(Message::Command(Command {
            command_id: id.to_owned(),
            issued_at: Timestamp(T0 + at),
            user_id: "ann".to_owned(),
            tier: Tier::Free,
            action: Action::JoinSession {
                invite_code: "k7p q2m".to_owned(),
            },
        })),
        id: Some(MessageId::Command(id.to_owned())),
        fingerprint: Some([1; 32]),
        claim: None,
        correlation_id: None,
        replays: 0,
        repeats: Vec::new(),
    }
}

fn memory(id: &str, at: i64, sequence: Option<i64>, origin: Origin) -> LedgerEntry {
    LedgerEntry {
        id: MessageId::Command(id.to_owned()),
        remembered: Remembered {
            fingerprint: [1; 32],
            result: CommandResult {
                id: id.to_owned(),
                origin: ResultOrigin::Command,
                user_id: Some("ann".to_owned()),
                code: sequence.is_none().then_some(Code::SessionFull),
                http_status: 200,
                detail: "done".to_owned(),
                session_id: Some(ID.to_owned()),
                invite_code: None,
                sequence,
                limit: None,
                used: None,
                reset_at: None,
                rejected_users: Vec::new(),
                eligible_user_ids: Vec::new(),
                replayed: false,
                decided_at: Timestamp(T0 + at),
            },
        },
        origin,
        forget_at: None,
    }
}

fn remember(trail: &mut Trail, entry: LedgerEntry) {
    trail.ledger.insert(entry.id.clone(), entry);
}

fn add(trail: &mut Trail, event: Found<SentEvent>) {
    trail.events.insert(event.value.sequence, event);
}

/// `kind what @place` of every entry but upcoming timers.
fn story(entries: &[Entry]) -> Vec<String> {
    let past = entries.iter().filter(|entry| entry.kind != Kind::Upcoming);
    past.map(|entry| {
        let place = entry
            .record
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        format!("{} {} @{place}", entry.kind.as_str(), entry.what)
    })
    .collect()
}

#[test]
fn what_was_sent_comes_before_what_it_led_to_whatever_the_senders_clock_says() {
    let mut trail = trail(session(SessionStatus::Active));
    let ahead = place("session-command", 3, 0);
    trail.inputs.push(input("c1", 30_000, ahead.clone()));
    add(&mut trail, event(1, 1_000, "session.created", "c1"));
    add(&mut trail, event(2, 1_000, "participant.joined", "c1"));
    trail.results.push(result("c1", 1_000, Some(2), 0));
    // Decided in the same millisecond, after it, and without an event of its own.
    trail
        .inputs
        .push(input("c2", 1_000, place("session-command", 3, 1)));
    trail.results.push(result("c2", 1_000, Some(2), 1));
    add(&mut trail, event(3, 1_000, "session.started", "c3"));
    remember(&mut trail, memory("c1", 1_000, Some(2), ahead));
    assert_eq!(
        story(&timeline(&trail)),
        [
            "command JoinSession @session-command/3/0",
            "event session.created @session-event/3/1",
            "event participant.joined @session-event/3/2",
            "command JoinSession @session-command/3/1",
            "result 200 accepted @session-command-result/0/0",
            "result 200 accepted @session-command-result/0/1",
            "event session.started @session-event/3/3",
        ]
    );
}

#[test]
fn a_timer_that_fired_stands_once_before_its_events_with_how_late_it_was() {
    let timer = |what: &str| format!("timer:{ID}:{what}");
    let cases: [(&str, Found<SentEvent>, Option<i64>); 6] = [
        (
            "timeout",
            left(1, 1_000_700, "ann", 1_000_000, &timer("timeout")),
            Some(700),
        ),
        (
            "expiring:300",
            event(1, 700_009, "session.expiring", &timer("expiring:300")),
            Some(9),
        ),
        (
            "no_show:bob",
            left(1, 5_020, "bob", 5_000, &timer("no_show:bob")),
            Some(20),
        ),
        (
            "never_started",
            left(1, 9_001, "ann", 9_000, &timer("never_started")),
            Some(1),
        ),
        (
            "disconnect:bob",
            left(1, 125_030, "bob", 5_000, &timer("disconnect:bob")),
            Some(30),
        ),
        // The grace was shorter when bob dropped: what the settings say is not known to be so.
        (
            "disconnect:bob",
            left(1, 20_000, "bob", 5_000, &timer("disconnect:bob")),
            None,
        ),
    ];
    for (what, first, late) in cases {
        let mut trail = trail(session(SessionStatus::Active));
        let at = first.value.occurred_at - T0;
        add(&mut trail, first);
        add(&mut trail, event(2, at, "participant.left", &timer(what)));
        let entries = timeline(&trail);
        let told = story(&entries);
        assert_eq!(told[0], format!("timer {what} @session-event/3/1"));
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(entries[0].more["lateMs"], serde_json::json!(late), "{what}");
    }
}

#[test]
fn a_drop_that_emptied_a_session_was_due_when_the_session_ended() {
    let cause = format!("timer:{ID}:disconnect:ann");
    let mut trail = trail(session(SessionStatus::Ended));
    add(&mut trail, left(1, 7_004, "ann", 5_000, &cause));
    let mut ended = event(2, 7_004, "session.ended", &cause);
    ended.value.session.ended_at = Some(T0 + 7_000);
    add(&mut trail, ended);
    assert_eq!(timeline(&trail)[0].more["lateMs"], 4);
}

#[test]
fn timers_to_come_are_last_in_order_and_say_when_they_are_overdue() {
    let mut session = session(SessionStatus::Active);
    session.expires_at = Some(Timestamp(T0 + 1_000_000));
    session.waiting_deadline = None;
    session.warnings = vec![Warning {
        at: Timestamp(T0 + 700_000),
        before_end: Duration::from_secs(300),
    }];
    session.participants = vec![
        participant("ann", ParticipantStatus::Connected, None),
        participant("bob", ParticipantStatus::Disconnected, Some(T0 + 50_000)),
        participant("eve", ParticipantStatus::Waiting, Some(T0 + 90_000)),
        Participant {
            left_at: Some(Timestamp(T0)),
            leave_reason: Some(LeaveReason::Left),
            ..participant("gone", ParticipantStatus::Disconnected, None)
        },
    ];
    let mut trail = trail(session);
    add(&mut trail, event(1, 1_000, "session.created", "c1"));
    let entries = timeline(&trail);
    let told: Vec<_> = entries.iter().map(|entry| entry.what.as_str()).collect();
    assert_eq!(
        told,
        [
            "session.created",
            "disconnect:bob",
            "no_show:eve",
            "expiring:300",
            "timeout"
        ]
    );
    let overdue: Vec<_> = entries[1..]
        .iter()
        .map(|entry| &entry.more["overdueMs"])
        .collect();
    assert_eq!(overdue, [10_000, 0, 0, 0]);
    trail.stored.session.status = SessionStatus::Waiting;
    trail.stored.session.waiting_deadline = Some(Timestamp(T0 + 99_000));
    let last = timeline(&trail).pop().map(|entry| entry.what);
    assert_eq!(last.as_deref(), Some("expiring:300"));
    trail.stored.session.status = SessionStatus::Ended;
    assert_eq!(timeline(&trail).len(), 1);
}

#[test]
fn a_copy_follows_its_origin_and_a_forged_one_is_a_command() {
    let mut trail = trail(session(SessionStatus::Waiting));
    let origin = place("session-command", 5, 2);
    let copy = |holds| {
        let mut copy = input("c1", 900, place("session-command", 3, 7));
        copy.claim = Some(Claim {
            origin: origin.clone(),
            hops: 1,
            holds,
        });
        copy
    };
    trail.inputs.push(copy(Some(true)));
    trail.inputs.push(input("c1", 1_000, origin.clone()));
    trail.results.push(result("c1", 1_200, Some(1), 0));
    remember(&mut trail, memory("c1", 1_200, Some(1), origin.clone()));
    let entries = timeline(&trail);
    assert_eq!(
        story(&entries),
        [
            "command JoinSession @session-command/5/2",
            "forward sent home @session-command/3/7",
            "result 200 accepted @session-command-result/0/0",
        ]
    );
    assert_eq!(entries[1].more["from"], "session-command/5@2");
    assert_eq!(entries[1].more["evidence"], true);

    trail.inputs[0] = copy(Some(false));
    let entries = timeline(&trail);
    assert!(entries.iter().all(|entry| entry.kind != Kind::Forward));
    let forged = entries
        .iter()
        .find(|entry| entry.detail.contains("without evidence"));
    assert_eq!(
        forged.map(|entry| &entry.more["judged"]),
        Some(&"duplicate".into())
    );
}

#[test]
fn what_died_was_not_judged_whatever_became_of_its_id() {
    let mut trail = trail(session(SessionStatus::Waiting));
    let died = place("session-command", 3, 0);
    let again = place("session-command", 3, 1);
    trail.inputs.push(input("c1", 1_000, died.clone()));
    trail.inputs.push(input("c1", 8_000, again.clone()));
    trail.letters.push(Died {
        record: place("session-dead-letter", 0, 0),
        at: Some(Timestamp(T0 + 1_100)),
        reason: "unknown_schema".to_owned(),
        message: "schema id 7 is not registered".to_owned(),
        origin: died,
    });
    remember(&mut trail, memory("c1", 8_100, Some(1), again));
    let entries = timeline(&trail);
    let judged: Vec<_> = entries
        .iter()
        .filter_map(|entry| entry.more.get("judged"))
        .collect();
    assert_eq!(judged, [&Value::Null, &"first".into()]);
}

#[test]
fn a_duplicate_is_told_from_the_first_and_its_answer_comes_when_it_was_given() {
    let mut trail = trail(session(SessionStatus::Waiting));
    let first = place("session-command", 3, 0);
    trail.inputs.push(input("c1", 1_000, first.clone()));
    trail
        .inputs
        .push(input("c1", 8_000, place("session-command", 3, 1)));
    trail.results.push(result("c1", 1_100, Some(1), 0));
    let mut replay = result("c1", 1_100, Some(1), 1);
    replay.value.replayed = true;
    replay.at = Some(Timestamp(T0 + 8_100));
    trail.results.push(replay);
    remember(&mut trail, memory("c1", 1_100, Some(1), first));
    let entries = timeline(&trail);
    let judged: Vec<_> = entries
        .iter()
        .filter_map(|entry| entry.more.get("judged"))
        .collect();
    assert_eq!(judged, ["first", "duplicate"]);
    assert_eq!(
        story(&entries)[2..],
        [
            "command JoinSession @session-command/3/1",
            "result 200 accepted @session-command-result/0/1",
        ]
    );
    assert_eq!(entries[3].at, Some(Timestamp(T0 + 8_100)));
}

#[test]
fn what_only_the_ledger_has_is_shown_with_its_coordinates() {
    let mut trail = trail(session(SessionStatus::Waiting));
    remember(
        &mut trail,
        memory("c1", 1_000, Some(1), place("session-command", 5, 2)),
    );
    remember(
        &mut trail,
        memory("c2", 2_000, None, place("match-found", 1, 9)),
    );
    let entries = timeline(&trail);
    assert_eq!(
        story(&entries),
        [
            "command a command @session-command/5/2",
            "result 200 accepted @",
            "command a command @match-found/1/9",
            "result 200 session_full @",
        ]
    );
    assert_eq!(entries[1].more["source"], "ledger");
    assert_ne!(entries[0].more["unread"], Value::Null);
}

#[test]
fn events_that_are_not_there_are_named_unless_kafka_was_not_read() {
    let mut session = session(SessionStatus::Active);
    session.sequence = 7;
    let mut trail = trail(session);
    for sequence in [3, 4, 6] {
        add(
            &mut trail,
            event(sequence, sequence, "participant.joined", "c1"),
        );
    }
    gather::gaps(&mut trail);
    let told: Vec<_> = trail
        .missing
        .iter()
        .map(|missing| missing.detail.as_str())
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for (told, start) in told
        .iter()
        .zip(["events 1 to 2 of 7", "event 5 of 7", "event 7 of 7"])
    {
        assert!(told.starts_with(start), "{told}");
    }
    let kafka = Missing {
        source: "kafka",
        detail: "down".to_owned(),
    };
    trail.missing = vec![kafka.clone()];
    gather::gaps(&mut trail);
    assert_eq!(trail.missing, [kafka]);
}

#[test]
fn a_message_concerns_the_session_by_id_name_code_or_what_it_makes() {
    let trail = trail(session(SessionStatus::Waiting));
    let known = [MessageId::Command("known".to_owned())].into();
    let with = |id: &str, action: Action| {
        let mut input = input(id, 0, place("session-command", 0, 0));
        if let Ok(Message::Command(command)) = &mut input.message {
            command.action = action;
        }
        trail.concerns(&input.message.expect("a command"), &known)
    };
    let join = |code: &str| Action::JoinSession {
        invite_code: code.to_owned(),
    };
    let start = |id: &str| Action::StartSession {
        session_id: id.to_owned(),
    };
    assert!(with("c", join(" k7-pq2m")));
    assert!(!with("c", join("K7PQ2N")));
    assert!(with("known", join("K7PQ2N")));
    assert!(with("c", start(&format!(" {ID} "))));
    assert!(!with("c", start("another")));
    let create = Action::CreatePrivateSession {
        session_id: None,
        target_language_code: "fr".to_owned(),
        topic_id: None,
        topic_title: None,
        max_participants: 4,
    };
    assert!(!with("c", create.clone()));
    let mut derived = session(SessionStatus::Waiting);
    derived.id = SessionId::of_command("c");
    let mut other = self::trail(derived);
    other.events = BTreeMap::new();
    let mut made = input("c", 0, place("session-command", 0, 0));
    if let Ok(Message::Command(command)) = &mut made.message {
        command.action = create;
    }
    assert!(other.concerns(&made.message.expect("a command"), &known));
}

#[test]
fn the_invite_code_stands_in_the_state_and_nowhere_else() {
    let mut trail = trail(session(SessionStatus::Waiting));
    trail
        .inputs
        .push(input("c1", 1_000, place("session-command", 3, 0)));
    trail.results.push(result("c1", 1_100, Some(1), 0));
    let entries = timeline(&trail);
    let words = view::words(&trail, &entries, None);
    assert_eq!(words.matches("K7PQ2M").count(), 1, "{words}");
    assert!(!words.to_lowercase().contains("k7p q2m"), "{words}");
    let shown = view::shown(&trail, &entries);
    assert_eq!(shown["session"]["inviteCode"], "K7PQ2M");
    let timeline = shown["timeline"].to_string().to_lowercase();
    assert!(
        !timeline.contains("k7pq2m") && !timeline.contains("k7p q2m"),
        "{timeline}"
    );
}

#[test]
fn an_id_is_taken_in_any_form() {
    let upper = ID.to_uppercase();
    let texts = [
        ID.to_owned(),
        format!(" {ID} "),
        upper,
        ID.replace('-', ""),
        format!("{{{ID}}}"),
        format!("urn:uuid:{ID}"),
    ];
    for text in texts {
        let forms = forms(&text).expect("an id");
        assert!(forms.iter().any(|form| form.as_str() == ID), "{text}");
    }
    assert_eq!(forms("room 7").expect("an id").len(), 1);
    for text in ["", " ", "a\nb", &"x".repeat(129)] {
        assert!(forms(text).is_err(), "{text}");
    }
}
