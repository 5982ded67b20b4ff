//! Rules of connecting for all engines: which name is resolved, and what a failure means.
//!
//! Must not do I/O: each engine does its own.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use http::Uri;
use protocol::{Proxy, ProxyScheme};

use super::Shared;
use crate::reserved::is_public;
use crate::resolver::{Found, Purpose, ResolveError};
use crate::route::{Route, bare};
use crate::transfer::TransportError;
use crate::tunnel::Destination;

/// Time limit of one connection, and the error when it expires.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) at: Instant,
    pub(super) over: TransportError,
}

impl Limit {
    /// Returns the time left at `now`, or the error if there is none.
    pub(super) fn left(&self, now: Instant) -> Result<Duration, TransportError> {
        let left = self.at.saturating_duration_since(now);
        if left.is_zero() {
            return Err(self.over.clone());
        }
        Ok(left)
    }
}

/// Target and route of a connection.
#[derive(Debug)]
pub(super) struct Plan<'s> {
    shared: &'s Shared,
    pub(super) https: bool,
    pub(super) host: &'s str,
    port: u16,
    pub(super) route: Route<'s>,
}

impl<'s> Plan<'s> {
    /// Returns the plan for a connection to the server of `uri`.
    pub(super) fn of(shared: &'s Shared, uri: &'s Uri) -> Self {
        let https = is_https(uri);
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let host = uri.host().unwrap_or_default();
        Self {
            shared,
            https,
            host,
            port,
            route: Route::of(&shared.options, https, host, port),
        }
    }

    /// Starts to resolve the addresses to connect to: those of the proxy, if there is one.
    pub(super) fn find(&self) -> Result<Found, TransportError> {
        let resolver = &self.shared.resolver;
        match self.proxy() {
            None => Ok(self.find_host()),
            Some(proxy) => {
                self.check_literal()?;
                Ok(resolver.find(Purpose::Proxy, &proxy.host, proxy.port))
            }
        }
    }

    /// Starts to resolve the addresses of the host itself.
    pub(super) fn find_host(&self) -> Found {
        let purpose = Purpose::Origin { https: self.https };
        self.shared.resolver.find(purpose, self.host, self.port)
    }

    /// Returns whether the proxy needs an address instead of a name.
    pub(super) fn resolves_for_proxy(&self) -> bool {
        match self.route {
            Route::Tunnel(proxy) => proxy.scheme == ProxyScheme::Socks5,
            Route::Direct | Route::Forward(_) => false,
        }
    }

    /// Returns the destination for the proxy.
    pub(super) fn destination(&self, addr: Option<SocketAddr>) -> Destination {
        Destination {
            host: self.host.to_owned(),
            port: self.port,
            addr,
        }
    }

    pub(super) const fn proxy(&self) -> Option<&'s Proxy> {
        match self.route {
            Route::Direct => None,
            Route::Forward(proxy) | Route::Tunnel(proxy) => Some(proxy),
        }
    }

    /// Checks an address in the URL. The proxy resolves names itself, so names cannot be checked.
    fn check_literal(&self) -> Result<(), TransportError> {
        let literal: Option<IpAddr> = bare(self.host).parse().ok();
        match literal.filter(|addr| self.shared.options.block_private && !is_public(*addr)) {
            None => Ok(()),
            Some(addr) => Err(TransportError::Resolve(ResolveError::Blocked {
                host: self.host.to_owned(),
                addr,
            })),
        }
    }

    /// Converts the error of a failed connection to the first hop.
    pub(super) fn explain(&self, error: TransportError) -> TransportError {
        let Some(Proxy { host, port, .. }) = self.proxy() else {
            return error;
        };
        let cause = match error {
            TransportError::Resolve(
                error @ (ResolveError::Blocked { .. } | ResolveError::OtherFamily { .. }),
            ) => return TransportError::Resolve(error),
            TransportError::Resolve(error) => error.to_string(),
            TransportError::Connect(cause) => format!("no connection: {cause}"),
            error @ (TransportError::ConnectTimeout
            | TransportError::Timeout
            | TransportError::Stalled
            | TransportError::Disconnected(_)
            | TransportError::Protocol(_)
            | TransportError::Framing(_)
            | TransportError::HeadTooLarge(_)
            | TransportError::Tls(_)
            | TransportError::Proxy { .. }
            | TransportError::Broken(_)
            | TransportError::WrongLength(_)
            | TransportError::Internal(_)) => return error,
        };
        TransportError::Proxy {
            cause: format!("{host}:{port}: {cause}"),
            lasting: false,
        }
    }
}

pub(super) fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&http::uri::Scheme::HTTPS)
}
