//! Registries with TLS: an own authority, client certificates, and the errors if they are wrong. The
//! tests make the certificates.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::proxy::Proxy;
use super::{behind, deployment};
use crate::worker::client::unique;
use crate::worker::deployment::Ended;

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, unique("authority"));
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, name: &str) -> Identity {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("it is good");
        Arc::new(roots)
    }
}

/// A server as `identity`, for the clients of `clients` only, if there is one.
fn server(identity: &Identity, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("protocols");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authority.roots(), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes());
    let chain = vec![certificate.expect("a certificate")];
    builder
        .with_single_cert(chain, key.expect("a key"))
        .expect("they go together")
}

/// A file that goes away with its value.
struct Temporary(PathBuf);

impl Temporary {
    fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(unique("session-worker-pem"));
        std::fs::write(&path, text).expect("the file is written");
        Self(path)
    }

    fn setting(&self, key: &str) -> String {
        format!("{key}={}", self.0.display())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[track_caller]
fn says(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    for word in words {
        assert!(ended.text.contains(word), "no {word}: {}", ended.text);
    }
    assert!(!ended.text.contains("start the registry"), "{}", ended.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_authority_is_trusted_if_it_is_set() {
    let authority = Authority::new();
    let proxy = Proxy::with_tls(server(&authority.issue("localhost"), None)).await;
    let deployment = behind(&deployment(), proxy.url());
    let file = Temporary::new(&authority.pem());
    let as_text = format!("registry.caPem={}", authority.pem());
    for setting in [file.setting("registry.caFile"), as_text] {
        for command in ["register", "check"] {
            let ended = deployment.run(&["schemas", command], &[&setting]).await;
            assert_eq!(ended.code, Some(0), "{}", ended.text);
        }
    }
    let other = Temporary::new(&Authority::new().pem());
    for settings in [vec![], vec![other.setting("registry.caFile")]] {
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let ended = deployment.run(&["schemas", "check"], &settings).await;
        says(&ended, &["certificate", "set registry.caFile"]);
    }
    let elsewhere = proxy.url().replace("localhost", "127.0.0.1");
    let elsewhere = behind(&deployment, &elsewhere);
    let trusted = file.setting("registry.caFile");
    let ended = elsewhere.run(&["schemas", "check"], &[&trusted]).await;
    says(&ended, &["certificate", "use in registry.urls a host"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_sent_if_it_is_set() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let identity = authority.issue("localhost");
    let proxy = Proxy::with_tls(server(&identity, Some(&clients))).await;
    let deployment = behind(&deployment(), proxy.url());
    let trusted = Temporary::new(&authority.pem());
    let trusted = trusted.setting("registry.caFile");
    let worker = clients.issue("worker");
    let files = [&worker.certificate, &worker.key].map(|pem| Temporary::new(pem));
    let files = [
        files[0].setting("registry.certificateFile"),
        files[1].setting("registry.keyFile"),
    ];
    let texts = [
        format!("registry.certificatePem={}", worker.certificate),
        format!("registry.keyPem={}", worker.key),
    ];
    for [certificate, key] in [&files, &texts] {
        for command in ["register", "check"] {
            let settings = [&*trusted, certificate, key];
            let ended = deployment.run(&["schemas", command], &settings).await;
            assert_eq!(ended.code, Some(0), "{}", ended.text);
        }
    }

    let mut command = deployment.command(&["schemas", "check"], &[&trusted, &files[0]]);
    let key = Temporary::new(&worker.key);
    command.env("SESSION_WORKER__REGISTRY__KEY_PEM_FILE", &key.0);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("it does not panic").expect("it runs");
    assert!(output.status.success(), "{output:?}");

    let ended = deployment.run(&["schemas", "check"], &[&trusted]).await;
    says(&ended, &["registry.certificateFile", "registry.keyFile"]);
    let stranger = authority.issue("worker");
    let stranger = [&stranger.certificate, &stranger.key].map(|pem| Temporary::new(pem));
    let settings = [
        trusted.clone(),
        stranger[0].setting("registry.certificateFile"),
        stranger[1].setting("registry.keyFile"),
    ];
    let settings = settings.each_ref().map(String::as_str);
    let ended = deployment.run(&["schemas", "check"], &settings).await;
    says(&ended, &["registry.certificateFile", "registry.keyFile"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_scheme_is_named() {
    let authority = Authority::new();
    let secured = Proxy::with_tls(server(&authority.issue("localhost"), None)).await;
    let open = super::proxy::Proxy::new(super::proxy::Behavior::Open).await;
    let plain = secured.url().replace("https://", "http://");
    let ended = behind(&deployment(), &plain)
        .run(&["schemas", "check"], &[])
        .await;
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    let secret = open.url().replace("http://", "https://");
    let ended = behind(&deployment(), &secret)
        .run(&["schemas", "check"], &[])
        .await;
    says(&ended, &["should begin with http://"]);
}
