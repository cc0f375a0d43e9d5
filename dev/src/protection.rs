//! What protected parts are protected with: an authority and its certificates, users with passwords,
//! and a key that signs tokens. Made anew for every set, and worth nothing outside of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::error::{Error, IoContext as _, Result};

/// Whether parts ask who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// No: whoever reaches them may do everything.
    None,
    /// Kafka has TLS, SASL and ACLs, MongoDB has TLS and users. Such parts are always started here,
    /// whatever the environment names.
    Full,
}

/// The user that the tests' ACLs and roles are for.
pub const WORKER: &str = "worker";
/// A user whom Kafka knows, and who may do nothing there.
pub const STRANGER: &str = "stranger";
/// MongoDB's administrator.
pub(crate) const ADMIN: &str = "admin";
/// `aud` of the tokens that Kafka accepts.
pub(crate) const AUDIENCE: &str = "kafka";
/// `kid` of the only key.
const KEY_ID: &str = "dev";

/// A certificate and its private key, as PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS#8 and not encrypted.
    pub key: String,
}

impl Pair {
    /// Both, one after the other.
    #[must_use]
    pub fn both(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }
}

/// The secrets of one set of protected parts.
#[derive(Debug)]
pub struct Secrets {
    /// The authority that the parts trust and that signed their certificates, as PEM.
    pub authority: String,
    /// An authority that nothing here was signed by, as PEM.
    pub foreign_authority: String,
    /// The client certificate of [`WORKER`]: `CN=worker,O=session-worker`.
    pub worker: Pair,
    /// The same subject, signed by the foreign authority.
    pub impostor: Pair,
    pub(crate) server: Pair,
    /// Right but for the name: it is of `elsewhere.test`.
    pub(crate) misnamed: Pair,
    token_key: KeyPair,
    secret: String,
}

impl Secrets {
    #[expect(
        clippy::disallowed_methods,
        reason = "passwords are random, and derive from nothing"
    )]
    pub(crate) fn new() -> Result<Self> {
        let made = || -> std::result::Result<Self, rcgen::Error> {
            let ours = Authority::new("session-worker dev authority")?;
            let foreign = Authority::new("foreign authority")?;
            Ok(Self {
                server: ours.server("127.0.0.1")?,
                misnamed: ours.server("elsewhere.test")?,
                worker: ours.client(WORKER)?,
                impostor: foreign.client(WORKER)?,
                authority: ours.certificate,
                foreign_authority: foreign.certificate,
                token_key: KeyPair::generate()?,
                secret: uuid::Uuid::new_v4().simple().to_string(),
            })
        };
        made().map_err(|error| Error::Setup {
            what: "make certificates",
            detail: error.to_string(),
        })
    }

    /// The password of a user, in Kafka and MongoDB alike.
    #[must_use]
    pub fn password(&self, user: &str) -> String {
        format!("{user}-{}", self.secret)
    }

    /// A token that Kafka takes for `user` during `lifetime`.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn token(&self, user: &str, lifetime: Duration) -> Result<String> {
        #[expect(
            clippy::disallowed_methods,
            reason = "an identity provider's tokens end by wall time"
        )]
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let claims = json!({
            "sub": user,
            "aud": AUDIENCE,
            "iat": now.as_secs(),
            "exp": (now + lifetime).as_secs(),
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(KEY_ID.to_owned());
        let key = EncodingKey::from_ec_der(self.token_key.serialized_der());
        jsonwebtoken::encode(&header, &claims, &key).map_err(|error| Error::Setup {
            what: "sign a token",
            detail: error.to_string(),
        })
    }

    /// The public half of the tokens' key, as a JWK set.
    fn key_set(&self) -> String {
        // An uncompressed point: 4, then both coordinates.
        let (x, y) = self.token_key.public_key_raw()[1..].split_at(32);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID,
            "x": base64_url(x), "y": base64_url(y),
        }]})
        .to_string()
    }

    /// Writes what a server needs into its folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<Files> {
        let files = Self::files(folder);
        let contents = [
            (&files.authority, self.authority.clone()),
            (&files.server, self.server.both()),
            (&files.misnamed, self.misnamed.both()),
            (&files.key_set, self.key_set()),
            (&files.key_file, self.secret.clone()),
        ];
        for (path, text) in contents {
            std::fs::write(path, text).io("write", path)?;
            // MongoDB refuses a key file that others may read.
            private(path)?;
        }
        Ok(files)
    }

    /// Where [`Secrets::write`] puts them.
    pub(crate) fn files(folder: &Path) -> Files {
        Files {
            authority: folder.join("authority.pem"),
            server: folder.join("server.pem"),
            misnamed: folder.join("misnamed.pem"),
            key_set: folder.join("keys.json"),
            key_file: folder.join("keyfile"),
        }
    }
}

/// The files of one server.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) authority: PathBuf,
    pub(crate) server: PathBuf,
    pub(crate) misnamed: PathBuf,
    pub(crate) key_set: PathBuf,
    /// What members of a replica set know each other by.
    pub(crate) key_file: PathBuf,
}

fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let owner_only = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, owner_only).io("make private", path)
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new(name: &str) -> std::result::Result<Self, rcgen::Error> {
        let mut params = subject(Vec::new(), name, "session-worker dev")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self {
            issuer,
            certificate,
        })
    }

    fn server(&self, host: &str) -> std::result::Result<Pair, rcgen::Error> {
        // MongoDB takes a client whose organisation is its own for a member of the set.
        let mut params = subject(vec![host.to_owned()], host, "session-worker dev servers")?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.sign(params)
    }

    fn client(&self, name: &str) -> std::result::Result<Pair, rcgen::Error> {
        let mut params = subject(Vec::new(), name, "session-worker")?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> std::result::Result<Pair, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let key = key.serialize_pem();
        Ok(Pair { certificate, key })
    }
}

fn subject(
    hosts: Vec<String>,
    name: &str,
    organisation: &str,
) -> std::result::Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, organisation);
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
