//! The cookies of one transfer (RFC 6265): those known for its hosts, and those that responses set
//! for the following requests.
//!
//! They live as long as the attempt. A server that sets a cookie for a whole public suffix reveals
//! no more than it could put into the URL of a redirect, so this module needs no list of public
//! suffixes. The coordinator uses one before it keeps a cookie for other tasks.
//!
//! Must not decide where a request goes.

use cookie_store::{CookieDomain, CookieExpiration, CookieStore};
use http::HeaderMap;
use http::header::SET_COOKIE;
use protocol::{Cookie, Login, MAX_COOKIE};
use url::Url;

/// Largest number of cookies that one response may set.
const MOST: usize = 50;

/// Longest `Cookie` header of a request, in bytes. Many servers accept no more.
const MAX_HEADER: usize = 8 * 1024;

/// A cookie jar.
#[derive(Clone, Debug, Default)]
pub(super) struct Cookies {
    store: Option<Box<CookieStore>>,
    /// The hosts whose known cookies were added: only once, because a server's cookies are newer.
    given: Vec<String>,
}

impl Cookies {
    /// Stores the cookies in a response to a request for `url`. Returns them if `reported`.
    pub(super) fn store(&mut self, headers: &HeaderMap, url: &Url, reported: bool) -> Vec<Cookie> {
        let mut set = Vec::new();
        let values = headers.get_all(SET_COOKIE).iter().take(MOST);
        for value in values.filter(|value| value.len() <= MAX_COOKIE) {
            let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
                continue;
            };
            // A cookie that is malformed or for another host is ignored.
            let Ok(cookie) = cookie_store::Cookie::parse(text.to_owned(), url) else {
                continue;
            };
            if reported {
                set.extend(plain(&cookie).filter(Cookie::is_sound));
            }
            // A cookie that is to be deleted may not exist.
            let _ = self.store.get_or_insert_default().insert(cookie, url);
        }
        set
    }

    /// Adds the known cookies of a host, once.
    pub(super) fn give(&mut self, login: &Login) {
        if login.cookies.is_empty() || self.given.contains(&login.host) {
            return;
        }
        self.given.push(login.host.clone());
        // The scope of a cookie does not depend on how it was set.
        let Ok(url) = Url::parse(&format!("https://{}/", login.host)) else {
            return;
        };
        for cookie in &login.cookies {
            let Cookie {
                domain,
                path,
                name,
                value,
                ..
            } = cookie;
            let domain = match cookie.host_only {
                true => String::new(),
                false => format!("; Domain={domain}"),
            };
            let secure = if cookie.secure { "; Secure" } else { "" };
            let text = format!("{name}={value}; Path={path}{domain}{secure}");
            // The coordinator has checked that each is for this host.
            let _ = self.store.get_or_insert_default().parse(&text, &url);
        }
    }

    /// Returns the value of `Cookie` for `url`; empty if there are no cookies.
    pub(super) fn header(&self, url: &Url) -> String {
        let mut header = String::new();
        let Some(store) = &self.store else {
            return header;
        };
        for (name, value) in store.get_request_values(url) {
            if header.len() + name.len() + value.len() > MAX_HEADER {
                break;
            }
            if !header.is_empty() {
                header.push_str("; ");
            }
            header.extend([name, "=", value]);
        }
        header
    }
}

/// Converts a cookie to the form of reports.
fn plain(cookie: &cookie_store::Cookie<'_>) -> Option<Cookie> {
    let (domain, host_only) = match &cookie.domain {
        CookieDomain::HostOnly(host) => (host.clone(), true),
        CookieDomain::Suffix(domain) => (domain.clone(), false),
        CookieDomain::NotPresent | CookieDomain::Empty => return None,
    };
    Some(Cookie {
        domain: domain.trim_start_matches('.').to_ascii_lowercase(),
        host_only,
        path: String::from(&cookie.path),
        secure: cookie.secure().unwrap_or(false),
        http_only: cookie.http_only().unwrap_or(false),
        expires: match &cookie.expires {
            CookieExpiration::AtUtc(at) => Some(at.unix_timestamp()),
            CookieExpiration::SessionEnd => None,
        },
        name: cookie.name().to_owned(),
        value: cookie.value().to_owned(),
    })
}
