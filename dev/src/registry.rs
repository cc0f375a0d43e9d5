//! The schema registry: Apicurio, which speaks Confluent's API below `/apis/ccompat/v7`. It keeps its
//! schemas in memory, so a restart loses them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::archive::Archive;
use crate::cache::{Cache, check_sha256};
use crate::client::{self, Java};
use crate::error::{Error, IoContext as _, Result};
use crate::options::Source;
use crate::place::Place;
use crate::port::Port;
use crate::progress::Progress;
use crate::service::{Probe, Service};

/// Names a running registry with Confluent's API by its base URL.
pub const REGISTRY_VARIABLE: &str = "SESSION_WORKER_DEV_REGISTRY_URL";

const PART: &str = "apicurio-registry-2.6.13";
const TITLE: &str = "fetching Apicurio Registry 2.6.13 (142 MB)";
const ARTIFACT: &str = "io.apicurio:apicurio-registry-app:2.6.13.Final:tar.gz:all";
const ARCHIVE: &str = "apicurio-registry-app-2.6.13.Final-all.tar.gz";
const ARCHIVE_SHA256: &str = "3cda1b34aa020fb4ac4dd6a66018d757e81e437f97e20a1f92d366b70091c6ba";
const RUNNER: &str = "apicurio-registry-app-2.6.13.Final-runner.jar";
const MAVEN_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";

/// Where the registry lies.
#[derive(Debug)]
pub(crate) struct Installation {
    java: Java,
    runner: PathBuf,
    archive: Archive,
    pub(crate) origin: String,
}

/// Says what a fetch would lack, before anything is fetched.
pub(crate) fn check(cache: &Cache) -> Vec<Error> {
    if cache.has(PART) {
        return Vec::new();
    }
    let maven = client::maven_program(REGISTRY_VARIABLE).err();
    client::java(REGISTRY_VARIABLE)
        .err()
        .into_iter()
        .chain(maven)
        .collect()
}

/// Finds the registry in the cache, or fetches it.
pub(crate) async fn find(cache: &Cache, progress: Progress) -> Result<Installation> {
    let java = client::java(REGISTRY_VARIABLE)?;
    let fetched = cache
        .part(PART, TITLE, progress, async |folder| {
            fetch(cache, folder, progress).await
        })
        .await?;
    let mut installation = Installation {
        java,
        runner: fetched.join(RUNNER),
        archive: Archive::None,
        origin: format!("fetched, {}", fetched.display()),
    };
    let port = Port::free(cache)?;
    let record = async |place: &Place, archive: Archive| {
        start(&installation, &archive, place, port.number())
    };
    let title = "preparing the registry for quick starts";
    let archive = Archive::of(cache, &fetched, title, &installation.java, progress, record);
    installation.archive = archive.await?;
    Ok(installation)
}

async fn fetch(cache: &Cache, folder: &Path, progress: Progress) -> Result<()> {
    let mut output = OsString::from("-DoutputDirectory=");
    output.push(folder);
    let arguments = vec![
        MAVEN_GOAL.into(),
        format!("-Dartifact={ARTIFACT}").into(),
        output,
    ];
    client::maven(
        cache,
        "the registry",
        folder,
        arguments,
        REGISTRY_VARIABLE,
        progress,
    )
    .await?;
    let folder = folder.to_path_buf();
    tokio::task::spawn_blocking(move || unpack(&folder))
        .await
        .expect("unpacking the registry does not panic and is not cancelled")
}

fn unpack(folder: &Path) -> Result<()> {
    let archive = folder.join(ARCHIVE);
    check_sha256(&archive, ARCHIVE_SHA256)?;
    let file = std::fs::File::open(&archive).io("open", &archive)?;
    let decoder = flate2::read::GzDecoder::new(std::io::BufReader::new(file));
    tar::Archive::new(decoder)
        .unpack(folder)
        .io("unpack", &archive)?;
    std::fs::remove_file(&archive).io("remove", &archive)?;
    if folder.join(RUNNER).is_file() {
        return Ok(());
    }
    Err(Error::Incomplete {
        part: ARCHIVE.to_owned(),
        detail: format!("{RUNNER} is not in it"),
    })
}

impl Installation {
    /// Starts a registry.
    pub(crate) fn start(&self, place: &Place, port: u16) -> Result<Service> {
        start(self, &self.archive, place, port)
    }
}

fn start(
    installation: &Installation,
    archive: &Archive,
    place: &Place,
    port: u16,
) -> Result<Service> {
    let folder = place.service("registry")?;
    // The runner unpacks web pages into its temporary folder and leaves them there.
    let temporary = folder.join("tmp");
    std::fs::create_dir_all(&temporary).io("create", &temporary)?;
    let mut temporary_property = OsString::from("-Djava.io.tmpdir=");
    temporary_property.push(temporary);
    let mut arguments = [
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-Dquarkus.http.host=127.0.0.1",
    ]
    .map(OsString::from)
    .to_vec();
    arguments.extend(archive.argument());
    arguments.push(format!("-Dquarkus.http.port={port}").into());
    arguments.push(temporary_property);
    arguments.push("-jar".into());
    arguments.push(installation.runner.clone().into());
    let address = format!("127.0.0.1:{port}");
    let spec = place.spec(folder, installation.java.program.clone(), arguments);
    Service::start("registry", address, Probe::Registry, spec)
}

/// The base URL for clients of a registry that listens on `host:port`.
pub(crate) fn url(address: &str) -> String {
    format!("http://{address}/apis/ccompat/v7")
}

/// Checks the running registry that the environment names, if it names one.
pub(crate) async fn named(source: Source) -> Result<Option<String>> {
    let Some(url) = source.variable(REGISTRY_VARIABLE) else {
        return Ok(None);
    };
    let url = url.trim_end_matches('/').to_owned();
    match probe(&url).await {
        Ok(()) => Ok(Some(url)),
        Err(detail) => {
            let address = crate::services::without_credentials(&url);
            Err(Error::NotAnswering {
                variable: REGISTRY_VARIABLE,
                address,
                detail,
            })
        }
    }
}

/// Asks for the list of subjects.
pub(crate) async fn probe(url: &str) -> std::result::Result<(), String> {
    // A proxy in the environment is not meant for services of this machine.
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(3))
        .build();
    let client = client.map_err(|error| error.to_string())?;
    let answer = client.get(format!("{url}/subjects")).send().await;
    let answer = answer.map_err(|error| error.without_url().to_string())?;
    let status = answer.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("it answers {status}"))
    }
}
