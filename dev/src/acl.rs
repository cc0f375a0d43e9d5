//! ACLs of a broker, granted and revoked in milliseconds: the rdkafka crate cannot do it, and Kafka's
//! own tool takes seconds. Speaks the three requests of Kafka's protocol itself, over a plain
//! connection whose user is a super user, and returns once the broker acts on the change.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::error::{Error, Result};

const DESCRIBE: i16 = 29;
const CREATE: i16 = 30;
const DELETE: i16 = 31;
/// The last version before the flexible ones; Kafka 2.0 to 4 speak it.
const VERSION: i16 = 1;
const LITERAL: i8 = 3;
const ALLOW: i8 = 3;
const ANY_HOST: &str = "*";
const BOUND: Duration = Duration::from_secs(15);

/// What an ACL is about; the numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'name> {
    /// A topic.
    Topic(&'name str),
    /// A consumer group.
    Group(&'name str),
    /// The cluster as a whole.
    Cluster,
}

impl<'name> Resource<'name> {
    fn number_and_name(self) -> (i8, &'name str) {
        match self {
            Self::Topic(name) => (2, name),
            Self::Group(name) => (3, name),
            Self::Cluster => (4, "kafka-cluster"),
        }
    }
}

/// What an ACL allows; the numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Kafka's own")]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

/// One permission: `user` may do `operation` on `resource`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acl<'name> {
    /// The user's name, without `User:`.
    pub user: &'name str,
    /// On what.
    pub resource: Resource<'name>,
    /// What.
    pub operation: Operation,
}

/// A way to a broker's ACLs.
#[derive(Debug, Clone)]
pub struct Acls {
    address: String,
}

impl Acls {
    /// The ACLs of the broker at `address` (`host:port`), a plain listener whose user is a super user.
    #[must_use]
    pub fn of(address: &str) -> Self {
        Self {
            address: address.to_owned(),
        }
    }

    /// Gives permissions, and returns when the broker acts on them.
    ///
    /// # Errors
    /// What the broker says, or that it does not answer.
    pub async fn grant(&self, acls: &[Acl<'_>]) -> Result<()> {
        let mut body = Body::default();
        body.count(acls.len());
        for acl in acls {
            let (kind, name) = acl.resource.number_and_name();
            body.byte(kind).text(name).byte(LITERAL);
            body.text(&principal(acl)).text(ANY_HOST);
            body.byte(acl.operation as i8).byte(ALLOW);
        }
        self.change(CREATE, &body, acls, true).await
    }

    /// Takes permissions away, and returns when the broker acts on it. One that is not there is no error.
    ///
    /// # Errors
    /// As [`Acls::grant`].
    pub async fn revoke(&self, acls: &[Acl<'_>]) -> Result<()> {
        let mut body = Body::default();
        body.count(acls.len());
        for acl in acls {
            body.filter(acl);
        }
        self.change(DELETE, &body, acls, false).await
    }

    async fn change(&self, key: i16, body: &Body, acls: &[Acl<'_>], given: bool) -> Result<()> {
        let answer = self.ask(key, body).await?;
        let mut answer = Answer::new(&answer);
        answer.skip(4);
        for _ in 0..answer.count() {
            answer.fault()?;
            if key == DELETE {
                answer.skip_deleted();
            }
        }
        let began = Instant::now();
        for acl in acls {
            while self.has(acl).await? != given {
                if began.elapsed() > BOUND {
                    return Err(failed(format!("{acl:?} has not come into effect")));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    async fn has(&self, acl: &Acl<'_>) -> Result<bool> {
        let mut body = Body::default();
        body.filter(acl);
        let answer = self.ask(DESCRIBE, &body).await?;
        let mut answer = Answer::new(&answer);
        answer.skip(4);
        answer.fault()?;
        Ok(answer.count() > 0)
    }

    /// Sends one request over a connection of its own, and returns the answer behind its header.
    async fn ask(&self, key: i16, body: &Body) -> Result<Vec<u8>> {
        let mut request = Body::default();
        request.short(key).short(VERSION).long(0).text("dev");
        request.0.extend_from_slice(&body.0);
        let exchange = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            let length = i32::try_from(request.0.len()).expect("a request is short");
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(&request.0).await?;
            let length = stream.read_i32().await?;
            let mut answer = vec![0; usize::try_from(length).unwrap_or(0)];
            stream.read_exact(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        match tokio::time::timeout(BOUND, exchange).await {
            // The number that ties the answer to its request comes first.
            Ok(Ok(answer)) if answer.len() >= 4 => Ok(answer[4..].to_vec()),
            Ok(Ok(_)) => Err(failed("an empty answer".to_owned())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {BOUND:?}"))),
        }
    }
}

fn principal(acl: &Acl<'_>) -> String {
    format!("User:{}", acl.user)
}

fn failed(detail: String) -> Error {
    Error::Setup {
        what: "change ACLs",
        detail,
    }
}

/// A request in the making: Kafka's protocol is big-endian, and texts have their length before them.
#[derive(Debug, Default)]
struct Body(Vec<u8>);

impl Body {
    fn byte(&mut self, value: i8) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn short(&mut self, value: i16) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn long(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn count(&mut self, value: usize) -> &mut Self {
        self.long(i32::try_from(value).expect("ACLs are few"))
    }

    fn text(&mut self, value: &str) -> &mut Self {
        self.short(i16::try_from(value.len()).expect("names are short"));
        self.0.extend(value.as_bytes());
        self
    }

    fn filter(&mut self, acl: &Acl<'_>) -> &mut Self {
        let (kind, name) = acl.resource.number_and_name();
        self.byte(kind).text(name).byte(LITERAL);
        self.text(&principal(acl)).text(ANY_HOST);
        self.byte(acl.operation as i8).byte(ALLOW)
    }
}

/// An answer, read from its front.
#[derive(Debug)]
struct Answer<'bytes>(&'bytes [u8]);

impl<'bytes> Answer<'bytes> {
    fn new(bytes: &'bytes [u8]) -> Self {
        Self(bytes)
    }

    fn skip(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or_default();
    }

    fn short(&mut self) -> i16 {
        let bytes = self.0.first_chunk().copied().unwrap_or_default();
        self.skip(2);
        i16::from_be_bytes(bytes)
    }

    fn count(&mut self) -> usize {
        let bytes = self.0.first_chunk().copied().unwrap_or_default();
        self.skip(4);
        usize::try_from(i32::from_be_bytes(bytes)).unwrap_or(0)
    }

    fn text(&mut self) -> String {
        let length = usize::try_from(self.short()).unwrap_or(0);
        let bytes = self.0.get(..length).unwrap_or_default();
        self.skip(length);
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// An error code and its words.
    fn fault(&mut self) -> Result<()> {
        let code = self.short();
        let words = self.text();
        if code == 0 {
            return Ok(());
        }
        Err(failed(format!("the broker says {code} {words}")))
    }

    /// What one filter of a deletion met.
    fn skip_deleted(&mut self) {
        for _ in 0..self.count() {
            self.short();
            self.text();
            self.skip(1);
            self.text();
            self.skip(1);
            self.text();
            self.text();
            self.skip(2);
        }
    }
}
