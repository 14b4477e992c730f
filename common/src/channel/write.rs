//! The sending half: everything queued goes out in as few vectored writes as the connection takes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;

use super::pipeline::Piece;
use crate::seam::WriteHalf;

/// Pieces handed to one vectored write. Linux takes 1024; past a hundred the call's own cost no longer shows.
const PIECES_PER_WRITE: usize = 128;

/// The connection's sending half and what it has not taken yet.
pub(super) struct Outlet {
    io: Box<dyn WriteHalf>,
    pieces: VecDeque<Piece>,
    /// Something was written that the connection may still hold back.
    unflushed: bool,
}

impl Outlet {
    pub(super) const fn new(io: Box<dyn WriteHalf>) -> Self {
        Self { io, pieces: VecDeque::new(), unflushed: false }
    }

    /// True if nothing waits for the connection to take more.
    pub(super) fn is_idle(&self) -> bool {
        self.pieces.is_empty() && !self.unflushed
    }

    /// Takes over what is queued.
    pub(super) fn extend(&mut self, queued: impl IntoIterator<Item = Piece>) {
        self.pieces.extend(queued);
    }

    /// Writes until nothing is left or the connection takes no more. Requests that are complete are named to `written`.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut written: impl FnMut(i32),
    ) -> Poll<io::Result<()>> {
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(&piece.bytes);
                count += 1;
            }
            let slices = slices.get(..count).unwrap_or_default();
            let taken = ready!(Pin::new(&mut *self.io).poll_write_vectored(cx, slices))?;
            if taken == 0 && !self.front_is_empty() {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.consume(taken, &mut written);
        }
        ready!(Pin::new(&mut *self.io).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn front_is_empty(&self) -> bool {
        self.pieces.front().is_some_and(|piece| piece.bytes.is_empty())
    }

    fn consume(&mut self, mut taken: usize, written: &mut impl FnMut(i32)) {
        while let Some(piece) = self.pieces.front_mut() {
            if piece.bytes.len() > taken {
                piece.bytes.advance(taken);
                return;
            }
            taken -= piece.bytes.len();
            if let Some(correlation) = self.pieces.pop_front().and_then(|piece| piece.completes) {
                written(correlation);
            }
        }
    }
}
