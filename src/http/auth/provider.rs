//! The identity provider's key set (JWKS): fetched at first need, by one request at a time, refreshed
//! behind the callers, and kept through an outage for a day. Strangers cannot make it be fetched
//! often, nor wait for it on every connection. An answer that is no key set counts as an outage; one without keys counts, and refuses all.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use jsonwebtoken::Algorithm;
use reqwest::{Client, Url, redirect};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::AuthSetupError;
use super::key_set::{Key, KeySet, Malformed, Unpicked};
use crate::telemetry::names;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Callers that wait for a fetch at once: fewer than there are connections, because a caller can wait
/// with a token that is not signed at all.
const WAITING: usize = 256;
/// The longest answer that is read.
const MAX_ANSWER: usize = 256 << 10;

/// When the set is fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long a set is used without asking again, where its answer does not say (`max-age`).
    pub(super) fresh: Duration,
    /// What its answer may say.
    pub(super) shortest: Duration,
    pub(super) longest: Duration,
    /// How long after that a set is used while it is fetched again. Later, callers wait for the fetch,
    /// so that a key that was taken back does not work once more after a quiet night.
    pub(super) behind: Duration,
    /// How long a set is used at most while the provider fails.
    pub(super) kept: Duration,
    /// Between two fetches.
    pub(super) apart: Duration,
    /// Between two fetches while there is no set at all.
    pub(super) retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(5 * 60),
            shortest: Duration::from_secs(60),
            longest: Duration::from_secs(60 * 60),
            behind: Duration::from_secs(5 * 60),
            kept: Duration::from_secs(24 * 60 * 60),
            apart: Duration::from_secs(10),
            retry: Duration::from_secs(1),
        }
    }
}

/// Why a token has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// There is no set, or none that is recent enough.
    Unavailable,
    /// It is not in the set.
    Unpicked(Unpicked),
}

/// Why a fetch failed, without the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Exchange(String),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer has more than {MAX_ANSWER} bytes")]
    TooLarge,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Exchange(reason)
    }
}

/// Where keys come from, and those that are known.
pub(super) struct Provider {
    client: Client,
    url: Url,
    pace: Pace,
    known: RwLock<Known>,
    /// When the last fetch ended. Held while one is under way.
    asked: Arc<Mutex<Option<Instant>>>,
    /// Places for those who wait for it.
    waiting: Semaphore,
}

#[derive(Default)]
struct Known {
    fetched: Option<Fetched>,
    failing: bool,
}

struct Fetched {
    set: Arc<KeySet>,
    at: Instant,
    fresh_for: Duration,
}

/// What may be done with the set that is known.
enum Use {
    Freely,
    WhileFetching,
    AfterFetching,
    Never,
}

impl Provider {
    pub(super) fn new(url: &str, pace: Pace) -> Result<Self, AuthSetupError> {
        let url = Url::parse(url).map_err(|_| AuthSetupError::Url)?;
        let client = Client::builder()
            .timeout(TIMEOUT)
            // Keys are trusted because of where they come from.
            .redirect(redirect::Policy::none())
            // Some providers' gateways refuse clients without a name.
            .user_agent(concat!("session-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| AuthSetupError::Client(FetchError::from(error).to_string()))?;
        Ok(Self {
            client,
            url,
            pace,
            known: RwLock::default(),
            asked: Arc::default(),
            waiting: Semaphore::new(WAITING),
        })
    }

    /// Fetches the set once, to see whether that works: how many keys it has.
    pub(super) async fn try_once(&self) -> Result<usize, String> {
        let fetched = self.ask().await.map_err(|error| error.to_string())?;
        Ok(fetched.set.count())
    }

    /// The key of a token with this `kid` and `alg`.
    pub(super) async fn key(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<Key>, NoKey> {
        match self.may_use() {
            Use::Freely => {}
            Use::WhileFetching => self.fetch_behind(),
            Use::AfterFetching => self.fetch(self.pace.apart).await?,
            Use::Never => self.fetch(self.pace.retry).await?,
        }
        let picked = self.set()?.pick(kid, algorithm);
        if !matches!(picked, Err(Unpicked::Unknown | Unpicked::Unnamed)) {
            return picked.map_err(NoKey::Unpicked);
        }
        // The provider may have a new key that is in use already.
        self.fetch(self.pace.apart).await?;
        self.set()?.pick(kid, algorithm).map_err(NoKey::Unpicked)
    }

    /// No fetch is under way.
    #[cfg(test)]
    pub(super) async fn settled(&self) {
        drop(self.asked.lock().await);
    }

    fn may_use(&self) -> Use {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(fetched) = &known.fetched else {
            return Use::Never;
        };
        let age = fetched.at.elapsed();
        if age > self.pace.kept {
            Use::Never
        } else if age <= fetched.fresh_for {
            Use::Freely
        } else if known.failing || age <= fetched.fresh_for + self.pace.behind {
            Use::WhileFetching
        } else {
            Use::AfterFetching
        }
    }

    fn set(&self) -> Result<Arc<KeySet>, NoKey> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let fetched = known.fetched.as_ref();
        fetched
            .filter(|fetched| fetched.at.elapsed() <= self.pace.kept)
            .map(|fetched| Arc::clone(&fetched.set))
            .ok_or(NoKey::Unavailable)
    }

    /// Waits until the set is fetched, by whomever, unless that has just happened or too many wait.
    async fn fetch(self: &Arc<Self>, apart: Duration) -> Result<(), NoKey> {
        let Ok(_waits) = self.waiting.try_acquire() else {
            metrics::counter!(names::HTTP_OVERLOADED, "bound" => "keys").increment(1);
            return Err(NoKey::Unavailable);
        };
        let asked = Arc::clone(&self.asked).lock_owned().await;
        if let Some(fetch) = self.begin(asked, apart) {
            // Its outcome, a panic too, is in what is known afterwards.
            let _ = fetch.await;
        }
        Ok(())
    }

    /// Has the set fetched, unless that happens already.
    fn fetch_behind(self: &Arc<Self>) {
        if let Ok(asked) = Arc::clone(&self.asked).try_lock_owned() {
            drop(self.begin(asked, self.pace.apart));
        }
    }

    /// A task of its own: a caller that hangs up must not end what others wait for.
    fn begin(
        self: &Arc<Self>,
        mut asked: OwnedMutexGuard<Option<Instant>>,
        apart: Duration,
    ) -> Option<JoinHandle<()>> {
        if asked.is_some_and(|at| at.elapsed() < apart) {
            return None;
        }
        let provider = Arc::clone(self);
        Some(tokio::spawn(async move {
            let outcome = provider.ask().await;
            *asked = Some(Instant::now());
            provider.note(outcome);
        }))
    }

    async fn ask(&self) -> Result<Fetched, FetchError> {
        let request = self
            .client
            .get(self.url.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json");
        let mut response = request.send().await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(FetchError::TooLarge);
            }
        }
        let fresh_for = max_age(response.headers()).map_or(self.pace.fresh, |age| {
            age.clamp(self.pace.shortest, self.pace.longest)
        });
        Ok(Fetched {
            set: Arc::new(KeySet::parse(&body)?),
            at: Instant::now(),
            fresh_for,
        })
    }

    fn note(&self, outcome: Result<Fetched, FetchError>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(fetched) => {
                let was_empty = known.fetched.as_ref().is_some_and(|old| old.set.is_empty());
                if fetched.set.is_empty() && !was_empty {
                    tracing::warn!(
                        "http.auth.jwksUrl publishes no key that can check a signature; every token is refused"
                    );
                }
                if known.failing {
                    tracing::info!("the keys that tokens are checked with are fetched again");
                }
                *known = Known {
                    fetched: Some(fetched),
                    failing: false,
                };
            }
            Err(error) => {
                if !known.failing {
                    tracing::warn!(
                        reason = %error,
                        keys_known = known.fetched.is_some(),
                        "cannot fetch the keys that tokens are checked with; known ones are used for a day"
                    );
                }
                known.failing = true;
            }
        }
    }
}

/// How long an answer says that it may be kept.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|directive| {
            let directive = directive.trim().to_ascii_lowercase();
            match directive.strip_prefix("max-age=") {
                Some(seconds) => seconds
                    .trim_matches('"')
                    .parse()
                    .ok()
                    .map(Duration::from_secs),
                None if matches!(directive.as_str(), "no-store" | "no-cache") => {
                    Some(Duration::ZERO)
                }
                None => None,
            }
        })
}
