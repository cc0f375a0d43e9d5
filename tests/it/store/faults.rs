//! What a real database does to a batch: fail, stay silent, lie about what it did, step down, and
//! keep the locks of the dead. Each time the store must say what is certain, and go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::{Document, doc};
use session_worker::domain::UserId;
use session_worker::store::mongo::{MongoStore, Options, Timeouts};
use session_worker::store::{
    Ask, Commit, Conflict, Error, LaneStore, Store, StoredUser, UserWrite,
};

use super::scene::{Scene, insist, names, nothing, saving, saving_user};
use crate::services;

/// Shorter than any fail point's silence.
const SHORT: Timeouts = Timeouts {
    call: Duration::from_millis(600),
    commit_attempt: Duration::from_millis(300),
    commit: Duration::from_millis(900),
    cleanup: Duration::from_millis(500),
    fence: Duration::from_secs(5),
    lock: Duration::from_millis(100),
};

/// A store whose connections a fail point can tell from others', and a client to set it with.
pub(super) struct Stage {
    pub(super) scene: Scene,
    pub(super) store: MongoStore,
    admin: Client,
    name: String,
}

impl Stage {
    pub(super) async fn new(timeouts: Timeouts) -> Self {
        let scene = Scene::new();
        let name = scene.lane.to_string();
        let options = Options {
            app_name: name.clone(),
            timeouts,
            ..Options::default()
        };
        let admin = Client::with_uri_str(services::mongo_uri())
            .await
            .expect("a client");
        Self {
            store: super::mongo_with(&options).await,
            scene,
            admin,
            name,
        }
    }

    async fn command(&self, command: Document) {
        self.admin
            .database("admin")
            .run_command(command)
            .await
            .expect("the server obeys");
    }

    /// Makes the store's next commands called `verb` fail as `how` says, in `mode`.
    pub(super) async fn fail(
        &self,
        verb: &str,
        mode: impl Into<mongodb::bson::Bson>,
        how: Document,
    ) {
        let mut data = doc! { "failCommands": [verb], "appName": &self.name };
        data.extend(how);
        let mode = mode.into();
        self.command(doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data })
            .await;
    }

    pub(super) async fn recover(&self) {
        self.command(doc! { "configureFailPoint": "failCommand", "mode": "off" })
            .await;
    }

    async fn user(&self, lane: &impl LaneStore, id: &UserId) -> Option<StoredUser> {
        let ask = Ask {
            users: vec![id.clone()],
            ..Ask::default()
        };
        lane.load(&ask)
            .await
            .expect("the database answers")
            .users
            .remove(id)
            .map(|user| user.expect("the document is as it was written"))
    }

    /// A batch with something for most collections.
    pub(super) fn batch(&self) -> Commit {
        Commit {
            next: Some(1),
            ledger: vec![self.scene.judged(self.scene.command_id("a"))],
            users: vec![UserWrite::Replace {
                expected: None,
                limits: self.scene.limits("host", &["a"]),
            }],
            outbox: Arc::from([self.scene.record("a")]),
            ..saving(None, &self.scene.session("a"))
        }
    }
}

pub(super) fn once() -> Document {
    doc! { "times": 1 }
}

#[tokio::test]
async fn a_commit_that_was_applied_but_not_acknowledged_is_asked_for_again() {
    let _disturbing = services::disturbing().await;
    let stage = Stage::new(Timeouts::default()).await;
    let mut lane = stage.scene.fence(&stage.store).await;
    let unreplicated = doc! { "writeConcernError": { "code": 64, "errmsg": "waiting" } };
    stage
        .fail("commitTransaction", doc! { "times": 3 }, unreplicated)
        .await;
    assert_eq!(
        lane.commit(&stage.batch())
            .await
            .expect("committed at the fourth attempt"),
        1
    );
    assert_eq!(
        lane.commit(&nothing()).await.expect("the handle goes on"),
        2
    );
    stage.recover().await;
}

#[tokio::test]
async fn a_commit_request_that_was_lost_is_sent_again() {
    let _disturbing = services::disturbing().await;
    let stage = Stage::new(Timeouts::default()).await;
    let mut lane = stage.scene.fence(&stage.store).await;
    stage
        .fail(
            "commitTransaction",
            doc! { "times": 4 },
            doc! { "closeConnection": true },
        )
        .await;
    assert_eq!(
        lane.commit(&stage.batch())
            .await
            .expect("committed in the end"),
        1
    );
    stage.recover().await;
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_found_in_the_lane_after_a_new_fence() {
    let _disturbing = services::disturbing().await;
    let unreplicated = doc! { "writeConcernError": { "code": 64, "errmsg": "waiting" } };
    let lost = doc! { "closeConnection": true };
    for (how, applied) in [(unreplicated, true), (lost, false)] {
        let stage = Stage::new(SHORT).await;
        let mut lane = stage.scene.fence(&stage.store).await;
        stage.fail("commitTransaction", "alwaysOn", how).await;
        let outcome = lane.commit(&stage.batch()).await;
        assert!(matches!(outcome, Err(Error::Unknown { .. })), "{outcome:?}");
        stage.recover().await;
        let outcome = lane.commit(&stage.batch()).await;
        assert!(
            matches!(outcome, Err(Error::Fenced)),
            "nothing goes on after it: {outcome:?}"
        );

        let started = Instant::now();
        let home = Some(stage.scene.home());
        let fenced = stage.store.fence(&stage.scene.lane, home).await;
        let (mut lane, position) = fenced.expect("the lane is free");
        assert!(
            started.elapsed() < Duration::from_secs(1),
            "locks are ended, not waited for"
        );
        assert_eq!(position.batch, i64::from(applied));
        assert_eq!(
            stage.user(&lane, &stage.scene.user("host")).await.is_some(),
            applied
        );
        let stored = names(&lane.outbox(0).await.expect("the database answers"));
        assert_eq!(stored.len(), usize::from(applied));
        if !applied {
            assert_eq!(
                lane.commit(&stage.batch())
                    .await
                    .expect("nothing is in the way"),
                1
            );
        }
    }
}

#[tokio::test]
async fn a_broken_connection_within_the_batch_leaves_nothing_behind() {
    let _disturbing = services::disturbing().await;
    for verb in ["update", "insert"] {
        let stage = Stage::new(Timeouts::default()).await;
        let mut lane = stage.scene.fence(&stage.store).await;
        stage
            .fail(verb, once(), doc! { "closeConnection": true })
            .await;
        let outcome = lane.commit(&stage.batch()).await;
        assert!(
            matches!(outcome, Err(Error::Unavailable { .. })),
            "{verb}: {outcome:?}"
        );
        assert_eq!(
            stage.user(&lane, &stage.scene.user("host")).await,
            None,
            "{verb}"
        );
        assert_eq!(
            lane.commit(&stage.batch())
                .await
                .expect("nothing is in the way"),
            1
        );
        stage.recover().await;
    }
}

#[tokio::test]
async fn silence_within_the_batch_ends_in_time_and_leaves_no_lock() {
    let _disturbing = services::disturbing().await;
    for verb in ["update", "insert"] {
        let stage = Stage::new(SHORT).await;
        let mut lane = stage.scene.fence(&stage.store).await;
        let silent = doc! { "blockConnection": true, "blockTimeMS": 5_000 };
        stage.fail(verb, once(), silent).await;
        let started = Instant::now();
        let outcome = lane.commit(&stage.batch()).await;
        assert!(
            matches!(outcome, Err(Error::Unavailable { .. })),
            "{verb}: {outcome:?}"
        );
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{verb}: {:?}",
            started.elapsed()
        );

        let started = Instant::now();
        let other = Scene::new();
        let mut stranger = other.fence(&super::mongo().await).await;
        let user = saving_user(None, stage.scene.limits("host", &[]));
        assert_eq!(
            stranger
                .commit(&user)
                .await
                .expect("the user is not locked"),
            1,
            "{verb}"
        );
        assert_eq!(
            lane.commit(&nothing()).await.expect("the handle goes on"),
            1,
            "{verb}"
        );
        assert!(
            started.elapsed() < Duration::from_secs(1),
            "{verb}: {:?}",
            started.elapsed()
        );
        stage.recover().await;
    }
}

#[tokio::test]
async fn silence_at_the_commit_is_broken_by_asking_again() {
    let _disturbing = services::disturbing().await;
    let stage = Stage::new(SHORT).await;
    let mut lane = stage.scene.fence(&stage.store).await;
    let silent = doc! { "blockConnection": true, "blockTimeMS": 500 };
    stage.fail("commitTransaction", once(), silent).await;
    assert_eq!(
        lane.commit(&stage.batch())
            .await
            .expect("committed at the second attempt"),
        1
    );
    assert_eq!(
        lane.commit(&nothing()).await.expect("the handle goes on"),
        2
    );
    stage.recover().await;
}

#[tokio::test]
async fn a_storm_of_write_conflicts_is_conflicts_and_nothing_else() {
    let _disturbing = services::disturbing().await;
    let stage = Stage::new(Timeouts::default()).await;
    let mut lane = stage.scene.fence(&stage.store).await;
    stage
        .command(doc! {
            "configureFailPoint": "WTWriteConflictException",
            "mode": { "activationProbability": 0.1 },
        })
        .await;
    let mut conflicts = 0;
    for batch in 1..=10 {
        let name = batch.to_string();
        let commit = Commit {
            ledger: vec![stage.scene.judged(stage.scene.command_id(&name))],
            ..saving(None, &stage.scene.session(&name))
        };
        loop {
            match lane.commit(&commit).await {
                Ok(number) => {
                    assert_eq!(number, batch);
                    break;
                }
                Err(Error::Conflict(_)) => conflicts += 1,
                Err(error) => panic!("after {conflicts} conflicts: {error}"),
            }
        }
    }
    let calm = doc! { "configureFailPoint": "WTWriteConflictException", "mode": "off" };
    stage.command(calm).await;
    assert!(conflicts > 0, "the storm blew");
}

/// Whether an outcome is what is expected.
type Expected = fn(&Error) -> bool;

#[tokio::test]
async fn what_the_server_refuses_is_told_from_what_it_cannot_do_now() {
    let _disturbing = services::disturbing().await;
    let stage = Stage::new(Timeouts::default()).await;
    let mut lane = stage.scene.fence(&stage.store).await;
    let refused: Expected = |error| matches!(error, Error::Refused { .. });
    let unavailable: Expected = |error| matches!(error, Error::Unavailable { .. });
    let contention: Expected = |error| matches!(error, Error::Conflict(Conflict::Contention));
    for (code, expected) in [
        (2, refused),           // BadValue
        (9, refused),           // FailedToParse
        (14, refused),          // TypeMismatch
        (10_334, refused),      // BSONObjectTooLarge
        (17_280, refused),      // KeyTooLong
        (17_419, refused),      // the document would grow too large
        (112, contention),      // WriteConflict
        (8, unavailable),       // UnknownError
        (13, unavailable),      // Unauthorized
        (24, unavailable),      // LockTimeout
        (72, unavailable),      // InvalidOptions
        (91, unavailable),      // ShutdownInProgress
        (96, unavailable),      // OperationFailed
        (251, unavailable),     // NoSuchTransaction
        (371, unavailable),     // UserWritesBlocked
        (462, unavailable),     // IngressRequestRateLimitExceeded
        (8_000, unavailable),   // AtlasError
        (10_107, unavailable),  // NotWritablePrimary
        (12_501, unavailable),  // quota exceeded
        (16_500, unavailable),  // throttled by a compatible service
        (999_999, unavailable), // of a later version
    ] {
        stage
            .fail("insert", once(), doc! { "errorCode": code })
            .await;
        let error = lane
            .commit(&stage.batch())
            .await
            .expect_err("the fail point is set");
        assert!(expected(&error), "{code}: {error}");
    }
    stage.recover().await;
    assert_eq!(insist(&mut lane, &stage.batch()).await, 1);
}

#[tokio::test]
async fn whatever_a_read_fails_of_is_no_fault_of_what_was_asked() {
    let _disturbing = services::disturbing().await;
    let stage = Stage::new(Timeouts::default()).await;
    let mut lane = stage.scene.fence(&stage.store).await;
    insist(&mut lane, &stage.batch()).await;
    let ask = Ask {
        users: vec![stage.scene.user("host")],
        ..Ask::default()
    };
    for code in [2, 13, 371, 10_334, 17_419] {
        let code = doc! { "errorCode": code };
        stage.fail("find", "alwaysOn", code).await;
        let read = [
            lane.load(&ask).await.map(drop),
            lane.outbox(0).await.map(drop),
            lane.deadlines().await.map(drop),
        ];
        for outcome in read {
            let waits = matches!(outcome, Err(Error::Unavailable { .. }));
            assert!(waits, "{outcome:?}");
        }
    }
    stage.recover().await;
    assert_eq!(lane.load(&ask).await.expect("read").users.len(), 1);
}

#[tokio::test]
async fn a_server_that_blocks_writes_is_waited_for() {
    let _disturbing = services::disturbing().await;
    let stage = Stage::new(Timeouts::default()).await;
    let mut lane = stage.scene.fence(&stage.store).await;
    let block = |global: bool| doc! { "setUserWriteBlockMode": 1, "global": global };
    stage.command(block(true)).await;
    let waited = lane.commit(&stage.batch()).await;
    let fenced = stage.store.fence(&Scene::new().lane, None).await.map(drop);
    stage.command(block(false)).await;
    for outcome in [waited.map(drop), fenced] {
        let waits = matches!(outcome, Err(Error::Unavailable { .. }));
        assert!(waits, "{outcome:?}");
    }
    assert_eq!(insist(&mut lane, &stage.batch()).await, 1);
}

#[tokio::test]
async fn a_document_that_a_validator_rejects_is_refused() {
    let _undisturbed = services::undisturbed().await;
    let store = super::alone("validator").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let rule = doc! { "topicTitle": { "$ne": "forbidden" } };
    let rule = doc! { "collMod": "sessions", "validator": rule };
    store.database().run_command(rule).await.expect("set");
    let mut session = scene.session("a");
    session.session.topic_title = Some("forbidden".to_owned());
    let outcome = lane.commit(&saving(None, &session)).await;
    assert!(matches!(outcome, Err(Error::Refused { .. })), "{outcome:?}");
    session.session.topic_title = None;
    assert_eq!(insist(&mut lane, &saving(None, &session)).await, 1);
}

#[tokio::test]
async fn a_batch_that_no_document_can_hold_is_refused() {
    let _undisturbed = services::undisturbed().await;
    let scene = Scene::new();
    let mut lane = scene.fence(&super::mongo().await).await;
    let mut huge = scene.record("huge");
    huge.value = Some(vec![0; 17 * 1024 * 1024]);
    let outcome = lane
        .commit(&Commit {
            outbox: Arc::from([huge]),
            ..nothing()
        })
        .await;
    assert!(matches!(outcome, Err(Error::Refused { .. })), "{outcome:?}");

    let mut large = scene.record("large");
    large.value = Some(vec![0; 3 * 1024 * 1024]);
    let sessions = (0..2_000).map(|number| {
        let mut session = scene.session(&number.to_string());
        session.session.topic_title = Some("x".repeat(8_000));
        saving(None, &session).sessions.remove(0)
    });
    let commit = Commit {
        sessions: sessions.collect(),
        outbox: Arc::from(vec![large; 4]),
        ..nothing()
    };
    // As much as a batch may hold; a busy machine may need more than one attempt.
    assert_eq!(insist(&mut lane, &commit).await, 1);
}

#[tokio::test]
async fn a_step_down_loses_no_batch_and_repeats_none() {
    const BATCHES: i64 = 40;
    let _disturbing = services::disturbing().await;
    let stage = Stage::new(Timeouts::default()).await;
    let home = Some(stage.scene.home());
    let mut lane = stage.scene.fence(&stage.store).await;
    let (mut batch, mut stepped_down, mut noticed) = (0, false, false);
    let started = Instant::now();
    while batch < BATCHES || !noticed {
        if batch >= BATCHES / 2 && !std::mem::replace(&mut stepped_down, true) {
            let admin = stage.admin.clone();
            // Its own answer may be lost with the connections it closes.
            tokio::spawn(async move {
                let step_down = doc! { "replSetStepDown": 1, "force": true };
                let _ = admin.database("admin").run_command(step_down).await;
            });
        }
        let outbox = Arc::from([stage.scene.record(&(batch + 1).to_string())]);
        let attempted = Instant::now();
        match lane
            .commit(&Commit {
                outbox,
                ..nothing()
            })
            .await
        {
            Ok(number) => {
                batch += 1;
                assert_eq!(number, batch);
            }
            Err(Error::Unavailable { .. } | Error::Conflict(_)) => noticed = true,
            Err(Error::Unknown { .. }) => {
                let fenced = stage.store.fence(&stage.scene.lane, home).await;
                let (again, position) = fenced.expect("a primary is back");
                lane = again;
                batch = position.batch;
                noticed = true;
            }
            Err(error @ (Error::Fenced | Error::Refused { .. })) => panic!("{batch}: {error}"),
        }
        noticed |= attempted.elapsed() > Duration::from_millis(800);
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "the primary never came back"
        );
    }
    let stored = names(&lane.outbox(0).await.expect("the database answers"));
    let expected: Vec<_> = (1..=BATCHES)
        .map(|batch| (batch, vec![batch.to_string()]))
        .collect();
    assert_eq!(stored, expected);
}
