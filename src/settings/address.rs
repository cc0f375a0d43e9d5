//! Names and addresses as the parts behind them take them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::edges;
use super::fault::Problem;
use super::secret::{self, Secret};
use super::value::Raw;

/// A text of at most `longest` bytes without control characters.
pub(super) fn name(raw: &Raw, longest: usize) -> Result<String, Problem> {
    let text = raw.text()?;
    if text.len() > longest || text.chars().any(char::is_control) {
        return Err(Problem::new(
            "is too long or has control characters",
            format!("use at most {longest} printable characters"),
        ));
    }
    Ok(text.to_owned())
}

/// A topic's name as Kafka takes it.
pub(super) fn topic(raw: &Raw) -> Result<Arc<str>, Problem> {
    let text = raw.text()?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.len() > 249 || matches!(text, "." | "..") || !text.chars().all(legal) {
        return Err(Problem::new(
            format!("`{text}` is not a topic's name"),
            "use at most 249 of a-z, A-Z, 0-9, `.`, `_` and `-`",
        ));
    }
    Ok(Arc::from(text))
}

/// At least one broker.
pub(super) fn brokers(raw: &Raw) -> Result<Vec<String>, Problem> {
    let brokers = raw.list();
    if brokers.is_empty() {
        return Err(Problem::new(
            "names no broker",
            "give at least one host:port",
        ));
    }
    for broker in &brokers {
        let (host, port) = broker.rsplit_once(':').unwrap_or((broker, "9092"));
        let legal = !host.is_empty() && !host.contains('/') && !host.contains(char::is_whitespace);
        if !legal || port.parse::<u16>().is_err() {
            return Err(Problem::new(
                format!("`{broker}` is not a broker's address"),
                "write host:port; what the connection needs goes into kafka.properties",
            ));
        }
    }
    Ok(brokers.into_iter().map(str::to_owned).collect())
}

/// A URL with a host.
pub(super) fn http_url(text: &str) -> Result<&str, Problem> {
    let host = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host)
            if !host.is_empty()
                && !host.starts_with('/')
                && !text.contains(char::is_whitespace) =>
        {
            Ok(text)
        }
        _ => Err(Problem::new(
            format!("`{}` is not a URL", secret::mask_url(text)),
            "write it with http:// or https:// and a host",
        )),
    }
}

/// At least one URL.
pub(super) fn registry_urls(raw: &Raw) -> Result<Vec<Secret>, Problem> {
    let urls = raw.urls();
    if urls.is_empty() {
        return Err(Problem::new("names no registry", "give at least one URL"));
    }
    urls.into_iter().map(edges::registry_url).collect()
}

/// A connection string as MongoDB's driver takes it.
pub(super) fn mongo_uri(raw: &Raw) -> Result<Secret, Problem> {
    let text = raw.text()?;
    edges::check_mongo_uri(text)?;
    Ok(Secret::new(text))
}

/// A database's name as MongoDB takes it.
pub(super) fn database(raw: &Raw) -> Result<String, Problem> {
    let text = raw.text()?;
    let illegal = |c: char| c.is_whitespace() || c.is_control() || "/\\.\"$*<>:|?".contains(c);
    if text.len() > 63 || text.contains(illegal) {
        return Err(Problem::new(
            format!("`{text}` is not a database's name"),
            "use at most 63 bytes without spaces and / \\ . \" $ * < > : | ?",
        ));
    }
    Ok(text.to_owned())
}

/// An address to listen on; `localhost` is 127.0.0.1.
pub(super) fn listen(raw: &Raw) -> Result<SocketAddr, Problem> {
    let text = raw.text()?;
    let local = text
        .strip_prefix("localhost:")
        .and_then(|port| port.parse().ok());
    local
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .or(text.parse().ok())
        .ok_or_else(|| {
            Problem::new(
                format!("`{text}` is not an address to listen on"),
                "write address:port, e.g. 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080",
            )
        })
}
