//! One dead letter in full: why it died, where it came from, what it was.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::filter::died_at;
use super::{Address, Letters, find, text_of};
use crate::cli::Done;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Output, date_time, place};
use crate::domain::Timestamp;
use crate::record::Header;
use crate::settings::Settings;
use crate::wire::{Glance, Letter, glance, hex, rfc3339};

/// Bytes of a value that are dumped for people.
const DUMPED: usize = 1024;
/// Characters of a header that people are shown.
const HEADER: usize = 200;
/// How far the clocks of two workers may be apart.
const SKEW_MS: i64 = 600_000;
/// Later letters of the same record that are named.
const LATER: usize = 10;

/// Prints the letter at `address`.
pub(super) async fn show(
    settings: &Settings,
    address: Address,
    output: Output,
) -> Result<Done, Failure> {
    let letter = find(settings, address).await?;
    let registry = crate::cli::schemas::registry(settings)?;
    let topic = &letter.origin.lane.topic;
    let seen = glance(topic, letter.value.as_deref(), &registry).await;
    let later = later(settings, &letter).await?;
    output.print(
        || words(&letter, &seen, &later),
        || shown(&letter, &seen, &later),
    )?;
    Ok(Done::Ok)
}

/// The letters that the same record came to when it was sent again.
async fn later(settings: &Settings, letter: &Letter) -> Result<Vec<Address>, Failure> {
    let since = letter.timestamp.map(|at| at.saturating_sub(SKEW_MS));
    let mut letters = Letters::since(settings, since).await?;
    let mut later = Vec::new();
    while let Some(batch) = letters.next().await? {
        let same = batch
            .letters
            .iter()
            .filter(|other| other.replay_of.as_ref() == Some(&letter.place));
        later.extend(
            same.map(|other| Address::of(&other.place))
                .take(LATER - later.len()),
        );
        if later.len() >= LATER {
            break;
        }
    }
    Ok(later)
}

fn words(letter: &Letter, seen: &Glance, later: &[Address]) -> String {
    let at = |at: Option<i64>| at.map_or_else(|| "–".to_owned(), |at| date_time(Timestamp(at)));
    let listed = |addresses: &[Address]| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        addresses.join(", ")
    };
    let mut rows = vec![
        ("letter", place(&letter.place)),
        ("reason", letter.reason.clone()),
        ("message", letter.message.clone()),
        ("record", place(&letter.origin)),
        ("sent at", at(letter.sent_at)),
        ("died at", at(died_at(letter))),
        (
            "group",
            letter.group.clone().unwrap_or_else(|| "–".to_owned()),
        ),
        ("replays", letter.replays.to_string()),
    ];
    if let Some(of) = &letter.replay_of {
        rows.push(("sent again", format!("from {}", place(of))));
    }
    if !later.is_empty() {
        rows.push(("died again", format!("as {}", listed(later))));
    }
    rows.push(("key", text_of(letter.key.as_deref(), HEADER)));
    if let Some(size) = letter.key_size {
        rows.push(("", format!("CUT: the key had {size} bytes")));
    }
    let lines = rows
        .into_iter()
        .map(|(label, value)| format!("{label:10} {}\n", output::printable(&value)));
    let mut text: String = lines.collect();
    for (title, headers) in [
        ("HEADERS", &letter.headers),
        ("DEAD-LETTER HEADERS", &letter.reasons),
    ] {
        text.push_str(&format!("\n{title}\n"));
        for (name, value) in headers {
            let value = text_of(value.as_deref(), HEADER);
            let line = format!("{name}: {value}");
            text.push_str(&output::printable(&line));
            text.push('\n');
        }
    }
    if let Some(dropped) = letter.headers_dropped {
        text.push_str(&format!("CUT: {dropped} more headers were not kept\n"));
    }
    let size = letter.value.as_ref().map_or(0, Vec::len);
    text.push_str(&format!("\nVALUE, {size} bytes"));
    if let Some(whole) = letter.value_size {
        text.push_str(&format!(" (CUT: it had {whole} bytes)"));
    }
    let json = |json: &Value| {
        let lines = format!("{json:#}");
        let lines = lines.lines().map(|line| output::printable(line) + "\n");
        lines.collect::<String>()
    };
    match seen {
        Glance::Absent => text.push_str(": none\n"),
        Glance::Json(value) => {
            text.push_str(", JSON\n");
            text.push_str(&json(value));
        }
        Glance::Avro(id, value) => {
            text.push_str(&format!(", Avro by schema id {id}\n"));
            text.push_str(&json(value));
        }
        Glance::Bytes(why) => {
            text.push_str(&format!("; {}\n", output::printable(why)));
            text.push_str(&hex(letter.value.as_deref().unwrap_or_default(), DUMPED));
        }
    }
    text
}

fn shown(letter: &Letter, seen: &Glance, later: &[Address]) -> Value {
    let at = |at: Option<i64>| at.map(|at| rfc3339(Timestamp(at)));
    let (kind, schema_id, value, note) = match seen {
        Glance::Absent => ("absent", None, None, None),
        Glance::Json(value) => ("json", None, Some(value), None),
        Glance::Avro(id, value) => ("avro", Some(*id), Some(value), None),
        Glance::Bytes(why) => ("bytes", None, None, Some(why)),
    };
    let later: Vec<String> = later.iter().map(ToString::to_string).collect();
    json!({
        "address": Address::of(&letter.place).to_string(),
        "reason": letter.reason,
        "message": letter.message,
        "origin": place(&letter.origin),
        "sentAt": at(letter.sent_at),
        "diedAt": at(died_at(letter)),
        "group": letter.group,
        "schemaId": letter.schema_id,
        "truncatedFrom": letter.value_size,
        "keyTruncatedFrom": letter.key_size,
        "headersDropped": letter.headers_dropped,
        "replays": letter.replays,
        "replayOf": letter.replay_of.as_ref().map(|of| Address::of(of).to_string()),
        "replayedAs": later,
        "key": bytes(letter.key.as_deref()),
        "headers": headers(&letter.headers),
        "reasons": headers(&letter.reasons),
        "value": {
            "kind": kind,
            "schemaId": schema_id,
            "json": value,
            "note": note,
            "base64": letter.value.as_ref().map(|value| STANDARD.encode(value)),
        },
    })
}

fn headers(headers: &[Header]) -> Value {
    let shown = headers
        .iter()
        .map(|(name, value)| json!({"name": name, "value": bytes(value.as_deref())}));
    shown.collect()
}

fn bytes(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else {
        return Value::Null;
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({"base64": STANDARD.encode(bytes)}),
    }
}
