//! The event engine over HTTP/2, which the blocking engine does not offer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{Request, Response};
use pool::session::EventEngine as _;
use protocol::{
    Assignment, Engine, FailureKind, HttpOptions, Known, Severity, Simulated, Trust, Validators,
};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use worker::{Activity, AsyncEngine, Connections, Shared};

use crate::support::{Bench, TRANSIENT, options, setup};
use crate::tls;

/// A server. Dropping it ends its event loop, with the port and all connections.
pub struct Server {
    addr: SocketAddr,
    pem: String,
    connections: Arc<AtomicUsize>,
    _open: oneshot::Sender<()>,
}

/// Handles a request, given the number of its connection and its own number.
pub type Handle = fn(usize, usize, &Request<h2::RecvStream>, SendResponse<Bytes>);

/// Starts an HTTP/2 server that offers the protocols in `offers`.
pub fn server(offers: &[&[u8]], handle: Handle) -> Server {
    let (config, pem) = tls::config();
    let mut config: ServerConfig = (*config).clone();
    config.alpn_protocols = offers.iter().map(|offer| offer.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("for an event loop");
    let addr = listener.local_addr().expect("its address");
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let (open, closed) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let accept = async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let Ok(mut connection) = h2::server::handshake(stream).await else {
                        return;
                    };
                    let mut requests = 0;
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        handle(number, requests, &request, respond);
                        requests += 1;
                        if request.uri().path() == "/last" {
                            connection.graceful_shutdown();
                        }
                    }
                });
            }
        };
        runtime.block_on(async {
            tokio::select! {
                () = accept => {}
                _ = closed => {}
            }
        });
    });
    Server {
        addr,
        pem,
        connections,
        _open: open,
    }
}

impl Server {
    pub fn options(&self) -> HttpOptions {
        let mut options = options();
        options.trust = Trust::Pem(self.pem.clone());
        options.simulated = Some(Simulated {
            http: self.addr,
            https: self.addr,
        });
        options
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn echo(_: usize, _: usize, request: &Request<h2::RecvStream>, respond: SendResponse<Bytes>) {
    let body = request.uri().to_string();
    answer(respond, body);
}

fn answer(mut respond: SendResponse<Bytes>, body: String) {
    if let Ok(mut stream) = respond.send_response(Response::new(()), false) {
        let _ = stream.send_data(body.into(), true);
    }
}

pub const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Downloads `many` files at once, `rounds` times in a row, each in one attempt.
fn download_at_once(server: &Server, many: u16, rounds: usize) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let shared =
        Shared::new(&setup(folder.path(), many, server.options()), None).expect("a good setup");
    let connections = Arc::new(Connections::new(Arc::new(shared), many));
    runtime.block_on(async {
        let downloads = (0..many).map(|number| {
            let mut engine = AsyncEngine::new(Arc::clone(&connections));
            tokio::spawn(async move {
                for round in 0..rounds {
                    let url = format!("https://a.test/{number}/{round}?q");
                    let path = format!("{number}-{round}");
                    let assignment = Assignment::new(url, path);
                    let activity = Activity::default();
                    let stored = engine.run(&assignment, &activity).await;
                    stored.expect("stored");
                }
            })
        });
        for download in downloads.collect::<Vec<_>>() {
            download.await.expect("no panic");
        }
    });
    for number in 0..many {
        let last = rounds - 1;
        let stored =
            std::fs::read_to_string(folder.path().join(format!(".partial/{number}-{last}")));
        assert_eq!(
            stored.expect("a file"),
            format!("https://a.test/{number}/{last}?q")
        );
    }
}

#[test]
fn http2_is_spoken_where_it_is_offered_and_the_connection_is_shared() {
    let server = server(BOTH, echo);
    download_at_once(&server, 8, 3);
    assert_eq!(server.connections(), 1, "all share one");
}

/// nginx accepts 1,000 requests on a connection, and is often configured to accept fewer. Downloads
/// that share the connection may have sent their requests already.
#[test]
fn what_a_used_up_connection_does_not_take_is_sent_over_another() {
    let server = server(BOTH, |_, number, request, mut respond| {
        if number < 2 {
            echo(0, number, request, respond);
        } else {
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    });
    download_at_once(&server, 8, 3);
    assert!(server.connections() >= 12, "two requests a connection");
}

/// With one request per connection, the last of many requests would meet as many connections that
/// other downloads have used up.
#[test]
fn a_request_that_others_keep_from_its_turn_gets_a_connection_of_its_own() {
    let server = server(BOTH, |_, number, request, mut respond| {
        if number < 1 {
            echo(0, number, request, respond);
        } else {
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    });
    download_at_once(&server, 24, 1);
}

fn conditional(
    _: usize,
    _: usize,
    request: &Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    match request.headers().get("if-none-match") {
        Some(tag) if tag == "\"same\"" => {
            let response = Response::builder().status(304).body(());
            let _ = respond.send_response(response.expect("a head"), true);
        }
        Some(_) | None => answer(respond, "anew".to_owned()),
    }
}

#[test]
fn a_file_that_is_current_stays_over_http2_as_well() {
    let server = server(BOTH, conditional);
    let mut bench = Bench::new(Engine::Async, server.options());
    for (tag, file) in [("\"same\"", "old"), ("\"other\"", "anew")] {
        std::fs::write(bench.file(), "old").expect("written");
        let url = "https://a.test/x";
        let known = Known {
            url: url.to_owned(),
            validators: Validators {
                etag: Some(tag.to_owned()),
                last_modified: None,
            },
            bytes: 3,
            sha256: [7; 32],
            content_type: None,
        };
        let assignment = Assignment {
            known: Some(Box::new(known)),
            ..Assignment::new(url, "file")
        };
        let stored = bench.download(&assignment).expect("stored or kept");
        assert_eq!(stored.unchanged, file == "old");
        assert_eq!(bench.stored(), file);
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn http1_is_spoken_where_http2_is_not_offered() {
    let (plain, pem) = tls::server(tls::answer);
    let mut options = options();
    options.trust = Trust::Pem(pem);
    options.simulated = Some(Simulated {
        http: plain.addr,
        https: plain.addr,
    });
    for engine in [Engine::Async, Engine::Blocking] {
        let mut bench = Bench::new(engine, options.clone());
        assert_eq!(bench.body("https://a.test/"), "a.test");
    }
}

#[test]
fn a_connection_that_goes_away_is_made_anew() {
    let server = server(BOTH, echo);
    let mut bench = Bench::new(Engine::Async, server.options());
    for path in ["/a", "/last", "/b", "/c"] {
        let url = format!("https://a.test{path}");
        assert_eq!(bench.body(&url), url);
    }
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_refused_stream_passes_and_a_cut_body_is_cut_off() {
    fn refuse(_: usize, _: usize, _: &Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
        respond.send_reset(Reason::REFUSED_STREAM);
    }
    fn cut(_: usize, _: usize, _: &Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
        let response = Response::builder().header("content-length", 9).body(());
        let response = response.expect("a response");
        if let Ok(mut stream) = respond.send_response(response, false) {
            let _ = stream.send_data("half".into(), false);
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
    }
    fn once(
        _: usize,
        number: usize,
        request: &Request<h2::RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        if number == 1 {
            respond.send_reset(Reason::REFUSED_STREAM);
        } else {
            answer(respond, request.uri().path().to_owned());
        }
    }
    let url = "https://a.test/";
    let refusing = server(BOTH, refuse);
    let mut bench = Bench::new(Engine::Async, refusing.options());
    bench.fails(url, FailureKind::Disconnected, TRANSIENT);
    let cutting = server(BOTH, cut);
    let failure = Bench::new(Engine::Async, cutting.options()).get(url);
    let failure = failure.expect_err("cut off");
    // The reset may overtake the head.
    let kinds = [FailureKind::Truncated, FailureKind::Disconnected];
    assert!(kinds.contains(&failure.kind), "{failure}");
    assert_eq!(failure.severity, TRANSIENT);
    let once = server(BOTH, once);
    let mut bench = Bench::new(Engine::Async, once.options());
    assert_eq!(bench.body(url), "/");
    assert_eq!(
        bench.body("https://a.test/again"),
        "/again",
        "on another connection"
    );
}

#[test]
fn redirects_statuses_and_limits_are_those_of_every_engine() {
    fn various(
        _: usize,
        _: usize,
        request: &Request<h2::RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        let path = request.uri().path().to_owned();
        let (status, name, value) = match path.as_str() {
            "/moved" => (302, "location", "/here"),
            "/busy" => (503, "x-a", "b"),
            "/gone" => (404, "x-a", "b"),
            _ => return answer(respond, path),
        };
        let response = Response::builder()
            .status(status)
            .header(name, value)
            .body(());
        let _ = respond.send_response(response.expect("a response"), true);
    }
    let server = server(BOTH, various);
    let mut options = server.options();
    options.max_filesize = Some(8);
    let mut bench = Bench::new(Engine::Async, options);
    let url = |path: &str| format!("https://a.test{path}");
    assert_eq!(bench.body(&url("/moved")), "/here");
    let mut bench = {
        let mut options = server.options();
        options.max_filesize = Some(8);
        Bench::new(Engine::Async, options)
    };
    bench.fails(&url("/busy"), FailureKind::Status, TRANSIENT);
    bench.fails(&url("/gone"), FailureKind::Status, Severity::Permanent);
    bench.fails(
        &url("/too-long"),
        FailureKind::TooLarge,
        Severity::Permanent,
    );
}
