//! `--remote-header-name`: files named as their servers suggest.

use std::fs;

use rustix::process::Signal;

use crate::support::{Answer, Run, Server};

/// A server that suggests this name for `/d`.
fn suggesting(name: &str) -> Server {
    let header = format!("Content-Disposition: attachment; filename=\"{name}\"\r\nETag: \"1\"\r\n");
    Server::start().answer("/d?id=1", [Answer::StatusWith(200, header)])
}

/// Returns the names of the files in the output folder.
fn files(run: &Run) -> Vec<String> {
    let entries = fs::read_dir(run.path("downloads")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != ".coordinator").collect();
    names.sort();
    names
}

#[test]
fn one_file_has_the_name_that_its_server_suggests_and_the_same_command_finds_it_again() {
    for mode in ["", "--engine async", "--mode threads"] {
        let server = suggesting("../report 1.pdf");
        let url = server.url("/d?id=1");
        let run = Run::new().arg(&url).with("-J").with(mode);
        run.finish().code(0);
        assert_eq!(files(&run), ["report 1.pdf"]);
        let record = run.log().one(&url);
        assert_eq!(record.path.as_deref(), Some("report 1.pdf"));
        assert_eq!(
            record.out.as_deref(),
            Some("d"),
            "what the task is known by"
        );
        assert!(record.server_named);
        let again = run.finish().code(0);
        assert!(again.stdout.contains("nothing to do"), "{}", again.text());
        let without = Run::finish(&run.without_arguments().arg(&url)).code(0);
        assert!(
            without.stdout.contains("nothing to do"),
            "{}",
            without.text()
        );
        assert_eq!(server.total(), 1);
    }
}

#[test]
fn names_of_lists_hold_the_hash_of_their_url_and_an_own_name_comes_first() {
    let server = suggesting("x.tar.gz");
    let list = format!(
        "{{\"url\":\"{0}\"}}\n{{\"url\":\"{0}\"}}\n{{\"url\":\"{0}\",\"out\":\"own\"}}\n{{\"url\":\"{1}\"}}\n",
        server.url("/d?id=1"),
        server.url("/plain.txt"),
    );
    let run = Run::new().with("list.jsonl --remote-header-name");
    fs::write(run.path("list.jsonl"), list).unwrap();
    run.finish().code(0);
    let names = files(&run);
    let [own, plain, suggested] = names.as_slice() else {
        panic!("{names:?}");
    };
    assert_eq!(own, "own");
    assert!(
        plain.starts_with("plain-") && plain.ends_with(".txt"),
        "{plain}"
    );
    assert!(
        suggested.starts_with("x-") && suggested.ends_with(".tar.gz"),
        "{suggested}"
    );
    let asked = server.total();
    run.finish().code(0);
    let run = run.without_arguments().with("list.jsonl");
    run.finish().code(0);
    assert_eq!(files(&run), names);
    assert_eq!(server.total(), asked, "nothing is downloaded again");
    fs::remove_file(run.path("downloads").join(&names[2])).unwrap();
    run.finish().code(0);
    assert_eq!(files(&run), names, "it is downloaded to where it was");
}

#[test]
fn a_file_that_no_run_has_made_keeps_its_name_and_its_bytes() {
    let server = suggesting("mine");
    let run = Run::new().arg(server.url("/d?id=1")).with("-J --retry 0");
    fs::create_dir_all(run.path("downloads")).unwrap();
    fs::write(run.path("downloads/mine"), "mine").unwrap();
    run.finish()
        .code(1)
        .says(&["mine", "no run has made", "--force"]);
    assert_eq!(fs::read(run.path("downloads/mine")).unwrap(), b"mine");
    let run = run.with("--force");
    run.finish().code(0);
    assert_ne!(fs::read(run.path("downloads/mine")).unwrap(), b"mine");
}

#[test]
fn a_suggestion_leads_nowhere_and_hides_nothing() {
    for (suggested, stored) in [
        ("../../.bashrc", "bashrc"),
        (".coordinator", "coordinator"),
        ("...", "d"),
        ("-rf", "rf"),
        ("/etc/passwd", "passwd"),
    ] {
        let server = suggesting(suggested);
        let run = Run::new().arg(server.url("/d?id=1")).with("-J");
        run.finish().code(0);
        assert_eq!(files(&run), [stored], "{suggested}");
    }
}

#[test]
fn a_file_that_a_killed_run_left_without_a_record_is_done_again_in_its_place() {
    let server = suggesting("report");
    let run = Run::new()
        .script("script", "touch began; [ -e go ] || exec sleep 1000")
        .arg(server.url("/d?id=1"))
        .with("-J --exec ./script");
    let job = run.start();
    let began = run.path("began");
    job.wait_until("the command runs", || began.exists());
    assert_eq!(files(&run), ["report"]);
    job.signal(Signal::KILL);
    job.finish();
    fs::write(run.path("go"), "").unwrap();
    run.finish().code(0);
    assert_eq!(files(&run), ["report"]);
    assert_eq!(server.total(), 2);
}

#[test]
fn a_refresh_leaves_a_file_under_the_name_that_was_suggested_first() {
    let header = |name: &str, tag: u8| {
        let value = format!("attachment; filename={name}");
        let header = format!("Content-Disposition: {value}\r\nETag: \"{tag}\"\r\n");
        Answer::StatusWith(200, header)
    };
    let answers = [header("first", 1), Answer::Status(304), header("second", 2)];
    let server = Server::start().answer("/d?id=1", answers);
    let run = Run::new().arg(server.url("/d?id=1")).with("-J --refresh");
    for count in 1..=3 {
        run.finish().code(0);
        assert_eq!(files(&run), ["first"]);
        assert_eq!(server.total(), count);
    }
}

#[test]
fn a_template_leaves_no_place_for_such_a_name() {
    for naming in ["hash", "{n}"] {
        let run = Run::new().list(["https://h.example/a"]).with("-J --naming");
        let ended = run.arg(naming).finish().code(2);
        ended.says(&["--remote-header-name", "--naming"]);
    }
}
