//! Who owns a lane: an heir takes it at once, whatever its predecessor left open, and of two who both
//! believe in themselves one is fenced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::{Client, ClientSession};
use session_worker::store::mongo::Timeouts;
use session_worker::store::{Commit, Error, LaneStore, Store, UserWrite};

use super::faults::{Stage, once};
use super::scene::{Scene, insist, is_conflict, names, nothing, saving, saving_user};
use crate::services;

/// A transaction of an earlier owner that nobody will ever end, holding its lane and a user.
#[expect(
    clippy::disallowed_methods,
    reason = "the transaction of a batch is the store's, this one is nobody's"
)]
async fn abandon(stage: &Stage) -> ClientSession {
    let lanes = stage.store.database().collection::<Document>("lanes");
    let users = stage.store.database().collection::<Document>("users");
    let other = Client::with_uri_str(services::mongo_uri())
        .await
        .expect("a client");
    let database = other.database(stage.store.database().name());
    let mut session = other.start_session().await.expect("a session");
    let owner = session.id().get("id").expect("an id").clone();
    let id = doc! { "_id": stage.scene.lane.to_string() };
    lanes
        .update_one(id.clone(), doc! { "$set": { "owner": owner } })
        .await
        .expect("written");
    session.start_transaction().await.expect("begun");
    for (collection, id) in [
        (lanes.name(), id),
        (
            users.name(),
            doc! { "_id": stage.scene.user("host").as_str() },
        ),
    ] {
        database
            .collection::<Document>(collection)
            .update_one(id, doc! { "$set": { "abandoned": true } })
            .session(&mut session)
            .await
            .expect("locked");
    }
    session
}

#[tokio::test]
async fn the_locks_of_an_abandoned_transaction_are_released_at_the_fence() {
    let _undisturbed = services::undisturbed().await;
    let stage = Stage::new(Timeouts::default()).await;
    let mut lane = stage.scene.fence(&stage.store).await;
    insist(
        &mut lane,
        &saving_user(None, stage.scene.limits("host", &[])),
    )
    .await;
    drop(lane);
    let mut abandoned = abandon(&stage).await;

    let mut stranger = Scene::new().fence(&super::mongo().await).await;
    let release = UserWrite::Release {
        user_id: stage.scene.user("host"),
        sessions: Vec::new(),
    };
    let release = Commit {
        users: vec![release],
        ..nothing()
    };
    assert!(
        is_conflict(&stranger.commit(&release).await),
        "the user is locked"
    );

    let started = Instant::now();
    let (mut lane, position) = stage
        .store
        .fence(&stage.scene.lane, Some(stage.scene.home()))
        .await
        .expect("the lane is taken");
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(1), "fenced in {elapsed:?}");
    assert_eq!((position.epoch, position.batch), (2, 1));
    assert_eq!(
        stranger.commit(&release).await.expect("the user is free"),
        1
    );
    assert_eq!(lane.commit(&nothing()).await.expect("the lane is free"), 2);
    abandoned
        .commit_transaction()
        .await
        .expect_err("the dead stay dead");
}

#[tokio::test]
async fn a_commit_that_its_caller_gave_up_is_cleared_away() {
    let _disturbing = services::disturbing().await;
    let stage = Stage::new(Timeouts::default()).await;
    let mut lane = stage.scene.fence(&stage.store).await;
    let silent = doc! { "blockConnection": true, "blockTimeMS": 1_000 };
    stage.fail("insert", once(), silent.clone()).await;
    let given_up = Duration::from_millis(200);
    let batch = stage.batch();
    tokio::time::timeout(given_up, lane.commit(&batch))
        .await
        .expect_err("the server is silent");
    assert_eq!(
        lane.commit(&stage.batch())
            .await
            .expect("the same handle goes on"),
        1
    );

    stage.fail("update", once(), silent).await;
    tokio::time::timeout(given_up, lane.commit(&nothing()))
        .await
        .expect_err("silent again");
    drop(lane);
    let started = Instant::now();
    let fenced = stage
        .store
        .fence(&stage.scene.lane, Some(stage.scene.home()))
        .await;
    let (mut lane, position) = fenced.expect("the lane is taken");
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(1), "fenced in {elapsed:?}");
    assert_eq!((position.epoch, position.batch), (2, 1));
    assert_eq!(
        lane.commit(&nothing())
            .await
            .expect("the new handle goes on"),
        2
    );
    stage.recover().await;
}

#[tokio::test]
async fn two_owners_who_both_believe_in_themselves_commit_each_batch_once() {
    let _undisturbed = services::undisturbed().await;
    let scene = Scene::new();
    let store = super::mongo().await;
    let mut older = scene.fence(&store).await;
    let mut younger = scene.fence(&store).await;
    let commit = |name: &str| Commit {
        outbox: Arc::from([scene.record(name)]),
        ..saving(None, &scene.session(name))
    };
    let (of_older, of_younger) = (commit("older"), commit("younger"));
    let (lost, won) = tokio::join!(older.commit(&of_older), insist(&mut younger, &of_younger));
    let lost = lost.expect_err("the older owner is fenced");
    assert!(matches!(lost, Error::Fenced | Error::Conflict(_)), "{lost}");
    assert_eq!(won, 1);
    let stored = names(&younger.outbox(0).await.expect("the database answers"));
    assert_eq!(stored, [(1, vec!["younger".to_owned()])]);
}

#[tokio::test]
async fn fencing_at_once_gives_every_owner_an_epoch_of_its_own() {
    let _undisturbed = services::undisturbed().await;
    let scene = Scene::new();
    let store = super::mongo().await;
    let fences = (0..8).map(|_| store.fence(&scene.lane, None));
    let mut epochs: Vec<i64> = futures::future::join_all(fences)
        .await
        .into_iter()
        .map(|fenced| fenced.expect("the lane is free").1.epoch)
        .collect();
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 8);
}

#[tokio::test]
async fn an_owner_notices_that_the_last_one_had_other_rules() {
    let _undisturbed = services::undisturbed().await;
    let scene = Scene::new();
    let [first, same, other] = ["a", "a", "b"].map(async |digest| {
        let store = super::mongo().await;
        store.with_rules_digest(digest.repeat(16))
    });
    let (first, same, other) = tokio::join!(first, same, other);
    for (store, expected) in [
        (&first, false),
        (&same, false),
        (&other, true),
        (&other, true),
    ] {
        scene.fence(store).await;
        assert_eq!(store.rules_differed(), expected);
    }
    let (_, position) = first
        .fence(&scene.lane, None)
        .await
        .expect("the lane is free");
    assert!(first.rules_differed());
    assert_eq!(position.epoch, 5);
    // Who has none compares none, and leaves the stored one.
    let none = super::mongo().await;
    scene.fence(&none).await;
    assert!(!none.rules_differed());
    let lanes = none.inspect_lanes().await.expect("read");
    let lane = lanes
        .iter()
        .find(|found| found.id == scene.lane.to_string());
    let rules = lane.and_then(|found| found.rules.clone());
    assert_eq!(rules, Some("a".repeat(16)));
}
