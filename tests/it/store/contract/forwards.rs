//! The evidence that a record was sent home.

use session_worker::store::{Ask, Commit, Evidence, Store};

use super::super::scene::{Scene, insist, nothing};
use super::load;

pub(crate) async fn a_forward_counts_only_as_it_was_sent<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let sent = scene.forward(5, 3);
    // Twice, as after an operator moved the lane back.
    for _ in 0..2 {
        insist(
            &mut lane,
            &Commit {
                forwards: vec![sent.clone()],
                ..nothing()
            },
        )
        .await;
    }
    let mut content = sent.forward.clone();
    content.fingerprint = [0; 32];
    let mut home = sent.forward.clone();
    home.home = 4;
    let mut origin = sent.forward.clone();
    origin.origin.offset = 6;
    let forwards = vec![content, home, origin, sent.forward.clone()];
    let known = load(
        &lane,
        Ask {
            forwards,
            ..Ask::default()
        },
    )
    .await
    .forwards;
    assert_eq!(
        known.into_iter().collect::<Vec<_>>(),
        [(sent.forward, Ok(Evidence::Sent))]
    );
}

pub(crate) async fn a_settled_forward_is_known_as_settled<S: Store>(store: &S) {
    let scene = Scene::new();
    let mut lane = scene.fence(store).await;
    let (first, second) = (scene.forward(1, 1), scene.forward(2, 1));
    let commit = Commit {
        forwards: vec![first.clone(), second.clone()],
        ..nothing()
    };
    insist(&mut lane, &commit).await;
    let settling = Commit {
        settled: vec![first.forward.clone()],
        ..nothing()
    };
    insist(&mut lane, &settling).await;
    let ask = Ask {
        forwards: vec![first.forward.clone(), second.forward.clone()],
        ..Ask::default()
    };
    let loaded = load(&lane, ask.clone()).await;
    assert_eq!(loaded.forwards[&first.forward], Ok(Evidence::Settled));
    assert_eq!(loaded.forwards[&second.forward], Ok(Evidence::Sent));
    let again = Commit {
        forwards: vec![first.clone()],
        ..nothing()
    };
    insist(&mut lane, &again).await;
    let loaded = load(&lane, ask).await;
    assert_eq!(
        loaded.forwards[&first.forward],
        Ok(Evidence::Sent),
        "it was sent again"
    );
}
