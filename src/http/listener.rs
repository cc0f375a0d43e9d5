//! The listener itself: bounded connections, heads and waiting, and an end that lets answers finish.
//! axum's own `serve` sets none of these bounds. It never waits for a connection to end before it
//! accepts the next one (see `places`), so probes are answered whatever readers do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::places::{Capacity, Place, Places};
use super::{Overloaded, probes};

/// Connections of a listener for readers.
const READERS: Capacity = Capacity {
    readers: 512,
    reserved: 128,
};
/// Connections of a listener for probes alone.
const PROBES: Capacity = Capacity {
    readers: 64,
    reserved: 64,
};
/// How long a client may take to send its request's head, and an idle connection is kept: longer than
/// the usual proxies keep theirs (60 s), so that none writes into one that is just being closed.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// How long the head may take on a reserved place, whose client sends it at once or is too late.
const RESERVED_HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a reserved place may be kept altogether, also by a client that reads nothing.
const RESERVED_WITHIN: Duration = Duration::from_secs(30);
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
#[error("cannot listen on {address}: {source}; free it or set {setting} to another address")]
pub struct ListenerError {
    address: SocketAddr,
    setting: &'static str,
    source: io::Error,
}

/// A bound listener.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    capacity: Capacity,
}

impl Listener {
    /// Binds `http.listen`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is taken or not this host's.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenerError> {
        Self::bind_for(address, "http.listen", READERS).await
    }

    /// Binds `http.opsListen`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is taken or not this host's.
    pub async fn bind_ops(address: SocketAddr) -> Result<Self, ListenerError> {
        Self::bind_for(address, "http.opsListen", PROBES).await
    }

    async fn bind_for(
        address: SocketAddr,
        setting: &'static str,
        capacity: Capacity,
    ) -> Result<Self, ListenerError> {
        let failed = |source| ListenerError {
            address,
            setting,
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            capacity,
        })
    }

    /// The address in use, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// With room for so many connections.
    #[cfg(test)]
    pub(super) fn with_capacity(self, readers: usize, reserved: usize) -> Self {
        let capacity = Capacity { readers, reserved };
        Self { capacity, ..self }
    }

    /// Answers until `stop`, then lets answers under way finish, for a bounded time.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let places = Arc::new(Places::new(self.capacity));
        let graceful = GracefulShutdown::new();
        while let Some(stream) = self.accept(&places, &stop).await {
            let place = Arc::new(places.take());
            let connection = graceful.watch(connection(stream, router.clone(), &place));
            tokio::spawn(kept(connection, place));
        }
        drop(self.listener);
        places.close_idle();
        // Answers that have not finished by then are cut off.
        let _ = tokio::time::timeout(FINISH_WITHIN, graceful.shutdown()).await;
        places.close_all();
    }

    /// The next connection; `None` once `stop` is cancelled.
    async fn accept(&self, places: &Places, stop: &CancellationToken) -> Option<TcpStream> {
        let mut is_exhausted = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                accepted = self.listener.accept() => accepted,
            };
            let error = match accepted {
                Ok((stream, _)) => return Some(stream),
                Err(error) => error,
            };
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
            ) {
                // A client that went away meanwhile.
                continue;
            }
            if !std::mem::replace(&mut is_exhausted, true) {
                tracing::warn!(error = %error, "cannot accept a connection");
            }
            // A connection less is a descriptor more.
            places.close_one();
            tokio::time::sleep(EXHAUSTED).await;
        }
    }
}

/// Serves a connection until it ends or another one takes its place.
async fn kept(connection: impl Future<Output = Result<(), hyper::Error>>, place: Arc<Place>) {
    let outlived = async {
        match place.is_reserved() {
            true => tokio::time::sleep(RESERVED_WITHIN).await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        // A client that went away or sent no HTTP is its own matter.
        _ = connection => {}
        () = place.lost() => {}
        () = outlived => {}
    }
}

fn connection(
    stream: TcpStream,
    router: Router,
    place: &Arc<Place>,
) -> impl GracefulConnection<Error = hyper::Error> + use<> {
    let router = TowerToHyperService::new(router);
    let is_reserved = place.is_reserved();
    let place = Arc::clone(place);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        place.asks();
        if !probes::PATHS.contains(&request.uri().path()) && !place.becomes_reader() {
            request.extensions_mut().insert(Overloaded);
        }
        let (answer, place) = (router.call(request), Arc::clone(&place));
        async move {
            let answer = answer.await;
            place.idles();
            answer
        }
    });
    let head_within = if is_reserved {
        RESERVED_HEAD_WITHIN
    } else {
        HEAD_WITHIN
    };
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_within)
        .keep_alive(!is_reserved)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service)
}
