//! A connection between client and broker that fails on purpose, frame by frame.
//!
//! Start the broker with `--advertise` set to the proxy's address, so that clients never go around it.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::ports::free_port;

/// Whose frame it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the client.
    Request,
    /// From the broker.
    Response,
}

/// A frame that asks to pass.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Number of the connection, from 0, in the order of accepting.
    pub connection: usize,
    /// Whose it is.
    pub direction: Direction,
    /// The API of the request, or of the request that is answered.
    pub api: i16,
    /// How many frames of this API and direction came before it, over all connections.
    pub nth: usize,
    /// The frame with its four bytes of length.
    pub bytes: &'a [u8],
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// So many of its bytes go on, then both ends of the connection are closed.
    CutAfter(usize),
    /// It goes on a byte at a time.
    Trickle,
    /// It is lost, and everything after it in this direction; the connection stays open.
    Stall,
}

type Rule = dyn Fn(&Frame<'_>) -> Verdict + Send + Sync;

/// A running proxy; closes everything when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    target: Mutex<Option<String>>,
    rule: Box<Rule>,
    counts: Mutex<BTreeMap<(Direction, i16), usize>>,
    sockets: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    closing: AtomicBool,
}

impl Proxy {
    /// Listens, but leads nowhere until [`Proxy::lead_to`]; `rule` judges every frame.
    ///
    /// # Panics
    /// If no port can be had.
    pub fn start(rule: impl Fn(&Frame<'_>) -> Verdict + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", free_port())).expect("a free port can be bound");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            target: Mutex::default(),
            rule: Box::new(rule),
            counts: Mutex::default(),
            sockets: Mutex::default(),
            connections: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        let accepted = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            for client in listener.incoming() {
                if accepted.closing.load(Ordering::SeqCst) {
                    return;
                }
                // A client that is gone again already, or a broker that is away: the client sees a closed connection.
                let _ = client.and_then(|client| join(&accepted, client));
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Connections accepted from now on lead to `target` (`HOST:PORT`).
    pub fn lead_to(&self, target: &str) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target.to_owned());
    }

    /// Where it listens, `HOST:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many frames of an API and a direction have asked to pass.
    pub fn count(&self, direction: Direction, api: i16) -> usize {
        let counts = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&(direction, api)).copied().unwrap_or(0)
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Closes every connection that is open now.
    pub fn cut_all(&self) {
        for socket in self.shared.sockets.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; if even that fails, it ends with the process.
        if TcpStream::connect(self.address).is_ok()
            && let Some(accepting) = self.accepting.take()
        {
            let _ = accepting.join();
        }
        self.cut_all();
    }
}

/// Connects to the target and starts both directions.
fn join(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    let target = shared.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let broker = TcpStream::connect(target.ok_or(io::ErrorKind::NotConnected)?)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    shared
        .sockets
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend([client.try_clone()?, broker.try_clone()?]);
    let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
    let waiting = Arc::new(Mutex::new(BTreeMap::new()));
    for (direction, from, to) in [
        (Direction::Request, client.try_clone()?, broker.try_clone()?),
        (Direction::Response, broker.try_clone()?, client.try_clone()?),
    ] {
        let way = Way { shared: Arc::clone(shared), connection, direction, waiting: Arc::clone(&waiting) };
        thread::spawn(move || {
            // A broken connection is what this is about: the other end is told by closing it too.
            let _ = way.carry(&from, &to);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

/// One direction of one connection.
struct Way {
    shared: Arc<Shared>,
    connection: usize,
    direction: Direction,
    /// Correlation ids of requests under way, and their APIs.
    waiting: Arc<Mutex<BTreeMap<i32, i16>>>,
}

impl Way {
    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        loop {
            let mut bytes = vec![0; 4];
            from.read_exact(&mut bytes)?;
            let length = usize::try_from(number(&bytes, 0)).map_err(|_| io::ErrorKind::InvalidData)?;
            bytes.resize(4 + length, 0);
            from.read_exact(&mut bytes[4..])?;
            let api = self.api_of(&bytes);
            let nth = {
                let mut counts = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
                let count = counts.entry((self.direction, api)).or_default();
                *count += 1;
                *count - 1
            };
            let frame =
                Frame { connection: self.connection, direction: self.direction, api, nth, bytes: &bytes };
            match (self.shared.rule)(&frame) {
                Verdict::Pass => to.write_all(&bytes)?,
                Verdict::CutAfter(count) => {
                    return to.write_all(bytes.get(..count).unwrap_or(&bytes));
                }
                Verdict::Trickle => {
                    for byte in &bytes {
                        to.write_all(&[*byte])?;
                    }
                }
                Verdict::Stall => {
                    io::copy(&mut from, &mut io::sink())?;
                    return Ok(());
                }
            }
        }
    }

    fn api_of(&self, bytes: &[u8]) -> i16 {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match self.direction {
            Direction::Request => {
                let api = (number(bytes, 4) >> 16) as i16;
                waiting.insert(number(bytes, 8), api);
                api
            }
            Direction::Response => waiting.remove(&number(bytes, 4)).unwrap_or(-1),
        }
    }
}

/// The big-endian number at `at`; 0 where the frame is too short to hold one.
fn number(bytes: &[u8], at: usize) -> i32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, i32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends every frame back, and a client of it through a proxy with `rule`.
    fn echo(rule: impl Fn(&Frame<'_>) -> Verdict + Send + Sync + 'static) -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(rule);
        proxy.lead_to(&listener.local_addr().unwrap().to_string());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut back = stream.try_clone().unwrap();
            let _ = io::copy(&mut stream, &mut back);
            let _ = back.shutdown(Shutdown::Both);
        });
        let client = TcpStream::connect(proxy.address()).unwrap();
        (proxy, client)
    }

    /// Length 8, then API 0 version 1 with correlation id 7. As a response its correlation id is 1 (API and version).
    const FRAME: [u8; 12] = [0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 7];

    #[test]
    fn frames_pass_whole_or_byte_by_byte_and_are_counted() {
        for verdict in [Verdict::Pass, Verdict::Trickle] {
            let (proxy, mut client) = echo(move |_| verdict);
            for _ in 0..2 {
                client.write_all(&FRAME).unwrap();
                let mut back = [0; 12];
                client.read_exact(&mut back).unwrap();
                assert_eq!(back, FRAME);
            }
            assert_eq!(proxy.count(Direction::Request, 0), 2);
            assert_eq!(proxy.connections(), 1);
        }
    }

    #[test]
    fn a_cut_lets_so_many_bytes_through_and_closes() {
        for bytes in [0, 1, 5, 11] {
            let (_proxy, mut client) = echo(move |frame| match frame.direction {
                Direction::Request => Verdict::Pass,
                Direction::Response => Verdict::CutAfter(bytes),
            });
            client.write_all(&FRAME).unwrap();
            let mut back = Vec::new();
            client.read_to_end(&mut back).unwrap();
            assert_eq!(back, FRAME[..bytes]);
        }
    }
}
