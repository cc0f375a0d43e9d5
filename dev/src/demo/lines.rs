//! What the demo says to people, and the lines that they can try themselves.

use std::io::{self, Write as _};

use super::stage::Stage;
use crate::Services;
use crate::worker::Worker;

/// Prints a line.
pub(crate) fn say(line: &str) {
    // A closed standard output must not keep the demo from its end.
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints what can be tried while everything stays up.
pub(super) fn kept(worker: &Worker, services: &Services, stage: &Stage) {
    let brokers = services.kafka();
    let registry = services.registry_url();
    let [commands, results, events, dead] = [
        "session-command",
        "session-command-result",
        "session-event",
        "session-dead-letter",
    ]
    .map(|topic| stage.topic(topic));
    say("\neverything stays up until Ctrl-C; in another terminal:\n");
    say("# make a private session; the key stands before the |");
    say(&format!(
        r#"echo 'me|{{"commandId":"kcat-'$(date +%s%N)'","issuedAt":'$(date +%s%3N)',"userId":"me","command":{{"CreatePrivateSession":{{"targetLanguageCode":"fr","topicTitle":"By hand"}}}}}}' | kcat -P -b {brokers} -t {commands} -K '|'"#
    ));
    say(
        "# read the results and the events (Avro, by the registry's schemas), and the dead letters",
    );
    say(&format!(
        "kcat -C -b {brokers} -t {results} -o beginning -e -q -s value=avro -r {registry}"
    ));
    say(&format!(
        "kcat -C -b {brokers} -t {events} -o beginning -e -q -s value=avro -r {registry}"
    ));
    say(&format!(
        r"kcat -C -b {brokers} -t {dead} -o beginning -e -q -f '%k %h\n'"
    ));
    say("# the worker's own commands");
    for (key, value) in worker.settings() {
        say(&format!("export {key}='{value}'"));
    }
    let binary = worker.binary().display();
    for command in [
        "check",
        "audit",
        "lanes show",
        "topics plan",
        "schemas check",
    ] {
        say(&format!("{binary} {command}"));
    }
}
