//! The cookies that redirects of one transfer set (RFC 6265), for the requests that follow.
//!
//! They live as long as the attempt, and nothing of the user's is among them. So a server that sets
//! a cookie for a whole public suffix gives away no more than what it may put into the URL that it
//! redirects to; no list of public suffixes is needed.
//!
//! It must not decide where a request goes.

use cookie_store::CookieStore;
use http::HeaderMap;
use http::header::SET_COOKIE;
use url::Url;

/// Most cookies that one response may set.
const MOST: usize = 50;

/// Longest `Set-Cookie` that is read, in bytes.
const MAX_COOKIE: usize = 4096;

/// Longest `Cookie` of a request, in bytes: many servers take no more.
const MAX_HEADER: usize = 8 * 1024;

/// A jar.
#[derive(Debug, Default)]
pub(super) struct Cookies(Option<Box<CookieStore>>);

impl Cookies {
    /// Takes in what a response to a request for `url` sets.
    pub(super) fn store(&mut self, headers: &HeaderMap, url: &Url) {
        let values = headers.get_all(SET_COOKIE).iter().take(MOST);
        for value in values.filter(|value| value.len() <= MAX_COOKIE) {
            if let Ok(text) = std::str::from_utf8(value.as_bytes()) {
                // One that is malformed, or meant for others, is left out.
                let _ = self.0.get_or_insert_default().parse(text, url);
            }
        }
    }

    /// What a request for `url` says in `Cookie`; nothing if there is nothing to say.
    pub(super) fn header(&self, url: &Url) -> String {
        let mut header = String::new();
        let Some(store) = &self.0 else {
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
