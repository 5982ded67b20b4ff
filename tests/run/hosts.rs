//! A thousand hosts, one of which never answers. It does not delay the others.
//!
//! Every address of 127.0.0.0/8 belongs to this machine, and is a separate host.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::support::server::body;
use crate::support::{Answer, Job, Run, Server, sha256};

/// Time limits that the test never reaches, so that only the order of hosts matters.
const PATIENT: &str = "--speed-time 600s --connect-timeout 600s";

/// Returns the address of host number `n`, counted from 0.
fn host(n: usize) -> Ipv4Addr {
    let n = u32::try_from(n).unwrap() + 1;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + n)
}

/// Starts one server on all addresses. It does not answer `/silent/0` and so on until they are
/// released.
fn everywhere(silent: usize) -> Server {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    (0..silent).fold(Server::on(listener), |server, n| {
        server.answer(&format!("/silent/{n}"), [Answer::Held])
    })
}

/// Returns `each` URLs at each of `hosts`, host by host.
fn of_hosts(hosts: std::ops::Range<usize>, port: u16, each: usize) -> Vec<String> {
    hosts
        .flat_map(|n| (0..each).map(move |k| format!("http://{}:{port}/{n}/{k}", host(n))))
        .collect()
}

fn of_the_silent_host(count: usize, port: u16) -> Vec<String> {
    (0..count)
        .map(|n| format!("http://{}:{port}/silent/{n}", host(0)))
        .collect()
}

/// Waits until all of `urls` are stored, and checks that nothing else is recorded.
fn wait_until_stored(run: &Run, job: &Job, urls: &[String]) {
    let expected: BTreeSet<&str> = urls.iter().map(String::as_str).collect();
    job.wait_until("the other hosts' URLs to be recorded", || {
        run.log().records().len() >= expected.len()
    });
    let records = run.log().records();
    let stored: BTreeSet<&str> = records
        .iter()
        .filter(|record| record.outcome == "stored")
        .map(|record| record.url.as_str())
        .collect();
    assert!(stored == expected, "{}", job.seen());
    for record in records.iter().step_by(97) {
        let url = url::Url::parse(&record.url).unwrap();
        run.log().check(record, &sha256(&body(url.path())));
    }
}

/// Returns how many of the silent host's URLs were requested.
fn asked(server: &Server, count: usize) -> usize {
    let paths = (0..count).map(|n| format!("/silent/{n}"));
    paths.map(|path| server.requests(&path)).sum()
}

#[test]
fn of_a_thousand_hosts_all_but_the_silent_one_are_done_while_it_is_waited_for() {
    let server = everywhere(1);
    let port = server.addr.port();
    let silent = of_the_silent_host(1, port);
    let others = of_hosts(1..1000, port, 1);
    let run = Run::new().list(silent.iter().chain(&others)).with(PATIENT);
    let job = run.start();
    wait_until_stored(&run, &job, &others);
    assert_eq!(asked(&server, 1), 1, "{}", job.seen());
    server.release_all();
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("stored"), 1000, "{}", ended.text());
}

/// As in a sorted list, the silent host's URLs come first. They are far more than there are
/// workers, and more than the run reads at a time.
#[test]
fn a_silent_host_with_more_urls_than_workers_leaves_the_others_half_of_them() {
    const SILENT: usize = 1500;
    for mode in [
        "--mode processes --workers 6",
        "--mode processes --workers 2 --concurrency 3",
        "--mode threads --workers 6",
        "--mode async --concurrency 6",
    ] {
        let server = everywhere(SILENT);
        let port = server.addr.port();
        let silent = of_the_silent_host(SILENT, port);
        let others = of_hosts(1..200, port, 3);
        let mut run = Run::new().with(PATIENT).with(mode).with("-");
        run = run.with("--parallel-max-host 6 --grace 1ms");
        let mut job = run.start_fed();
        let list: Vec<_> = silent.iter().chain(&others).cloned().collect();
        job.feed(&(list.join("\n") + "\n"));
        wait_until_stored(&run, &job, &others);
        assert_eq!(asked(&server, SILENT), 3, "{mode}: {}", job.seen());
        // URLs that arrive while only the silent host's are waiting are downloaded as well.
        let late = of_hosts(200..203, port, 3);
        job.feed(&(late.join("\n") + "\n"));
        let mut all = others;
        all.extend(late);
        wait_until_stored(&run, &job, &all);
        assert_eq!(asked(&server, SILENT), 3, "{mode}: {}", job.seen());
        // Once it answers, it gets its turns like all others until the list is finished.
        server.release_all();
        let ended = job.finish().code(0);
        let stored = (SILENT + all.len()) as u64;
        assert_eq!(ended.summary("stored"), stored, "{mode}: {}", ended.text());
    }
}

#[test]
fn a_silent_host_that_is_alone_gets_its_cap_and_no_more() {
    let server = everywhere(20);
    let port = server.addr.port();
    let silent = of_the_silent_host(20, port);
    let others = of_hosts(1..50, port, 2);
    let run = Run::new()
        .list(others.iter().chain(&silent))
        .with(PATIENT)
        .with("--workers 6 --parallel-max-host 4");
    let job = run.start();
    wait_until_stored(&run, &job, &others);
    job.wait_until("the silent host to be asked as often as it may", || {
        asked(&server, 20) >= 4
    });
    assert_eq!(asked(&server, 20), 4, "{}", job.seen());
    server.release_all();
    job.finish().code(0);
}

/// An address that neither accepts nor refuses connections: its queue is full.
struct Deaf {
    listener: TcpListener,
    _queued: Vec<rustix::fd::OwnedFd>,
}

impl Deaf {
    fn new(address: Ipv4Addr) -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from((address, 0))).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let addr = listener.local_addr().unwrap();
        // The kernel accepts one more than the length of the queue. The others wait.
        let queued = (0..8).map(|_| {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket =
                rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
                    .unwrap();
            match rustix::net::connect(&socket, &addr) {
                Ok(()) | Err(rustix::io::Errno::INPROGRESS) => socket,
                Err(error) => panic!("the queue cannot be filled: {error}"),
            }
        });
        Self {
            _queued: queued.collect(),
            listener,
        }
    }
}

#[test]
fn a_host_that_takes_no_connection_holds_up_nobody() {
    let deaf = Deaf::new(host(0));
    let server = everywhere(0);
    let port = server.addr.port();
    let at_deaf = deaf.listener.local_addr().unwrap().port();
    let silent = of_the_silent_host(100, at_deaf);
    let others = of_hosts(1..1000, port, 1);
    for mode in ["--mode processes", "--mode async --concurrency 6"] {
        let run = Run::new()
            .list(silent.iter().chain(&others))
            .with(PATIENT)
            .with(mode);
        let job = run.start();
        wait_until_stored(&run, &job, &others);
        job.signal(rustix::process::Signal::INT);
        job.wait_for_line("finishing ");
        job.signal(rustix::process::Signal::INT);
        job.finish().code(130);
    }
}
