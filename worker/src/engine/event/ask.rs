//! One request, over an existing connection or a new one.
//!
//! Must not look at the meaning of the response.

use std::time::Instant;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use protocol::{Phase, SpanPhase};

use super::connections::{Destination, Http2Entry, authority};
use super::dial::dial;
use super::http1::Http1;
use super::http2::Http2;
use super::wire::Wire;
use super::{Answer, Attempt, stream};
use crate::activity::Downloading as _;
use crate::engine::connect::Plan;
use crate::engine::tls::Audience;
use crate::fault::Fault;
use crate::route::Route;
use crate::transfer::TransportError;

/// How many shared connections may be used up before a request gets its own.
const MOST_REFUSALS: usize = 4;

impl Attempt<'_> {
    /// Sends one request and waits for the head of its response.
    pub(super) async fn request(&mut self) -> Result<Answer, Fault> {
        // Before there is a connection.
        self.transfer.check_login()?;
        let uri = Uri::try_from(self.transfer.url().as_str())
            .map_err(|error| self.internal(error.to_string()))?;
        for _ in 0..MOST_REFUSALS {
            if let Some(answer) = self.ask(&uri).await? {
                return Ok(answer);
            }
        }
        self.ask_alone(&uri).await
    }

    /// Sends one request over a connection that is not shared. A server may accept only a few
    /// requests on each connection, so that other downloads use up one after the other.
    async fn ask_alone(&mut self, uri: &Uri) -> Result<Answer, Fault> {
        let stream = self.dial(uri).await?;
        let mut wire = match stream.is_http2() {
            true => self.speak_http2(stream).await.map(Wire::Two)?,
            false => self.speak_http1(stream).await?,
        };
        let sent = self.send(&mut wire, uri).await?;
        let response = sent.map_err(|error| self.transfer.on_error(error))?;
        let destination = Destination::of(uri, Audience::of(&self.transfer));
        Ok(Answer {
            destination,
            wire,
            response,
        })
    }

    /// Sends one request over an existing connection or a new one. Returns `None` if another
    /// download opened the connection and the server did not accept the request on it.
    ///
    /// A server may close a connection at any time, also at the moment of its reuse. If a request
    /// meets a closed connection and receives nothing of a response, or a 408, it is sent once more
    /// (RFC 9112 section 9.3.1, RFC 9110 section 15.5.9). That uses a new connection, because other
    /// idle ones may be closed as well.
    async fn ask(&mut self, uri: &Uri) -> Result<Option<Answer>, Fault> {
        let destination = &Destination::of(uri, Audience::of(&self.transfer));
        let entry = self.connections.entry(destination);
        let entry = entry.as_deref();
        let answer = |wire, response| {
            Some(Answer {
                destination: destination.clone(),
                wire,
                response,
            })
        };
        self.spans.enter(SpanPhase::FirstByte);
        while let Some(mut wire) = self.used(destination, entry) {
            if !wire.is_usable().await {
                continue;
            }
            match self.send(&mut wire, uri).await? {
                Err(TransportError::Disconnected(cause)) if !wire.answered() => {
                    tracing::debug!(url = %self.transfer.url(), cause, "idle connection was closed");
                    self.activity.enter(Phase::Requesting);
                    if let (Wire::Two(_), Some(entry)) = (&wire, entry) {
                        entry.forget();
                    }
                    break;
                }
                Err(error) => return Err(self.transfer.on_error(error)),
                Ok(response)
                    if response.status() == StatusCode::REQUEST_TIMEOUT
                        && matches!(wire, Wire::One(_)) =>
                {
                    self.activity.enter(Phase::Requesting);
                    break;
                }
                Ok(response) => return Ok(answer(wire, response)),
            }
        }
        let (mut wire, is_own) = self.connect(uri, entry).await?;
        match self.send(&mut wire, uri).await? {
            Ok(response) => Ok(answer(wire, response)),
            // Servers may limit the requests on a connection. A request that was not processed can
            // be sent again (RFC 9113 section 8.7).
            Err(TransportError::Disconnected(_)) if !is_own => {
                entry.inspect(|entry| entry.forget());
                Ok(None)
            }
            Err(error) => Err(self.transfer.on_error(error)),
        }
    }

    /// Returns a connection that was used before.
    fn used(&self, destination: &Destination, entry: Option<&Http2Entry>) -> Option<Wire> {
        let shared = entry.and_then(Http2Entry::shared).map(Wire::Two);
        shared.or_else(|| self.connections.take(destination).map(Wire::One))
    }

    /// Returns a connection, and whether this call opened it. If not, another download has just
    /// opened and shared it.
    async fn connect(
        &mut self,
        uri: &Uri,
        entry: Option<&Http2Entry>,
    ) -> Result<(Wire, bool), Fault> {
        let Some(entry) = entry else {
            let stream = self.dial(uri).await?;
            return Ok((self.speak_http1(stream).await?, true));
        };
        let turn = if entry.is_unknown() {
            let waited = entry.turn.lock().await;
            // A long wait for the turn does not count against this request.
            self.activity.enter(Phase::Requesting);
            if let Some(wire) = entry.shared() {
                return Ok((Wire::Two(wire), false));
            }
            entry.is_unknown().then_some(waited)
        } else {
            None
        };
        let dialled = self.dial(uri).await;
        let stream = dialled.inspect_err(|_| entry.learn(None))?;
        if !stream.is_http2() {
            entry.learn(None);
            drop(turn);
            return Ok((self.speak_http1(stream).await?, true));
        }
        let wire = self.speak_http2(stream).await;
        entry.learn(wire.as_ref().ok());
        drop(turn);
        wire.map(|wire| (Wire::Two(wire), true))
    }

    async fn speak_http2(&self, stream: stream::Stream) -> Result<Http2, Fault> {
        let wire = Http2::new(stream, self.connections.shared.throttle.as_ref()).await;
        wire.map_err(|error| self.transfer.on_error(error))
    }

    async fn dial(&mut self, uri: &Uri) -> Result<stream::Stream, Fault> {
        let max = self.end()?;
        let audience = Audience::of(&self.transfer);
        let timing = self.transfer.timing();
        let dialled = dial(self.connections, (uri, audience), max, timing, self.spans).await;
        dialled.map_err(|error| self.transfer.on_error(error))
    }

    async fn speak_http1(&self, stream: stream::Stream) -> Result<Wire, Fault> {
        let wire = Http1::new(stream, self.connections.shared.throttle.as_ref()).await;
        wire.map(Wire::One)
            .map_err(|error| self.transfer.on_error(error))
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
            .request(request, uri, |context, moved| patience.tick(context, moved))
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
        let is_forwarded = matches!(
            Plan::of(&self.connections.shared, uri).route,
            Route::Forward(_)
        );
        *request.uri_mut() = match uri.path_and_query() {
            Some(target) if !is_forwarded => target.clone().into(),
            Some(_) | None => uri.clone(),
        };
        *request.headers_mut() = headers;
        Ok(request)
    }
}
