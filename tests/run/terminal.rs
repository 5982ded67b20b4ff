//! Output by destination: plain lines for a pipe, live progress for a terminal, objects for a
//! program.

use std::fs;

use rustix::process::Signal;

use crate::support::run::urls;
use crate::support::terminal::Terminal;
use crate::support::{Answer, Run, Server};

fn held() -> (Server, Run) {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new()
        .list([server.url("/a"), server.url("/held"), server.url("/b")])
        .with("--workers 2")
        .through(["setsid", "--ctty"]);
    (server, run)
}

#[test]
fn a_terminal_shows_what_goes_on_and_at_last_the_summary_alone() {
    for (rows, columns) in [(24, 80), (40, 120)] {
        let (server, run) = held();
        let terminal = Terminal::sized(&run, rows, columns);
        server.wait_for("/held", 1);
        // The line of the run and the line of the download.
        terminal.wait_for("2 of 3 files");
        terminal.wait_for("/held");
        terminal.wait_for("ETA --");
        server.release("/held");
        terminal.wait_for("run log: ");
        terminal.wait_until("the cursor", Terminal::shows_cursor);
        let screen = terminal.screen();
        assert!(!screen.contains("ETA"), "it is gone:\n{screen}");
        assert!(!screen.contains("/held"), "{screen}");
        let first = screen.lines().find(|line| !line.trim().is_empty());
        assert!(
            first.unwrap().trim_start().starts_with("stored"),
            "{screen}"
        );
        terminal.job.finish().code(0);
    }
}

#[test]
fn downloads_take_a_third_of_the_screen_and_the_others_are_counted() {
    let server = (0..40).fold(Server::start(), |server, n| {
        server.answer(&format!("/{n}"), [Answer::Held])
    });
    for (rows, columns, shown) in [(24, 80, 6), (40, 120, 11)] {
        let run = Run::new()
            .list(urls(&server.url(""), 40))
            .with("--workers 2 --concurrency 20 --parallel-max-host 0")
            .through(["setsid", "--ctty"]);
        let terminal = Terminal::sized(&run, rows, columns);
        terminal.wait_for(&format!("  and {} more", 40 - shown));
        assert_eq!(
            terminal.lines_with("127.0.0.1").len(),
            shown,
            "{}",
            terminal.screen()
        );
        assert_eq!(terminal.lines_with("ETA").len(), 1, "{}", terminal.screen());
    }
}

#[test]
fn a_body_that_comes_shows_its_size_its_share_and_its_speed() {
    let server = Server::start().answer("/deep/x.bin", [Answer::HeldHalfway]);
    let run = Run::new()
        .arg(server.url("/deep/x.bin"))
        .through(["setsid", "--ctty"]);
    let terminal = Terminal::sized(&run, 24, 80);
    terminal.wait_until("half of it", |terminal| {
        let lines = terminal.lines_with("/deep/x.bin");
        lines
            .first()
            .is_some_and(|line| line.contains("50%") && line.contains("B/s"))
    });
    server.release("/deep/x.bin");
    terminal.wait_for("run log: ");
    terminal.wait_for("downloads/x.bin, ");
}

#[test]
fn ctrl_c_on_a_terminal_drains_and_tears_no_line() {
    let (server, run) = held();
    let mut terminal = Terminal::sized(&run, 24, 80);
    server.wait_for("/held", 1);
    terminal.wait_for("2 of 3 files");
    terminal.wait_for("/held");
    terminal.press(b"\x03");
    terminal.wait_for("finishing 1 download (press Ctrl-C again to stop now; 30 s at most)");
    terminal.wait_for("ETA");
    let screen = terminal.screen();
    assert!(!screen.contains("^C"), "{screen}");
    assert_eq!(terminal.lines_with("ETA").len(), 1, "{screen}");
    assert_eq!(terminal.lines_with("/held").len(), 1, "{screen}");
    server.release("/held");
    terminal.wait_for("run log: ");
    let ended = terminal.job.finish();
    assert_eq!(ended.status.code(), Some(130), "{}", terminal.output.text());
    assert_eq!(run.log().count("stored"), 3, "the held one is finished");
}

#[test]
fn ctrl_z_leaves_a_clean_screen_and_fg_brings_the_lines_back() {
    let (server, run) = held();
    let mut terminal = Terminal::sized(&run, 24, 80);
    server.wait_for("/held", 1);
    terminal.wait_for("2 of 3 files");
    terminal.press(b"\x1a");
    let process = terminal.job.process();
    terminal.wait_until("it to stop", |_| process.is_stopped());
    let screen = terminal.screen();
    assert!(
        !screen.contains("ETA") && !screen.contains("^Z"),
        "{screen}"
    );
    terminal.job.signal(Signal::CONT);
    terminal.wait_for("ETA");
    assert_eq!(terminal.lines_with("ETA").len(), 1, "{}", terminal.screen());
    server.release("/held");
    terminal.wait_for("run log: ");
    assert!(!terminal.screen().contains("ETA"), "{}", terminal.screen());
}

#[test]
fn another_size_leaves_no_torn_line() {
    let (server, run) = held();
    let mut terminal = Terminal::sized(&run, 40, 120);
    server.wait_for("/held", 1);
    terminal.wait_for("2 of 3 files");
    for (rows, columns) in [(24, 80), (24, 40), (40, 120)] {
        terminal.resize(rows, columns);
        terminal.wait_until("one line of the run that fits", |terminal| {
            let lines = terminal.lines_with("2 of 3 files");
            let widest = lines.iter().map(|line| line.chars().count()).max();
            lines.len() == 1 && widest.is_some_and(|widest| widest <= columns.into())
        });
    }
    server.release("/held");
    terminal.wait_for("run log: ");
    assert!(!terminal.screen().contains("ETA"), "{}", terminal.screen());
}

#[test]
fn log_lines_are_written_above_the_line_of_the_run() {
    let (server, run) = held();
    let run = run.with("-v");
    let terminal = Terminal::sized(&run, 40, 120);
    server.wait_for("/held", 1);
    terminal.wait_for("2 of 3 files");
    let screen = terminal.screen();
    let log = screen.lines().position(|line| line.contains("INFO"));
    let line = screen.lines().position(|line| line.contains("ETA"));
    assert!(log.is_some() && log < line, "{screen}");
    assert_eq!(terminal.lines_with("ETA").len(), 1, "{screen}");
    server.release("/held");
    terminal.wait_for("run log: ");
}

#[test]
fn colours_and_characters_are_those_that_the_user_and_the_terminal_allow() {
    let server = Server::start().answer("/gone", [Answer::Status(404)]);
    let shown = |arguments: &str, environment: &[(&str, &str)]| {
        let run = Run::new().list([server.url("/gone")]).with(arguments);
        let run = environment
            .iter()
            .fold(run, |run, (name, value)| run.env(name, *value));
        let run = run.through(["setsid", "--ctty"]);
        let terminal = Terminal::start(&run);
        terminal.wait_for("run log: ");
        terminal.job.finish().code(1);
        terminal.output.text()
    };
    let red = "\u{1b}[31mfailed:";
    assert!(shown("", &[]).contains(red));
    assert!(!shown("", &[("NO_COLOR", "1")]).contains(red));
    assert!(shown("--color always", &[("NO_COLOR", "1")]).contains(red));
    assert!(!shown("--color never", &[]).contains(red));
    let dumb = shown("", &[("TERM", "dumb"), ("LC_ALL", "C")]);
    assert!(!dumb.contains('\u{1b}') && dumb.is_ascii(), "{dumb:?}");
    assert!(shown("", &[("LC_ALL", "C")]).is_ascii());
}

#[test]
fn a_pipe_gets_a_line_after_two_seconds_and_one_at_the_end() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new().list([server.url("/a"), server.url("/held")]);
    let job = run.start();
    job.wait_for_line("1 of 2 files, ");
    server.release("/held");
    let ended = job.finish().code(0);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("2 of 2 files, "), "{}", ended.text());
    assert!(last.ends_with(" 0 failed"), "{}", ended.text());
}

#[test]
fn a_program_gets_an_object_a_line_on_standard_error_or_on_a_descriptor() {
    let server = Server::start()
        .answer("/held", [Answer::Held])
        .answer("/gone", [Answer::Status(404)]);
    let list = [server.url("/a"), server.url("/held"), server.url("/gone")];
    let objects = |text: &str| -> Vec<serde_json::Value> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        text.lines().map(read).collect()
    };
    let check = |objects: &[serde_json::Value]| {
        for object in objects {
            assert_eq!(object["v"], 1, "{object}");
        }
        let progress = objects.iter().find(|object| object["running"] == 1);
        assert_eq!(progress.expect("one every second")["event"], "progress");
        let end = objects.last().unwrap();
        let told = ["event", "exit_code", "stored", "failed", "urls", "listed"];
        let told = told.map(|key| end[key].to_string());
        assert_eq!(told, ["\"end\"", "1", "2", "1", "3", "true"], "{end}");
    };

    let run = Run::new().list(&list).with("--progress json");
    let job = run.start();
    job.wait_for_line("\"running\":1");
    server.release_all();
    let ended = job.finish().code(1);
    let told = objects(&ended.stderr);
    check(&told);
    let message = told.iter().find(|object| object["event"] == "message");
    let text = message.expect("of what failed")["text"].to_string();
    assert!(text.contains("/gone"), "{text}");

    server.hold_again();
    let run = Run::new().list(&list).with("--progress json:3").through([
        "sh",
        "-c",
        "exec \"$0\" \"$@\" 3>feed",
    ]);
    let job = run.start();
    job.wait_until("an object", || {
        fs::read_to_string(run.path("feed")).is_ok_and(|text| text.contains("\"running\":1"))
    });
    server.release("/held");
    let ended = job.finish().code(1);
    check(&objects(&fs::read_to_string(run.path("feed")).unwrap()));
    ended.says(&["failed: ", "/gone"]);

    let run = Run::new().list(&list).with("--progress json:77");
    run.finish().code(3).says(&["--progress", "descriptor"]);
}

#[test]
fn a_long_list_is_counted_before_it_is_read_and_its_end_estimated_once_a_part_is_done() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let list = [server.url("/a"), server.url("/held")].into_iter();
    let list: Vec<String> = list.chain(urls(&server.url(""), 400_000)).collect();
    let run = Run::new().list(&list).with("--workers 1 --progress json");
    let job = run.start();
    server.wait_for("/held", 1);
    job.wait_for_line("\"urls\":400002,\"listed\":true");
    job.kill();
    job.wait_until_alone();
    // Only reading the list shows which files are stored already.
    let job = run.start();
    server.wait_for("/held", 2);
    job.wait_for_line("\"listed\":false");
}

#[test]
fn a_reader_of_objects_that_does_not_read_holds_nothing_up() {
    let server = Server::start();
    let list = urls(&server.url(""), 200);
    let (_reader, writer) = std::io::pipe().unwrap();
    // The pipe is full from the start.
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
    while std::io::Write::write(&mut &writer, &[b'\n'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::empty()).unwrap();
    let run = Run::new().list(&list).with("--progress json:0");
    let mut command = run.command();
    command.stdin(writer).stdout(std::process::Stdio::piped());
    let job = crate::support::Job::start(command, run.mark(), run.log());
    job.finish().code(0);
    assert_eq!(run.log().count("stored"), 200);
}

#[test]
fn failures_stay_on_the_screen_above_the_summary() {
    let server = Server::start().answer("/gone", [Answer::Status(404)]);
    let run = Run::new()
        .list([server.url("/a"), server.url("/gone")])
        .through(["setsid", "--ctty"]);
    let terminal = Terminal::start(&run);
    terminal.wait_for("run log: ");
    terminal.wait_for(&format!("failed: {}: status", server.url("/gone")));
}

#[test]
fn a_pipe_gets_no_control_sequence() {
    let server = Server::start().answer("/4", [Answer::Status(404)]);
    let list = urls(&server.url(""), 10);
    for arguments in ["", "-v", "-vv"] {
        let run = Run::new().list(&list).with(arguments);
        let ended = run.finish().code(1);
        for (name, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
            let control = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(control, None, "{arguments} {name}: {text:?}");
        }
        ended.says(&["failed", &list[4]]);
    }
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_run() {
    let server = Server::start();
    let list = urls(&server.url(""), 10);
    let run = Run::new()
        .list(&list)
        .through(["sh", "-c", "\"$0\" \"$@\" 2>&1 | true"]);
    run.finish();
    assert_eq!(run.log().count("stored"), 10);
}

#[test]
fn closed_standard_streams_are_no_reason_to_fail() {
    let server = Server::start();
    let list = urls(&server.url(""), 10);
    let run = Run::new()
        .list(&list)
        .through(["sh", "-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"]);
    run.finish().code(0);
    let log = run.log();
    assert_eq!(log.count("stored"), 10);
    for (n, url) in list.iter().enumerate() {
        let expected = crate::support::sha256(&crate::support::server::body(&format!("/{n}")));
        log.check(&log.one(url), &expected);
    }
}
