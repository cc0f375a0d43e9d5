//! The readers' side (contract 5) on a real database: every page of every filter against a model in
//! memory, also while sessions are added, and the plans that the server really chose.

use std::cmp::Reverse;
use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use session_worker::domain::{
    Participant, SessionId, SessionKind, SessionStatus, Timestamp, UserId,
};
use session_worker::store::mongo::{MongoStore, MongoViews, name};
use session_worker::store::views::{
    HistoryFilter, HistoryPlace, ListFilter, ListPlace, Participation, SessionOutline,
};
use session_worker::store::{Commit, LaneStore, SessionWrite, StoredSession};

use super::scene::{NOW, Scene, insist, nothing, saving_user};
use crate::services;

/// A database of its own: lists show everybody's sessions.
pub(super) async fn stage(name: &str) -> (MongoStore, MongoViews) {
    let database = format!("views_{name}_{}", std::process::id());
    let uri = services::mongo_uri();
    let store = MongoStore::connect(&uri, &database).await;
    let store = store.expect("the replica set answers");
    store.ensure_indexes().await.expect("a new database");
    let views = MongoViews::open(&uri, &database).await;
    (store, views.expect("the same URI"))
}

const LANGUAGES: [&str; 3] = ["es", "fr", "pt-BR"];

/// The session of this number: statuses, languages and kinds take turns, two of three have their
/// instant for themselves, and `ann` is in it, not as its host.
pub(super) fn session(scene: &Scene, number: usize) -> StoredSession {
    let waiting = scene.session(&format!("{number:04}"));
    let mut stored = match number % 3 {
        0 => waiting,
        1 => scene.started(&waiting),
        _ => scene.ended(&waiting),
    };
    stored.version = 1;
    let session = &mut stored.session;
    LANGUAGES[number / 3 % 3].clone_into(&mut session.target_language_code);
    if number.is_multiple_of(2) {
        session.kind = SessionKind::Public;
        session.invite_code = None;
    }
    let joined_at = NOW.plus(Duration::from_millis(
        10 * (number as u64 - number as u64 % 3),
    ));
    let guest = session.participants.last().expect("a host").clone();
    session.participants.push(Participant {
        user_id: scene.user("ann"),
        joined_at,
        stint_started_at: joined_at,
        ..guest
    });
    stored
}

pub(super) async fn save(lane: &mut impl LaneStore, sessions: &[StoredSession]) {
    for some in sessions.chunks(100) {
        let sessions = some.iter().map(|stored| SessionWrite {
            before: None,
            after: std::sync::Arc::new(stored.clone()),
        });
        let commit = Commit {
            sessions: sessions.collect(),
            ..nothing()
        };
        insist(lane, &commit).await;
    }
}

fn joined(stored: &StoredSession, user: &UserId) -> Timestamp {
    let participant = stored.session.participant(user);
    participant.expect("the user is in").joined_at
}

/// What a history should say, by the contract's words.
fn history(all: &[StoredSession], user: &UserId, filter: &HistoryFilter) -> Vec<SessionId> {
    let mut lines: Vec<&StoredSession> = all
        .iter()
        .filter(|stored| {
            let session = &stored.session;
            let at = joined(stored, user);
            filter.status.is_none_or(|status| session.status == status)
                && filter
                    .target_language_code
                    .as_ref()
                    .is_none_or(|code| session.target_language_code == *code)
                && filter.from.is_none_or(|from| at >= from)
                && filter.to.is_none_or(|to| at < to)
        })
        .collect();
    lines.sort_by_key(|stored| (Reverse(joined(stored, user)), stored.session.id.clone()));
    lines
        .into_iter()
        .map(|stored| stored.session.id.clone())
        .collect()
}

async fn walk(
    views: &MongoViews,
    user: &UserId,
    filter: &HistoryFilter,
    limit: usize,
) -> Vec<SessionId> {
    let (mut seen, mut after) = (Vec::new(), None::<HistoryPlace>);
    loop {
        let page = views.history(user, filter, after, limit).await;
        let page = page.expect("the database answers");
        assert!(page.items.len() <= limit);
        seen.extend(page.items.into_iter().map(|entry| entry.session.id));
        let Some(next) = page.next else { return seen };
        after = Some(next);
    }
}

/// What readers are to see of a session.
fn outline(stored: &StoredSession) -> SessionOutline {
    let session = &stored.session;
    SessionOutline {
        id: session.id.clone(),
        kind: name(session.kind).to_owned(),
        status: name(session.status).to_owned(),
        target_language_code: session.target_language_code.clone(),
        topic_id: session.topic_id.as_ref().map(ToString::to_string),
        topic_title: session.topic_title.clone(),
        host_user_id: session.host_user_id.clone(),
        min_participants: session.min_participants,
        max_participants: session.max_participants,
        participant_count: i32::try_from(session.open_count()).expect("few"),
        total_participants: i32::try_from(session.participants.len()).expect("few"),
        created_at: session.created_at,
        started_at: session.started_at,
        expires_at: session.expires_at,
        ended_at: session.ended_at,
        end_reason: session.end_reason.map(|reason| name(reason).to_owned()),
        invite_code: session
            .invite_code
            .as_ref()
            .map(|code| code.as_str().to_owned()),
    }
}

#[tokio::test]
async fn ac8_every_page_of_a_history_is_what_the_contract_says() {
    let _undisturbed = services::undisturbed().await;
    let (store, views) = stage("history").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let all: Vec<StoredSession> = (0..60).map(|number| session(&scene, number)).collect();
    save(&mut lane, &all).await;
    let ann = scene.user("ann");

    let statuses = [
        None,
        Some(SessionStatus::Waiting),
        Some(SessionStatus::Active),
        Some(SessionStatus::Ended),
    ];
    let at = |millis| Some(NOW.plus(Duration::from_millis(millis)));
    let spans = [
        (None, None),
        (at(90), at(300)),
        (at(300), at(90)),
        (at(120), None),
    ];
    for status in statuses {
        for code in [None, Some("fr"), Some("xx")] {
            for (from, to) in spans {
                let filter = HistoryFilter {
                    status,
                    target_language_code: code.map(str::to_owned),
                    from,
                    to,
                };
                let expected = history(&all, &ann, &filter);
                for limit in [1, 7, 100] {
                    let seen = walk(&views, &ann, &filter, limit).await;
                    assert_eq!(seen, expected, "{filter:?}, {limit} a page");
                }
            }
        }
    }
    let stranger = scene.user("nobody");
    assert!(
        walk(&views, &stranger, &HistoryFilter::default(), 5)
            .await
            .is_empty()
    );
    let page = views
        .history(&ann, &HistoryFilter::default(), None, 3)
        .await;
    let page = page.expect("the database answers");
    let [waiting, active, ended] = page.items.as_slice() else {
        panic!("three lines: {page:?}")
    };
    let count = |entry: &Participation| entry.session.total_participants;
    assert_eq!([waiting, active, ended].map(count), [2, 3, 2]);
    assert_eq!(waiting.membership.left_at, None);
    let last = &all[59].session;
    assert!(last.ended_at.is_some());
    assert_eq!(ended.membership.left_at, last.ended_at);
    assert_eq!(ended.session, outline(&all[59]));
}

#[tokio::test]
async fn contract_5_pages_stay_right_while_sessions_are_added() {
    let _undisturbed = services::undisturbed().await;
    let (store, views) = stage("growing").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let all: Vec<StoredSession> = (0..30).map(|number| session(&scene, number)).collect();
    save(&mut lane, &all).await;
    let ann = scene.user("ann");
    let everything = HistoryFilter::default();
    let expected = history(&all, &ann, &everything);

    let (mut seen, mut after, mut number) = (Vec::new(), None, 30);
    loop {
        let page = views.history(&ann, &everything, after, 4).await;
        let page = page.expect("the database answers");
        seen.extend(page.items.into_iter().map(|entry| entry.session.id));
        let Some(next) = page.next else { break };
        after = Some(next);
        save(&mut lane, &[session(&scene, number)]).await;
        number += 1;
    }
    assert_eq!(seen, expected, "neither doubled nor left out");
}

#[tokio::test]
async fn a_filter_that_leaves_out_nearly_all_of_a_long_history_gets_short_pages_that_go_on() {
    let _undisturbed = services::undisturbed().await;
    let (store, views) = stage("sparse").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let mut all: Vec<StoredSession> = (0..2_300).map(|number| session(&scene, number)).collect();
    for stored in &mut all[1..] {
        "es".clone_into(&mut stored.session.target_language_code);
    }
    "ja".clone_into(&mut all[0].session.target_language_code);
    save(&mut lane, &all).await;
    let ann = scene.user("ann");
    let rare = HistoryFilter {
        target_language_code: Some("ja".to_owned()),
        ..HistoryFilter::default()
    };
    let first = views.history(&ann, &rare, None, 20).await;
    let first = first.expect("the database answers");
    assert!(first.items.is_empty() && first.next.is_some(), "{first:?}");
    assert_eq!(
        walk(&views, &ann, &rare, 20).await,
        [all[0].session.id.clone()]
    );
}

/// The public sessions of a filter, in the list's order.
fn listed(all: &[StoredSession], filter: &ListFilter) -> Vec<SessionId> {
    let is_shown = |stored: &&StoredSession| {
        let session = &stored.session;
        let open = i32::try_from(session.open_count()).expect("few");
        session.kind == SessionKind::Public
            && filter.status.is_none_or(|status| session.status == status)
            && filter
                .target_language_code
                .as_ref()
                .is_none_or(|code| session.target_language_code == *code)
            && filter.min_seats.is_none_or(|seats| {
                session.ended_at.is_none() && session.max_participants - open >= seats
            })
    };
    let mut shown: Vec<&StoredSession> = all.iter().filter(is_shown).collect();
    shown.sort_by_key(|stored| {
        let session = &stored.session;
        let waits = session.status == SessionStatus::Waiting;
        let since = waits.then_some(session.created_at);
        let other = (!waits).then(|| {
            let code = session.target_language_code.clone();
            (name(session.status), code)
        });
        (!waits, since, other, session.id.clone())
    });
    shown
        .into_iter()
        .map(|stored| stored.session.id.clone())
        .collect()
}

#[tokio::test]
async fn contract_5_the_list_shows_public_sessions_alone_longest_waiting_first() {
    let _undisturbed = services::undisturbed().await;
    let (store, views) = stage("list").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let mut all: Vec<StoredSession> = (0..90).map(|number| session(&scene, number)).collect();
    for (number, stored) in all.iter_mut().enumerate() {
        // Later ones have waited longer, some of them equally long.
        let ago = Duration::from_millis(10 * (90 - number as u64 / 4));
        stored.session.created_at = NOW.plus(ago);
        stored.session.max_participants = 2 + i32::try_from(number % 5).expect("few");
    }
    save(&mut lane, &all).await;
    let statuses = [
        None,
        Some(SessionStatus::Waiting),
        Some(SessionStatus::Active),
        Some(SessionStatus::Ended),
    ];
    for status in statuses {
        for code in [None, Some("fr"), Some("xx")] {
            for min_seats in [None, Some(1), Some(4)] {
                let filter = ListFilter {
                    status,
                    target_language_code: code.map(str::to_owned),
                    min_seats,
                };
                let expected = listed(&all, &filter);
                for limit in [1, 4, 100] {
                    let (mut seen, mut after) = (Vec::new(), None::<ListPlace>);
                    loop {
                        let page = views.public_sessions(&filter, after, limit).await;
                        let page = page.expect("the database answers");
                        assert!(page.items.len() <= limit);
                        let ids = |outline: SessionOutline| outline.id;
                        seen.extend(page.items.into_iter().map(ids));
                        let Some(next) = page.next else { break };
                        after = Some(next);
                    }
                    assert_eq!(seen, expected, "{filter:?}, {limit} a page");
                }
            }
        }
    }
}

#[tokio::test]
async fn contract_5_the_open_session_to_show_is_active_before_waiting_then_the_latest_join() {
    let _undisturbed = services::undisturbed().await;
    let (store, views) = stage("open").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    // 0, 3 and 6 wait, 1 and 4 are active, 2 and 5 are over.
    let all: Vec<StoredSession> = (0..7).map(|number| session(&scene, number)).collect();
    save(&mut lane, &all).await;
    let open = views.open_sessions(&scene.user("ann")).await;
    let open: Vec<SessionId> = open
        .expect("the database answers")
        .into_iter()
        .map(|stored| stored.session.id)
        .collect();
    let expected = [4, 1, 6, 3, 0].map(|number: usize| all[number].session.id.clone());
    assert_eq!(open, expected);
    let nobody = views.open_sessions(&scene.user("nobody")).await;
    assert!(nobody.expect("the database answers").is_empty());
}

#[tokio::test]
async fn ac9_usage_is_of_today_and_a_stranger_has_used_nothing() {
    let _undisturbed = services::undisturbed().await;
    let (store, views) = stage("usage").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let now = views.now().await.expect("the database answers");
    let mut today = scene.limits("ann", &["a", "b"]);
    today.day = now.day();
    insist(&mut lane, &saving_user(None, today)).await;
    // Of a day long past.
    insist(&mut lane, &saving_user(None, scene.limits("bob", &["a"]))).await;
    for (name, open, used) in [("ann", 2, 2), ("bob", 1, 0), ("nobody", 0, 0)] {
        let usage = views.usage(&scene.user(name)).await;
        let usage = usage.expect("the database answers");
        let midnight = usage.reset_at.millis_since(now);
        assert!((0..=86_400_000).contains(&midnight), "{usage:?}");
        if name != "ann" || usage.reset_at == now.day().end() {
            assert_eq!((usage.open, usage.used_today), (open, used), "{name}");
        }
    }
}

#[tokio::test]
async fn contract_5_reads_go_to_the_primary_whatever_the_uri_prefers() {
    let _undisturbed = services::undisturbed().await;
    let (store, _) = stage("preferring").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let stored = session(&scene, 1);
    save(&mut lane, std::slice::from_ref(&stored)).await;
    // The set has no secondary to be read from.
    let options = "readPreference=secondary&readConcernLevel=local&w=1";
    let uri = format!("{}&{options}", services::mongo_uri());
    let database = store.database().name();
    let views = MongoViews::open(&uri, database).await.expect("a good URI");
    let ann = scene.user("ann");
    let page = views
        .history(&ann, &HistoryFilter::default(), None, 5)
        .await;
    assert_eq!(page.expect("the primary answers").items.len(), 1);
    let found = views.session(&stored.session.id, &ann).await;
    assert!(found.expect("the primary answers").is_some());
    views.usage(&ann).await.expect("the primary answers");
    views.cursor_key().await.expect("the primary answers");
    let store = MongoStore::connect(&uri, database).await;
    let found = store.expect("connected").session(&stored.session.id).await;
    assert!(found.expect("the primary answers").is_some());
}

#[tokio::test]
async fn every_worker_on_a_database_finds_the_same_key_for_cursors() {
    let _undisturbed = services::undisturbed().await;
    let (store, views) = stage("keys").await;
    let key = views.cursor_key().await.expect("a worker has made it");
    store.ensure_indexes().await.expect("again");
    assert_eq!(views.cursor_key().await.expect("it stays"), key);
    let (_, others) = stage("keys_of_others").await;
    assert_ne!(others.cursor_key().await.expect("made, too"), key);
}

#[tokio::test]
async fn contract_4_every_view_is_served_by_an_index_and_reads_little_more_than_it_shows() {
    let _undisturbed = services::undisturbed().await;
    let (store, views) = stage("plans").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let all: Vec<StoredSession> = (0..400).map(|number| session(&scene, number)).collect();
    save(&mut lane, &all).await;
    let other = Scene::new();
    let mut lane = other.fence(&store).await;
    let others: Vec<StoredSession> = (0..400).map(|number| session(&other, number)).collect();
    save(&mut lane, &others).await;
    let ann = scene.user("ann");

    let profiler = store.database();
    let on = profiler.run_command(doc! { "profile": 2 }).await;
    on.expect("profiling");
    let everything = HistoryFilter::default();
    let first = views
        .history(&ann, &everything, None, 10)
        .await
        .expect("read");
    let at = first.items[5].membership.joined_at;
    let bounded = HistoryFilter {
        from: Some(NOW),
        to: Some(at),
        ..HistoryFilter::default()
    };
    for filter in [&everything, &bounded] {
        let page = views.history(&ann, filter, first.next.clone(), 10).await;
        assert_eq!(page.expect("read").items.len(), 10);
    }
    for status in [
        None,
        Some(SessionStatus::Waiting),
        Some(SessionStatus::Active),
    ] {
        for code in [None, Some("fr".to_owned())] {
            let filter = ListFilter {
                status,
                target_language_code: code,
                min_seats: None,
            };
            let first = views
                .public_sessions(&filter, None, 10)
                .await
                .expect("read");
            let next = views.public_sessions(&filter, first.next, 10).await;
            assert_eq!(next.expect("read").items.len(), 10, "{filter:?}");
        }
    }
    let id = &all[1].session.id;
    views.session(id, &ann).await.expect("read").expect("there");
    views.members(id, &ann).await.expect("read").expect("there");
    let nobody = other.user("nobody");
    views.open_sessions(&nobody).await.expect("read");
    views.usage(&ann).await.expect("read");
    views.cursor_key().await.expect("read");
    let off = profiler.run_command(doc! { "profile": 0 }).await;
    off.expect("no more profiling");

    let profile = profiler.collection::<Document>("system.profile");
    let profile = profile.find(doc! { "op": "query" }).await;
    let profile: Vec<Document> = profile.expect("a profile").try_collect().await.expect("it");
    let number = |entry: &Document, field: &str| {
        let number = entry.get_i64(field).or(entry.get_i32(field).map(i64::from));
        number.unwrap_or_default()
    };
    let mut seen = std::collections::BTreeSet::new();
    for entry in &profile {
        let namespace = entry.get_str("ns").expect("a namespace");
        let plan = entry.get_str("planSummary").expect("a plan");
        assert!(
            !plan.contains("COLLSCAN") && !entry.contains_key("hasSortStage"),
            "{namespace}: {plan} in {entry}"
        );
        let (keys, docs) = (number(entry, "keysExamined"), number(entry, "docsExamined"));
        // Languages that are skipped in the list cost a key each, twice.
        assert!(
            docs <= 16 && keys <= 40,
            "{keys} keys, {docs} documents: {entry}"
        );
        seen.insert(namespace.rsplit('.').next().unwrap_or_default().to_owned());
    }
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    assert_eq!(seen, ["keys", "participants", "sessions", "users"]);
}
