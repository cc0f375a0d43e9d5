//! The HTTP views (contract 5) of two real workers on one database, as readers see them.

use std::sync::LazyLock;

use jsonwebtoken::{EncodingKey, Header};
use mongodb::bson::{Bson, Document, doc};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::client::{Client, now, text, unique};
use super::deployment::{Deployment, Parts, Worker};
use crate::services;

pub(super) const SECRET: &str = "a-secret-of-tests-that-is-long-enough";
const ISSUER: &str = "https://id.example";

/// A deployment, its workers, and one who reads over HTTP.
pub(super) struct Running {
    pub(super) client: Client,
    pub(super) deployment: Deployment,
    pub(super) workers: [Worker; 2],
}

static RUNNING: LazyLock<Mutex<Option<&'static Running>>> = LazyLock::new(Mutex::default);

pub(super) async fn running() -> &'static Running {
    let mut running = RUNNING.lock().await;
    if let Some(running) = *running {
        return running;
    }
    let secret = format!("http.auth.jwtSecret={SECRET}");
    let issuer = format!("http.auth.issuer={ISSUER}");
    let settings = ["http.auth.mode=jwt", secret.as_str(), issuer.as_str()];
    let deployment = Deployment::prepared(Parts::shared(), &settings).await;
    let workers = tokio::join!(deployment.worker(&[]), deployment.worker(&[]));
    let started = Running {
        client: Client::new(&deployment),
        deployment,
        workers: workers.into(),
    };
    running.insert(Box::leak(Box::new(started)))
}

/// An answer: status, headers, JSON.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.body
    }

    #[track_caller]
    pub(super) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, text(&self.body["code"]).as_str()),
            (status, code),
            "{self:?}"
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
    }
}

pub(super) async fn send(method: Method, url: &str, headers: &[(&str, &str)]) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build();
    let mut request = client.expect("a client").request(method, url);
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).expect("a name");
        request = request.header(name, HeaderValue::try_from(*value).expect("a value"));
    }
    let answer = request.send().await.expect("the worker listens");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.bytes().await.expect("the answer is whole");
    Answer {
        status,
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

/// What `worker` answers to `user`, who has a good token.
pub(super) async fn get(worker: &Worker, user: &str, path: &str) -> Answer {
    get_with(worker, &token(&claims(user)), path).await
}

pub(super) async fn get_with(worker: &Worker, token: &str, path: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    send(
        Method::GET,
        &worker.url(path),
        &[("authorization", &bearer)],
    )
    .await
}

pub(super) fn claims(user: &str) -> Value {
    json!({"sub": user, "iss": ISSUER, "exp": now() / 1000 + 600})
}

pub(super) fn token(claims: &Value) -> String {
    signed(claims, SECRET)
}

pub(super) fn signed(claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), claims, &key).expect("a token")
}

/// A token that may read any session.
pub(super) fn reader() -> String {
    let mut claims = claims("matchmaking");
    claims["scope"] = json!("profile sessions:read:any");
    token(&claims)
}

pub(super) fn of(session: &str) -> Value {
    json!({"sessionId": session})
}

pub(super) fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| text(&item["sessionId"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ac8_a_history_says_what_was_and_letter_for_letter() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, workers, ..
    } = running().await;
    let [ann, bob] = ["ann", "bob"].map(unique);
    let body = json!({"targetLanguageCode": "pt-BR", "topicId": "t1", "topicTitle": "Food"});
    let made = client.accepted(&ann, "CreatePrivateSession", body).await;
    let (ended, code) = (text(&made["sessionId"]), made["inviteCode"].clone());
    client
        .accepted(&bob, "JoinSession", json!({"inviteCode": code}))
        .await;
    client.accepted(&ann, "StartSession", of(&ended)).await;
    client.accepted(&bob, "LeaveSession", of(&ended)).await;
    client.accepted(&ann, "EndSession", of(&ended)).await;
    let active = text(&client.matched(&[&bob, &ann]).await["sessionId"]);
    let (waiting, _) = client.private(&ann, 4).await;

    let page = get(&workers[0], &ann, "/sessions/history").await.ok();
    assert_eq!(ids(&page), [waiting.clone(), active.clone(), ended.clone()]);
    assert_eq!(page["nextCursor"], Value::Null);
    let last = &page["items"][2];
    let events = client.events(&ended, "session.ended").await;
    let snapshot = &events.last().expect("events")["session"];
    let statistics = &events.last().expect("events")["statistics"];
    let instant = |millis: &Value| {
        let at = time::OffsetDateTime::from_unix_timestamp_nanos(
            i128::from(millis.as_i64().expect("millis")) * 1_000_000,
        );
        let rfc3339 = time::format_description::well_known::Rfc3339;
        at.expect("an instant").format(&rfc3339).expect("RFC 3339")
    };
    let same = |shown: &Value, millis: &Value| {
        let rfc3339 = time::format_description::well_known::Rfc3339;
        let shown = time::OffsetDateTime::parse(&text(shown), &rfc3339).expect("RFC 3339");
        assert_eq!(shown.format(&rfc3339).expect("RFC 3339"), instant(millis));
    };
    same(
        &last["joinedAt"],
        &statistics["participants"][0]["joinedAt"],
    );
    same(&last["leftAt"], &statistics["participants"][0]["leftAt"]);
    same(&last["startedAt"], &snapshot["startedAt"]);
    same(&last["endedAt"], &snapshot["endedAt"]);
    let mut shown = last.clone();
    for instant in ["joinedAt", "leftAt", "startedAt", "endedAt"] {
        assert!(text(&shown[instant]).ends_with('Z'), "{shown}");
        shown.as_object_mut().expect("an item").remove(instant);
    }
    assert_eq!(
        shown,
        json!({
            "sessionId": ended, "type": "private", "status": "ended",
            "targetLanguageCode": "pt-BR", "topicId": "t1", "topicTitle": "Food",
            "role": "host", "participantCount": 2, "duration": statistics["durationSeconds"],
            "speakingTimeSeconds": 0, "endReason": "host_ended",
        })
    );
    let first = &page["items"][0];
    for absent in [
        "topicId",
        "topicTitle",
        "leftAt",
        "startedAt",
        "endedAt",
        "endReason",
    ] {
        assert_eq!(
            first.get(absent),
            Some(&Value::Null),
            "{absent} is there, as null"
        );
    }
    assert_eq!(
        (&first["status"], &first["duration"]),
        (&json!("waiting"), &json!(0))
    );

    let of_bob = get(&workers[1], &bob, "/sessions/history").await.ok();
    assert_eq!(ids(&of_bob), [active.clone(), ended.clone()]);
    assert_eq!(of_bob["items"][0]["role"], "host");
    assert_eq!(of_bob["items"][1]["role"], "participant");
    for (filter, expected) in [
        ("status=active", vec![&active]),
        ("status=ended&targetLanguageCode=pt-BR", vec![&ended]),
        ("targetLanguageCode=fr", vec![&waiting, &active]),
        ("targetLanguageCode=ja", vec![]),
        (
            "from=2026-01-01T00:00:00Z&to=2999-01-01T00:00:00%2B01:00",
            vec![&waiting, &active, &ended],
        ),
        ("to=2026-01-01T00:00:00Z", vec![]),
    ] {
        let page = get(&workers[0], &ann, &format!("/sessions/history?{filter}")).await;
        assert_eq!(
            ids(&page.ok()).iter().collect::<Vec<_>>(),
            expected,
            "{filter}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_pages_go_on_at_any_worker_while_sessions_are_added_and_for_their_caller_alone()
{
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, workers, ..
    } = running().await;
    let [ann, bob] = ["ann", "bob"].map(unique);
    let mut made = Vec::new();
    for _ in 0..5 {
        let (session, _) = client.private(&ann, 4).await;
        client.accepted(&ann, "EndSession", of(&session)).await;
        made.insert(0, session);
    }
    let first = get(&workers[0], &ann, "/sessions/history?limit=2&status=ended").await;
    assert_eq!(first.status, 200, "{first:?}");
    let cursor = text(&first.body["nextCursor"]);
    let link = first.headers["link"].to_str().expect("a link").to_owned();
    let next = format!("/sessions/history?limit=2&status=ended&cursor={cursor}");
    assert_eq!(link, format!("<{next}>; rel=\"next\""));
    let (newer, _) = client.private(&ann, 4).await;
    client.accepted(&ann, "EndSession", of(&newer)).await;

    let mut seen = ids(&first.body);
    let second = get(&workers[1], &ann, &next).await.ok();
    seen.extend(ids(&second));
    let third = text(&second["nextCursor"]);
    // The number of lines may change; the filters may not.
    let last = format!("/sessions/history?limit=50&cursor={third}&status=ended");
    let last = get(&workers[0], &ann, &last).await;
    assert!(!last.headers.contains_key("link"), "{last:?}");
    let last = last.ok();
    assert_eq!(last["nextCursor"], Value::Null);
    seen.extend(ids(&last));
    assert_eq!(seen, made);

    get(&workers[0], &bob, &next)
        .await
        .is_problem(400, "invalid_argument");
    for others in ["", "&status=active", "&status=ended&targetLanguageCode=fr"] {
        let path = format!("/sessions/history?cursor={cursor}{others}");
        get(&workers[0], &ann, &path)
            .await
            .is_problem(400, "invalid_argument");
    }
    let list = format!("/sessions?status=ended&cursor={cursor}");
    get_with(&workers[0], &reader(), &list)
        .await
        .is_problem(400, "invalid_argument");
    for forged in ["x", "eyJ4IjoxfQ", &cursor[1..], &format!("{cursor}A")] {
        let path = format!("/sessions/history?status=ended&cursor={forged}");
        get(&workers[0], &ann, &path)
            .await
            .is_problem(400, "invalid_argument");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_a_session_is_shown_to_its_members_now_or_once_and_to_nobody_else() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, workers, ..
    } = running().await;
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(unique);
    let (session, code) = client.private(&ann, 4).await;
    client
        .accepted(&bob, "JoinSession", json!({"inviteCode": code}))
        .await;
    let path = format!("/sessions/{session}");
    let people = format!("{path}/participants");

    let seen = get(&workers[0], &bob, &path).await.ok();
    assert_eq!(seen["inviteCode"], json!(code));
    assert_eq!(seen["role"], "participant");
    let events = client.events(&session, "participant.joined").await;
    let snapshot = events.last().expect("events")["session"].as_object();
    for (field, value) in snapshot.expect("a snapshot") {
        if !field.ends_with("At") {
            let joined = if field == "participantCount" {
                &json!(2)
            } else {
                value
            };
            assert_eq!(&seen[field], joined, "{field}");
        }
    }
    let mut fields: Vec<&str> = seen
        .as_object()
        .expect("JSON")
        .keys()
        .map(String::as_str)
        .collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "createdAt",
            "endedAt",
            "expiresAt",
            "hostUserId",
            "inviteCode",
            "maxParticipants",
            "minParticipants",
            "participantCount",
            "role",
            "sessionId",
            "startedAt",
            "status",
            "targetLanguageCode",
            "topicId",
            "topicTitle",
            "type",
        ]
    );

    client.accepted(&bob, "LeaveSession", of(&session)).await;
    let seen = get(&workers[1], &bob, &path).await.ok();
    assert_eq!(seen["inviteCode"], Value::Null, "for open members");
    assert_eq!(seen["participantCount"], 1);
    let seen = get(&workers[1], &bob, &people).await.ok();
    let people_seen = seen["items"].as_array().expect("items");
    let users: Vec<_> = people_seen.iter().map(|one| text(&one["userId"])).collect();
    assert_eq!(users, [ann.clone(), bob.clone()], "in order of first join");
    assert_eq!(people_seen[1]["status"], "disconnected");
    assert_ne!(people_seen[1]["leftAt"], Value::Null);
    let mut fields: Vec<&str> = people_seen[0]
        .as_object()
        .expect("JSON")
        .keys()
        .map(String::as_str)
        .collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "joinedAt",
            "leftAt",
            "presentSeconds",
            "rejoin",
            "role",
            "speakingTimeSeconds",
            "status",
            "userId",
        ]
    );

    for path in [&path, &people] {
        get(&workers[0], &eve, path)
            .await
            .is_problem(404, "session_not_found");
        // The scope is for the list.
        get_with(&workers[0], &reader(), path)
            .await
            .is_problem(404, "session_not_found");
    }
    let unknown = get(&workers[0], &eve, "/sessions/nothing").await;
    unknown.is_problem(404, "session_not_found");
    let strangers = get(&workers[0], &eve, &path).await;
    assert_eq!(unknown.body, strangers.body, "nobody learns that it exists");
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_the_current_session_is_active_before_waiting_then_the_latest() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, workers, ..
    } = running().await;
    let [ann, bob] = ["ann", "bob"].map(unique);
    let nothing = get(&workers[0], &ann, "/sessions/current").await;
    nothing.is_problem(404, "no_current_session");
    let active = text(&client.matched(&[&ann, &bob]).await["sessionId"]);
    let (older, code) = client.private(&ann, 4).await;
    let (newer, _) = client.private(&ann, 4).await;
    let current = get(&workers[1], &ann, "/sessions/current").await.ok();
    assert_eq!(text(&current["sessionId"]), active);
    assert_eq!(current["alsoIn"], json!([newer, older]));
    assert_eq!(current["inviteCode"], Value::Null);
    client.accepted(&ann, "LeaveSession", of(&active)).await;
    let current = get(&workers[0], &ann, "/sessions/current").await.ok();
    assert_eq!(
        (text(&current["sessionId"]), &current["alsoIn"]),
        (newer.clone(), &json!([older]))
    );
    let one = get(&workers[0], &ann, &format!("/sessions/{newer}"))
        .await
        .ok();
    let mut same = current.clone();
    same.as_object_mut().expect("JSON").remove("alsoIn");
    assert_eq!(same, one, "as /sessions/{{id}}");
    // Whoever comes back joins anew.
    client
        .accepted(&bob, "JoinSession", json!({"inviteCode": code}))
        .await;
    client.accepted(&ann, "LeaveSession", of(&older)).await;
    client
        .accepted(&ann, "JoinSession", json!({"inviteCode": code}))
        .await;
    let current = get(&workers[0], &ann, "/sessions/current").await.ok();
    assert_eq!(
        (text(&current["sessionId"]), &current["alsoIn"]),
        (older, &json!([newer]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_the_list_takes_the_scope_and_shows_public_sessions_alone() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, workers, ..
    } = running().await;
    let [ann, bob] = ["ann", "bob"].map(unique);
    let active = text(&client.matched(&[&ann, &bob]).await["sessionId"]);
    let (private, _) = client.private(&ann, 4).await;
    let path = "/sessions?status=active&targetLanguageCode=fr";
    get(&workers[0], &ann, path)
        .await
        .is_problem(403, "forbidden");
    let mut seen = Vec::new();
    let mut next = format!("{path}&limit=1");
    loop {
        let page = get_with(&workers[0], &reader(), &next).await;
        let link = page.headers.get("link").cloned();
        let page = page.ok();
        for item in page["items"].as_array().expect("items") {
            assert_eq!(
                (&item["type"], &item["status"]),
                (&json!("public"), &json!("active"))
            );
            assert_eq!(item.get("inviteCode"), None);
        }
        seen.extend(ids(&page));
        let Some(link) = link else { break };
        let link = link.to_str().expect("a link").to_owned();
        next = link
            .trim_start_matches('<')
            .trim_end_matches(">; rel=\"next\"")
            .to_owned();
    }
    assert!(
        seen.contains(&active) && !seen.contains(&private),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_limits_are_shown_to_oneself_and_to_whoever_may_read_any() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, workers, ..
    } = running().await;
    let [ann, bob] = ["ann", "bob"].map(unique);
    let path = format!("/users/{ann}/limits");
    let unused = get(&workers[0], &ann, &path).await.ok();
    assert_eq!(
        (&unused["open"], &unused["usedToday"]),
        (&json!(0), &json!(0))
    );
    let (session, _) = client.private(&ann, 4).await;
    client.private(&ann, 4).await;
    client.accepted(&ann, "EndSession", of(&session)).await;
    let mut used = get(&workers[1], &ann, &path).await.ok();
    let reset_at = text(
        &used
            .as_object_mut()
            .expect("JSON")
            .remove("resetAt")
            .expect("there"),
    );
    assert!(reset_at.ends_with("T00:00:00.000Z"), "{reset_at}");
    let expected = json!({"open": 1, "concurrentLimit": 3, "usedToday": 2, "dailyLimit": 10});
    assert_eq!(used, expected);
    get(&workers[0], &bob, &path)
        .await
        .is_problem(403, "forbidden");
    let any = get_with(&workers[0], &reader(), &path).await.ok();
    assert_eq!(any["usedToday"], 2);
    get_with(&workers[0], &reader(), "/users/%20/limits")
        .await
        .is_problem(400, "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_5_reads_see_everything_whose_result_is_published() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client, workers, ..
    } = running().await;
    let [ann, bob] = ["ann", "bob"].map(unique);
    let (session, code) = client.private(&ann, 2).await;
    let path = format!("/sessions/{session}");
    for turn in 0..12 {
        let (branch, body, open) = if turn % 2 == 0 {
            ("JoinSession", json!({"inviteCode": code}), 2)
        } else {
            ("LeaveSession", of(&session), 1)
        };
        client.accepted(&bob, branch, body).await;
        for worker in workers {
            let seen = get(worker, &ann, &path).await.ok();
            assert_eq!(seen["participantCount"], open, "turn {turn}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_document_of_a_later_version_or_an_ill_typed_one_concerns_its_own_line_alone() {
    let _undisturbed = services::undisturbed().await;
    let Running {
        client,
        deployment,
        workers,
    } = running().await;
    let ann = unique("ann");
    let mut ended = Vec::new();
    for _ in 0..3 {
        let (session, _) = client.private(&ann, 4).await;
        client.accepted(&ann, "EndSession", of(&session)).await;
        ended.insert(0, session);
    }
    let mongo = mongodb::Client::with_uri_str(&deployment.parts.mongo).await;
    let database = mongo
        .expect("a good URI")
        .database(&format!("worker_{}", deployment.name));
    let sessions = database.collection::<Document>("sessions");
    for (session, field, value) in [
        (&ended[0], "endReason", Bson::from("moderated")),
        (&ended[1], "topicTitle", Bson::from(5)),
    ] {
        let update = doc! { "$set": { field: value } };
        let updated = sessions.update_one(doc! { "_id": session }, update).await;
        assert_eq!(updated.expect("it is written").matched_count, 1);
    }
    for _ in 0..2 {
        let page = get(&workers[0], &ann, "/sessions/history").await.ok();
        assert_eq!(ids(&page), [ended[0].clone(), ended[2].clone()]);
        assert_eq!(page["items"][0]["endReason"], "moderated");
        assert_eq!(page["items"][1]["endReason"], "host_ended");
    }
    let path = format!("/sessions/{}", ended[1]);
    get(&workers[0], &ann, &path)
        .await
        .is_problem(404, "session_not_found");
    let output = workers[0].output();
    let named = output.lines().filter(|line| {
        line.contains("not as a worker writes it")
            && line.contains(ended[1].as_str())
            && line.contains("topicTitle")
    });
    assert_eq!(named.count(), 1, "it is named once: {output}");
    let metrics = metrics(&workers[0]).await;
    let counted = "session_worker_http_unreadable_documents_total{collection=\"sessions\"} 3";
    assert!(metrics.contains(counted), "{metrics}");
}

async fn metrics(worker: &Worker) -> String {
    let client = reqwest::Client::builder().no_proxy().build();
    let answer = client.expect("a client").get(worker.url("/metrics")).send();
    let answer = answer.await.expect("the worker listens");
    answer.text().await.expect("the answer is whole")
}
