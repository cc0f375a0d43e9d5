//! The scenarios that every store must pass: what `src/store/mod.rs` promises, in sentences.

use std::sync::Arc;
use std::time::Duration;

use session_worker::domain::{Timestamp, UserId};
use session_worker::record::OutRecord;
use session_worker::store::memory::Document;
use session_worker::store::{
    Ask, Commit, Conflict, Deadlines, Error, Evidence, Found, IntakeStop, LanePosition, LaneStore,
    LastRecord, Loaded, Note, StopReason, Store, StoredSession, StoredUser, UserWrite,
};

use super::scene::{NOW, Scene, insist, is_conflict, names, nothing, saving, saving_user};
use super::spoil::Spoil;

async fn load<L: LaneStore>(lane: &L, ask: Ask) -> Loaded {
    lane.load(&ask).await.expect("the database answers")
}

async fn stored_session<L: LaneStore>(
    lane: &L,
    scene: &Scene,
    name: &str,
) -> Option<StoredSession> {
    let id = scene.session_id(name);
    let ask = Ask {
        sessions: vec![id.clone()],
        ..Ask::default()
    };
    match load(lane, ask).await.sessions.remove(&id) {
        Some(Found::Here(stored)) => Some((*stored).clone()),
        Some(Found::Elsewhere { home }) => panic!("{id} is at home in {home}"),
        Some(Found::Unreadable(unreadable)) => panic!("{unreadable}"),
        None => None,
    }
}

async fn stored_user<L: LaneStore>(lane: &L, user: &UserId) -> Option<StoredUser> {
    let ask = Ask {
        users: vec![user.clone()],
        ..Ask::default()
    };
    let stored = load(lane, ask).await.users.remove(user);
    stored.map(|user| user.expect("the document is as it was written"))
}

pub(crate) async fn a_new_lane_is_unread<S: Store>(store: &S) {
    let scene = Scene::new();
    let (lane, position) = store
        .fence(&scene.lane, None)
        .await
        .expect("the lane is free");
    let unread = LanePosition {
        epoch: 1,
        batch: 0,
        next: None,
        acked: 0,
        clock: Timestamp(0),
        last: None,
        revision: 0,
        deaths: 0,
    };
    assert_eq!(position, unread);
    assert_eq!(lane.outbox(0).await.expect("the database answers"), []);
    assert_eq!(
        lane.deadlines().await.expect("the database answers"),
        Deadlines::default()
    );
}

pub(crate) async fn what_a_batch_saves_is_loaded_again<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let session = scene.session("a");
    let entry = scene.judged(scene.command_id("a"));
    let forward = scene.forward(5, 3);
    let commit = Commit {
        next: Some(13),
        last: Some(LastRecord {
            offset: 12,
            timestamp: NOW.0,
            crc: u32::MAX,
        }),
        ledger: vec![entry.clone()],
        forwards: vec![forward.clone()],
        users: vec![UserWrite::Replace {
            expected: None,
            limits: scene.limits("host", &["a"]),
        }],
        outbox: Arc::from([scene.record("created"), scene.record("joined")]),
        ..saving(None, &session)
    };
    assert_eq!(insist(&mut lane, &commit).await, 1);

    let ask = Ask {
        ids: vec![entry.id.clone(), scene.command_id("unknown")],
        users: vec![scene.user("host"), scene.user("unknown")],
        sessions: vec![scene.session_id("unknown")],
        invite_codes: vec![scene.code("a"), scene.code("unknown")],
        forwards: vec![forward.forward.clone()],
    };
    let loaded = load(&lane, ask).await;
    assert_eq!(loaded.ledger.into_values().collect::<Vec<_>>(), [Ok(entry)]);
    let user = StoredUser {
        limits: scene.limits("host", &["a"]),
        version: 1,
    };
    assert_eq!(loaded.users.into_values().collect::<Vec<_>>(), [Ok(user)]);
    let code = (scene.code("a"), scene.session_id("a"));
    assert_eq!(loaded.invite_codes.into_iter().collect::<Vec<_>>(), [code]);
    assert_eq!(loaded.sessions.len(), 1, "found by its code");
    assert_eq!(
        loaded.forwards.into_iter().collect::<Vec<_>>(),
        [(forward.forward, Ok(Evidence::Sent))]
    );
    assert_eq!(stored_session(&lane, &scene, "a").await, Some(session));
}

pub(crate) async fn what_was_never_saved_is_absent<S: Store>(store: &S) {
    let scene = Scene::new();
    let lane = scene.fence(store).await;
    let ask = Ask {
        ids: vec![scene.command_id("unknown")],
        users: vec![scene.user("unknown")],
        sessions: vec![scene.session_id("unknown")],
        invite_codes: vec![scene.code("unknown")],
        forwards: vec![scene.forward(1, 1).forward],
    };
    for ask in [ask, Ask::default()] {
        let loaded = load(&lane, ask).await;
        assert!(loaded.ledger.is_empty() && loaded.users.is_empty());
        assert!(loaded.sessions.is_empty() && loaded.invite_codes.is_empty());
        assert!(loaded.forwards.is_empty());
    }
}

pub(crate) async fn a_changed_session_is_loaded_as_changed<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let waiting = scene.session("a");
    let active = scene.started(&waiting);
    let ended = scene.ended(&active);
    insist(&mut lane, &saving(None, &waiting)).await;
    insist(&mut lane, &saving(Some(&waiting), &active)).await;
    assert_eq!(
        stored_session(&lane, &scene, "a").await,
        Some(active.clone())
    );
    insist(&mut lane, &saving(Some(&active), &ended)).await;
    assert_eq!(stored_session(&lane, &scene, "a").await, Some(ended));
}

pub(crate) async fn a_session_of_another_home_is_only_located<S: Store>(store: &S) {
    let (here, there) = (Scene::new(), Scene::new());
    let mut lane = there.fence(store).await;
    insist(&mut lane, &saving(None, &there.session("a"))).await;

    let matches = Scene::new();
    let (of_matches, _) = store
        .fence(&matches.lane, None)
        .await
        .expect("the lane is free");
    let of_commands = here.fence(store).await;
    let ask = Ask {
        sessions: vec![there.session_id("a")],
        invite_codes: vec![there.code("a")],
        ..Ask::default()
    };
    let by_code = Ask {
        invite_codes: vec![there.code("a")],
        ..Ask::default()
    };
    for loaded in [
        load(&of_matches, ask.clone()).await,
        load(&of_commands, ask).await,
        load(&of_commands, by_code).await,
    ] {
        assert_eq!(
            loaded.invite_codes.get(&there.code("a")),
            Some(&there.session_id("a"))
        );
        let found = loaded.sessions.get(&there.session_id("a"));
        assert!(matches!(found, Some(Found::Elsewhere { home }) if *home == there.home()));
    }
}

pub(crate) async fn an_older_owner_is_fenced_and_changes_nothing<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut older = scene.fence(store).await;
    insist(
        &mut older,
        &Commit {
            next: Some(1),
            ..nothing()
        },
    )
    .await;
    let mut younger = scene.fence(store).await;

    let commit = Commit {
        next: Some(2),
        ledger: vec![scene.judged(scene.command_id("a"))],
        users: vec![UserWrite::Replace {
            expected: None,
            limits: scene.limits("host", &[]),
        }],
        outbox: Arc::from([scene.record("of the older")]),
        ..saving(None, &scene.session("a"))
    };
    for _ in 0..2 {
        let outcome = older.commit(&commit).await;
        assert!(matches!(outcome, Err(Error::Fenced)), "{outcome:?}");
    }
    assert_eq!(stored_session(&younger, &scene, "a").await, None);
    assert_eq!(stored_user(&younger, &scene.user("host")).await, None);
    assert_eq!(younger.outbox(0).await.expect("the database answers"), []);
    assert_eq!(
        insist(&mut younger, &commit).await,
        2,
        "the younger owner saves the same"
    );
}

pub(crate) async fn a_refenced_lane_goes_on_where_it_was<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let last = LastRecord {
        offset: 41,
        timestamp: -1,
        crc: 0xDEAD_BEEF,
    };
    let outbox: Arc<[OutRecord]> = Arc::from([scene.record("a")]);
    for next in [40, 42] {
        let position = Commit {
            next: Some(next),
            last: Some(last),
            ..nothing()
        };
        insist(
            &mut lane,
            &Commit {
                outbox: Arc::clone(&outbox),
                ..position
            },
        )
        .await;
    }
    insist(
        &mut lane,
        &Commit {
            next: Some(42),
            last: Some(last),
            acked: 1,
            ..nothing()
        },
    )
    .await;
    drop(lane);
    let (lane, position) = store
        .fence(&scene.lane, Some(scene.home()))
        .await
        .expect("the lane is free");
    let expected = LanePosition {
        epoch: 2,
        batch: 3,
        next: Some(42),
        acked: 1,
        clock: NOW,
        last: Some(last),
        revision: 0,
        deaths: 0,
    };
    assert_eq!(position, expected);
    let again = lane
        .outbox(position.acked)
        .await
        .expect("the database answers");
    assert_eq!(names(&again), [(2, vec!["a".to_owned()])]);
}

pub(crate) async fn a_session_is_saved_only_over_the_version_that_was_read<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let waiting = scene.session("a");
    let active = scene.started(&waiting);
    insist(&mut lane, &saving(None, &waiting)).await;
    insist(&mut lane, &saving(Some(&waiting), &active)).await;
    let mut other = scene.started(&waiting);
    other.session.topic_title = Some("lost update".to_owned());
    assert!(is_conflict(
        &lane.commit(&saving(Some(&waiting), &other)).await
    ));
    let absent = scene.session("absent");
    assert!(is_conflict(
        &lane
            .commit(&saving(Some(&absent), &scene.started(&absent)))
            .await
    ));
    assert_eq!(stored_session(&lane, &scene, "a").await, Some(active));
}

pub(crate) async fn a_new_session_conflicts_with_one_of_its_id<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let session = scene.session("a");
    insist(&mut lane, &saving(None, &session)).await;
    let mut other = session.clone();
    other.session.invite_code = Some(scene.code("other"));
    assert!(is_conflict(&lane.commit(&saving(None, &other)).await));
    assert_eq!(stored_session(&lane, &scene, "a").await, Some(session));
}

pub(crate) async fn ac2_an_invite_code_belongs_to_one_session_for_ever<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let first = scene.session("a");
    insist(&mut lane, &saving(None, &first)).await;
    insist(&mut lane, &saving(Some(&first), &scene.ended(&first))).await;
    let mut second = scene.session("b");
    second.session.invite_code = Some(scene.code("a"));
    assert!(is_conflict(&lane.commit(&saving(None, &second)).await));
    for name in ["c", "d"] {
        let mut public = scene.session(name);
        public.session.invite_code = None;
        insist(&mut lane, &saving(None, &public)).await;
    }
}

pub(crate) async fn ac9_a_user_is_saved_only_over_the_version_that_was_read<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let user = scene.user("a");
    insist(&mut lane, &saving_user(None, scene.limits("a", &["1"]))).await;
    assert!(is_conflict(
        &lane
            .commit(&saving_user(None, scene.limits("a", &["x"])))
            .await
    ));
    insist(
        &mut lane,
        &saving_user(Some(1), scene.limits("a", &["1", "2"])),
    )
    .await;
    for stale in [1, 3] {
        let commit = saving_user(Some(stale), scene.limits("a", &["x"]));
        assert!(is_conflict(&lane.commit(&commit).await));
    }
    let absent = saving_user(Some(1), scene.limits("absent", &[]));
    assert!(is_conflict(&lane.commit(&absent).await));
    let stored = StoredUser {
        limits: scene.limits("a", &["1", "2"]),
        version: 2,
    };
    assert_eq!(stored_user(&lane, &user).await, Some(stored));
}

pub(crate) async fn ac9_places_are_freed_whatever_else_the_user_holds<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let release = |name: &str, sessions: &[&str]| UserWrite::Release {
        user_id: scene.user(name),
        sessions: sessions.iter().map(|name| scene.session_id(name)).collect(),
    };
    insist(
        &mut lane,
        &saving_user(None, scene.limits("a", &["1", "2", "3"])),
    )
    .await;
    let users = vec![
        release("a", &["1", "3", "not open"]),
        release("absent", &["1"]),
        UserWrite::Replace {
            expected: None,
            limits: scene.limits("b", &["1"]),
        },
    ];
    insist(&mut lane, &Commit { users, ..nothing() }).await;
    let stored = StoredUser {
        limits: scene.limits("a", &["2"]),
        version: 2,
    };
    assert_eq!(stored_user(&lane, &scene.user("a")).await, Some(stored));
    assert_eq!(stored_user(&lane, &scene.user("absent")).await, None);

    let stale = UserWrite::Replace {
        expected: Some(7),
        limits: scene.limits("b", &[]),
    };
    let users = vec![release("a", &["2"]), release("absent", &["1"]), stale];
    assert!(is_conflict(
        &lane.commit(&Commit { users, ..nothing() }).await
    ));
    let stored = StoredUser {
        limits: scene.limits("a", &["2"]),
        version: 2,
    };
    assert_eq!(stored_user(&lane, &scene.user("a")).await, Some(stored));
}

pub(crate) async fn a_message_is_judged_once<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let entry = scene.judged(scene.command_id("a"));
    let commit = Commit {
        ledger: vec![entry.clone()],
        ..nothing()
    };
    insist(&mut lane, &commit).await;
    let mut other = entry.clone();
    other.remembered.fingerprint = [1; 32];
    let mut elsewhere = Scene::new().fence(store).await;
    let again = Commit {
        ledger: vec![other],
        ..nothing()
    };
    assert!(is_conflict(&lane.commit(&again).await));
    assert!(is_conflict(&elsewhere.commit(&again).await));
    let ask = Ask {
        ids: vec![entry.id.clone()],
        ..Ask::default()
    };
    assert_eq!(
        load(&elsewhere, ask).await.ledger.remove(&entry.id),
        Some(Ok(entry))
    );
}

pub(crate) async fn a_forgotten_message_may_be_judged_again<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let mut first = scene.judged(scene.command_id("a"));
    first.forget_at = Some(NOW.minus(Duration::from_secs(1)));
    let mut kept = scene.judged(scene.command_id("kept"));
    kept.forget_at = None;
    insist(
        &mut lane,
        &Commit {
            ledger: vec![first.clone(), kept.clone()],
            ..nothing()
        },
    )
    .await;
    let mut second = scene.judged(first.id.clone());
    second.remembered.fingerprint = [2; 32];
    second.forget_at = None;
    insist(
        &mut lane,
        &Commit {
            ledger: vec![second.clone()],
            ..nothing()
        },
    )
    .await;
    let ask = Ask {
        ids: vec![first.id.clone(), kept.id.clone()],
        ..Ask::default()
    };
    let mut ledger = load(&lane, ask).await.ledger;
    assert_eq!(ledger.remove(&first.id), Some(Ok(second)));
    assert_eq!(ledger.remove(&kept.id), Some(Ok(kept)));
}

pub(crate) async fn a_conflict_leaves_nothing_behind_and_the_handle_usable<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let entry = scene.judged(scene.command_id("a"));
    insist(
        &mut lane,
        &Commit {
            ledger: vec![entry.clone()],
            ..nothing()
        },
    )
    .await;
    let commit = |ledger| Commit {
        next: Some(9),
        ledger,
        forwards: vec![scene.forward(1, 1)],
        users: vec![UserWrite::Replace {
            expected: None,
            limits: scene.limits("host", &["a"]),
        }],
        outbox: Arc::from([scene.record("a")]),
        ..saving(None, &scene.session("a"))
    };
    assert!(is_conflict(&lane.commit(&commit(vec![entry])).await));
    assert_eq!(stored_session(&lane, &scene, "a").await, None);
    assert_eq!(stored_user(&lane, &scene.user("host")).await, None);
    assert_eq!(lane.outbox(0).await.expect("the database answers"), []);
    let forward = Ask {
        forwards: vec![scene.forward(1, 1).forward],
        ..Ask::default()
    };
    assert!(load(&lane, forward).await.forwards.is_empty());
    assert_eq!(insist(&mut lane, &commit(Vec::new())).await, 2);
}

pub(crate) async fn a_batch_with_nothing_but_its_position_is_a_batch<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    for batch in 1..=3 {
        assert_eq!(
            insist(
                &mut lane,
                &Commit {
                    next: Some(batch),
                    ..nothing()
                }
            )
            .await,
            batch
        );
    }
}

pub(crate) async fn the_outbox_is_read_byte_for_byte_and_in_order<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let odd = OutRecord {
        topic: "session-dead-letter".into(),
        partition: Some(0),
        key: None,
        value: None,
        headers: vec![
            ("null".to_owned(), None),
            ("twice".to_owned(), Some(Vec::new())),
            ("twice".to_owned(), Some(vec![0, 255, 128])),
        ],
    };
    let bare = OutRecord {
        headers: Vec::new(),
        key: Some(Vec::new()),
        ..odd.clone()
    };
    let records: Arc<[OutRecord]> = Arc::from([scene.record("first"), odd, bare]);
    insist(
        &mut lane,
        &Commit {
            outbox: Arc::clone(&records),
            ..nothing()
        },
    )
    .await;
    for number in 2..=12 {
        let name = number.to_string();
        let outbox = Arc::from([scene.record(&name)]);
        insist(
            &mut lane,
            &Commit {
                outbox,
                ..nothing()
            },
        )
        .await;
    }
    let batches = lane.outbox(0).await.expect("the database answers");
    assert_eq!(batches[0].records, records);
    let numbers: Vec<i64> = batches.iter().map(|batch| batch.batch).collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    let rest = names(&lane.outbox(10).await.expect("the database answers"));
    assert_eq!(
        rest,
        [(11, vec!["11".to_owned()]), (12, vec!["12".to_owned()])]
    );
}

pub(crate) async fn acknowledged_batches_are_published_no_more<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    for name in ["1", "2", "3"] {
        let outbox = Arc::from([scene.record(name)]);
        insist(
            &mut lane,
            &Commit {
                outbox,
                ..nothing()
            },
        )
        .await;
    }
    insist(
        &mut lane,
        &Commit {
            acked: 2,
            ..nothing()
        },
    )
    .await;
    let kept = names(&lane.outbox(0).await.expect("the database answers"));
    assert_eq!(
        kept,
        [(3, vec!["3".to_owned()])],
        "an idle lane leaves nothing behind"
    );
    let (lane, position) = store
        .fence(&scene.lane, None)
        .await
        .expect("the lane is free");
    assert_eq!((position.batch, position.acked), (4, 2));
    assert_eq!(
        names(&lane.outbox(2).await.expect("the database answers")),
        kept
    );
}

pub(crate) async fn a_forward_counts_only_as_it_was_sent<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let sent = scene.forward(5, 3);
    // Twice, as after an operator moved the lane back.
    for _ in 0..2 {
        insist(
            &mut lane,
            &Commit {
                forwards: vec![sent.clone()],
                ..nothing()
            },
        )
        .await;
    }
    let mut content = sent.forward.clone();
    content.fingerprint = [0; 32];
    let mut home = sent.forward.clone();
    home.home = 4;
    let mut origin = sent.forward.clone();
    origin.origin.offset = 6;
    let forwards = vec![content, home, origin, sent.forward.clone()];
    let known = load(
        &lane,
        Ask {
            forwards,
            ..Ask::default()
        },
    )
    .await
    .forwards;
    assert_eq!(
        known.into_iter().collect::<Vec<_>>(),
        [(sent.forward, Ok(Evidence::Sent))]
    );
}

pub(crate) async fn deadlines_are_those_of_the_home_and_not_ended<S: Store>(store: &S) {
    let (scene, stranger) = (Scene::new(), Scene::new());
    let mut lane = scene.fence(store).await;
    let mut other = stranger.fence(store).await;
    insist(&mut other, &saving(None, &stranger.session("a"))).await;
    let (waiting, active, ended) = (scene.session("w"), scene.session("a"), scene.session("e"));
    for session in [&waiting, &active, &ended] {
        insist(&mut lane, &saving(None, session)).await;
    }
    insist(&mut lane, &saving(Some(&active), &scene.started(&active))).await;
    insist(&mut lane, &saving(Some(&ended), &scene.ended(&ended))).await;
    let mut deadlines = lane.deadlines().await.expect("the database answers");
    deadlines.sessions.sort();
    let minutes = |minutes: u64| NOW.plus(Duration::from_secs(60 * minutes));
    let expected = [
        (scene.session_id("a"), minutes(3)),
        (scene.session_id("w"), minutes(30)),
    ];
    assert_eq!(deadlines.sessions, expected);
}

fn unreadable_document(found: Option<&Found>) -> Option<&str> {
    match found {
        Some(Found::Unreadable(unreadable)) => Some(&unreadable.document),
        _ => None,
    }
}

pub(crate) async fn contract_4_an_unreadable_document_affects_only_who_asks_for_it<S: Spoil>(
    store: &S,
) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let (spoiled, sound) = (scene.session("a"), scene.session("b"));
    let [of_a, of_b] = ["a", "b"].map(|name| scene.judged(scene.command_id(name)));
    let (to_a, to_b) = (scene.forward(1, 1), scene.forward(2, 1));
    let commit = Commit {
        ledger: vec![of_a.clone(), of_b.clone()],
        forwards: vec![to_a.clone(), to_b.clone()],
        users: ["a", "b"]
            .map(|name| UserWrite::Replace {
                expected: None,
                limits: scene.limits(name, &["a"]),
            })
            .to_vec(),
        sessions: [&spoiled, &sound]
            .map(|new| saving(None, new).sessions.remove(0))
            .to_vec(),
        ..nothing()
    };
    insist(&mut lane, &commit).await;
    let documents = [
        Document::Session(spoiled.session.id.clone()),
        Document::User(scene.user("a")),
        Document::Ledger(of_a.id.clone()),
        Document::Forward(to_a.forward.origin.clone(), 1),
    ];
    let mut before = Vec::new();
    for document in &documents {
        before.push(store.spoil(document).await);
    }

    let ask = Ask {
        ids: vec![of_a.id.clone(), of_b.id.clone()],
        users: vec![scene.user("a"), scene.user("b")],
        sessions: vec![scene.session_id("b")],
        invite_codes: vec![scene.code("a")],
        forwards: vec![to_a.forward.clone(), to_b.forward.clone()],
    };
    let loaded = load(&lane, ask.clone()).await;
    let named = |document: &str| format!("{document}/{}", scene.session_id("a"));
    let found = loaded.sessions.get(&spoiled.session.id);
    assert_eq!(unreadable_document(found), Some(&*named("sessions")));
    assert_eq!(
        loaded.invite_codes.get(&scene.code("a")),
        Some(&spoiled.session.id)
    );
    let found = loaded.sessions.get(&sound.session.id);
    assert!(matches!(found, Some(Found::Here(stored)) if **stored == sound));
    let user = loaded.users[&scene.user("a")]
        .as_ref()
        .expect_err("spoiled");
    assert_eq!(user.document, format!("users/{}", scene.user("a")));
    assert!(loaded.users[&scene.user("b")].is_ok());
    let entry = loaded.ledger[&of_a.id].as_ref().expect_err("spoiled");
    assert_eq!(
        entry.document,
        format!("ledger/command:{}", of_a.id.as_str())
    );
    assert_eq!(loaded.ledger[&of_b.id], Ok(of_b));
    let forward = loaded.forwards[&to_a.forward]
        .as_ref()
        .expect_err("spoiled");
    assert_eq!(
        forward.document,
        format!("forwards/{}>1", to_a.forward.origin)
    );
    assert_eq!(loaded.forwards[&to_b.forward], Ok(Evidence::Sent));

    let elsewhere = Scene::new().fence(store).await;
    let (of_matches, _) = store
        .fence(&Scene::new().lane, None)
        .await
        .expect("the lane is free");
    for found in [
        load(&elsewhere, ask.clone())
            .await
            .sessions
            .remove(&spoiled.session.id),
        load(&of_matches, ask.clone())
            .await
            .sessions
            .remove(&spoiled.session.id),
    ] {
        let located = matches!(found, Some(Found::Elsewhere { home }) if home == scene.home());
        assert!(
            located,
            "only its home reads more than where that is: {found:?}"
        );
    }

    for (document, before) in documents.iter().zip(before) {
        store.repair(document, before).await;
    }
    let loaded = load(&lane, ask.clone()).await;
    assert!(matches!(
        loaded.sessions[&spoiled.session.id],
        Found::Here(_)
    ));
    assert!(loaded.users.values().all(Result::is_ok));
    assert!(loaded.ledger.values().all(Result::is_ok));
    assert!(loaded.forwards.values().all(Result::is_ok));

    let home = Document::Home(spoiled.session.id.clone());
    let before = store.spoil(&home).await;
    for loaded in [
        load(&lane, ask.clone()).await,
        load(&of_matches, ask.clone()).await,
    ] {
        let found = loaded.sessions.get(&spoiled.session.id);
        assert_eq!(unreadable_document(found), Some(&*named("sessions")));
    }
    store.repair(&home, before).await;
    assert!(matches!(
        load(&lane, ask).await.sessions[&spoiled.session.id],
        Found::Here(_)
    ));
}

pub(crate) async fn contract_4_an_unreadable_deadline_hides_no_other<S: Spoil>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    for name in ["a", "b"] {
        insist(&mut lane, &saving(None, &scene.session(name))).await;
    }
    let deadline = Document::Deadline(scene.session_id("a"));
    let before = store.spoil(&deadline).await;
    let due = |name: &str| {
        (
            scene.session_id(name),
            NOW.plus(Duration::from_secs(30 * 60)),
        )
    };
    let deadlines = lane.deadlines().await.expect("the database answers");
    assert_eq!(deadlines.sessions, [due("b")]);
    let named: Vec<&str> = deadlines.unreadable.iter().map(|u| &*u.document).collect();
    assert_eq!(named, [format!("sessions/{}", scene.session_id("a"))]);
    assert!(stored_session(&lane, &scene, "a").await.is_some());
    let other = Scene::new().fence(store).await;
    let deadlines = other.deadlines().await.expect("the database answers");
    assert_eq!(
        deadlines,
        Deadlines::default(),
        "it is named at its home only"
    );

    store.repair(&deadline, before).await;
    let mut deadlines = lane.deadlines().await.expect("the database answers");
    deadlines.sessions.sort();
    assert_eq!(deadlines.sessions, [due("a"), due("b")]);
    assert_eq!(deadlines.unreadable, []);
}

pub(crate) async fn contract_4_a_session_ends_whatever_a_users_document_is_like<S: Spoil>(
    store: &S,
) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let session = scene.session("a");
    insist(&mut lane, &saving(None, &session)).await;
    insist(&mut lane, &saving_user(None, scene.limits("host", &["a"]))).await;
    let user = Document::User(scene.user("host"));
    let before = store.spoil(&user).await;
    let release = UserWrite::Release {
        user_id: scene.user("host"),
        sessions: vec![scene.session_id("a")],
    };
    let ending = Commit {
        users: vec![release],
        ..saving(Some(&session), &scene.ended(&session))
    };
    assert_eq!(
        lane.commit(&ending).await.expect("nothing is in the way"),
        3
    );
    store.repair(&user, before).await;
    let stored = stored_user(&lane, &scene.user("host"))
        .await
        .expect("stored");
    assert_eq!(stored.limits, scene.limits("host", &[]));
}

pub(crate) async fn a_settled_forward_is_known_as_settled<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let (first, second) = (scene.forward(1, 1), scene.forward(2, 1));
    let commit = Commit {
        forwards: vec![first.clone(), second.clone()],
        ..nothing()
    };
    insist(&mut lane, &commit).await;
    let settling = Commit {
        settled: vec![first.forward.clone()],
        ..nothing()
    };
    insist(&mut lane, &settling).await;
    let ask = Ask {
        forwards: vec![first.forward.clone(), second.forward.clone()],
        ..Ask::default()
    };
    let loaded = load(&lane, ask.clone()).await;
    assert_eq!(loaded.forwards[&first.forward], Ok(Evidence::Settled));
    assert_eq!(loaded.forwards[&second.forward], Ok(Evidence::Sent));
    let again = Commit {
        forwards: vec![first.clone()],
        ..nothing()
    };
    insist(&mut lane, &again).await;
    let loaded = load(&lane, ask).await;
    assert_eq!(
        loaded.forwards[&first.forward],
        Ok(Evidence::Sent),
        "it was sent again"
    );
}

pub(crate) async fn what_a_commit_collides_with_is_named<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let session = scene.session("a");
    let entry = scene.judged(scene.command_id("a"));
    let all = Commit {
        ledger: vec![entry.clone()],
        ..saving(None, &session)
    };
    insist(&mut lane, &all).await;
    insist(&mut lane, &saving_user(None, scene.limits("a", &[]))).await;
    let mut same_code = scene.session("b");
    same_code.session.invite_code = Some(scene.code("a"));
    let mut unknown = session.clone();
    unknown.version = 7;
    let mut next = unknown.clone();
    next.version = 8;
    let judged_again = Commit {
        ledger: vec![entry],
        ..nothing()
    };
    for (commit, expected) in [
        (saving_user(None, scene.limits("a", &[])), Conflict::User),
        (saving_user(Some(7), scene.limits("a", &[])), Conflict::User),
        (saving(None, &session), Conflict::Session),
        (saving(None, &same_code), Conflict::Session),
        (saving(Some(&unknown), &next), Conflict::Session),
        (judged_again, Conflict::Ledger),
    ] {
        let outcome = lane.commit(&commit).await;
        let named = matches!(outcome, Err(Error::Conflict(conflict)) if conflict == expected);
        assert!(named, "{expected:?}: {outcome:?}");
    }
}

async fn position<S: Store>(store: &S, scene: &Scene) -> (S::Lane, LanePosition) {
    let fenced = store.fence(&scene.lane, Some(scene.home())).await;
    fenced.expect("the lane is free")
}

pub(crate) async fn deaths_count_until_there_is_progress<S: Store>(store: &S) {
    let scene = Scene::new();
    for deaths in 1..=3 {
        let lane = scene.fence(store).await;
        lane.note(Note::Reading).await.expect("noted");
        assert_eq!(position(store, &scene).await.1.deaths, deaths);
    }
    let (mut lane, _) = position(store, &scene).await;
    insist(&mut lane, &nothing()).await;
    assert_eq!(
        position(store, &scene).await.1.deaths,
        0,
        "a batch is progress"
    );
    let (lane, _) = position(store, &scene).await;
    lane.note(Note::Reading).await.expect("noted");
    lane.note(Note::Sound).await.expect("noted");
    assert_eq!(
        position(store, &scene).await.1.deaths,
        0,
        "it ended in order"
    );
}

pub(crate) async fn an_older_owner_notes_nothing<S: Store>(store: &S) {
    let scene = Scene::new();
    let older = scene.fence(store).await;
    let (younger, _) = position(store, &scene).await;
    let stop = IntakeStop {
        reason: StopReason::Damaged,
        offset: 7,
        since: NOW,
    };
    for note in [
        Note::Reading,
        Note::Sound,
        Note::Intake(Some(stop)),
        Note::Revised,
    ] {
        let outcome = older.note(note).await;
        assert!(
            matches!(outcome, Err(Error::Fenced)),
            "{note:?}: {outcome:?}"
        );
        younger.note(note).await.expect("the younger is the owner");
    }
}

pub(crate) async fn a_revision_is_seen_by_who_looks_for_it<S: Store>(store: &S) {
    let (scene, other, unknown) = (Scene::new(), Scene::new(), Scene::new());
    let lanes = [&scene, &other, &unknown].map(|scene| scene.lane.clone());
    let (lane, _) = position(store, &scene).await;
    position(store, &other).await;
    let expected = |revision| [(scene.lane.clone(), revision), (other.lane.clone(), 0)].into();
    assert_eq!(store.revisions(&lanes).await.expect("read"), expected(0));
    lane.note(Note::Reading).await.expect("noted");
    lane.note(Note::Revised).await.expect("noted");
    assert_eq!(store.revisions(&lanes).await.expect("read"), expected(1));
    let (_, position) = position(store, &scene).await;
    assert_eq!((position.revision, position.deaths), (1, 0));
}
