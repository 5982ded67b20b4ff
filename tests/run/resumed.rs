//! Bodies that continue where a killed worker or a killed run left them.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use rustix::process::Signal;

use crate::support::{Run, ranges, sha256};

const SIZE: usize = 3_000_000;

fn body() -> Vec<u8> {
    ranges::body(SIZE)
}

/// A server that supports ranges and sends a part of a body until it may send all of it.
struct Slow {
    addr: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    /// The first byte of each requested range, in order; 0 for the whole body.
    asked: Vec<usize>,
    open: bool,
}

impl Slow {
    fn start() -> Self {
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let served = Arc::clone(&shared);
        Self {
            addr: ranges::accept(move |stream| serve(stream, &served)),
            shared,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/large.bin", self.addr)
    }

    fn asked(&self) -> Vec<usize> {
        self.shared.0.lock().unwrap().asked.clone()
    }

    /// Makes it send whole bodies from now on.
    fn open(&self) {
        self.shared.0.lock().unwrap().open = true;
        self.shared.1.notify_all();
    }
}

fn serve(mut stream: TcpStream, shared: &(Mutex<State>, Condvar)) {
    let Some(head) = ranges::read_head(&mut stream) else {
        return;
    };
    let (first, end) = ranges::range(&head, SIZE);
    let (state, opened) = shared;
    state.lock().unwrap().asked.push(first);
    let head = ranges::head((first, end), SIZE);
    let body = &body()[first..];
    let part = body.len().min(1_000_000);
    let sent = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body[..part]));
    if sent.is_ok() {
        let held = state.lock().unwrap();
        drop(opened.wait_while(held, |state| !state.open).unwrap());
        let _ = stream.write_all(&body[part..]);
    }
}

/// Returns the size of the partial body, or 0 without a note.
fn noted(run: &Run) -> u64 {
    let partials = run.log().partials();
    let Some(note) = partials.iter().find(|name| name.ends_with("~note")) else {
        return 0;
    };
    let body = note.trim_end_matches("~note");
    let path = run.path("downloads/.coordinator/partial").join(body);
    path.metadata().map_or(0, |metadata| metadata.len())
}

#[test]
fn a_killed_worker_costs_no_bytes_that_were_on_disk() {
    for options in ["--engine blocking", "--engine async", "--fsync"] {
        let server = Slow::start();
        let run = Run::new()
            .list([server.url()])
            .with(&format!("--workers 1 {options}"));
        let job = run.start();
        job.wait_until("bytes on disk", || noted(&run) >= 900_000);
        job.worker(0, 1).signal(Signal::KILL);
        job.wait_until("the second request", || server.asked().len() == 2);
        server.open();
        job.finish().code(0);
        let record = run.log().one(&server.url());
        run.log().check(&record, &sha256(&body()));
        assert_eq!(server.asked()[0], 0);
        assert!(server.asked()[1] >= 900_000, "{:?}", server.asked());
        assert_eq!(run.log().partials(), [""; 0]);
    }
}

#[test]
fn a_killed_run_is_gone_on_with_by_the_next() {
    for mode in ["processes", "threads", "async"] {
        let server = Slow::start();
        let run = Run::new()
            .list([server.url()])
            .with(&format!("--workers 1 --mode {mode}"));
        for round in 1..=2 {
            let job = run.start();
            let wanted = round * 900_000;
            job.wait_until("bytes on disk", || noted(&run) >= wanted);
            job.kill();
            job.wait_until_alone();
            assert_eq!(run.log().files(), [""; 0]);
        }
        server.open();
        run.finish().code(0);
        let record = run.log().one(&server.url());
        run.log().check(&record, &sha256(&body()));
        let asked = server.asked();
        assert_eq!((asked.len(), asked[0]), (3, 0), "{mode}");
        assert!(
            asked[1] >= 900_000 && asked[2] >= 1_800_000,
            "{mode}: {asked:?}"
        );
        assert_eq!(run.log().partials(), [""; 0]);
    }
}

#[test]
fn a_confined_worker_finds_the_certificates_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let bundle = folder.path().join("bundle.pem");
    std::fs::write(&bundle, made.cert.pem()).unwrap();
    let server = crate::support::Server::start();
    let run = Run::new()
        .list([server.url("/a")])
        .with("--workers 1 --ca-native")
        .env("SSL_CERT_FILE", &bundle);
    run.finish().code(0);
    std::fs::remove_file(&bundle).unwrap();
    let run = Run::new()
        .list([server.url("/a")])
        .with("--workers 1 --ca-native")
        .env("SSL_CERT_FILE", &bundle)
        .env("SSL_CERT_DIR", folder.path());
    let ended = run.finish().code(4);
    assert!(ended.text().contains("certificate"), "{}", ended.text());
}

#[test]
fn credentials_of_a_url_are_nowhere_on_disk_and_in_no_message() {
    let server =
        crate::support::Server::start().answer("/gone", [crate::support::Answer::Status(404)]);
    let url = |path: &str| format!("http://me:seCret7@{}{path}", server.addr);
    let run = Run::new()
        .list([url("/a"), url("/gone")])
        .with("--workers 1 -vv");
    let ended = run.finish().code(1);
    assert!(!ended.text().contains("seCret7"), "{}", ended.text());
    let log = std::fs::read_to_string(run.path("downloads/.coordinator/results.jsonl")).unwrap();
    assert!(!log.contains("seCret7") && !log.contains('@'), "{log}");
    assert_eq!(run.log().files().len(), 1);
    assert!(!run.log().files()[0].contains("seCret7"));
    let head = server.head("/a");
    let sent = head
        .lines()
        .any(|line| line.ends_with(": Basic bWU6c2VDcmV0Nw=="));
    assert!(sent, "{head}");
    // The file counts as stored even if the list omits the credentials.
    let plain = run.list([server.url("/a")]).finish().code(0);
    assert_eq!(plain.summary("stored"), 0, "{}", plain.text());
}

/// A run that was killed with half of a body on disk, and its folder for partial bodies.
fn killed_halfway(server: &Slow) -> (Run, PathBuf) {
    let run = Run::new().list([server.url()]).with("--workers 1");
    let job = run.start();
    job.wait_until("bytes on disk", || noted(&run) >= 900_000);
    job.kill();
    job.wait_until_alone();
    server.open();
    let partial = run.path("downloads/.coordinator/partial");
    (run, partial)
}

#[test]
fn partial_bodies_that_others_could_have_put_there_are_not_gone_on_with() {
    // The modes of `.coordinator` and of `partial` in it.
    for (own, partial, trusted) in [
        (0o755, 0o755, true),
        (0o777, 0o755, false),
        (0o755, 0o1777, false),
        (0o775, 0o755, false),
    ] {
        let server = Slow::start();
        let (run, folder) = killed_halfway(&server);
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&folder, partial);
        set(folder.parent().unwrap(), own);
        let ended = run.finish().code(0);
        let asked = server.asked();
        assert_eq!(asked[1] > 0, trusted, "{own:o} {partial:o} {asked:?}");
        if !trusted {
            ended.says(&["2 files of unfinished downloads", "not trusted"]);
        }
        run.log()
            .check(&run.log().one(&server.url()), &sha256(&body()));
        for path in [&*folder, folder.parent().unwrap()] {
            assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o700);
        }
    }
}

#[test]
fn a_partial_body_with_another_name_is_not_written_to() {
    let server = Slow::start();
    let (run, folder) = killed_halfway(&server);
    let partials = run.log().partials();
    let body = partials.iter().find(|name| !name.ends_with("~note"));
    let victim = run.path("victim");
    fs::hard_link(folder.join(body.unwrap()), &victim).unwrap();
    let before = fs::read(&victim).unwrap();
    run.finish().code(0);
    assert_eq!(server.asked()[1], 0, "it is not gone on with");
    assert!(fs::read(&victim).unwrap() == before, "it is as it was");
}
