//! No query of `run` scans: the server's own profile of every operation that a lane's life takes,
//! read back with the plans it really chose (contract 4).

use std::sync::Arc;

use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use session_worker::store::mongo::MongoStore;
use session_worker::store::{Ask, Commit, LaneStore, Store, UserWrite};

use super::scene::{NOW, Scene, insist, nothing, saving, saving_user};
use crate::services;

#[tokio::test]
async fn every_query_of_a_lane_is_served_by_an_index() {
    let _undisturbed = services::undisturbed().await;
    let database = format!("store_plans_{}", std::process::id());
    let store = MongoStore::connect(&services::mongo_uri(), &database)
        .await
        .expect("connected");
    store
        .ensure_indexes()
        .await
        .expect("a new database takes the indexes");
    let profiler = store.database();
    profiler
        .run_command(doc! { "profile": 2 })
        .await
        .expect("profiling");
    live_a_little(&store).await;
    profiler
        .run_command(doc! { "profile": 0 })
        .await
        .expect("no more profiling");

    let profile = profiler.collection::<Document>("system.profile");
    let profile: Vec<Document> = profile
        .find(doc! {})
        .await
        .expect("a profile")
        .try_collect()
        .await
        .expect("a profile");
    let mut planned = Vec::new();
    for entry in &profile {
        let Ok(plan) = entry.get_str("planSummary") else {
            continue;
        };
        let namespace = entry.get_str("ns").expect("a namespace");
        let served = ["IDHACK", "IXSCAN", "EXPRESS"]
            .iter()
            .any(|by| plan.starts_with(by));
        // A count or a read by `$in` shows one index scan a value, joined by commas.
        assert!(
            served && !plan.contains("COLLSCAN"),
            "{namespace}: {plan} in {entry}"
        );
        assert!(
            !entry.contains_key("hasSortStage"),
            "{namespace} sorts in memory: {entry}"
        );
        let examined = |field| entry.get_i64(field).or(entry.get_i32(field).map(i64::from));
        // Sessions without a proper deadline are in no index of deadlines: one look a minute goes
        // through those that have not ended.
        let is_of_the_live = entry
            .get_document("command")
            .and_then(|command| command.get_document("filter"))
            .is_ok_and(|filter| filter.contains_key("status"));
        if !is_of_the_live
            && let (Ok(docs), Ok(keys)) = (examined("docsExamined"), examined("keysExamined"))
        {
            assert!(
                docs <= 8 && keys <= 16,
                "{namespace} reads {keys} keys, {docs} documents"
            );
        }
        let operation = entry.get_str("op").expect("an operation");
        planned.push(format!(
            "{operation} {}",
            namespace.rsplit('.').next().expect("a name")
        ));
    }
    planned.sort();
    planned.dedup();
    let expected = [
        "command lanes",
        "command users",
        "query forwards",
        "query ledger",
        "query outbox",
        "query participants",
        "query sessions",
        "query users",
        "remove ledger",
        "remove outbox",
        "update forwards",
        "update lanes",
        "update participants",
        "update sessions",
        "update users",
    ];
    let missing: Vec<_> = expected
        .iter()
        .filter(|one| !planned.contains(&(**one).to_owned()))
        .collect();
    assert!(missing.is_empty(), "not seen: {missing:?} in {planned:?}");
}

/// Every operation of a lane at least once, among many documents that are none of its business.
async fn live_a_little(store: &MongoStore) {
    let crowd = Scene::new();
    let mut lane = crowd.fence(store).await;
    for number in 0..100 {
        let name = number.to_string();
        let commit = Commit {
            ledger: vec![crowd.judged(crowd.command_id(&name))],
            forwards: vec![crowd.forward(number, 1)],
            outbox: Arc::from([crowd.record(&name)]),
            ..saving(None, &crowd.session(&name))
        };
        insist(&mut lane, &commit).await;
        insist(&mut lane, &saving_user(None, crowd.limits(&name, &[]))).await;
    }

    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let waiting = scene.session("a");
    let mut entry = scene.judged(scene.command_id("a"));
    entry.forget_at = Some(NOW);
    let forward = scene.forward(1, 1);
    let commit = Commit {
        ledger: vec![entry.clone()],
        forwards: vec![forward.clone()],
        users: vec![UserWrite::Replace {
            expected: None,
            limits: scene.limits("host", &["a"]),
        }],
        outbox: Arc::from([scene.record("a")]),
        ..saving(None, &waiting)
    };
    insist(&mut lane, &commit).await;
    lane.commit(&Commit {
        ledger: vec![entry.clone()],
        ..nothing()
    })
    .await
    .expect_err("a conflict");
    let active = scene.started(&waiting);
    let release = |name: &str| UserWrite::Release {
        user_id: scene.user(name),
        sessions: vec![scene.session_id("a")],
    };
    let users = vec![release("absent"), release("guest")];
    insist(
        &mut lane,
        &Commit {
            users,
            ..saving(Some(&waiting), &active)
        },
    )
    .await;
    let ended = scene.ended(&active);
    let users = vec![UserWrite::Replace {
        expected: Some(1),
        limits: scene.limits("host", &[]),
    }];
    insist(
        &mut lane,
        &Commit {
            users,
            acked: 1,
            ..saving(Some(&active), &ended)
        },
    )
    .await;

    let ask = Ask {
        ids: vec![entry.id.clone(), scene.command_id("b")],
        users: vec![scene.user("host"), scene.user("b")],
        sessions: vec![scene.session_id("a"), scene.session_id("b")],
        invite_codes: vec![scene.code("a"), scene.code("b")],
        forwards: vec![forward.forward, scene.forward(2, 1).forward],
    };
    lane.load(&ask).await.expect("read");
    lane.outbox(0).await.expect("read");
    lane.deadlines().await.expect("read");
    let (elsewhere, _) = store
        .fence(&Scene::new().lane, None)
        .await
        .expect("the lane is free");
    elsewhere.load(&ask).await.expect("read");
}
