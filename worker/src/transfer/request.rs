//! The headers of a request: what the options say, what must not go to strangers, and what is
//! asked for.
//!
//! It must not decide where a request goes.

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

/// What bodies may be coded with when coded ones are asked for.
const CODINGS: HeaderValue = HeaderValue::from_static("gzip, br, zstd");

/// Parts of names that mark a header as meant for one server alone.
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

/// What is wanted of a resource, if not the whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'t> {
    /// What an earlier attempt did not get.
    Rest(&'t Offer),
    /// The part that the list asks for.
    Part(ByteRange),
    /// A piece that comes over a connection of its own.
    Piece(&'t Piece),
}

/// The headers of the next request, `Host` left to the engine unless the user sets it. Those of
/// the task alone (`own`) take the place of common ones of the same names.
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
            // Meant for a proxy, and read by none but one that forwards.
            name if name == PROXY_AUTHORIZATION => forwarded_by.is_some(),
            name if is_bound(name) => redirects.is_home(),
            _ => true,
        };
        if !may_be_sent {
            continue;
        }
        if name == HOST {
            // There is one (RFC 9112 section 3.2): the last that is given.
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    let cookies = redirects.cookies();
    if !cookies.is_empty() {
        // The user's come first; over HTTP/1.1 there is one header (RFC 6265 section 5.4).
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
        // Bytes are counted in what the coding makes of a body, which has to be none.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    // With a range as well: servers look at the range only if the condition is met.
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

/// Whether the user asks for a range of his own: then there is none of ours.
pub(super) fn has_own_range(options: &HttpOptions, own: &[(String, String)]) -> bool {
    has_one_of(&[RANGE, IF_RANGE], options, own)
}

/// Whether the user sets a condition of his own, or asks for a range: then there is no condition of
/// ours.
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

/// The way that a request for `url` takes.
fn route<'p>(options: &'p HttpOptions, url: &Url) -> Route<'p> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    Route::of(options, url.scheme() == "https", host, port)
}

/// Whether a header is meant for the server of the task's URL alone: credentials of any name, and
/// a `Host` made up for one server.
fn is_bound(name: &HeaderName) -> bool {
    // Names of headers are in lower case.
    name == HOST || SENSITIVE.iter().any(|part| name.as_str().contains(part))
}

fn unsendable(what: &str) -> Fault {
    Fault::permanent(
        FailureKind::Internal,
        format!("{what} cannot be sent: not valid in HTTP"),
    )
}
