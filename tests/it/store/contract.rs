//! The scenarios that every store must pass: what `src/store/mod.rs` promises, in sentences.

mod forwards;
mod lanes;
mod unreadable;

use std::sync::Arc;
use std::time::Duration;

use session_worker::domain::{Timestamp, UserId};
use session_worker::record::OutRecord;
use session_worker::store::{
    Ask, Commit, Conflict, Deadlines, Error, Evidence, Found, LanePosition, LaneStore, LastRecord,
    Loaded, Store, StoredSession, StoredUser, UserWrite,
};

use super::scene::{NOW, Scene, insist, is_conflict, names, nothing, saving, saving_user};
pub(crate) use forwards::*;
pub(crate) use lanes::*;
pub(crate) use unreadable::*;

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
