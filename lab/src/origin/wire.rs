//! The socket of one connection, and the ways in which a fault ends it.
//!
//! hyper cannot send part of a body and then close the connection: an error of the body drops the
//! data that is still buffered. So the body only arms a [`Fuse`] once its last byte is handed over.
//! The socket, which knows when everything above it (hyper, TLS) has been flushed, acts on it. This
//! module must not decide when that happens.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How a connection ends. Shared by its socket and its responses.
#[derive(Clone, Debug, Default)]
pub(super) struct Fuse(Arc<AtomicU8>);

const UNARMED: u8 = 0;
const CLOSE: u8 = 1;
const RESET: u8 = 2;

impl Fuse {
    /// Closes the connection after the next flush, properly as far as TCP is concerned. (TLS
    /// clients receive no closing alert, as when a server dies.)
    pub(super) fn close(&self) {
        self.0.store(CLOSE, Ordering::Relaxed);
    }

    /// Resets the connection, at the latest after the next flush.
    pub(super) fn reset(&self) {
        self.0.store(RESET, Ordering::Relaxed);
    }

    fn state(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The socket of one connection.
#[derive(Debug)]
pub(super) struct Wire {
    socket: TcpStream,
    fuse: Fuse,
}

impl Wire {
    /// Wraps an accepted socket.
    pub(super) const fn new(socket: TcpStream, fuse: Fuse) -> Self {
        Self { socket, fuse }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.fuse.state() == RESET {
            // With a linger time of zero, close sends RST (socket(7), tcp(7)). A failure means that
            // the connection has ended already.
            let _ = self.socket.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        if self.fuse.state() == UNARMED {
            return Poll::Ready(Ok(()));
        }
        // On an error hyper drops the connection, and with it the socket.
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
