//! The listener itself: bounded connections, headers and waiting, and an end that lets answers
//! finish. axum's own `serve` sets none of these bounds.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 512;
/// How long a client may take to send its request's head, and an idle connection is kept.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a request's head at most: more than the router takes, so that most of those who exceed its
/// bounds are told so in words.
const HEAD_BYTES: usize = 64 << 10;
/// Headers of a request at most.
const HEADERS: usize = 128;
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
        Ok(Self { listener, address })
    }

    /// The address in use, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, then lets answers under way finish, for a bounded time.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = async {
                let permit = Arc::clone(&connections).acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            let (permit, stream) = tokio::select! {
                () = stop.cancelled() => break,
                (permit, accepted) = accepted => match accepted {
                    Ok((stream, _)) => (permit, stream),
                    Err(error) => {
                        tracing::warn!(error = %error, "cannot accept a connection");
                        tokio::time::sleep(EXHAUSTED).await;
                        continue;
                    }
                },
            };
            let connection = graceful.watch(connection(stream, router.clone()));
            tokio::spawn(async move {
                // A client that went away or sent no HTTP is its own matter.
                let _ = connection.await;
                drop(permit);
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
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}
