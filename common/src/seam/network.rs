//! Connections: opened, accepted, and split into a half that reads and a half that writes.

use std::{io, net::SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::BoxFuture;

/// The half that reads.
pub trait ReadHalf: AsyncRead + Send + Unpin + 'static {}
impl<T: AsyncRead + Send + Unpin + 'static> ReadHalf for T {}

/// The half that writes; dropping it closes that direction.
pub trait WriteHalf: AsyncWrite + Send + Unpin + 'static {
    /// The socket underneath, if there is one: who sends a range of a file can then leave the copying to the kernel.
    fn as_tcp(&self) -> Option<&TcpStream> {
        None
    }
}

impl WriteHalf for tokio::net::tcp::OwnedWriteHalf {
    fn as_tcp(&self) -> Option<&TcpStream> {
        Some(self.as_ref())
    }
}

/// An open byte stream to a peer, already in two halves, since sending and receiving never wait for each other.
pub struct Connection {
    /// Bytes from the peer.
    pub reader: Box<dyn ReadHalf>,
    /// Bytes to the peer.
    pub writer: Box<dyn WriteHalf>,
    /// The peer's address.
    pub peer: SocketAddr,
}

/// How far an attempt to connect came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectStage {
    /// Turning the host's name into addresses.
    Name,
    /// Opening the connection.
    Connect,
}

/// Why no connection came about. Says the address and the stage.
#[derive(Debug, thiserror::Error)]
#[error("{} {address}", match stage { ConnectStage::Name => "cannot resolve the host name of", ConnectStage::Connect => "cannot connect to" })]
pub struct ConnectError {
    /// What was tried, as it was given.
    pub address: String,
    /// How far it came.
    pub stage: ConnectStage,
    /// The operating system's reason.
    pub source: io::Error,
}

/// What opens and accepts connections.
pub trait Network: Send + Sync + 'static {
    /// Connects to `address` (`HOST:PORT`), trying each address of a name in turn. No time limit of its own.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Connection, ConnectError>>;

    /// Listens on `address` (`HOST:PORT`; port 0 picks a free one).
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
}

/// A socket that accepts.
pub trait Listener: Send + 'static {
    /// Where it listens, with the port that was picked.
    fn local_addr(&self) -> SocketAddr;

    /// The next connection. Errors that concern one connection or a passing lack (descriptors) are for the caller to
    /// outlive.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>>;
}

/// TCP, without Nagle's delay.
pub struct RealNetwork;

/// Connections waiting to be accepted; the usual limit of Linux (`net.core.somaxconn`).
const LISTEN_BACKLOG: u32 = 4096;

impl Network for RealNetwork {
    #[expect(clippy::disallowed_methods, reason = "the real side of the seam")]
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            let failed = |stage, source| ConnectError { address: address.to_owned(), stage, source };
            let candidates =
                tokio::net::lookup_host(address).await.map_err(|e| failed(ConnectStage::Name, e))?;
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            let mut stage = ConnectStage::Name;
            for candidate in candidates {
                stage = ConnectStage::Connect;
                match TcpStream::connect(candidate).await.and_then(split) {
                    Ok(connection) => return Ok(connection),
                    Err(error) => last = error,
                }
            }
            Err(failed(stage, last))
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the real side of the seam")]
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for candidate in tokio::net::lookup_host(address).await? {
                match bind(candidate) {
                    Ok(listener) => return Ok(Box::new(listener) as Box<dyn Listener>),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }
}

fn bind(address: SocketAddr) -> io::Result<RealListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    // A restarted broker takes its port back from connections that linger in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(LISTEN_BACKLOG)?;
    let local = listener.local_addr()?;
    Ok(RealListener { listener, local })
}

fn split(stream: TcpStream) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    let (reader, writer) = stream.into_split();
    Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), peer })
}

struct RealListener {
    listener: tokio::net::TcpListener,
    local: SocketAddr,
}

impl Listener for RealListener {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            split(stream)
        })
    }
}
