//! Pages for other teams: what their examples send must decode, and nothing they may meet is missing.

use super::support::*;
use crate::domain::{Code, EventKind};
use crate::wire::event_type;

fn read(page: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    std::fs::read_to_string(path).expect("the page is readable")
}

/// The JSON of every `echo '{…}'` on a page, with a number in place of each shell variable.
fn examples(page: &str) -> Vec<String> {
    let text = read(page);
    let echoed = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("echo '{")?;
        Some(format!("{{{}}}", &rest[..rest.rfind("}'")?]))
    });
    echoed
        .map(|json| {
            let mut parts = json.split("'$");
            let mut filled = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                let (_, after) = part.split_once('\'').expect("a variable's quote closes");
                filled.push('7');
                filled.push_str(after);
            }
            filled
        })
        .collect()
}

#[test]
fn every_example_for_senders_decodes() {
    let (codec, _) = codec();
    for (page, least) in [("README.md", 4), ("docs/integrate.md", 6)] {
        let examples = examples(page);
        assert!(examples.len() >= least, "{page}: {examples:?}");
        for example in examples {
            let topic = if example.contains("\"matchId\"") {
                "match-found"
            } else {
                "session-command"
            };
            let decoded = decode(&codec, &record(topic, example.as_str()));
            assert!(decoded.is_ok(), "{page}: {example}: {decoded:?}");
        }
    }
}

#[test]
fn integrators_are_told_about_every_code_and_every_type_of_event() {
    let page = read("docs/integrate.md");
    let types = [
        EventKind::SessionCreated,
        EventKind::SessionStarted,
        EventKind::SessionExpiring,
        EventKind::SessionHostChanged,
        EventKind::SessionEnded,
        EventKind::ParticipantJoined,
        EventKind::ParticipantConnected,
        EventKind::ParticipantDisconnected,
        EventKind::ParticipantReconnected,
        EventKind::ParticipantLeft,
    ];
    for kind in types.map(event_type) {
        assert!(page.contains(&format!("`{kind}`")), "{kind} is missing");
    }
    for code in Code::ALL {
        let row = format!("| `{}` | {} |", code.as_str(), code.http_status());
        let answers_matches = code == Code::MatchRejected;
        assert!(
            answers_matches || page.contains(&row),
            "no row begins {row}"
        );
    }
    assert!(page.contains("| `match_rejected`, 403 |"));
}
