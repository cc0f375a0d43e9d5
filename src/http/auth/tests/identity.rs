//! An identity provider on a real socket that answers what a test wants and counts how often.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a condition may take to come true.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What it answers.
#[derive(Clone)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn keys(keys: &[Value]) -> Self {
        Self::body(json!({ "keys": keys }).to_string())
    }

    pub(super) fn body(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.into(),
        }
    }

    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

struct Shared {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    authorization: Mutex<Option<String>>,
    open: watch::Sender<bool>,
}

/// The running provider; it ends when it is dropped.
pub(super) struct Identity {
    shared: Arc<Shared>,
    address: String,
    served: JoinHandle<()>,
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Identity {
    pub(super) async fn new(answer: Answer) -> Self {
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            asked: AtomicUsize::new(0),
            authorization: Mutex::default(),
            open: watch::Sender::new(true),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let router = Router::new()
            .fallback(reply)
            .with_state(Arc::clone(&shared));
        let served = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self {
            shared,
            address,
            served,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// With a user and a password.
    pub(super) fn url_as(&self, user: &str) -> String {
        format!("http://{user}@{}/keys", self.address)
    }

    pub(super) fn answers(&self, answer: Answer) {
        *lock(&self.shared.answer) = answer;
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Waits until it was asked that often.
    pub(super) async fn asked_often(&self, often: usize) {
        let asked = async {
            while self.asked() < often {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .expect("it is asked");
    }

    /// Makes it wait with its answers until [`Self::go_on`].
    pub(super) fn hold(&self) {
        self.shared.open.send_replace(false);
    }

    pub(super) fn go_on(&self) {
        self.shared.open.send_replace(true);
    }

    /// The last `Authorization` header it saw.
    pub(super) fn authorization(&self) -> Option<String> {
        lock(&self.shared.authorization).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn reply(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let authorization = request.headers().get(header::AUTHORIZATION);
    *lock(&shared.authorization) =
        authorization.map(|value| value.to_str().expect("ASCII").to_owned());
    let mut open = shared.open.subscribe();
    let _ = open.wait_for(|open| *open).await;
    let answer = lock(&shared.answer).clone();
    // A connection a request: tests let hours pass, and nobody should meet a timed-out one.
    let mut response = Response::builder()
        .status(answer.status)
        .header(header::CONNECTION, "close");
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).expect("an answer")
}
