//! What is sent as a body, how fast, and how it breaks off.
//!
//! It must not decide which fault a request meets, nor touch sockets: it arms the fuse of one.

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

/// How much of a body is generated at once: a small body is one piece, written along with its
/// head, and a large one stays within the processor's cache.
const CHUNK: usize = 64 << 10;

/// How a slow body drips: one byte, and how long until the next.
const DRIP: (usize, Duration) = (1, Duration::from_millis(100));

/// How an endless body flows: fast enough to fill a disk, slow enough to leave the processor to
/// others.
const FLOW: (usize, Duration) = (CHUNK, Duration::from_millis(10));

/// What is sent as a body.
#[derive(Debug)]
pub(super) struct Payload {
    source: Source,
    /// Told what became of it.
    entry: Option<Entry>,
}

#[derive(Debug)]
enum Source {
    /// A short text.
    Text(Option<Bytes>),
    /// A URL's content, as far as it goes.
    Content {
        /// All that is promised.
        content: Content,
        /// Of which this much is still to be sent.
        left: u64,
        /// What happens when that is sent and more was promised.
        cut: Option<Cut>,
        /// How fast, if not as fast as it is taken.
        pace: Option<Pace>,
        /// Whether a length is announced.
        announced: bool,
    },
}

/// What becomes of a connection in the middle of a body.
#[derive(Debug)]
pub(super) enum Cut {
    /// It is closed in good order.
    Close(Fuse),
    /// It is reset.
    Reset(Fuse),
    /// It stays as it is, for good.
    Stall,
}

/// Pieces of a size, with a pause before each.
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

    /// How much may be sent now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        ready!(self.due.as_mut().poll(cx));
        self.due.set(sleep(self.pause));
        Poll::Ready(self.piece)
    }
}

impl Payload {
    /// A short text.
    pub(super) const fn text(text: &'static str, entry: Option<Entry>) -> Self {
        Self {
            source: Source::Text(Some(Bytes::from_static(text.as_bytes()))),
            entry,
        }
    }

    /// No body at all.
    pub(super) fn nothing(mut entry: Option<Entry>) -> Self {
        if let Some(entry) = &mut entry {
            entry.seen.complete = true;
        }
        Self {
            source: Source::Text(None),
            entry,
        }
    }

    /// A URL's content from byte `first` up to, but not including, byte `end`: all of that, or half
    /// of it and then a cut.
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
            // Nobody asks for the pieces of nothing.
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

    /// The same, a drop at a time.
    pub(super) fn slow(key: &Key, part: (u64, u64), entry: Option<Entry>) -> Self {
        let mut slow = Self::content(key, part, None, entry);
        if let Source::Content { pace, .. } = &mut slow.source {
            *pace = Some(Pace::new(DRIP));
        }
        slow
    }

    /// A URL's content, and then more and more.
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
                // hyper now flushes, which burns a fuse. There is nothing left to wake for.
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
        // What is promised, which becomes the `Content-Length`.
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
