//! What the demo says to people, and the lines that they can try themselves.

use std::io::{self, Write as _};

use super::house::House;

/// Prints a line.
pub(crate) fn say(line: &str) {
    // A closed standard output must not keep the demo from its end.
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints what can be tried while everything stays up. `token` is `me`'s.
pub(super) fn kept(house: &House, token: &str) {
    let brokers = house.services.kafka();
    let registry = house.services.registry_url();
    let address = house.address(1);
    let [commands, results, events, dead] = [
        "session-command",
        "session-command-result",
        "session-event",
        "session-dead-letter",
    ]
    .map(|topic| house.topics.name(topic));
    say("\neverything stays up until Ctrl-C; in another terminal:");
    let block = |title: &str, lines: &[String]| {
        say(&format!("\n# {title}"));
        for line in lines {
            say(line);
        }
    };
    block(
        "send a command: the record's key, who acts, which command, its fields (JSON in, with any kcat)",
        &[format!(
            r#"send() {{ echo "$1|{{\"commandId\":\"kcat-$(date +%s)-$RANDOM\",\"issuedAt\":$(date +%s)000,\"userId\":\"$2\",\"command\":{{\"$3\":$4}}}}" | kcat -P -b {brokers} -t {commands} -K '|'; }}"#
        )],
    );
    block(
        "make a private session; its invite code stands in the result, behind the session's id",
        &[
            "session=$(cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen | tr A-Z a-z)".to_owned(),
            r#"send $session me CreatePrivateSession '{"sessionId":"'$session'","targetLanguageCode":"fr","topicTitle":"By hand"}'"#.to_owned(),
            format!(
                r#"sleep 1; code=$(kcat -C -b {brokers} -t {results} -o beginning -e -q -f '%s' | tr -cd '[:print:]' | grep -oE "$session[2-9B-Z]{{6}}" | tail -c 7); echo "invite code $code""#
            ),
        ],
    );
    block(
        "join it, start it, end it",
        &[
            r#"send friend friend JoinSession '{"inviteCode":"'$code'"}'"#.to_owned(),
            r#"sleep 1; send $session me StartSession '{"sessionId":"'$session'"}'"#.to_owned(),
            r#"send $session me EndSession '{"sessionId":"'$session'"}'"#.to_owned(),
        ],
    );
    block(
        "read its history over HTTP; the token is me's, for twelve hours",
        &[
            format!("token={token}"),
            format!(
                r#"sleep 1; curl -s -H "Authorization: Bearer $token" 'http://{address}/sessions/history?limit=5'; echo"#
            ),
            format!(
                r#"curl -s -H "Authorization: Bearer $token" http://{address}/sessions/$session/participants; echo"#
            ),
        ],
    );
    let mut commands: Vec<_> = house
        .worker
        .settings()
        .iter()
        .map(|(key, value)| format!("export {key}='{value}'"))
        .collect();
    let binary = house.worker.binary().display();
    for command in [
        "session show $session",
        "dead-letters list",
        "audit",
        "lanes show",
        "check",
    ] {
        commands.push(format!("{binary} {command}"));
    }
    block("the worker's own commands", &commands);
    let read = |topic: &str, rest: &str| {
        format!("kcat -C -b {brokers} -t {topic} -o beginning -e -q {rest}")
    };
    block(
        "what any kcat can read of its results, its events and the dead letters: keys, headers, text",
        &[
            read(
                &results,
                r"-f '%k %h %s\n' | tr -cd '[:print:]\n' | grep ce_subject=$session",
            ),
            read(&events, r"-f '%k %h\n' | grep ^$session"),
            read(&dead, r"-f '%k %h\n'"),
        ],
    );
    let avro = format!("-s value=avro -r {registry}");
    block(
        "the same whole, with a kcat that was built with Avro (Debian's was not)",
        &[read(&results, &avro), read(&events, &avro)],
    );
}
