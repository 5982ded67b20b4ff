//! Redirects of one transfer: where the next request goes, and when to stop.
//!
//! Must not send anything, or decide about responses that are not redirects.

use std::borrow::Cow;
use std::collections::HashMap;

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, percent_decode_str, percent_encode};
use protocol::{Cookie, FailureKind, Login};
use url::{Origin, Url};

use super::Head;
use super::cookies::Cookies;
use crate::fault::Fault;
use crate::login::Pair;

/// Encode set for a location that is not UTF-8. Bytes beyond ASCII are always encoded.
const RAW: &AsciiSet = &AsciiSet::EMPTY;

/// Longest URL that a redirect may lead to, in bytes. The URL becomes part of a report, and a
/// report must fit into a frame.
const MAX_URL: usize = 16 * 1024;

/// How often one attempt may send the same request. A server may redirect back to the same URL
/// once, because of state that is in no cookie.
const MOST_ALIKE: u32 = 2;

/// Returns whether `status` is a redirect (RFC 9110 section 15.4). For a GET all of these mean the
/// same. 300 offers a choice, 304 answers a condition, 305 and 306 are retired.
pub(super) const fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Returns the URL of a task without credentials, for reports.
pub fn without_credentials(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut url) => {
            take_credentials(&mut url);
            url.into()
        }
        // A URL is parsed before it is requested, so this does not happen.
        Err(_) => String::new(),
    }
}

/// The current URL of a transfer and its earlier requests.
#[derive(Clone, Debug)]
pub(super) struct Redirects {
    /// Without credentials, which must not appear in reports.
    url: Url,
    /// Credentials from the current URL.
    credentials: Option<Pair>,
    followed: u32,
    /// Origin of the task's URL and the credentials in it. Set when the first redirect is followed.
    home: Option<(Origin, Option<Pair>)>,
    cookies: Cookies,
    /// How often each request was sent, by URL and cookies. Filled from the first redirect on.
    sent: HashMap<(String, String), u32>,
}

impl Redirects {
    /// Starts at `url`.
    pub(super) fn new(url: &str) -> Result<Self, Fault> {
        let refused = |why: &dyn std::fmt::Display| {
            Fault::permanent(
                FailureKind::Internal,
                format!("the task's url cannot be requested: {why}"),
            )
        };
        let mut url = Url::parse(url).map_err(|error| refused(&error))?;
        check_scheme(&url).map_err(|scheme| refused(&scheme))?;
        url.set_fragment(None);
        let credentials = take_credentials(&mut url);
        Ok(Self {
            url,
            credentials,
            followed: 0,
            home: None,
            cookies: Cookies::default(),
            sent: HashMap::new(),
        })
    }

    /// Returns the URL of the next request, without credentials.
    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// Returns whether the next request goes to the origin of the task's URL: the same scheme, host
    /// and port. Headers for that origin are sent to no other.
    pub(super) fn is_home(&self) -> bool {
        match &self.home {
            Some((origin, _)) => *origin == self.url.origin(),
            None => true,
        }
    }

    /// Returns the credentials from URLs for the next request.
    pub(super) fn credentials(&self) -> Option<&Pair> {
        let at_home = || match &self.home {
            Some((_, credentials)) if self.is_home() => credentials.as_ref(),
            Some(_) | None => None,
        };
        self.credentials.as_ref().or_else(at_home)
    }

    /// Returns the cookies for the next request; empty if there are none.
    pub(super) fn cookies(&self) -> String {
        self.cookies.header(&self.url)
    }

    /// Stores the cookies that a response sets. Returns those to report, if `report`.
    pub(super) fn keep_cookies(&mut self, headers: &HeaderMap, report: bool) -> Vec<Cookie> {
        self.cookies.store(headers, &self.url, report)
    }

    /// Adds the known cookies for the host of the next request.
    pub(super) fn give_cookies(&mut self, login: &Login) {
        self.cookies.give(login);
    }

    /// Returns whether a redirect has led from https to http.
    pub(super) fn is_downgraded(&self) -> bool {
        match &self.home {
            Some((Origin::Tuple(scheme, ..), _)) => {
                scheme == "https" && self.url.scheme() == "http"
            }
            Some((Origin::Opaque(_), _)) | None => false,
        }
    }

    /// Follows the redirect in `head`.
    pub(super) fn follow(&mut self, head: &Head<'_>, most: u32) -> Result<(), Fault> {
        let mut target = self.target(head)?;
        let credentials = take_credentials(&mut target);
        if self.sent.is_empty() {
            let first = (self.url.to_string(), String::new());
            self.sent.insert(first, 1);
        }
        let next = (target.to_string(), self.cookies.header(&target));
        let sent = self.sent.entry(next).or_default();
        *sent += 1;
        if *sent > MOST_ALIKE {
            return Err(Fault::permanent(
                FailureKind::TooManyRedirects,
                format!("redirects form a loop: the same request to {target} comes again"),
            ));
        }
        if self.followed >= most {
            return Err(Fault::permanent(
                FailureKind::TooManyRedirects,
                format!("more than {most} redirects, the next one to {target}"),
            ));
        }
        self.followed += 1;
        let here = self.credentials.take();
        if self.home.is_none() {
            self.home = Some((self.url.origin(), here));
        }
        self.credentials = credentials;
        self.url = target;
        Ok(())
    }

    /// Resolves the target against the current URL (RFC 9110 section 10.2.2, RFC 3986 section 5).
    fn target(&self, head: &Head<'_>) -> Result<Url, Fault> {
        let bad = |what: String| {
            let status = head.status.as_u16();
            Fault::permanent(
                FailureKind::BadRedirect,
                format!("the server answered {status} with {what}"),
            )
        };
        let Some(location) = head.headers.get(LOCATION) else {
            return Err(bad("no location to go to".to_owned()));
        };
        // Only one value is allowed (RFC 9110 section 10.2.2): the meaning of two is unclear.
        if head
            .headers
            .get_all(LOCATION)
            .iter()
            .any(|other| other != location)
        {
            return Err(bad("more than one location".to_owned()));
        }
        if location.len() > MAX_URL {
            return Err(bad(format!("a location longer than {MAX_URL} bytes")));
        }
        // Bytes in another encoding than UTF-8 are kept as they are.
        let location = match std::str::from_utf8(location.as_bytes()) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(percent_encode(location.as_bytes(), RAW).to_string()),
        };
        let location = &*location;
        let mut target = self
            .url
            .join(location)
            .map_err(|error| bad(format!("a bad location {:?}: {error}", shown(location))))?;
        check_scheme(&target)
            .map_err(|why| bad(format!("location {:?}: {why}", shown(location))))?;
        target.set_fragment(None);
        if target.as_str().len() > MAX_URL {
            return Err(bad(format!("a location longer than {MAX_URL} bytes")));
        }
        // Browsers allow a few hosts that RFC 3986, and so a request, does not.
        http::Uri::try_from(target.as_str())
            .map_err(|error| bad(format!("a bad location {:?}: {error}", shown(location))))?;
        Ok(target)
    }
}

/// Returns a location that could not be used, without a part that may be credentials.
fn shown(location: &str) -> &str {
    location.rsplit('@').next().unwrap_or(location)
}

/// Removes user name and password from `url` and returns them.
fn take_credentials(url: &mut Url) -> Option<Pair> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let pair = Pair {
        user: percent_decode_str(url.username()).collect(),
        password: percent_decode_str(url.password().unwrap_or_default()).collect(),
    };
    // Both fail only for URLs that cannot contain credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(pair)
}

fn check_scheme(url: &Url) -> Result<(), String> {
    match url.scheme() {
        "http" | "https" => Ok(()),
        other => Err(format!("{other} is neither http nor https")),
    }
}
