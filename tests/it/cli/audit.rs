//! `audit` over what the worker's own rules made, and over the same with single things broken.

use std::sync::Arc;

use mongodb::bson::{Document, doc};
use session_worker::clock::Clock as _;
use session_worker::domain::{
    Action, Admission, Command, Context, InviteCode, Message, Rules, State, Tier, UserId,
    UserLimits, admit, decide,
};
use session_worker::record::TopicPartition;
use session_worker::store::mongo::MongoStore;
use session_worker::store::{
    Commit, LaneStore as _, SessionWrite, Store as _, StoredSession, UserWrite,
};

use super::Deployment;
use crate::services;

/// Stores a private session of `user`, as a lane would, and returns its id.
async fn create(store: &MongoStore, user: &str, code: &str) -> String {
    let (now, rules) = (store.clock().now(), Rules::default());
    let message = Message::Command(Command {
        command_id: format!("create-{user}"),
        issued_at: now,
        user_id: user.to_owned(),
        tier: Tier::Free,
        action: Action::CreatePrivateSession {
            session_id: None,
            target_language_code: "fr".to_owned(),
            topic_id: None,
            topic_title: None,
            max_participants: 4,
        },
    });
    let Admission::Proceed(request) = admit(&message, &[0; 32], None, now, &rules) else {
        panic!("the command is well-formed")
    };
    let state = State {
        session: None,
        users: Vec::new(),
    };
    let invite_code = Some(InviteCode::from_stored(code.to_owned()));
    let decision = decide(
        &state,
        &request,
        &Context {
            now,
            rules: &rules,
            invite_code,
        },
    );
    let session = decision.session.expect("a session was made");
    let id = session.id.to_string();

    let user = UserId::from_stored(user.to_owned());
    let mut limits = UserLimits::unused(user, now.day());
    decision
        .users
        .iter()
        .for_each(|change| limits.apply(change, &rules));
    let lane = TopicPartition::new("session-command", 0);
    let (mut owner, position) = store.fence(&lane, Some(0)).await.expect("the lane is free");
    let after = Arc::new(StoredSession {
        session,
        home: 0,
        version: 1,
    });
    let commit = Commit {
        next: position.next,
        last: position.last,
        clock: now,
        acked: position.acked,
        deaths: 0,
        ledger: Vec::new(),
        forwards: Vec::new(),
        settled: Vec::new(),
        users: vec![UserWrite::Replace {
            expected: None,
            limits,
        }],
        sessions: vec![SessionWrite {
            before: None,
            after,
        }],
        outbox: Arc::new([]),
    };
    owner.commit(&commit).await.expect("nobody is in the way");
    id
}

async fn change(store: &MongoStore, collection: &str, id: &str, update: Document) {
    let changed = store
        .database()
        .collection::<Document>(collection)
        .update_one(doc! { "_id": id }, update)
        .await
        .expect("the database answers");
    assert_eq!(changed.modified_count, 1, "{collection}/{id}");
}

async fn offences(deployment: &Deployment, code: i32) -> Vec<(String, String)> {
    let ended = deployment.run(&["audit", "--output", "json"]).await;
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let report: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let offences = report["offences"].as_array().expect("a list").iter();
    offences
        .map(|found| (text(&found["document"]), text(&found["invariant"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_6_audit_names_the_offenders_and_exits_with_1() {
    let _undisturbed = services::undisturbed().await;
    let deployment = Deployment::new();
    let store = MongoStore::connect(&services::mongo_uri(), &deployment.database())
        .await
        .expect("the replica set answers");
    store
        .ensure_indexes()
        .await
        .expect("a new database takes the indexes");
    let counted = create(&store, "counted", "BBBBBB").await;
    let uncounted = create(&store, "uncounted", "CCCCCC").await;
    let torn = create(&store, "torn", "DDDDDD").await;
    let kept = create(&store, "kept", "FFFFFF").await;
    assert_eq!(offences(&deployment, 0).await, []);

    change(
        &store,
        "sessions",
        &counted,
        doc! { "$set": { "participantCount": 3 } },
    )
    .await;
    change(
        &store,
        "users",
        "uncounted",
        doc! { "$set": { "open": [] } },
    )
    .await;
    change(&store, "sessions", &torn, doc! { "$unset": { "home": 1 } }).await;
    change(
        &store,
        "users",
        "kept",
        doc! { "$push": { "open": "gone" } },
    )
    .await;
    let id = "session-command/0";
    change(&store, "lanes", id, doc! { "$inc": { "acked": 100_i64 } }).await;
    let mut expected: Vec<(String, String)> = [
        (format!("sessions/{counted}"), "stored_fields_agree"),
        (format!("sessions/{uncounted}"), "open_place_counted"),
        (format!("sessions/{torn}"), "document_readable"),
        ("users/kept".to_owned(), "counted_place_open"),
        ("users/torn".to_owned(), "counted_place_open"),
        (format!("lanes/{id}"), "lane_position_sane"),
    ]
    .map(|(document, invariant)| (document, invariant.to_owned()))
    .into();
    let mut found = offences(&deployment, 1).await;
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert!(found.iter().all(|(document, _)| !document.contains(&kept)));
}
