//! Metrics and health over HTTP.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get};
use gapless_common::seam::{Connection, Listener, ReadHalf, WriteHalf};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

use crate::{listener::ACCEPT_REST, scrape, shared::Vitals};

/// Connections that ask for metrics or health; a monitor or two, not a crowd.
const HTTP_CONNECTIONS_MAX: usize = 64;
/// Longer than monitors wait between two questions on one connection.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// Serves `/metrics`, `/healthz` and `/readyz` until it is dropped.
pub async fn serve(vitals: Arc<Vitals>, listener: Box<dyn Listener>) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(vitals);
    let slots = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
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
    slots: Arc<Semaphore>,
}

impl axum::serve::Listener for SeamListener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            // Never closed, so this only waits until one of the connections is done.
            let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok(Connection { reader, writer, peer }) => return (Stream::new(reader, writer, slot), peer),
                Err(error) => {
                    tracing::debug!("cannot accept an HTTP connection: {error}");
                    sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.listener.local_addr())
    }
}

/// A connection that gives its slot back when it ends, which it does when nothing has moved on it for [`SILENCE_MAX`]:
/// else a few that say nothing would keep every monitor out.
struct Stream {
    reader: Box<dyn ReadHalf>,
    writer: Box<dyn WriteHalf>,
    silence: Pin<Box<Sleep>>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Stream {
    fn new(
        reader: Box<dyn ReadHalf>,
        writer: Box<dyn WriteHalf>,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { reader, writer, silence: Box::pin(sleep(SILENCE_MAX)), _slot: slot }
    }

    /// Passes on what a half answered, unless that is waiting and has been for too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
            return moved;
        }
        self.silence.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let moved = Pin::new(&mut self.reader).poll_read(cx, buf);
        self.judge(cx, moved)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.writer).poll_write(cx, buf);
        self.judge(cx, moved)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};

    use super::*;

    fn stream(end: DuplexStream) -> Stream {
        struct Writer(tokio::io::WriteHalf<DuplexStream>);
        impl WriteHalf for Writer {}
        impl AsyncWrite for Writer {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.0).poll_write(cx, buf)
            }
            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_flush(cx)
            }
            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_shutdown(cx)
            }
        }
        let (reader, writer) = split(end);
        Stream::new(Box::new(reader), Box::new(Writer(writer)), None)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_and_a_byte_now_and_then_does_not() {
        let (mut peer, end) = duplex(10);
        let mut stream = stream(end);
        for _ in 0..3 {
            let later = async {
                sleep(SILENCE_MAX * 2 / 3).await;
                peer.write_u8(1).await.unwrap();
            };
            let (read, ()) = tokio::join!(stream.read_u8(), later);
            assert_eq!(read.unwrap(), 1);
        }
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_its_answer_is_not_waited_for() {
        let (_peer, end) = duplex(10);
        assert_eq!(stream(end).write_all(&[0; 11]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
