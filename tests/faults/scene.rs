//! A healthy worker under load: where every row begins and what it looks at while its fault lasts. A row
//! fails on what is lost or stands still; how long things take is only written down.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::Collection;
use mongodb::bson::Document;
use serde_json::{Value, json};

use crate::client::{Client, command, text, unique};
use crate::deployment::{Deployment, PATIENCE, Parts, Worker};
use crate::load::{LANE, LANES, Load, Sent, creation};
use crate::table::{Bystander, Measured};

/// Every session that no command starts ends after this.
pub(crate) const DEADLINES: &str = "rules.waitingTimeout=8s";

pub(crate) struct Scene {
    pub(crate) deployment: Deployment,
    pub(crate) client: Arc<Client>,
    pub(crate) load: Load,
    pub(crate) workers: Vec<Worker>,
    /// What each worker is given besides.
    settings: Vec<String>,
    /// Commands of the row itself.
    own: Vec<String>,
    /// Those that end as `internal_error`: what they are about cannot be read.
    unreadable: Vec<String>,
    /// Sessions of the touched lane that were open when the fault began.
    open: Vec<String>,
    /// How many dead letters the row makes.
    pub(crate) dead_letters: usize,
    bystanders: BTreeSet<Bystander>,
    meanwhile: Vec<String>,
}

impl Scene {
    /// One worker on the plain parts.
    pub(crate) async fn calm() -> Self {
        Self::with(Parts::shared(), &[], 1).await
    }

    /// `workers` workers with these settings.
    pub(crate) async fn with(parts: Parts, settings: &[&str], workers: usize) -> Self {
        let deployment = Deployment::prepared(parts, &[DEADLINES]).await;
        Self::of(deployment, settings, workers).await
    }

    /// `workers` workers of a deployment, all of whose lanes work. Without any, only the load runs.
    pub(crate) async fn of(deployment: Deployment, settings: &[&str], workers: usize) -> Self {
        let client = Arc::new(Client::new(&deployment));
        let mut scene = Self {
            load: Load::start(Arc::clone(&client)),
            client,
            deployment,
            workers: Vec::new(),
            settings: settings.iter().map(|&text| text.to_owned()).collect(),
            own: Vec::new(),
            unreadable: Vec::new(),
            open: Vec::new(),
            dead_letters: 0,
            bystanders: BTreeSet::new(),
            meanwhile: Vec::new(),
        };
        for _ in 0..workers {
            scene.start().await;
        }
        if workers > 0 {
            scene.all_answer().await;
            scene.worker().readiness(200).await;
        }
        scene
    }

    /// Starts one more worker; whether it gets ready is the row's business.
    pub(crate) async fn start(&mut self) {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let worker = self.deployment.unready_worker(&settings).await;
        self.workers.push(worker);
    }

    /// Stops the only worker as an orchestrator does; the fault begins.
    pub(crate) async fn stop(&mut self) {
        self.fault_begins();
        let worker = self.workers.pop().expect("a worker runs");
        worker.stop().await;
    }

    pub(crate) fn worker(&self) -> &Worker {
        self.workers.last().expect("a worker runs")
    }

    /// The touched lane, as the command line calls it.
    pub(crate) fn lane(&self) -> String {
        format!("{}/{LANE}", self.deployment.topic("session-command"))
    }

    pub(crate) async fn collection(&self, name: &str) -> Collection<Document> {
        let client = mongodb::Client::with_uri_str(&self.deployment.parts.mongo).await;
        let database = format!("worker_{}", self.deployment.name);
        client
            .expect("a client")
            .database(&database)
            .collection(name)
    }

    /// Sends nothing more to the lane, and waits until all that it got is answered.
    pub(crate) async fn quiet(&mut self) {
        self.load.pause(&[LANE]).await;
        let sent = self.load.sent().into_iter();
        let of_lane = sent.filter(|sent| sent.lane == LANE);
        let commands: Vec<_> = of_lane.map(|sent| sent.command).collect();
        self.client.settled(&commands).await;
        self.fault_begins();
    }

    /// Waits until the load has sent `count` more.
    pub(crate) async fn more_load(&self, count: usize) {
        let before = self.load.sent().len();
        until("load", || self.load.sent().len() >= before + count).await;
    }

    /// Makes a session in `lane`.
    pub(crate) async fn create(&mut self, lane: i32) -> Sent {
        let sent = self.lost(lane).await;
        self.own.push(sent.command.clone());
        sent
    }

    /// The same, for a command that the fault makes disappear.
    pub(crate) async fn lost(&self, lane: i32) -> Sent {
        let (command, sent) = creation(&unique("user"), lane);
        self.write(&sent.session, &command).await;
        sent
    }

    /// Makes a session in the lane that the fault is about, and returns its host and its result.
    pub(crate) async fn session(&mut self) -> (Sent, String, Value) {
        let host = unique("host");
        let (command, sent) = creation(&host, LANE);
        self.write(&sent.session, &command).await;
        self.own.push(sent.command.clone());
        let result = self.client.result(&sent.command).await;
        assert_eq!(result["outcome"], "accepted", "{result}");
        (sent, host, result)
    }

    async fn write(&self, key: &str, command: &Value) {
        let value = command.to_string();
        self.client
            .write("session-command", key, value.as_bytes(), &[])
            .await;
    }

    /// Counts a command that the row wrote itself.
    pub(crate) fn counts(&mut self, id: &str) {
        self.own.push(id.to_owned());
    }

    /// Sends a command by `key`, and returns its result.
    pub(crate) async fn ask(&mut self, key: &str, user: &str, branch: &str, body: &Value) -> Value {
        let command = command(user, branch, body);
        self.write(key, &command).await;
        let id = text(&command["commandId"]);
        self.own.push(id.clone());
        self.client.result(&id).await
    }

    /// Sends a command about what cannot be read: it ends as `internal_error` and a dead letter.
    pub(crate) async fn unreadable(&mut self, key: &str, command: &Value, repeats: usize) {
        self.write(key, command).await;
        let id = text(&command["commandId"]);
        let results = self.client.results(&id, repeats + 1).await;
        let result = results.last().expect("one");
        assert_eq!(result["code"], "internal_error", "{result}");
        self.unreadable.push(id);
        self.dead_letters += 1;
        self.client.dead_letter_count(self.dead_letters).await;
    }

    /// Sends a command again, and returns its result number `count`.
    pub(crate) async fn again(&mut self, key: &str, command: &Value, count: usize) -> Value {
        self.write(key, command).await;
        let id = text(&command["commandId"]);
        let mut results = self.client.results(&id, count).await;
        results.pop().expect("one")
    }

    /// Waits until all of these are answered, and returns how long it took from `began`.
    pub(crate) async fn answered(&self, began: Instant, commands: &[Sent]) -> Duration {
        let all: Vec<_> = commands.iter().map(|sent| sent.command.clone()).collect();
        self.client.settled(&all).await;
        began.elapsed()
    }

    pub(crate) fn none_is_answered(&self, commands: &[Sent]) {
        for sent in commands {
            let is_answered = self.client.is_answered(&sent.command);
            assert!(!is_answered, "{} is answered", sent.command);
        }
    }

    /// A new command on every lane is answered; how long that took from `began`.
    pub(crate) async fn all_work(&mut self, began: Instant) -> Duration {
        self.answer_on((0..LANES).collect()).await;
        began.elapsed()
    }

    async fn all_answer(&mut self) {
        self.answer_on((0..LANES).collect()).await;
    }

    /// Sends a command to each of `lanes`, and returns how long the slowest answer took.
    async fn answer_on(&mut self, lanes: Vec<i32>) -> Duration {
        let mut sent = Vec::new();
        let began = Instant::now();
        for lane in lanes {
            sent.push(self.create(lane).await);
        }
        self.answered(began, &sent).await
    }

    fn note(&mut self, bystander: Bystander, words: String) {
        if self.bystanders.insert(bystander) {
            self.also(words);
        }
    }

    /// A new command on every lane but the touched one is answered.
    pub(crate) async fn other_lanes_answer(&mut self) {
        let others: Vec<_> = (0..LANES).filter(|lane| *lane != LANE).collect();
        let count = others.len();
        let slowest = self.answer_on(others).await.as_secs_f64();
        let words = format!("{count} other lanes answered within {slowest:.1} s");
        self.note(Bystander::OtherLanes, words);
    }

    /// The same for all lanes of `session-command`: the touched one is none of them.
    pub(crate) async fn all_lanes_answer(&mut self) {
        let slowest = self.answer_on((0..LANES).collect()).await.as_secs_f64();
        let words = format!("all {LANES} lanes of commands answered within {slowest:.1} s");
        self.note(Bystander::OtherLanes, words);
    }

    /// Commands on all lanes have their results, though their events wait.
    pub(crate) fn results_came(&mut self) {
        let words = format!("results of commands on all {LANES} lanes came");
        self.note(Bystander::OtherLanes, words);
    }

    /// A command on another session of the touched lane is answered.
    pub(crate) async fn same_lane_answers(&mut self) {
        let slowest = self.answer_on(vec![LANE]).await.as_secs_f64();
        let words = format!("another session of the lane answered within {slowest:.1} s");
        self.note(Bystander::SameLane, words);
    }

    /// Remembers the sessions of the touched lane that are open now: their deadlines must fire though
    /// the fault lasts.
    pub(crate) fn fault_begins(&mut self) {
        self.open = self.open_sessions();
    }

    fn open_sessions(&self) -> Vec<String> {
        let is_made = self.sessions("session.created");
        let is_ended = self.sessions("session.ended");
        let sent = self.load.sent().into_iter();
        let of_lane = sent.filter(|sent| sent.lane == LANE);
        let sessions = of_lane.map(|sent| sent.session);
        sessions
            .filter(|session| is_made.contains(session) && !is_ended.contains(session))
            .collect()
    }

    /// Every session of the touched lane that was open when the fault began, or is now, comes to its end.
    pub(crate) async fn deadlines_fire(&mut self) {
        let mut open: BTreeSet<String> = self.open_sessions().into_iter().collect();
        open.extend(std::mem::take(&mut self.open));
        assert!(!open.is_empty(), "no session of the lane is open");
        until("end of the lane's sessions", || {
            open.is_subset(&self.sessions("session.ended"))
        })
        .await;
        let words = format!("{} deadlines of the lane fired", open.len());
        self.note(Bystander::Deadlines, words);
    }

    /// Sessions with an event of this type.
    fn sessions(&self, kind: &str) -> BTreeSet<String> {
        let outputs = self.client.outputs.lock().expect("unpoisoned");
        let events = outputs.events.iter().map(|(_, event)| event);
        let of_kind = events.filter(|event| event["type"] == kind);
        of_kind.map(|event| text(&event["sessionId"])).collect()
    }

    /// `/livez` answers 200 and `/metrics` answers.
    pub(crate) async fn probes_answer(&mut self) {
        let began = Instant::now();
        self.worker().answers("/livez", "\"status\":\"pass\"").await;
        self.worker()
            .answers("/metrics", "session_worker_lanes")
            .await;
        let took = began.elapsed().as_millis();
        let words = format!("probes answered within {took} ms");
        self.note(Bystander::Probes, words);
    }

    /// `/livez` answers 200, before the worker has metrics of lanes.
    pub(crate) async fn livez_answers(&mut self) {
        self.worker().answers("/livez", "\"status\":\"pass\"").await;
        self.note(Bystander::Probes, "`/livez` answered".to_owned());
    }

    /// `/readyz` fails and says all of these.
    pub(crate) async fn readiness_says(&mut self, words: &[&str]) {
        self.worker().readiness(503).await;
        for word in words {
            self.worker().answers("/readyz", word).await;
        }
        let said = format!("readiness said `{}`", words.first().unwrap_or(&"fail"));
        self.note(Bystander::Named, said);
    }

    /// Something else that went on.
    pub(crate) fn also(&mut self, words: impl Into<String>) {
        self.meanwhile.push(words.into());
    }

    /// Runs a command of the binary that fixes something, and says so.
    pub(crate) async fn fix(&mut self, arguments: &[&str]) {
        let ended = self.deployment.run(arguments, &[]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.text);
        let command = arguments[..2].join(" ");
        self.meanwhile.push(format!("fixed by `{command}`"));
    }

    /// Nothing is lost, nothing is said twice, nothing good has failed, and all is well.
    pub(crate) async fn end(self, whole: Duration) -> Measured {
        let mut all: Vec<_> = self.load.stop().await;
        let by_load: BTreeSet<String> = all.drain(..).map(|sent| sent.command).collect();
        let mut commands: Vec<String> = by_load.iter().cloned().collect();
        commands.extend(self.own);
        self.client.settled(&commands).await;
        self.client.results_agree(&self.unreadable);
        self.client.events_are_gapless();
        {
            let outputs = self.client.outputs.lock().expect("unpoisoned");
            for (_, result) in &outputs.results {
                let id = result["commandId"].as_str().expect("an id");
                if by_load.contains(id) {
                    assert_eq!(result["outcome"], "accepted", "{result}");
                }
                let is_unreadable = self.unreadable.iter().any(|unreadable| unreadable == id);
                assert!(
                    is_unreadable || result["code"] != "internal_error",
                    "{result}"
                );
            }
            let letters = &outputs.dead_letters;
            assert_eq!(letters.len(), self.dead_letters, "{letters:?}");
        }
        for worker in &self.workers {
            worker.readiness(200).await;
        }
        self.deployment.is_sound().await;
        for worker in self.workers {
            worker.stop().await;
        }
        Measured {
            bystanders: self.bystanders,
            meanwhile: self.meanwhile,
            whole,
        }
    }
}

/// Waits for a condition; what is still not so after [`PATIENCE`] stands still.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "no {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A create of a session in the touched lane that is not sent yet.
pub(crate) fn creation_of(user: &str) -> (Value, Sent) {
    creation(user, LANE)
}

/// The body that names a session.
pub(crate) fn on(session: &str) -> Value {
    json!({"sessionId": session})
}
