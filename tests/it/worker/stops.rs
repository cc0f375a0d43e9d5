//! What stands still is named by readiness, log, metric, `check` and `lanes show`, with the command that
//! fixes it; that command works without a restart, and deadlines fire all the time (contract 3, 7).

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use session_worker::kafka::partition_of;

use super::client::{Client, command, text, unique};
use super::deployment::{Deployment, PATIENCE, Parts, Worker};
use crate::services;

/// Sessions end by themselves while a lane stands still.
const SHORT: [&str; 1] = ["rules.waitingTimeout=3s"];

/// One input partition, and a session that is at home there.
struct Scene {
    deployment: Deployment,
    client: Client,
    session: String,
    partition: i32,
}

impl Scene {
    async fn new() -> Self {
        let deployment = Deployment::prepared(Parts::shared(), &SHORT).await;
        let session = uuid::Uuid::new_v4().to_string();
        Self {
            client: Client::new(&deployment),
            partition: partition_of(session.as_bytes(), 8),
            session,
            deployment,
        }
    }

    fn topic(&self) -> String {
        self.deployment.topic("session-command")
    }

    fn lane(&self) -> String {
        format!("{}/{}", self.topic(), self.partition)
    }

    /// Sends a command to the partition and returns its id.
    async fn send(&self, branch: &str, body: &Value) -> String {
        let command = command(&unique("user"), branch, body);
        let value = command.to_string();
        let key = &self.session;
        self.client
            .write("session-command", key, value.as_bytes(), &[])
            .await;
        text(&command["commandId"])
    }

    /// Makes the session, and returns once that is answered.
    async fn create(&self) {
        let body = json!({"targetLanguageCode": "fr", "sessionId": self.session});
        let id = self.send("CreatePrivateSession", &body).await;
        let result = self.client.result(&id).await;
        assert_eq!(result["outcome"], "accepted", "{result}");
    }

    /// A command that is refused by the rules.
    async fn join(&self) -> String {
        self.send("JoinSession", &json!({"inviteCode": "22222222"}))
            .await
    }

    /// `worker`, `check` and `lanes show` name the stop and the command that ends it.
    async fn is_named(&self, worker: &Worker, reason: &str, remedy: &str) {
        let lane = self.lane();
        worker.answers("/readyz", reason).await;
        worker.answers("/readyz", remedy).await;
        let metric = format!("session_worker_lanes{{state=\"{reason}\"}} 1");
        worker.answers("/metrics", &metric).await;
        let output = worker.output();
        let mut lines = output.lines();
        let logged = lines.any(|line| line.contains(&lane) && line.contains(reason));
        assert!(logged, "{output}");
        self.is_known(reason, remedy).await;
    }

    /// `check` and `lanes show` name it, whether a worker runs or not.
    async fn is_known(&self, reason: &str, remedy: &str) {
        let lane = self.lane();
        let check = self.deployment.run(&["check"], &[]).await;
        assert_eq!(check.code, Some(1), "{}", check.text);
        let faults: Vec<&str> = check
            .text
            .lines()
            .filter(|line| line.starts_with("fault"))
            .collect();
        assert_eq!(faults.len(), 1, "{}", check.text);
        for word in [lane.as_str(), reason, remedy] {
            assert!(faults[0].contains(word), "{word}: {}", check.text);
        }
        let shown = self.deployment.run(&["lanes", "show"], &[]).await;
        assert_eq!(shown.code, Some(0), "{}", shown.text);
        let mut lines = shown.text.lines();
        let row = lines.find(|line| line.starts_with(&format!("{lane} ")));
        assert!(
            row.is_some_and(|row| row.contains(reason)),
            "{}",
            shown.text
        );
        assert!(shown.text.contains(remedy), "{}", shown.text);
    }

    /// Runs the command that ends it, and waits until `id` is answered and all is well.
    async fn goes_on(&self, worker: &Worker, arguments: &[&str], id: &str) {
        let fixed = self.deployment.run(arguments, &[]).await;
        assert_eq!(fixed.code, Some(0), "{}", fixed.text);
        self.client.result(id).await;
        worker.readiness(200).await;
        let check = self.deployment.run(&["check"], &[]).await;
        assert_eq!(check.code, Some(0), "{}", check.text);
    }

    async fn lost(&self, worker: &Worker, last: &str) {
        let lane = self.lane();
        let remedy = format!("session-worker lanes seek {lane} earliest --yes");
        self.is_named(worker, "position_lost", &remedy).await;
        // The session is at home on the lane that reads nothing.
        self.client.events(&self.session, "session.ended").await;
        worker.answers("/readyz", "position_lost").await;
        let seek = ["lanes", "seek", &lane, "earliest", "--yes"];
        self.goes_on(worker, &seek, last).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_records_deleted_while_the_worker_is_down_are_told_of_and_a_seek_goes_on() {
    let _undisturbed = services::undisturbed().await;
    let scene = Scene::new().await;
    let worker = scene.deployment.worker(&[]).await;
    scene.create().await;
    worker.stop().await;
    for _ in 0..3 {
        scene.join().await;
    }
    let last = scene.join().await;
    services::delete_records(&scene.topic(), scene.partition, 4).await;
    // Before any worker has looked.
    let remedy = format!("lanes seek {} earliest --yes", scene.lane());
    scene.is_known("position_lost", &remedy).await;
    let worker = scene.deployment.unready_worker(&[]).await;
    scene.lost(&worker, &last).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_records_deleted_while_the_worker_runs_are_told_of_and_a_seek_goes_on() {
    let _undisturbed = services::undisturbed().await;
    let scene = Scene::new().await;
    let worker = scene.deployment.worker(&[]).await;
    scene.create().await;
    worker.signal("-STOP");
    for _ in 0..3 {
        scene.join().await;
    }
    let last = scene.join().await;
    services::delete_records(&scene.topic(), scene.partition, 4).await;
    worker.signal("-CONT");
    scene.lost(&worker, &last).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_is_told_of_and_a_seek_goes_on() {
    let _undisturbed = services::undisturbed().await;
    let scene = Scene::new().await;
    let worker = scene.deployment.worker(&[]).await;
    scene.create().await;
    worker.stop().await;
    let kafka = session_worker::kafka::Settings {
        brokers: services::kafka(),
        group_id: "nobody".to_owned(),
        properties: std::collections::BTreeMap::new(),
    };
    let deleted = session_worker::kafka::topics::delete(&kafka, &[&scene.topic()]).await;
    deleted.expect("the topic is deleted");
    // Each broker hears of it a moment later.
    let began = std::time::Instant::now();
    while scene.deployment.run(&["topics", "plan"], &[]).await.code != Some(3) {
        assert!(began.elapsed() < PATIENCE, "the topic is still there");
    }
    let applied = scene.deployment.run(&["topics", "apply"], &[]).await;
    assert_eq!(applied.code, Some(0), "{}", applied.text);
    scene.join().await;
    let last = scene.join().await;

    let worker = scene.deployment.unready_worker(&[]).await;
    let lane = scene.lane();
    let remedy = format!("session-worker lanes seek {lane} earliest --yes");
    scene.is_named(&worker, "recreated", &remedy).await;
    scene.client.events(&scene.session, "session.ended").await;
    let seek = ["lanes", "seek", &lane, "earliest", "--yes"];
    scene.goes_on(&worker, &seek, &last).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_whose_owners_died_is_left_unread_until_it_is_resumed() {
    let _undisturbed = services::undisturbed().await;
    let scene = Scene::new().await;
    let lane = scene.lane();
    let unread = scene.deployment.run(&["lanes", "resume", &lane], &[]).await;
    assert_eq!(unread.code, Some(2), "{}", unread.text);
    let worker = scene.deployment.worker(&[]).await;
    scene.create().await;
    worker.stop().await;
    let lanes = lanes(&scene.deployment).await;
    let five = doc! { "$set": { "deaths": 5 } };
    let updated = lanes.update_one(doc! { "_id": &lane }, five).await;
    assert_eq!(updated.expect("it is written").matched_count, 1);
    let last = scene.join().await;

    let remedy = format!("session-worker lanes resume {lane}");
    scene.is_known("suspect", &remedy).await;
    let worker = scene.deployment.unready_worker(&[]).await;
    scene.is_named(&worker, "suspect", &remedy).await;
    scene.client.events(&scene.session, "session.ended").await;
    assert!(!scene.client.is_answered(&last));
    scene
        .goes_on(&worker, &["lanes", "resume", &lane], &last)
        .await;
    let stored = lanes.find_one(doc! { "_id": &lane }).await;
    let stored = stored.expect("it answers").expect("it is stored");
    assert_eq!(stored.get_i32("deaths").ok(), Some(0), "{stored}");
    worker.stop().await;
}

async fn lanes(deployment: &Deployment) -> mongodb::Collection<Document> {
    let client = mongodb::Client::with_uri_str(services::mongo_uri()).await;
    let database = format!("worker_{}", deployment.name);
    client
        .expect("a client")
        .database(&database)
        .collection("lanes")
}
