//! `probe`: asks the worker on this host how it is, for images that have no shell and no curl. It goes
//! by the same settings as `run`, so both must be given alike. Knows nothing but the listener's answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use clap::Args;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::Done;
use super::failure::Failure;
use super::flags::SettingsFlags;
use super::output;

/// How long the answer may take; it comes from memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of the answer at most: a line a check.
const ANSWER_BYTES: usize = 256 << 10;

/// What to ask for.
#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = false)]
pub(super) struct Target {
    /// Ask whether work gets done (`/readyz`); the default
    #[arg(long)]
    ready: bool,
    /// Ask whether the loops go round (`/livez`): for whoever restarts what is not well
    #[arg(long)]
    live: bool,
}

impl Target {
    fn path(self) -> &'static str {
        if self.live { "/livez" } else { "/readyz" }
    }
}

/// Asks, and prints the answer in a line.
pub(super) async fn run(target: Target, flags: &SettingsFlags) -> Result<Done, Failure> {
    let http = flags.load()?.settings.http;
    let (setting, listen) = match http.ops_listen {
        Some(ops_listen) => ("http.opsListen", ops_listen),
        None => ("http.listen", http.listen),
    };
    if listen.port() == 0 {
        return Err(Failure::Usage(format!(
            "{setting} has port 0, so nobody knows where the worker listens; give it a port"
        )));
    }
    let address = reachable(listen);
    let asked = tokio::time::timeout(ANSWER_WITHIN, ask(address, target.path()));
    let answer = match asked.await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    };
    let (status, body) = answer.map_err(|reason| {
        Failure::operation(
            format!("cannot ask {address}{}: {reason}", target.path()),
            format!("start the worker, or give `probe` the {setting} that `run` has"),
        )
    })?;
    let well = status == StatusCode::OK;
    output::print(told(target.path(), status, &body).as_bytes())?;
    Ok(if well { Done::Ok } else { Done::Failed })
}

/// Where a listener on `listen` is reached from its own host.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(address: SocketAddr, path: &'static str) -> Result<(StatusCode, Vec<u8>), String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // It ends with the answer; what goes wrong on it, the answer says, too.
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(CONNECTION, "close")
        .body(Body::empty())
        .expect("a path and an address make a request");
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES)
        .await
        .map_err(|error| error.to_string())?;
    Ok((status, body.to_vec()))
}

/// The answer in a line: what fails and why, or that nothing does.
fn told(path: &str, status: StatusCode, body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let failing = body["checks"].as_object().into_iter().flatten();
    let failing: Vec<String> = failing
        .filter(|(_, check)| check["status"] != "pass")
        .map(|(name, check)| format!("{name}: {}", check["detail"].as_str().unwrap_or("fails")))
        .collect();
    match (status, failing.as_slice()) {
        (StatusCode::OK, _) => format!("{path}: ok\n"),
        (_, []) => format!("{path}: answered {status}\n"),
        (_, failing) => format!("{path}: {}\n", failing.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_asked_on_the_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("127.0.0.1:9", "127.0.0.1:9"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            let listen: SocketAddr = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), asked);
        }
    }

    #[test]
    fn the_answer_becomes_a_line_that_names_what_fails() {
        let failing = br#"{"status":"fail","checks":{"started":{"status":"pass"},
            "clock":{"status":"fail","detail":"has not told the time"},"lane a/1":{"status":"fail"}}}"#;
        for (status, body, line) in [
            (200, &b"{}"[..], "/readyz: ok\n"),
            (
                503,
                failing,
                "/readyz: clock: has not told the time; lane a/1: fails\n",
            ),
            (404, b"<html>", "/readyz: answered 404 Not Found\n"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(told("/readyz", status, body), line);
        }
    }
}
