//! Ten thousand files from a real server: nginx-light of Debian, if installed. CI installs it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{self, Run, sha256};

const FILES: usize = 10_000;
const SIZE: usize = 10 * 1024;

/// A running nginx and its files.
struct Nginx {
    child: Child,
    base: String,
    folder: TempDir,
}

impl Nginx {
    /// Starts nginx, if installed.
    fn start() -> Option<Self> {
        Self::configured("", "")
    }

    /// Starts nginx with additions to its `http` block and its `server` block.
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn configured(http: &str, server: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .map(|folder| folder.join("nginx"))
            .find(|program| program.is_file());
        let Some(program) = found else {
            assert!(std::env::var_os("CI").is_none(), "CI must install nginx");
            eprintln!("skipped: there is no nginx on the PATH (Debian keeps it in /usr/sbin)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        // nginx cannot choose a free port, so pick one, and another if it was taken in between.
        for _ in 0..20 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let port = listener.local_addr().expect("bound").port();
            drop(listener);
            if let Some(child) = serve(&program, folder.path(), port, (http, server)) {
                return Some(Self {
                    child,
                    base: format!("http://127.0.0.1:{port}"),
                    folder,
                });
            }
        }
        panic!("nginx does not start: {}", error_log(folder.path()));
    }

    /// Creates the files. Returns their URLs, each with the hash of its file.
    fn fill(&self) -> HashMap<String, String> {
        self.fill_with(FILES)
    }

    fn fill_with(&self, files: usize) -> HashMap<String, String> {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut bytes = vec![0; SIZE];
        (0..files)
            .map(|n| {
                rng.fill(&mut bytes);
                let name = format!("{n:05}.bin");
                std::fs::write(self.folder.path().join("www").join(&name), &bytes)
                    .expect("written");
                (format!("{}/{name}", self.base), sha256(&bytes))
            })
            .collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts nginx in one process. Returns nothing if it exited.
fn serve(program: &Path, folder: &Path, port: u16, (http, server): (&str, &str)) -> Option<Child> {
    std::fs::create_dir_all(folder.join("www")).expect("a folder");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {}/tmp; ", folder.display()))
        .collect();
    let config = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
         events {{ worker_connections 512; }}
         http {{ access_log off; keepalive_requests 100000; {temporary} {http}
                 server {{ listen 127.0.0.1:{port}; root {dir}/www; {server} }} }}",
        dir = folder.display()
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config).expect("written");
    let mut child = Command::new(program)
        .arg("-p")
        .arg(folder)
        .arg("-e")
        .arg(folder.join("error.log"))
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx starts");
    let mut left = false;
    support::wait_until(
        "nginx to accept connections, or to leave",
        || {
            left = child.try_wait().expect("it can be asked").is_some();
            left || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        },
        || error_log(folder),
    );
    (!left).then_some(child)
}

fn error_log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("error.log")).unwrap_or_default()
}

/// Checks that every file is stored, correct, and recorded once.
fn check(run: &Run, expected: &HashMap<String, String>) {
    let log = run.log();
    let records = log.records();
    assert_eq!(records.len(), expected.len());
    for record in &records {
        log.check(record, &expected[&record.url]);
    }
    let urls: std::collections::HashSet<_> = records.iter().map(|record| &record.url).collect();
    assert_eq!(urls.len(), expected.len());
    assert_eq!(log.partials(), Vec::<String>::new());
}

#[test]
fn ten_thousand_files_of_nginx_are_stored_right_and_recorded_once() {
    let Some(nginx) = Nginx::start() else {
        return;
    };
    let expected = nginx.fill();
    let run = Run::new().list(expected.keys()).with("--workers 6");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), FILES as u64, "{}", ended.text());
    check(&run, &expected);
}

#[test]
fn ten_thousand_files_of_nginx_survive_workers_killed_all_the_time() {
    let Some(nginx) = Nginx::start() else {
        return;
    };
    let expected = nginx.fill();
    let run = Run::new().list(expected.keys()).with("--workers 6");
    let job = run.start();
    let log = run.log();
    let mut rng = fastrand::Rng::with_seed(2);
    // At the speed of a run, these are more than twenty kills a second.
    for killed in 1..=30 {
        job.wait_until("300 more files", || {
            log.text().lines().count() >= 300 * killed
        });
        let workers = job.workers();
        if let Some(worker) = rng.choice(&workers) {
            worker.signal(Signal::KILL);
        }
    }
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("stored"), FILES as u64, "{}", ended.text());
    assert!(ended.summary("worker deaths") >= 20, "{}", ended.text());
    check(&run, &expected);
}

#[test]
fn a_refresh_of_files_of_nginx_downloads_what_changed_and_nothing_else() {
    let Some(nginx) = Nginx::start() else {
        return;
    };
    let mut expected = nginx.fill();
    let mut urls: Vec<_> = expected.keys().cloned().collect();
    urls.sort();
    urls.truncate(300);
    let run = Run::new().list(&urls).with("--workers 3");
    run.finish().code(0);
    let place = |url: &str| {
        let name = url.rsplit('/').next().unwrap_or_default();
        nginx.folder.path().join("www").join(name)
    };
    // nginx makes ETags of the modification time in seconds and the size, so the size must change.
    for url in &urls[..7] {
        std::fs::write(place(url), url.as_bytes()).expect("written");
        expected.insert(url.clone(), sha256(url.as_bytes()));
    }
    std::fs::remove_file(place(&urls[7])).expect("it was there");
    let run = run.with("--refresh");
    let ended = run.finish().code(1);
    assert_eq!(ended.summary("stored"), 7, "{}", ended.text());
    assert_eq!(ended.summary("unchanged"), 292, "{}", ended.text());
    assert_eq!(ended.summary("failed"), 1, "{}", ended.text());
    let log = run.log();
    let second = &log.records()[300..];
    for record in second.iter().filter(|record| record.outcome != "failed") {
        let hash = &expected[&record.url];
        assert_eq!(record.sha256.as_ref(), Some(hash), "{record:#?}");
        assert_eq!(&sha256(&log.file(record)), hash, "{record:#?}");
        let current = record.outcome == "unchanged";
        assert_eq!(record.status, Some(if current { 304 } else { 200 }));
    }
    let lost = &log.of(&urls[7])[0];
    assert_eq!(
        &sha256(&log.file(lost)),
        &expected[&urls[7]],
        "what was stored stays"
    );
}

/// Downloads `files` files from an nginx with limits.
fn limited(files: usize, http: &str, server: &str) {
    let Some(nginx) = Nginx::configured(http, server) else {
        return;
    };
    let expected = nginx.fill_with(files);
    let run = Run::new().list(expected.keys()).with("--workers 6");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), files as u64, "{}", ended.text());
    check(&run, &expected);
    assert!(
        error_log(nginx.folder.path()).contains("limiting"),
        "it did limit something: {}",
        ended.text()
    );
}

#[test]
fn all_is_stored_that_nginx_limits_by_rate() {
    let zone = "limit_req_zone $host zone=z:1m rate=30r/s;";
    limited(90, zone, "limit_req zone=z;");
}

#[test]
fn all_is_stored_that_nginx_limits_by_rate_with_a_burst() {
    let zone = "limit_req_zone $host zone=z:1m rate=30r/s;";
    limited(90, zone, "limit_req zone=z burst=5 nodelay;");
}

#[test]
fn all_is_stored_that_nginx_limits_by_connections() {
    let zone = "limit_conn_zone $host zone=z:1m;";
    // The last part of each file has to wait for the next second.
    limited(12, zone, "limit_conn z 2; limit_rate 9k;");
}
