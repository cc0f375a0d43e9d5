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
    say("# read keys, headers and what is text in the results, the events and the dead letters");
    for topic in [&results, &events, &dead] {
        say(&format!(
            r"kcat -C -b {brokers} -t {topic} -o beginning -e -q -f '%k %h %s\n' | tr -cd '[:print:]\n'"
        ));
    }
    say("# the same whole, with a kcat that was built with Avro (Debian's was not)");
    for topic in [&results, &events] {
        say(&format!(
            "kcat -C -b {brokers} -t {topic} -o beginning -e -q -s value=avro -r {registry}"
        ));
    }
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
