//! What must hold between the properties that protect a connection, beyond what librdkafka says of
//! each alone: its own words come late, and speak of its build.

use std::collections::BTreeMap;

/// Properties that cannot work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecurityFault {
    /// librdkafka's name of the property to change.
    pub key: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
    /// What to do.
    pub cure: &'static str,
}

/// Judges the properties of `kafka.properties.*`.
#[must_use]
pub fn security_fault(properties: &BTreeMap<String, String>) -> Option<SecurityFault> {
    let value = |key: &str| properties.get(key).map(|value| value.to_ascii_lowercase());
    let protocol = value("security.protocol").unwrap_or_default();
    // librdkafka has an alias for it.
    let mechanism = value("sasl.mechanisms").or_else(|| value("sasl.mechanism"));
    let has_user = ["sasl.username", "sasl.password"]
        .iter()
        .all(|key| properties.contains_key(*key));
    let has_token = value("sasl.oauthbearer.method").as_deref() == Some("oidc")
        || value("enable.sasl.oauthbearer.unsecure.jwt").as_deref() == Some("true");
    let fault = |key, what, cure| Some(SecurityFault { key, what, cure });
    match mechanism.as_deref() {
        Some("gssapi") => fault(
            "sasl.mechanisms",
            "GSSAPI (Kerberos) is not built in",
            "use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
        ),
        _ if !protocol.starts_with("sasl_") => None,
        None => fault(
            "security.protocol",
            "says SASL, and no mechanism is named",
            "set kafka.properties.sasl.mechanisms to PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or \
             OAUTHBEARER",
        ),
        Some("oauthbearer") if !has_token => fault(
            "sasl.mechanisms",
            "OAUTHBEARER has no way to a token",
            "set kafka.properties.sasl.oauthbearer.method to oidc, and with it \
             sasl.oauthbearer.token.endpoint.url, sasl.oauthbearer.client.id and \
             sasl.oauthbearer.client.secret",
        ),
        Some("oauthbearer") => None,
        Some(_) if !has_user => fault(
            "sasl.mechanisms",
            "the mechanism asks for a user and a password",
            "set kafka.properties.sasl.username and kafka.properties.sasl.password",
        ),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_at_fault(properties: &[(&str, &str)]) -> Option<&'static str> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let properties = properties.iter().map(owned).collect();
        security_fault(&properties).map(|fault| fault.key)
    }

    #[test]
    fn what_cannot_authenticate_is_refused_before_any_broker_is_asked() {
        let sasl = ("security.protocol", "SASL_SSL");
        let user = ("sasl.username", "worker");
        let password = ("sasl.password", "hunter2");
        for (properties, key) in [
            (&[][..], None),
            (&[("security.protocol", "ssl")], None),
            (&[sasl], Some("security.protocol")),
            (
                &[sasl, ("sasl.mechanisms", "GSSAPI")],
                Some("sasl.mechanisms"),
            ),
            (&[("sasl.mechanism", "GSSAPI")], Some("sasl.mechanisms")),
            (
                &[sasl, ("sasl.mechanisms", "PLAIN"), user],
                Some("sasl.mechanisms"),
            ),
            (&[sasl, ("sasl.mechanisms", "PLAIN"), user, password], None),
            (
                &[sasl, ("sasl.mechanism", "SCRAM-SHA-512"), user, password],
                None,
            ),
            (
                &[sasl, ("sasl.mechanisms", "OAUTHBEARER")],
                Some("sasl.mechanisms"),
            ),
            (
                &[
                    sasl,
                    ("sasl.mechanisms", "OAUTHBEARER"),
                    ("sasl.oauthbearer.method", "oidc"),
                ],
                None,
            ),
        ] {
            assert_eq!(key_at_fault(properties), key, "{properties:?}");
        }
    }
}
