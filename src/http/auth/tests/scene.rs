//! What tests of published keys share: one key of each kind, somebody who believes a provider, and
//! time. It passes when a test lets it: by minutes here where the worker counts seconds, so that a slow
//! machine's own seconds change nothing.

use std::cell::RefCell;
use std::io::Write;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::json;

use super::super::Mode;
use super::super::provider::Pace;
use super::forge::{Signer, claims};
use super::identity::PATIENCE;
use super::{Told, ask_with, settings};
use crate::http::Authenticator;
use crate::settings::{Auth, AuthMode, Secret};

/// One key of each kind, made once: RSA's take long.
pub(super) static RSA: LazyLock<Signer> = LazyLock::new(Signer::rsa);
pub(super) static RSA_PSS: LazyLock<Signer> = LazyLock::new(Signer::rsa_pss);
pub(super) static P256: LazyLock<Signer> = LazyLock::new(Signer::p256);
pub(super) static P384: LazyLock<Signer> = LazyLock::new(Signer::p384);
pub(super) static ED25519: LazyLock<Signer> = LazyLock::new(Signer::ed25519);

pub(super) const UNKNOWN: &str = "the token's `kid` names no key that is published";
pub(super) const OTHER_ALGORITHM: &str = "the token's `alg` is not its key's";
pub(super) const A_MOMENT: Duration = Duration::from_secs(60);

/// The real one, sixty times slower.
pub(super) fn pace() -> Pace {
    let real = Pace::default();
    Pace {
        fresh: 60 * real.fresh,
        shortest: 60 * real.shortest,
        longest: 60 * real.longest,
        behind: 60 * real.behind,
        kept: 60 * real.kept,
        apart: 60 * real.apart,
        retry: 60 * real.retry,
    }
}

pub(super) fn believing(url: &str) -> Arc<Authenticator> {
    let auth = Auth {
        jwks_url: Some(Secret::new(url)),
        ..settings(AuthMode::Jwt)
    };
    Arc::new(Authenticator::paced(&auth, pace()).expect("the settings suffice"))
}

/// Waits until no fetch is under way.
pub(super) async fn settled(authenticator: &Authenticator) {
    if let Mode::Token(tokens) = &authenticator.mode {
        tokens
            .provider()
            .expect("keys are published")
            .settled()
            .await;
    }
}

/// Lets time pass, once no fetch is under way that would time out.
pub(super) async fn pass(authenticator: &Authenticator, time: Duration) {
    settled(authenticator).await;
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

pub(super) fn known() -> (Told, String) {
    (Told::known("amina", false), String::new())
}

pub(super) fn refused(why: &str) -> (Told, String) {
    (Told::invalid_token(), why.to_owned())
}

pub(super) fn good(signer: &Signer, kid: &str) -> String {
    signer.bearer(Some(kid), &claims(json!({})))
}

/// Waits until a token is answered so.
pub(super) async fn answered(
    authenticator: &Authenticator,
    bearer: &str,
    expected: &(Told, String),
) {
    let answered = async {
        while ask_with(authenticator, bearer).await != *expected {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, answered)
        .await
        .expect("the answer comes");
}

thread_local! {
    static HEARD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One for the whole process: a subscriber of one thread alone misses lines whose first writer was a
/// thread without one, since whether a line is wanted is remembered for all.
static LISTENING: LazyLock<()> = LazyLock::new(|| {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter("info,session_worker::http=trace,reqwest=trace,hyper_util=trace")
        .with_writer(|| Ear)
        .init();
});

struct Ear;

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        HEARD.with_borrow_mut(|heard| heard.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged on this thread since it was made.
pub(super) struct Log;

impl Log {
    pub(super) fn of_this_thread() -> Self {
        LazyLock::force(&LISTENING);
        HEARD.take();
        Self
    }

    pub(super) fn text(&self) -> String {
        let text = HEARD.with_borrow(Clone::clone);
        String::from_utf8(text).expect("UTF-8")
    }

    /// How many lines hold `words`.
    pub(super) fn lines(&self, words: &str) -> usize {
        self.text()
            .lines()
            .filter(|line| line.contains(words))
            .count()
    }
}
