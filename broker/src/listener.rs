//! Accepts connections, up to the limit.

use std::{io, sync::Arc, time::Duration};

use gapless_common::seam::{Connection, Listener};
use tokio::time::sleep;

use crate::{
    connection,
    descriptors::Descriptors,
    metrics::ConnectionRefused,
    shared::{Endpoint, Shared},
};

/// How long accepting rests after an error of the machine (no descriptor, no memory), which a retry at once would only
/// repeat.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);

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
    let limit = broker.connections_max();
    let Some(open) = broker.connections.enter(limit) else {
        let peer = connection.peer;
        if limit < broker.config.max_connections {
            broker.metrics.connection_refused(ConnectionRefused::Descriptors);
            let descriptors = Descriptors::new(broker.config.descriptors).limit();
            broker.say_of_stranger(|| {
                format!(
                    "connection of {peer} closed: {limit} connections are open, and the {descriptors} file descriptors of this \
                     process are kept for its logs; raise the limit (ulimit -n)"
                )
            });
        } else {
            broker.metrics.connection_refused(ConnectionRefused::Limit);
            broker.say_of_stranger(|| {
                format!("connection of {peer} closed: {limit} connections are open (--max-connections)")
            });
        }
        return;
    };
    let serving = connection::serve(Arc::clone(broker), Arc::clone(endpoint), connection);
    broker.seams.spawner.spawn(async move {
        serving.await;
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
