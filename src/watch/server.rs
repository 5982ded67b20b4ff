//! The server: its own thread with an event loop, so that clients do not delay the run.
//!
//! Whatever a client does, it uses a bounded amount of memory, descriptors and time.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::address::{Address, Listener};
use super::board::{Board, Posted};
use super::{metrics, view};

/// Maximum number of connections, and of those that follow the run.
const MOST_CONNECTIONS: usize = 32;
const MOST_FOLLOWERS: usize = 16;

/// Maximum size of the head of a request in bytes, and maximum time for it.
const MAX_HEAD: usize = 16 << 10;
const HEAD_TIME: Duration = Duration::from_secs(5);

/// Maximum time for a request and its response, except for clients that follow the run.
const EXCHANGE_TIME: Duration = Duration::from_secs(15);

/// Maximum time that a follower may take for one state.
const FOLLOW_TIME: Duration = Duration::from_secs(15);

/// Time between two states for followers.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// How long the end of the run waits for followers to receive the last state.
const FAREWELL: Duration = Duration::from_secs(1);

/// Pause after a listener failed: descriptors are not freed at once.
const BACK_OFF: Duration = Duration::from_millis(50);

const PAGE: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const EVENTS: &str = "text/event-stream";

/// The state that all connections share.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) address: Address,
    /// The prefix of every path: a slash, and the token with another slash if there is a token.
    pub(super) root: String,
    pub(super) board: Arc<Board>,
    pub(super) followers: AtomicUsize,
    pub(super) connections: AtomicUsize,
}

/// A connection to a client.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// A listener in the event loop.
enum Listening {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listening {
    async fn accept(&self) -> io::Result<Box<dyn Socket>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Serves until the run has ended and all followers have received the last state.
pub(super) async fn serve(listener: Listener, site: Arc<Site>) -> io::Result<()> {
    // The socket file is removed when this is dropped.
    let (listening, _placed) = match listener {
        Listener::Tcp(listener) => (
            Listening::Tcp(tokio::net::TcpListener::from_std(listener)?),
            None,
        ),
        Listener::Unix(listener, placed) => (
            Listening::Unix(tokio::net::UnixListener::from_std(listener)?),
            Some(placed),
        ),
    };
    tokio::select! {
        () = accept(&listening, &site) => {}
        () = site.board.over() => {}
    }
    let until = Instant::now() + FAREWELL;
    while site.connections.load(Ordering::SeqCst) > 0 && Instant::now() < until {
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn accept(listening: &Listening, site: &Arc<Site>) {
    loop {
        match listening.accept().await {
            // A connection beyond the maximum is closed.
            Ok(socket) => {
                if let Some(place) = Place::take(site, |site| &site.connections, MOST_CONNECTIONS) {
                    tokio::spawn(converse(socket, Arc::clone(site), place));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                sleep(BACK_OFF).await;
            }
        }
    }
}

/// One of a limited number of places, returned on drop.
struct Place {
    site: Arc<Site>,
    count: fn(&Site) -> &AtomicUsize,
}

impl Place {
    fn take(site: &Arc<Site>, count: fn(&Site) -> &AtomicUsize, most: usize) -> Option<Self> {
        let place = Self {
            site: Arc::clone(site),
            count,
        };
        let taken = count(site).fetch_add(1, Ordering::SeqCst);
        (taken < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.count)(&self.site).fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers the single request of a connection.
async fn converse(socket: Box<dyn Socket>, site: Arc<Site>, _place: Place) {
    // A follower has a time limit for each state, other clients one for the whole exchange.
    let (following, mut follows) = mpsc::channel::<()>(1);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (site, following) = (Arc::clone(&site), following.clone());
        async move { Ok::<_, Infallible>(answer(&site, &request, following).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(MAX_HEAD)
            .keep_alive(false)
            .serve_connection(TokioIo::new(socket), service)
    );
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = sleep(EXCHANGE_TIME) => return,
        Some(()) = follows.recv() => {
            // The sender is dropped with the service.
            tokio::select! {
                ended = &mut connection => ended,
                () = async { while timeout(FOLLOW_TIME, follows.recv()).await.is_ok_and(|told| told.is_some()) {} } => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
}

/// A response.
type Answer = Response<Content>;

async fn answer<B>(site: &Arc<Site>, request: &Request<B>, following: mpsc::Sender<()>) -> Answer {
    let host = request.headers().get(HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !site.address.is_named_by(host) {
        let text = "this name does not belong to this run: use the address\n";
        return plain(StatusCode::MISDIRECTED_REQUEST, text);
    }
    let Some(path) = within(request.uri().path(), &site.root) else {
        return plain(StatusCode::NOT_FOUND, "there is nothing here\n");
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if !matches!(path, "" | "events" | "healthz" | "metrics" | "status") {
        return plain(StatusCode::NOT_FOUND, "there is nothing here\n");
    }
    if path == "events" && request.method() == Method::GET {
        return match Place::take(site, |site| &site.followers, MOST_FOLLOWERS) {
            Some(place) => response(StatusCode::OK, EVENTS, follow(place, following)),
            None => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many follow this run\n",
            ),
        };
    }
    let Some(posted) = site.board.look().await else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the run does not answer\n");
    };
    let (kind, text) = match path {
        "metrics" => (METRICS, metrics::text(posted.measured()).into()),
        "status" => (
            JSON,
            serde_json::to_vec(posted.measured())
                .unwrap_or_default()
                .into(),
        ),
        "healthz" => (TEXT, Bytes::from_static(b"ok\n")),
        _ => match view::page(posted.measured()) {
            Ok(page) => (PAGE, page.into()),
            Err(error) => {
                let text = format!("the page cannot be made: {error}\n");
                return response(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    TEXT,
                    Content::Text(Some(text.into())),
                );
            }
        },
    };
    response(StatusCode::OK, kind, Content::Text(Some(text)))
}

/// Returns the rest of `path` below `root`. Its timing does not reveal how much of `root` matches.
fn within<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let (start, rest) = path.split_at_checked(root.len())?;
    let pairs = start.bytes().zip(root.bytes());
    let differ = pairs.fold(0, |differ, (one, other)| differ | (one ^ other));
    (differ == 0).then_some(rest)
}

/// Sends a client every state in turn, as fast as it reads them, and the last one.
fn follow(place: Place, following: mpsc::Sender<()>) -> Content {
    let (states, incoming) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let due = Instant::now() + FOLLOW_EVERY;
            let Some(posted) = place.site.board.look().await else {
                // The client notices the end of the stream.
                return;
            };
            if states.send(event(&posted)).await.is_err() || following.send(()).await.is_err() {
                return;
            }
            if posted.is_last() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = place.site.board.over() => {}
                () = states.closed() => return,
            }
        }
    });
    Content::Events(incoming)
}

/// Formats a state as a server-sent event (HTML Living Standard, section 9.2).
fn event(posted: &Posted) -> Bytes {
    let name = if posted.is_last() { "over" } else { "state" };
    let mut text = format!("event: {name}\n");
    for line in posted.fragment().lines() {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text.into()
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    response(
        status,
        TEXT,
        Content::Text(Some(Bytes::from_static(text.as_bytes()))),
    )
}

fn response(status: StatusCode, kind: &'static str, content: Content) -> Answer {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // The token is part of the address.
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The body of a response.
enum Content {
    Text(Option<Bytes>),
    Events(mpsc::Receiver<Bytes>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Self::Text(text) => Poll::Ready(text.take()),
            Self::Events(events) => events.poll_recv(cx),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Self::Events(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::State;
    use super::*;

    #[test]
    fn health_is_service_unavailable_while_the_run_does_not_answer_and_ok_when_it_does() {
        let board = Board::new(|| {}).with_patience(Duration::from_millis(1));
        let site = Arc::new(Site {
            address: "127.0.0.1:8080".parse().expect("an address"),
            root: "/".to_owned(),
            board: Arc::new(board),
            followers: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let request = Request::get("/healthz")
            .header(HOST, "127.0.0.1:8080")
            .body(())
            .expect("a request");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let ask = || {
            let (following, _follows) = mpsc::channel(1);
            runtime
                .block_on(answer(&site, &request, following))
                .status()
        };
        assert_eq!(ask(), StatusCode::SERVICE_UNAVAILABLE);
        site.board.post(State::default());
        assert_eq!(ask(), StatusCode::OK);
    }
}
