//! The contract's section 6, sentence by sentence.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// A file of this test run that goes away with its value.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("session-worker-{}-{name}", std::process::id()));
        let mut file = std::fs::File::create(&path).expect("the temporary folder is writable");
        file.write_all(text.as_bytes())
            .expect("the file was just made");
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect()
}

fn with_environment(variables: &[(&str, &str)]) -> Result<Effective, Faults> {
    load(&Flags::default(), environment(variables))
}

fn set(values: &[(&str, &str)]) -> Flags {
    let values = values.iter().map(|(key, text)| FlagValue {
        flag: format!("--set {key}"),
        key: (*key).to_owned(),
        text: (*text).to_owned(),
    });
    Flags {
        config: None,
        values: values.collect(),
    }
}

fn with_flags(values: &[(&str, &str)]) -> Result<Effective, Faults> {
    load(&set(values), [])
}

fn with_file(name: &str, text: &str) -> Result<Effective, Faults> {
    let file = Temporary::new(name, text);
    load(
        &Flags {
            config: Some(file.0.clone()),
            values: Vec::new(),
        },
        [],
    )
}

/// The faults, one a line, with the names of temporary files only.
fn lines(result: Result<Effective, Faults>) -> String {
    let folder = std::env::temp_dir().join(format!("session-worker-{}-", std::process::id()));
    let faults = result.expect_err("there are faults").to_string();
    faults.replace(&*folder.to_string_lossy(), "")
}

fn value(effective: &Effective, key: &str) -> (String, String) {
    let shown = effective
        .shown()
        .into_iter()
        .find(|shown| shown.key == key)
        .expect("a known key");
    (shown.value, shown.source.to_string())
}

#[test]
fn contract_6_names_the_defaults() {
    let effective = with_environment(&[]).expect("defaults are right");
    for (key, default) in [
        ("kafka.brokers", "127.0.0.1:9092"),
        ("kafka.groupId", "session-worker"),
        ("kafka.properties.session.timeout.ms", "10000"),
        ("topics.match-found", "match-found"),
        ("registry.urls", "http://127.0.0.1:8081/apis/ccompat/v7"),
        ("registry.autoRegister", "off"),
        ("mongo.uri", "mongodb://127.0.0.1:27017/?replicaSet=rs0"),
        ("mongo.database", "sessions"),
        ("http.listen", "127.0.0.1:8080"),
        ("http.opsListen", "off"),
        ("http.auth.mode", "none"),
        ("http.auth.jwtSecret", ""),
        ("rules.partialMatch", "on"),
        ("rules.startOn", "joined"),
        ("rules.publicHostMigration", "off"),
        ("rules.expiryWarnings", "5m,1m"),
        ("rules.disconnectGrace", "2m"),
        ("rules.noShowTimeout", "off"),
        ("rules.sessionTimeout", "30m"),
        ("rules.waitingTimeout", "30m"),
        ("rules.failedCodes", "10"),
        ("rules.failedCodesWindow", "10m"),
        ("rules.concurrentLimit", "3"),
        ("rules.dailyLimitFree", "10"),
        ("rules.commandRetention", "7d"),
        ("lane.batchBytes", "4MiB"),
    ] {
        assert_eq!(
            value(&effective, key),
            (default.to_owned(), "default".to_owned()),
            "{key}"
        );
    }
}

#[test]
fn contract_6_spells_environment_variables() {
    for (variable, text, key) in [
        ("SESSION_WORKER__KAFKA__BROKERS", "a:1,b:2", "kafka.brokers"),
        ("SESSION_WORKER__KAFKA__GROUP_ID", "g", "kafka.groupId"),
        (
            "SESSION_WORKER__REGISTRY__AUTO_REGISTER",
            "on",
            "registry.autoRegister",
        ),
        (
            "SESSION_WORKER__HTTP__AUTH__JWKS_URL",
            "https://id.example/keys",
            "http.auth.jwksUrl",
        ),
        (
            "SESSION_WORKER__RULES__NO_SHOW_TIMEOUT",
            "45s",
            "rules.noShowTimeout",
        ),
        (
            "SESSION_WORKER__TOPICS__SESSION_COMMAND_RESULT",
            "r",
            "topics.session-command-result",
        ),
        (
            "SESSION_WORKER__KAFKA__PROPERTIES__CLIENT_RACK",
            "r1",
            "kafka.properties.client.rack",
        ),
        (
            "SESSION_WORKER__KAFKA__PROPERTIES__SESSION_TIMEOUT_MS",
            "6000",
            "kafka.properties.session.timeout.ms",
        ),
    ] {
        let effective = with_environment(&[(variable, text)]).expect(variable);
        assert_eq!(
            value(&effective, key),
            (text.to_owned(), variable.to_owned())
        );
    }
}

#[test]
fn every_setting_takes_back_what_it_shows() {
    let defaults = with_environment(&[]).expect("defaults are right");
    for shown in defaults.shown() {
        if shown.value.is_empty() {
            continue;
        }
        let again = with_flags(&[(&shown.key, &shown.value)]).expect(&shown.key);
        assert_eq!(again.settings, defaults.settings, "{}", shown.key);
    }
}

#[test]
fn contract_6_a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let text = "
        [kafka]
        groupId = 'file'
        [rules]
        concurrentLimit = 4
        dailyLimitFree = 11
        partialMatch = false
        expiryWarnings = ['2m', '10m']
        [kafka.properties]
        client.id = 'dotted'
        'client.rack' = 'quoted'
        'socket.timeout.ms' = 5000
        [topics]
        match-found = 'matches'
    ";
    let file = Temporary::new("layers.toml", text);
    let mut flags = set(&[("rules.dailyLimitFree", "13")]);
    flags.config = Some(file.0.clone());
    let variables = environment(&[
        ("SESSION_WORKER__RULES__CONCURRENT_LIMIT", "5"),
        ("SESSION_WORKER__RULES__DAILY_LIMIT_FREE", "12"),
        ("PATH", "/bin"),
        (
            "SESSION_WORKER_SERVICE_HOST",
            "what Kubernetes sets for a service of this name",
        ),
    ]);
    let effective = load(&flags, variables).expect("every layer is right");
    let at = |line: usize| format!("{} line {line}", file.0.display());
    for (key, text, source) in [
        ("kafka.groupId", "file", at(3)),
        (
            "rules.concurrentLimit",
            "5",
            "SESSION_WORKER__RULES__CONCURRENT_LIMIT".to_owned(),
        ),
        (
            "rules.dailyLimitFree",
            "13",
            "--set rules.dailyLimitFree".to_owned(),
        ),
        ("rules.partialMatch", "off", at(7)),
        ("rules.expiryWarnings", "10m,2m", at(8)),
        ("rules.failedCodes", "10", "default".to_owned()),
        ("kafka.properties.client.id", "dotted", at(10)),
        ("kafka.properties.client.rack", "quoted", at(11)),
        ("kafka.properties.socket.timeout.ms", "5000", at(12)),
        (
            "kafka.properties.session.timeout.ms",
            "10000",
            "default".to_owned(),
        ),
        ("topics.match-found", "matches", at(14)),
    ] {
        assert_eq!(value(&effective, key), (text.to_owned(), source), "{key}");
    }
}

#[test]
fn contract_6_unknown_keys_are_errors_with_the_nearest_one() {
    let file = with_file(
        "unknown.toml",
        "colour = 1\n[kafka]\nbroker = 'a:1'\n[mango]\nuri = 'x'\n[http.auth]\nmode = { a = 1 }\n",
    );
    let variables = with_environment(&[
        ("SESSION_WORKER__RULES__SESION_TIMEOUT", "1s"),
        ("SESSION_WORKER__KAFKA__PROPERTIES__", "x"),
        ("SESSION_WORKER__KAFKA__BROKERS_FILE", "x"),
        ("SESSION_WORKER__registry__urls", "x"),
    ]);
    let flags = with_flags(&[("kafka.grupId", "x"), ("kafka.properties.", "x"), ("", "x")]);
    let shown = [lines(file), lines(variables), lines(flags)].join("\n");
    insta::assert_snapshot!(shown, @r#"
    colour (unknown.toml line 1): is no setting; remove it
    kafka.broker (unknown.toml line 3): is no setting; did you mean kafka.brokers? If not, remove it
    mango (unknown.toml line 4): is no setting; remove it
    http.auth.mode (unknown.toml line 7): has a value of the wrong kind; write a text, a number, a boolean or a list of them
    SESSION_WORKER__KAFKA__BROKERS_FILE: is no setting; did you mean SESSION_WORKER__KAFKA__BROKERS? If not, unset it
    SESSION_WORKER__KAFKA__PROPERTIES__: is no setting; did you mean SESSION_WORKER__KAFKA__BROKERS? If not, unset it
    SESSION_WORKER__RULES__SESION_TIMEOUT: is no setting; did you mean SESSION_WORKER__RULES__SESSION_TIMEOUT? If not, unset it
    SESSION_WORKER__registry__urls: is no setting; unset it
    kafka.grupId (--set kafka.grupId): is no setting; did you mean kafka.groupId? If not, leave it out
    kafka.properties. (--set kafka.properties.): is no setting; did you mean kafka.brokers? If not, leave it out
     (--set ): is no setting; leave it out
    "#);
}

#[test]
fn contract_6_all_faults_are_reported_at_once() {
    let file = Temporary::new(
        "faults.toml",
        "[kafka]\nbrokers = []\ngroupId = [1]\n= 3\n[rules\n",
    );
    let mut flags = set(&[
        ("rules.concurrentLimit", "0"),
        ("rules.sessionTimeout", "0s"),
        ("rules.startOn", "sometimes"),
        ("lane.batchBytes", "1KiB"),
        ("lane.batchRecords", "0"),
        ("shutdown.timeout", "31s"),
        ("registry.urls", "ftp://u:p@x"),
        ("mongo.uri", "mongo://app:hunter2@x"),
        ("mongo.database", "a.b"),
        ("topics.match-found", "a b"),
        ("topics.session-event", "session-command"),
        ("kafka.properties.acks", "1"),
        ("kafka.properties.group.id", "g"),
        ("log.format", "xml"),
    ]);
    flags.config = Some(file.0.clone());
    let variables = environment(&[
        ("SESSION_WORKER__HTTP__LISTEN", "here"),
        ("SESSION_WORKER__HTTP__AUTH__MODE", "jwt"),
        (
            "SESSION_WORKER__HTTP__AUTH__JWT_SECRET_FILE",
            "/does/not/exist",
        ),
    ]);
    insta::assert_snapshot!(lines(load(&flags, variables)), @r#"
    faults.toml line 5: unclosed table, expected `]`; mend the TOML
    faults.toml line 4: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`; mend the TOML
    kafka. (faults.toml line 4): is no setting; did you mean kafka.groupId? If not, remove it
    http.auth.jwtSecret (SESSION_WORKER__HTTP__AUTH__JWT_SECRET_FILE): cannot read /does/not/exist: No such file or directory (os error 2); name a readable file that holds the secret
    kafka.brokers (faults.toml line 2): names no broker; give at least one host:port
    kafka.groupId (faults.toml line 3): is a list; give a single value
    http.listen (SESSION_WORKER__HTTP__LISTEN): `here` is not an address to listen on; write address:port, e.g. 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080
    rules.concurrentLimit (--set rules.concurrentLimit): `0` is not a whole number in range; use 1 to 1000
    rules.sessionTimeout (--set rules.sessionTimeout): 0s is out of range; use 1ms to 366d
    rules.startOn (--set rules.startOn): does not know `sometimes`; use one of joined, connected
    lane.batchBytes (--set lane.batchBytes): `1KiB` is not a size in range; use 64KiB to 64MiB, in bytes or as 64KiB, 4MiB
    lane.batchRecords (--set lane.batchRecords): `0` is not a whole number in range; use 1 to 10000
    shutdown.timeout (--set shutdown.timeout): 31s is out of range; use 1s to 30s
    registry.urls (--set registry.urls): is not a URL of a registry; write http://host:port/path or https://…, without a query, and with / ? # [ ] @ : , percent-encoded in user and password
    mongo.uri (--set mongo.uri): is not a MongoDB connection string; write mongodb://host:port/?replicaSet=…, with : / ? # [ ] @ percent-encoded in user and password
    mongo.database (--set mongo.database): `a.b` is not a database's name; use at most 63 bytes without spaces and / \ . " $ * < > : | ?
    topics.match-found (--set topics.match-found): `a b` is not a topic's name; use at most 249 of a-z, A-Z, 0-9, `.`, `_` and `-`
    kafka.properties.acks (--set kafka.properties.acks): is the worker's own: the order of events rests on it; leave it out
    kafka.properties.group.id (--set kafka.properties.group.id): is the worker's own: set kafka.groupId; leave it out
    log.format (--set log.format): does not know `xml`; use one of auto, text, json
    topics.session-event (--set topics.session-event): two topics are called `session-command`; give topics.session-event a name of its own
    "#);
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_beside_the_others() {
    let mut flags = set(&[("rules.failedCodes", "x")]);
    flags.config = Some(PathBuf::from("/does/not/exist.toml"));
    insta::assert_snapshot!(lines(load(&flags, [])), @r#"
    --config: cannot read /does/not/exist.toml: No such file or directory (os error 2); name a readable TOML file
    rules.failedCodes (--set rules.failedCodes): `x` is not a whole number in range; use 1 to 1000
    "#);
}

#[test]
fn contract_6_secrets_also_come_from_files() {
    let secret = Temporary::new("secret", "hunter2\r\n");
    let path = secret.0.to_string_lossy();
    let effective = with_environment(&[
        ("SESSION_WORKER__HTTP__AUTH__MODE", "jwt"),
        ("SESSION_WORKER__HTTP__AUTH__JWT_SECRET_FILE", &path),
        ("SESSION_WORKER__HTTP__AUTH__GATEWAY_SECRET_FILE", &path),
        (
            "SESSION_WORKER__KAFKA__PROPERTIES__SASL_PASSWORD_FILE",
            &path,
        ),
    ])
    .expect("the secret is readable");
    let auth = &effective.settings.http.auth;
    let properties = &effective.settings.kafka.properties.0;
    assert_eq!(
        auth.jwt_secret.as_ref().map(Secret::expose),
        Some("hunter2")
    );
    assert_eq!(
        auth.gateway_secret.as_ref().map(Secret::expose),
        Some("hunter2")
    );
    assert_eq!(properties["sasl.password"], "hunter2");
    assert_eq!(
        value(&effective, "http.auth.jwtSecret"),
        (
            "***".to_owned(),
            "SESSION_WORKER__HTTP__AUTH__JWT_SECRET_FILE (file)".to_owned()
        )
    );

    let both = with_environment(&[
        ("SESSION_WORKER__MONGO__URI", "mongodb://a"),
        ("SESSION_WORKER__MONGO__URI_FILE", &path),
    ]);
    insta::assert_snapshot!(lines(both), @"mongo.uri (SESSION_WORKER__MONGO__URI_FILE): SESSION_WORKER__MONGO__URI is set, too; keep one of the two");
}

#[test]
fn a_property_whose_own_name_ends_in_file_is_no_secret_file() {
    let variable = "SESSION_WORKER__KAFKA__PROPERTIES__SASL_OAUTHBEARER_ASSERTION_FILE";
    let (mut given, mut faults) = (Vec::new(), Vec::new());
    layers::environment(
        environment(&[(variable, "/a/path")]),
        &mut given,
        &mut faults,
    );
    let given: Vec<_> = given
        .iter()
        .map(|value| (value.key.as_str(), &value.raw))
        .collect();
    let path = value::Raw::Text("/a/path".to_owned());
    assert_eq!(
        given,
        [("kafka.properties.sasl.oauthbearer.assertion.file", &path)]
    );
    assert_eq!(faults, []);
}

#[test]
fn properties_that_librdkafka_does_not_take_are_faults() {
    let faults = with_flags(&[
        ("kafka.properties.socket.timeout.ms", "soon"),
        ("kafka.properties.no.such.thing", "1"),
        ("kafka.properties.partitioner", "random"),
    ]);
    insta::assert_snapshot!(lines(faults), @r#"
    kafka.properties.socket.timeout.ms (--set kafka.properties.socket.timeout.ms): Invalid value for configuration property "socket.timeout.ms"; see librdkafka's CONFIGURATION.md
    kafka.properties.no.such.thing (--set kafka.properties.no.such.thing): No such configuration property: "no.such.thing"; see librdkafka's CONFIGURATION.md
    kafka.properties.partitioner (--set kafka.properties.partitioner): is the worker's own: keys are partitioned by murmur2_random; leave it out
    "#);
}

#[test]
fn contract_6_secrets_are_hidden_wherever_settings_are_shown() {
    let canary = "canary-5up3r";
    let uri = format!("mongodb://app:{canary}@a:1/?replicaSet=rs0");
    let registry = format!("http://u:{canary}@r:8081/");
    let keys = format!("https://u:{canary}@keys.example/");
    let effective = with_flags(&[
        ("mongo.uri", &uri),
        ("registry.urls", &registry),
        ("http.auth.jwtSecret", canary),
        ("http.auth.jwksUrl", &keys),
        ("http.auth.gatewaySecret", canary),
        ("kafka.properties.sasl.password", canary),
        ("registry.username", "u"),
        ("registry.password", canary),
    ])
    .expect("the settings are right");
    let asked = effective.settings.registry.connection();
    let shown = format!(
        "{:?} {effective:?} {:#?} {asked:?}",
        effective.shown(),
        effective.settings
    );
    assert!(!shown.contains(canary), "{shown}");
    assert!(
        shown.contains("mongodb://***@a:1/?replicaSet=rs0"),
        "{shown}"
    );

    let broken = format!("mongodb://app:{canary}@a:x/?replicaSet={canary}");
    let faults = with_flags(&[
        ("mongo.uri", &broken),
        ("registry.urls", &format!("u:{canary}@x")),
        ("http.auth.jwksUrl", &format!("ldap://u:{canary}@x")),
    ]);
    let shown = format!("{faults:?} {}", lines(faults.clone()));
    assert!(!shown.contains(canary), "{shown}");
}

#[test]
fn registry_urls_with_odd_passwords_are_whole_or_leave_no_piece_in_an_error() {
    for (password, taken) in [
        ("canary,5up3r", true),
        ("canary,http//5up3r", false),
        ("canary%2F5up3r", true),
        ("canary/5up3r", false),
        ("8081/5up3r-canary", false),
        ("canary?5up3r", false),
        ("canary#5up3r", false),
        ("canary 5up3r", true),
        ("canary@5up3r", true),
        ("canary:5up3r", true),
        ("canary&5up3r=;", true),
    ] {
        let urls = format!("http://u:{password}@r:8081/, https://v:{password}@s/api");
        let effective = with_flags(&[("registry.urls", &urls)]);
        let shown = match &effective {
            Ok(effective) => format!("{effective:?} {:?}", effective.shown()),
            Err(faults) => format!("{faults} {faults:?}"),
        };
        for piece in ["canary", "5up3r"] {
            assert!(!shown.contains(piece), "{password}: {shown}");
        }
        assert_eq!(effective.is_ok(), taken, "{password}: {shown}");
        if let Ok(effective) = effective {
            assert_eq!(effective.settings.registry.urls.len(), 2, "{password}");
            let (shown, _) = value(&effective, "registry.urls");
            assert_eq!(shown, "http://***@r:8081,https://***@s/api");
        }
    }
}

#[test]
fn registry_urls_are_a_list_by_commas_or_in_the_file_and_come_from_a_file_of_their_own() {
    let secret = Temporary::new("urls", "http://a:1,http://b:2\n");
    let path = secret.0.to_string_lossy();
    let of_file = with_file(
        "urls.toml",
        "[registry]\nurls = ['http://a:1', 'http://b:2/']\n",
    );
    let of_secret = with_environment(&[("SESSION_WORKER__REGISTRY__URLS_FILE", &path)]);
    let of_text = with_flags(&[("registry.urls", "http://a:1 , http://b:2/ ,")]);
    for effective in [of_file, of_secret, of_text] {
        let effective = effective.expect("the URLs are right");
        let (shown, _) = value(&effective, "registry.urls");
        assert_eq!(shown, "http://a:1,http://b:2");
    }
}

#[test]
fn the_registrys_credentials_go_together() {
    let certificate = Temporary::new("certificate.pem", "no certificate");
    let certificate = certificate.0.to_string_lossy();
    let user = ("registry.username", "u");
    let password = ("registry.password", "p");
    let token = ("registry.token", "t");
    for (values, fault) in [
        (vec![user], None),
        (vec![user, password], None),
        (vec![token], None),
        (vec![user, token], Some("registry.token")),
        (vec![password], Some("registry.password")),
        (
            vec![("registry.username", "u:v")],
            Some("registry.username"),
        ),
        (vec![("registry.token", "t t")], Some("registry.token")),
        (
            vec![("registry.caFile", "/does/not/exist")],
            Some("registry.caFile"),
        ),
        (
            vec![("registry.caFile", &certificate)],
            Some("registry.caFile"),
        ),
        (vec![("registry.caPem", "none")], Some("registry.caPem")),
        (
            vec![("registry.certificateFile", &certificate)],
            Some("registry.certificateFile"),
        ),
        (vec![("registry.keyPem", "k")], Some("registry.keyPem")),
        (
            vec![("registry.certificatePem", "c"), ("registry.keyPem", "k")],
            Some("registry.certificatePem"),
        ),
    ] {
        let faults = match with_flags(&values) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().cloned().collect(),
        };
        let keys: Vec<_> = faults.iter().map(Fault::key).collect();
        let expected: Vec<_> = fault.into_iter().map(Some).collect();
        assert_eq!(keys, expected, "{values:?}");
    }
}

#[test]
fn contract_5_mode_none_is_for_loopback_listeners_only() {
    for (listen, right) in [
        ("127.0.0.1:0", true),
        ("[::1]:8080", true),
        ("localhost:8080", true),
        ("0.0.0.0:8080", false),
        ("[::]:8080", false),
        ("10.0.0.1:8080", false),
    ] {
        assert_eq!(
            with_flags(&[("http.listen", listen)]).is_ok(),
            right,
            "{listen}"
        );
        let jwt = [
            ("http.listen", listen),
            ("http.auth.mode", "jwt"),
            ("http.auth.jwtSecret", "s"),
        ];
        assert!(with_flags(&jwt).is_ok(), "{listen}");
    }
}

#[test]
fn contract_5_probes_have_an_address_of_their_own_or_none() {
    for (listen, ops, right) in [
        ("127.0.0.1:8080", "off", true),
        ("127.0.0.1:8080", "0.0.0.0:9090", true),
        ("127.0.0.1:0", "127.0.0.1:0", true),
        ("127.0.0.1:8080", "127.0.0.1:8080", false),
        ("127.0.0.1:8080", "here", false),
    ] {
        let given = [("http.listen", listen), ("http.opsListen", ops)];
        assert_eq!(with_flags(&given).is_ok(), right, "{given:?}");
    }
}

#[test]
fn contract_5_a_mode_has_what_it_needs() {
    let secret = ("http.auth.jwtSecret", "s");
    let url = ("http.auth.jwksUrl", "http://keys.example/");
    let gateway = ("http.auth.gatewaySecret", "s");
    for (mode, values, right) in [
        ("jwt", vec![], false),
        ("jwt", vec![secret], true),
        ("jwt", vec![url], true),
        ("jwt", vec![secret, url], false),
        ("trustedHeader", vec![], false),
        ("trustedHeader", vec![secret], false),
        ("trustedHeader", vec![gateway], true),
        ("none", vec![secret, url, gateway], true),
        ("jwt,trustedHeader", vec![secret, gateway], true),
        ("trustedHeader, jwt", vec![url, gateway], true),
        ("jwt,jwt", vec![secret], true),
        ("jwt,trustedHeader", vec![secret], false),
        ("jwt,trustedHeader", vec![gateway], false),
        ("jwt,trustedHeader", vec![secret, url, gateway], false),
        ("jwt,none", vec![secret], false),
        ("jwt,password", vec![secret], false),
    ] {
        let given = [vec![("http.auth.mode", mode)], values].concat();
        assert_eq!(with_flags(&given).is_ok(), right, "{given:?}");
    }
}

#[test]
fn contract_5_modes_are_named_in_any_order_and_shown_in_one() {
    for modes in ["jwt,trustedHeader", "trustedHeader,jwt"] {
        let effective = with_flags(&[
            ("http.auth.mode", modes),
            ("http.auth.jwtSecret", "s"),
            ("http.auth.gatewaySecret", "s"),
        ])
        .expect("both have what they need");
        let mode = effective.settings.http.auth.mode;
        assert_eq!(mode, AuthMode::JwtOrTrustedHeader);
        assert_eq!(value(&effective, "http.auth.mode").0, "jwt,trustedHeader");
    }
}

#[test]
fn rules_become_the_domains() {
    let effective = with_flags(&[
        ("rules.partialMatch", "off"),
        ("rules.startOn", "connected"),
        ("rules.publicHostMigration", "on"),
        ("rules.expiryWarnings", "off"),
        ("rules.noShowTimeout", "1m30s"),
        ("rules.disconnectGrace", "500ms"),
    ])
    .expect("the rules are right");
    let rules = &effective.settings.rules;
    assert!(!rules.partial_match);
    assert_eq!(rules.start_on, crate::domain::StartOn::Connected);
    assert_eq!(
        rules.public_host_migration,
        crate::domain::PublicHostMigration::On
    );
    assert_eq!(rules.expiry_warnings, Vec::<Duration>::new());
    assert_eq!(rules.no_show_timeout, Some(Duration::from_secs(90)));
    assert_eq!(rules.disconnect_grace, Duration::from_millis(500));
}

#[test]
fn the_reference_is_what_the_table_says() {
    crate::documents::assert_current("docs/configuration.md", &reference());
}
