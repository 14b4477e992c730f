//! Bytes from a file to a socket without a copy in user space (sendfile).

use std::{io, os::fd::BorrowedFd};

use rustix::io::{Errno, retry_on_intr};
use tokio::{io::Interest, net::TcpStream};

/// Sends up to `len` bytes of `file` from `position` on, as soon as the socket takes some; how many it took, 0 where the file
/// ends.
///
/// # Errors
/// Of the file or of the socket; `crate::storage::is_lost` tells the former.
pub async fn send_file(
    socket: &TcpStream,
    file: BorrowedFd<'_>,
    position: u64,
    len: usize,
) -> io::Result<usize> {
    let send = || {
        let sent = retry_on_intr(|| {
            let mut position = position;
            rustix::fs::sendfile(socket, file, Some(&mut position), len)
        });
        Ok(sent?)
    };
    socket.async_io(Interest::WRITABLE, send).await
}

/// The kernel cannot send from this kind of file.
pub fn is_not_served(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::fd::AsFd as _};

    use tokio::io::AsyncReadExt as _;

    use super::*;

    const BUFFER: u32 = 64 << 10;

    #[tokio::test]
    async fn a_range_arrives_whole_through_a_socket_that_takes_it_in_parts() {
        let content: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        // Without these the kernel may take all at once.
        let [listening, connecting] = [(); 2].map(|()| {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_send_buffer_size(BUFFER).unwrap();
            socket.set_recv_buffer_size(BUFFER).unwrap();
            socket
        });
        listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listening.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(connecting.connect(address), listener.accept());
        let (mut client, socket) = (client.unwrap(), accepted.unwrap().0);
        let send = async {
            let mut position = 1_000_000_u64;
            let mut calls = 0;
            loop {
                match send_file(&socket, file.as_fd(), position, 1 << 30).await.unwrap() {
                    0 => break,
                    count => position += count as u64,
                }
                calls += 1;
            }
            drop(socket);
            calls
        };
        let mut received = Vec::new();
        let (calls, read) = tokio::join!(send, client.read_to_end(&mut received));
        read.unwrap();
        assert!(received == content[1_000_000..], "{} bytes came", received.len());
        assert!(calls > 1, "one call for all: then nothing waited for the socket");
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the kernel's own sockets are what this is about")]
    async fn what_cannot_be_sent_from_is_told_from_a_peer_that_is_gone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (client, socket) = (client.unwrap(), accepted.unwrap().0);
        let error = send_file(&socket, listener.as_fd(), 0, 10).await.unwrap_err();
        assert!(
            is_not_served(&error) || error.raw_os_error() == Some(Errno::SPIPE.raw_os_error()),
            "{error}"
        );
        client.set_zero_linger().unwrap();
        drop(client);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 100]).unwrap();
        let error = loop {
            if let Err(error) = send_file(&socket, file.as_fd(), 0, 100).await {
                break error;
            }
        };
        assert!(!is_not_served(&error) && !crate::storage::is_lost(&error), "{error}");
    }
}
