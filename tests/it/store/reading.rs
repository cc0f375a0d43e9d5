//! Reading page by page, forgetting, the clock, and what `check` finds.

use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use session_worker::clock::Clock;
use session_worker::domain::{MessageId, Timestamp};
use session_worker::store::mongo::inspect::Which;
use session_worker::store::mongo::{self, ConnectError, Forgot, MongoStore, Options, Severity};
use session_worker::store::{Commit, LanePosition, UserWrite};

use super::alone;
use super::scene::{NOW, Scene, insist, nothing, saving};
use crate::services;

/// Everything that an inspection finds, page by page.
macro_rules! all_pages {
    ($store:ident.$inspect:ident) => {{
        let (mut items, mut after) = (Vec::new(), None);
        loop {
            let page = $store.$inspect(Which::After(after.as_ref())).await;
            let page = page.expect("read");
            items.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => break items,
            }
        }
    }};
}

#[tokio::test]
async fn every_collection_is_read_in_pages_and_in_order_whatever_stands_in_it() {
    let _undisturbed = services::undisturbed().await;
    let store = alone("pages").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let names: Vec<String> = (0..600).map(|number| format!("{number:03}")).collect();
    let judged = names
        .iter()
        .map(|name| scene.judged(scene.command_id(name)));
    let users = names.iter().map(|name| UserWrite::Replace {
        expected: None,
        limits: scene.limits(name, &["000"]),
    });
    let sessions = names
        .iter()
        .flat_map(|name| saving(None, &scene.session(name)).sessions);
    let commit = Commit {
        ledger: judged.collect(),
        users: users.collect(),
        sessions: sessions.collect(),
        outbox: std::sync::Arc::from([scene.record("a")]),
        ..nothing()
    };
    insist(&mut lane, &commit).await;
    // A document that an operator made by hand has an `_id` of another type.
    let foreign = doc! { "_id": ObjectId::from_bytes([7; 12]), "status": "by hand" };
    for collection in [
        "sessions",
        "participants",
        "users",
        "ledger",
        "lanes",
        "outbox",
    ] {
        let collection = store.database().collection::<Document>(collection);
        for document in [foreign.clone(), doc! { "_id": 7_i64 }] {
            collection.insert_one(document).await.expect("inserted");
        }
    }

    let expected = |id: &dyn Fn(&str) -> String| {
        let ids = names.iter().map(|name| id(name));
        let first = std::iter::once("7".to_owned());
        let last = std::iter::once("ObjectId(\"070707070707070707070707\")".to_owned());
        first.chain(ids).chain(last).collect::<Vec<String>>()
    };
    let sessions = all_pages!(store.inspect_sessions);
    let ids: Vec<String> = sessions.iter().map(|found| found.id.clone()).collect();
    assert_eq!(ids, expected(&|name| scene.session_id(name).to_string()));
    assert_eq!(
        sessions
            .iter()
            .filter(|found| found.stored.is_err())
            .count(),
        2
    );
    assert_eq!(sessions[1].stored, Ok(scene.session("000")));
    let users = all_pages!(store.inspect_users);
    let ids: Vec<String> = users.iter().map(|found| found.id.clone()).collect();
    assert_eq!(ids, expected(&|name| scene.user(name).to_string()));
    assert_eq!(
        users.iter().filter(|found| found.limits.is_err()).count(),
        2
    );
    let ledger = all_pages!(store.inspect_ledger);
    let ids: Vec<String> = ledger.iter().map(|found| found.id.clone()).collect();
    assert_eq!(
        ids,
        expected(&|name| format!("command:{}", scene.command_id(name).as_str()))
    );
    assert_eq!(
        ledger.iter().filter(|found| found.entry.is_err()).count(),
        2
    );
    let participants = all_pages!(store.inspect_participants);
    let homeless = participants
        .iter()
        .filter(|found| !found.session_exists)
        .count();
    assert_eq!((participants.len(), homeless), (602, 2));

    let again = [
        "7".to_owned(),
        "ObjectId(\"070707070707070707070707\")".to_owned(),
    ];
    let page = store
        .inspect_users(Which::These(&again))
        .await
        .expect("read");
    let ids: Vec<String> = page.items.into_iter().map(|found| found.id).collect();
    assert_eq!(ids, again, "a second look finds them, too");

    let lanes = store.inspect_lanes().await.expect("read");
    let own = lanes
        .iter()
        .find(|found| found.id == scene.lane.to_string());
    let own = own.expect("the lane is there");
    let position = LanePosition {
        epoch: 1,
        batch: 1,
        clock: NOW,
        ..LanePosition::unread()
    };
    assert_eq!(own.position, Some(Ok(position)));
    assert_eq!(own.outbox.iter().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(lanes.len(), 3, "{lanes:?}");

    let one = store.session(&scene.session_id("000")).await.expect("read");
    assert_eq!(one, Some(Ok(scene.session("000"))));
    let none = store.session(&scene.session_id("none")).await;
    assert_eq!(none.expect("read"), None);
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
    let none = Duration::ZERO;
    let forget = async |now, run| store.forget_for(now, run, none).await.expect("a run");
    let long = Duration::from_secs(600);
    assert_eq!(forget(due(-1), long).await, Forgot::All(0));
    assert_eq!(forget(due(0), long).await, Forgot::All(1_251));
    assert_eq!(forget(due(0), long).await, Forgot::All(0));
    assert_eq!(forget(due(1), long).await, Forgot::All(1_250));
    for collection in ["ledger", "forwards"] {
        let collection = store.database().collection::<Document>(collection);
        let left = collection.count_documents(doc! {}).await;
        assert_eq!(left.expect("counted"), 1);
    }
}

#[tokio::test]
async fn contract_4_one_instance_at_a_time_forgets_from_where_the_last_one_stopped() {
    let _undisturbed = services::undisturbed().await;
    let store = alone("turns").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let ledger = (0..2_500).map(|number| {
        let mut entry = scene.judged(MessageId::Command(format!("{number:05}")));
        entry.forget_at = Some(NOW);
        entry
    });
    let commit = Commit {
        ledger: ledger.collect(),
        ..nothing()
    };
    insist(&mut lane, &commit).await;
    let (none, hour) = (Duration::ZERO, Duration::from_secs(3_600));
    let jobs = store.database().collection::<Document>("jobs");
    let left = async || {
        let ledger = store.database().collection::<Document>("ledger");
        ledger.count_documents(doc! {}).await.expect("counted")
    };
    let after = async || {
        let job = jobs
            .find_one(doc! { "_id": "retention" })
            .await
            .expect("read");
        job.expect("it has begun")
            .get("after")
            .cloned()
            .expect("a place")
    };

    // A run without time does one page, wherever it stands.
    for (gone, place) in [(1_000, "command:00999"), (2_000, "command:01999")] {
        let forgot = store.forget_for(NOW, none, none).await.expect("a run");
        assert_eq!((forgot, left().await), (Forgot::Some(1_000), 2_500 - gone));
        let expected = doc! { "collection": "ledger", "id": place };
        assert_eq!(after().await, Bson::Document(expected));
    }
    // What comes before that place waits for the next pass.
    let mut early = scene.judged(MessageId::Command("00000".to_owned()));
    early.forget_at = Some(NOW);
    let commit = Commit {
        ledger: vec![early],
        ..nothing()
    };
    insist(&mut lane, &commit).await;
    let forgot = store.forget_for(NOW, hour, hour).await.expect("a run");
    assert_eq!((forgot, left().await), (Forgot::All(500), 1));
    assert_eq!(after().await, Bson::Null);

    // After a whole pass it rests, for every instance.
    let other = MongoStore::connect(&services::mongo_uri(), store.database().name()).await;
    let other = other.expect("connected");
    for store in [&store, &other] {
        assert_eq!(store.forget(NOW).await.expect("a run"), Forgot::Nothing);
    }
    // A lease that nobody can have meant, or that cannot be read, binds nobody.
    let ages = bson_after(&store, Duration::from_secs(72 * 3_600));
    for until in [Bson::from("x"), Bson::Null, ages] {
        let until = doc! { "$set": { "until": until, "after": "x" } };
        jobs.update_one(doc! { "_id": "retention" }, until)
            .await
            .expect("written");
        let forgot = other.forget_for(NOW, hour, none).await.expect("a run");
        assert!(matches!(forgot, Forgot::All(_)), "{forgot:?}");
    }
    assert_eq!(left().await, 0);

    // Of many at once, one has the turn.
    let at_once = (0..8).map(|_| store.forget_for(NOW, hour, hour));
    let at_once = futures::future::join_all(at_once).await;
    let turns = at_once
        .into_iter()
        .filter(|forgot| matches!(forgot, Ok(Forgot::All(0))));
    assert_eq!(turns.count(), 1);
}

fn bson_after(store: &MongoStore, wait: Duration) -> Bson {
    let at = store.clock().now().plus(wait);
    Bson::DateTime(mongodb::bson::DateTime::from_millis(at.0))
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
