//! Login: which host receives which credentials, and how challenges are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use data_encoding::HEXLOWER;
use md5::Md5;
use protocol::{
    Bearer, Cookie, Credentials, Engine, FailureKind, HttpOptions, Identity, Login, LoginHosts,
    ResolveOverride, Severity, Simulated, Trust,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest as _, Sha256};

use super::tls;
use crate::support::{Bench, Heads, Server, ok, options, read_head};

/// `u:p`.
const BASIC: &str = "Basic dTpw";

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials {
        user: user.to_owned(),
        password: password.to_owned(),
    }
}

fn of_user() -> HttpOptions {
    let mut given = options();
    given.login.credentials = Some(credentials("u", "p"));
    given
}

fn refused(headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 401 x\r\n{headers}Content-Length: 0\r\n\r\n").into_bytes()
}

fn moved(to: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 x\r\nLocation: {to}\r\n{headers}Content-Length: 0\r\n\r\n").into_bytes()
}

/// Returns a parameter of `Authorization: Digest`.
fn param<'h>(head: &'h str, name: &str) -> &'h str {
    let (_, rest) = head.split_once(&format!("{name}=")).unwrap_or_default();
    let rest = rest.split([',', '\r']).next().unwrap_or_default();
    rest.trim_matches('"')
}

/// Returns whether `head` proves knowledge of the password of `u`, by RFC 7616 section 3.4.1.
fn is_proven(head: &str, algorithm: &str, realm: &str) -> bool {
    let hash = |text: String| match algorithm {
        "MD5" => HEXLOWER.encode(&Md5::digest(text)),
        _ => HEXLOWER.encode(&Sha256::digest(text)),
    };
    let target = head.split(' ').nth(1).unwrap_or_default();
    let [nonce, nc, cnonce] = ["nonce", "nc", "cnonce"].map(|name| param(head, name));
    let secret = hash(format!("u:{realm}:p"));
    let request = hash(format!("GET:{target}"));
    let expected = hash(format!("{secret}:{nonce}:{nc}:{cnonce}:auth:{request}"));
    head.contains(": Digest ")
        && param(head, "response") == expected
        && param(head, "uri") == target
}

/// Starts a server that requires a digest with nonce `n1`. Also returns the request heads.
fn digest_server(algorithm: &'static str) -> (Server, Heads) {
    let heads = Heads::default();
    let seen = heads.clone();
    let server = Server::answering(move |head| {
        seen.push(head);
        if is_proven(head, algorithm, "r") && param(head, "nonce") == "n1" {
            return ok("inside");
        }
        refused(&format!(
            "WWW-Authenticate: Basic realm=\"r\"\r\nWWW-Authenticate: Digest realm=\"r\", \
             nonce=\"n1\", qop=\"auth\", algorithm={algorithm}\r\n"
        ))
    });
    (server, heads)
}

fn a_digest_is_answered_once_and_then_sent_along_with_a_count(engine: Engine) {
    for algorithm in ["MD5", "SHA-256"] {
        let (server, heads) = digest_server(algorithm);
        let mut bench = Bench::new(engine, of_user());
        assert_eq!(bench.body(&server.url("/a?b=c")), "inside");
        assert_eq!(heads.value(0, "authorization").as_deref(), Some(BASIC));
        assert_eq!(heads.count(), 2);
        assert_eq!(bench.body(&server.url("/d")), "inside");
        assert_eq!(heads.count(), 3, "it is not asked again");
        let counts = [1, 2].map(|number| heads.value(number, "authorization").unwrap_or_default());
        assert!(counts[0].contains("nc=00000001,"), "{counts:?}");
        assert!(counts[1].contains("nc=00000002,"), "{counts:?}");
    }
}

fn a_password_is_not_sent_where_only_a_digest_may_prove_it(engine: Engine) {
    let mut given = of_user();
    given.login.digest_only = true;
    let (server, heads) = digest_server("SHA-256");
    assert_eq!(
        Bench::new(engine, given.clone()).body(&server.url("/")),
        "inside"
    );
    assert_eq!(heads.value(0, "authorization"), None);

    let (basic, heads) = Server::in_turn(vec![refused("WWW-Authenticate: Basic realm=\"r\"\r\n")]);
    let mut bench = Bench::new(engine, given);
    let failure = bench.fails(&basic.url("/"), FailureKind::Status, Severity::Permanent);
    assert!(failure.message.contains("asks for Basic"), "{failure}");
    assert_eq!((heads.count(), heads.value(0, "authorization")), (1, None));
}

fn a_nonce_that_is_stale_is_replaced_and_a_wrong_password_fails(engine: Engine) {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let server = Server::answering(move |head| {
        // Each nonce is valid for one request.
        let nonce = format!("n{}", count.load(Ordering::SeqCst));
        if is_proven(head, "MD5", "r") && param(head, "nonce") == nonce {
            count.fetch_add(1, Ordering::SeqCst);
            return ok("inside");
        }
        let stale = if is_proven(head, "MD5", "r") {
            "true"
        } else {
            "false"
        };
        refused(&format!(
            "WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\", stale={stale}\r\n"
        ))
    });
    let mut bench = Bench::new(engine, of_user());
    for _ in 0..3 {
        assert_eq!(bench.body(&server.url("/")), "inside");
    }
    let mut wrong = of_user();
    wrong.login.credentials = Some(credentials("u", "wrong"));
    let (server, heads) = digest_server("MD5");
    let mut bench = Bench::new(engine, wrong);
    let failure = bench.fails(&server.url("/"), FailureKind::Status, Severity::Permanent);
    assert!(failure.message.contains("401"), "{failure}");
    assert_eq!(
        heads.count(),
        2,
        "without a password that may be good, once"
    );
}

/// A server for `data.test`, `login.test` and other hosts, on one port.
struct Hosts {
    server: Server,
    heads: Heads,
    options: HttpOptions,
}

impl Hosts {
    fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.server.addr.port())
    }
}

/// Behaves like NASA's Earthdata: a request without a session is redirected to `login.test`, which
/// requires Basic and redirects back with a session.
fn earthdata(mut options: HttpOptions) -> Hosts {
    let heads = Heads::default();
    let seen = heads.clone();
    let server = Server::answering(move |head| {
        seen.push(head);
        let lower = head.to_ascii_lowercase();
        let (_, host) = lower.split_once("\r\nhost: ").unwrap_or_default();
        let (host, _) = host.split_once("\r\n").unwrap_or_default();
        let (host, port) = host.split_once(':').unwrap_or_default();
        let path = head.split(' ').nth(1).unwrap_or_default();
        match (host, path) {
            ("data.test", "/back") => moved("/file", "Set-Cookie: session=1; Path=/\r\n"),
            ("data.test", _) if lower.contains("session=1") => ok("inside"),
            ("data.test", _) => moved(&format!("http://login.test:{port}/oauth"), ""),
            ("login.test", _) if head.contains(BASIC) => moved(
                &format!("http://data.test:{port}/back"),
                "Set-Cookie: sso=2\r\n",
            ),
            _ => refused("WWW-Authenticate: Basic realm=\"r\"\r\n"),
        }
    });
    options.resolve = ["data.test", "login.test"]
        .map(|host| ResolveOverride {
            host: host.to_owned(),
            port: server.addr.port(),
            addr: server.addr.ip(),
        })
        .into();
    Hosts {
        server,
        heads,
        options,
    }
}

fn login(host: &str, pair: Option<Credentials>, cookies: Vec<Cookie>) -> Login {
    Login {
        host: host.to_owned(),
        credentials: pair,
        cookies,
        identity: None,
    }
}

fn a_login_host_gets_its_own_credentials_and_nobody_else_does(engine: Engine) {
    let mut given = options();
    given.login.hosts = LoginHosts::new(["login.test"].into_iter(), false);
    given.login.report_cookies = true;
    let hosts = earthdata(given);
    let mut bench = Bench::new(engine, hosts.options.clone());
    let url = hosts.url("data.test", "/file");

    let asks = bench.get(&url).expect_err("it does not know how");
    assert_eq!(asks.severity, Severity::Unprepared, "{asks}");
    let at = asks.exchange.final_url.as_deref();
    assert_eq!(at, Some(hosts.url("login.test", "/oauth").as_str()));
    assert_eq!(hosts.heads.count(), 1, "nobody was asked there");

    bench.learn(vec![login(
        "login.test",
        Some(credentials("u", "p")),
        vec![],
    )]);
    let stored = bench.get(&url).expect("stored");
    assert_eq!(bench.stored(), "inside");
    let sent: Vec<_> = (1..hosts.heads.count())
        .map(|number| hosts.heads.value(number, "authorization"))
        .collect();
    assert_eq!(sent, [None, Some(BASIC.to_owned()), None, None]);
    let set: Vec<_> = stored.exchange.cookies.iter().collect();
    let set: Vec<_> = set
        .iter()
        .map(|one| (one.domain.as_str(), one.name.as_str()))
        .collect();
    assert_eq!(set, [("login.test", "sso"), ("data.test", "session")]);
}

fn what_is_for_the_list_stays_with_it(engine: Engine) {
    let bearer = {
        let mut given = options();
        given.login.bearer = Some(Bearer("t0k3n".to_owned()));
        given
    };
    for (given, expected) in [(of_user(), BASIC), (bearer, "Bearer t0k3n")] {
        let hosts = earthdata(given);
        let mut bench = Bench::new(engine, hosts.options.clone());
        let url = hosts.url("data.test", "/file");
        bench.fails(&url, FailureKind::Status, Severity::Permanent);
        let sent = [0, 1].map(|number| hosts.heads.value(number, "authorization"));
        assert_eq!(sent, [Some(expected.to_owned()), None]);
    }
}

fn a_url_with_a_name_alone_takes_the_password_that_is_known_for_it(engine: Engine) {
    let heads = Heads::default();
    let seen = heads.clone();
    let server = Server::answering(move |head| {
        seen.push(head);
        ok("x")
    });
    let mut bench = Bench::new(engine, options());
    bench.learn(vec![login(
        "127.0.0.1",
        Some(credentials("u", "p")),
        vec![],
    )]);
    let url = |user: &str| format!("http://{user}@{}/", server.addr);
    for (user, expected) in [("u", BASIC), ("v", "Basic djo="), ("v:w", "Basic djp3")] {
        bench.body(&url(user));
        let last = heads.count() - 1;
        assert_eq!(
            heads.value(last, "authorization").as_deref(),
            Some(expected),
            "{user}"
        );
    }
}

fn known_cookies_go_to_their_hosts_and_paths_alone(engine: Engine) {
    let cookie = |name: &str, domain: &str, path: &str| Cookie {
        domain: domain.to_owned(),
        host_only: false,
        path: path.to_owned(),
        secure: name == "secure",
        http_only: false,
        expires: None,
        name: name.to_owned(),
        value: "1".to_owned(),
    };
    let hosts = earthdata(options());
    let mut bench = Bench::new(engine, hosts.options.clone());
    let cookies = vec![
        cookie("all", "test", "/"),
        cookie("deep", "data.test", "/deep"),
        cookie("secure", "data.test", "/"),
        cookie("session", "data.test", "/"),
    ];
    bench.learn(vec![login("data.test", None, cookies)]);
    assert_eq!(bench.body(&hosts.url("data.test", "/x")), "inside");
    let sent = hosts.heads.value(0, "cookie").unwrap_or_default();
    let mut names: Vec<_> = sent.split("; ").collect();
    names.sort_unstable();
    assert_eq!(names, ["all=1", "session=1"]);
}

/// Starts a server for any name that requests a certificate. Also returns whether it received one.
fn asking(trusted: &CertificateDer<'static>) -> (Server, String, Arc<AtomicBool>) {
    let names = vec!["a.test".to_owned(), "b.test".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .expect("a verifier");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let config = Arc::new(config);
    let shown_to_b = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&shown_to_b);
    let server = Server::start(move |stream, _| {
        let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
        let mut stream: tls::Tls = StreamOwned::new(session, stream);
        while let Some(head) = read_head(&mut stream) {
            let is_shown = stream.conn.peer_certificates().is_some();
            let is_a = stream.conn.server_name() == Some("a.test");
            if !is_a && is_shown {
                noted.store(true, Ordering::SeqCst);
            }
            let answer = match (is_a, is_shown) {
                (true, true) if head.starts_with("GET /away") => moved("https://b.test/", ""),
                (true, true) => ok("known"),
                (true, false) => refused(""),
                (false, _) => ok("stranger"),
            };
            let _ = std::io::Write::write_all(&mut stream, &answer);
        }
    });
    (server, made.cert.pem(), shown_to_b)
}

/// Returns options that map every name to `server` and trust its certificate.
fn reached(server: &Server, pem: String) -> HttpOptions {
    let mut given = options();
    given.trust = Trust::Pem(pem);
    given.simulated = Some(Simulated {
        http: server.addr,
        https: server.addr,
    });
    given
}

fn a_client_certificate_of_one_host_is_shown_to_that_host_alone(engine: Engine) {
    let made = rcgen::generate_simple_self_signed(["client.test".to_owned()]).expect("one");
    let (server, pem, shown_to_b) = asking(made.cert.der());
    let mut given = reached(&server, pem);
    given.login.hosts = LoginHosts::new(["a.test"].into_iter(), false);
    let mut bench = Bench::new(engine, given);
    bench.fails(
        "https://a.test/",
        FailureKind::Internal,
        Severity::Unprepared,
    );
    bench.learn(vec![Login {
        identity: Some(Identity {
            certificates: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }),
        ..login("a.test", None, Vec::new())
    }]);
    assert_eq!(bench.body("https://a.test/"), "known");
    assert_eq!(bench.body("https://a.test/away"), "stranger");
    assert_eq!(bench.body("https://b.test/"), "stranger");
    assert!(!shown_to_b.load(Ordering::SeqCst));
}

fn a_client_certificate_is_shown_to_the_hosts_of_the_list_alone(engine: Engine) {
    let made = rcgen::generate_simple_self_signed(["client.test".to_owned()]).expect("one");
    let (server, pem, shown_to_b) = asking(made.cert.der());
    let mut given = reached(&server, pem);
    let without = Bench::new(engine, given.clone());
    { without }.fails("https://a.test/", FailureKind::Status, Severity::Permanent);
    given.login.identity = Some(Identity {
        certificates: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    });
    let mut bench = Bench::new(engine, given);
    assert_eq!(bench.body("https://a.test/"), "known");
    assert_eq!(bench.body("https://a.test/away"), "stranger");
    assert!(!shown_to_b.load(Ordering::SeqCst));
    assert_eq!(bench.body("https://b.test/"), "stranger");
    assert!(
        shown_to_b.load(Ordering::SeqCst),
        "b.test is of the list now"
    );
}

crate::on_every_engine![
    a_digest_is_answered_once_and_then_sent_along_with_a_count,
    a_password_is_not_sent_where_only_a_digest_may_prove_it,
    a_nonce_that_is_stale_is_replaced_and_a_wrong_password_fails,
    a_login_host_gets_its_own_credentials_and_nobody_else_does,
    what_is_for_the_list_stays_with_it,
    a_url_with_a_name_alone_takes_the_password_that_is_known_for_it,
    known_cookies_go_to_their_hosts_and_paths_alone,
    a_client_certificate_is_shown_to_the_hosts_of_the_list_alone,
    a_client_certificate_of_one_host_is_shown_to_that_host_alone,
];
