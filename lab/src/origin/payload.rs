//! What is sent as a body, how fast, and how it is cut off.
//!
//! Must not decide which fault a request meets or touch sockets: it arms the fuse of one.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::body::{Content, Key};
use super::journal::Entry;
use super::wire::Fuse;

/// Bytes of a body that are generated at once. A small body is one piece, written together with its
/// head; a piece of a large body fits into the processor's cache.
const CHUNK: usize = 64 << 10;

/// Speed of a slow body: one byte, and the time until the next.
const DRIP: (usize, Duration) = (1, Duration::from_millis(100));

/// Speed of an endless body: fast enough to fill a disk, but it leaves the processor to others.
const FLOW: (usize, Duration) = (CHUNK, Duration::from_millis(10));

/// A response body.
#[derive(Debug)]
pub(super) struct Payload {
    source: Source,
    /// Journal entry to update.
    entry: Option<Entry>,
}

#[derive(Debug)]
enum Source {
    /// A short text.
    Text(Option<Bytes>),
    /// The content of a URL, or a part of it.
    Content {
        /// All that is promised.
        content: Content,
        /// How much of it is still to be sent.
        left: u64,
        /// What happens after that if more was promised.
        cut: Option<Cut>,
        /// The speed, unless it is sent as fast as it is accepted.
        pace: Option<Pace>,
        /// Whether a length is announced.
        announced: bool,
    },
}

/// What happens to a connection in the middle of a body.
#[derive(Debug)]
pub(super) enum Cut {
    /// It is closed properly.
    Close(Fuse),
    /// It is reset.
    Reset(Fuse),
    /// It stays open without data.
    Stall,
}

/// Pieces of one size, with a pause before each.
#[derive(Debug)]
struct Pace {
    piece: usize,
    pause: Duration,
    due: Pin<Box<Sleep>>,
}

impl Pace {
    fn new((piece, pause): (usize, Duration)) -> Self {
        Self {
            piece,
            pause,
            due: Box::pin(sleep(pause)),
        }
    }

    /// Returns how many bytes may be sent now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        ready!(self.due.as_mut().poll(cx));
        self.due.set(sleep(self.pause));
        Poll::Ready(self.piece)
    }
}

impl Payload {
    /// Creates a short text.
    pub(super) const fn text(text: &'static str, entry: Option<Entry>) -> Self {
        Self {
            source: Source::Text(Some(Bytes::from_static(text.as_bytes()))),
            entry,
        }
    }

    /// Creates an empty body.
    pub(super) fn nothing(mut entry: Option<Entry>) -> Self {
        if let Some(entry) = &mut entry {
            entry.seen.complete = true;
        }
        Self {
            source: Source::Text(None),
            entry,
        }
    }

    /// Creates the content of a URL from byte `first` up to but not including byte `end`: all of
    /// it, or half of it and then a cut.
    pub(super) fn content(
        key: &Key,
        (first, end): (u64, u64),
        cut: Option<Cut>,
        mut entry: Option<Entry>,
    ) -> Self {
        let size = end - first;
        let left = match cut {
            None => size,
            Some(_) => size / 2,
        };
        if let Some(entry) = &mut entry {
            entry.seen.from = first;
            // An empty body is never polled.
            entry.seen.complete = size == 0;
        }
        Self {
            source: Source::Content {
                content: Content::part(key, first, end),
                left,
                cut,
                pace: None,
                announced: true,
            },
            entry,
        }
    }

    /// Creates the same, sent very slowly.
    pub(super) fn slow(key: &Key, part: (u64, u64), entry: Option<Entry>) -> Self {
        let mut slow = Self::content(key, part, None, entry);
        if let Source::Content { pace, .. } = &mut slow.source {
            *pace = Some(Pace::new(DRIP));
        }
        slow
    }

    /// Creates the content of a URL, followed by other bytes without end.
    pub(super) fn endless(key: &Key, entry: Option<Entry>) -> Self {
        Self {
            source: Source::Content {
                content: Content::endless(key),
                left: u64::MAX,
                cut: None,
                pace: Some(Pace::new(FLOW)),
                announced: false,
            },
            entry,
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &mut self.source {
            Source::Text(text) => Poll::Ready(text.take()),
            Source::Content {
                content,
                left,
                pace,
                ..
            } if *left > 0 => {
                let most = match pace {
                    Some(pace) => ready!(pace.poll(cx)),
                    None => CHUNK,
                };
                let limit = usize::try_from(*left).map_or(most, |left| left.min(most));
                let chunk = content.next_chunk(limit);
                *left -= chunk.len() as u64;
                Poll::Ready(Some(chunk))
            }
            Source::Content { cut: None, .. } => Poll::Ready(None),
            Source::Content { cut: Some(cut), .. } => {
                match cut {
                    Cut::Close(fuse) => fuse.close(),
                    Cut::Reset(fuse) => fuse.reset(),
                    Cut::Stall => {}
                }
                // hyper now flushes, which triggers a fuse. No wake-up is needed.
                Poll::Pending
            }
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = ready!(self.poll_source(cx));
        let ended = self.is_end_stream();
        if let Some(entry) = &mut self.entry {
            entry.seen.bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            entry.seen.complete = ended;
        }
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(text) => text.is_none(),
            Source::Content { left, cut, .. } => *left == 0 && cut.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        // The promised length, which becomes the `Content-Length`.
        match &self.source {
            Source::Text(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Source::Content {
                content,
                announced: true,
                ..
            } => SizeHint::with_exact(content.remaining()),
            Source::Content {
                announced: false, ..
            } => SizeHint::default(),
        }
    }
}
