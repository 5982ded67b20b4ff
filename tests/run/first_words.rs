//! What users type first: a URL, a mistyped command, options of other programs.

use std::fs;

use crate::support::server::body;
use crate::support::{Answer, Ended, Run, Server};

fn one_line(ended: &Ended) {
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
}

#[test]
fn one_url_is_stored_under_its_plain_name_and_only_once() {
    let server = Server::start();
    let run = Run::new().arg(server.url("/a/x.pdf?page=2"));
    run.finish().code(0);
    let file = run.path("downloads/x.pdf");
    assert_eq!(fs::read(&file).unwrap(), body("/a/x.pdf?page=2"));
    run.finish().code(0);
    assert_eq!(server.total(), 1, "the second run finds it in place");
    fs::remove_file(&file).unwrap();
    run.finish().code(0);
    assert_eq!(server.total(), 2, "the third finds it gone");
    assert!(file.exists());
}

#[test]
fn a_plain_name_never_takes_the_place_of_a_file_of_the_users_or_of_another_url() {
    let server = Server::start();
    let run = Run::new();
    fs::create_dir(run.path("downloads")).unwrap();
    fs::write(run.path("downloads/x"), "mine").unwrap();
    let run = run.arg(server.url("/1/x"));
    let ended = run.finish().code(3);
    ended.says(&["the command line: ", "no run has made", "--force"]);
    one_line(&ended);
    assert_eq!(fs::read(run.path("downloads/x")).unwrap(), b"mine");
    let run = run.arg("--force");
    run.finish().code(0);
    assert_eq!(fs::read(run.path("downloads/x")).unwrap(), body("/1/x"));
    let run = run.without_arguments().arg(server.url("/2/x"));
    run.finish().code(3).says(&["another URL"]);
    assert_eq!(fs::read(run.path("downloads/x")).unwrap(), body("/1/x"));
}

#[test]
fn o_names_the_file_where_the_user_is_or_in_the_output_folder() {
    let server = Server::start();
    let run = Run::new().arg(server.url("/x"));
    for (arguments, file) in [
        ("-o y.bin", "y.bin"),
        ("-o sub/z.bin", "sub/z.bin"),
        ("-o ./a/z.bin --output books", "books/a/z.bin"),
        ("--output-dir more", "more/x"),
    ] {
        let words = arguments.split_whitespace().map(Into::into);
        let ended = run.finish_with(words);
        ended.code(0);
        assert_eq!(fs::read(run.path(file)).unwrap(), body("/x"), "{file}");
    }
    assert_eq!(server.total(), 4);
}

#[test]
fn o_is_the_folder_of_a_list_and_where_a_folder_is_meant() {
    let server = Server::start();
    let run = Run::new().list([server.url("/a"), server.url("/b")]);
    fs::create_dir(run.path("there")).unwrap();
    let url = server.url("/x");
    for (words, folder, files) in [
        (vec!["urls.txt", "-o", "lists"], "lists", 2),
        (vec![&*url, "urls.txt", "-o", "both"], "both", 3),
        (vec![&url, "-o", "slash/"], "slash", 1),
        (vec![&url, "-o", "there"], "there", 1),
    ] {
        let ended = run.finish_with(words.iter().map(Into::into)).code(0);
        let names = fs::read_dir(run.path(folder)).unwrap();
        let stored = names.filter(|name| name.as_ref().unwrap().path().is_file());
        assert_eq!(stored.count(), files, "{words:?}: {ended:?}");
    }
    assert_eq!(server.total(), 7);
}

#[test]
fn o_is_refused_where_it_names_neither_a_file_nor_the_only_folder() {
    let server = Server::start();
    let run = Run::new().list([server.url("/x")]);
    let url = server.url("/x");
    for words in [
        vec!["urls.txt", "-o", "x", "--output", "books"],
        vec![&url, "-o", "x/", "--output", "books"],
        vec![&url, "-o", "-"],
        vec![&url, "-o", "../x", "--output", "books"],
        vec![&url, "-o", "/x", "--output", "books"],
    ] {
        let ended = run.finish_with(words.iter().map(Into::into)).code(2);
        ended.says(&["-o"]);
        one_line(&ended);
    }
    assert_eq!(server.total(), 0);
}

#[test]
fn urls_and_lists_can_be_mixed_and_are_then_named_as_in_a_list() {
    let server = Server::start();
    let run = Run::new()
        .list([server.url("/b.txt")])
        .arg(server.url("/a.txt"))
        .with("urls.txt -")
        .arg(server.url("/d.txt"));
    let mut job = run.start_fed();
    job.feed(&format!("{}\n", server.url("/c.txt")));
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("stored"), 4, "{}", ended.text());
    for name in ["a", "b", "c", "d"] {
        let record = run.log().one(&server.url(&format!("/{name}.txt")));
        let path = record.path.as_deref().unwrap();
        let key = path
            .strip_prefix(&format!("{name}-"))
            .and_then(|rest| rest.strip_suffix(".txt"));
        assert_eq!(key.map(str::len), Some(16), "{path}");
    }
}

#[test]
fn a_url_that_cannot_be_downloaded_is_an_error_of_the_command_line() {
    let run = Run::new();
    for (url, part) in [
        ("ftp://h.example/x", "scheme ftp is not supported"),
        ("https://", "no host"),
        ("http://h.example:x/", "port"),
    ] {
        let ended = run.finish_with([url.into()]).code(2);
        ended.says(&[part]);
        one_line(&ended);
    }
    let ended = run.finish_with(["h.example/x.pdf".into()]).code(3);
    ended.says(&["did you mean https://h.example/x.pdf"]);
}

#[test]
fn a_misspelt_command_is_no_missing_file() {
    let run = Run::new();
    for (words, meant) in [
        ("resutls", "did you mean coordinator results"),
        ("resutls downloads", "did you mean coordinator results"),
        ("version", "did you mean coordinator --version"),
        ("help choas", "did you mean chaos"),
    ] {
        let ended = run
            .finish_with(words.split_whitespace().map(Into::into))
            .code(2);
        ended.says(&[meant]);
        one_line(&ended);
    }
    let run = run.list::<&str>([]);
    fs::rename(run.path("urls.txt"), run.path("resutls")).unwrap();
    run.finish_with(["resutls".into()])
        .code(3)
        .says(&["no URL"]);
}

#[test]
fn options_of_other_programs_are_answered_with_ours() {
    let run = Run::new();
    for (words, part) in [
        ("--retries 3", "--retry N"),
        ("--tries=3", "--retry N"),
        ("--jobs 8", "--workers N"),
        ("-j8", "--workers N"),
        ("-P 8", "--workers N"),
        ("-d books", "--output DIR"),
        ("-i list", "coordinator LIST"),
        ("-O x", "-o FILE"),
        ("-x 16", "--parallel-max-host N"),
        ("--max-connection-per-server=16", "--split N"),
        ("-c -", "repeat its command"),
        ("--continue", "repeat the command"),
        ("--silent", "--quiet"),
        ("--inet4-only", "--ipv4"),
        ("--inet6-only", "--ipv6"),
        ("--disable-ipv6=true", "--ipv4"),
    ] {
        let ended = run
            .finish_with(words.split_whitespace().map(Into::into))
            .code(2);
        ended.says(&[part]);
    }
    let other = run
        .finish_with(["results", "--jobs"].map(Into::into))
        .code(2);
    assert!(!other.stderr.contains("--workers"), "{}", other.text());
}

#[test]
fn a_try_needs_no_list_and_real_downloads_do() {
    let run = Run::new().with("--simulate=size=1,latency=0s");
    let ended = run.finish().code(0);
    assert!(ended.summary("stored") >= 30, "{}", ended.text());
    let ended = run.finish_with([]).code(0);
    assert!(ended.summary("stored earlier") >= 30, "{}", ended.text());
    let run = run.without_arguments();
    run.finish().code(3).says(&["urls.txt", "no such file"]);
}

#[test]
fn the_name_that_a_server_suggests_is_recorded_and_names_no_file() {
    let header = "Content-Disposition: attachment; filename=\"../report 1.pdf\"\r\n";
    let server = Server::start().answer("/d?id=1", [Answer::StatusWith(200, header.to_owned())]);
    for mode in ["", "--engine async"] {
        let run = Run::new().arg(server.url("/d?id=1")).with(mode);
        run.finish().code(0);
        let record = run.log().one(&server.url("/d?id=1"));
        assert_eq!(record.suggested_name.as_deref(), Some("report 1.pdf"));
        assert_eq!(record.path.as_deref(), Some("d"));
    }
}
