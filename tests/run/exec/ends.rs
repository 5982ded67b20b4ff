//! How a command ends, and what that means for its URL.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{KINDS, MODES, command, lines, of_role, with_script};
use crate::support::run::urls;
use crate::support::{Answer, Job, Server, server, sha256, wait_until};

#[test]
fn a_command_runs_once_on_each_file_that_is_in_place_and_then_it_is_stored() {
    for mode in MODES {
        let server = Server::start();
        let list = urls(&server.url(""), 9);
        let text = r#"printf '%s\n' "$(sha256sum < "$1" | cut -c 1-64) $COORDINATOR_URL" >> ran"#;
        let run = with_script(text, mode).list(&list);
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("stored"), 9, "{mode}: {}", ended.text());
        let ran = lines(&run, "ran");
        assert_eq!(ran.len(), 9, "{mode}: {ran:?}");
        for url in &list {
            let record = run.log().one(url);
            let hash = record.sha256.clone().unwrap();
            run.log().check(
                &record,
                &sha256(&server::body(&url[server.url("").len()..])),
            );
            assert!(ran.contains(&format!("{hash} {url}")), "{mode}: {ran:?}");
            let exec = record.exec.as_ref().unwrap();
            assert_eq!(exec.left, record.bytes, "{mode}");
            assert!(record.timing_ms["exec"] > 0.0, "{record:?}");
        }
        // A stored file is not processed again.
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("stored earlier"), 9, "{}", ended.text());
        assert_eq!(lines(&run, "ran").len(), 9);
    }
}

#[test]
fn what_a_command_writes_goes_nowhere_and_there_is_nothing_to_read() {
    let server = Server::start();
    let text = "echo noise; echo trouble >&2; test -z \"$(cat)\" && test ! -t 0";
    let run = with_script(text, "--workers 1").list([server.url("/f")]);
    let ended = run.finish().code(0);
    assert!(!ended.text().contains("noise"), "{}", ended.text());
    assert!(!ended.text().contains("trouble"), "{}", ended.text());
}

#[test]
fn a_failure_is_the_urls_with_exit_code_and_last_line_and_leaves_no_file() {
    for mode in MODES {
        let server = Server::start();
        let list = [server.url("/bad"), server.url("/good")];
        let text = concat!(
            "case $COORDINATOR_URL in *bad) ;; *) exit 0 ;; esac\n",
            "echo first >&2; printf 'not\\033[2J an image\\n\\n' >&2; exit 3",
        );
        let run = with_script(text, mode).list(&list);
        let ended = run.finish().code(1);
        ended.says(&[
            "failed: ",
            "/bad: exec: ./script failed with exit code 3: not",
        ]);
        let record = run.log().one(&list[0]);
        assert_eq!((record.outcome.as_str(), record.kind()), ("failed", "exec"));
        assert_eq!(
            record.message(),
            "./script failed with exit code 3: not\u{fffd}[2J an image"
        );
        assert_eq!((record.attempts, record.path), (1, None), "{mode}");
        assert_eq!(run.log().one(&list[1]).outcome, "stored");
        assert_eq!(
            run.log().files().len(),
            1,
            "{mode}: {:?}",
            run.log().files()
        );
        // The next run tries it again.
        run.finish().code(1);
        assert_eq!(server.requests("/bad"), 2);
        assert_eq!(server.requests("/good"), 1);
    }
}

#[test]
fn exit_code_75_may_pass_and_other_failures_only_if_all_do() {
    for (code, options, attempts) in [
        (75, "--retry-delay 0", 3),
        (1, "--retry-delay 0", 1),
        (1, "--retry-delay 0 --retry-all-errors", 3),
    ] {
        let server = Server::start();
        let text = format!("echo >> ran; test $(wc -l < ran) -ge 3 || exit {code}");
        let run = with_script(&text, options).list([server.url("/f")]);
        let success = attempts == 3;
        run.finish().code(i32::from(!success));
        assert_eq!(lines(&run, "ran").len(), attempts);
        let record = run.log().one(&server.url("/f"));
        assert_eq!(record.attempts as usize, attempts);
        assert_eq!(record.outcome == "stored", success);
    }
}

#[test]
fn a_command_that_dies_by_a_signal_has_failed_with_its_name() {
    let server = Server::start();
    let run = with_script("kill -SEGV $$", "--workers 1").list([server.url("/f")]);
    run.finish().code(1);
    let record = run.log().one(&server.url("/f"));
    assert_eq!(record.kind(), "exec");
    assert!(
        record
            .message()
            .starts_with("./script was ended by signal 11 (SIGSEGV)"),
        "{record:?}"
    );
}

#[test]
fn a_command_that_hangs_is_ended_with_all_it_started_however_that_hides() {
    for mode in MODES {
        let server = Server::start();
        // A process without a parent, in its own session, that ignores SIGTERM.
        let text = concat!(
            "trap '' TERM\n",
            "(setsid sh -c \"trap '' TERM; env -u A sleep 1001; sleep 1002\" &)\n",
            "echo waiting >&2; sleep 1003; sleep 1004",
        );
        let options = format!("--exec-timeout 300ms {mode}");
        let run = with_script(text, &options).list([server.url("/f"), server.url("/g")]);
        let job = run.start();
        job.wait_for_record(&server.url("/f"));
        job.wait_for_record(&server.url("/g"));
        let record = run.log().one(&server.url("/f"));
        assert_eq!(record.kind(), "exec");
        assert_eq!(
            record.message(),
            "./script did not end within 300ms (--exec-timeout), and was killed: waiting",
            "{mode}"
        );
        assert_eq!(record.attempts, 1);
        let ended = job.finish().code(1);
        assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
        assert_eq!(run.log().files(), [""; 0]);
        wait_until(
            "every process to be gone",
            || crate::support::Process::marked(&run.mark()).is_empty(),
            || format!("{mode}: {:?}", crate::support::Process::marked(&run.mark())),
        );
    }
}

#[test]
fn a_command_that_takes_too_long_may_end_by_itself_when_it_is_told_to() {
    let server = Server::start();
    let text = "trap 'echo cleaned up >&2; echo > cleaned; exit 0' TERM; sleep 1001 & wait";
    let run = with_script(text, "--exec-timeout 300ms").list([server.url("/f")]);
    run.finish().code(1);
    assert!(run.path("cleaned").exists());
    // The command exited with 0, but after its time limit.
    let record = run.log().one(&server.url("/f"));
    assert!(
        record.message().ends_with("was killed: cleaned up"),
        "{record:?}"
    );
}

#[test]
fn what_a_successful_command_left_running_is_ended() {
    for mode in KINDS {
        let server = Server::start().answer("/g", [Answer::Held]);
        let text = "setsid sleep 1001 & sleep 1002 & echo $! > last; exit 0";
        let run = with_script(text, mode).list([server.url("/f"), server.url("/g")]);
        let job = run.start();
        job.wait_for_record(&server.url("/f"));
        assert!(run.path("last").exists());
        // The run and the runner continue.
        let left = |job: &Job| {
            let mut all = job.processes();
            all.retain(|process| process.arguments.iter().any(|a| a.starts_with("100")));
            all
        };
        job.wait_until("what it left to be gone", || left(&job).is_empty());
        server.release("/g");
        job.finish().code(0);
    }
}

#[test]
fn a_flood_on_standard_error_takes_no_memory() {
    let server = Server::start();
    let text = concat!(
        "yes 'a line of no interest' | head -c 300000000 >&2\n",
        "head -c 50000000 /dev/zero >&2; echo >&2; echo the end >&2\n",
        "echo > flooded; while test ! -e go; do sleep 0.02; done; exit 9",
    );
    let run = with_script(text, "--workers 1").list([server.url("/f")]);
    let job = run.start();
    job.wait_until("the flood to be over", || run.path("flooded").exists());
    for process in [of_role(&job, "runner"), job.workers()].concat() {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|text| text.split_whitespace().next()?.parse().ok());
        let peak: u64 = peak.expect("a peak");
        assert!(peak < 64 * 1024, "{peak} KiB in {process:?}");
    }
    fs::write(run.path("go"), "").unwrap();
    job.finish().code(1);
    let record = run.log().one(&server.url("/f"));
    assert_eq!(
        record.message(),
        "./script failed with exit code 9: the end"
    );
}

#[test]
fn a_command_may_take_longer_than_any_other_time_limit() {
    let server = Server::start();
    let limits = "--lease-timeout 1s --max-time 1s --speed-time 100ms --connect-timeout 100ms";
    let jobs = KINDS.map(|mode| {
        let text = "echo > began; while test ! -e go; do sleep 0.02; done";
        let run = with_script(text, limits)
            .with(mode)
            .list([server.url("/f")]);
        let job = run.start();
        (mode, run, job)
    });
    for (_, run, job) in &jobs {
        job.wait_until("the command to run", || run.path("began").exists());
        job.wait_until("executing in the answer", || {
            job.signal(Signal::USR1);
            job.stderr().contains("executing")
        });
    }
    // A task without progress for the limits plus five seconds would be missing in the next
    // heartbeat, and its lease would expire.
    let begun = Instant::now();
    for (mode, run, job) in jobs {
        job.wait_until("more than that", || {
            begun.elapsed() > Duration::from_secs(8)
        });
        fs::write(run.path("go"), "").unwrap();
        let ended = job.finish().code(0);
        assert_eq!(
            ended.summary("worker deaths"),
            0,
            "{mode}: {}",
            ended.text()
        );
        assert_eq!(run.log().one(&server.url("/f")).deliveries, 1);
    }
}

#[test]
fn as_many_commands_run_at_once_as_downloads() {
    for mode in [
        "--workers 1 -c 8 --engine async",
        "--workers 1 -c 8",
        "--workers 4 -c 2",
        "--mode threads -w 8",
        "--mode async -c 8",
    ] {
        let server = Server::start();
        let text = concat!(
            "echo > here.$$\n",
            "while test $(ls | grep -c '^here') -lt 8; do sleep 0.02; done",
        );
        let run = with_script(text, mode).with("--parallel-max-host 0");
        let run = run.list(urls(&server.url(""), 8));
        // It would not end with fewer commands at once.
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("stored"), 8, "{mode}: {}", ended.text());
    }
}

#[test]
fn files_do_not_pile_up_before_commands_that_are_slower_than_downloads() {
    for mode in [
        "--workers 2",
        "--workers 1 -c 2 --engine async",
        "--mode threads -w 2",
    ] {
        let server = Server::start();
        // The number of files in place without a finished command, at the start of each command.
        let text = concat!(
            "echo $(($(ls downloads | wc -l) - $(cat ended 2> /dev/null | wc -l))) >> seen\n",
            "sleep 0.1\n",
            "echo >> ended",
        );
        let run = with_script(text, mode).with("--parallel-max-host 0");
        let run = run.list(urls(&server.url(""), 40));
        run.finish().code(0);
        let seen = lines(&run, "seen");
        let most = seen.iter().map(|line| line.parse::<usize>().unwrap()).max();
        // Two more downloads may finish while the bound of two is reached.
        assert!(most <= Some(4), "{mode}: {seen:?}");
    }
}

#[test]
fn ctrl_z_stops_commands_too_and_their_time() {
    let server = Server::start();
    let text = "sleep 1001 & while test ! -e go; do sleep 0.02; done";
    let jobs = KINDS.map(|mode| {
        let run = with_script(text, mode).with("--exec-timeout 8s");
        let run = run.list([server.url("/f")]);
        let job = run.start();
        let sleeping = command(&job, "1001");
        job.signal(Signal::TSTP);
        job.wait_until("the command and the coordinator to stop", || {
            sleeping.is_stopped() && job.process().is_stopped()
        });
        (mode, run, job, sleeping)
    });
    let stopped = Instant::now();
    for (_, _, job, sleeping) in &jobs {
        job.wait_until("more than its time", || {
            stopped.elapsed() > Duration::from_secs(9)
        });
        job.signal(Signal::CONT);
        job.wait_until("it to go on", || !sleeping.is_stopped());
    }
    let continued = Instant::now();
    for (mode, run, job, _) in jobs {
        // A runner reads the clock once a second.
        job.wait_until("a few looks", || {
            continued.elapsed() > Duration::from_secs(3)
        });
        fs::write(run.path("go"), "").unwrap();
        let ended = job.finish().code(0);
        assert_eq!(ended.summary("stored"), 1, "{mode}: {}", ended.text());
    }
}
