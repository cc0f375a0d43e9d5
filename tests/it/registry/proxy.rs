//! A reverse proxy in front of the registry that behaves as a test says.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::services;

/// How a proxy answers.
#[derive(Clone, Debug)]
pub(super) enum Behavior {
    /// It passes everything on.
    Open,
    /// It answers this.
    Answer(u16, &'static str),
    /// It cuts an answer off.
    Cut,
    /// It knows no subject.
    Empty,
    /// It lists no version beyond this one.
    Old(u32),
    /// It passes on requests with this `Authorization` and refuses others.
    Authorization(String),
    /// It refuses every caller with 403.
    Forbidden,
    /// It serves this as every schema's text.
    Text(&'static str),
    /// It knows nothing below this path.
    Hiding(String),
    /// Every schema that it serves refers to version 1 of this subject.
    Circle(String),
}

/// A proxy that listens.
pub(super) struct Proxy {
    url: String,
    state: Arc<Shared>,
}

struct Shared {
    behavior: Mutex<Behavior>,
    requests: AtomicUsize,
    http: reqwest::Client,
}

impl Proxy {
    /// One that speaks HTTP.
    pub(super) async fn new(behavior: Behavior) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        Self::serve(listener, format!("http://{address}"), behavior)
    }

    /// One that speaks TLS as `config` says; `localhost` is its name.
    pub(super) async fn with_tls(config: rustls::ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let listener = Secured {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        };
        Self::serve(
            listener,
            format!("https://localhost:{port}"),
            Behavior::Open,
        )
    }

    fn serve<L: Listener<Addr = SocketAddr>>(
        listener: L,
        origin: String,
        behavior: Behavior,
    ) -> Self {
        let http = reqwest::Client::builder().no_proxy().build();
        let state = Arc::new(Shared {
            behavior: Mutex::new(behavior),
            requests: AtomicUsize::new(0),
            http: http.expect("a client"),
        });
        let app = Router::new().fallback(answer).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let registry = reqwest::Url::parse(&services::registry_url()).expect("a URL");
        Self {
            url: format!("{origin}{}", registry.path()),
            state,
        }
    }

    /// Its base URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its base URL with credentials.
    pub(super) fn url_of(&self, credentials: &str) -> String {
        self.url.replacen("://", &format!("://{credentials}@"), 1)
    }

    pub(super) fn set(&self, behavior: Behavior) {
        *self.state.behavior.lock().expect("no test panics here") = behavior;
    }

    /// How often it was asked since the last time.
    pub(super) fn requests(&self) -> usize {
        self.state.requests.swap(0, Ordering::Relaxed)
    }
}

async fn answer(
    State(state): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    state.requests.fetch_add(1, Ordering::Relaxed);
    let behavior = state.behavior.lock().expect("no test panics here").clone();
    let given = headers.get_all("authorization").iter();
    let given: Vec<_> = given.map(|value| value.to_str().unwrap_or("")).collect();
    match &behavior {
        Behavior::Answer(status, body) => {
            let status = StatusCode::from_u16(*status).expect("a status");
            return (status, *body).into_response();
        }
        Behavior::Cut => {
            let parts = [Ok(Bytes::from("[1,")), Err(io::Error::other("cut"))];
            let body = Body::from_stream(futures::stream::iter(parts));
            return (StatusCode::OK, body).into_response();
        }
        Behavior::Forbidden => return refusal(StatusCode::FORBIDDEN, 40301, "you may not"),
        Behavior::Authorization(wanted) if given != [wanted] => {
            return refusal(StatusCode::UNAUTHORIZED, 40101, "who are you");
        }
        Behavior::Empty if uri.path().contains("/subjects/") => {
            return refusal(StatusCode::NOT_FOUND, 40401, "no such subject");
        }
        Behavior::Hiding(path) if uri.path().contains(path) => {
            return refusal(StatusCode::NOT_FOUND, 40401, "no such subject");
        }
        _ => {}
    }
    let registry = reqwest::Url::parse(&services::registry_url()).expect("a URL");
    let mut url = registry.join(uri.path()).expect("a path");
    url.set_query(uri.query());
    let mut request = state.http.request(method, url).body(body);
    if let Some(kind) = headers.get("content-type") {
        request = request.header("content-type", kind);
    }
    let answer = request.send().await.expect("the registry answers");
    let status = answer.status();
    let mut body: Bytes = answer.bytes().await.expect("it answers in full");
    let json: Result<Value, _> = serde_json::from_slice(&body);
    match (&behavior, json) {
        (Behavior::Old(last), Ok(Value::Array(versions))) => {
            let old = versions
                .into_iter()
                .filter(|version| version.as_u64() <= Some((*last).into()));
            body = old.collect::<Value>().to_string().into();
        }
        (Behavior::Text(text), Ok(mut version)) if version["schema"].is_string() => {
            version["schema"] = json!(text);
            body = version.to_string().into();
        }
        (Behavior::Circle(subject), Ok(mut version)) if version["schema"].is_string() => {
            version["references"] = json!([{"name": "x", "subject": subject, "version": 1}]);
            body = version.to_string().into();
        }
        _ => {}
    }
    (status, body).into_response()
}

fn refusal(status: StatusCode, code: u32, message: &str) -> Response {
    let body = json!({"error_code": code, "message": message});
    (status, body.to_string()).into_response()
}

/// A listener that speaks TLS. Handshakes that fail are the caller's to notice.
struct Secured {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else {
                continue;
            };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
