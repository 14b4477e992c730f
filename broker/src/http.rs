//! Metrics and health over HTTP.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get};
use gapless_common::seam::{Connection, Listener, ReadHalf, WriteHalf};
use tokio::{io::Join, time::sleep};

use crate::{broker::Vitals, scrape};

/// Connections that ask for metrics or health; a monitor or two, not a crowd.
const HTTP_CONNECTIONS_MAX: usize = 64;

/// Serves `/metrics`, `/healthz` and `/readyz` until it is dropped.
pub async fn serve(vitals: Arc<Vitals>, listener: Box<dyn Listener>) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(vitals);
    let slots = Arc::new(tokio::sync::Semaphore::new(HTTP_CONNECTIONS_MAX));
    if let Err(error) = axum::serve(SeamListener { listener, slots }, routes).await {
        tracing::error!("metrics and health are no longer served: {error}");
    }
}

async fn metrics(State(vitals): State<Arc<Vitals>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], scrape::text(&vitals).await)
}

/// 200 once clients are served. A partition that is offline or quarantined does not make the broker unready, since the
/// others are served; it is named.
async fn ready(State(vitals): State<Arc<Vitals>>) -> impl IntoResponse {
    let Some(broker) = vitals.ready() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: recovery is under way, or the broker stops\n".to_owned(),
        );
    };
    let mut text = "ready\n".to_owned();
    for (name, why) in broker.impaired_partitions() {
        text.push_str(&format!("{name}: {why}\n"));
    }
    (StatusCode::OK, text)
}

struct SeamListener {
    listener: Box<dyn Listener>,
    slots: Arc<tokio::sync::Semaphore>,
}

type Stream = Join<Box<dyn ReadHalf>, HeldWriter>;

impl axum::serve::Listener for SeamListener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            // Never closed, so this only waits until one of the connections is done.
            let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok(Connection { reader, writer, peer }) => {
                    return (tokio::io::join(reader, HeldWriter { writer, _slot: slot }), peer);
                }
                Err(error) => {
                    tracing::debug!("cannot accept an HTTP connection: {error}");
                    sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.listener.local_addr())
    }
}

/// A writing half that gives its slot back when the connection ends.
struct HeldWriter {
    writer: Box<dyn WriteHalf>,
    _slot: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl tokio::io::AsyncWrite for HeldWriter {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.writer).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}
