//! A connection of either version of HTTP, as a download uses it.
//!
//! Must not connect or decide what a response means.

use std::task::Context;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::{Frame, Incoming};

use super::http1::Http1;
use super::http2::Http2;
use crate::transfer::TransportError;

/// A connection.
#[derive(Debug)]
pub(super) enum Wire {
    /// Used by one download at a time.
    One(Http1),
    /// Shared by several downloads.
    Two(Http2),
}

impl Wire {
    /// Sends `request` to `uri` and waits for the head of its response. Each poll also calls
    /// `tick`, with whether bytes have come since the last; an error from it ends the request.
    pub(super) async fn request(
        &mut self,
        request: Request<Empty<Bytes>>,
        uri: &Uri,
        mut tick: impl FnMut(&mut Context<'_>, bool) -> Result<(), TransportError>,
    ) -> Result<Response<Incoming>, TransportError> {
        match self {
            Self::One(wire) => wire.request(request, tick).await,
            // Other data on a shared connection says nothing about this request.
            Self::Two(wire) => {
                wire.request(request, uri, |context| tick(context, false))
                    .await
            }
        }
    }

    /// Returns the next piece of `body`, or `None` at its end. `tick` as for
    /// [`request`](Self::request).
    pub(super) async fn frame(
        &mut self,
        body: &mut Incoming,
        mut tick: impl FnMut(&mut Context<'_>, bool) -> Result<(), TransportError>,
    ) -> Result<Option<Frame<Bytes>>, TransportError> {
        match self {
            Self::One(wire) => wire.frame(body, tick).await,
            Self::Two(_) => Http2::frame(body, |context| tick(context, false)).await,
        }
    }

    /// Returns whether any bytes of a response to the last request came, as far as is known.
    pub(super) fn answered(&self) -> bool {
        match self {
            Self::One(wire) => wire.answered(),
            // A GET can be sent again in any case (RFC 9110 section 9.2.2).
            Self::Two(_) => false,
        }
    }

    /// Returns whether another request can be sent.
    pub(super) async fn is_usable(&mut self) -> bool {
        match self {
            Self::One(wire) => wire.is_usable().await,
            Self::Two(wire) => wire.is_usable(),
        }
    }
}
