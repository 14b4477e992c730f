//! The network between hosts: connections of two directions each, whose bytes are late, trickle, stop, or are cut at a
//! chosen one; hosts that vanish without a word; listeners that refuse or whose backlog is full.
//!
//! - `pipe`: one direction. `halves`: what the pair holds of it.
//! - [`Wires`]: everything that is connected, and what can be done to it.
//! - [`HostNetwork`]: the seam, as one life of one host sees it.

mod halves;
mod pipe;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gapless_common::seam::{BoxFuture, ConnectError, ConnectStage, Connection, Listener, Network, Random};
use tokio::{sync::Notify, time::sleep};

use self::halves::{Reader, Writer};
pub use self::pipe::Pace;
use self::pipe::Pipe;
use crate::host::Life;
use crate::trace::Trace;

/// Connections that wait to be accepted, per listener.
const BACKLOG: usize = 4;
/// How often a connection attempt that found no room, or nobody, is made again: a SYN that was lost.
const SYN_AGAIN: Duration = Duration::from_millis(50);
/// The last byte before which a wire that is to be cut is cut.
const CUT_AT_MAX: u64 = 30_000;

/// What new connections meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// How long bytes take. Each connection draws a pace of its own up to this one, so that they overtake each other.
    pub pace: Pace,
    /// One connection in so many is cut at some byte, in one direction or the other.
    pub cut_one_in: Option<u64>,
    /// One attempt in so many is refused.
    pub refuse_one_in: Option<u64>,
}

impl Weather {
    /// Nothing goes wrong.
    pub const FINE: Self = Self { pace: Pace::FAST, cut_one_in: None, refuse_one_in: None };
}

/// What of a host's traffic comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Reach {
    /// Bytes from it to others stand still.
    mute: bool,
    /// Bytes to it stand still.
    deaf: bool,
    /// It is switched off: nothing answers, not even with a refusal.
    off: bool,
}

/// All connections, and the state of the network; clones are the same one.
#[derive(Clone)]
pub struct Wires(Arc<Mutex<State>>);

struct State {
    weather: Weather,
    reach: BTreeMap<IpAddr, Reach>,
    listeners: BTreeMap<SocketAddr, Arc<Backlog>>,
    connections: BTreeMap<u64, Wire>,
    next_connection: u64,
    random: Random,
    trace: Trace,
}

/// One connection: from who opened it, and back.
#[derive(Clone)]
struct Wire {
    from: IpAddr,
    to: IpAddr,
    there: Pipe,
    back: Pipe,
}

impl Wire {
    /// The pipes out of a host and into it, if it is one of the two ends.
    fn seen_from(&self, host: IpAddr) -> Option<(&Pipe, &Pipe)> {
        if self.from == host {
            Some((&self.there, &self.back))
        } else if self.to == host {
            Some((&self.back, &self.there))
        } else {
            None
        }
    }
}

struct Backlog {
    waiting: Mutex<VecDeque<Connection>>,
    arrived: Notify,
    life: Life,
}

impl Wires {
    /// Nothing is connected.
    #[must_use]
    pub fn new(random: Random, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            weather: Weather::FINE,
            reach: BTreeMap::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            random,
            trace,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network as one life of a host sees it.
    #[must_use]
    pub fn of_host(&self, host: IpAddr, life: Life) -> HostNetwork {
        HostNetwork { wires: self.clone(), host, life }
    }

    /// What connections meet from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Bytes from a host (`mute`), or to it (`deaf`), stand still from now on, or come through again.
    pub fn stall(&self, host: IpAddr, mute: bool, deaf: bool) {
        let mut state = self.state();
        state.reach.entry(host).or_default().mute = mute;
        state.reach.entry(host).or_default().deaf = deaf;
        let reach = state.reach.clone();
        let wires: Vec<Wire> = state.connections.values().cloned().collect();
        state.trace.note("net stall", &[number_of(host), u64::from(mute), u64::from(deaf)]);
        drop(state);
        for wire in wires {
            let (there, back) = stalls(&reach, wire.from, wire.to);
            wire.there.change(|pipe| pipe.stalled = there);
            wire.back.change(|pipe| pipe.stalled = back);
        }
    }

    /// One of a host's connections is gone for one end, and the other hears nothing. True if it has any.
    pub fn half_open(&self, host: IpAddr) -> bool {
        let mut state = self.state();
        let of_host: Vec<u64> = state
            .connections
            .iter()
            .filter(|(_, wire)| wire.from == host || wire.to == host)
            .map(|(number, _)| *number)
            .collect();
        let drawn = usize::try_from(state.random.below(of_host.len() as u64)).unwrap_or(0);
        let Some(number) = of_host.get(drawn) else { return false };
        let Some(wire) = state.connections.remove(number) else { return false };
        let flip = state.random.below(2) == 0;
        state.trace.note("net half open", &[*number, u64::from(flip)]);
        drop(state);
        let (gone, silent) = if flip { (&wire.there, &wire.back) } else { (&wire.back, &wire.there) };
        // Who reads `gone` learns of it; who writes into it writes into the void, and reads nothing from `silent`.
        gone.change(|pipe| {
            pipe.reset(Duration::ZERO);
            pipe.forgive_writer();
        });
        silent.change(|pipe| {
            pipe.fail_writer();
            pipe.stalled = true;
        });
        true
    }

    /// Cuts all connections of a host; both ends learn of it. Answers how many there were.
    pub fn cut(&self, host: IpAddr) -> usize {
        let mut state = self.state();
        let (cut, rest) = std::mem::take(&mut state.connections)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, wire)| wire.from == host || wire.to == host);
        state.connections = rest;
        state.trace.note("net cut", &[number_of(host), cut.len() as u64]);
        drop(state);
        for wire in cut.values() {
            wire.there.change(|pipe| pipe.reset(Duration::ZERO));
            wire.back.change(|pipe| pipe.reset(Duration::ZERO));
        }
        cut.len()
    }

    /// The host's process ended, and its kernel closes everything.
    pub fn killed(&self, host: IpAddr) {
        let mut state = self.state();
        let resets = state.random.below(2) == 0;
        let wires = state.take_connections_of(host);
        drop(state);
        for wire in wires {
            if let Some((out, into)) = wire.seen_from(host) {
                out.change(|pipe| if resets { pipe.reset(Duration::ZERO) } else { pipe.close() });
                into.change(pipe::State::leave);
            }
        }
    }

    /// The host is switched off: its peers hear nothing.
    pub fn switched_off(&self, host: IpAddr) {
        let mut state = self.state();
        state.reach.entry(host).or_default().off = true;
        state.listeners.retain(|address, _| address.ip() != host);
        let wires: Vec<Wire> = state.connections.values().cloned().collect();
        drop(state);
        for wire in wires {
            if let Some((_, into)) = wire.seen_from(host) {
                into.change(|pipe| pipe.reader_is_ghost = true);
            }
        }
    }

    /// It is back, and answers what belongs to connections of before with resets.
    pub fn switched_on(&self, host: IpAddr) {
        let mut state = self.state();
        state.reach.entry(host).or_default().off = false;
        let wires = state.take_connections_of(host);
        drop(state);
        for wire in wires {
            if let Some((_, into)) = wire.seen_from(host) {
                into.change(|pipe| pipe.resets_writer |= pipe.reader_is_ghost);
            }
        }
    }

    /// Everything comes through again, at once.
    pub fn heal(&self) {
        let mut state = self.state();
        state.weather = Weather::FINE;
        for reach in state.reach.values_mut() {
            (reach.mute, reach.deaf) = (false, false);
        }
        let wires: Vec<Wire> = state.connections.values().cloned().collect();
        drop(state);
        for wire in wires {
            for pipe in [&wire.there, &wire.back] {
                pipe.change(|pipe| {
                    pipe.stalled = false;
                    pipe.cut_at = None;
                    pipe.pace = Pace::FAST;
                });
            }
        }
    }

    /// Makes a connection and puts its far end into the backlog.
    fn open(&self, from: SocketAddr, to: SocketAddr, life: &Life, backlog: &Backlog) -> Connection {
        let mut state = self.state();
        let number = state.next_connection;
        state.next_connection += 1;
        let pace = state.draw_pace();
        let (random, trace) = (state.random.clone(), state.trace.clone());
        let there = Pipe::new(number * 2, pace, random.clone(), trace.clone());
        let back = Pipe::new(number * 2 + 1, pace, random.clone(), trace);
        let (stalled_there, stalled_back) = stalls(&state.reach, from.ip(), to.ip());
        there.state().stalled = stalled_there;
        back.state().stalled = stalled_back;
        if state.weather.cut_one_in.is_some_and(|one_in| random.below(one_in) == 0) {
            let cut = if random.below(2) == 0 { &there } else { &back };
            cut.state().cut_at = Some(random.below(CUT_AT_MAX));
        }
        let wire = Wire { from: from.ip(), to: to.ip(), there: there.clone(), back: back.clone() };
        state.trace.note("net open", &[number, number_of(from.ip()), number_of(to.ip())]);
        state.connections.insert(number, wire);
        drop(state);
        let near = end(back.clone(), there.clone(), life.clone(), to);
        let far = end(there, back, backlog.life.clone(), from);
        backlog.waiting().push_back(far);
        backlog.arrived.notify_one();
        near
    }
}

impl State {
    fn take_connections_of(&mut self, host: IpAddr) -> Vec<Wire> {
        let (of_host, rest) = std::mem::take(&mut self.connections)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, wire)| wire.seen_from(host).is_some());
        self.connections = rest;
        of_host.into_values().collect()
    }

    fn draw_pace(&self) -> Pace {
        let Pace { min_ms, max_ms, trickle } = self.weather.pace;
        let (one, other) =
            (self.random.below(max_ms + 1).max(min_ms), self.random.below(max_ms + 1).max(min_ms));
        Pace { min_ms: one.min(other), max_ms: one.max(other), trickle }
    }
}

fn end(reads: Pipe, writes: Pipe, life: Life, peer: SocketAddr) -> Connection {
    let reader = Reader::new(reads.clone(), life.clone());
    let writer = Writer::new(writes, reads, life);
    Connection { reader: Box::new(reader), writer: Box::new(writer), peer }
}

/// Whether bytes stand still on the way from `from` to `to`, and back.
fn stalls(reach: &BTreeMap<IpAddr, Reach>, from: IpAddr, to: IpAddr) -> (bool, bool) {
    let of = |host| reach.get(host).copied().unwrap_or_default();
    let (from, to) = (of(&from), of(&to));
    (from.mute || to.deaf, to.mute || from.deaf)
}

fn number_of(host: IpAddr) -> u64 {
    match host {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(_) => 0,
    }
}

impl Backlog {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Connection>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address of the host of this number, from 1 on.
#[must_use]
pub const fn address_of(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
}

/// The seam, for one life of one host.
pub struct HostNetwork {
    wires: Wires,
    host: IpAddr,
    life: Life,
}

/// What an attempt to connect finds.
enum Found {
    Listener(Arc<Backlog>),
    Refusal,
    /// Nothing answers.
    Silence,
}

impl HostNetwork {
    fn find(&self, to: SocketAddr) -> Found {
        let state = self.wires.state();
        let reach = state.reach.get(&to.ip()).copied().unwrap_or_default();
        let (there, back) = stalls(&state.reach, self.host, to.ip());
        if reach.off || there || back {
            return Found::Silence;
        }
        if state.weather.refuse_one_in.is_some_and(|one_in| state.random.below(one_in) == 0) {
            return Found::Refusal;
        }
        match state.listeners.get(&to).filter(|backlog| backlog.life.goes_on()) {
            None => Found::Refusal,
            Some(backlog) if backlog.waiting().len() >= BACKLOG => Found::Silence,
            Some(backlog) => Found::Listener(Arc::clone(backlog)),
        }
    }

    fn delay(&self) -> Duration {
        let state = self.wires.state();
        state.weather.pace.draw(&state.random)
    }
}

fn parse(address: &str) -> io::Result<SocketAddr> {
    address
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::NotFound, "the simulated network knows no names"))
}

impl Network for HostNetwork {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            let failed = |stage, source| ConnectError { address: address.to_owned(), stage, source };
            let to = parse(address).map_err(|error| failed(ConnectStage::Name, error))?;
            loop {
                let delay = self.delay();
                if !delay.is_zero() {
                    sleep(delay).await;
                }
                match self.find(to) {
                    Found::Listener(backlog) => {
                        return Ok(self.wires.open(SocketAddr::new(self.host, 1), to, &self.life, &backlog));
                    }
                    Found::Refusal => {
                        return Err(failed(ConnectStage::Connect, io::ErrorKind::ConnectionRefused.into()));
                    }
                    Found::Silence => sleep(SYN_AGAIN).await,
                }
            }
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let local = parse(address)?;
            let mut state = self.wires.state();
            if state.listeners.get(&local).is_some_and(|backlog| backlog.life.goes_on()) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let backlog = Arc::new(Backlog {
                waiting: Mutex::default(),
                arrived: Notify::new(),
                life: self.life.clone(),
            });
            state.listeners.insert(local, Arc::clone(&backlog));
            drop(state);
            Ok(Box::new(HostListener { local, backlog, wires: self.wires.clone() }) as Box<dyn Listener>)
        })
    }
}

struct HostListener {
    local: SocketAddr,
    backlog: Arc<Backlog>,
    wires: Wires,
}

impl Listener for HostListener {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            loop {
                let next = self.backlog.waiting().pop_front();
                if let Some(connection) = next {
                    return Ok(connection);
                }
                self.backlog.arrived.notified().await;
            }
        })
    }
}

impl Drop for HostListener {
    fn drop(&mut self) {
        let mut state = self.wires.state();
        if state.listeners.get(&self.local).is_some_and(|backlog| Arc::ptr_eq(backlog, &self.backlog)) {
            state.listeners.remove(&self.local);
        }
        drop(state);
        // Those that were never accepted are closed with it.
        drop(std::mem::take(&mut *self.backlog.waiting()));
    }
}

#[cfg(test)]
mod tests;
