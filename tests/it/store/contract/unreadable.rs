//! Documents that cannot be read affect only the callers that ask for them (contract 4).

use std::time::Duration;

use session_worker::store::memory::Document;
use session_worker::store::{Ask, Commit, Deadlines, Evidence, Found, LaneStore, UserWrite};

use super::super::scene::{NOW, Scene, insist, nothing, saving, saving_user};
use super::super::spoil::Spoil;
use super::{load, stored_session, stored_user};

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
