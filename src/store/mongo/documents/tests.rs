//! Whatever the domain can say is stored and read back the same; the contract's names are as written.

use std::time::Duration;

use mongodb::bson::{Bson, Document, deserialize_from_slice, doc};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::domain::{
    Code, CommandResult, ConnectionId, Day, EndReason, InviteCode, LeaveReason, MessageId,
    Participant, ParticipantStatus, RejectedUser, Remembered, ResultOrigin, Role, Session,
    SessionId, SessionKind, SessionStatus, TopicId, UserId, UserLimits, Warning,
};
use crate::record::{Origin, OutRecord, TopicPartition};
use crate::store::{
    Forward, ForwardEntry, LanePosition, LastRecord, LedgerEntry, StoredSession, StoredUser,
};

fn text() -> impl Strategy<Value = String> {
    ".{0,12}"
}

fn at() -> impl Strategy<Value = Timestamp> {
    (1_000_000_000_000..4_000_000_000_000_i64).prop_map(Timestamp)
}

fn any_of<T: Named + std::fmt::Debug>() -> impl Strategy<Value = T> {
    prop::sample::select(T::ALL)
}

fn origin() -> impl Strategy<Value = Origin> {
    ("[a-z.-]{1,8}", 0..64_i32, 0..i64::MAX).prop_map(|(topic, partition, offset)| Origin {
        lane: TopicPartition::new(topic, partition),
        offset,
    })
}

prop_compose! {
    fn participant()(
        (user_id, role, status) in (text(), any_of::<Role>(), any_of::<ParticipantStatus>()),
        (joined_at, left_at, stint_started_at) in (at(), of(at()), at()),
        leave_reason in of(any_of::<LeaveReason>()),
        (connection_id, disconnected_at, deadline) in (of(text()), of(at()), of(at())),
        (speaking_time_seconds, seniority, present_before_ms, rejoin_count)
            in any::<(i64, i64, i64, i32)>(),
    ) -> Participant {
        Participant {
            user_id: UserId::from_stored(user_id),
            role,
            status,
            joined_at,
            left_at,
            leave_reason,
            speaking_time_seconds,
            connection_id: connection_id.map(ConnectionId::from_stored),
            stint_started_at,
            seniority,
            present_before_ms,
            disconnected_at,
            deadline,
            rejoin_count,
        }
    }
}

prop_compose! {
    fn warning()(at in at(), before_end_ms in 0..86_400_000_u64) -> Warning {
        Warning { at, before_end: Duration::from_millis(before_end_ms) }
    }
}

prop_compose! {
    fn session()(
        (kind, status) in (any_of::<SessionKind>(), any_of::<SessionStatus>()),
        (id, language, topic_id, topic_title, host) in (text(), text(), of(text()), of(text()), text()),
        (created_at, started_at, expires_at, ended_at) in (at(), of(at()), of(at()), of(at())),
        (end_reason, invite_code) in (of(any_of::<EndReason>()), of(text())),
        (updated_at, waiting_deadline, warnings) in (at(), of(at()), vec(warning(), 0..3)),
        (min_participants, max_participants, peak_participants) in any::<(i32, i32, i32)>(),
        (sequence, next_seniority) in any::<(i64, i64)>(),
        (version, home) in (1..i64::MAX, 0..i32::MAX),
        participants in vec(participant(), 0..5),
    ) -> StoredSession {
        let session = Session {
            id: SessionId::from_stored(id),
            kind,
            status,
            target_language_code: language,
            topic_id: topic_id.map(TopicId::from_stored),
            topic_title,
            host_user_id: UserId::from_stored(host),
            min_participants,
            max_participants,
            created_at,
            started_at,
            expires_at,
            ended_at,
            end_reason,
            invite_code: invite_code.map(InviteCode::from_stored),
            sequence,
            updated_at,
            waiting_deadline,
            warnings,
            peak_participants,
            next_seniority,
            participants,
        };
        StoredSession { session, home, version }
    }
}

prop_compose! {
    fn result()(
        (id, user_id, detail, session_id) in (text(), of(text()), text(), of(text())),
        (origin, code) in (any_of::<ResultOrigin>(), of(prop::sample::select(&Code::ALL[..]))),
        (http_status, sequence, limit, used, replayed)
            in any::<(i32, Option<i64>, Option<i32>, Option<i32>, bool)>(),
        (invite_code, reset_at, decided_at) in (of(text()), of(at()), at()),
        rejected in vec((text(), prop::sample::select(&Code::ALL[..]), of(at())), 0..3),
        eligible in vec(text(), 0..3),
    ) -> CommandResult {
        let rejected = rejected.into_iter().map(|(user_id, code, reset_at)| RejectedUser {
            user_id: UserId::from_stored(user_id),
            code,
            reset_at,
        });
        CommandResult {
            id,
            origin,
            user_id,
            code,
            http_status,
            detail,
            session_id,
            invite_code: invite_code.map(InviteCode::from_stored),
            sequence,
            limit,
            used,
            reset_at,
            rejected_users: rejected.collect(),
            eligible_user_ids: eligible.into_iter().map(UserId::from_stored).collect(),
            replayed,
            decided_at,
        }
    }
}

fn message_id() -> impl Strategy<Value = MessageId> {
    prop_oneof![
        text().prop_map(MessageId::Command),
        text().prop_map(MessageId::Match)
    ]
}

prop_compose! {
    fn out_record()(
        (topic, partition) in ("[a-z-]{1,12}", of(0..64_i32)),
        (key, value) in (of(vec(any::<u8>(), 0..20)), of(vec(any::<u8>(), 0..50))),
        headers in vec((text(), of(vec(any::<u8>(), 0..20))), 0..5),
    ) -> OutRecord {
        OutRecord { topic: topic.into(), partition, key, value, headers }
    }
}

/// A stored shape, as bytes and back.
fn again<'a, T: Serialize, U: DeserializeOwned + 'a>(document: &T) -> U {
    from_raw(to_raw(document).as_bytes()).expect("read back")
}

proptest! {
    #[test]
    fn a_session_reads_back_whatever_the_order_of_its_participants(stored in session()) {
        let document: SessionDocument<'_> = again(&SessionDocument::new(&stored));
        let participants = stored.session.participants.iter().enumerate().rev();
        let participants = participants
            .map(|(i, one)| again(&ParticipantDocument::new(&stored.session.id, i, one)))
            .collect();
        prop_assert_eq!(assemble(document, participants).expect("whole"), stored);
    }

    #[test]
    fn a_user_reads_back(
        id in text(),
        open in vec(text(), 0..4),
        (day, used, version) in (any::<i64>(), any::<i32>(), 1..i64::MAX),
        failed_codes in vec(at(), 0..4),
    ) {
        let open = open.into_iter().map(SessionId::from_stored).collect();
        let limits =
            UserLimits { user_id: UserId::from_stored(id), open, day: Day(day), used, failed_codes };
        let document: UserDocument<'_> = again(&UserDocument::new(&limits, version));
        prop_assert_eq!(document.stored(), StoredUser { limits, version });
    }

    #[test]
    fn a_judged_message_reads_back(
        (id, result, fingerprint) in (message_id(), result(), any::<[u8; 32]>()),
        (origin, forget_at) in (origin(), of(at())),
    ) {
        let remembered = Remembered { fingerprint, result };
        let entry = LedgerEntry { id, remembered, origin, forget_at };
        let document: LedgerDocument<'_> = again(&LedgerDocument::new(&entry));
        prop_assert_eq!(document.entry().expect("whole"), entry);
    }

    #[test]
    fn a_forward_reads_back(
        (origin, home, fingerprint) in (origin(), 0..64_i32, any::<[u8; 32]>()),
        forget_at in at(),
    ) {
        let entry = ForwardEntry { forward: Forward { origin, home, fingerprint }, forget_at };
        let document: ForwardDocument = again(&ForwardDocument::new(&entry));
        prop_assert_eq!(document.entry().expect("whole"), entry);
    }

    #[test]
    fn a_batch_of_records_reads_back_byte_for_byte(
        records in vec(out_record(), 0..5),
        (partition, batch) in (0..64_i32, 0..i64::MAX),
    ) {
        let lane = TopicPartition::new("session-command", partition);
        let stored = outbox_document(&batch_key(&lane, batch), &records);
        let read = outbox_batch(&stored).expect("whole");
        prop_assert_eq!((read.batch, &*read.records), (batch, &*records));
    }

    #[test]
    fn batches_of_a_lane_stand_in_order_and_apart_from_other_lanes(
        (partition, batch, next) in (0..100_i32, 0..i64::MAX, 0..i64::MAX),
    ) {
        let lane = TopicPartition::new("session-command", partition);
        let (one, two) = (batch_key(&lane, batch), batch_key(&lane, next));
        prop_assert_eq!(one.cmp(&two), batch.cmp(&next));
        let end = format!("{lane}$");
        prop_assert!(one < end);
        for other in [TopicPartition::new("session-command", partition * 10 + 1),
                      TopicPartition::new("session-command-result", partition)] {
            let first = batch_key(&other, 0);
            prop_assert!(first < batch_key(&lane, 0) || first > end);
        }
    }
}

#[test]
fn a_lane_reads_back_with_every_field() {
    let stored = doc! {
        "_id": "match-found/3", "epoch": 5_i64, "batch": 7_i64, "next": 9_i64, "acked": 6_i64,
        "clock": mongodb::bson::DateTime::from_millis(17), "owner": Bson::Null,
        "last": { "offset": 8_i64, "timestamp": -1_i64, "crc": i64::from(u32::MAX) },
    };
    let document: LaneDocument = again(&stored);
    let last = LastRecord {
        offset: 8,
        timestamp: -1,
        crc: u32::MAX,
    };
    let position = LanePosition {
        epoch: 5,
        batch: 7,
        next: Some(9),
        acked: 6,
        clock: Timestamp(17),
        last: Some(last),
        // A lane of an earlier version has neither.
        revision: 0,
        deaths: 0,
    };
    assert_eq!(document.position(), Ok(position));
    let written: Document = again(&LastRecordDocument::new(last));
    assert_eq!(Ok(&written), stored.get_document("last").map_err(|_| ()));
}

#[test]
fn contract_4_sessions_and_participants_have_the_names_others_query() {
    let id = SessionId::from_stored("s1".to_owned());
    let host = Participant {
        user_id: UserId::from_stored("u1".to_owned()),
        role: Role::Host,
        status: ParticipantStatus::Waiting,
        joined_at: Timestamp(1),
        left_at: None,
        leave_reason: None,
        speaking_time_seconds: 0,
        connection_id: None,
        stint_started_at: Timestamp(1),
        seniority: 0,
        present_before_ms: 0,
        disconnected_at: None,
        deadline: None,
        rejoin_count: 0,
    };
    let session = Session {
        id: id.clone(),
        kind: SessionKind::Private,
        status: SessionStatus::Waiting,
        target_language_code: "fr".to_owned(),
        topic_id: None,
        topic_title: None,
        host_user_id: host.user_id.clone(),
        min_participants: 2,
        max_participants: 4,
        created_at: Timestamp(1),
        started_at: None,
        expires_at: None,
        ended_at: None,
        end_reason: None,
        invite_code: None,
        sequence: 2,
        updated_at: Timestamp(1),
        waiting_deadline: None,
        warnings: Vec::new(),
        peak_participants: 1,
        next_seniority: 1,
        participants: vec![host.clone()],
    };
    let stored = StoredSession {
        session,
        home: 5,
        version: 1,
    };
    let millis = mongodb::bson::DateTime::from_millis;

    let session: Document =
        deserialize_from_slice(to_raw(&SessionDocument::new(&stored)).as_bytes()).expect("BSON");
    let promised = doc! {
        "_id": "s1", "type": "private", "status": "waiting", "targetLanguageCode": "fr",
        "topicId": Bson::Null, "topicTitle": Bson::Null, "hostUserId": "u1",
        "minParticipants": 2, "maxParticipants": 4, "participantCount": 1,
        "createdAt": millis(1), "startedAt": Bson::Null, "expiresAt": Bson::Null,
        "endedAt": Bson::Null, "inviteCode": Bson::Null, "endReason": Bson::Null,
        "sequence": 2_i64, "version": 1_i64, "home": 5,
    };
    for (name, value) in promised {
        assert_eq!(session.get(&name), Some(&value), "{name}");
    }

    let participant: Document =
        deserialize_from_slice(to_raw(&ParticipantDocument::new(&id, 0, &host)).as_bytes())
            .expect("BSON");
    let promised = doc! {
        "_id": "s1:u1", "sessionId": "s1", "userId": "u1", "role": "host", "status": "waiting",
        "joinedAt": millis(1), "leftAt": Bson::Null, "speakingTimeSeconds": 0_i64,
    };
    for (name, value) in promised {
        assert_eq!(participant.get(&name), Some(&value), "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_document_is_said_with_its_field_and_without_its_values() {
    fn why<T: DeserializeOwned>(document: &Document) -> String {
        let read = read::<T>("users", &to_raw(document));
        read.map(drop).expect_err("damaged").to_string()
    }
    let user = doc! {
        "_id": "u", "open": ["s"], "day": 1_i64, "used": 1, "failedCodes": [], "version": 1_i64,
    };
    let with = |field: &str, value: Bson| {
        let mut user = user.clone();
        user.insert(field, value);
        why::<UserDocument<'_>>(&user)
    };
    let mut missing = user.clone();
    missing.remove("used");
    for (found, expected) in [
        (why::<UserDocument<'_>>(&missing), "missing field `used`"),
        (
            with("used", "p, expected q".into()),
            "used: string instead of i32",
        ),
        (
            with("used", Bson::Int64(1 << 40)),
            "used: integer instead of i32",
        ),
        (
            with("open", 7.into()),
            "open: integer instead of a sequence",
        ),
        (
            with("failedCodes", vec!["p"].into()),
            "failedCodes: no DateTime",
        ),
        (
            with("version", 0.into()),
            "version: out of range for a version",
        ),
    ] {
        let expected = format!("the document users/u cannot be read: {expected}");
        assert_eq!(found, expected);
    }
    let long = doc! { "_id": "é".repeat(1_000) };
    assert!(why::<UserDocument<'_>>(&long).len() < 600);
    assert!(why::<UserDocument<'_>>(&doc! {}).starts_with("the document users/? cannot"));
    let unknown = doc! { "_id": "s", "type": "secret" };
    assert!(
        why::<SessionDocument<'_>>(&unknown).ends_with("type: unknown word for a session's type")
    );
}

#[test]
fn a_malformed_document_is_an_error() {
    let unknown_word = doc! { "_id": "x", "fingerprint": binary(vec![0; 31]) };
    assert!(from_raw::<SessionDocument<'_>>(to_raw(&unknown_word).as_bytes()).is_err());
    assert!(from_raw::<LedgerDocument<'_>>(&[1, 2, 3]).is_err());
    for stored in [
        doc! { "_id": "session-command/1", "records": [] },
        doc! { "_id": "session-command/1#x", "records": [] },
        doc! { "_id": "session-command/1#0", "records": [1] },
        doc! { "_id": "session-command/1#0", "records": [{ "t": "x", "z": 1 }] },
        doc! { "_id": "session-command/1#0", "records": [{ "t": "x", "h": ["a"] }] },
        doc! { "_id": "session-command/1#0", "records": [{ "t": "x", "h": binary(vec![1, 0]) }] },
    ] {
        assert!(outbox_batch(&to_raw(&stored)).is_err(), "{stored}");
    }
    let count = doc! { "name": "disagree" };
    assert!(from_raw::<ParticipantDocument<'_>>(to_raw(&count).as_bytes()).is_err());
}
