//! The event engine: hyper drives the transfer, in turns with others on one thread.
//!
//! Files are written, and the work of `cpu_per_task` is done, on that thread. A write of a piece
//! of a body into the page cache takes some microseconds, which is less than it would cost to hand
//! the piece to another thread; and work on the event loop is what a comparison of engines is
//! about. While one download does either, the others wait.
//!
//! It must not decide what a response means: that is the transfer's.

mod alarm;
mod dial;
mod error;
mod hub;
mod wire;

use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::{Body, Incoming};
use protocol::{Assignment, Failure, Phase, SpanPhase, Stored};

use super::{DRAIN, EventEngine, timestamp};
use crate::activity::Activity;
use crate::fault::Fault;
use crate::spans::Recorder;
use crate::store::{Committed, Partial};
use crate::transfer::{Head, Next, Transfer, TransportError};
use crate::work;
use alarm::{Alarm, after};
use dial::dial;
pub use hub::Hub;
use hub::{Place, authority};
use wire::Wire;

/// An engine for one download at a time on an event loop.
#[derive(Debug)]
pub struct AsyncEngine {
    hub: Arc<Hub>,
    alarm: Alarm,
    spans: Recorder,
}

impl AsyncEngine {
    /// An engine with what it shares with others of its event loop.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        let spans = Recorder::new(hub.shared.spans);
        Self {
            hub,
            alarm: Alarm::default(),
            spans,
        }
    }
}

impl EventEngine for AsyncEngine {
    async fn download(
        &mut self,
        assignment: &Assignment,
        activity: &Activity,
    ) -> Result<Box<Stored>, Box<Failure>> {
        let hub = Arc::clone(&self.hub);
        let now = Instant::now();
        let started = timestamp(SystemTime::now());
        let mut attempt = Attempt {
            hub: &hub,
            alarm: &mut self.alarm,
            spans: &self.spans,
            activity,
            transfer: Transfer::new(&assignment.url, &hub.shared.options, started, now)?
                .of(assignment),
        };
        let result = self.spans.polled(attempt.run(&assignment.path)).await;
        let mut transfer = attempt.transfer;
        transfer.record(self.spans.take());
        match result {
            Ok(file) => Ok(transfer.stored(file.bytes, file.sha256)),
            Err(fault) => Err(transfer.failed(fault)),
        }
    }
}

/// One attempt at one task.
struct Attempt<'a> {
    hub: &'a Hub,
    alarm: &'a mut Alarm,
    spans: &'a Recorder,
    activity: &'a Activity,
    transfer: Transfer<'a>,
}

/// A response whose body is still to come, and where it comes from.
struct Answer {
    place: Place,
    wire: Wire,
    response: Response<Incoming>,
}

/// When a wait ends, and what that means.
struct Patience<'a> {
    alarm: &'a mut Alarm,
    moved: Instant,
    stall: Duration,
    max: Option<Instant>,
}

impl Patience<'_> {
    /// To be called with each poll of a wait; `moved` if something came in since the last.
    fn tick(&mut self, context: &mut Context<'_>, moved: bool) -> Result<(), TransportError> {
        if moved {
            self.moved = Instant::now();
        }
        let stalled = after(self.moved, self.stall);
        let (at, over) = match self.max {
            Some(max) if max < stalled => (max, TransportError::Timeout),
            Some(_) | None => (stalled, TransportError::Stalled),
        };
        match self.alarm.poll(context, at) {
            std::task::Poll::Ready(()) => Err(over),
            std::task::Poll::Pending => Ok(()),
        }
    }
}

impl Attempt<'_> {
    async fn run(&mut self, path: &str) -> Result<Committed, Fault> {
        loop {
            self.activity.enter(Phase::Requesting);
            let answer = self.request().await?;
            let head = Head {
                status: answer.response.status(),
                version: answer.response.version(),
                headers: answer.response.headers(),
                length: answer.response.body().size_hint().exact(),
            };
            match self.transfer.on_head(head, SystemTime::now()) {
                Ok(Next::Receive) => {
                    self.activity.enter(Phase::Receiving);
                    return self.receive(answer, path).await;
                }
                Ok(Next::Follow) => self.drain(answer).await,
                Err(fault) => {
                    self.drain(answer).await;
                    return Err(fault);
                }
            }
        }
    }

    /// Sends one request and waits for the head of its response.
    ///
    /// A server may close a connection at any time, also in the moment in which it is used again.
    /// A request that meets a closed one, and gets nothing of a response, is sent once more (RFC
    /// 9112 section 9.3.1), over a new connection: others that are idle may be closed as well.
    async fn request(&mut self) -> Result<Answer, Fault> {
        let uri = Uri::try_from(self.transfer.url().as_str())
            .map_err(|error| self.internal(error.to_string()))?;
        let place = Place::of(&uri);
        self.spans.enter(SpanPhase::FirstByte);
        while let Some(mut wire) = self.hub.take(&place) {
            if !wire.is_usable().await {
                continue;
            }
            match self.send(&mut wire, &uri).await? {
                Err(TransportError::Disconnected(cause)) if !wire.answered() => {
                    tracing::debug!(%uri, cause, "idle connection was closed");
                    self.activity.enter(Phase::Requesting);
                    break;
                }
                Err(error) => return Err(self.transfer.on_error(error)),
                Ok(response) => {
                    return Ok(Answer {
                        place,
                        wire,
                        response,
                    });
                }
            }
        }
        let max = self.end()?;
        let timing = self.transfer.timing();
        let dialled = dial(self.hub, &uri, max, timing, self.spans).await;
        let mut wire = dialled.map_err(|error| self.transfer.on_error(error))?;
        match self.send(&mut wire, &uri).await? {
            Ok(response) => Ok(Answer {
                place,
                wire,
                response,
            }),
            Err(error) => Err(self.transfer.on_error(error)),
        }
    }

    async fn send(
        &mut self,
        wire: &mut Wire,
        uri: &Uri,
    ) -> Result<Result<Response<Incoming>, TransportError>, Fault> {
        let request = self.head(uri)?;
        let started = Instant::now();
        let mut patience = self.patience()?;
        let result = wire
            .request(request, |context, moved| patience.tick(context, moved))
            .await;
        self.transfer.timing().first_byte += started.elapsed();
        Ok(result)
    }

    fn head(&self, uri: &Uri) -> Result<Request<Empty<Bytes>>, Fault> {
        let mut headers = self.transfer.request()?;
        if !headers.contains_key(HOST) {
            let host = HeaderValue::try_from(authority(uri))
                .map_err(|error| self.internal(error.to_string()))?;
            headers.insert(HOST, host);
        }
        let mut request = Request::new(Empty::new());
        if let Some(target) = uri.path_and_query() {
            *request.uri_mut() = target.clone().into();
        }
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Body to file.
    async fn receive(&mut self, answer: Answer, path: &str) -> Result<Committed, Fault> {
        let started = Instant::now();
        let mut storing = Duration::ZERO;
        let received = self.copy(answer, path, &mut storing).await;
        let passed = started.elapsed().saturating_sub(storing);
        self.transfer.timing().body += passed;
        let result = received.and_then(|partial| {
            self.activity.enter(Phase::Storing);
            let work = self.hub.shared.cpu_per_task;
            if !work.is_zero() {
                self.spans.enter(SpanPhase::Cpu);
                work::spend(work);
            }
            self.stored(&mut storing, || {
                partial.commit(|file| self.transfer.check_file(file.bytes, &file.sha256))
            })
        });
        self.transfer.timing().store += storing;
        result
    }

    async fn copy(
        &mut self,
        answer: Answer,
        path: &str,
        storing: &mut Duration,
    ) -> Result<Partial, Fault> {
        let Answer {
            place,
            mut wire,
            response,
        } = answer;
        // The headers go: as long as they are there, hyper needs a new buffer for the body.
        let mut body = response.into_body();
        let mut partial = self.stored(storing, || self.hub.shared.store.begin(path))?;
        loop {
            self.spans.enter(SpanPhase::Body);
            let mut patience = self.patience()?;
            let frame = wire
                .frame(&mut body, |context, moved| patience.tick(context, moved))
                .await
                .map_err(|error| self.transfer.on_error(error))?;
            let Some(frame) = frame else {
                break;
            };
            // What else there is are trailers, which nobody asked for.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.transfer.on_chunk(data.len() as u64)?;
            self.activity.received(self.transfer.received());
            self.stored(storing, || partial.write(&data))?;
        }
        self.transfer.on_end()?;
        self.keep(place, wire).await;
        Ok(partial)
    }

    /// Reads the body of a response that is not stored, if it is small and its end is known, so
    /// that its connection can be used again. Errors show when that is tried.
    async fn drain(&mut self, answer: Answer) {
        let Answer {
            place,
            mut wire,
            response,
        } = answer;
        let length = response.body().size_hint().exact();
        if is_closing(response.headers())
            || !match length {
                Some(length) => length <= DRAIN,
                None => response.headers().contains_key(TRANSFER_ENCODING),
            }
        {
            return;
        }
        self.spans.enter(SpanPhase::Body);
        let mut body = response.into_body();
        let mut left = DRAIN;
        loop {
            let Ok(mut patience) = self.patience() else {
                return;
            };
            let frame = wire
                .frame(&mut body, |context, moved| patience.tick(context, moved))
                .await;
            let size = match frame {
                Ok(Some(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
                Ok(None) => break,
                Err(_) => return,
            };
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => return,
            }
        }
        self.keep(place, wire).await;
    }

    /// Keeps `wire` for the next request, if it is good for one.
    async fn keep(&self, place: Place, mut wire: Wire) {
        if wire.is_usable().await {
            self.hub.keep(place, wire);
        }
    }

    /// Runs `operation`, and adds the time it takes to `storing`.
    fn stored<T>(&self, storing: &mut Duration, operation: impl FnOnce() -> T) -> T {
        self.spans.enter(SpanPhase::Store);
        let started = Instant::now();
        let result = operation();
        *storing += started.elapsed();
        result
    }

    /// For a wait that begins now.
    fn patience(&mut self) -> Result<Patience<'_>, Fault> {
        let max = self.end()?;
        Ok(Patience {
            alarm: self.alarm,
            moved: Instant::now(),
            stall: self.hub.shared.options.stall_timeout,
            max,
        })
    }

    /// When the attempt as a whole is out of time, if it can be.
    fn end(&self) -> Result<Option<Instant>, Fault> {
        let now = Instant::now();
        let left = self.transfer.remaining(now)?;
        Ok(left.map(|left| after(now, left)))
    }

    fn internal(&self, cause: String) -> Fault {
        self.transfer.on_error(TransportError::Internal(cause))
    }
}

/// Whether the server is going to close the connection after this response.
fn is_closing(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("close"))
}
