//! Runs that are watched (`--listen`) by programs, by people with a browser, and by malicious
//! clients.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::browser::{Browser, chromium};
use crate::support::run::urls;
use crate::support::{Answer, Job, Run, Server};

/// The text before the address of the page.
const PLACE: &str = "the run can be watched at ";

/// A run with a download that waits for the test.
struct Held {
    server: Server,
    _run: Run,
    job: Job,
    /// `http://ADDRESS/`.
    page: String,
}

fn held(arguments: &str) -> Held {
    let server = Server::start()
        .answer("/held?key=secret", [Answer::HeldHalfway])
        .answer("/gone", [Answer::Status(404)]);
    let run = Run::new()
        .list([
            server.url("/a"),
            server.url("/gone"),
            server.url("/held?key=secret"),
        ])
        .with("--workers 2 --listen 0")
        .with(arguments);
    let job = run.start();
    let line = job.wait_for_line(PLACE);
    let page = line.split_once(PLACE).unwrap().1.to_owned();
    server.wait_for("/held?key=secret", 1);
    Held {
        server,
        _run: run,
        job,
        page,
    }
}

impl Held {
    fn address(&self) -> &str {
        let rest = self.page.strip_prefix("http://").unwrap();
        rest.split_once('/').unwrap().0
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).unwrap()
    }

    fn get(&self, path: &str) -> Response {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address());
        Response::to(self.connect(), &head)
    }

    /// Returns `/status` as soon as `holds` accepts it.
    fn status(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.job.wait_for(what, || {
            let status = serde_json::from_str(&self.get("/status").body).unwrap();
            holds(&status).then_some(status)
        })
    }

    fn release(&self) {
        self.server.release_all();
    }
}

struct Response {
    code: u16,
    head: String,
    body: String,
}

impl Response {
    /// Sends a request and reads until the end of the connection.
    fn to(mut stream: impl Read + Write, head: &str) -> Self {
        // A server that refuses the request may have closed the connection.
        let _ = stream.write_all(head.as_bytes());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self {
            code: code.unwrap_or_default(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }
}

#[test]
fn whoever_follows_a_run_is_told_how_it_is_and_at_last_its_exit_code() {
    let held = held("");
    let status = held.status("a download that runs", |status| status["running"] == 1);
    assert_eq!((&status["v"], &status["urls"]), (&1.into(), &3.into()));
    assert_eq!(status["failed_by_kind"]["status"], 1);
    assert_eq!(status["oldest"][0]["path"], "/held");
    assert_eq!(held.get("/healthz").body, "ok\n");
    let mut events = held.connect();
    let head = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", held.address());
    events.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(events).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "event: state"));
    held.release();
    assert!(lines.any(|line| line == "event: over"));
    let rest: Vec<String> = lines.collect();
    let said = |text| rest.iter().any(|line| line.contains(text));
    assert!(said("3 of 3 files") && said("with exit code 1"), "{rest:?}");
    held.job.finish().code(1);
}

#[test]
fn metrics_are_in_the_format_that_prometheus_reads() {
    let held = held("");
    held.status("a failure and a download", |status| {
        status["failed"] == 1 && status["running"] == 1
    });
    let response = held.get("/metrics");
    assert!(
        response.head.contains("text/plain; version=0.0.4"),
        "{}",
        response.head
    );
    let text = response.body;
    let samples = samples(&text);
    assert_eq!(samples["coordinator_urls_total{outcome=\"failed\"}"], 1.0);
    assert_eq!(samples["coordinator_failures_total{kind=\"status\"}"], 1.0);
    assert_eq!(
        samples["coordinator_running_downloads{domain=\"127.0.0.1\"}"],
        1.0
    );
    assert_eq!(samples["coordinator_workers"], 2.0);
    assert!(samples["coordinator_resident_memory_bytes{process=\"coordinator\"}"] > 1e6);
    let count = "coordinator_phase_duration_seconds_count{phase=\"first_byte\"}";
    assert!(samples[count] >= 1.0, "{text}");
    ask_promtool(&text);
    held.release();
    held.job.finish().code(1);
}

/// Returns every sample by name and labels. Checks that the type of each family precedes its
/// samples, that samples are unique, that histogram buckets grow, and that counters end in
/// `_total`.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let (mut types, mut helped) = (BTreeMap::new(), HashSet::new());
    let mut samples = BTreeMap::new();
    let mut before: Option<(String, f64)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(helped.insert(name) && !help.is_empty(), "{line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helped.contains(name), "{line}");
            assert!(types.insert(name, kind).is_none(), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let name = sample.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part))
            .filter(|family| types.get(family) == Some(&"histogram"))
            .unwrap_or(name);
        assert!(types.contains_key(family), "{line}");
        if let Some((labels, _)) = sample.split_once("le=") {
            if let Some((_, least)) = before.filter(|(same, _)| same == labels) {
                assert!(least <= value, "{line}");
            }
            before = Some((labels.to_owned(), value));
        }
        assert!(samples.insert(sample.to_owned(), value).is_none(), "{line}");
    }
    assert!(!samples.is_empty());
    samples
}

/// Checks the text with Prometheus' own checker, if it is installed.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn ask_promtool(text: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut checker) = started else {
        eprintln!("skipped: there is no promtool to check the metrics with");
        return;
    };
    checker
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let checked = checker.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "{said}");
}

#[test]
fn no_secret_of_a_url_is_shown() {
    let held = held("");
    held.status("the download", |status| status["running"] == 1);
    for path in ["/", "/status", "/metrics"] {
        let response = held.get(path);
        assert_eq!(response.code, 200, "{path}");
        assert!(
            !response.body.contains("secret"),
            "{path}: {}",
            response.body
        );
    }
    held.release();
    held.job.finish().code(1);
}

#[test]
fn what_is_not_meant_for_the_run_is_refused() {
    let held = held("");
    let host = held.address();
    for (code, head) in [
        // The name of another site that resolves to this address.
        (
            421,
            "GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
        ),
        (421, "GET /status HTTP/1.0\r\n\r\n".to_owned()),
        (
            405,
            format!("POST /status HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"),
        ),
        (
            404,
            format!("GET /urls.txt HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ),
        (
            431,
            format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n",
                "x".repeat(64 << 10)
            ),
        ),
        (400, "nonsense\r\n\r\n".to_owned()),
    ] {
        let response = Response::to(held.connect(), &head);
        assert_eq!(response.code, code, "{}{}", response.head, response.body);
    }
    assert_eq!(held.get("/healthz").code, 200);
    held.release();
    held.job.finish().code(1);
}

#[test]
fn clients_that_say_or_read_nothing_hold_up_neither_the_run_nor_others_for_long() {
    let held = held("");
    let silent: Vec<TcpStream> = (0..64).map(|_| held.connect()).collect();
    // They use every place until they time out.
    held.job.wait_until("an answer all the same", || {
        held.get("/healthz").code == 200
    });
    drop(silent);
    // These clients do not read the events that they follow.
    let deaf = (0..24).map(|_| {
        let mut stream = held.connect();
        let head = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", held.address());
        stream.write_all(head.as_bytes()).unwrap();
        stream
    });
    let deaf: Vec<TcpStream> = deaf.collect();
    held.job.wait_until("an answer all the same", || {
        held.get("/healthz").code == 200
    });
    held.release();
    held.job.finish().code(1);
    drop(deaf);
}

#[test]
fn a_port_that_is_taken_ends_a_run_before_it_begins() {
    let held = held("");
    let second = Run::new().list(["http://127.0.0.1:9/"]).with("--listen");
    let ended = second.finish_with([held.address().into()]).code(3);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    ended.says(&["cannot listen on", held.address(), "(--listen)", "port 0"]);
    assert!(!second.path("downloads").exists());
    let ended = second.finish_with(["x:y".into()]);
    ended.code(2).says(&["expected a port (9000)"]);
    held.release();
    held.job.finish().code(1);
}

#[test]
fn a_socket_file_is_for_its_owner_alone_and_goes_with_the_run() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new()
        .list([server.url("/held")])
        .with("--listen unix:watch.sock");
    let path = run.path("watch.sock");
    // Left by a run that was killed.
    drop(UnixListener::bind(&path).unwrap());
    let job = run.start();
    server.wait_for("/held", 1);
    let mode = path.symlink_metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let stream = UnixStream::connect(&path).unwrap();
    let response = Response::to(stream, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((response.code, response.body.as_str()), (200, "ok\n"));
    let second = Run::new().list(["http://127.0.0.1:9/"]);
    let listen = format!("unix:{}", path.display());
    let ended = second.finish_with(["--listen".into(), listen.into()]);
    ended.code(3).says(&["cannot listen on unix:"]);
    server.release("/held");
    job.finish().code(0);
    assert!(path.symlink_metadata().is_err());
    // A file that is not a socket is not replaced.
    std::fs::write(&path, "a file").unwrap();
    run.finish().code(3).says(&["there is a file of that name"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
}

#[test]
fn a_token_stands_before_every_path() {
    let held = held("--listen-token token");
    let path = held._run.path("token");
    let token = std::fs::read_to_string(&path).unwrap();
    let token = token.trim();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(held.page.ends_with(&format!("/{token}/")), "{}", held.page);
    assert_eq!(held.get(&format!("/{token}/healthz")).code, 200);
    for path in ["/", "/status", "/healthz", "/x/status"] {
        assert_eq!(held.get(path).code, 404, "{path}");
    }
    let wrong = token.replace(|c: char| c.is_ascii_digit(), "x");
    assert_eq!(held.get(&format!("/{wrong}/status")).code, 404);
    held.release();
    held.job.finish().code(1);
}

#[test]
fn the_page_follows_the_run_on_every_screen_and_keeps_its_last_state() {
    let Some(program) = chromium() else { return };
    let count = 2000;
    let run = Run::new()
        .list(urls("http://h.example/a/long/way/to/a/file", count))
        .with("--simulate=size=8KiB,latency=80ms,errors=4% --retry 0 --parallel-max-host 0 --workers 8 --concurrency 4 --listen 0");
    let job = run.start();
    let line = job.wait_for_line(PLACE);
    let mut browser = Browser::start(program);
    browser.screen(1280, "light");
    browser.open(line.split_once(PLACE).unwrap().1);
    let heading = "document.querySelector('h1').textContent";
    let first = browser.evaluate(heading);
    // The page follows the run without a reload.
    browser.evaluate("window.mark = 1");
    let changed =
        format!("{heading} !== {first} && document.querySelectorAll('polyline').length === 2");
    browser.wait_for(&changed);
    for width in [320, 400, 768, 1280] {
        for scheme in ["light", "dark"] {
            browser.screen(width, scheme);
            browser.settle();
            browser.keep(&format!("live-{width}-{scheme}"));
            let wide = browser.number("document.documentElement.scrollWidth");
            assert!(
                wide <= f64::from(width),
                "{wide} pixels on a screen of {width}"
            );
        }
    }
    assert_eq!(browser.count(".worker"), 8);
    assert!(browser.count(".downloads li") > 0);
    browser.wait_for("document.querySelector('.over')");
    job.finish().code(1);
    let last = browser.evaluate(heading);
    assert_eq!(last, "2,000 of 2,000 files");
    assert_eq!(browser.evaluate("window.mark"), 1);
    assert!(browser.evaluate("document.getElementById('link').hidden") == true);
    browser.keep("live-over");
    let problems = browser.events(&["Runtime.exceptionThrown", "Log.entryAdded"]);
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn the_page_says_so_when_the_run_is_gone_and_keeps_what_it_showed() {
    let Some(program) = chromium() else { return };
    let held = held("");
    held.status("the download", |status| status["running"] == 1);
    let mut browser = Browser::start(program);
    browser.screen(400, "dark");
    browser.open(&held.page);
    let heading = browser.evaluate("document.querySelector('h1').textContent");
    held.job.kill();
    browser.wait_for("!document.getElementById('link').hidden");
    let said = browser.evaluate("document.getElementById('link').textContent");
    assert!(said.as_str().unwrap().contains("does not answer"), "{said}");
    assert_eq!(
        browser.evaluate("document.querySelector('h1').textContent"),
        heading
    );
    browser.keep("live-gone");
}
