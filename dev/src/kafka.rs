//! Kafka: one process that is broker and controller at once (KRaft). Its jars come from `KAFKA_HOME`
//! or from Maven, whose answer must match the pinned list to the byte.

mod listeners;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::archive::Archive;
use crate::cache::{Cache, check_sha256};
use crate::client::{self, Java};
use crate::error::{Error, IoContext as _, Result};
use crate::options::Source;
use crate::place::Place;
use crate::port::Port;
use crate::progress::Progress;
use crate::protection::{STRANGER, Secrets, WORKER};
use crate::service::{Probe, Service};

pub(crate) use self::listeners::LISTENER_PORTS;
pub use self::listeners::Listeners;
use self::listeners::key_set_url;

/// Names a running Kafka, `host:port[,host:port]`.
pub const KAFKA_VARIABLE: &str = "SESSION_WORKER_DEV_KAFKA";

const PART: &str = "kafka-4.1.0";
const TITLE: &str = "fetching Kafka 4.1.0 (93 jars, 54 MB)";
const POM: &str = include_str!("kafka-pom.xml");
/// `sha256sum` of every jar that the pom brings.
const JARS: &str = include_str!("kafka-jars.sha256");
const MAVEN_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/// Any cluster id serves: every broker of this kind is a cluster of its own.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// Where Kafka's classes lie.
#[derive(Debug)]
pub(crate) struct Installation {
    java: Java,
    archive: Archive,
    class_path: OsString,
    /// System properties that make the log readable.
    logging: Vec<OsString>,
    /// A formatted, empty data folder to copy; without it one is formatted, which takes seconds.
    formatted: Option<PathBuf>,
    pub(crate) origin: String,
}

/// Says what a fetch would lack, before anything is fetched.
pub(crate) fn check(cache: &Cache) -> Vec<Error> {
    if cache.has(PART) {
        return Vec::new();
    }
    let is_installed = std::env::var_os("KAFKA_HOME").is_some_and(|home| !home.is_empty());
    let maven = if is_installed {
        None
    } else {
        client::maven_program(KAFKA_VARIABLE).err()
    };
    client::java(KAFKA_VARIABLE)
        .err()
        .into_iter()
        .chain(maven)
        .collect()
}

/// Finds Kafka in `KAFKA_HOME`, in the cache, or fetches it.
pub(crate) async fn find(cache: &Cache, progress: Progress) -> Result<Installation> {
    let java = client::java(KAFKA_VARIABLE)?;
    if let Some(home) = std::env::var_os("KAFKA_HOME").filter(|home| !home.is_empty()) {
        return installed(java, Path::new(&home));
    }
    let fetched = cache
        .part(PART, TITLE, progress, async |folder| {
            fetch(cache, &java, folder, progress).await
        })
        .await?;
    let mut installation = Installation {
        archive: Archive::None,
        class_path: class_path(&fetched.join("lib")),
        logging: vec![
            "-Dorg.slf4j.simpleLogger.showDateTime=true".into(),
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS".into(),
        ],
        formatted: Some(fetched.join("formatted")),
        java,
        origin: format!("fetched, {}", fetched.display()),
    };
    let ports = [Port::free(cache)?, Port::free(cache)?];
    let record = async |place: &Place, archive: Archive| {
        let [port, controller] = &ports;
        let broker = Broker::plain(port.number(), controller.number());
        start(&installation, &archive, place, &broker).await
    };
    let title = "preparing Kafka for quick starts";
    let archive = Archive::of(cache, &fetched, title, &installation.java, progress, record);
    installation.archive = archive.await?;
    Ok(installation)
}

fn installed(java: Java, home: &Path) -> Result<Installation> {
    let libraries = home.join("libs");
    if !libraries.is_dir() {
        return Err(Error::Incomplete {
            part: "Kafka in KAFKA_HOME".to_owned(),
            detail: format!("{} is no folder", libraries.display()),
        });
    }
    // Kafka 4 brings log4j 2, Kafka 3 log4j 1; both write to standard output with these files.
    let logging = [
        ("config/log4j2.yaml", "-Dlog4j2.configurationFile="),
        ("config/log4j.properties", "-Dlog4j.configuration=file:"),
    ]
    .into_iter()
    .map(|(file, property)| (home.join(file), property))
    .find(|(file, _)| file.is_file())
    .map(|(file, property)| {
        let mut argument = OsString::from(property);
        argument.push(file);
        argument
    });
    Ok(Installation {
        java,
        archive: Archive::None,
        class_path: class_path(&libraries),
        logging: logging.into_iter().collect(),
        formatted: None,
        origin: format!("installed, {}", home.display()),
    })
}

fn class_path(libraries: &Path) -> OsString {
    libraries.join("*").into_os_string()
}

async fn fetch(cache: &Cache, java: &Java, folder: &Path, progress: Progress) -> Result<()> {
    let pom = folder.join("pom.xml");
    std::fs::write(&pom, POM).io("write", &pom)?;
    let libraries = folder.join("lib");
    let mut output = OsString::from("-DoutputDirectory=");
    output.push(&libraries);
    let arguments = vec![
        "--file".into(),
        pom.into(),
        MAVEN_GOAL.into(),
        "-DincludeScope=runtime".into(),
        output,
    ];
    client::maven(cache, "Kafka", folder, arguments, KAFKA_VARIABLE, progress).await?;
    let checked = libraries.clone();
    tokio::task::spawn_blocking(move || check_jars(&checked, JARS))
        .await
        .expect("the check of the jars does not panic and is not cancelled")?;
    // The template's own folder is written into no file, so a copy of it is as good.
    let properties = folder.join("format.properties");
    let data = folder.join("formatted");
    let broker = Broker::plain(9092, 9093);
    std::fs::write(&properties, text(&broker.properties(&data))).io("write", &properties)?;
    format(java, &class_path(&libraries), folder, &properties, &[]).await
}

/// Refuses a folder that does not hold exactly the listed jars.
fn check_jars(libraries: &Path, list: &str) -> Result<()> {
    let expected = list
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(digest, name)| (name, digest))
        .collect::<BTreeMap<_, _>>();
    let incomplete = |detail| Error::Incomplete {
        part: "Kafka".to_owned(),
        detail,
    };
    for entry in libraries.read_dir().io("list", libraries)? {
        let path = entry.io("list", libraries)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(digest) = expected.get(name.as_str()) else {
            return Err(incomplete(format!("{name} is not on the list of its jars")));
        };
        check_sha256(&path, digest)?;
    }
    match expected.keys().find(|name| !libraries.join(name).is_file()) {
        Some(name) => Err(incomplete(format!("{name} did not come"))),
        None => Ok(()),
    }
}

impl Installation {
    /// Starts a broker with a controller in it.
    pub(crate) async fn start(&self, place: &Place, broker: &Broker<'_>) -> Result<Service> {
        start(self, &self.archive, place, broker).await
    }
}

/// How a broker is to listen and to behave.
#[derive(Debug)]
pub(crate) struct Broker<'set> {
    pub(crate) port: u16,
    pub(crate) controller_port: u16,
    /// Server properties over the usual ones.
    pub(crate) own: &'set [(String, String)],
    pub(crate) protected: Option<(&'set Secrets, &'set Listeners)>,
}

impl Broker<'_> {
    fn plain(port: u16, controller_port: u16) -> Self {
        Self {
            port,
            controller_port,
            own: &[],
            protected: None,
        }
    }

    fn properties(&self, data: &Path) -> BTreeMap<String, String> {
        let mut properties = server_properties(self.port, self.controller_port, data);
        if let Some((secrets, listeners)) = self.protected {
            let files = Secrets::files(data.parent().unwrap_or(data));
            listeners.add_to(&mut properties, secrets, &files);
        }
        properties.extend(self.own.iter().cloned());
        properties
    }

    /// The users whose passwords Kafka keeps itself.
    fn scram_users(&self) -> Vec<OsString> {
        let Some((secrets, _)) = self.protected else {
            return Vec::new();
        };
        let of_user = |user: &str| {
            ["SCRAM-SHA-256", "SCRAM-SHA-512"].map(|mechanism| {
                let password = secrets.password(user);
                format!("{mechanism}=[name={user},password={password}]")
            })
        };
        [WORKER, STRANGER]
            .into_iter()
            .flat_map(of_user)
            .flat_map(|user| ["--add-scram".to_owned(), user])
            .map(OsString::from)
            .collect()
    }
}

async fn start(
    installation: &Installation,
    archive: &Archive,
    place: &Place,
    broker: &Broker<'_>,
) -> Result<Service> {
    let folder = place.service("kafka")?;
    let data = folder.join("data");
    let mut logging = installation.logging.clone();
    if let Some((secrets, _)) = broker.protected {
        let files = secrets.write(&folder)?;
        let mut allowed = OsString::from("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=");
        allowed.push(key_set_url(&files));
        logging.push(allowed);
    }
    let properties = folder.join("server.properties");
    std::fs::write(&properties, text(&broker.properties(&data))).io("write", &properties)?;
    match &installation.formatted {
        Some(formatted) if broker.protected.is_none() => copy_files(formatted, &data)?,
        _ => {
            let class_path = &installation.class_path;
            let users = broker.scram_users();
            format(&installation.java, class_path, &folder, &properties, &users).await?;
        }
    }
    let mut logs = OsString::from("-Dkafka.logs.dir=");
    logs.push(folder.join("logs"));
    let mut arguments = [
        "-Xms256m",
        "-Xmx512m",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-XX:+ExplicitGCInvokesConcurrent",
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
    ]
    .map(OsString::from)
    .to_vec();
    arguments.extend(archive.argument());
    arguments.push(logs);
    arguments.extend(logging);
    arguments.extend([
        "-cp".into(),
        installation.class_path.clone(),
        "kafka.Kafka".into(),
    ]);
    arguments.push(properties.into());
    let address = format!("127.0.0.1:{}", broker.port);
    let spec = place.spec(folder, installation.java.program.clone(), arguments);
    Service::start("kafka", address, Probe::Broker, spec)
}

async fn format(
    java: &Java,
    class_path: &OsString,
    folder: &Path,
    properties: &Path,
    users: &[OsString],
) -> Result<()> {
    let mut arguments = vec![
        "-XX:TieredStopAtLevel=1".into(),
        "-cp".into(),
        class_path.clone(),
        "kafka.tools.StorageTool".into(),
        "format".into(),
        "-t".into(),
        CLUSTER_ID.into(),
        "-c".into(),
        properties.into(),
    ];
    arguments.extend_from_slice(users);
    client::run(
        "Kafka (formatting its data folder)",
        folder,
        &java.program,
        arguments,
    )
    .await
}

/// The settings of a broker for development: small, quick to rebalance, nothing made by accident.
fn server_properties(port: u16, controller_port: u16, data: &Path) -> BTreeMap<String, String> {
    let plain = format!("PLAINTEXT://127.0.0.1:{port}");
    let controller = format!("CONTROLLER://127.0.0.1:{controller_port}");
    let properties = [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", "1".to_owned()),
        (
            "controller.quorum.voters",
            format!("1@127.0.0.1:{controller_port}"),
        ),
        ("listeners", format!("{plain},{controller}")),
        ("advertised.listeners", plain),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
        ),
        ("log.dirs", data.display().to_string()),
    ];
    let fixed = FIXED
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    properties
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .chain(fixed)
        .collect()
}

const FIXED: &[(&str, &str)] = &[
    ("inter.broker.listener.name", "PLAINTEXT"),
    ("controller.listener.names", "CONTROLLER"),
    ("auto.create.topics.enable", "false"),
    ("default.replication.factor", "1"),
    ("min.insync.replicas", "1"),
    ("offsets.topic.replication.factor", "1"),
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "4"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("share.coordinator.state.topic.num.partitions", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    ("broker.heartbeat.interval.ms", "500"),
    ("broker.session.timeout.ms", "3000"),
    ("log.cleaner.dedupe.buffer.size", "33554432"),
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
];

fn text(properties: &BTreeMap<String, String>) -> String {
    let lines = properties
        .iter()
        // A backslash would be an escape; none of these has one.
        .map(|(key, value)| format!("{key}={value}\n"));
    lines.collect()
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).io("create", to)?;
    for entry in from.read_dir().io("list", from)? {
        let entry = entry.io("list", from)?;
        std::fs::copy(entry.path(), to.join(entry.file_name())).io("copy", entry.path())?;
    }
    Ok(())
}

/// Checks the running Kafka that the environment names, if it names one.
pub(crate) async fn named(source: Source) -> Result<Option<String>> {
    let Some(bootstrap) = source.variable(KAFKA_VARIABLE) else {
        return Ok(None);
    };
    match probe(&bootstrap).await {
        Ok(()) => Ok(Some(bootstrap)),
        Err(detail) => Err(Error::NotAnswering {
            variable: KAFKA_VARIABLE,
            address: bootstrap,
            detail,
        }),
    }
}

/// Asks for the cluster's metadata; a broker that does not serve yet is not in them.
pub(crate) async fn probe(bootstrap: &str) -> std::result::Result<(), String> {
    const ANSWER: Duration = Duration::from_secs(3);
    let first = bootstrap.split(',').next().unwrap_or_default().trim();
    // The client library would log every refused connection of a broker that is still starting.
    let connect = tokio::net::TcpStream::connect(first);
    match tokio::time::timeout(ANSWER, connect).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("no connection within 3 s".to_owned()),
    }
    let bootstrap = bootstrap.to_owned();
    let ask = move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .map_err(|error| error.to_string())?;
        let metadata = consumer
            .fetch_metadata(None, ANSWER)
            .map_err(|error| error.to_string())?;
        if metadata.brokers().is_empty() {
            Err("no broker serves yet".to_owned())
        } else {
            Ok(())
        }
    };
    tokio::task::spawn_blocking(ask)
        .await
        .unwrap_or_else(|error| Err(error.to_string()))
}

/// Deletes the records of a partition before an offset.
pub(crate) async fn delete_records(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    before: i64,
) -> Result<()> {
    let failed = |error: KafkaError| Error::Setup {
        what: "delete records",
        detail: error.to_string(),
    };
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .map_err(failed)?;
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(topic, partition, Offset::Offset(before))
        .map_err(failed)?;
    let deleted = admin.delete_records(&offsets, &AdminOptions::new());
    for element in deleted.await.map_err(failed)?.elements() {
        element.error().map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::sha256;

    #[test]
    fn the_list_of_jars_names_the_main_ones_with_their_digests() {
        assert_eq!(JARS.lines().count(), 93);
        for name in [
            "kafka_2.13-4.1.0.jar",
            "kafka-tools-4.1.0.jar",
            "slf4j-simple-1.7.36.jar",
        ] {
            let line = JARS
                .lines()
                .find(|line| line.ends_with(&format!("  {name}")));
            assert_eq!(line.map(str::len), Some(64 + 2 + name.len()), "{name}");
        }
    }

    #[test]
    fn a_missing_a_foreign_and_a_changed_jar_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let jar = folder.path().join("a.jar");
        std::fs::write(&jar, "a").expect("a file in the temporary folder");
        let digest = sha256(&jar).expect("a readable file");
        let check = |list: &str| check_jars(folder.path(), list);

        check(&format!("{digest}  a.jar\n")).expect("the folder is as listed");
        let missing = check(&format!("{digest}  a.jar\n{digest}  b.jar\n"));
        assert!(
            matches!(missing, Err(Error::Incomplete { .. })),
            "{missing:?}"
        );
        let foreign = check(&format!("{digest}  b.jar\n"));
        assert!(
            matches!(foreign, Err(Error::Incomplete { .. })),
            "{foreign:?}"
        );
        let changed = check(&format!("{}  a.jar\n", "0".repeat(64)));
        assert!(
            matches!(changed, Err(Error::Checksum { .. })),
            "{changed:?}"
        );
    }
}
