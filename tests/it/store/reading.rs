//! Reading page by page, forgetting, the clock, and what `check` finds.

use std::time::Duration;

use session_worker::clock::Clock;
use session_worker::domain::{MessageId, Timestamp};
use session_worker::store::mongo::{self, ConnectError, MongoStore, Options, Severity};
use session_worker::store::{Commit, LanePosition, UserWrite};

use super::scene::{NOW, Scene, insist, nothing, saving};
use crate::services;

/// A database of its own: what is read whole must be known whole.
async fn alone(name: &str) -> MongoStore {
    let database = format!("store_{name}_{}", std::process::id());
    let store = MongoStore::connect(&services::mongo_uri(), &database)
        .await
        .expect("connected");
    store
        .ensure_indexes()
        .await
        .expect("a new database takes the indexes");
    store
}

#[tokio::test]
async fn every_collection_is_read_in_pages_and_in_order() {
    let _undisturbed = services::undisturbed().await;
    let store = alone("pages").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        let limits = scene.limits(name, &["x"]);
        let commit = Commit {
            ledger: vec![scene.judged(scene.command_id(name))],
            users: vec![UserWrite::Replace {
                expected: None,
                limits,
            }],
            forwards: vec![scene.forward(i64::from(name.as_bytes()[0]), 1)],
            outbox: std::sync::Arc::from([scene.record(name)]),
            ..saving(None, &scene.session(name))
        };
        insist(&mut lane, &commit).await;
    }
    let (waiting, active) = (scene.session("a"), scene.started(&scene.session("a")));
    insist(&mut lane, &saving(Some(&waiting), &active)).await;

    let all = store.sessions_after(None, 100).await.expect("read");
    let mut expected: Vec<_> = names.iter().map(|name| scene.session(name)).collect();
    expected[0] = active.clone();
    assert_eq!(all, expected);
    let page = store
        .sessions_after(Some(&scene.session_id("b")), 2)
        .await
        .expect("read");
    assert_eq!(page, expected[2..4]);
    let one = store.session(&scene.session_id("a")).await.expect("read");
    assert_eq!(one, Some(active));
    assert_eq!(
        store
            .session(&scene.session_id("unknown"))
            .await
            .expect("read"),
        None
    );

    let users = store
        .users_after(Some(&scene.user("c")), 100)
        .await
        .expect("read");
    let ids: Vec<_> = users
        .iter()
        .map(|user| user.limits.user_id.clone())
        .collect();
    assert_eq!(ids, [scene.user("d"), scene.user("e")]);

    let ledger = store
        .ledger_after(Some(&scene.command_id("c")), 1)
        .await
        .expect("read");
    assert_eq!(ledger, [scene.judged(scene.command_id("d"))]);

    let forwards = store.forwards_after(None, 100).await.expect("read");
    let after = store
        .forwards_after(Some(&forwards[3].forward), 100)
        .await
        .expect("read");
    assert_eq!((forwards.len(), after), (5, vec![forwards[4].clone()]));

    let outbox = store
        .outbox_after(Some((&scene.lane, 3)), 1)
        .await
        .expect("read");
    assert_eq!(
        (outbox[0].0.clone(), outbox[0].1.batch),
        (scene.lane.clone(), 4)
    );

    let lanes = store.lanes_after(None, 100).await.expect("read");
    let position = LanePosition {
        epoch: 1,
        batch: 6,
        next: None,
        acked: 0,
        clock: NOW,
        last: None,
        revision: 0,
        deaths: 0,
    };
    assert_eq!(lanes, [(scene.lane.clone(), position)]);
    assert_eq!(
        store
            .lanes_after(Some(&scene.lane), 100)
            .await
            .expect("read"),
        []
    );
}

#[tokio::test]
async fn memory_is_forgotten_when_it_may_be_and_not_before() {
    let _undisturbed = services::undisturbed().await;
    let store = alone("forget").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let due = |seconds: i64| Timestamp(NOW.0 + seconds * 1_000);
    let ledger = (0..2_500).map(|number| {
        let mut entry = scene.judged(MessageId::Command(format!("{number:05}")));
        entry.forget_at = Some(due(number % 2));
        entry
    });
    let mut of_match = scene.judged(MessageId::Match("kept with its session".to_owned()));
    of_match.forget_at = None;
    let mut forward = scene.forward(1, 1);
    forward.forget_at = NOW;
    let commit = Commit {
        ledger: ledger.chain([of_match]).collect(),
        forwards: vec![forward, scene.forward(2, 1)],
        ..nothing()
    };
    insist(&mut lane, &commit).await;
    assert_eq!(store.forget(due(-1)).await.expect("a pass"), 0);
    assert_eq!(store.forget(due(0)).await.expect("a pass"), 1_251);
    assert_eq!(store.forget(due(0)).await.expect("a pass"), 0);
    assert_eq!(store.forget(due(1)).await.expect("a pass"), 1_250);
    assert_eq!(store.ledger_after(None, 10).await.expect("read").len(), 1);
    assert_eq!(store.forwards_after(None, 10).await.expect("read").len(), 1);
}

#[tokio::test]
async fn the_clock_is_the_databases_and_never_falls() {
    let _undisturbed = services::undisturbed().await;
    let store = super::mongo().await;
    let clock = store.clock();
    let mut last = clock.now();
    for _ in 0..5 {
        assert_eq!(
            clock.refresh().await.expect("the primary answers"),
            None,
            "no jump"
        );
        for _ in 0..1_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }
    // The test's database runs on this host.
    assert!(
        clock.host_offset_ms().abs() < 1_000,
        "{} ms",
        clock.host_offset_ms()
    );
}

#[tokio::test]
async fn a_sound_deployment_has_no_faults() {
    let _undisturbed = services::undisturbed().await;
    let database = format!("store_check_{}", std::process::id());
    let options = Options::default();
    let findings = mongo::check(&services::mongo_uri(), &database, &options).await;
    let bad: Vec<_> = findings
        .iter()
        .filter(|found| found.severity > Severity::Fine)
        .collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!(
        (bad[0].severity, bad[0].subject),
        (Severity::Warning, "indexes")
    );
    assert!(
        bad[0].detail.contains("sessions.findByInviteCode"),
        "{}",
        bad[0].detail
    );

    let store = MongoStore::connect(&services::mongo_uri(), &database)
        .await
        .expect("connected");
    store
        .ensure_indexes()
        .await
        .expect("a new database takes the indexes");
    store
        .ensure_indexes()
        .await
        .expect("a second time there is nothing to do");
    let findings = mongo::check(&services::mongo_uri(), &database, &options).await;
    assert!(
        findings
            .iter()
            .all(|found| found.severity == Severity::Fine),
        "{findings:?}"
    );
}

#[tokio::test]
async fn an_index_of_somebody_else_is_named() {
    let _undisturbed = services::undisturbed().await;
    let database = format!("store_foreign_{}", std::process::id());
    let store = MongoStore::connect(&services::mongo_uri(), &database)
        .await
        .expect("connected");
    let command = mongodb::bson::doc! {
        "createIndexes": "sessions",
        "indexes": [{ "name": "findByInviteCode", "key": { "inviteCode": 1 } }],
    };
    store.database().run_command(command).await.expect("made");
    let error = store
        .ensure_indexes()
        .await
        .expect_err("another index has the name");
    assert!(
        matches!(
            error,
            ConnectError::ForeignIndex {
                index: "findByInviteCode",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_at_home_and_nonsense_are_told_apart() {
    let patience = mongo::Patience {
        call: Duration::from_millis(500),
        ..mongo::Patience::default()
    };
    let options = Options {
        patience,
        ..Options::default()
    };
    // Port 1 is reserved: nobody listens there.
    let uri = "mongodb://127.0.0.1:1/?replicaSet=rs0";
    let error = MongoStore::connect_with(uri, "x", &options)
        .await
        .expect_err("nobody listens");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    let findings = mongo::check(uri, "x", &options).await;
    assert_eq!((findings.len(), findings[0].subject), (1, "primary"));

    let error = MongoStore::connect_with("kafka://x", "x", &options)
        .await
        .expect_err("nonsense");
    assert!(matches!(error, ConnectError::Uri { .. }), "{error}");
    let findings = mongo::check("kafka://x", "x", &options).await;
    assert_eq!((findings.len(), findings[0].subject), (1, "uri"));
}
