//! A reader of the worker's history over HTTP, as the learners' app is (contract 5): signs a token,
//! follows the pages, and compares every learner's history with what the events told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Client, Url};
use serde_json::{Value as Json, json};

use super::ledger::Part;
use super::lines::say;
use crate::gateway;

/// Items a page.
const PAGE: usize = 5;
/// More than any learner's pages here.
const MOST_PAGES: usize = 50;
const BOUND: Duration = Duration::from_secs(10);
const TOKEN_FOR: Duration = Duration::from_secs(300);
/// What is told of learners whose history is wrong.
const MOST_FAULTS: usize = 10;

/// A token that says who reads, for so long.
pub(super) fn token(secret: &str, user: &str, valid: Duration) -> anyhow::Result<String> {
    let seconds = i64::try_from(valid.as_secs()).unwrap_or(i64::MAX);
    let claims = json!({ "sub": user, "exp": gateway::now_millis() / 1000 + seconds });
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).context("sign a token")
}

/// Reads every learner's history, prints one of them and what is wrong; `false` if anything is.
pub(super) async fn check(
    address: &str,
    secret: &str,
    parts: &BTreeMap<String, Vec<Part>>,
) -> anyhow::Result<bool> {
    let reader = Reader {
        client: Client::builder().timeout(BOUND).build()?,
        url: format!("http://{address}/sessions/history"),
    };
    let Some(shown) = most_telling(parts) else {
        say("\nno learner joined anything: no history to read");
        return Ok(false);
    };
    let (items, pages) = reader.history(&token(secret, shown, TOKEN_FOR)?).await?;
    let plural = if pages == 1 { "" } else { "s" };
    say(&format!(
        "\nGET /sessions/history?limit={PAGE} with {shown}'s token: {} sessions on {pages} page{plural}",
        items.len()
    ));
    print(&items);
    let mut faults = Vec::new();
    let mut sessions = 0;
    for (user, parts) in parts {
        let (items, _) = reader.history(&token(secret, user, TOKEN_FOR)?).await?;
        sessions += items.len();
        faults.extend(differences(user, parts, &items));
    }
    let forged = token("not the secret", shown, TOKEN_FOR)?;
    for (what, token) in [
        ("no token", None),
        ("a forged token", Some(forged.as_str())),
    ] {
        let (status, _) = reader.page(token, None).await?;
        if status != 401 {
            faults.push(format!("{what} was answered with {status}, not 401"));
        }
    }
    if faults.is_empty() {
        say(&format!(
            "{} learners' histories hold exactly what the events told ({sessions} entries), newest first; no token and a forged one: 401",
            parts.len()
        ));
    }
    for fault in faults.iter().take(MOST_FAULTS) {
        say(&format!("FAULT: {fault}"));
    }
    if faults.len() > MOST_FAULTS {
        say(&format!("and {} more", faults.len() - MOST_FAULTS));
    }
    Ok(faults.is_empty())
}

/// The learner to show: with more than a page if there is one, whose sessions ended in the most ways.
fn most_telling(parts: &BTreeMap<String, Vec<Part>>) -> Option<&str> {
    let variety = |parts: &[Part]| {
        let ends: BTreeSet<_> = parts.iter().map(|part| &part.reason).collect();
        let spoken: i64 = parts.iter().map(|part| part.speaking).sum();
        (parts.len() > PAGE, ends.len(), spoken)
    };
    let best = parts.iter().max_by_key(|(_, parts)| variety(parts));
    best.map(|(user, _)| user.as_str())
}

struct Reader {
    client: Client,
    url: String,
}

impl Reader {
    async fn page(&self, token: Option<&str>, cursor: Option<&str>) -> anyhow::Result<(u16, Json)> {
        let limit = PAGE.to_string();
        let query = [("limit", Some(limit.as_str())), ("cursor", cursor)];
        let query = query
            .iter()
            .filter_map(|(key, value)| Some((*key, (*value)?)));
        let mut request = self.client.get(Url::parse_with_params(&self.url, query)?);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.context("read a history")?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.context("read a history")?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// All pages' items, and how many pages there were.
    async fn history(&self, token: &str) -> anyhow::Result<(Vec<Json>, usize)> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for page in 1..=MOST_PAGES {
            let (status, body) = self.page(Some(token), cursor.as_deref()).await?;
            ensure!(
                status == 200,
                "GET /sessions/history was answered with {status}: {}",
                body["detail"].as_str().unwrap_or("no detail")
            );
            let listed = body["items"].as_array().context("a page without items")?;
            items.extend(listed.iter().cloned());
            cursor = body["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok((items, page));
            }
        }
        anyhow::bail!("a history of more than {MOST_PAGES} pages")
    }
}

fn print(items: &[Json]) {
    let text = |value: &Json| value.as_str().unwrap_or("-").to_owned();
    let number = |value: &Json| value.to_string();
    say(&format!(
        "  {:<20} {:<9} {:<8} {:<12} {:<6} {:>6} {:>6} {:>6}  {:<15} topic",
        "joined", "session", "type", "role", "lang", "people", "length", "spoken", "ended"
    ));
    for item in items {
        let session = text(&item["sessionId"]);
        let joined = text(&item["joinedAt"]);
        let topic = item["topicTitle"].as_str().or(item["topicId"].as_str());
        say(&format!(
            "  {:<20} {:<9} {:<8} {:<12} {:<6} {:>6} {:>4} s {:>4} s  {:<15} {}",
            joined.get(..19).unwrap_or(&joined).replace('T', " "),
            session.get(..8).unwrap_or(&session),
            text(&item["type"]),
            text(&item["role"]),
            text(&item["targetLanguageCode"]),
            number(&item["participantCount"]),
            number(&item["duration"]),
            number(&item["speakingTimeSeconds"]),
            text(&item["endReason"]),
            topic.unwrap_or("-"),
        ));
    }
}

/// What a history says otherwise than the events.
fn differences(user: &str, parts: &[Part], items: &[Json]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut known: BTreeMap<&str, &Part> = BTreeMap::new();
    known.extend(parts.iter().map(|part| (part.session.as_str(), part)));
    let mut latest = i64::MAX;
    for item in items {
        let session = item["sessionId"].as_str().unwrap_or_default();
        let Some(part) = known.remove(session) else {
            faults.push(format!(
                "{user}'s history names session {session}, which {user} never joined, or names it twice"
            ));
            continue;
        };
        if part.joined_at > latest {
            faults.push(format!("{user}'s history has session {session} too late"));
        }
        latest = part.joined_at;
        let expected = [
            ("status", json!("ended")),
            ("endReason", json!(part.reason)),
            ("participantCount", json!(part.participants)),
            ("duration", json!(part.duration)),
            ("speakingTimeSeconds", json!(part.speaking)),
        ];
        for (field, expected) in expected {
            let found = &item[field];
            if *found != expected {
                faults.push(format!(
                    "{user}'s history says {field} {found} of session {session}, the events {expected}"
                ));
            }
        }
    }
    for session in known.into_keys() {
        faults.push(format!("{user}'s history lacks session {session}"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(session: &str, joined_at: i64) -> Part {
        Part {
            session: session.to_owned(),
            joined_at,
            reason: "timeout".to_owned(),
            participants: 3,
            duration: 12,
            speaking: 4,
        }
    }

    fn item(session: &str) -> Json {
        json!({
            "sessionId": session, "status": "ended", "endReason": "timeout", "participantCount": 3,
            "duration": 12, "speakingTimeSeconds": 4,
        })
    }

    #[test]
    fn a_history_that_says_what_the_events_say_is_without_fault() {
        let parts = [part("old", 1), part("new", 2)];
        assert_eq!(
            differences("u", &parts, &[item("new"), item("old")]),
            [""; 0]
        );
    }

    #[test]
    fn every_way_of_being_wrong_is_told() {
        let parts = [part("old", 1), part("new", 2)];
        let mut other = item("old");
        other["duration"] = json!(11);
        for (items, fault) in [
            (
                vec![item("old"), item("new")],
                "u's history has session new too late",
            ),
            (vec![item("new")], "u's history lacks session old"),
            (
                vec![item("new"), other],
                "u's history says duration 11 of session old, the events 12",
            ),
            (
                vec![item("new"), item("old"), item("old")],
                "u's history names session old, which u never joined, or names it twice",
            ),
        ] {
            assert_eq!(differences("u", &parts, &items), [fault]);
        }
    }

    #[test]
    fn a_token_names_its_reader_and_ends() {
        use jsonwebtoken::{DecodingKey, Validation, decode};
        let read = |token: &str, secret: &str| {
            let key = DecodingKey::from_secret(secret.as_bytes());
            decode::<Json>(token, &key, &Validation::new(Algorithm::HS256))
        };
        let signed = token("secret", "ann", Duration::from_secs(60)).expect("it is signed");
        let claims = read(&signed, "secret").expect("it is valid").claims;
        assert_eq!(claims["sub"], "ann");
        assert!(claims["exp"].is_u64(), "{claims}");
        assert!(read(&signed, "another").is_err());
    }

    #[test]
    fn the_learner_shown_fills_more_than_a_page_or_has_the_most_ways_to_end() {
        let mut varied = vec![part("a", 1), part("b", 2)];
        varied[0].reason = "host_ended".to_owned();
        let some = vec![part("c", 1), part("d", 1), part("e", 1)];
        let mut parts = BTreeMap::from([
            ("some".to_owned(), some.clone()),
            ("varied".to_owned(), varied),
        ]);
        assert_eq!(most_telling(&parts), Some("varied"));
        parts.insert("many".to_owned(), [some.clone(), some].concat());
        assert_eq!(most_telling(&parts), Some("many"));
    }
}
