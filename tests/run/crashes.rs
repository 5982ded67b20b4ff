//! Workers that die or freeze during their work.

use rustix::process::Signal;

use crate::support::run::urls;
use crate::support::{Answer, Run, Server, server, sha256};

#[test]
fn the_task_of_a_killed_worker_is_redelivered() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let url = server.url("/held");
    let run = Run::new().list([&url]).with("--workers 2");
    let job = run.start();
    server.wait_for("/held", 1);
    let worker = job.worker(0, 1);
    worker.signal(Signal::KILL);
    let line = job.wait_for_line("died with signal 9 (SIGKILL)");
    assert!(line.contains(&format!("pid {}", worker.pid)), "{line}");
    assert!(line.contains(&url), "{line}");
    server.wait_for("/held", 2);
    server.release("/held");
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("redeliveries"), 1, "{}", ended.text());
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
    let record = run.log().one(&url);
    run.log().check(&record, &sha256(&server::body("/held")));
    assert_eq!((record.deliveries, record.attempts), (2, 1));
    assert_eq!(run.log().partials(), Vec::<String>::new(), "cleaned up");
}

#[test]
fn a_death_names_everything_that_ran_with_its_phase_and_bytes_and_counts_the_rest() {
    let server = Server::start()
        .answer("/half", [Answer::HeldHalfway])
        .answer("/held", [Answer::Held]);
    let (half, held) = (server.url("/half"), server.url("/held"));
    let mut list = vec![half.clone(), held.clone()];
    list.extend(urls(&server.url("/later"), 4));
    // There are four heartbeats in the duration of a lease.
    let run = Run::new()
        .list(&list)
        .with("--workers 1 --concurrency 2 --parallel-max-host 0 --lease-timeout 400ms");
    let job = run.start();
    server.wait_for("/half", 1);
    server.wait_for("/held", 1);
    let received = server::body("/half").len() as u64 / 2;
    job.wait_until("a heartbeat about both", || {
        job.signal(Signal::USR1);
        let said = job.stderr();
        said.contains(&format!("receiving, {received} B received")) && said.contains("requesting")
    });
    let worker = job.worker(0, 1);
    worker.signal(Signal::KILL);
    job.wait_for_line("died with signal 9 (SIGKILL)");
    let death = job.wait_for("its line", || run.log().deaths().pop());
    assert_eq!(death.worker.pid, worker.pid);
    assert_eq!((death.exit.signal, &death.killed), (Some(9), &None));
    assert_eq!(death.oom, Some(false), "somebody else did it");
    let running: Vec<_> = death
        .running
        .iter()
        .map(|task| (task.url.clone(), task.phase.as_deref(), task.bytes))
        .collect();
    let expected = [
        (half.clone(), Some("receiving"), Some(received)),
        (held.clone(), Some("requesting"), Some(0)),
    ];
    assert_eq!(running, expected);
    assert!((1..=4).contains(&death.queued), "{death:#?}");
    server.release_all();
    job.finish().code(0);
    for (url, phase) in [(half, "receiving"), (held, "requesting")] {
        let record = run.log().one(&url);
        assert_eq!(record.deaths.len(), 1, "{record:#?}");
        assert_eq!(record.deaths[0].worker.pid, worker.pid);
        assert_eq!(record.deaths[0].exit, "signal 9 (SIGKILL)");
        assert_eq!(record.deaths[0].phase.as_deref(), Some(phase));
    }
    assert_eq!(run.log().one(&list[2]).deaths.len(), 0, "it did not run");
}

#[test]
fn a_torn_line_is_cut_off_the_log_of_deaths() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new().list([server.url("/held")]).with("--workers 1");
    let die_once = |requests| {
        let job = run.start();
        server.wait_for("/held", requests);
        job.worker(0, 1).signal(Signal::KILL);
        server.wait_for("/held", requests + 1);
        job.signal(Signal::TERM);
        job.wait_for_line("finishing ");
        job.signal(Signal::TERM);
        job.finish().code(143);
    };
    die_once(1);
    let whole = std::fs::read(run.log().deaths_path()).unwrap();
    assert_eq!(run.log().deaths().len(), 1);
    let torn = [&whole[..], &whole[..whole.len() / 2]].concat();
    std::fs::write(run.log().deaths_path(), torn).unwrap();
    die_once(3);
    let now = std::fs::read(run.log().deaths_path()).unwrap();
    assert!(now.starts_with(&whole));
    assert_eq!(run.log().deaths().len(), 2);
}

#[test]
fn a_death_that_cannot_be_written_down_gives_the_run_up() {
    let server = Server::start().answer("/held", [Answer::Held]);
    // The limit for files is 1024 bytes, which the log of deaths has reached.
    let run = Run::new()
        .list([server.url("/held")])
        .with("--workers 1")
        .through(["sh", "-c", "ulimit -f 2; exec \"$0\" \"$@\""]);
    let path = run.log().deaths_path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "{}\n".repeat(400)).unwrap();
    let job = run.start();
    server.wait_for("/held", 1);
    job.worker(0, 1).signal(Signal::KILL);
    job.wait_for_line("the run gave up: cannot write to the log of deaths");
    let ended = job.finish().code(4);
    ended.says(&["deaths.jsonl", "run the same command again"]);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "{}\n".repeat(400));
}

#[test]
fn a_worker_killed_in_the_middle_of_a_body_leaves_no_half_file() {
    let server = Server::start().answer("/half", [Answer::HeldHalfway]);
    let url = server.url("/half");
    let run = Run::new().list([&url]).with("--workers 1");
    let job = run.start();
    server.wait_for("/half", 1);
    job.wait_until("a partial file", || run.log().partials().len() == 1);
    assert_eq!(run.log().files(), [""; 0]);
    job.worker(0, 1).signal(Signal::KILL);
    server.wait_for("/half", 2);
    assert_eq!(run.log().files(), [""; 0]);
    server.release("/half");
    job.finish().code(0);
    run.log()
        .check(&run.log().one(&url), &sha256(&server::body("/half")));
}

#[test]
fn workers_killed_again_and_again_cost_nothing_but_time() {
    let list = urls("https://a.example", 300);
    let run = Run::new()
        .list(&list)
        .with("--workers 3 --parallel-max-host 0")
        .with("--simulate=size=10KiB,latency=5ms");
    let job = run.start();
    let log = run.log();
    // Kills a worker whenever ten more files are stored.
    for killed in 1..=15_usize {
        job.wait_until("ten more files", || log.count("stored") >= 10 * killed);
        if let Some(worker) = job.workers().first() {
            worker.signal(Signal::KILL);
        }
    }
    let ended = job.finish().code(0);
    assert!(ended.summary("worker deaths") > 0, "{}", ended.text());
    for url in &list {
        let spec = "size=10KiB,latency=5ms";
        log.check(&log.one(url), &crate::support::simulated_sha256(spec, url));
    }
    assert_eq!(log.files().len(), list.len());
}

#[test]
fn a_stopped_worker_is_killed_and_its_task_redelivered() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let url = server.url("/held");
    let run = Run::new()
        .list([&url])
        .with("--workers 2 --lease-timeout 1s -v");
    let job = run.start();
    server.wait_for("/held", 1);
    let worker = job.worker(0, 1);
    worker.stop();
    job.wait_for_line("it gave no sign of life");
    server.wait_for("/held", 2);
    assert!(!worker.lives());
    server.release("/held");
    let ended = job.finish().code(0);
    // It gets SIGTERM first, and SIGCONT so that it can exit.
    ended.says(&["worker 0.1", "died with signal 15"]);
    assert_eq!(run.log().one(&url).deliveries, 2);
}

#[test]
fn a_worker_that_lives_keeps_its_lease_however_long_the_server_takes() {
    // The other URL is the clock: its retries take three times the lease.
    let mut clock = vec![Answer::Status(503); 10];
    clock.push(Answer::Ok);
    // It has its own server, because a 503 reduces the downloads from its host.
    let clock = Server::start().answer("/clock", clock);
    let server = Server::start().answer("/held", [Answer::Held]);
    let url = server.url("/held");
    let run = Run::new()
        .list([&url, &clock.url("/clock")])
        .with("--workers 2 --lease-timeout 1s --retry 10 --retry-delay 300ms");
    let job = run.start();
    server.wait_for("/held", 1);
    job.wait_for_record(&clock.url("/clock"));
    server.release("/held");
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
    let record = run.log().one(&url);
    assert_eq!((record.deliveries, record.attempts), (1, 1));
}

#[test]
fn one_stopped_worker_does_not_hold_up_the_others_however_many_tasks_there_are() {
    let list = urls("http://a.example", 6000);
    let run = Run::new()
        .list(&list)
        .with("--workers 3 --parallel-max-host 0 --lease-timeout 60s --retry 0")
        .with("--simulate=size=10B,latency=0ms");
    let job = run.start();
    let log = run.log();
    job.wait_until("the first files", || log.text().lines().count() > 50);
    let frozen = job.worker(0, 1);
    frozen.stop();
    // All others except the few that the frozen worker runs or has ahead.
    job.wait_until("the others to do nearly all", || {
        log.text().lines().count() > 5900
    });
    let pid = frozen.pid;
    assert!(frozen.lives(), "its lease has not expired");
    // Then it continues, and no task is done twice.
    frozen.signal(Signal::CONT);
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
    let records = log.records();
    assert_eq!(records.len(), list.len());
    let urls: std::collections::HashSet<_> = records.iter().map(|r| &r.url).collect();
    assert_eq!(urls.len(), list.len());
    let of_frozen = records
        .iter()
        .filter(|r| r.worker.as_ref().is_some_and(|w| w.pid == pid));
    assert!(of_frozen.count() > 0);
}

#[test]
fn long_urls_do_not_fill_the_channel_of_a_stopped_worker() {
    // By number alone, the tasks sent ahead to the frozen worker would overfill its channel.
    let tail = "x".repeat(8000);
    let list: Vec<_> = (0..600)
        .map(|n| format!("http://a.example/{n}?{tail}"))
        .collect();
    let run = Run::new()
        .list(&list)
        .with("--workers 3 --parallel-max-host 0 --lease-timeout 60s --retry 0")
        .with("--simulate=size=10B,latency=1ms");
    let job = run.start();
    let log = run.log();
    job.wait_until("the first files", || log.files().len() > 10);
    let frozen = job.worker(0, 1);
    frozen.stop();
    job.wait_until("the others to do nearly all", || log.files().len() > 550);
    assert!(frozen.lives(), "its lease has not expired");
    frozen.signal(Signal::CONT);
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
    assert_eq!(log.count("stored"), list.len());
}

#[test]
fn a_frozen_worker_with_work_ahead_loses_only_what_it_holds() {
    let list = urls("http://a.example", 3000);
    let run = Run::new()
        .list(&list)
        .with("--workers 2 --parallel-max-host 0 --lease-timeout 1s")
        .with("--simulate=size=10B,latency=0ms");
    let job = run.start();
    let log = run.log();
    job.wait_until("the first files", || log.text().lines().count() > 20);
    job.worker(0, 1).stop();
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
    assert!(ended.summary("redeliveries") <= 1, "{}", ended.text());
    assert_eq!(log.records().len(), list.len());
}

#[test]
fn a_killed_coordinator_leaves_no_socket_that_the_next_run_does_not_remove() {
    let run = Run::new().list(urls("https://a.example", 30));
    let run = run.with("--workers 2 --simulate=size=10B,latency=20ms");
    let tmp = run.path("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let run = run.env("TMPDIR", &tmp);
    let sockets = run.log().output.join(".coordinator/sockets");
    let count = |folder: &std::path::Path| std::fs::read_dir(folder).unwrap().count();
    let job = run.start();
    // A record, not a file: the run first creates a file to test the folder.
    job.wait_until("a record", || run.log().count("stored") > 0);
    job.kill();
    job.wait_until_alone();
    // As if the run had died before a worker connected.
    std::fs::create_dir(sockets.join(".tmpAbCdEf")).unwrap();
    std::fs::write(sockets.join(".tmpAbCdEf/socket"), "").unwrap();
    run.finish().code(0);
    assert_eq!((count(&sockets), count(&tmp)), (0, 0));
}
