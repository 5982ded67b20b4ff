//! Redirects of one transfer: where the next request goes, and when to stop.
//!
//! It must not send anything, or decide about responses that are not redirects.

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

/// What is percent-encoded of a location that is not UTF-8: bytes beyond ASCII always are.
const RAW: &AsciiSet = &AsciiSet::EMPTY;

/// Longest URL that a redirect may lead to, in bytes. The URL becomes part of a report, and a
/// report must fit a frame.
const MAX_URL: usize = 16 * 1024;

/// How often one attempt sends the same request: a server that redirects may do so once because of
/// what it does not remember in a cookie.
const MOST_ALIKE: u32 = 2;

/// Whether `status` asks to send the request elsewhere (RFC 9110 section 15.4). For a GET all of
/// these mean the same. 300 offers a choice, 304 answers a condition, 305 and 306 are retired.
pub(super) const fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The URL of a task as others may see it.
pub fn without_credentials(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut url) => {
            take_credentials(&mut url);
            url.into()
        }
        // It was parsed to be requested.
        Err(_) => String::new(),
    }
}

/// Where a transfer is, and where it has been.
#[derive(Clone, Debug)]
pub(super) struct Redirects {
    /// Without credentials, which must not get into reports.
    url: Url,
    /// Those that the URL brought along.
    credentials: Option<Pair>,
    followed: u32,
    /// Origin of the task's URL, and the credentials in it, noted when the first redirect is
    /// followed.
    home: Option<(Origin, Option<Pair>)>,
    cookies: Cookies,
    /// How often each request was sent, by URL and cookies: noted when the first redirect is
    /// followed.
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

    /// Where the next request goes; without credentials.
    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the next request goes to the origin of the task's URL: the same scheme, host and
    /// port. What the user meant for that one goes to no other.
    pub(super) fn is_home(&self) -> bool {
        match &self.home {
            Some((origin, _)) => *origin == self.url.origin(),
            None => true,
        }
    }

    /// The credentials that URLs hold for the next request.
    pub(super) fn credentials(&self) -> Option<&Pair> {
        let at_home = || match &self.home {
            Some((_, credentials)) if self.is_home() => credentials.as_ref(),
            Some(_) | None => None,
        };
        self.credentials.as_ref().or_else(at_home)
    }

    /// The cookies for the next request; nothing if there are none.
    pub(super) fn cookies(&self) -> String {
        self.cookies.header(&self.url)
    }

    /// Takes in what a response sets; that comes back if it is to be reported.
    pub(super) fn keep_cookies(&mut self, headers: &HeaderMap, report: bool) -> Vec<Cookie> {
        self.cookies.store(headers, &self.url, report)
    }

    /// Takes in what is known for the host of the next request.
    pub(super) fn give_cookies(&mut self, login: &Login) {
        self.cookies.give(login);
    }

    /// Whether a redirect has led from https to http.
    pub(super) fn is_downgraded(&self) -> bool {
        match &self.home {
            Some((Origin::Tuple(scheme, ..), _)) => {
                scheme == "https" && self.url.scheme() == "http"
            }
            Some((Origin::Opaque(_), _)) | None => false,
        }
    }

    /// Moves on to where `head` points.
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

    /// The target, resolved against the current URL (RFC 9110 section 10.2.2, RFC 3986 section 5).
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
        // One value (RFC 9110 section 10.2.2): which of two is meant cannot be known.
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
        // Bytes of another encoding than UTF-8 are meant as they are.
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
        // A few hosts are good for a browser's URL and not for RFC 3986, which requests are bound to.
        http::Uri::try_from(target.as_str())
            .map_err(|error| bad(format!("a bad location {:?}: {error}", shown(location))))?;
        Ok(target)
    }
}

/// A location that could not be used, without what may be credentials in it.
fn shown(location: &str) -> &str {
    location.rsplit('@').next().unwrap_or(location)
}

/// Takes user name and password out of `url`.
fn take_credentials(url: &mut Url) -> Option<Pair> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let pair = Pair {
        user: percent_decode_str(url.username()).collect(),
        password: percent_decode_str(url.password().unwrap_or_default()).collect(),
    };
    // Both fail only for URLs that cannot have any.
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
