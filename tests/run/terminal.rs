//! What is written where: a pipe gets plain lines, a terminal gets bars.

use crate::support::run::urls;
use crate::support::terminal::{COLUMNS, ROWS, Terminal};
use crate::support::{Answer, Run, Server};

fn held() -> (Server, Run) {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new()
        .list([server.url("/a"), server.url("/held"), server.url("/b")])
        .with("--workers 2");
    (server, run)
}

#[test]
fn a_terminal_shows_bars_and_at_last_the_summary_alone() {
    let (server, run) = held();
    let run = run.through(["setsid", "--ctty"]);
    let terminal = Terminal::start(&run);
    server.wait_for("/held", 1);
    // The bar of the run, and the line of the worker with what it does.
    terminal.wait_for("2/3");
    terminal.wait_for(&server.url("/held"));
    server.release("/held");
    terminal.wait_for("run log: ");
    let Terminal {
        job,
        output,
        master,
    } = terminal;
    job.finish().code(0);
    drop(master);
    let mut parser = vt100::Parser::new(ROWS, COLUMNS, 0);
    parser.process(&output.bytes());
    let screen = parser.screen().contents();
    assert!(!screen.contains("eta"), "the bars are gone:\n{screen}");
    assert!(!screen.contains(&server.url("/held")), "{screen}");
    let first = screen.lines().find(|line| !line.trim().is_empty());
    assert!(
        first.unwrap().trim_start().starts_with("stored"),
        "{screen}"
    );
    assert!(!parser.screen().hide_cursor(), "the cursor is back");
}

#[test]
fn ctrl_c_on_a_terminal_drains() {
    let (server, run) = held();
    let run = run.through(["setsid", "--ctty"]);
    let mut terminal = Terminal::start(&run);
    server.wait_for("/held", 1);
    terminal.wait_for("2/3");
    std::io::Write::write_all(&mut terminal.master, b"\x03").unwrap();
    terminal.wait_for("a second signal ends the run at once");
    server.release("/held");
    terminal.wait_for("run log: ");
    let ended = terminal.job.finish();
    assert_eq!(ended.status.code(), Some(130), "{}", terminal.output.text());
    assert_eq!(run.log().count("stored"), 3, "the held one is finished");
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
