//! Views of documents that are not as the worker writes them (contract 4), on a real database: each
//! concerns its own session, user or line, and no view fails because of it.

use mongodb::bson::{Bson, DateTime, Document, doc};
use session_worker::domain::{SessionId, SessionStatus, Timestamp, UserId};
use session_worker::store::StoredSession;
use session_worker::store::mongo::{MongoStore, MongoViews};
use session_worker::store::views::{HistoryFilter, ListFilter};

use super::scene::{Scene, insist, saving_user};
use super::views::{save, session, stage};
use crate::services;

/// Seven sessions of `ann`; 0, 3 and 6 wait, 1 and 4 are active, 2 and 5 are over, the even ones are public.
struct Stored {
    store: MongoStore,
    views: MongoViews,
    all: Vec<StoredSession>,
    ann: UserId,
}

impl Stored {
    async fn new(name: &str) -> Self {
        let (store, views) = stage(name).await;
        let scene = Scene::new();
        let mut lane = scene.fence(&store).await;
        let all: Vec<StoredSession> = (0..7).map(|number| session(&scene, number)).collect();
        save(&mut lane, &all).await;
        let ann = scene.user("ann");
        Self {
            store,
            views,
            all,
            ann,
        }
    }

    fn id(&self, number: usize) -> SessionId {
        self.all[number].session.id.clone()
    }

    async fn set(&self, collection: &str, id: &str, field: &str, value: Bson) {
        let documents = self.store.database().collection::<Document>(collection);
        let update = doc! { "$set": { field: value } };
        let updated = documents.update_one(doc! { "_id": id }, update).await;
        assert_eq!(updated.expect("it is written").matched_count, 1, "{id}");
    }

    async fn set_session(&self, number: usize, field: &str, value: impl Into<Bson>) {
        let id = self.id(number);
        self.set("sessions", id.as_str(), field, value.into()).await;
    }

    fn key(&self, number: usize, user: &UserId) -> String {
        format!("{}:{user}", self.id(number))
    }

    async fn set_participant(&self, number: usize, field: &str, value: impl Into<Bson>) {
        let key = self.key(number, &self.ann);
        self.set("participants", &key, field, value.into()).await;
    }

    async fn remove_participant(&self, number: usize, user: &UserId) {
        let documents = self.store.database();
        let documents = documents.collection::<Document>("participants");
        let key = self.key(number, user);
        let removed = documents.delete_one(doc! { "_id": &key }).await;
        assert_eq!(removed.expect("it is removed").deleted_count, 1, "{key}");
    }

    /// The numbers of the sessions in `ann`'s history, page by page.
    async fn history(&self) -> Vec<usize> {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = self
                .views
                .history(&self.ann, &HistoryFilter::default(), after, 2)
                .await
                .expect("it is readable");
            seen.extend(page.items.into_iter().map(|entry| entry.session.id));
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        self.numbers(seen)
    }

    async fn listed(&self, status: Option<SessionStatus>) -> Vec<usize> {
        let filter = ListFilter {
            status,
            ..ListFilter::default()
        };
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = self.views.public_sessions(&filter, after, 1).await;
            let page = page.expect("it is readable");
            seen.extend(page.items.into_iter().map(|outline| outline.id));
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        let mut numbers = self.numbers(seen);
        numbers.sort_unstable();
        numbers
    }

    async fn open(&self) -> Vec<usize> {
        let open = self.views.open_sessions(&self.ann).await;
        let open = open.expect("it is readable").into_iter();
        self.numbers(open.map(|one| one.session.id).collect())
    }

    fn numbers(&self, ids: Vec<SessionId>) -> Vec<usize> {
        let number = |id| self.all.iter().position(|stored| stored.session.id == id);
        ids.into_iter()
            .map(|id| number(id).expect("one of them"))
            .collect()
    }
}

#[tokio::test]
async fn a5_words_of_a_later_version_are_shown_as_they_are() {
    let _undisturbed = services::undisturbed().await;
    let stored = Stored::new("later_words").await;
    stored.set_session(2, "endReason", "moderated").await;
    stored.set_session(0, "status", "paused").await;
    stored.set_session(4, "type", "class").await;
    stored.set_participant(1, "role", "guest").await;
    stored.set_participant(1, "status", "listening").await;
    stored.set_participant(1, "leaveReason", "moved").await;
    stored.set_session(3, "addedLater", doc! { "x": 1 }).await;

    assert_eq!(stored.history().await, [6, 3, 4, 5, 0, 1, 2]);
    let everything = HistoryFilter::default();
    let page = stored.views.history(&stored.ann, &everything, None, 20);
    let page = page.await.expect("it is readable");
    let line = |number: usize| {
        let found = page.items.iter();
        let mut found = found.filter(|line| line.session.id == stored.id(number));
        found.next().expect("it is shown")
    };
    assert_eq!(line(2).session.end_reason.as_deref(), Some("moderated"));
    assert_eq!(line(0).session.status, "paused");
    assert_eq!(line(4).session.kind, "class");
    assert_eq!(line(1).membership.role, "guest");
    assert_eq!(stored.listed(None).await, [0, 2, 6]);
    let seen = stored.views.session(&stored.id(1), &stored.ann).await;
    let seen = seen.expect("it is readable").expect("she is in");
    assert_eq!(seen.membership.role, "guest");
    let members = stored.views.members(&stored.id(1), &stored.ann).await;
    let members = members.expect("it is readable").expect("she is in");
    let ann = members.iter().find(|member| member.user_id == stored.ann);
    assert_eq!(ann.expect("she is shown").status, "listening");
}

#[tokio::test]
async fn a5_what_cannot_be_read_is_left_out_and_nothing_else() {
    let _undisturbed = services::undisturbed().await;
    let stored = Stored::new("left_out").await;
    assert_eq!(stored.history().await, [6, 3, 4, 5, 0, 1, 2]);
    assert_eq!(stored.open().await, [4, 1, 6, 3, 0]);
    assert_eq!(stored.listed(None).await, [0, 2, 4, 6]);

    stored.set_session(6, "topicTitle", 5).await;
    stored.set_session(2, "endReason", doc! {}).await;
    stored.set_session(4, "createdAt", "yesterday").await;
    stored
        .set_participant(1, "speakingTimeSeconds", "many")
        .await;
    assert_eq!(stored.history().await, [3, 5, 0]);
    assert_eq!(stored.open().await, [3, 0]);
    assert_eq!(stored.listed(None).await, [0]);
    // A year that RFC 3339 cannot say.
    let year_20000 = DateTime::from_millis(568_971_820_800_000);
    stored.set_session(3, "startedAt", year_20000).await;
    stored.set_participant(5, "joinedAt", year_20000).await;
    assert_eq!(stored.history().await, [0]);
    assert_eq!(stored.open().await, [0]);

    for (number, is_shown) in [(6, false), (1, false), (0, true)] {
        let id = stored.id(number);
        let seen = stored.views.session(&id, &stored.ann).await;
        assert_eq!(seen.expect("it is readable").is_some(), is_shown, "{id}");
        // The others are shown to whoever is in, whether the own part can be read or not.
        let members = stored.views.members(&id, &stored.ann).await;
        let members = members.expect("it is readable").expect("she is in");
        let all = stored.all[number].session.participants.len();
        let left_out = usize::from(number == 1);
        assert_eq!(members.len(), all - left_out, "{id}");
    }
}

#[tokio::test]
async fn a5_a_history_goes_on_behind_what_cannot_be_read_wherever_it_stands() {
    let _undisturbed = services::undisturbed().await;
    for (field, value) in [
        ("joinedAt", Bson::from("long ago")),
        ("joinedAt", Bson::Null),
        ("joinedAt", Bson::MaxKey),
        (
            "joinedAt",
            Bson::Timestamp(mongodb::bson::Timestamp {
                time: 1,
                increment: 1,
            }),
        ),
        ("sessionId", Bson::from(7)),
        ("sessionId", Bson::from("")),
        ("role", Bson::Null),
        ("leftAt", Bson::from(true)),
        ("stintStartedAt", Bson::Null),
    ] {
        let stored = Stored::new(&format!("behind_{}", uuid::Uuid::new_v4().simple())).await;
        for number in [6, 4, 5] {
            stored.set_participant(number, field, value.clone()).await;
        }
        assert_eq!(stored.history().await, [3, 0, 1, 2], "{field}: {value}");
        stored.store.database().drop().await.expect("it is dropped");
    }
    for (field, value) in [
        ("createdAt", Bson::Null),
        ("createdAt", Bson::from(5)),
        ("targetLanguageCode", Bson::from(5)),
        ("hostUserId", Bson::Null),
        ("maxParticipants", Bson::from("six")),
        ("participantCount", Bson::from(2.5)),
    ] {
        let stored = Stored::new(&format!("behind_{}", uuid::Uuid::new_v4().simple())).await;
        for number in [0, 2] {
            stored.set_session(number, field, value.clone()).await;
        }
        assert_eq!(stored.listed(None).await, [4, 6], "{field}: {value}");
        assert_eq!(stored.history().await, [6, 3, 4, 5, 1], "{field}: {value}");
        stored.store.database().drop().await.expect("it is dropped");
    }
}

#[tokio::test]
async fn a5_a_participant_or_a_session_that_is_missing_is_left_out() {
    let _undisturbed = services::undisturbed().await;
    let stored = Stored::new("missing").await;
    let host = stored.all[1].session.host_user_id.clone();
    stored.remove_participant(1, &host).await;
    let sessions = stored.store.database();
    let sessions = sessions.collection::<Document>("sessions");
    let gone = sessions
        .delete_one(doc! { "_id": stored.id(4).as_str() })
        .await;
    assert_eq!(gone.expect("it is removed").deleted_count, 1);

    assert_eq!(stored.history().await, [6, 3, 5, 0, 1, 2]);
    assert_eq!(stored.open().await, [1, 6, 3, 0]);
    let id = stored.id(1);
    let seen = stored.views.session(&id, &stored.ann).await;
    let seen = seen.expect("it is readable").expect("she is in");
    assert_eq!(seen.session.host_user_id, host);
    let members = stored.views.members(&id, &stored.ann).await;
    let members = members.expect("it is readable").expect("she is in");
    assert!(members.iter().all(|member| member.user_id != host));
    assert_eq!(members.len(), stored.all[1].session.participants.len() - 1);
    let seen = stored.views.session(&id, &host).await;
    assert_eq!(seen.expect("it is readable"), None);
}

#[tokio::test]
async fn a5_limits_are_counted_where_the_users_document_cannot_be_read() {
    let _undisturbed = services::undisturbed().await;
    let (store, views) = stage("counted").await;
    let scene = Scene::new();
    let mut lane = scene.fence(&store).await;
    let now = views.now().await.expect("the database answers");
    let mut all: Vec<StoredSession> = (0..7).map(|number| session(&scene, number)).collect();
    let ann = scene.user("ann");
    for (number, stored) in all.iter_mut().enumerate() {
        let before = if number < 4 { 0 } else { 2 * 86_400_000 };
        for one in &mut stored.session.participants {
            one.joined_at = Timestamp(now.0 - before);
        }
    }
    save(&mut lane, &all).await;
    let limits = scene.limits("ann", &["a"]);
    insist(&mut lane, &saving_user(None, limits)).await;
    let users = store.database();
    let users = users.collection::<Document>("users");
    for (field, value) in [
        ("open", Bson::from("some")),
        ("day", Bson::from(i64::MAX)),
        ("day", Bson::Null),
        ("used", Bson::from(-1)),
    ] {
        let by_id = doc! { "_id": ann.as_str() };
        let before = users.find_one(by_id.clone()).await.expect("read");
        let before = before.expect("it is there");
        let update = doc! { "$set": { field: value.clone() } };
        users.update_one(by_id.clone(), update).await.expect("it");
        let usage = views.usage(&ann).await.expect("it is readable");
        assert_eq!(usage.open, 5, "{field}: {value}");
        if usage.reset_at == now.day().end() {
            assert_eq!(usage.used_today, 4, "{field}: {value}");
        }
        users.replace_one(by_id, before).await.expect("as before");
    }
}
