//! The open descriptors of workers, from the first to the last.

use rustix::process::Signal;

use crate::support::{Answer, Job, Process, Run, Server};

/// Returns the kinds of the descriptors above 2: `socket`, `/dev/null`, a path.
fn kinds(process: &Process) -> Vec<String> {
    let mut kinds: Vec<_> = process
        .descriptors()
        .into_iter()
        .filter(|(number, _)| *number > 2)
        .map(|(_, target)| {
            // Each worker has its own folder.
            let target = target.split("/partial/").next().unwrap_or_default();
            target.split(":[").next().unwrap_or_default().to_owned()
        })
        .collect();
    kinds.sort();
    kinds
}

/// Returns the inodes of its sockets.
fn sockets(process: &Process) -> Vec<String> {
    let mut all: Vec<_> = process
        .descriptors()
        .into_iter()
        .filter(|(_, target)| target.starts_with("socket:"))
        .map(|(_, target)| target)
        .collect();
    all.sort();
    all
}

/// Waits until there are `count` workers, and returns them.
fn workers(job: &Job, count: usize) -> Vec<Process> {
    job.wait_for("the workers", || {
        let workers = job.workers();
        (workers.len() == count).then_some(workers)
    })
}

#[test]
fn a_late_worker_has_no_more_open_than_the_first() {
    let paths = ["/0", "/1", "/2", "/3"];
    let mut server = Server::start();
    for path in paths {
        server = server.answer(path, [Answer::Held]);
    }
    let run = Run::new()
        .list(paths.map(|path| server.url(path)))
        .with("--workers 4 --max-deliveries 20");
    let job = run.start();
    for path in paths {
        server.wait_for(path, 1);
    }
    let first = workers(&job, 4);
    let expected = kinds(&first[0]);
    // Two channels and the connection to the server. The other two are folders of the store.
    let sockets_of_it = expected.iter().filter(|kind| *kind == "socket").count();
    assert_eq!(sockets_of_it, 3, "{:#?}", first[0].descriptors());
    for worker in &first {
        assert_eq!(kinds(worker), expected, "{:#?}", worker.descriptors());
    }
    // A later worker could inherit descriptors of all earlier ones.
    for (round, victim) in first.iter().enumerate() {
        let total = server.total();
        victim.signal(Signal::KILL);
        job.wait_until("the request to be made again", || server.total() > total);
        let now = workers(&job, 4);
        assert!(!now.contains(victim), "round {round}");
    }
    let last = workers(&job, 4);
    for worker in &last {
        assert!(!first.contains(worker));
        assert_eq!(kinds(worker), expected, "{:#?}", worker.descriptors());
    }
    // No two workers share a socket, and none shares one with the coordinator.
    let mut seen = sockets(&job.process());
    for worker in &last {
        for socket in sockets(worker) {
            assert!(!seen.contains(&socket), "{socket} is shared: {last:#?}");
            seen.push(socket);
        }
    }
    server.release_all();
    job.finish().code(0);
}

#[test]
fn the_memory_for_the_rate_is_a_workers_standard_output_and_nothing_more() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = |arguments: &str| {
        let run = Run::new().list([server.url("/held")]);
        run.with("--workers 1").with(arguments)
    };
    let (unlimited, limited) = (run(""), run("--limit-rate 1G"));
    let (without, with) = (unlimited.start(), limited.start());
    server.wait_for("/held", 2);
    let (plain, worker) = (without.worker(0, 1), with.worker(0, 1));
    let seen = worker.descriptors();
    assert_eq!(seen.len(), plain.descriptors().len(), "{seen:#?}");
    assert_eq!(target(&plain, 1), "/dev/null");
    let stdout = target(&worker, 1);
    assert!(stdout.starts_with("/memfd:limit-rate"), "{stdout}");
    let folder = std::fs::read_dir(limited.path("downloads/.coordinator")).unwrap();
    let names: Vec<_> = folder.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_string_lossy().contains("rate")),
        "{names:?}"
    );
    server.release("/held");
    without.finish().code(0);
    with.finish().code(0);
}

/// Returns what descriptor `number` of a process refers to.
fn target(process: &Process, number: u32) -> String {
    let all = process.descriptors();
    let found = all.into_iter().find(|(open, _)| *open == number);
    found.unwrap().1
}

#[test]
fn each_worker_has_a_page_of_its_own_at_standard_input() {
    let paths = ["/0", "/1"];
    let mut server = Server::start();
    for path in paths {
        server = server.answer(path, [Answer::Held]);
    }
    let run = Run::new()
        .list(paths.map(|path| server.url(path)))
        .with("--workers 2");
    let job = run.start();
    for path in paths {
        server.wait_for(path, 1);
    }
    let inodes: Vec<_> = workers(&job, 2)
        .iter()
        .map(|worker| {
            let page = target(worker, 0);
            assert!(page.starts_with("/memfd:page"), "{page}");
            let of_it = std::fs::metadata(format!("/proc/{}/fd/0", worker.pid)).unwrap();
            std::os::unix::fs::MetadataExt::ino(&of_it)
        })
        .collect();
    assert_ne!(inodes[0], inodes[1]);
    server.release_all();
    job.finish().code(0);
}

#[test]
fn a_worker_does_not_inherit_what_the_coordinator_inherited() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new()
        .list([server.url("/held")])
        .with("--workers 1")
        .through(["sh", "-c", "exec 7</etc/passwd; exec \"$0\" \"$@\""]);
    let job = run.start();
    server.wait_for("/held", 1);
    let open = |process: &Process| {
        let all = process.descriptors();
        all.iter().any(|(_, target)| target == "/etc/passwd")
    };
    assert!(open(&job.process()), "the coordinator has it open");
    assert!(!open(&job.worker(0, 1)));
    server.release("/held");
    job.finish().code(0);
}

#[test]
fn the_coordinator_keeps_nothing_of_dead_workers() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new()
        .list([server.url("/held")])
        .with("--workers 1 --max-deliveries 50");
    let job = run.start();
    server.wait_for("/held", 1);
    let count = |job: &Job| {
        let mut open = job.process().descriptors();
        open.retain(|(_, target)| !target.contains("/partial/"));
        open.len()
    };
    let before = count(&job);
    for epoch in 1..=8 {
        job.worker(0, epoch).signal(Signal::KILL);
        server.wait_for("/held", 1 + epoch as usize);
    }
    assert_eq!(count(&job), before, "{:#?}", job.process().descriptors());
    let mut folders = job.process().descriptors();
    folders.retain(|(_, target)| target.contains("/partial/"));
    assert!(
        folders.len() <= 1,
        "that of the worker that lives: {folders:#?}"
    );
    let threads = std::fs::read_dir(format!("/proc/{}/task", job.pid())).unwrap();
    assert!(threads.count() < 10, "the threads of dead workers end");
    server.release("/held");
    job.finish().code(0);
}
