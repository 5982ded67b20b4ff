//! An HTTP/1.1 connection: the stream, the scanner that checks the received bytes, and hyper's
//! state machine on top.
//!
//! The task that uses a connection also drives it. Without a separate task there are no wake-ups
//! between tasks, and the connection's processor time belongs to the download.
//!
//! Must not know time limits or decide what a response means.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::of_hyper;
use super::stream::Stream;
use crate::engine::error::carry;
use crate::throttle::Throttle;
use crate::transfer::TransportError;
use crate::transfer::scan::{MAX_SHOWN_HEADERS, Scanner};

/// Bytes read at once.
const READ_BUFFER: usize = 64 * 1024;

/// State of a connection, as far as a download needs it.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Whether bytes have come since the request.
    answered: AtomicBool,
    /// Whether bytes have come since the last check.
    moved: AtomicBool,
    /// Whether the next bytes sent begin a request.
    asking: AtomicBool,
    /// Whether no further request can be sent.
    spent: AtomicBool,
}

/// A stream that checks responses and notes when bytes arrive.
#[derive(Debug)]
struct Watched {
    stream: Stream,
    scanner: Scanner,
    notes: Arc<Notes>,
    silence: Silence,
    /// Largest number of bytes to read at once, if limited.
    read_size: Option<usize>,
}

/// Whether anything has been sent. Overloaded servers may answer a new connection before the
/// request, and that answer must be received. hyper would treat it as a protocol error, so nothing
/// is read until the request is sent.
#[derive(Debug)]
enum Silence {
    /// Nothing has been sent yet; holds the task to wake after that.
    Kept(Option<Waker>),
    Broken,
}

type Driver = http1::Connection<TokioIo<Watched>, Empty<Bytes>>;

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub(super) struct Http1 {
    sender: SendRequest<Empty<Bytes>>,
    /// None once the connection has ended.
    driver: Option<Pin<Box<Driver>>>,
    notes: Arc<Notes>,
}

impl Http1 {
    /// Creates a connection over `stream`, with reads that suit `throttle`. Sends nothing yet.
    pub(super) async fn new(
        stream: Stream,
        throttle: Option<&Throttle>,
    ) -> Result<Self, TransportError> {
        let notes = Arc::new(Notes::default());
        let watched = Watched {
            stream,
            scanner: Scanner::new(),
            notes: Arc::clone(&notes),
            silence: Silence::Kept(None),
            read_size: throttle.map(Throttle::read_size),
        };
        let (sender, driver) = http1::Builder::new()
            .read_buf_exact_size(Some(READ_BUFFER))
            .max_headers(MAX_SHOWN_HEADERS + 2)
            .handshake(TokioIo::new(watched))
            .await
            .map_err(|error| of_hyper(&error))?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(driver)),
            notes,
        })
    }

    /// Sends `request` and waits for the head of its response. Each poll also calls `tick`, with
    /// whether bytes have come since the last; an error from it ends the request.
    pub(super) async fn request(
        &mut self,
        request: Request<Empty<Bytes>>,
        mut tick: impl FnMut(&mut Context<'_>, bool) -> Result<(), TransportError>,
    ) -> Result<Response<Incoming>, TransportError> {
        self.notes.answered.store(false, Ordering::Relaxed);
        self.notes.moved.store(false, Ordering::Relaxed);
        self.notes.asking.store(true, Ordering::Relaxed);
        let mut response = pin!(self.sender.send_request(request));
        poll_fn(|context| {
            drive(&mut self.driver, context);
            if let Poll::Ready(result) = response.as_mut().poll(context) {
                return Poll::Ready(result.map_err(|error| of_hyper(&error)));
            }
            let moved = self.notes.moved.swap(false, Ordering::Relaxed);
            match tick(context, moved) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Returns the next piece of `body`, or `None` at its end. `tick` as for
    /// [`request`](Self::request).
    pub(super) async fn frame(
        &mut self,
        body: &mut Incoming,
        mut tick: impl FnMut(&mut Context<'_>, bool) -> Result<(), TransportError>,
    ) -> Result<Option<Frame<Bytes>>, TransportError> {
        poll_fn(|context| {
            drive(&mut self.driver, context);
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
                return Poll::Ready(frame.transpose().map_err(|error| of_hyper(&error)));
            }
            let moved = self.notes.moved.swap(false, Ordering::Relaxed);
            match tick(context, moved) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Returns whether bytes have come since the last request.
    pub(super) fn answered(&self) -> bool {
        self.notes.answered.load(Ordering::Relaxed)
    }

    /// Returns whether another request can be sent: the last one is complete, and the server has
    /// neither closed the connection nor sent anything unasked, as far as is known without a system
    /// call. Sending the request checks the state in the system.
    pub(super) async fn is_usable(&mut self) -> bool {
        poll_fn(|context| {
            drive(&mut self.driver, context);
            let spent = self.notes.spent.load(Ordering::Relaxed);
            Poll::Ready(!spent && self.driver.is_some() && self.sender.is_ready())
        })
        .await
    }
}

/// Drives the connection. Its end is reported to the task that waits for a response or body.
fn drive(driver: &mut Option<Pin<Box<Driver>>>, context: &mut Context<'_>) {
    if let Some(connection) = driver
        && connection.as_mut().poll(context).is_ready()
    {
        *driver = None;
    }
}

/// Reads at most `most` bytes into `buffer`.
fn poll_some(
    stream: &mut Stream,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
    most: usize,
) -> Poll<io::Result<()>> {
    if most >= buffer.remaining() {
        return Pin::new(stream).poll_read(context, buffer);
    }
    let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
    ready!(Pin::new(stream).poll_read(context, &mut part))?;
    let came = part.filled().len();
    buffer.advance(came);
    Poll::Ready(Ok(()))
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Silence::Kept(reader) = &mut self.silence {
            *reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let watched = &mut *self;
        let before = buffer.filled().len();
        loop {
            watched.scanner.verdict().map_err(carry)?;
            let most = watched.scanner.most(buffer.remaining());
            let most = most.min(watched.read_size.unwrap_or(usize::MAX));
            ready!(poll_some(&mut watched.stream, context, buffer, most))?;
            let came = buffer.filled().len() - before;
            if came == 0 {
                return Poll::Ready(watched.scanner.end().map_err(carry));
            }
            watched.notes.answered.store(true, Ordering::Relaxed);
            watched.notes.moved.store(true, Ordering::Relaxed);
            let passed = watched.scanner.feed(&mut buffer.filled_mut()[before..]);
            let more = (passed.head.len() + passed.kept).saturating_sub(came);
            let room = buffer.remaining();
            buffer.initialize_unfilled_to(more.min(room));
            let kept = passed
                .put(&mut buffer.initialized_mut()[before..])
                .map_err(carry)?;
            buffer.set_filled(before + kept);
            if watched.scanner.is_spent() {
                watched.notes.spent.store(true, Ordering::Relaxed);
            }
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Bytes that arrive before the request are not its response, but would be taken for it.
        if matches!(self.silence, Silence::Broken)
            && self.notes.asking.load(Ordering::Relaxed)
            && !self.stream.is_silent()
        {
            let what = "the server closed the connection, or spoke unasked".to_owned();
            return Poll::Ready(Err(carry(TransportError::Disconnected(what))));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        if written.is_ready() && self.notes.asking.swap(false, Ordering::Relaxed) {
            self.scanner.begin();
        }
        if written.is_ready()
            && let Silence::Kept(reader) = &mut self.silence
        {
            if let Some(reader) = reader.take() {
                reader.wake();
            }
            self.silence = Silence::Broken;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_a_server_says_before_it_is_asked_is_its_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let addr = listener.local_addr().expect("its address");
            let stream = TcpStream::connect(addr).await.expect("connected");
            let (mut server, _) = listener.accept().await.expect("accepted");
            let head = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
            server.write_all(head).await.expect("written");
            stream.readable().await.expect("it is there");
            let mut wire = Http1::new(Stream::Plain(stream), None)
                .await
                .expect("a wire");
            let request = Request::new(Empty::new());
            let response = wire.request(request, |_, _| Ok(())).await;
            assert_eq!(response.expect("an answer").status(), 503);
        });
    }
}
