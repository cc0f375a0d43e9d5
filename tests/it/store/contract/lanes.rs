//! What a lane notes about itself outside of batches, and who may.

use session_worker::store::{Error, IntakeStop, LanePosition, LaneStore, Note, StopReason, Store};

use super::super::scene::{NOW, Scene, insist, nothing};

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
