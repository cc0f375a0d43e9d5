//! A set of services: started in parallel, each in a folder of its own, and ended together. Dropping
//! the set ends it; if the process dies without dropping anything, the guards end it.

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::acl::Acls;
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::kafka::{Broker, Listeners};
use crate::mongo::Member;
use crate::options::{Mongo, Options, Ports};
use crate::place::{Place, Root};
use crate::port::Port;
use crate::protection::{Protection, Secrets};
use crate::service::{Probe, Service};
use crate::{kafka, mongo, registry};

/// One service as it is shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// `kafka`, `mongo-0`, `registry` …
    pub name: String,
    /// The address for clients, without credentials.
    pub address: String,
    /// Where it comes from: a variable, an installation, a fetched part.
    pub origin: String,
    /// Its log, if it was started here.
    pub log: Option<PathBuf>,
    /// Its process id, if it was started here.
    pub pid: Option<u32>,
}

/// Running services. Dropping them ends those that were started, and waits for their end.
#[derive(Debug)]
pub struct Services {
    kafka: Option<Part>,
    mongo: Option<Part>,
    registry: Option<Part>,
    protected: Option<Protected>,
    // Dropped after the services: the folder's removal, then the ports' reservations.
    _root: Root,
    _ports: Vec<Port>,
}

/// What a protected set knows besides.
#[derive(Debug)]
struct Protected {
    secrets: Secrets,
    listeners: Option<Listeners>,
}

#[derive(Debug)]
struct Part {
    /// The address for clients.
    address: String,
    origin: String,
    /// Empty for a running service that the environment names.
    own: Vec<Service>,
}

impl Part {
    fn named(address: String, variable: &str) -> Self {
        Self {
            address,
            origin: format!("named by {variable}"),
            own: Vec::new(),
        }
    }
}

impl Services {
    /// Finds or fetches, starts, and waits until all answer. On an error nothing is left running.
    pub async fn start(options: Options) -> Result<Self> {
        Self::start_with(&Cache::of_user()?, options).await
    }

    /// The same with a cache of the caller's choice.
    pub async fn start_with(cache: &Cache, options: Options) -> Result<Self> {
        let mut ports = Vec::new();
        let place = Place::new(options.folder.clone())?;
        let secrets = match options.protection {
            Protection::None => None,
            Protection::Full => Some(Secrets::new()?),
        };
        let begin = Begin {
            cache,
            place: &place,
            options: &options,
            secrets: secrets.as_ref(),
        };
        // Ports are taken before anything is fetched, so that a taken one is told at once.
        let kafka_ports = begin.kafka_ports().await?;
        let mongo_ports = begin.mongo_ports().await?;
        let registry_ports = begin.registry_ports().await?;
        begin.check([
            (&kafka_ports, kafka::check),
            (&mongo_ports, mongo::check),
            (&registry_ports, registry::check),
        ])?;
        let (kafka, mongo, registry) = tokio::try_join!(
            begin.kafka(&kafka_ports),
            begin.mongo(&mongo_ports),
            begin.registry(&registry_ports),
        )?;
        let listeners = listeners(&kafka_ports);
        for taken in [kafka_ports, mongo_ports, registry_ports] {
            if let Wanted::Start(taken) = taken {
                ports.extend(taken);
            }
        }
        Ok(Self {
            kafka,
            mongo,
            registry,
            protected: secrets.map(|secrets| Protected { secrets, listeners }),
            _root: place.root,
            _ports: ports,
        })
    }

    /// Kafka's bootstrap servers, `host:port`. Panics if the set was started without Kafka.
    #[must_use]
    pub fn kafka(&self) -> &str {
        &part(self.kafka.as_ref(), "Kafka").address
    }

    /// MongoDB's connection string, without a database. Panics if the set was started without it.
    #[must_use]
    pub fn mongo_uri(&self) -> &str {
        &part(self.mongo.as_ref(), "MongoDB").address
    }

    /// The registry's base URL with its path. Panics if the set was started without a registry.
    #[must_use]
    pub fn registry_url(&self) -> &str {
        &part(self.registry.as_ref(), "a registry").address
    }

    /// The users, certificates and keys of protected parts. Panics if the set was started without
    /// [`Protection::Full`].
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.protected().secrets
    }

    /// The listeners of a protected broker; [`Services::kafka`] is the plain one of a super user.
    /// Panics if the set was started without [`Protection::Full`] or without Kafka.
    #[must_use]
    pub fn listeners(&self) -> &Listeners {
        let listeners = self.protected().listeners.as_ref();
        listeners.expect("the services were started without Kafka")
    }

    fn protected(&self) -> &Protected {
        let protected = self.protected.as_ref();
        protected.expect("the services were started without protection")
    }

    /// The ACLs of a protected broker.
    #[must_use]
    pub fn acls(&self) -> Acls {
        Acls::of(self.kafka())
    }

    /// Deletes the records of a partition before an offset, as retention does.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        kafka::delete_records(self.kafka(), topic, partition, before).await
    }

    /// The broker as a process. Panics if this set has not started it itself ([`Source::Own`] does).
    #[must_use]
    pub fn broker(&self) -> &Service {
        own(self.kafka.as_ref(), "Kafka", 0)
    }

    /// A member of the replica set as a process. Panics as [`Services::broker`] does.
    #[must_use]
    pub fn member(&self, index: usize) -> &Service {
        own(self.mongo.as_ref(), "MongoDB", index)
    }

    /// The members of the replica set that this set has started.
    #[must_use]
    pub fn members(&self) -> &[Service] {
        self.mongo
            .as_ref()
            .map(|part| part.own.as_slice())
            .unwrap_or_default()
    }

    /// The registry as a process. Panics as [`Services::broker`] does.
    #[must_use]
    pub fn registry_process(&self) -> &Service {
        own(self.registry.as_ref(), "a registry", 0)
    }

    /// The member that is primary at this moment, if one is. Members that do not answer within a
    /// second count as not primary.
    pub async fn primary(&self) -> Option<&Service> {
        let members = self.members();
        mongo::primary(members).await.map(|index| &members[index])
    }

    /// What runs, for people.
    #[must_use]
    pub fn found(&self) -> Vec<Found> {
        let parts = [
            ("kafka", &self.kafka),
            ("mongo", &self.mongo),
            ("registry", &self.registry),
        ];
        let mut found = Vec::new();
        for (name, part) in parts {
            let Some(part) = part else { continue };
            if part.own.is_empty() {
                found.push(Found {
                    name: name.to_owned(),
                    address: without_credentials(&part.address),
                    origin: part.origin.clone(),
                    log: None,
                    pid: None,
                });
            }
            found.extend(part.own.iter().map(|service| Found {
                name: service.name().to_owned(),
                address: service.address().to_owned(),
                origin: part.origin.clone(),
                log: Some(service.log().to_path_buf()),
                pid: service.pid(),
            }));
        }
        found
    }

    /// The services that this set has started.
    pub fn started(&self) -> impl Iterator<Item = &Service> {
        [&self.kafka, &self.mongo, &self.registry]
            .into_iter()
            .flatten()
            .flat_map(|part| &part.own)
    }

    /// Ends what was started, and returns when it is gone.
    pub async fn stop(self) {
        self.close();
        for service in self.started() {
            service.gone().await;
        }
    }

    /// Lets every guard begin before the first is waited for.
    fn close(&self) {
        self.started().for_each(Service::close);
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.close();
    }
}

fn part<'part>(part: Option<&'part Part>, name: &str) -> &'part Part {
    part.unwrap_or_else(|| panic!("the services were started without {name}"))
}

fn own<'part>(whole: Option<&'part Part>, name: &str, index: usize) -> &'part Service {
    let whole = part(whole, name);
    whole.own.get(index).unwrap_or_else(|| {
        let origin = &whole.origin;
        panic!("{name} ({origin}) has no process number {index} here; ask for Source::Own")
    })
}

/// An address as it may be shown: what stands before an `@` is cut out.
pub(crate) fn without_credentials(address: &str) -> String {
    match (address.find("://"), address.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}{}", &address[..scheme + 3], &address[at + 1..])
        }
        _ => address.to_owned(),
    }
}

/// One part of the set before it is started.
enum Wanted {
    /// It was not asked for.
    No,
    /// The environment names a running one.
    Named(String),
    /// It is to be started on these ports.
    Start(Vec<Port>),
}

/// Says what a fetch of one part would lack.
type Check = fn(&Cache) -> Vec<Error>;

/// The listeners of a protected broker, where there is one.
fn listeners(kafka: &Wanted) -> Option<Listeners> {
    let Wanted::Start(ports) = kafka else {
        return None;
    };
    ports.get(KAFKA_PORTS..)?.try_into().ok().map(Listeners::on)
}

/// The ports of a broker without protection: its own, and its controller's.
const KAFKA_PORTS: usize = 2;

struct Begin<'start> {
    cache: &'start Cache,
    place: &'start Place,
    options: &'start Options,
    secrets: Option<&'start Secrets>,
}

impl Begin<'_> {
    async fn kafka_ports(&self) -> Result<Wanted> {
        if !self.options.kafka {
            return Ok(Wanted::No);
        }
        if let Some(address) = kafka::named(self.options.source_of_kafka()).await? {
            return Ok(Wanted::Named(address));
        }
        let port = self.port("Kafka", 0, "--kafka-port", kafka::KAFKA_VARIABLE)?;
        let mut ports = vec![port, Port::free(self.cache)?];
        if self.secrets.is_some() {
            for _ in 0..kafka::LISTENER_PORTS {
                ports.push(Port::free(self.cache)?);
            }
        }
        Ok(Wanted::Start(ports))
    }

    async fn mongo_ports(&self) -> Result<Wanted> {
        if self.options.mongo == Mongo::None {
            return Ok(Wanted::No);
        }
        if let Some(address) = mongo::named(self.options.source_of_mongo()).await? {
            return Ok(Wanted::Named(address));
        }
        let ports = (0..self.options.mongo.members())
            .map(|index| self.port("MongoDB", index, "--mongo-port", mongo::MONGO_VARIABLE))
            .collect::<Result<_>>()?;
        Ok(Wanted::Start(ports))
    }

    async fn registry_ports(&self) -> Result<Wanted> {
        if !self.options.registry {
            return Ok(Wanted::No);
        }
        if let Some(address) = registry::named(self.options.source).await? {
            return Ok(Wanted::Named(address));
        }
        let variable = registry::REGISTRY_VARIABLE;
        Ok(Wanted::Start(vec![self.port(
            "the registry",
            0,
            "--registry-port",
            variable,
        )?]))
    }

    /// Names all that is missing at once, each thing once.
    fn check(&self, parts: [(&Wanted, Check); 3]) -> Result<()> {
        let mut missing = Vec::new();
        let asked = parts
            .iter()
            .filter(|(wanted, _)| matches!(wanted, Wanted::Start(_)));
        for error in asked.flat_map(|(_, check)| check(self.cache)) {
            let is_known = missing.iter().any(|known| match (known, &error) {
                (Error::Missing { what: known, .. }, Error::Missing { what, .. }) => known == what,
                _ => false,
            });
            if !is_known {
                missing.push(error);
            }
        }
        match missing.len() {
            0 => Ok(()),
            1 => Err(missing.remove(0)),
            _ => Err(Error::Several(missing)),
        }
    }

    fn port(&self, what: &str, index: u16, flag: &str, variable: &str) -> Result<Port> {
        let Ports::Fixed {
            kafka,
            mongo,
            registry,
        } = self.options.ports
        else {
            return Port::free(self.cache);
        };
        let first = match what {
            "Kafka" => kafka,
            "MongoDB" => mongo,
            _ => registry,
        };
        let hint = format!("end it, choose another port with {flag}, or use it with {variable}");
        Port::fixed(first.saturating_add(index), what, &hint)
    }

    async fn kafka(&self, wanted: &Wanted) -> Result<Option<Part>> {
        let ports = match wanted {
            Wanted::No => return Ok(None),
            Wanted::Named(address) => {
                return Ok(Some(Part::named(address.clone(), kafka::KAFKA_VARIABLE)));
            }
            Wanted::Start(ports) => ports,
        };
        let progress = self.options.progress;
        let installation = kafka::find(self.cache, progress).await?;
        let began = Instant::now();
        let listeners = listeners(wanted);
        let broker = Broker {
            port: ports[0].number(),
            controller_port: ports[1].number(),
            own: &self.options.kafka_properties,
            protected: self.secrets.zip(listeners.as_ref()),
        };
        let service = installation.start(self.place, &broker).await?;
        service.ready().await?;
        let address = service.address().to_owned();
        progress.step(&format!(
            "Kafka is ready on {address} ({:.1?})",
            began.elapsed()
        ));
        Ok(Some(Part {
            address,
            origin: installation.origin,
            own: vec![service],
        }))
    }

    async fn mongo(&self, wanted: &Wanted) -> Result<Option<Part>> {
        let ports = match wanted {
            Wanted::No => return Ok(None),
            Wanted::Named(address) => {
                return Ok(Some(Part::named(address.clone(), mongo::MONGO_VARIABLE)));
            }
            Wanted::Start(ports) => ports,
        };
        let progress = self.options.progress;
        let installation = mongo::find(self.cache, progress).await?;
        let began = Instant::now();
        let members = ports
            .iter()
            .enumerate()
            .map(|(index, port)| {
                let fail_points = self.options.fail_points;
                let member = Member {
                    index,
                    port: port.number(),
                    fail_points,
                    secrets: self.secrets,
                };
                mongo::start(&installation, self.place, &member)
            })
            .collect::<Result<Vec<_>>>()?;
        for member in &members {
            member
                .ready_by(&Probe::BareMember(member.authority()))
                .await?;
        }
        mongo::initiate(&members, self.secrets).await?;
        let address = mongo::uri(&members, self.secrets);
        progress.step(&format!(
            "MongoDB is ready on {} ({:.1?})",
            without_credentials(&address),
            began.elapsed()
        ));
        Ok(Some(Part {
            address,
            origin: installation.origin,
            own: members,
        }))
    }

    async fn registry(&self, wanted: &Wanted) -> Result<Option<Part>> {
        let ports = match wanted {
            Wanted::No => return Ok(None),
            Wanted::Named(address) => {
                return Ok(Some(Part::named(
                    address.clone(),
                    registry::REGISTRY_VARIABLE,
                )));
            }
            Wanted::Start(ports) => ports,
        };
        let progress = self.options.progress;
        let installation = registry::find(self.cache, progress).await?;
        let began = Instant::now();
        let service = installation.start(self.place, ports[0].number())?;
        service.ready().await?;
        let address = registry::url(service.address());
        progress.step(&format!(
            "the registry is ready on {address} ({:.1?})",
            began.elapsed()
        ));
        Ok(Some(Part {
            address,
            origin: installation.origin,
            own: vec![service],
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::without_credentials;

    #[test]
    fn credentials_are_never_shown() {
        for (address, shown) in [
            ("mongodb://user:secret@host:1/db", "mongodb://host:1/db"),
            (
                "mongodb://host:1,host:2/?replicaSet=rs0",
                "mongodb://host:1,host:2/?replicaSet=rs0",
            ),
            ("https://user:s@cret@host/apis", "https://host/apis"),
            ("127.0.0.1:9092", "127.0.0.1:9092"),
        ] {
            assert_eq!(without_credentials(address), shown);
        }
    }
}
