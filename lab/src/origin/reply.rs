//! Answers one request: counts it, draws its fate, waits, and builds the response.
//!
//! Must not touch sockets or TLS: the server handles connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, RANGE,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use super::body::Key;
use super::condition::{Extent, Validation, extent};
use super::fault::{Fault, draw, varies};
use super::journal::{Entry, Journal};
use super::payload::{Cut, Payload};
use super::recent::Recent;
use super::spec::{self, Rate, Spec};
use super::wire::Fuse;

/// Number of URLs in one generation of request counts, some 35 MB; two generations are kept.
const REMEMBERED: usize = 1 << 20;

/// State that all connections share.
#[derive(Debug)]
pub(super) struct Site {
    spec: Spec,
    /// Number of requests for each URL, under the number of its key; absent if every request meets
    /// the same fate. A URL is forgotten once a million others have been requested after it. Its
    /// count then starts from a number never used before, so that even then a retry is a new draw.
    requests: Option<Mutex<Recent<u64, u64>>>,
    stats: Stats,
    journal: Option<Arc<Journal>>,
}

/// Number of requests by fate.
#[derive(Debug, Default)]
pub(super) struct Stats {
    whole: AtomicU64,
    errors: AtomicU64,
    truncated: AtomicU64,
    reset: AtomicU64,
    /// Stalled, slow or endless.
    dragged: AtomicU64,
    refused: AtomicU64,
}

/// A robots.txt that forbids everything, and one that forbids nothing (RFC 9309).
const CLOSED: &str = "User-agent: *\nDisallow: /\n";
const OPEN: &str = "User-agent: *\nDisallow:\n";

/// The connection must be reset instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("simulated reset before the response")]
pub(super) struct ResetBeforeHead;

impl Site {
    /// Creates a network as the spec describes, without any requests.
    pub(super) fn new(spec: Spec, journal: Option<Journal>) -> Self {
        Self {
            spec,
            requests: varies(&spec).then(|| Mutex::new(Recent::new(REMEMBERED))),
            stats: Stats::default(),
            journal: journal.map(Arc::new),
        }
    }

    /// Answers a request on the connection with this fuse.
    ///
    /// # Errors
    ///
    /// Fails if the connection must be reset instead of an answer; the fuse is then armed.
    pub(super) async fn answer<B>(
        self: Arc<Self>,
        fuse: Fuse,
        request: Request<B>,
    ) -> Result<Response<Payload>, ResetBeforeHead> {
        let head_only = request.method() == Method::HEAD;
        if !head_only && request.method() != Method::GET {
            count(&self.stats.refused);
            return Ok(refusal());
        }
        let url = identity(&request);
        let key = Key::new(&self.spec, &url);
        let robots = self.robots(&request, &key);
        let mut entry = self.journal.as_ref().map(|journal| {
            let range = request.headers().get(RANGE).map(HeaderValue::as_bytes);
            Entry::new(journal, request.method().as_str(), &url, range)
        });
        let validation = Validation::of(&self.spec, &key);
        let (method, fields) = (request.method(), request.headers());
        let extent = extent(&self.spec, method, fields, &validation, key.len());
        // The request is no longer needed, and the wait may be long.
        drop((request, url));
        let number = self.count_request(&key);
        // The lower half counts the requests for the URL: see `requests`.
        let fate = draw(&self.spec, key.draw(number), number as u32);
        if !fate.delay.is_zero() {
            tokio::time::sleep(fate.delay).await;
        }
        if let Some(entry) = &mut entry {
            entry.seen.fault = fate.fault.map(|fault| fault.name().to_owned());
        }
        if let (
            Some(robots),
            None | Some(Fault::Truncate | Fault::Stall | Fault::Slow | Fault::Endless),
        ) = (robots, fate.fault)
        {
            count(&self.stats.whole);
            return Ok(text(StatusCode::OK, robots, entry));
        }
        let part = match extent {
            Extent::Part { first, end } => (first, end),
            Extent::Whole => (0, key.len()),
            Extent::Unchanged | Extent::PreconditionFailed | Extent::Unsatisfiable => (0, 0),
        };
        // There is no body to cut, so none of it can be missing.
        let bodiless = head_only || part.0 == part.1;
        let (counter, cut) = match fate.fault {
            None => (&self.stats.whole, None),
            Some(Fault::Truncate | Fault::Stall | Fault::Slow | Fault::Endless) if bodiless => {
                (&self.stats.whole, None)
            }
            Some(Fault::Error(status)) => {
                count(&self.stats.errors);
                return Ok(text(status, "simulated error\n", entry));
            }
            Some(Fault::Truncate) => (&self.stats.truncated, Some(Cut::Close(fuse))),
            Some(Fault::ResetInBody) if !bodiless => (&self.stats.reset, Some(Cut::Reset(fuse))),
            Some(Fault::ResetBeforeHead | Fault::ResetInBody) => {
                count(&self.stats.reset);
                fuse.reset();
                return Err(ResetBeforeHead);
            }
            Some(Fault::Stall) => (&self.stats.dragged, Some(Cut::Stall)),
            Some(Fault::Slow) => {
                count(&self.stats.dragged);
                let payload = |entry| Payload::slow(&key, part, entry);
                return Ok(self.respond(&key, extent, &validation, entry, payload));
            }
            Some(Fault::Endless) => {
                count(&self.stats.dragged);
                // An endless body has no parts.
                let payload = |entry| Payload::endless(&key, entry);
                let mut endless = self.respond(&key, Extent::Whole, &validation, entry, payload);
                endless.headers_mut().remove(CONTENT_LENGTH);
                return Ok(endless);
            }
        };
        count(counter);
        let payload = |entry| Payload::content(&key, part, cut, entry);
        Ok(self.respond(&key, extent, &validation, entry, payload))
    }

    /// Returns the answer to a request: its head, and the body from `payload`, if there is one.
    fn respond(
        &self,
        key: &Key,
        extent: Extent,
        validation: &Validation,
        entry: Option<Entry>,
        payload: impl FnOnce(Option<Entry>) -> Payload,
    ) -> Response<Payload> {
        let status = match extent {
            Extent::Whole => StatusCode::OK,
            Extent::Part { .. } => StatusCode::PARTIAL_CONTENT,
            Extent::Unchanged => StatusCode::NOT_MODIFIED,
            Extent::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Extent::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        };
        let entry = with_status(entry, status);
        let len = key.len();
        let (payload, length) = match extent {
            Extent::Whole => (payload(entry), Some(len)),
            Extent::Part { first, end } => (payload(entry), Some(end - first)),
            Extent::Unchanged => (Payload::nothing(entry), None),
            Extent::PreconditionFailed | Extent::Unsatisfiable => {
                (Payload::nothing(entry), Some(0))
            }
        };
        let mut response = Response::new(payload);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if let Some(length) = length {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            );
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let range = match extent {
            Extent::Part { first, end } => Some(format!("bytes {first}-{}/{len}", end - 1)),
            Extent::Unsatisfiable => Some(format!("bytes */{len}")),
            Extent::Whole | Extent::Unchanged | Extent::PreconditionFailed => None,
        };
        if let Some(Ok(range)) = range.map(HeaderValue::try_from) {
            headers.insert(CONTENT_RANGE, range);
        }
        let ranges = match self.spec.range {
            spec::Range::On => "bytes",
            spec::Range::Off => "none",
        };
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static(ranges));
        validation.announce(headers);
        response
    }

    /// Returns the robots.txt for this request, if it asks for one and hosts have one.
    fn robots<B>(&self, request: &Request<B>, key: &Key) -> Option<&'static str> {
        let disallow = self.spec.disallow.steps();
        if disallow == 0 || request.uri().path() != "/robots.txt" {
            return None;
        }
        let closed = key.number() % Rate::WHOLE < disallow;
        Some(if closed { CLOSED } else { OPEN })
    }

    /// Reports the statistics of the origin through `tracing`.
    pub(super) fn report(&self) {
        let Stats {
            whole,
            errors,
            truncated,
            reset,
            dragged,
            refused,
        } = &self.stats;
        tracing::info!(
            whole = whole.load(Ordering::Relaxed),
            errors = errors.load(Ordering::Relaxed),
            truncated = truncated.load(Ordering::Relaxed),
            reset = reset.load(Ordering::Relaxed),
            dragged = dragged.load(Ordering::Relaxed),
            refused = refused.load(Ordering::Relaxed),
            "origin leaves; requests by their outcome"
        );
    }

    /// Returns the number of this request among those for its URL.
    fn count_request(&self, key: &Key) -> u64 {
        let Some(requests) = &self.requests else {
            return 0;
        };
        let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = requests.get_mut(&key.number()) {
            *count += 1;
            return *count;
        }
        let first = requests.turns() << 32;
        requests.insert(key.number(), first);
        first
    }
}

/// Returns the identity of the requested URL: see [`body`](super::body).
fn identity<B>(request: &Request<B>) -> String {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // A target in absolute form has priority over the field (RFC 9112, section 3.2.2). A request
    // with neither is HTTP/1.0, for a server with only one name.
    let host = match uri.authority() {
        Some(authority) => {
            let authority = authority.as_str();
            let start = authority.rfind('@').map_or(0, |at| at + 1);
            &authority.as_bytes()[start..]
        }
        None => request
            .headers()
            .get(HOST)
            .map_or(b"".as_slice(), HeaderValue::as_bytes),
    };
    let mut identity = String::from_utf8_lossy(host).into_owned();
    identity.make_ascii_lowercase();
    identity.push_str(path);
    identity
}

fn refusal() -> Response<Payload> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n", None);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn text(status: StatusCode, text: &'static str, entry: Option<Entry>) -> Response<Payload> {
    let entry = with_status(entry, status);
    let mut response = Response::new(Payload::text(text, entry));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn with_status(mut entry: Option<Entry>, status: StatusCode) -> Option<Entry> {
    if let Some(entry) = &mut entry {
        entry.seen.status = Some(status.as_u16());
    }
    entry
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    /// Returns whether there is an answer without a wait.
    fn answers_at_once(spec: &str) -> bool {
        let site = Arc::new(Site::new(
            spec.parse().expect("the test's spec is right"),
            None,
        ));
        let request = Request::get("http://h/").body(()).expect("it is a request");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime can be made");
        let _context = runtime.enter();
        let answer = pin!(site.answer(Fuse::default(), request));
        answer
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn answers_wait_for_the_latency_and_the_jitter() {
        assert!(answers_at_once("latency=0s"));
        assert!(!answers_at_once("latency=1h"));
        assert!(!answers_at_once("latency=0s,jitter=24h"));
    }

    #[test]
    fn so_many_hosts_forbid_everything_and_the_others_nothing() {
        let said = |spec: &str, url: &str| {
            let spec: Spec = spec.parse().expect("the test's spec is right");
            let request = Request::get(url).body(()).expect("it is a request");
            let key = Key::new(&spec, &identity(&request));
            Site::new(spec, None).robots(&request, &key)
        };
        let robots = |n: u32| format!("http://h{n}/robots.txt");
        assert_eq!(said("", &robots(1)), None);
        assert_eq!(said("disallow=100%", "http://h1/robots"), None);
        let closed = (0..1000).filter(|&n| said("disallow=30%", &robots(n)) == Some(CLOSED));
        // 5 standard deviations are 73.
        assert!(closed.count().abs_diff(300) < 73);
        assert_eq!(said("disallow=100%", &robots(1)), Some(CLOSED));
        assert_eq!(said("disallow=0.0001%", &robots(1)), Some(OPEN));
    }

    #[test]
    fn errors_and_resets_wait_as_well() {
        assert!(!answers_at_once("latency=1h,errors=100%"));
        assert!(!answers_at_once("latency=1h,reset=100%"));
    }

    #[test]
    fn a_url_that_was_forgotten_draws_anew() {
        let spec: Spec = "errors=50%".parse().expect("the test's spec is right");
        let site = Site {
            requests: Some(Mutex::new(Recent::new(2))),
            ..Site::new(spec, None)
        };
        let key = |n: u32| Key::new(&spec, &format!("h/{n}"));
        let first: Vec<u64> = (0..5).map(|n| site.count_request(&key(n))).collect();
        let again: Vec<u64> = (0..5).map(|n| site.count_request(&key(n))).collect();
        for (first, again) in first.iter().zip(&again) {
            assert!(again > first, "{again} after {first}");
        }
    }

    #[test]
    fn the_host_is_that_of_the_target_or_else_of_the_field() {
        let asked = |target: &str, host: Option<&str>| {
            let mut request = Request::get(target);
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            identity(&request.body(()).expect("it is a request"))
        };
        assert_eq!(asked("/a?b", Some("Example.com:81")), "example.com:81/a?b");
        assert_eq!(asked("http://u:p@H:81/a", Some("other")), "h:81/a");
        assert_eq!(asked("/a", None), "/a");
    }
}
