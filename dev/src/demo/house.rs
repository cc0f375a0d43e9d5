//! What the demo stands on: the worker built, services started, topics and schemas in place, and the
//! worker's settings, with rules in a hurry and without. Ends with its owner.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::lines::say;
use crate::gateway::{self, Topics};
use crate::port::Port;
use crate::worker::{self, Running, Worker};
use crate::{Cache, Options, Progress, Services};

/// Rules short enough that every deadline fires within the minute.
const HURRY: [(&str, &str); 4] = [
    ("RULES__SESSION_TIMEOUT", "12s"),
    ("RULES__WAITING_TIMEOUT", "15s"),
    ("RULES__EXPIRY_WARNINGS", "6s,3s"),
    ("RULES__DISCONNECT_GRACE", "3s"),
];
/// The shortest that a broker takes by default: how soon a killed worker's lanes move.
const GROUP_BOUNDS: [(&str, &str); 2] = [
    ("KAFKA__PROPERTIES__SESSION_TIMEOUT_MS", "6000"),
    ("KAFKA__PROPERTIES__HEARTBEAT_INTERVAL_MS", "1500"),
];
const GROUP: &str = "session-worker";
const ASK_EVERY: Duration = Duration::from_millis(200);
const READY_BOUND: Duration = Duration::from_secs(30);

pub(super) struct House {
    pub(super) services: Services,
    pub(super) topics: Topics,
    pub(super) group: String,
    /// With the contract's rules.
    pub(super) worker: Worker,
    /// What HTTP tokens are signed with, in this run alone.
    pub(super) secret: String,
    pub(super) began: Instant,
    /// Where the two workers listen.
    ports: [Port; 2],
}

impl House {
    /// Builds and starts everything but the workers; says so in lines.
    pub(super) async fn new(folder: &Path) -> anyhow::Result<Self> {
        say("building the worker…");
        let binary = worker::build().await?;
        let began = Instant::now();
        say("starting Kafka, MongoDB and a schema registry…");
        let cache = Cache::of_user()?;
        let options = Options {
            progress: Progress::Full,
            ..Options::default()
        };
        let services = Services::start_with(&cache, options).await?;
        for found in services.found() {
            say(&format!(
                "  {:<10} {}  ({})",
                found.name, found.address, found.origin
            ));
        }
        // Services that somebody else runs may hold the contract's topics already.
        let is_shared = services.found().iter().any(|found| found.pid.is_none());
        let run = format!("demo-{:x}-", gateway::now_millis());
        let topics = Topics::with_prefix(if is_shared { &run } else { "" });
        let mut worker = Worker::new(binary, folder, &services);
        let mut group = GROUP.to_owned();
        if is_shared {
            group = format!("{run}group");
            worker = worker
                .with("KAFKA__GROUP_ID", &group)
                .with("MONGO__DATABASE", &format!("{run}db"));
            for (key, name) in topics.settings() {
                worker = worker.with(&key, &name);
            }
        }
        for (key, value) in GROUP_BOUNDS {
            worker = worker.with(key, value);
        }
        say("session-worker topics apply");
        worker.must(&["topics", "apply"]).await?;
        say("session-worker schemas register");
        worker.must(&["schemas", "register"]).await?;
        Ok(Self {
            services,
            topics,
            group,
            worker,
            secret: secret(),
            began,
            ports: [Port::free(&cache)?, Port::free(&cache)?],
        })
    }

    /// Starts the first or the second worker with rules in a hurry.
    pub(super) fn hurried(&self, place: usize) -> anyhow::Result<Running> {
        let mut worker = self.listening(place);
        for (key, value) in HURRY {
            worker = worker.with(key, value);
        }
        worker.start(&name(place))
    }

    /// Starts the first or the second worker again, with the contract's rules.
    pub(super) fn unhurried(&self, place: usize) -> anyhow::Result<Running> {
        let name = format!("{}-again", name(place));
        self.listening(place).start(&name)
    }

    /// Where a worker answers.
    pub(super) fn address(&self, place: usize) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.ports[place].number())
    }

    /// Waits until a worker says that it is ready, or for so long as is worth it.
    pub(super) async fn ready(&self, place: usize) -> bool {
        let url = format!("http://{}/readyz", self.address(place));
        let ask = async {
            loop {
                // Until it listens, there is no answer at all.
                let answer = reqwest::get(&url).await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        tokio::time::timeout(READY_BOUND, ask).await.is_ok()
    }

    fn listening(&self, place: usize) -> Worker {
        let worker = self.worker.clone();
        worker
            .with("HTTP__LISTEN", &self.address(place))
            .with("HTTP__AUTH__MODE", "jwt")
            .with("HTTP__AUTH__JWT_SECRET", &self.secret)
    }

    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }
}

fn name(place: usize) -> String {
    format!("worker-{}", place + 1)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a secret that derives from inputs would be none"
)]
fn secret() -> String {
    let [one, other] = [Uuid::new_v4(), Uuid::new_v4()];
    format!("{}{}", one.simple(), other.simple())
}
