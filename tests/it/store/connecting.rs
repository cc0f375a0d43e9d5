//! What keeps the worker from a database: named with its cause and cure, and told from what waiting
//! cures.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::doc;
use session_worker::store::mongo::{self, ConnectError, MongoStore, Options, Severity, Timeouts};
use tokio::process::{Child, Command};

use crate::services;

/// A server of its own, ended with the test.
struct Server {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Server {
    /// Starts the program that the shared server runs.
    async fn start(name: &str, arguments: &[&str]) -> Self {
        let shared = Client::with_uri_str(services::mongo_uri())
            .await
            .expect("a client");
        let options = shared
            .database("admin")
            .run_command(doc! { "getCmdLineOpts": 1 })
            .await;
        let options = options.expect("an answer");
        let program = options.get_array("argv").expect("a command")[0]
            .as_str()
            .map(str::to_owned);
        let folder = format!("session-worker-it-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let process = Command::new(program.expect("text"))
            .arg("--dbpath")
            .arg(&folder)
            .args(["--bind_ip", "127.0.0.1", "--port", &port.to_string()])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let server = Self {
            process,
            folder,
            port,
        };
        server.is_up().await;
        server
    }

    fn uri(&self, options: &str) -> String {
        format!("mongodb://127.0.0.1:{}/?{options}", self.port)
    }

    async fn is_up(&self) {
        let began = Instant::now();
        let client = Client::with_uri_str(self.uri("directConnection=true")).await;
        let admin = client.expect("a client").database("admin");
        while admin.run_command(doc! { "hello": 1 }).await.is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the server does not start"
            );
        }
    }

    async fn stop(mut self) {
        self.process.kill().await.expect("ended");
        std::fs::remove_dir_all(&self.folder).expect("removed");
    }
}

fn options() -> Options {
    Options {
        timeouts: Timeouts {
            call: Duration::from_secs(2),
            ..Timeouts::default()
        },
        ..Options::default()
    }
}

async fn refused(uri: &str) -> ConnectError {
    let connected = MongoStore::connect_with(uri, "x", &options()).await;
    let error = connected.map(drop).expect_err("it cannot be used");
    let findings = mongo::check(uri, "x", &options()).await;
    let said = findings
        .iter()
        .find(|found| found.severity == Severity::Fault)
        .map(|found| found.detail.clone());
    assert_eq!(said, Some(error.to_string()), "`check` says the same");
    error
}

#[tokio::test]
async fn contract_4_a_standalone_server_is_refused_as_what_it_is() {
    let server = Server::start("standalone", &[]).await;
    for uri in [
        server.uri("replicaSet=rs0"),
        server.uri(""),
        server.uri("directConnection=true"),
    ] {
        let error = refused(&uri).await;
        assert!(matches!(error, ConnectError::Standalone), "{uri}: {error}");
        assert!(error.is_final());
    }
    // With a host that is silent, the others are named, and may yet be a set.
    let uri = format!(
        "mongodb://127.0.0.1:{},127.0.0.1:1/?replicaSet=rs0",
        server.port
    );
    let error = refused(&uri).await;
    assert!(!error.is_final(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&format!("127.0.0.1:{} is a standalone", server.port)),
        "{text}"
    );
    assert!(text.contains("127.0.0.1:1 does not answer"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn contract_3_8_a_set_that_is_not_initiated_is_waited_for() {
    let server = Server::start("uninitiated", &["--replSet", "fresh"]).await;
    for uri in [server.uri("replicaSet=fresh"), server.uri("")] {
        let error = refused(&uri).await;
        assert!(!error.is_final(), "{error}");
        assert!(error.to_string().contains("rs.initiate()"), "{error}");
    }
    let client = Client::with_uri_str(server.uri("directConnection=true")).await;
    let member = doc! { "_id": 0, "host": format!("127.0.0.1:{}", server.port) };
    let set = doc! { "_id": "fresh", "members": [member] };
    let admin = client.expect("a client").database("admin");
    admin
        .run_command(doc! { "replSetInitiate": set })
        .await
        .expect("initiated");
    let began = Instant::now();
    loop {
        let uri = server.uri("replicaSet=fresh");
        match MongoStore::connect_with(&uri, "x", &options()).await {
            Ok(store) => break store.close().await,
            Err(error) => assert!(!error.is_final(), "{error}"),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no primary");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_set_name_is_told_with_the_right_one() {
    let _undisturbed = services::undisturbed().await;
    let uri = services::mongo_uri().replace("replicaSet=rs0", "replicaSet=other");
    let error = refused(&uri).await;
    assert!(error.is_final(), "{error}");
    assert!(error.to_string().contains("replicaSet=rs0"), "{error}");
}

#[tokio::test]
async fn tls_that_only_the_worker_expects_is_named() {
    let _undisturbed = services::undisturbed().await;
    let uri = format!("{}&tls=true", services::mongo_uri());
    let error = refused(&uri).await;
    assert!(!error.is_final(), "{error}");
    assert!(error.to_string().contains("take tls=true out"), "{error}");
}

#[tokio::test]
async fn silence_and_nonsense_are_told_apart() {
    // Port 1 is reserved: nobody listens there.
    let uri = "mongodb://127.0.0.1:1,no-such-host.invalid:2/?replicaSet=rs0";
    let error = refused(uri).await;
    assert!(!error.is_final(), "{error}");
    let text = error.to_string();
    for host in [
        "127.0.0.1:1 does not answer",
        "no-such-host.invalid:2 does not answer",
    ] {
        assert!(text.contains(host), "{text}");
    }
    for uri in [
        "kafka://x",
        "mongodb://user:canary/tail@127.0.0.1:1/",
        "mongodb://user:canary%zz@127.0.0.1:1/",
        "mongodb://127.0.0.1:1/?replicaSet=rs0&tls=maybe",
    ] {
        let error = refused(uri).await;
        assert!(
            matches!(error, ConnectError::Uri { .. }) && error.is_final(),
            "{error}"
        );
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_server_says_what_is_wrong_with_a_deployment_that_works() {
    let _undisturbed = services::undisturbed().await;
    let findings = mongo::check(&services::mongo_uri(), "x", &options()).await;
    let of = |subject: &str| {
        let found = findings.iter().find(|found| found.subject == subject);
        found.unwrap_or_else(|| panic!("no {subject} in {findings:?}"))
    };
    for (subject, detail) in [
        ("replica set", "rs0"),
        ("majority", "follows the primary"),
        ("member", "is the primary of rs0"),
        ("privileges", "without authorization"),
    ] {
        assert_eq!(of(subject).severity, Severity::Fine, "{findings:?}");
        assert!(of(subject).detail.contains(detail), "{findings:?}");
    }
    let client = Client::with_uri_str(services::mongo_uri())
        .await
        .expect("a client");
    let databases = client.list_database_names().await.expect("listed");
    assert!(
        !databases.contains(&"x".to_owned()),
        "nothing is left behind: {databases:?}"
    );
}
