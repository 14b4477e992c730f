//! Frames: a length of four bytes, big-endian, and so many bytes after it. A length is judged before it is believed,
//! and memory grows only with the bytes that have really come.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes of the length before each frame.
pub const LENGTH_SIZE: usize = 4;
/// What a reader asks its source for at least; many small frames come with one read.
const READ_SIZE: usize = 16 * 1024;
/// The most a buffer grows ahead of the bytes of a frame, until more than so many have come; from then on it doubles.
const GROWTH_MAX: usize = 1024 * 1024;

/// A length that is not followed up. The connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No message is so short.
    #[error("a frame of {0} bytes{hint}", hint = spoken(*.0))]
    NotPositive(i32),
    /// Longer than the reader is willing to hold.
    #[error("a frame of {size} bytes exceeds the limit of {size_max}{hint}", hint = spoken(*.size))]
    TooLarge {
        /// The length as it came.
        size: i32,
        /// The largest this reader takes.
        size_max: usize,
    },
}

/// What the four bytes of an impossible length really are, when they are well known: the commonest wrong port.
fn spoken(length: i32) -> &'static str {
    match &length.to_be_bytes() {
        b"HTTP" | b"GET " | b"POST" | b"PUT " | b"HEAD" | b"PRI " => {
            " (this is HTTP, not the Kafka protocol)"
        }
        // TLS records: 21 alert, 22 handshake; then the version's major number.
        [21 | 22, 3, _, _] => " (this is TLS, not the Kafka protocol in plain text)",
        b"SSH-" => " (this is SSH, not the Kafka protocol)",
        _ => "",
    }
}

/// Judges the four bytes before a frame.
///
/// # Errors
/// A length of zero, below, or above `size_max`.
pub fn frame_size(length: [u8; LENGTH_SIZE], size_max: usize) -> Result<usize, FrameError> {
    let size = i32::from_be_bytes(length);
    match usize::try_from(size) {
        Ok(0) | Err(_) => Err(FrameError::NotPositive(size)),
        Ok(bytes) if bytes > size_max => Err(FrameError::TooLarge { size, size_max }),
        Ok(bytes) => Ok(bytes),
    }
}

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The length was refused.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The source ended inside a frame.
    #[error("the connection ended after {have} bytes of a frame")]
    Truncated {
        /// Bytes that came, the length's own included.
        have: usize,
    },
    /// The source failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: R,
    buffer: BytesMut,
    size_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames of up to `size_max` bytes from `source`.
    pub fn new(source: R, size_max: usize) -> Self {
        Self { source, buffer: BytesMut::new(), size_max }
    }

    /// The next frame without its length, or `None` at an end between frames. A call that is dropped while it waits
    /// loses nothing: what came stays in the buffer.
    ///
    /// # Errors
    /// The frame's length, an end inside a frame, or the source's own error; none can be read on from.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            let room = match self.buffer.first_chunk::<LENGTH_SIZE>() {
                None => READ_SIZE,
                Some(length) => {
                    let whole = LENGTH_SIZE + frame_size(*length, self.size_max)?;
                    if self.buffer.len() >= whole {
                        let mut frame = self.buffer.split_to(whole);
                        frame.advance(LENGTH_SIZE);
                        return Ok(Some(frame.freeze()));
                    }
                    (whole - self.buffer.len()).min(GROWTH_MAX.max(self.buffer.len()))
                }
            };
            if self.buffer.capacity() - self.buffer.len() < room.min(READ_SIZE) {
                self.buffer.reserve(room.max(READ_SIZE));
            }
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.len() {
                    0 => Ok(None),
                    have => Err(ReadError::Truncated { have }),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = i32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn lengths_are_judged_before_they_are_believed() {
        let cases: [(i32, Result<usize, FrameError>); 7] = [
            (1, Ok(1)),
            (100, Ok(100)),
            (101, Err(FrameError::TooLarge { size: 101, size_max: 100 })),
            (i32::MAX, Err(FrameError::TooLarge { size: i32::MAX, size_max: 100 })),
            (0, Err(FrameError::NotPositive(0))),
            (-1, Err(FrameError::NotPositive(-1))),
            (i32::MIN, Err(FrameError::NotPositive(i32::MIN))),
        ];
        for (length, expected) in cases {
            assert_eq!(frame_size(length.to_be_bytes(), 100), expected);
        }
    }

    #[test]
    fn the_wrong_protocol_is_called_by_its_name() {
        for (start, name) in
            [(*b"HTTP", "HTTP"), (*b"GET ", "HTTP"), ([22, 3, 1, 2], "TLS"), ([21, 3, 3, 0], "TLS")]
        {
            let error = frame_size(start, 1 << 20).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(
            frame_size([0x7f; 4], 9).unwrap_err().to_string(),
            "a frame of 2139062143 bytes exceeds the limit of 9"
        );
    }

    #[tokio::test]
    async fn a_lying_length_costs_no_more_than_what_came() {
        let (mut peer, here) = tokio::io::duplex(64);
        let mut frames = FrameReader::new(here, 1 << 30);
        let read = async {
            let error = frames.next().await.unwrap_err();
            assert!(matches!(error, ReadError::Truncated { have: 7 }), "{error}");
            assert!(frames.buffer.capacity() <= GROWTH_MAX + 2 * READ_SIZE, "{}", frames.buffer.capacity());
        };
        let write = async {
            peer.write_all(&(1i32 << 30).to_be_bytes()).await.unwrap();
            peer.write_all(b"abc").await.unwrap();
            drop(peer);
        };
        tokio::join!(read, write);
    }

    #[tokio::test]
    async fn frames_larger_than_one_growth_step_come_whole() {
        let body: Vec<u8> = (0..3 * GROWTH_MAX + 17).map(|at| (at % 251) as u8).collect();
        let (mut peer, here) = tokio::io::duplex(100_000);
        let mut frames = FrameReader::new(here, body.len());
        let stream = framed(&body);
        let (got, ()) = tokio::join!(async { frames.next().await.unwrap().unwrap() }, async {
            peer.write_all(&stream).await.unwrap();
        });
        assert_eq!(got, body);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Frames come out as they went in, however the stream is cut into pieces, and wherever reads are given up.
        #[test]
        fn frames_survive_any_fragmentation(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..10),
            piece in 1usize..50,
            cut in 0usize..3,
        ) {
            let mut stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
            stream.truncate(stream.len().saturating_sub(cut));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (got, end) = runtime.block_on(async {
                let (mut peer, here) = tokio::io::duplex(piece);
                let mut frames = FrameReader::new(here, 200);
                let writing = async {
                    peer.write_all(&stream).await.unwrap();
                    drop(peer);
                };
                let reading = async {
                    let mut got = Vec::new();
                    loop {
                        // Every other read is given up when nothing is there at once.
                        let next = tokio::select! {
                            biased;
                            next = frames.next() => next,
                            () = tokio::task::yield_now() => continue,
                        };
                        match next {
                            Ok(Some(frame)) => got.push(frame.to_vec()),
                            Ok(None) => return (got, None),
                            Err(error) => return (got, Some(error)),
                        }
                    }
                };
                tokio::join!(reading, writing).0
            });
            let whole = if cut == 0 || bodies.is_empty() { bodies.len() } else { bodies.len() - 1 };
            prop_assert_eq!(&got, &bodies[..whole]);
            match end {
                None => prop_assert_eq!(whole, bodies.len()),
                Some(error) => prop_assert!(matches!(error, ReadError::Truncated { .. }), "{}", error),
            }
        }
    }
}
