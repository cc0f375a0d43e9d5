//! The table of settings: one row a key, with what it takes, how it is set and how it is shown.
//! `kafka.properties.*` alone is open-ended and stands beside the table.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::address::{brokers, database, http_url, listen, mongo_uri, name, registry_urls, topic};
use super::edges;
use super::fault::Problem;
use super::pem;
use super::secret::{self, Secret};
use super::value::{
    Raw, show_duration, show_duration_or_off, show_size, show_switch, show_warnings,
};
use super::{AuthMode, Settings};
use crate::domain::{PublicHostMigration, StartOn};
use crate::telemetry::LogFormat;

/// One setting.
pub(super) struct Setting {
    /// Its key in the file; the environment variable follows from it.
    pub(super) key: &'static str,
    /// What its text may be, for people.
    pub(super) takes: &'static str,
    /// What it does, for people.
    pub(super) about: &'static str,
    /// Whether it may be read from a file named by `…_FILE`.
    pub(super) secret: bool,
    /// Takes a value over.
    pub(super) set: fn(&mut Settings, &Raw) -> Result<(), Problem>,
    /// The value in effect, masked; empty where there is none.
    pub(super) show: fn(&Settings) -> String,
}

/// Where the properties of librdkafka stand.
pub(super) const PROPERTIES: &str = "kafka.properties.";

const RULE: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(366 * 24 * 60 * 60);

const fn setting(
    key: &'static str,
    takes: &'static str,
    about: &'static str,
    set: fn(&mut Settings, &Raw) -> Result<(), Problem>,
    show: fn(&Settings) -> String,
) -> Setting {
    Setting {
        key,
        takes,
        about,
        secret: false,
        set,
        show,
    }
}

const fn secret(
    key: &'static str,
    takes: &'static str,
    about: &'static str,
    set: fn(&mut Settings, &Raw) -> Result<(), Problem>,
    show: fn(&Settings) -> String,
) -> Setting {
    Setting {
        key,
        takes,
        about,
        secret: true,
        set,
        show,
    }
}

/// Every setting but `kafka.properties.*`, in the documentation's order.
pub(super) static SETTINGS: &[Setting] = &[
    setting(
        "kafka.brokers",
        "list of host:port",
        "Brokers to start from.",
        |s, raw| brokers(raw).map(|v| s.kafka.brokers = v),
        |s| s.kafka.brokers.join(","),
    ),
    setting(
        "kafka.groupId",
        "text",
        "The consumer group that shares out the input partitions. Positions do not depend on it.",
        |s, raw| name(raw, 255).map(|v| s.kafka.group_id = v),
        |s| s.kafka.group_id.clone(),
    ),
    setting(
        "topics.match-found",
        "topic",
        "What the topic `match-found` is called in the broker.",
        |s, raw| topic(raw).map(|v| s.topics.match_found = v),
        |s| s.topics.match_found.to_string(),
    ),
    setting(
        "topics.session-command",
        "topic",
        "What the topic `session-command` is called in the broker.",
        |s, raw| topic(raw).map(|v| s.topics.session_command = v),
        |s| s.topics.session_command.to_string(),
    ),
    setting(
        "topics.session-event",
        "topic",
        "What the topic `session-event` is called in the broker.",
        |s, raw| topic(raw).map(|v| s.topics.session_event = v),
        |s| s.topics.session_event.to_string(),
    ),
    setting(
        "topics.session-command-result",
        "topic",
        "What the topic `session-command-result` is called in the broker.",
        |s, raw| topic(raw).map(|v| s.topics.session_command_result = v),
        |s| s.topics.session_command_result.to_string(),
    ),
    setting(
        "topics.session-dead-letter",
        "topic",
        "What the topic `session-dead-letter` is called in the broker.",
        |s, raw| topic(raw).map(|v| s.topics.session_dead_letter = v),
        |s| s.topics.session_dead_letter.to_string(),
    ),
    secret(
        "registry.urls",
        "list of URLs",
        "Base URLs of one schema registry (Confluent's API), tried in order. Credentials in a URL \
         (`https://user:password@…`) are used for that URL.",
        |s, raw| registry_urls(raw).map(|v| s.registry.urls = v),
        |s| {
            let urls = s
                .registry
                .urls
                .iter()
                .map(|url| secret::mask_url(url.expose()));
            urls.collect::<Vec<_>>().join(",")
        },
    ),
    setting(
        "registry.username",
        "text",
        "The user for basic authentication at the registry, or the name of an API key.",
        |s, raw| edges::registry_username(raw).map(|v| s.registry.username = Some(v)),
        |s| s.registry.username.clone().unwrap_or_default(),
    ),
    secret(
        "registry.password",
        "text",
        "The password of `registry.username`, or the secret of the API key.",
        |s, raw| {
            raw.text()
                .map(|v| s.registry.password = Some(Secret::new(v)))
        },
        |s| secret::mask_option(s.registry.password.as_ref()),
    ),
    secret(
        "registry.token",
        "text",
        "A bearer token for the registry, instead of a user.",
        |s, raw| edges::registry_token(raw).map(|v| s.registry.token = Some(v)),
        |s| secret::mask_option(s.registry.token.as_ref()),
    ),
    setting(
        "registry.caFile",
        "path",
        "The trusted authorities (PEM) for the registry's certificate; unset, the system's.",
        |s, raw| {
            pem::file(raw)
                .and_then(edges::registry_authorities)
                .map(|v| s.registry.tls.authorities = Some(v))
        },
        |s| pem::path(s.registry.tls.authorities.as_ref()),
    ),
    setting(
        "registry.caPem",
        "PEM",
        "The same as text.",
        |s, raw| {
            pem::text(raw)
                .and_then(edges::registry_authorities)
                .map(|v| s.registry.tls.authorities = Some(v))
        },
        |s| pem::mask(s.registry.tls.authorities.as_ref()),
    ),
    setting(
        "registry.certificateFile",
        "path",
        "The worker's client certificate for the registry, with its chain (PEM).",
        |s, raw| pem::file(raw).map(|v| s.registry.tls.certificate = Some(v)),
        |s| pem::path(s.registry.tls.certificate.as_ref()),
    ),
    setting(
        "registry.certificatePem",
        "PEM",
        "The same as text.",
        |s, raw| pem::text(raw).map(|v| s.registry.tls.certificate = Some(v)),
        |s| pem::mask(s.registry.tls.certificate.as_ref()),
    ),
    setting(
        "registry.keyFile",
        "path",
        "The key of that certificate (PEM, unencrypted).",
        |s, raw| pem::file(raw).map(|v| s.registry.tls.key = Some(v)),
        |s| pem::path(s.registry.tls.key.as_ref()),
    ),
    secret(
        "registry.keyPem",
        "PEM",
        "The same as text.",
        |s, raw| pem::text(raw).map(|v| s.registry.tls.key = Some(v)),
        |s| pem::mask(s.registry.tls.key.as_ref()),
    ),
    setting(
        "registry.autoRegister",
        "on, off",
        "Whether `run` registers the schemas it writes with; off, it only looks them up.",
        |s, raw| raw.switch().map(|v| s.registry.auto_register = v),
        |s| show_switch(s.registry.auto_register),
    ),
    secret(
        "mongo.uri",
        "connection string",
        "The MongoDB replica set. User and password are hidden wherever settings are shown.",
        |s, raw| mongo_uri(raw).map(|v| s.mongo.uri = v),
        |s| secret::mask_url(s.mongo.uri.expose()),
    ),
    setting(
        "mongo.database",
        "text",
        "The database that holds every collection of the worker.",
        |s, raw| database(raw).map(|v| s.mongo.database = v),
        |s| s.mongo.database.clone(),
    ),
    setting(
        "mongo.maxPoolSize",
        "number",
        "Connections to MongoDB at most. A lane uses one or two at a time.",
        |s, raw| raw.number(2..=1_000).map(|v| s.mongo.max_pool_size = v),
        |s| s.mongo.max_pool_size.to_string(),
    ),
    setting(
        "http.listen",
        "address:port",
        "Where probes, metrics and reads are answered; port 0 takes a free one.",
        |s, raw| listen(raw).map(|v| s.http.listen = v),
        |s| s.http.listen.to_string(),
    ),
    setting(
        "http.opsListen",
        "address:port, off",
        "Where probes and metrics are answered instead, and only there, without a token: an address \
         that the public does not reach.",
        |s, raw| match raw.text()? {
            "off" => {
                s.http.ops_listen = None;
                Ok(())
            }
            _ => listen(raw).map(|v| s.http.ops_listen = Some(v)),
        },
        |s| {
            let listen = s.http.ops_listen;
            listen.map_or_else(|| "off".to_owned(), |listen| listen.to_string())
        },
    ),
    setting(
        "http.auth.mode",
        "none, jwt, trustedHeader, jwt,trustedHeader",
        "How a reader is known; `none` is for a loopback listener only. With both others, a request with \
         `X-Gateway-Secret` is judged by `trustedHeader`, any other by `jwt`.",
        |s, raw| auth_mode(raw).map(|v| s.http.auth.mode = v),
        |s| {
            match s.http.auth.mode {
                AuthMode::None => "none",
                AuthMode::Jwt => "jwt",
                AuthMode::TrustedHeader => "trustedHeader",
                AuthMode::JwtOrTrustedHeader => "jwt,trustedHeader",
            }
            .to_owned()
        },
    ),
    secret(
        "http.auth.jwtSecret",
        "text",
        "The secret of HS256 tokens. With mode `jwt`, this or `http.auth.jwksUrl`.",
        |s, raw| {
            raw.text()
                .map(|v| s.http.auth.jwt_secret = Some(Secret::new(v)))
        },
        |s| secret::mask_option(s.http.auth.jwt_secret.as_ref()),
    ),
    secret(
        "http.auth.jwksUrl",
        "URL",
        "Where the keys of signed tokens are published. With mode `jwt`, this or `http.auth.jwtSecret`.",
        |s, raw| {
            raw.text()
                .and_then(http_url)
                .map(|v| s.http.auth.jwks_url = Some(Secret::new(v)))
        },
        |s| {
            s.http
                .auth
                .jwks_url
                .as_ref()
                .map(|url| secret::mask_url(url.expose()))
                .unwrap_or_default()
        },
    ),
    setting(
        "http.auth.issuer",
        "text",
        "What a token's `iss` must be; unset, it is not checked.",
        |s, raw| raw.text().map(|v| s.http.auth.issuer = Some(v.to_owned())),
        |s| s.http.auth.issuer.clone().unwrap_or_default(),
    ),
    setting(
        "http.auth.audience",
        "text",
        "What a token's `aud` must hold; unset, it is not checked.",
        |s, raw| {
            raw.text()
                .map(|v| s.http.auth.audience = Some(v.to_owned()))
        },
        |s| s.http.auth.audience.clone().unwrap_or_default(),
    ),
    secret(
        "http.auth.gatewaySecret",
        "text",
        "What a trusted gateway's `X-Gateway-Secret` says. With mode `trustedHeader`.",
        |s, raw| {
            raw.text()
                .map(|v| s.http.auth.gateway_secret = Some(Secret::new(v)))
        },
        |s| secret::mask_option(s.http.auth.gateway_secret.as_ref()),
    ),
    setting(
        "rules.partialMatch",
        "on, off",
        "Whether a match whose users are partly over a limit is made of the others.",
        |s, raw| raw.switch().map(|v| s.rules.partial_match = v),
        |s| show_switch(s.rules.partial_match),
    ),
    setting(
        "rules.startOn",
        "joined, connected",
        "Which participants count towards the start of a public session.",
        |s, raw| {
            raw.choice(&[
                ("joined", StartOn::Joined),
                ("connected", StartOn::Connected),
            ])
            .map(|v| s.rules.start_on = v)
        },
        |s| {
            match s.rules.start_on {
                StartOn::Joined => "joined",
                StartOn::Connected => "connected",
            }
            .to_owned()
        },
    ),
    setting(
        "rules.publicHostMigration",
        "on, off",
        "Whether a public session's host role moves when the host leaves.",
        |s, raw| {
            raw.switch().map(|on| {
                s.rules.public_host_migration = if on {
                    PublicHostMigration::On
                } else {
                    PublicHostMigration::Off
                };
            })
        },
        |s| show_switch(s.rules.public_host_migration == PublicHostMigration::On),
    ),
    setting(
        "rules.expiryWarnings",
        "list of durations, off",
        "How long before the end each `session.expiring` fires, in whole seconds.",
        |s, raw| raw.warnings().map(|v| s.rules.expiry_warnings = v),
        |s| show_warnings(&s.rules.expiry_warnings),
    ),
    setting(
        "rules.disconnectGrace",
        "duration",
        "How long a dropped participant may stay away before leaving.",
        |s, raw| raw.duration(RULE).map(|v| s.rules.disconnect_grace = v),
        |s| show_duration(s.rules.disconnect_grace),
    ),
    setting(
        "rules.noShowTimeout",
        "duration, off",
        "How long a participant may take to connect before leaving.",
        |s, raw| {
            raw.duration_or_off(RULE)
                .map(|v| s.rules.no_show_timeout = v)
        },
        |s| show_duration_or_off(s.rules.no_show_timeout),
    ),
    setting(
        "rules.sessionTimeout",
        "duration",
        "From the start of a session to its end.",
        |s, raw| raw.duration(RULE).map(|v| s.rules.session_timeout = v),
        |s| show_duration(s.rules.session_timeout),
    ),
    setting(
        "rules.waitingTimeout",
        "duration",
        "From the creation of a session to its end if it never starts.",
        |s, raw| raw.duration(RULE).map(|v| s.rules.waiting_timeout = v),
        |s| show_duration(s.rules.waiting_timeout),
    ),
    setting(
        "rules.failedCodes",
        "number",
        "Unknown invite codes a user may try within the window.",
        |s, raw| raw.number(1..=1_000).map(|v| s.rules.failed_codes = v),
        |s| s.rules.failed_codes.to_string(),
    ),
    setting(
        "rules.failedCodesWindow",
        "duration",
        "The sliding window of failed codes.",
        |s, raw| raw.duration(RULE).map(|v| s.rules.failed_codes_window = v),
        |s| show_duration(s.rules.failed_codes_window),
    ),
    setting(
        "rules.concurrentLimit",
        "number",
        "Open participations a user may hold in sessions that have not ended.",
        |s, raw| raw.number(1..=1_000).map(|v| s.rules.concurrent_limit = v),
        |s| s.rules.concurrent_limit.to_string(),
    ),
    setting(
        "rules.dailyLimitFree",
        "number",
        "Sessions a UTC day that a user of the free tier may join.",
        |s, raw| {
            raw.number(1..=1_000_000)
                .map(|v| s.rules.daily_limit_free = v)
        },
        |s| s.rules.daily_limit_free.to_string(),
    ),
    setting(
        "rules.commandRetention",
        "duration",
        "How old a command may be, and how long its result is remembered.",
        |s, raw| raw.duration(RULE).map(|v| s.rules.command_retention = v),
        |s| show_duration(s.rules.command_retention),
    ),
    setting(
        "lane.batchRecords",
        "number",
        "Input records that a transaction takes at most; 1 is one transaction per command.",
        |s, raw| count(raw, 10_000).map(|v| s.lane.batch_records = v),
        |s| s.lane.batch_records.to_string(),
    ),
    setting(
        "lane.batchBytes",
        "size",
        "Input bytes a transaction takes at most; one record always fits.",
        |s, raw| {
            raw.size(64 << 10..=64 << 20)
                .map(|v| s.lane.batch_bytes = v)
        },
        |s| show_size(s.lane.batch_bytes),
    ),
    setting(
        "lane.outboxBytes",
        "size",
        "Output bytes a transaction makes at most; MongoDB's documents end at 16MiB.",
        |s, raw| {
            raw.size(4 << 20..=12 << 20)
                .map(|v| s.lane.outbox_bytes = v)
        },
        |s| show_size(s.lane.outbox_bytes),
    ),
    setting(
        "lane.timersPerBatch",
        "number",
        "Sessions whose deadlines a transaction fires at most.",
        |s, raw| count(raw, 10_000).map(|v| s.lane.timers_per_batch = v),
        |s| s.lane.timers_per_batch.to_string(),
    ),
    setting(
        "lane.unacknowledgedBatches",
        "number",
        "Batches a lane has at the brokers without an acknowledgement at most.",
        |s, raw| count(raw, 64).map(|v| s.lane.unacknowledged_batches = v),
        |s| s.lane.unacknowledged_batches.to_string(),
    ),
    setting(
        "lane.cacheSessions",
        "number",
        "Sessions a lane keeps in memory.",
        |s, raw| count(raw, 1_000_000).map(|v| s.lane.cache_sessions = v),
        |s| s.lane.cache_sessions.to_string(),
    ),
    setting(
        "lane.cacheBytes",
        "size",
        "Bytes of sessions that a lane keeps in memory, estimated.",
        |s, raw| raw.size(64 << 10..=4 << 30).map(|v| s.lane.cache_bytes = v),
        |s| show_size(s.lane.cache_bytes),
    ),
    setting(
        "log.format",
        "auto, text, json",
        "The shape of a log line; `auto` is text on a terminal and JSON elsewhere. `RUST_LOG` filters.",
        |s, raw| {
            raw.choice(&[
                ("auto", LogFormat::Auto),
                ("text", LogFormat::Text),
                ("json", LogFormat::Json),
            ])
            .map(|v| s.log.format = v)
        },
        |s| {
            match s.log.format {
                LogFormat::Auto => "auto",
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            }
            .to_owned()
        },
    ),
    setting(
        "shutdown.timeout",
        "duration",
        "How long a drain may take before the process gives up.",
        |s, raw| {
            raw.duration(Duration::from_secs(1)..=Duration::from_secs(30))
                .map(|v| s.shutdown.timeout = v)
        },
        |s| show_duration(s.shutdown.timeout),
    ),
];

/// Whether `key` is a setting.
pub(super) fn knows(key: &str) -> bool {
    key.strip_prefix(PROPERTIES)
        .map_or_else(|| find(key).is_some(), |name| !name.is_empty())
}

/// The row of `key`.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// Sets the setting `key`, which must be known.
pub(super) fn set(settings: &mut Settings, key: &str, raw: &Raw) -> Result<(), Problem> {
    if let Some(name) = key.strip_prefix(PROPERTIES) {
        let value = match raw {
            Raw::Text(text) => text.clone(),
            Raw::List(items) => items.join(","),
        };
        edges::check_property(name, &value)?;
        settings.kafka.properties.0.insert(name.to_owned(), value);
        return Ok(());
    }
    let setting = find(key).expect("layers pass known keys only");
    (setting.set)(settings, raw)
}

/// The known key nearest to `key`, for a hint.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let score = |setting: &Setting| strsim::jaro_winkler(setting.key, key);
    SETTINGS
        .iter()
        .max_by(|a, b| score(a).total_cmp(&score(b)))
        .filter(|setting| score(setting) > 0.85)
        .map(|setting| setting.key)
}

/// One mode, or both that know callers by what they present, in whatever order.
fn auth_mode(raw: &Raw) -> Result<AuthMode, Problem> {
    let modes = [
        ("none", AuthMode::None),
        ("jwt", AuthMode::Jwt),
        ("trustedHeader", AuthMode::TrustedHeader),
    ];
    let named: Result<Vec<AuthMode>, Problem> = raw
        .list()
        .into_iter()
        .map(|name| Raw::Text(name.to_owned()).choice(&modes))
        .collect();
    let mut named = named?;
    named.sort_unstable();
    named.dedup();
    match named.as_slice() {
        [mode] => Ok(*mode),
        [AuthMode::Jwt, AuthMode::TrustedHeader] => Ok(AuthMode::JwtOrTrustedHeader),
        [] => Err(Problem::new(
            "names no mode",
            "use none, jwt, trustedHeader or jwt,trustedHeader",
        )),
        _ => Err(Problem::new(
            "names none beside another mode, which would then mean nothing",
            "leave none out",
        )),
    }
}

fn count(raw: &Raw, most: u32) -> Result<usize, Problem> {
    raw.number(1..=most).map(|number| number as usize)
}
