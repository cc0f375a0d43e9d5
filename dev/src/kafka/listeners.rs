//! The listeners of a protected broker: which mechanisms each speaks, with which certificate, and what
//! makes ACLs count. All of it is server properties.

use std::collections::BTreeMap;
use std::path::Path;

use crate::port::Port;
use crate::protection::{AUDIENCE, Files, STRANGER, Secrets, WORKER};

/// The listeners of a protected broker beside the plain one, each as `host:port`. The plain one's user
/// is a super user; every other user may do what ACLs allow, and nothing without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// SASL without TLS: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER.
    pub sasl_plaintext: String,
    /// The same mechanisms over TLS.
    pub sasl_ssl: String,
    /// TLS with client certificates; the common name is the user.
    pub ssl: String,
    /// As `sasl_ssl`, but its certificate is another host's.
    pub misnamed: String,
    /// A plain one that advertises an address where nothing answers.
    pub astray: String,
}

/// How many ports [`Listeners`] take.
pub(crate) const LISTENER_PORTS: usize = 5;

impl Listeners {
    pub(crate) fn on(ports: &[Port; LISTENER_PORTS]) -> Self {
        let [sasl_plaintext, sasl_ssl, ssl, misnamed, astray] = ports
            .each_ref()
            .map(|port| format!("127.0.0.1:{}", port.number()));
        Self {
            sasl_plaintext,
            sasl_ssl,
            ssl,
            misnamed,
            astray,
        }
    }

    pub(super) fn add_to(
        &self,
        properties: &mut BTreeMap<String, String>,
        secrets: &Secrets,
        files: &Files,
    ) {
        // Port 1 is nobody's: a connection is refused at once.
        const NOWHERE: &str = "127.0.0.1:1";
        const MECHANISMS: &str = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER";
        const SECURITY: &str = "org.apache.kafka.common.security";
        let listeners = [
            ("SASL_PLAINTEXT", "SASL_PLAINTEXT", &self.sasl_plaintext),
            ("SASL_SSL", "SASL_SSL", &self.sasl_ssl),
            ("SSL", "SSL", &self.ssl),
            ("MISNAMED", "SASL_SSL", &self.misnamed),
            ("ASTRAY", "PLAINTEXT", &self.astray),
        ];
        for (name, protocol, address) in listeners {
            let mut append = |key: &str, text: &str| {
                let list = properties.entry(key.to_owned()).or_default();
                list.push(',');
                list.push_str(text);
            };
            let advertised = if name == "ASTRAY" { NOWHERE } else { address };
            append("listeners", &format!("{name}://{address}"));
            append("advertised.listeners", &format!("{name}://{advertised}"));
            append(
                "listener.security.protocol.map",
                &format!("{name}:{protocol}"),
            );
        }
        let mut set = |key: &str, value: &str| {
            properties.insert(key.to_owned(), value.to_owned());
        };
        let users = [WORKER, STRANGER]
            .map(|user| format!(" user_{user}=\"{}\"", secrets.password(user)))
            .concat();
        for name in ["sasl_plaintext", "sasl_ssl", "misnamed"] {
            let prefix = format!("listener.name.{name}");
            set(&format!("{prefix}.sasl.enabled.mechanisms"), MECHANISMS);
            set(
                &format!("{prefix}.plain.sasl.jaas.config"),
                &format!("{SECURITY}.plain.PlainLoginModule required{users};"),
            );
            for mechanism in ["scram-sha-256", "scram-sha-512"] {
                set(
                    &format!("{prefix}.{mechanism}.sasl.jaas.config"),
                    &format!("{SECURITY}.scram.ScramLoginModule required;"),
                );
            }
            set(
                &format!("{prefix}.oauthbearer.sasl.jaas.config"),
                &format!("{SECURITY}.oauthbearer.OAuthBearerLoginModule required;"),
            );
            set(
                &format!("{prefix}.oauthbearer.sasl.server.callback.handler.class"),
                &format!("{SECURITY}.oauthbearer.OAuthBearerValidatorCallbackHandler"),
            );
        }
        set("sasl.oauthbearer.jwks.endpoint.url", &key_set_url(files));
        set("sasl.oauthbearer.expected.audience", AUDIENCE);
        for (prefix, certificate) in [
            ("", &files.server),
            ("listener.name.misnamed.", &files.misnamed),
        ] {
            let set_path = |path: &Path| path.display().to_string();
            set(&format!("{prefix}ssl.keystore.type"), "PEM");
            set(
                &format!("{prefix}ssl.keystore.location"),
                &set_path(certificate),
            );
            set(&format!("{prefix}ssl.truststore.type"), "PEM");
            set(
                &format!("{prefix}ssl.truststore.location"),
                &set_path(&files.authority),
            );
        }
        set("listener.name.ssl.ssl.client.auth", "required");
        set(
            "listener.name.ssl.ssl.principal.mapping.rules",
            "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
        );
        set(
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        );
        set("super.users", "User:ANONYMOUS");
        set("allow.everyone.if.no.acl.found", "false");
    }
}

pub(super) fn key_set_url(files: &Files) -> String {
    format!("file://{}", files.key_set.display())
}
