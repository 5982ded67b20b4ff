//! An HTTP/2 connection, which many downloads of one host share (RFC 9113).
//!
//! A separate task drives it, because its users change. This module must not know time limits or
//! decide what a response means.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::error::{of_http2_body, of_hyper};
use super::stream::Stream;
use crate::throttle::Throttle;
use crate::transfer::TransportError;
use crate::transfer::scan::{MAX_HEAD, MAX_HEADERS};

/// Bytes of one body that the server may send ahead. If the rate is limited, those of one second,
/// but no less than the initial window of HTTP/2.
const STREAM_WINDOW: u32 = 1024 * 1024;
const LEAST_WINDOW: u32 = 65_535;

/// h2 refuses a head larger than this, counted as in RFC 9113 section 6.5.2, with an error that
/// does not say why. So slightly too large heads are let through, to report the real reason.
const REFUSED_HEAD: usize = 2 * MAX_HEAD;

/// Window of a whole connection, in windows of one body.
const STREAMS: u32 = 4;

/// One user's handle to a connection.
#[derive(Clone, Debug)]
pub(super) struct Http2 {
    sender: SendRequest<Empty<Bytes>>,
}

impl Http2 {
    /// Creates a connection over `stream` on an event loop, with windows that suit `throttle`.
    pub(super) async fn new(
        stream: Stream,
        throttle: Option<&Throttle>,
    ) -> Result<Self, TransportError> {
        let window = throttle.map_or(STREAM_WINDOW, |throttle| {
            throttle.window(LEAST_WINDOW..=STREAM_WINDOW)
        });
        let (sender, driver) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .initial_connection_window_size(STREAMS * window)
            .max_header_list_size(u32::try_from(REFUSED_HEAD).unwrap_or(u32::MAX))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| of_hyper(&error))?;
        // Its end is reported to the tasks that wait for a response or a body.
        tokio::spawn(async move { driver.await.unwrap_or_default() });
        Ok(Self { sender })
    }

    /// Sends `request` to `uri` and waits for the head of its response. Each poll also calls
    /// `tick`; an error from it ends the request.
    pub(super) async fn request(
        &mut self,
        mut request: Request<Empty<Bytes>>,
        uri: &Uri,
        mut tick: impl FnMut(&mut Context<'_>) -> Result<(), TransportError>,
    ) -> Result<Response<Incoming>, TransportError> {
        *request.uri_mut() = target(uri, &mut request)?;
        let sending = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        let mut response = pin!(sending);
        poll_fn(|context| {
            if let Poll::Ready(result) = response.as_mut().poll(context) {
                let result = result.map_err(|error| of_hyper(&error));
                return Poll::Ready(result.and_then(of_allowed_size));
            }
            match tick(context) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Returns the next piece of `body`, or `None` at its end. `tick` as for
    /// [`request`](Self::request).
    pub(super) async fn frame(
        body: &mut Incoming,
        mut tick: impl FnMut(&mut Context<'_>) -> Result<(), TransportError>,
    ) -> Result<Option<Frame<Bytes>>, TransportError> {
        poll_fn(|context| {
            match Pin::new(&mut *body).poll_frame(context) {
                Poll::Ready(Some(frame)) => {
                    return Poll::Ready(frame.map(Some).map_err(|error| of_http2_body(&error)));
                }
                // hyper treats a reset without an error as the end. That is right only after the
                // end of the stream (RFC 9113 section 8.1).
                Poll::Ready(None) if !body.is_end_stream() => {
                    let cause = "the stream was reset before its end".to_owned();
                    return Poll::Ready(Err(TransportError::Disconnected(cause)));
                }
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => {}
            }
            match tick(context) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Returns whether another request can be sent.
    pub(super) fn is_usable(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// Returns `response` if its head is no larger than HTTP/1.1 permits here.
fn of_allowed_size(response: Response<Incoming>) -> Result<Response<Incoming>, TransportError> {
    let headers = response.headers();
    let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    if headers.len() > MAX_HEADERS || headers.iter().map(line).sum::<usize>() > MAX_HEAD {
        let what = format!("it has {} headers", headers.len());
        return Err(TransportError::HeadTooLarge(what));
    }
    Ok(response)
}

/// Returns the whole URL, with the value of `Host` as its authority (RFC 9113 section 8.3.1).
fn target(uri: &Uri, request: &mut Request<Empty<Bytes>>) -> Result<Uri, TransportError> {
    let internal = |error: &dyn std::fmt::Display| TransportError::Internal(error.to_string());
    let mut parts = uri.clone().into_parts();
    if let Some(host) = request.headers_mut().remove(HOST) {
        let authority = Authority::try_from(host.as_bytes());
        parts.authority = Some(authority.map_err(|error| internal(&error))?);
    }
    Uri::from_parts(parts).map_err(|error| internal(&error))
}
