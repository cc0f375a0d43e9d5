//! Values that must never be shown: a newtype without a way to print it, and the rules by which
//! connection strings and librdkafka properties are masked where settings are shown.

use std::fmt;

/// What stands in place of a secret.
const MASK: &str = "***";

/// A text that no log line, error or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever has to present it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// `url` without user, password and the options that carry secrets.
///
/// Everything between the scheme and the last `@` before the path counts as user information, so
/// that an unescaped `@` or `/` in a password does not show its tail.
pub(super) fn mask_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(s, r)| (s, r));
    let (address, query) = rest
        .split_once('?')
        .map_or((rest, None), |(a, q)| (a, Some(q)));
    let mut masked = String::new();
    if !scheme.is_empty() {
        masked.push_str(scheme);
        masked.push_str("://");
    }
    match address.rsplit_once('@') {
        Some((_, hosts)) => {
            masked.push_str(MASK);
            masked.push('@');
            masked.push_str(hosts);
        }
        None => masked.push_str(address),
    }
    if let Some(query) = query {
        masked.push('?');
        let options = query.split('&').map(|option| match option.split_once('=') {
            Some((name, _)) if secret_option(name) => format!("{name}={MASK}"),
            _ => option.to_owned(),
        });
        masked.push_str(&options.collect::<Vec<_>>().join("&"));
    }
    masked
}

fn secret_option(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("password") || name.contains("secret") || name == "authmechanismproperties"
}

/// Whether a librdkafka property holds a secret.
pub(super) fn secret_property(name: &str) -> bool {
    name.contains("password")
        || name.contains("secret")
        || name.contains("passphrase")
        || name.ends_with("key.pem")
        || name == "sasl.oauthbearer.config"
}

/// A librdkafka property's value as it may be shown.
pub(super) fn mask_property<'a>(name: &str, value: &'a str) -> &'a str {
    if secret_property(name) { MASK } else { value }
}

/// A secret setting's value as it may be shown: whether there is one.
pub(super) fn mask_option(secret: Option<&Secret>) -> String {
    secret.map_or_else(String::new, |_| MASK.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_is_shown_without_its_secrets() {
        for (url, shown) in [
            (
                "mongodb://127.0.0.1:27017/?replicaSet=rs0",
                "mongodb://127.0.0.1:27017/?replicaSet=rs0",
            ),
            ("mongodb://app:pw@a:1,b:2/db", "mongodb://***@a:1,b:2/db"),
            (
                "mongodb+srv://app:p@ss/w@cluster.example/db",
                "mongodb+srv://***@cluster.example/db",
            ),
            (
                "mongodb://a/?tlsCertificateKeyFilePassword=pw&w=1",
                "mongodb://a/?tlsCertificateKeyFilePassword=***&w=1",
            ),
            (
                "mongodb://a/?authMechanismProperties=AWS_SESSION_TOKEN:x",
                "mongodb://a/?authMechanismProperties=***",
            ),
            ("app:pw@host", "***@host"),
        ] {
            assert_eq!(mask_url(url), shown, "{url}");
        }
    }

    #[test]
    fn a_secret_shows_in_no_format() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:#?}", Some(&secret)),
            "*** *** Some(\n    ***,\n)"
        );
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn the_properties_of_librdkafka_that_hold_secrets_are_known() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.keystore.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.oauthbearer.assertion.private.key.pem",
        ] {
            assert_eq!(mask_property(name, "x"), MASK, "{name}");
        }
        for name in [
            "sasl.username",
            "ssl.ca.location",
            "sasl.oauthbearer.assertion.file",
        ] {
            assert_eq!(mask_property(name, "x"), "x", "{name}");
        }
    }
}
