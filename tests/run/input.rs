//! Lists with every kind of error, and invalid options.

use std::fs;

use crate::support::run::exists;
use crate::support::{Answer, Run, Server, is_root, server, sha256};

#[test]
fn bad_lines_are_named_and_the_others_run() {
    let server = Server::start();
    let mut list = b"\xef\xbb\xbf# a list with a byte order mark\r\n".to_vec();
    list.extend_from_slice(format!("{}\r\n", server.url("/first")).as_bytes());
    list.extend_from_slice(b"\r\n   \t \n");
    list.extend_from_slice(b"ftp://h.example/a\n");
    list.extend_from_slice(b"http:///no-host\n");
    list.extend_from_slice(b"http://h.example:99999/a\n");
    list.extend_from_slice(b"http://h.example/\xff\xfe\n");
    list.extend_from_slice(b"h.example/no-scheme\n");
    list.extend_from_slice(b"http://h.example/");
    list.extend(std::iter::repeat_n(b'x', 1 << 20));
    list.push(b'\n');
    list.extend_from_slice(b"http://user:secret@h.example:0/\n");
    // The last line has no line end.
    list.extend_from_slice(server.url("/last").as_bytes());
    let run = Run::new().list_bytes(list);
    let ended = run.finish().code(1);
    for (line, part) in [
        (5, "ftp"),
        (6, "no host"),
        (7, "port"),
        (8, "UTF-8"),
        (9, "no scheme"),
        (10, "longer than"),
        (11, "port"),
    ] {
        let said = ended.says(&[&format!("urls.txt:{line}: "), part]);
        assert!(said.len() < 500, "kept short: {said}");
    }
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 7, "{}", ended.stderr);
    assert_eq!(ended.summary("unusable lines"), 7, "{}", ended.text());
    assert_eq!(ended.summary("stored"), 2, "{}", ended.text());
    for path in ["/first", "/last"] {
        let log = run.log();
        log.check(&log.one(&server.url(path)), &sha256(&server::body(path)));
    }
}

#[test]
fn a_list_of_nothing_but_bad_lines_is_nothing_to_do() {
    let run = Run::new().list(["ftp://h.example/a", "nonsense"]);
    let ended = run.finish().code(3);
    ended.says(&["urls.txt:1: ", "ftp"]);
    ended.says(&["urls.txt:2: "]);
    ended.says(&["no URL"]);
}

#[test]
fn an_empty_list_and_one_of_comments_are_nothing_to_do() {
    for list in ["", "\n\n", "# only\n\n  # comments\n"] {
        let run = Run::new().list_bytes(list);
        let ended = run.finish().code(3);
        ended.says(&["no URL"]);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
        assert_eq!(run.log().records().len(), 0);
    }
}

#[test]
fn a_missing_list_is_named_before_anything_is_touched() {
    let run = Run::new();
    let ended = run.finish().code(3);
    ended.says(&["urls.txt", "no such file"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    assert!(!exists(&run.path("downloads")), "nothing was created");
}

#[test]
fn a_folder_in_place_of_a_list_is_named() {
    let run = Run::new();
    fs::create_dir(run.path("urls.txt")).unwrap();
    let ended = run.finish().code(3);
    ended.says(&["urls.txt", "directory"]);
}

#[test]
fn a_list_that_may_not_be_read_is_named() {
    // Root may read any file, so the run drops the capabilities for that.
    if !is_root("a_list_that_may_not_be_read_is_named") {
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let run = Run::new().list(["http://127.0.0.1:9/"]).through([
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search",
        "--inh-caps=-dac_override,-dac_read_search",
    ]);
    fs::set_permissions(run.path("urls.txt"), fs::Permissions::from_mode(0o000)).unwrap();
    let ended = run.finish().code(3);
    ended.says(&["urls.txt", "ermission denied"]);
}

#[test]
fn lists_that_are_missing_among_others_are_all_named_before_anything_is_touched() {
    let server = Server::start();
    for dry_run in ["", "--dry-run"] {
        let run = Run::new()
            .list([server.url("/f")])
            .with("urls.txt missing.txt gone.txt")
            .with(dry_run);
        let ended = run.finish().code(3);
        ended.says(&["missing.txt", "no such file"]);
        ended.says(&["gone.txt", "no such file"]);
        assert_eq!(ended.stderr.lines().count(), 2, "{}", ended.text());
        assert!(!exists(&run.path("downloads")), "nothing was created");
    }
    assert_eq!(server.total(), 0);
}

#[test]
fn several_lists_are_one_input() {
    let server = Server::start();
    let run = Run::new()
        .list([server.url("/a"), server.url("/b")])
        .with("urls.txt more.txt");
    fs::write(
        run.path("more.txt"),
        format!("{}\n{}\n", server.url("/b"), server.url("/c")),
    )
    .unwrap();
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 3, "{}", ended.text());
    assert_eq!(ended.summary("duplicates"), 1, "{}", ended.text());
}

#[test]
fn a_slow_standard_input_is_worked_on_as_it_comes() {
    let server = Server::start();
    let run = Run::new().with("-");
    let mut job = run.start_fed();
    for n in 0..3 {
        let path = format!("/{n}");
        job.feed(&format!("{}\n", server.url(&path)));
        // The next line is written only after the file of this one was recorded.
        server.wait_for(&path, 1);
        job.wait_for_record(&server.url(&path));
    }
    // Half a line is not used until the end of input completes it.
    job.feed(&server.url("/last"));
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("stored"), 4, "{}", ended.text());
}

#[test]
fn bad_lines_of_standard_input_are_named() {
    let run = Run::new().with("-");
    let mut job = run.start_fed();
    job.feed("\nnonsense\n");
    job.wait_for_line("<stdin>:2: ");
    job.finish().code(3);
}

#[test]
fn a_signal_while_standard_input_is_waited_for_ends_the_run() {
    let server = Server::start();
    let run = Run::new().with("-");
    let mut job = run.start_fed();
    job.feed(&format!("{}\n", server.url("/f")));
    job.wait_for_record(&server.url("/f"));
    let stdin = job.stdin.take();
    job.signal(rustix::process::Signal::TERM);
    let ended = job.finish().code(143);
    drop(stdin);
    assert!(
        ended.stdout.contains("the same command continues"),
        "nobody knows how much is left: {}",
        ended.stdout
    );
}

#[test]
fn options_that_make_no_sense_are_usage_errors() {
    for (arguments, parts) in [
        ("--workers 0", vec!["--workers", "0"]),
        ("--workers many", vec!["--workers", "many"]),
        ("--workers -1", vec!["-1"]),
        ("--concurrency 0", vec!["--concurrency", "0"]),
        ("--max-deliveries 0", vec!["--max-deliveries", "0"]),
        (
            "--lease-timeout 0",
            vec!["--lease-timeout", "longer than 0"],
        ),
        (
            "--restart-intensity 5",
            vec!["--restart-intensity", "N/PERIOD"],
        ),
        ("--resolve nonsense", vec!["--resolve", "HOST:PORT:ADDR"]),
        ("--simulate=speed=1", vec!["--simulate", "speed"]),
        ("--max-filesize huge", vec!["--max-filesize", "huge"]),
        ("--cacert missing.pem", vec!["missing.pem"]),
        ("--no-such-option", vec!["--no-such-option"]),
        ("- -", vec!["standard input", "2 times"]),
        ("--quiet --verbose", vec!["--quiet", "--verbose"]),
    ] {
        let run = Run::new().list(["http://127.0.0.1:9/"]).with(arguments);
        let ended = run.finish().code(2);
        for part in parts {
            assert!(ended.stderr.contains(part), "{arguments}: {}", ended.text());
        }
        assert!(!exists(&run.path("downloads")), "{arguments}");
    }
}

#[test]
fn a_list_can_be_a_pipe_that_is_still_being_written() {
    let server = Server::start().answer("/a", [Answer::Held]);
    let run = Run::new().with("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(run.path("pipe"))
        .status();
    assert!(made.unwrap().success());
    let job = run.start();
    let mut pipe = fs::OpenOptions::new()
        .write(true)
        .open(run.path("pipe"))
        .unwrap();
    use std::io::Write as _;
    writeln!(pipe, "{}", server.url("/a")).unwrap();
    server.wait_for("/a", 1);
    writeln!(pipe, "{}", server.url("/b")).unwrap();
    server.wait_for("/b", 1);
    server.release("/a");
    drop(pipe);
    job.finish().code(0);
    assert_eq!(run.log().count("stored"), 2);
}
