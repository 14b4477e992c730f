use gapless_common::seam::Random;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::*;
use crate::host::Host;
use crate::world::runtime;

const SERVER: &str = "10.0.0.1:9092";

struct Rig {
    wires: Wires,
    client: Host,
    server: Host,
    listener: Box<dyn Listener>,
}

impl Rig {
    async fn new() -> Self {
        let wires = Wires::new(Random::from_seed(3), Trace::default());
        let (client, server) = (Host::new(Random::from_seed(1)), Host::new(Random::from_seed(2)));
        client.boot();
        let listener = wires.of_host(address_of(1), server.boot()).listen(SERVER).await.unwrap();
        Self { wires, client, server, listener }
    }

    async fn try_connect(&self) -> Result<Connection, ConnectError> {
        self.wires.of_host(address_of(2), self.client.life()).connect(SERVER).await
    }

    async fn pair(&mut self) -> (Connection, Connection) {
        let near = self.try_connect().await.unwrap();
        (near, self.listener.accept().await.unwrap())
    }
}

fn simulated(test: impl AsyncFnOnce(Rig)) {
    runtime().block_on(async { test(Rig::new().await).await });
}

#[test]
fn bytes_arrive_late_whole_and_in_order_and_the_end_behind_them() {
    simulated(async |mut rig| {
        let pace = Pace { min_ms: 3, max_ms: 20, trickle: Some(7) };
        rig.wires.set_weather(Weather { pace, ..Weather::FINE });
        let (mut near, mut far) = rig.pair().await;
        let begin = Instant::now();
        let sent: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let mut got = Vec::new();
        let writing = async {
            near.writer.write_all(&sent).await.unwrap();
            drop(near.writer);
        };
        let (_, read) = tokio::join!(writing, far.reader.read_to_end(&mut got));
        read.unwrap();
        assert_eq!(got, sent);
        assert!(begin.elapsed() >= Duration::from_millis(5000 / 7), "{:?}", begin.elapsed());
    });
}

#[test]
fn a_cut_is_heard_at_both_ends_and_nothing_behind_it_arrives() {
    simulated(async |mut rig| {
        let (mut near, mut far) = rig.pair().await;
        rig.wires.state().connections.values().for_each(|wire| wire.there.state().cut_at = Some(10));
        near.writer.write_all(&[1; 40]).await.unwrap();
        let mut got = Vec::new();
        assert!(far.reader.read_to_end(&mut got).await.is_err());
        assert!(got.len() <= 10);
        assert!(near.reader.read_u8().await.is_err());
        assert!(near.writer.write_all(&[1]).await.is_err());
    });
}

#[test]
fn a_stalled_direction_comes_back_with_all_its_bytes() {
    simulated(async |mut rig| {
        let (mut near, mut far) = rig.pair().await;
        rig.wires.stall(address_of(2), true, false);
        near.writer.write_all(b"late").await.unwrap();
        far.writer.write_all(b"other way").await.unwrap();
        let mut other = [0; 9];
        near.reader.read_exact(&mut other).await.unwrap();
        assert!(timeout(Duration::from_secs(60), far.reader.read_u8()).await.is_err());
        rig.wires.stall(address_of(2), false, false);
        let mut got = [0; 4];
        far.reader.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"late");
    });
}

#[test]
fn a_kill_closes_and_a_power_loss_is_silent_until_the_host_is_back() {
    simulated(async |mut rig| {
        let (mut near, _far) = rig.pair().await;
        rig.wires.killed(address_of(1));
        rig.server.crash();
        let ended = timeout(Duration::from_secs(1), near.reader.read_u8()).await;
        assert!(ended.unwrap().is_err());
        let refused = rig.try_connect().await.err().unwrap();
        assert_eq!(refused.source.kind(), io::ErrorKind::ConnectionRefused);
    });
    simulated(async |mut rig| {
        let (mut near, _far) = rig.pair().await;
        rig.wires.switched_off(address_of(1));
        rig.server.crash();
        near.writer.write_all(b"anybody?").await.unwrap();
        assert!(timeout(Duration::from_secs(9), near.reader.read_u8()).await.is_err());
        assert!(timeout(Duration::from_secs(9), rig.try_connect()).await.is_err());
        rig.wires.switched_on(address_of(1));
        near.writer.write_all(b"still there?").await.unwrap();
        assert!(timeout(Duration::from_secs(9), near.reader.read_u8()).await.unwrap().is_err());
    });
}

#[test]
fn a_half_open_connection_is_gone_for_one_end_only() {
    simulated(async |mut rig| {
        let (mut near, mut far) = rig.pair().await;
        assert!(rig.wires.half_open(address_of(1)));
        let hears = |reader| timeout(Duration::from_secs(5), reader);
        let (near_hears, far_hears) = (hears(near.reader.read_u8()).await, hears(far.reader.read_u8()).await);
        assert!(near_hears.is_ok() != far_hears.is_ok());
        if near_hears.is_err() {
            near.writer.write_all(b"into the void").await.unwrap();
        } else {
            far.writer.write_all(b"into the void").await.unwrap();
        }
    });
}

#[test]
fn a_full_backlog_keeps_who_connects_waiting() {
    simulated(async |mut rig| {
        let mut connected = Vec::new();
        for _ in 0..BACKLOG {
            connected.push(rig.try_connect().await.unwrap());
        }
        assert!(timeout(Duration::from_secs(3), rig.try_connect()).await.is_err());
        rig.listener.accept().await.unwrap();
        assert!(timeout(Duration::from_secs(3), rig.try_connect()).await.is_ok());
    });
}
