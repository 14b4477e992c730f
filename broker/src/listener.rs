//! Accepts connections, up to the limit, and keeps count of them.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gapless_common::seam::{Connection, Listener};
use tokio::{sync::Notify, time::sleep};

use crate::{
    broker::Shared,
    connection::{self, Endpoint},
    metrics::ConnectionRefused,
};

/// How long accepting rests after an error of the machine (no descriptor, no memory), which a retry at once would only
/// repeat.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Connections being served.
#[derive(Default)]
pub struct OpenConnections {
    count: AtomicUsize,
    none: Notify,
}

impl OpenConnections {
    fn enter(broker: &Arc<Shared>) -> Option<OpenConnection> {
        let open = &broker.connections;
        let limit = broker.config.max_connections;
        open.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < limit).then_some(count + 1))
            .ok()?;
        broker.metrics.connections.increment(1.0);
        Some(OpenConnection(Arc::clone(broker)))
    }

    /// Waits until no connection is open.
    pub async fn none(&self) {
        loop {
            let none = self.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// One of them; leaves on drop.
struct OpenConnection(Arc<Shared>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.metrics.connections.decrement(1.0);
        if self.0.connections.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.connections.none.notify_waiters();
        }
    }
}

/// Accepts until the broker stops.
pub async fn accept(broker: Arc<Shared>, mut listener: Box<dyn Listener>, endpoint: Arc<Endpoint>) {
    let mut stage = broker.stage();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stage.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => serve(&broker, &endpoint, connection),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                broker.metrics.connection_refused(ConnectionRefused::Descriptors);
                broker.say_of_stranger(|| format!("cannot accept connections: {error}"));
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

fn serve(broker: &Arc<Shared>, endpoint: &Arc<Endpoint>, connection: Connection) {
    let Some(open) = OpenConnections::enter(broker) else {
        broker.metrics.connection_refused(ConnectionRefused::Limit);
        broker.say_of_stranger(|| {
            format!(
                "connection of {} closed: {} connections are open (--max-connections)",
                connection.peer, broker.config.max_connections
            )
        });
        return;
    };
    let endpoint = Arc::clone(endpoint);
    broker.seams.spawner.spawn(async move {
        connection::serve(Arc::clone(&open.0), endpoint, connection).await;
        drop(open);
    });
}

/// The peer went before it was accepted; the next one is waiting.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::Interrupted
            | io::ErrorKind::InvalidInput
    )
}
