//! What a run reports about a worker that died, and about what the worker wrote before.

use std::fs;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::misbehave::BURST;
use crate::support::log::Death;
use crate::support::terminal::Terminal;
use crate::support::{Answer, Process, Run, Server};
use crate::{run, trials};

pub fn trials() -> Vec<Trial> {
    trials![
        a_segfault_is_told_with_worker_process_signal_and_task,
        the_message_of_a_panic_is_in_the_line_the_log_of_deaths_and_the_record,
        an_exit_code_is_told_and_so_is_why_the_coordinator_killed,
        the_exit_code_for_too_much_memory_is_told_as_that,
        death_at_its_own_memory_limit_counts_in_full_against_what_ran,
        a_worker_that_the_kernel_killed_for_want_of_memory_is_told_from_others,
        a_flood_on_standard_error_fills_nothing_and_stops_nobody,
        what_a_worker_wrote_last_is_known_however_much_it_was,
        whoever_holds_standard_error_open_does_not_delay_the_news_of_a_death,
        what_workers_write_is_shown_with_their_names_by_v_and_otherwise_not,
        what_workers_write_never_gets_between_the_bars_of_a_terminal,
        quiet_is_quiet_about_deaths_too,
    ]
}

/// A run with one worker, whose first process dies of `/killer` in this way. The second succeeds.
fn dies_once(how: &str) -> (Server, Run, String) {
    let server = Server::start();
    let killer = server.url("/killer");
    let run = run(&format!("0.1=on:/killer:{how}"))
        .list([&killer])
        .with("--workers 1");
    (server, run, killer)
}

fn one_death(run: &Run) -> Death {
    let mut deaths = run.log().deaths();
    assert_eq!(deaths.len(), 1, "{deaths:#?}");
    deaths.remove(0)
}

fn a_segfault_is_told_with_worker_process_signal_and_task() {
    let (_server, run, killer) = dies_once("SEGV");
    let ended = run.finish().code(0);
    let death = one_death(&run);
    let pid = format!("pid {}", death.worker.pid);
    ended.says(&["worker 0.1", &pid, "signal 11 (SIGSEGV)", &killer]);
    assert_eq!((death.v, death.worker.slot, death.worker.epoch), (1, 0, 1));
    assert!(death.time.ends_with('Z'), "{death:?}");
    assert_eq!((death.exit.signal, death.exit.code), (Some(11), None));
    assert_eq!(death.exit.name.as_deref(), Some("SIGSEGV"));
    assert_eq!(death.exit.text, "signal 11 (SIGSEGV)");
    assert_eq!((death.killed, death.oom), (None, Some(false)));
    assert_eq!((death.running.len(), death.queued), (1, 0));
    assert_eq!((death.running[0].task, &death.running[0].url), (1, &killer));
    // The worker was set up, and its memory was measured then.
    let peak = death.peak_memory.expect("it is known");
    assert!((1 << 20..200 << 20).contains(&peak), "{peak}");

    let record = run.log().one(&killer);
    assert_eq!((record.outcome.as_str(), record.deliveries), ("stored", 2));
    let [of_task] = &record.deaths[..] else {
        panic!("one death: {record:#?}");
    };
    assert_eq!(
        (of_task.worker.epoch, of_task.worker.pid),
        (1, death.worker.pid)
    );
    assert_eq!(of_task.exit, "signal 11 (SIGSEGV)");
}

fn the_message_of_a_panic_is_in_the_line_the_log_of_deaths_and_the_record() {
    let server = Server::start();
    let killer = server.url("/killer");
    let run = run("*.*=on:/killer:aborts")
        .list([&killer, &server.url("/a")])
        .with("--workers 1 --max-deliveries 2")
        .env("RUST_BACKTRACE", "0");
    // A panic message is expected here, so only the exit code is checked.
    let ended = run.finish();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.text());
    let line = ended.says(&["worker 0.1", "signal 6 (SIGABRT)", "it last wrote: "]);
    assert!(!line.contains('\x1b'), "{line:?}");
    let deaths = run.log().deaths();
    assert_eq!(deaths.len(), 2, "{deaths:#?}");
    for death in deaths {
        assert_eq!(death.exit.name.as_deref(), Some("SIGABRT"));
        let message = "as planned, with \u{fffd}[31mcolour";
        assert!(
            death.stderr.iter().any(|line| line == message),
            "{death:#?}"
        );
    }
    let record = run.log().one(&killer);
    assert_eq!(
        (record.outcome.as_str(), record.deaths.len()),
        ("quarantined", 2)
    );
    let epochs: Vec<_> = record
        .deaths
        .iter()
        .map(|death| death.worker.epoch)
        .collect();
    assert_eq!(epochs, [1, 2]);
    let message = record.message();
    assert!(
        message.contains("signal 6 (SIGABRT) (delivery 2); it last wrote: "),
        "{message}"
    );
    assert!(message.contains(" | as planned, with"), "{message}");
    assert_eq!(run.log().one(&server.url("/a")).deaths.len(), 0);
}

fn an_exit_code_is_told_and_so_is_why_the_coordinator_killed() {
    let (_server, run, _) = dies_once("7");
    run.finish().code(0);
    let death = one_death(&run);
    assert_eq!((death.exit.signal, death.exit.code), (None, Some(7)));
    assert_eq!(
        (death.exit.name, death.exit.text.as_str()),
        (None, "exit code 7")
    );

    let (_server, run, _) = dies_once("STOP");
    let run = run.with("--lease-timeout 400ms");
    run.finish().code(0);
    let death = one_death(&run);
    assert_eq!(death.running.len(), 1);
    assert!(death.killed.is_some(), "by the coordinator: {death:#?}");
    assert_eq!(death.oom, Some(false), "it knows who did it");
}

fn the_exit_code_for_too_much_memory_is_told_as_that() {
    let (_server, run, killer) = dies_once(&pool::EXIT_OUT_OF_MEMORY.to_string());
    let ended = run.finish().code(0);
    ended.says(&[
        "worker 0.1",
        "out of memory (over --worker-memory)",
        &killer,
    ]);
    let death = one_death(&run);
    assert_eq!(
        (death.exit.code, death.exit.signal),
        (Some(pool::EXIT_OUT_OF_MEMORY), None)
    );
    assert_eq!(death.oom, Some(false), "not the kernel");
}

fn death_at_its_own_memory_limit_counts_in_full_against_what_ran() {
    let server = Server::start();
    let eater = server.url("/killer");
    let run = run(&format!("*.*=on:/killer:{}", pool::EXIT_OUT_OF_MEMORY))
        .list([&eater])
        .with("--workers 1 --max-deliveries 2");
    run.finish().code(1);
    let record = run.log().one(&eater);
    assert_eq!(
        (record.outcome.as_str(), record.deaths.len()),
        ("quarantined", 2)
    );
    let message = record.message();
    assert!(
        message.contains("out of memory (over --worker-memory)"),
        "{message}"
    );
}

/// A control group with little memory. Creating one needs permission.
struct Cramped(std::path::PathBuf);

impl Cramped {
    fn make() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let group = groups.lines().find_map(|line| {
            let (_, line) = line.split_once(':')?;
            line.strip_prefix("memory:")
        });
        let (parent, limit) = match group {
            Some(group) => (
                format!("/sys/fs/cgroup/memory{group}"),
                "memory.limit_in_bytes",
            ),
            None => ("/sys/fs/cgroup".to_owned(), "memory.max"),
        };
        let name = format!("coordinator-test-{}", std::process::id());
        let own = Self(std::path::Path::new(&parent).join(name));
        fs::create_dir(&own.0).ok()?;
        fs::write(own.0.join(limit), "100M").ok()?;
        Some(own)
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_worker_that_the_kernel_killed_for_want_of_memory_is_told_from_others() {
    let Some(group) = Cramped::make() else {
        eprintln!("a death for want of memory is not tried: no control group can be made");
        return;
    };
    let (_server, run, killer) = dies_once("eats");
    let into = format!(
        "echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"",
        group.0.display()
    );
    let run = run.through(["sh", "-c", &into]);
    let ended = run.finish().code(0);
    ended.says(&[
        "worker 0.1",
        "out of memory (killed by the kernel)",
        &killer,
    ]);
    let death = one_death(&run);
    assert_eq!((death.exit.signal, death.oom), (Some(9), Some(true)));
    // Here the kernel counts the memory of this worker alone.
    let peak = death.peak_memory.expect("it is known");
    assert!((60 << 20..140 << 20).contains(&peak), "{peak}");
}

fn a_flood_on_standard_error_fills_nothing_and_stops_nobody() {
    let server = Server::start();
    let flooder = server.url("/killer");
    let mut list = crate::support::run::urls(&server.url(""), 50);
    list.insert(0, flooder.clone());
    let run = run("0.1=on:/killer:floods")
        .list(&list)
        .with("--workers 1 --concurrency 2 --parallel-max-host 0 -v");
    let job = run.start();
    let worker = job.wait_for("a worker that floods", || {
        let written = |process: &Process| {
            let io = fs::read_to_string(format!("/proc/{}/io", process.pid)).unwrap_or_default();
            let count = io.lines().find_map(|line| line.strip_prefix("wchar: "))?;
            count.parse::<u64>().ok()
        };
        // It keeps writing far more than a pipe holds.
        job.workers()
            .into_iter()
            .find(|process| written(process) > Some(4 << 20))
    });
    job.wait_until("the others", || run.log().count("stored") == 50);
    worker.signal(Signal::KILL);
    let status = fs::read_to_string(format!("/proc/{}/status", job.pid())).unwrap();
    let ended = job.finish().code(0);
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .unwrap();
    assert!(peak.parse::<u64>().unwrap() < 100 * 1024, "{peak} kB");
    assert!(ended.stderr.len() < 100_000, "{} bytes", ended.stderr.len());
    let death = one_death(&run);
    let [line] = &death.stderr[..] else {
        panic!("one line: {death:#?}");
    };
    assert_eq!(line.trim_end_matches('\u{2026}'), "x".repeat(1024));
    assert_eq!(run.log().one(&flooder).outcome, "stored");
}

fn what_a_worker_wrote_last_is_known_however_much_it_was() {
    let (_server, run, _) = dies_once("bursts");
    run.finish().code(0);
    let last: Vec<_> = (BURST - 19..=BURST).map(|n| format!("{n:>63}")).collect();
    assert_eq!(one_death(&run).stderr, last);
}

fn whoever_holds_standard_error_open_does_not_delay_the_news_of_a_death() {
    let (server, run, killer) = dies_once("leaves");
    // A worker in its sandbox cannot start processes.
    let run = run.with("--sandbox off");
    let job = run.start();
    // The task is redelivered while the other process still holds the pipe.
    let record = job.wait_for_record(&killer);
    assert_eq!(record.deliveries, 2);
    let death = one_death(&run);
    assert_eq!(death.exit.name.as_deref(), Some("SIGKILL"));
    let left = death
        .stderr
        .last()
        .and_then(|line| line.strip_prefix("left "));
    let left = Process::find(left.expect("its last words").parse().unwrap());
    let left = left.expect("it lives on");
    left.signal(Signal::KILL);
    job.finish().code(0);
    drop(server);
}

fn what_workers_write_is_shown_with_their_names_by_v_and_otherwise_not() {
    for (arguments, shown) in [("", false), ("-v", true), ("--quiet", false)] {
        let server = Server::start();
        let run = run("0.1=on:/killer:chats")
            .list([server.url("/killer")])
            .with("--workers 1")
            .with(arguments);
        let ended = run.finish().code(0);
        assert_eq!(ended.stderr.contains("chatter"), shown, "{}", ended.text());
        let mut count = 0;
        for line in ended.stderr.lines() {
            let Some(line) = line.strip_prefix("worker 0.1: ") else {
                continue;
            };
            let left_out = line
                .strip_prefix('(')
                .and_then(|line| line.strip_suffix(" lines left out)"));
            count += match left_out {
                Some(left_out) => left_out.parse().unwrap(),
                None => {
                    let parts = ["chatter one", "\u{fffd}[2Jchatter two", "chatter three"];
                    assert!(parts.contains(&line), "{line}");
                    1
                }
            };
        }
        assert_eq!(count, if shown { 120 } else { 0 }, "{}", ended.text());
        assert_eq!(run.log().deaths().len(), 0);
    }
}

fn what_workers_write_never_gets_between_the_bars_of_a_terminal() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = run("*.*=on:/killer:chats-and-aborts")
        .list([server.url("/held"), server.url("/killer")])
        .with("--workers 2 --max-deliveries 1")
        .env("RUST_BACKTRACE", "0")
        .through(["setsid", "--ctty"]);
    let terminal = Terminal::start(&run);
    server.wait_for("/held", 1);
    // The line about the death appears above the bars, and the bars are intact.
    crate::support::wait_until(
        "a death above the bars",
        || {
            let screen = terminal.screen();
            let death = screen.find("died with");
            death.is_some_and(|death| screen.find("1 of 2") > Some(death))
        },
        || terminal.screen(),
    );
    assert!(!terminal.output.text().contains("chatter"));
    server.release("/held");
    terminal.wait_for("run log: ");
    terminal.job.finish();
    assert!(!terminal.output.text().contains("chatter"));
}

fn quiet_is_quiet_about_deaths_too() {
    let (_server, run, _) = dies_once("aborts");
    let ended = run.with("--quiet").finish();
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
}
