//! Both listeners of a process, bound and served together: the readers', and the one for probes where
//! `http.opsListen` is set. While they serve, the database is asked whether it answers reads.

use tokio_util::sync::CancellationToken;

use super::{Listener, ListenerError, Sources, ops_router, router};
use crate::settings::Http;

/// The bound listeners.
pub struct Listeners {
    readers: Listener,
    ops: Option<Listener>,
}

impl Listeners {
    /// Binds what the settings name, and logs where.
    ///
    /// # Errors
    /// An address is taken or not this host's.
    pub async fn bind(settings: &Http) -> Result<Self, ListenerError> {
        let readers = Listener::bind(settings.listen).await?;
        let ops = match settings.ops_listen {
            Some(address) => Some(Listener::bind_ops(address).await?),
            None => None,
        };
        if let Some(ops) = &ops {
            tracing::info!(address = %ops.address(), "listening for probes");
        }
        tracing::info!(address = %readers.address(), "listening");
        Ok(Self { readers, ops })
    }

    /// Answers until `stop`, then lets answers under way finish, for a bounded time.
    pub async fn serve(self, sources: Sources, stop: CancellationToken) {
        let looking = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sources.readers.keep_looking() => {}
            }
        };
        let ops = async {
            if let Some(ops) = self.ops {
                ops.serve(ops_router(sources.clone()), stop.clone()).await;
            }
        };
        let readers = self.readers.serve(router(sources.clone()), stop.clone());
        tokio::join!(readers, ops, looking);
    }
}
