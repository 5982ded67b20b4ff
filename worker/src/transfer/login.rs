//! Login of a transfer: which requests carry which credentials, and how challenges are answered.
//!
//! Credentials are sent only to the host that they are for. Those in a URL go to its origin, those
//! for the whole run to the origin of the task's URL, and those that the coordinator sent for a
//! host to that host, but not after a redirect from https to http. The user's own `Authorization`
//! header has priority over all of them.

use data_encoding::BASE64;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use protocol::{Cookie, FailureKind, MAX_COOKIES, Severity};

use super::Transfer;
use crate::fault::Fault;
use crate::login::{Challenge, Logins, Pair};

/// How often a challenge of one URL is answered. The second time only if the nonce was stale.
const MOST_ANSWERS: u8 = 2;

impl<'o> Transfer<'o> {
    /// Adds the logins of its worker. Call before the first request, if at all.
    #[must_use]
    pub fn with_logins(mut self, logins: &'o Logins) -> Self {
        if !self.is_robots() {
            self.logins = Some(logins);
            self.take_cookies();
        }
        self
    }

    /// Adds the known cookies for the host of the next request to the jar.
    pub(super) fn take_cookies(&mut self) {
        let Some(logins) = self.logins else { return };
        if let Some(login) = self.host().and_then(|host| logins.of(host)) {
            self.redirects.give_cookies(&login);
        }
    }

    /// Returns whether the next request may present the user's certificate.
    #[must_use]
    pub fn shows_identity(&self) -> bool {
        self.options.login.identity.is_some() && self.redirects.is_home()
    }

    /// Stores the cookies of a response, and notes them if they are to be reported.
    pub(super) fn keep_cookies(&mut self, headers: &HeaderMap) {
        let reported = self.options.login.report_cookies;
        let set = self.redirects.keep_cookies(headers, reported);
        let known = &mut self.exchange.cookies;
        let mut text: usize = known.iter().map(Cookie::text_bytes).sum();
        for cookie in set {
            text += cookie.text_bytes();
            if text > MAX_COOKIES {
                return;
            }
            known.push(cookie);
        }
    }

    fn host(&self) -> Option<&str> {
        self.redirects.url().host_str()
    }

    /// Checks that the logins that the next request may need have been received.
    ///
    /// # Errors
    ///
    /// Fails if the coordinator must first be asked for a login.
    pub fn check_login(&self) -> Result<(), Fault> {
        let (Some(logins), Some(host)) = (self.logins, self.host()) else {
            return Ok(());
        };
        if logins.lacks(host, self.redirects.is_home()) {
            return Err(Fault::new(
                FailureKind::Internal,
                Severity::Unprepared,
                format!("the worker was not told how to log in at {host}"),
            ));
        }
        Ok(())
    }

    /// Returns `Authorization` of the next request, for use if the user sets none.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let is_home = self.redirects.is_home() && !self.is_robots();
        let bearer = self.options.login.bearer.as_ref().filter(|_| is_home);
        let text = match (self.redirects.credentials(), bearer) {
            (None, Some(token)) => format!("Bearer {}", token.0),
            (_, _) => self.proof(&self.pair()?)?,
        };
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Returns the proof of the user's identity.
    fn proof(&self, pair: &Pair) -> Option<String> {
        let url = self.redirects.url();
        if let Some(answer) = self.logins.and_then(|logins| logins.answer(url, pair)) {
            return Some(answer);
        }
        // RFC 7617 section 2.
        let basic = || BASE64.encode(&[pair.user.as_slice(), &pair.password].join(&b':'));
        (!self.options.login.digest_only).then(|| format!("Basic {}", basic()))
    }

    /// Returns user name and password for the next request.
    fn pair(&self) -> Option<Pair> {
        let told = self
            .logins
            .filter(|_| !self.redirects.is_downgraded())
            .and_then(|logins| logins.of(self.host()?))
            .and_then(|login| login.credentials.as_ref().map(Pair::from));
        match self.redirects.credentials() {
            // A URL may contain only the user name; the password then comes from the coordinator.
            Some(pair) if pair.password.is_empty() => {
                let completed = told.filter(|told| told.user == pair.user);
                Some(completed.unwrap_or_else(|| pair.clone()))
            }
            Some(pair) => Some(pair.clone()),
            None => {
                let given = self.options.login.credentials.as_ref();
                let is_for = self.redirects.is_home() && !self.is_robots();
                given.filter(|_| is_for).map(Pair::from).or(told)
            }
        }
    }

    /// Returns whether the response is a challenge that the next request answers.
    pub(super) fn answers(&mut self, status: StatusCode, headers: &HeaderMap) -> bool {
        if status != StatusCode::UNAUTHORIZED || self.has_own_authorization() {
            return false;
        }
        let (Some(logins), Some(pair)) = (self.logins, self.pair()) else {
            return false;
        };
        let Some(challenge) = Challenge::best(headers) else {
            return false;
        };
        if self.answered > 0 && !(challenge.stale && self.answered < MOST_ANSWERS) {
            return false;
        }
        self.answered += 1;
        logins.challenge(self.redirects.url(), &pair.user, challenge);
        true
    }

    fn has_own_authorization(&self) -> bool {
        let common = self.options.headers.iter();
        let mut names = common.chain(self.headers).map(|(name, _)| name);
        self.redirects.is_home()
            && names.any(|name| name.eq_ignore_ascii_case(AUTHORIZATION.as_str()))
    }
}
