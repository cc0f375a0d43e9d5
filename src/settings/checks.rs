//! What must hold between settings. A check whose settings are at fault themselves stays silent, so
//! that one mistake is reported once.

use super::fault::{Fault, Problem, Source};
use super::{AuthMode, Effective};
use crate::kafka::{SecurityFault, security_fault};

/// Checks the settings as a whole.
pub(super) fn whole(effective: &Effective, faults: &mut Vec<Fault>) {
    auth(effective, faults);
    registry(effective, faults);
    listeners(effective, faults);
    topics(effective, faults);
    kafka(effective, faults);
}

fn kafka(effective: &Effective, faults: &mut Vec<Fault>) {
    let properties = &effective.settings.kafka.properties.0;
    if let Some(SecurityFault { key, what, cure }) = security_fault(properties) {
        let key = format!("kafka.properties.{key}");
        report(effective, faults, &[&key], &key, Problem::new(what, cure));
    }
}

fn report(
    effective: &Effective,
    faults: &mut Vec<Fault>,
    involved: &[&str],
    key: &str,
    problem: Problem,
) {
    if faults
        .iter()
        .any(|fault| fault.key().is_some_and(|key| involved.contains(&key)))
    {
        return;
    }
    let source = effective
        .sources
        .get(key)
        .cloned()
        .unwrap_or(Source::Default);
    faults.push(Fault::of(key, source, problem));
}

fn auth(effective: &Effective, faults: &mut Vec<Fault>) {
    let http = &effective.settings.http;
    let auth = &http.auth;
    let mut fault = |involved: &[&str], what: &str, remedy: &str| {
        let problem = Problem::new(what, remedy);
        report(effective, faults, involved, "http.auth.mode", problem);
    };
    if auth.mode == AuthMode::None && !http.listen.ip().is_loopback() {
        fault(
            &["http.auth.mode", "http.listen"],
            &format!(
                "none would show every user's sessions to whoever reaches {}",
                http.listen
            ),
            "set it to jwt or trustedHeader, or http.listen to a loopback address",
        );
    }
    if auth.mode.takes_tokens() {
        let keys = ["http.auth.mode", "http.auth.jwtSecret", "http.auth.jwksUrl"];
        match (&auth.jwt_secret, &auth.jwks_url) {
            (None, None) => fault(
                &keys,
                "jwt needs a key",
                "set http.auth.jwtSecret or http.auth.jwksUrl",
            ),
            (Some(_), Some(_)) => fault(
                &keys,
                "jwt takes one kind of key, and both are set",
                "leave http.auth.jwtSecret or http.auth.jwksUrl out",
            ),
            _ => {}
        }
    }
    if auth.mode.trusts_gateway() && auth.gateway_secret.is_none() {
        fault(
            &["http.auth.mode", "http.auth.gatewaySecret"],
            "trustedHeader believes whoever knows the gateway's secret, and there is none",
            "set http.auth.gatewaySecret",
        );
    }
}

fn listeners(effective: &Effective, faults: &mut Vec<Fault>) {
    let http = &effective.settings.http;
    // Port 0 is another port each time.
    if http.ops_listen == Some(http.listen) && http.listen.port() != 0 {
        report(
            effective,
            faults,
            &["http.listen", "http.opsListen"],
            "http.opsListen",
            Problem::new(
                format!("is {}, where readers are answered", http.listen),
                "give it another port, or turn it off",
            ),
        );
    }
}

fn registry(effective: &Effective, faults: &mut Vec<Fault>) {
    let registry = &effective.settings.registry;
    let mut found = |key, problem| report(effective, faults, &[key], key, problem);
    if registry.token.is_some() && registry.username.is_some() {
        let problem = Problem::new(
            "is set together with registry.username",
            "set one of the two",
        );
        found("registry.token", problem);
    }
    if registry.password.is_some() && registry.username.is_none() {
        let problem = Problem::new("has no user", "set registry.username");
        found("registry.password", problem);
    }
    let tls = &registry.tls;
    match (&tls.certificate, &tls.key) {
        (Some(certificate), None) => found(
            certificate.key("registry.certificateFile", "registry.certificatePem"),
            Problem::new("has no key", "set registry.keyFile"),
        ),
        (None, Some(key)) => found(
            key.key("registry.keyFile", "registry.keyPem"),
            Problem::new("has no certificate", "set registry.certificateFile"),
        ),
        (Some(certificate), Some(_)) => {
            if let Err(problem) = tls.check() {
                let key = certificate.key("registry.certificateFile", "registry.certificatePem");
                found(key, problem);
            }
        }
        (None, None) => {}
    }
}

fn topics(effective: &Effective, faults: &mut Vec<Fault>) {
    let topics = &effective.settings.topics;
    let names = [
        ("topics.match-found", &topics.match_found),
        ("topics.session-command", &topics.session_command),
        ("topics.session-event", &topics.session_event),
        (
            "topics.session-command-result",
            &topics.session_command_result,
        ),
        ("topics.session-dead-letter", &topics.session_dead_letter),
    ];
    for (index, (key, name)) in names.iter().enumerate() {
        if let Some((other, _)) = names[..index].iter().find(|(_, earlier)| earlier == name) {
            // The one that was renamed is the one to mend.
            let key = if effective.sources.contains_key(*key) {
                key
            } else {
                other
            };
            report(
                effective,
                faults,
                &[key, other],
                key,
                Problem::new(
                    format!("two topics are called `{name}`"),
                    format!("give {key} a name of its own"),
                ),
            );
        }
    }
}
