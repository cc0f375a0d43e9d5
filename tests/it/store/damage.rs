//! Documents that are not as the worker writes them, in every way that somebody may have changed them:
//! each affects only who asks for it, and is named with its field, never with what it holds.

use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use session_worker::domain::SessionId;
use session_worker::store::mongo::{MongoLane, MongoStore};
use session_worker::store::{
    Ask, Commit, Conflict, Error, Found, LaneStore, Store, Unreadable, UserWrite,
};

use super::scene::{NOW, Scene, insist, nothing, saving, saving_user};
use crate::services;

/// What no error may repeat.
const SECRET: &str = "somebody's secret";

/// A lane with two sessions: `a`, to be damaged, and `b`.
struct Stage {
    scene: Scene,
    store: MongoStore,
    lane: MongoLane,
}

impl Stage {
    async fn new() -> Self {
        let scene = Scene::new();
        let store = super::mongo().await;
        let mut lane = scene.fence(&store).await;
        for name in ["a", "b"] {
            let waiting = scene.session(name);
            insist(&mut lane, &saving(None, &waiting)).await;
            insist(&mut lane, &saving(Some(&waiting), &scene.started(&waiting))).await;
        }
        Self { scene, store, lane }
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.store.database().collection(name)
    }

    fn session(&self) -> String {
        self.scene.session_id("a").to_string()
    }

    fn participant(&self, user: &str) -> String {
        format!("{}:{}", self.session(), self.scene.user(user))
    }

    async fn change(&self, collection: &str, id: &str, change: Document) {
        let collection = self.collection(collection);
        let changed = collection.update_one(doc! { "_id": id }, change).await;
        assert_eq!(changed.expect("changed").matched_count, 1, "{id}");
    }

    /// Puts `document` back as it was.
    async fn restore(&self, collection: &str, document: &Document) {
        let collection = self.collection(collection);
        let id = doc! { "_id": document.get("_id").expect("an id").clone() };
        let restored = collection.replace_one(id, document).upsert(true).await;
        restored.expect("restored");
    }

    async fn stored(&self, collection: &str, id: &str) -> Document {
        let collection = self.collection(collection);
        let found = collection.find_one(doc! { "_id": id }).await;
        found.expect("read").expect("the document is there")
    }

    async fn find(&self, name: &str) -> Option<Found> {
        find(&self.lane, &self.scene.session_id(name)).await
    }

    /// Why session `a` cannot be read, while session `b` can.
    async fn unreadable(&self) -> Unreadable {
        let other = self.find("b").await;
        assert!(matches!(other, Some(Found::Here(_))), "{other:?}");
        match self.find("a").await {
            Some(Found::Unreadable(unreadable)) => unreadable,
            found => panic!("{found:?}"),
        }
    }

    async fn is_sound(&self) -> bool {
        matches!(self.find("a").await, Some(Found::Here(_)))
    }
}

async fn find(lane: &MongoLane, id: &SessionId) -> Option<Found> {
    let ask = Ask {
        sessions: vec![id.clone()],
        ..Ask::default()
    };
    let loaded = lane.load(&ask).await;
    loaded
        .expect("no document fails a load")
        .sessions
        .remove(id)
}

/// Values of which the worker writes at most one into any field.
fn wrong() -> Vec<Bson> {
    let list: Vec<i32> = (0..20_000).collect();
    vec![
        Bson::from(SECRET),
        Bson::Double(0.5),
        Bson::Int64(i64::MIN),
        Bson::Document(doc! { "secret": SECRET }),
        Bson::from(list),
        Bson::Boolean(true),
        Bson::ObjectId(ObjectId::from_bytes([1; 12])),
        Bson::MaxKey,
    ]
}

#[tokio::test]
async fn contract_4_any_field_may_be_missing_or_of_another_type() {
    let _undisturbed = services::undisturbed().await;
    let stage = Stage::new().await;
    // Any text is a language, a title, a code or an id; any number a place or a time in milliseconds.
    let takes_text = [
        "targetLanguageCode",
        "topicId",
        "topicTitle",
        "hostUserId",
        "inviteCode",
    ];
    let takes_text = |field: &str| takes_text.contains(&field) || field == "connectionId";
    let takes_numbers = ["nextSeniority", "sequence", "seniority", "presentBeforeMs"];
    let takes_numbers =
        |field: &str| takes_numbers.contains(&field) || field == "speakingTimeSeconds";
    let documents = [
        ("sessions", stage.session()),
        ("participants", stage.participant("guest")),
    ];
    for (collection, id) in documents {
        let sound = stage.stored(collection, &id).await;
        for field in sound.keys().filter(|field| *field != "_id") {
            // A participant without its session is one that is not found.
            let is_lost = field == "sessionId";
            let mut damages = vec![doc! { "$unset": { field: "" } }];
            damages.extend(wrong().into_iter().filter_map(|value| {
                let fits = takes_text(field) && value.as_str().is_some()
                    || takes_numbers(field) && value.as_i64().is_some();
                (!fits).then(|| doc! { "$set": { field: value } })
            }));
            for damage in damages {
                if field == "nextDeadline" && damage.contains_key("$unset") && collection.is_empty()
                {
                    continue;
                }
                stage.change(collection, &id, damage.clone()).await;
                let Unreadable { document, reason } = stage.unreadable().await;
                if is_lost {
                    let of_session = format!("participants of sessions/{}", stage.session());
                    assert_eq!((document, &*reason), (of_session, "1 of 2 found"));
                } else {
                    assert_eq!(document, format!("{collection}/{id}"), "{field}");
                    assert!(reason.contains(field), "{field}: {reason}");
                }
                assert!(
                    !reason.contains("secret") && reason.len() < 200,
                    "{field}: {reason}"
                );
                stage.restore(collection, &sound).await;
            }
        }
        assert!(stage.is_sound().await);
    }
}

#[tokio::test]
async fn contract_4_participants_are_all_there_or_the_session_is_not_read() {
    let _undisturbed = services::undisturbed().await;
    let stage = Stage::new().await;
    let (host, guest) = (stage.participant("host"), stage.participant("guest"));
    let participants = stage.collection("participants");
    for (missing, named, reason) in [
        (
            &host,
            format!("participants/{host}"),
            "missing: 1 of 2 found",
        ),
        (
            &guest,
            format!("participants of sessions/{}", stage.session()),
            "1 of 2 found",
        ),
    ] {
        let sound = stage.stored("participants", missing).await;
        participants
            .delete_one(doc! { "_id": missing })
            .await
            .expect("deleted");
        let found = stage.unreadable().await;
        assert_eq!((found.document, &*found.reason), (named, reason));
        stage.restore("participants", &sound).await;
        assert!(stage.is_sound().await);
    }

    let sound = stage.stored("participants", &guest).await;
    stage
        .change("participants", &guest, doc! { "$set": { "ordinal": 0 } })
        .await;
    let found = stage.unreadable().await;
    let of_host = format!("ordinal: the same as that of participants/{host}");
    let of_guest = format!("ordinal: the same as that of participants/{guest}");
    let named = [
        (format!("participants/{guest}"), of_host),
        (format!("participants/{host}"), of_guest),
    ];
    assert!(named.contains(&(found.document, found.reason)));
    stage.restore("participants", &sound).await;

    // Found by its session, but not where a write looks for it.
    let mut moved = sound.clone();
    moved.insert("_id", "elsewhere");
    participants
        .delete_one(doc! { "_id": &guest })
        .await
        .expect("deleted");
    participants.insert_one(&moved).await.expect("inserted");
    assert_eq!(stage.unreadable().await.document, "participants/elsewhere");
    moved.insert("_id", ObjectId::from_bytes([2; 12]));
    participants
        .delete_one(doc! { "_id": "elsewhere" })
        .await
        .expect("deleted");
    participants.insert_one(&moved).await.expect("inserted");
    let named = "participants/ObjectId(\"020202020202020202020202\")";
    assert_eq!(stage.unreadable().await.document, named);
    participants
        .delete_one(doc! { "_id": ObjectId::from_bytes([2; 12]) })
        .await
        .expect("deleted");
    stage.restore("participants", &sound).await;

    let flood = (0..3_000).map(|number| {
        let mut one = sound.clone();
        one.insert("_id", format!("{}:{number}", stage.session()));
        one.insert("ordinal", number + 2);
        one.insert("userId", number.to_string());
        one
    });
    participants.insert_many(flood).await.expect("inserted");
    let found = stage.unreadable().await;
    assert!(found.document.contains(&stage.session()), "{found}");
    let one_of_many = doc! { "sessionId": stage.session(), "ordinal": { "$gte": 2 } };
    participants
        .delete_many(one_of_many)
        .await
        .expect("deleted");
    assert!(stage.is_sound().await);
}

#[tokio::test]
async fn contract_4_a_session_is_found_by_its_home_alone_elsewhere() {
    let _undisturbed = services::undisturbed().await;
    let stage = Stage::new().await;
    let elsewhere = Scene::new().fence(&stage.store).await;
    let unborn = stage.store.fence(&Scene::new().lane, None).await;
    let (of_matches, _) = unborn.expect("the lane is free");
    let sound = stage.stored("sessions", &stage.session()).await;
    let by_code = Ask {
        invite_codes: vec![stage.scene.code("a")],
        ..Ask::default()
    };
    let id = stage.scene.session_id("a");

    // Everything but home and code may be missing.
    let home = stage.scene.home();
    let code = stage.scene.code("a").as_str().to_owned();
    let bare = doc! { "_id": stage.session(), "home": home, "inviteCode": &code };
    stage.restore("sessions", &bare).await;
    for lane in [&elsewhere, &of_matches] {
        let loaded = lane.load(&by_code).await.expect("read");
        assert_eq!(loaded.invite_codes.get(&stage.scene.code("a")), Some(&id));
        let found = loaded.sessions.get(&id);
        assert!(
            matches!(found, Some(Found::Elsewhere { home: at }) if *at == home),
            "{found:?}"
        );
    }

    // A list of codes is found by each of them.
    let listed = doc! { "$set": { "inviteCode": ["other", &code] } };
    stage.change("sessions", &stage.session(), listed).await;
    let loaded = stage.lane.load(&by_code).await.expect("read");
    assert_eq!(loaded.invite_codes.get(&stage.scene.code("a")), Some(&id));
    assert!(matches!(
        loaded.sessions.get(&id),
        Some(Found::Unreadable(_))
    ));
    assert_eq!(loaded.invite_codes.len(), 1);

    for home in [
        Bson::from("0"),
        Bson::from(-1),
        Bson::from(1.0),
        Bson::from(1_i64 << 40),
        Bson::Null,
    ] {
        stage.restore("sessions", &sound).await;
        stage
            .change(
                "sessions",
                &stage.session(),
                doc! { "$set": { "home": home } },
            )
            .await;
        for lane in [&stage.lane, &elsewhere, &of_matches] {
            match find(lane, &id).await {
                Some(Found::Unreadable(Unreadable { document, reason })) => {
                    assert_eq!(document, format!("sessions/{id}"));
                    assert!(reason.contains("home"), "{reason}");
                }
                found => panic!("{found:?}"),
            }
        }
    }
    stage.restore("sessions", &sound).await;
    assert!(stage.is_sound().await);

    // An `_id` that is no text is found by its code all the same.
    let sessions = stage.collection("sessions");
    let foreign =
        doc! { "_id": 7, "home": home, "inviteCode": stage.scene.code("by hand").as_str() };
    sessions.insert_one(foreign).await.expect("inserted");
    let ask = Ask {
        invite_codes: vec![stage.scene.code("by hand")],
        ..Ask::default()
    };
    let loaded = stage.lane.load(&ask).await.expect("read");
    let id = &loaded.invite_codes[&stage.scene.code("by hand")];
    let Some(Found::Unreadable(unreadable)) = loaded.sessions.get(id) else {
        panic!("{loaded:?}");
    };
    assert_eq!(unreadable.document, "sessions/7");
    sessions
        .delete_one(doc! { "_id": 7 })
        .await
        .expect("deleted");
}

#[tokio::test]
async fn contract_4_a_deadline_that_is_no_date_is_named_whatever_it_is() {
    let _undisturbed = services::undisturbed().await;
    let stage = Stage::new().await;
    let b = stage.scene.session_id("b");
    let deadlines = async || stage.lane.deadlines().await.expect("no document fails it");
    let sound = stage.stored("sessions", &stage.session()).await;
    let mut damages = vec![doc! { "$unset": { "nextDeadline": "" } }];
    let mut wrong = wrong();
    wrong.extend([
        Bson::Null,
        Bson::DateTime(DateTime::from_millis(0)),
        Bson::DateTime(DateTime::from_millis(-1)),
        Bson::Array(vec![Bson::DateTime(DateTime::from_millis(NOW.0))]),
        Bson::MinKey,
    ]);
    damages.extend(
        wrong
            .into_iter()
            .map(|value| doc! { "$set": { "nextDeadline": value } }),
    );
    for damage in damages {
        stage
            .change("sessions", &stage.session(), damage.clone())
            .await;
        let found = deadlines().await;
        let ids: Vec<_> = found.sessions.iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [&b], "{damage}");
        assert_eq!(
            found.unreadable.len(),
            1,
            "{damage}: {:?}",
            found.unreadable
        );
        let Unreadable { document, reason } = &found.unreadable[0];
        assert_eq!(*document, format!("sessions/{}", stage.session()));
        assert!(reason.starts_with("nextDeadline"), "{reason}");
        stage.restore("sessions", &sound).await;
    }
    assert_eq!(deadlines().await.sessions.len(), 2);

    // Of a session that is over nothing is due.
    let ended = doc! { "$set": { "status": "ended", "nextDeadline": null } };
    stage.change("sessions", &stage.session(), ended).await;
    let found = deadlines().await;
    assert_eq!((found.sessions.len(), found.unreadable), (1, Vec::new()));
}

#[tokio::test]
async fn contract_4_a_user_is_read_whole_or_not_at_all() {
    let _undisturbed = services::undisturbed().await;
    let mut stage = Stage::new().await;
    for name in ["a", "b"] {
        let limits = stage.scene.limits(name, &["a"]);
        insist(&mut stage.lane, &saving_user(None, limits)).await;
    }
    let id = stage.scene.user("a").to_string();
    let sound = stage.stored("users", &id).await;
    let ask = Ask {
        users: vec![stage.scene.user("a"), stage.scene.user("b")],
        ..Ask::default()
    };
    let many: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let mut damages = vec![
        doc! { "$set": { "open": many } },
        doc! { "$set": { "version": 0_i64 } },
        doc! { "$set": { "version": i64::MAX } },
    ];
    for field in ["open", "day", "used", "failedCodes", "version"] {
        damages.push(doc! { "$unset": { field: "" } });
        let values = wrong().into_iter();
        let values = values.filter(|value| field != "day" || value.as_i64().is_none());
        damages.extend(values.map(|value| doc! { "$set": { field: value } }));
    }
    for damage in damages {
        stage.change("users", &id, damage.clone()).await;
        let loaded = stage
            .lane
            .load(&ask)
            .await
            .expect("no document fails a load");
        let unreadable = loaded.users[&stage.scene.user("a")]
            .as_ref()
            .expect_err("damaged");
        assert_eq!(unreadable.document, format!("users/{id}"), "{damage:.80}");
        assert!(!unreadable.reason.contains("secret"), "{unreadable}");
        assert!(loaded.users[&stage.scene.user("b")].is_ok());

        // Neither what it holds nor its version keeps others from being saved.
        let releases = ["a", "b", "unknown"].map(|name| UserWrite::Release {
            user_id: stage.scene.user(name),
            sessions: vec![stage.scene.session_id("a")],
        });
        let commit = Commit {
            users: releases.to_vec(),
            ..nothing()
        };
        stage
            .lane
            .commit(&commit)
            .await
            .expect("nothing is in the way");
        stage.restore("users", &sound).await;
    }
}

#[tokio::test]
async fn contract_4_memory_is_read_whole_or_not_at_all_and_forgotten_all_the_same() {
    let _undisturbed = services::undisturbed().await;
    let mut stage = Stage::new().await;
    let (entry, forward) = (
        stage.scene.judged(stage.scene.command_id("a")),
        stage.scene.forward(1, 1),
    );
    let commit = Commit {
        ledger: vec![entry.clone()],
        forwards: vec![forward.clone()],
        ..nothing()
    };
    insist(&mut stage.lane, &commit).await;
    let ask = Ask {
        ids: vec![entry.id.clone()],
        forwards: vec![forward.forward.clone()],
        ..Ask::default()
    };
    let key = format!("command:{}", entry.id.as_str());
    let sound = stage.stored("ledger", &key).await;
    let unsayable = doc! { "result.code": "of a later version" };
    let mut damages = vec![
        doc! { "$set": unsayable },
        doc! { "$unset": { "result.decidedAt": "" } },
    ];
    for field in ["fingerprint", "origin", "result"] {
        damages.push(doc! { "$unset": { field: "" } });
        damages.extend(
            wrong()
                .into_iter()
                .map(|value| doc! { "$set": { field: value } }),
        );
    }
    for damage in damages {
        stage.change("ledger", &key, damage).await;
        let loaded = stage
            .lane
            .load(&ask)
            .await
            .expect("no document fails a load");
        let unreadable = loaded.ledger[&entry.id].as_ref().expect_err("damaged");
        assert_eq!(unreadable.document, format!("ledger/{key}"));
        assert!(!unreadable.reason.contains("secret"), "{unreadable}");
        let past = DateTime::from_millis(NOW.minus(Duration::from_secs(1)).0);
        stage
            .change("ledger", &key, doc! { "$set": { "forgetAt": past } })
            .await;
        let loaded = stage
            .lane
            .load(&ask)
            .await
            .expect("no document fails a load");
        assert!(loaded.ledger.is_empty(), "{loaded:?}");
        stage.restore("ledger", &sound).await;
    }

    let key = format!("{}>1", forward.forward.origin);
    for value in wrong() {
        stage
            .change("forwards", &key, doc! { "$set": { "fingerprint": value } })
            .await;
        let loaded = stage
            .lane
            .load(&ask)
            .await
            .expect("no document fails a load");
        let unreadable = loaded.forwards[&forward.forward]
            .as_ref()
            .expect_err("damaged");
        assert_eq!(unreadable.document, format!("forwards/{key}"));
    }
}

#[tokio::test]
async fn contract_3_7_a_lane_or_outbox_that_cannot_be_read_names_itself() {
    let _undisturbed = services::undisturbed().await;
    let mut stage = Stage::new().await;
    let outbox = Commit {
        outbox: [stage.scene.record("a")].into(),
        ..nothing()
    };
    let batch = insist(&mut stage.lane, &outbox).await;
    let key = format!("{}#{batch:019}", stage.scene.lane);
    stage
        .change("outbox", &key, doc! { "$set": { "records": "x" } })
        .await;
    let error = stage.lane.outbox(0).await.expect_err("damaged");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(
        error.to_string().contains(&format!("outbox/{key}")),
        "{error}"
    );

    let key = stage.scene.lane.to_string();
    let sound = stage.stored("lanes", &key).await;
    let fence = async || {
        stage
            .store
            .fence(&stage.scene.lane, Some(stage.scene.home()))
            .await
    };
    for (field, value) in [
        ("epoch", Bson::from("x")),
        ("batch", Bson::from(0.5)),
        ("next", Bson::from(-1_i64)),
        ("acked", Bson::Null),
        (
            "last",
            Bson::from(doc! { "offset": 1_i64, "timestamp": 1_i64, "crc": -1_i64 }),
        ),
    ] {
        stage
            .change("lanes", &key, doc! { "$set": { field: value } })
            .await;
        let error = fence().await.map(drop).expect_err("damaged");
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("lanes/{key}")) && text.contains(field),
            "{text}"
        );
        stage.restore("lanes", &sound).await;
    }
    // What only others read stops nothing.
    let notes = doc! { "$set": { "intake": "x", "rules": 7, "owner": "x" } };
    stage.change("lanes", &key, notes).await;
    fence().await.map(drop).expect("the lane is free");
}

#[tokio::test]
async fn contract_3_7_participants_without_a_session_stop_only_their_session() {
    let _undisturbed = services::undisturbed().await;
    let mut stage = Stage::new().await;
    let sessions = stage.collection("sessions");
    sessions
        .delete_one(doc! { "_id": stage.session() })
        .await
        .expect("deleted");
    assert!(stage.find("a").await.is_none());
    let again = saving(None, &stage.scene.session("a"));
    let outcome = stage.lane.commit(&again).await;
    let in_the_way = matches!(outcome, Err(Error::Conflict(Conflict::Session)));
    assert!(in_the_way, "{outcome:?}");
    let Unreadable { document, reason } = stage.unreadable().await;
    assert!(
        document.starts_with(&format!("participants/{}:", stage.session())),
        "{document}"
    );
    assert_eq!(reason, "sessionId: there is no such session");
    let strays = doc! { "sessionId": stage.session() };
    stage
        .collection("participants")
        .delete_many(strays)
        .await
        .expect("deleted");
    insist(&mut stage.lane, &again).await;
    assert!(stage.is_sound().await);
}
