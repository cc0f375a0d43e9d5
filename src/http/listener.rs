//! The listener itself: bounded connections, headers and waiting, and an end that lets answers
//! finish. axum's own `serve` sets none of these bounds. Whoever holds a connection without asking
//! anything gives it up to whoever comes, so that a crowd of idle ones keeps no probe waiting.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Connections at once. One more ends the one that is idle longest; where none is, it waits.
const CONNECTIONS: usize = 512;
/// How long a client may take to send its request's head, and an idle connection is kept: longer than
/// the usual proxies keep theirs (60 s), so that none writes into one that is just being closed.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// Bytes of a request's head at most: more than the router takes, so that most of those who exceed its
/// bounds are told so in words.
const HEAD_BYTES: usize = 64 << 10;
/// Headers of a request at most; more than the router takes, too.
const HEADERS: usize = 1_024;
/// How long answers may take to finish once the process drains.
const FINISH_WITHIN: Duration = Duration::from_secs(3);
/// How long to wait when the system has no descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; free it or set http.listen to another address")]
pub struct ListenerError {
    address: SocketAddr,
    source: io::Error,
}

/// A bound listener.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    connections: usize,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is taken or not this host's.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenerError> {
        let failed = |source| ListenerError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            connections: CONNECTIONS,
        })
    }

    /// The address in use, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// With room for `connections` at once.
    #[cfg(test)]
    pub(super) fn with_connections(self, connections: usize) -> Self {
        Self {
            connections,
            ..self
        }
    }

    /// Answers until `stop`, then lets answers under way finish, for a bounded time.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let seats = Arc::new(Seats::new(self.connections));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(error = %error, "cannot accept a connection");
                    tokio::time::sleep(EXHAUSTED).await;
                    continue;
                }
            };
            let seat = tokio::select! {
                () = stop.cancelled() => break,
                seat = seats.take() => seat,
            };
            let connection = graceful.watch(connection(stream, router.clone(), &seat.seat));
            tokio::spawn(async move {
                tokio::select! {
                    // A client that went away or sent no HTTP is its own matter.
                    _ = connection => {}
                    () = seat.seat.leave.cancelled() => {}
                }
                drop(seat);
            });
        }
        drop(self.listener);
        // Whoever has not finished by then is cut off with the process.
        let _ = tokio::time::timeout(FINISH_WITHIN, graceful.shutdown()).await;
    }
}

fn connection(
    stream: TcpStream,
    router: Router,
    seat: &Arc<Seat>,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + use<> {
    let router = TowerToHyperService::new(router);
    let seat = Arc::clone(seat);
    let service = service_fn(move |request| {
        seat.asks();
        let (answer, seat) = (router.call(request), Arc::clone(&seat));
        async move {
            let answer = answer.await;
            seat.idles();
            answer
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service)
}

/// What is known of a connection: whether it asks, and since when it does not.
struct Seat {
    idle_since: Mutex<Option<Instant>>,
    leave: CancellationToken,
}

impl Seat {
    fn asks(&self) {
        *self.idle_since() = None;
    }

    fn idles(&self) {
        *self.idle_since() = Some(Instant::now());
    }

    fn idle_since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places for connections.
struct Seats {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    seats: BTreeMap<u64, Arc<Seat>>,
}

/// A place that is given back when it is dropped.
struct TakenSeat {
    number: u64,
    seat: Arc<Seat>,
    seats: Arc<Seats>,
    _permit: OwnedSemaphorePermit,
}

impl Seats {
    fn new(count: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            taken: Mutex::default(),
        }
    }

    /// A place; where none is free, that of whoever is idle longest, or the next to be given back.
    async fn take(self: &Arc<Self>) -> TakenSeat {
        if self.free.available_permits() == 0
            && let Some(idle) = self.longest_idle()
        {
            idle.leave.cancel();
        }
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let permit = permit.expect("the places are never closed");
        let seat = Arc::new(Seat {
            idle_since: Mutex::new(Some(Instant::now())),
            leave: CancellationToken::new(),
        });
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        taken.seats.insert(number, Arc::clone(&seat));
        TakenSeat {
            number,
            seat,
            seats: Arc::clone(self),
            _permit: permit,
        }
    }

    fn longest_idle(&self) -> Option<Arc<Seat>> {
        let taken = self.taken();
        let idle = taken
            .seats
            .values()
            .filter(|seat| !seat.leave.is_cancelled())
            .filter_map(|seat| (*seat.idle_since()).map(|since| (since, seat)));
        idle.min_by_key(|(since, _)| *since)
            .map(|(_, seat)| Arc::clone(seat))
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TakenSeat {
    fn drop(&mut self) {
        self.seats.taken().seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_idle_longest_gives_way_and_whoever_asks_does_not() {
        let seats = Arc::new(Seats::new(3));
        let first = seats.take().await;
        let second = seats.take().await;
        let third = seats.take().await;
        let left = |seat: &TakenSeat| seat.seat.leave.is_cancelled();
        assert!(!left(&first) && !left(&second) && !left(&third));
        first.seat.asks();
        // Idle since later than the third.
        second.seat.asks();
        second.seat.idles();

        let fourth = tokio::spawn({
            let seats = Arc::clone(&seats);
            async move { seats.take().await }
        });
        third.seat.leave.cancelled().await;
        assert!(!left(&first) && !left(&second));
        drop(third);
        let fourth = fourth.await.expect("no panic");
        fourth.seat.asks();

        let fifth = tokio::spawn({
            let seats = Arc::clone(&seats);
            async move { seats.take().await }
        });
        second.seat.leave.cancelled().await;
        drop(second);
        let fifth = fifth.await.expect("no panic");
        fifth.seat.asks();
        assert!(seats.longest_idle().is_none());
        assert!(!left(&first) && !left(&fourth) && !left(&fifth));
    }
}
