//! The headers of a request: those of the options, except what other servers must not see, and the
//! requested part.
//!
//! Must not decide where a request goes.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, COOKIE, HOST, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PROXY_AUTHORIZATION, RANGE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::{ByteRange, FailureKind, HttpOptions, PartialNote};
use url::Url;

use super::pieces::Piece;
use super::redirect::Redirects;
use super::resume::Offer;
use crate::fault::Fault;
use crate::route::Route;
use crate::tunnel;

/// Value of `Accept-Encoding` if coded bodies are requested.
const CODINGS: HeaderValue = HeaderValue::from_static("gzip, br, zstd");

/// Parts of names that mark a header as meant for one server only.
const SENSITIVE: [&str; 12] = [
    "auth",
    "token",
    "secret",
    "cookie",
    "password",
    "passwd",
    "credential",
    "session",
    "signature",
    "apikey",
    "api-key",
    "access-key",
];

/// Requested part of a resource, if not all of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'t> {
    /// What an earlier attempt did not receive.
    Rest(&'t Offer),
    /// The part that the list asks for.
    Part(ByteRange),
    /// A piece for a separate connection.
    Piece(&'t Piece),
}

/// Returns the headers of the next request. The engine adds `Host` unless the user sets it. Headers
/// of the task only (`own`) replace common ones with the same name.
pub(super) fn headers(
    options: &HttpOptions,
    own: &[(String, String)],
    redirects: &Redirects,
    authorization: Option<HeaderValue>,
    wanted: Option<Wanted<'_>>,
    condition: Option<(HeaderName, HeaderValue)>,
) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::with_capacity(options.headers.len() + 6);
    let forwarded_by = match route(options, redirects.url()) {
        Route::Forward(proxy) => Some(proxy),
        Route::Direct | Route::Tunnel(_) => None,
    };
    let replaced = |name: &str| {
        let mut names = own.iter().map(|(other, _)| other);
        names.any(|other| other.eq_ignore_ascii_case(name))
    };
    let common = options.headers.iter().filter(|(name, _)| !replaced(name));
    for (name, value) in common.chain(own) {
        let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name.as_str()),
            HeaderValue::try_from(value.as_str()),
        ) else {
            return Err(unsendable(&format!("request header {name:?}")));
        };
        let may_be_sent = match &name {
            // Meant for a proxy. Only a forwarding proxy reads it.
            name if name == PROXY_AUTHORIZATION => forwarded_by.is_some(),
            name if is_bound(name) => redirects.is_home(),
            _ => true,
        };
        if !may_be_sent {
            continue;
        }
        if name == HOST {
            // Only one is allowed (RFC 9112 section 3.2): the last one counts.
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    let cookies = redirects.cookies();
    if !cookies.is_empty() {
        // The user's cookies come first. HTTP/1.1 requires one header (RFC 6265 section 5.4).
        let own = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let all: Vec<&[u8]> = own.chain([cookies.as_bytes()]).collect();
        let value = HeaderValue::from_bytes(&all.join(&b"; "[..]));
        let mut value = value.map_err(|_| unsendable("a cookie"))?;
        value.set_sensitive(true);
        headers.insert(COOKIE, value);
    }
    if !headers.contains_key(AUTHORIZATION)
        && let Some(value) = authorization
    {
        headers.insert(AUTHORIZATION, value);
    }
    if !headers.contains_key(PROXY_AUTHORIZATION)
        && let Some(value) = forwarded_by.and_then(tunnel::authorization)
    {
        let value = HeaderValue::try_from(value);
        let mut value = value.map_err(|_| unsendable("the proxy's password"))?;
        value.set_sensitive(true);
        headers.insert(PROXY_AUTHORIZATION, value);
    }
    if !headers.contains_key(USER_AGENT) && !options.user_agent.is_empty() {
        let value = HeaderValue::try_from(options.user_agent.as_str());
        headers.insert(USER_AGENT, value.map_err(|_| unsendable("the user agent"))?);
    }
    headers
        .entry(ACCEPT)
        .or_insert(HeaderValue::from_static("*/*"));
    if let Some(wanted) = wanted {
        let range = match wanted {
            Wanted::Rest(offer) => {
                headers.insert(IF_RANGE, if_range(&offer.note)?);
                offer.range()
            }
            Wanted::Piece(piece) => {
                headers.insert(IF_RANGE, if_range(&piece.note)?);
                format!("bytes={}", piece.range)
            }
            Wanted::Part(range) => {
                headers.remove(IF_RANGE);
                format!("bytes={range}")
            }
        };
        let range = HeaderValue::try_from(range);
        headers.insert(RANGE, range.map_err(|_| unsendable("a range"))?);
        // Byte positions refer to the coded body, so it must not be coded.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    // Also with a range: servers evaluate the range only if the condition is met.
    headers.extend(condition);
    headers
        .entry(ACCEPT_ENCODING)
        .or_insert(if options.compressed {
            CODINGS
        } else {
            HeaderValue::from_static("identity")
        });
    Ok(headers)
}

fn if_range(note: &PartialNote) -> Result<HeaderValue, Fault> {
    HeaderValue::try_from(note.validator.text()).map_err(|_| unsendable("a validator"))
}

/// Returns whether the user requests a range, so that we must not.
pub(super) fn has_own_range(options: &HttpOptions, own: &[(String, String)]) -> bool {
    has_one_of(&[RANGE, IF_RANGE], options, own)
}

/// Returns whether the user sets a condition or requests a range, so that we set no condition.
pub(super) fn has_own_condition(options: &HttpOptions, own: &[(String, String)]) -> bool {
    let names = [
        RANGE,
        IF_RANGE,
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
    ];
    has_one_of(&names, options, own)
}

fn has_one_of(wanted: &[HeaderName], options: &HttpOptions, own: &[(String, String)]) -> bool {
    let mut names = options.headers.iter().chain(own).map(|(name, _)| name);
    names.any(|name| {
        let mut wanted = wanted.iter();
        wanted.any(|wanted| name.eq_ignore_ascii_case(wanted.as_str()))
    })
}

/// Returns the route of a request for `url`.
fn route<'p>(options: &'p HttpOptions, url: &Url) -> Route<'p> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    Route::of(options, url.scheme() == "https", host, port)
}

/// Returns whether a header is meant for the server of the task's URL only: credentials under any
/// name, and a `Host` for one server.
fn is_bound(name: &HeaderName) -> bool {
    // Header names are in lower case.
    name == HOST || SENSITIVE.iter().any(|part| name.as_str().contains(part))
}

fn unsendable(what: &str) -> Fault {
    Fault::permanent(
        FailureKind::Internal,
        format!("{what} cannot be sent: not valid in HTTP"),
    )
}
