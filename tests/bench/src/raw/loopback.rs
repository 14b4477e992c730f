//! TCP over loopback, between two blocking threads.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use crate::failure::{During, Failure, Outcome};
use crate::run::{Latency, histogram};

/// About a request with nothing in it.
const PING: usize = 64;
const READ_BYTES: usize = 1 << 20;
const WARM_UP: u64 = 1000;

fn pair() -> Outcome<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").during("listening")?;
    let here = TcpStream::connect(listener.local_addr().during("listening")?).during("connecting")?;
    let (there, _) = listener.accept().during("accepting")?;
    for stream in [&here, &there] {
        stream.set_nodelay(true).during("TCP_NODELAY")?;
    }
    Ok((here, there))
}

/// Gigabytes a second in writes of this size.
pub fn stream(write_bytes: usize, seconds: f64) -> Outcome<f64> {
    let (mut here, mut there) = pair()?;
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || -> std::io::Result<u64> {
            let (mut buffer, mut total) = (vec![0; READ_BYTES], 0);
            loop {
                match there.read(&mut buffer)? {
                    0 => return Ok(total),
                    count => total += count as u64,
                }
            }
        });
        let bytes = vec![0x5a; write_bytes];
        let begun = Instant::now();
        while begun.elapsed().as_secs_f64() < seconds {
            here.write_all(&bytes).during("writing to loopback")?;
        }
        drop(here);
        let total = reader.join().map_err(|_| Failure("the reader panicked".to_owned()))?;
        Ok(total.during("reading from loopback")? as f64 / begun.elapsed().as_secs_f64() / 1e9)
    })
}

/// A few bytes there and back.
pub fn round_trip(seconds: f64) -> Outcome<Latency> {
    let (mut here, mut there) = pair()?;
    std::thread::scope(|scope| {
        let echo = scope.spawn(move || -> std::io::Result<()> {
            let mut bytes = [0; PING];
            while there.read_exact(&mut bytes).is_ok() {
                there.write_all(&bytes)?;
            }
            Ok(())
        });
        let (mut bytes, mut latencies, mut count) = ([0; PING], histogram(), 0);
        let begun = Instant::now();
        while begun.elapsed().as_secs_f64() < seconds {
            let sent = Instant::now();
            here.write_all(&bytes).during("writing to loopback")?;
            here.read_exact(&mut bytes).during("reading from loopback")?;
            count += 1;
            if count > WARM_UP {
                latencies.saturating_record(sent.elapsed().as_nanos() as u64);
            }
        }
        drop(here);
        echo.join().map_err(|_| Failure("the echo panicked".to_owned()))?.during("echoing")?;
        Latency::of(&latencies).ok_or_else(|| Failure("loopback is too slow to be measured".to_owned()))
    })
}
