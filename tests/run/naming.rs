//! File names by scheme and by template.

use std::fs;

use data_encoding::{BASE32_DNSSEC, HEXLOWER};

use crate::support::{Run, Server, server, sha256};

/// Returns what represents a URL in a name: 80 bits of its SHA-256, in base32.
fn key(url: &str) -> String {
    let digest = HEXLOWER.decode(sha256(url.as_bytes()).as_bytes()).unwrap();
    BASE32_DNSSEC.encode(&digest[..10])
}

/// Returns the paths in the records of these URLs, in order.
fn paths(run: &Run, urls: &[String]) -> Vec<String> {
    let log = run.log();
    let path = |url: &String| {
        let record = log.of(url).pop().unwrap();
        let file = log.file(&record);
        assert_eq!(record.sha256, Some(sha256(&file)));
        record.path.unwrap()
    };
    urls.iter().map(path).collect()
}

#[test]
fn files_go_where_the_scheme_says_and_a_second_run_finds_them() {
    let server = Server::start();
    let urls = ["/a/b/c.txt", "/a/b/c.txt?x=1", "/a/d.tar.gz"].map(|path| server.url(path));
    let host = server.url("").replace("http://", "").replace(':', "_");
    for (naming, shapes) in [
        ("flat", ["c-K.txt", "c-K.txt", "d-K.tar.gz"]),
        ("tree", ["H/a/b/c-K.txt", "H/a/b/c-K.txt", "H/a/d-K.tar.gz"]),
        ("hash", ["F/K.txt", "F/K.txt", "F/K.tar.gz"]),
        ("{n}/{name}", ["1/c.txt", "2/c.txt", "3/d.tar.gz"]),
        ("{hash}{n}", ["K1", "K2", "K3"]),
        (
            "x-{host}/{path}.{hash}",
            ["x-H/a/b/c.txt.K", "x-H/a/b/c.txt.K", "x-H/a/d.tar.gz.K"],
        ),
    ] {
        let run = Run::new().list(&urls).with("--naming").with(naming);
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("stored"), 3, "{}", ended.text());
        for ((path, url), shape) in paths(&run, &urls).iter().zip(&urls).zip(shapes) {
            let key = key(url);
            let expected = shape
                .replace('F', &key[..2])
                .replace('K', &key)
                .replace('H', &host);
            assert_eq!(*path, expected, "{naming}");
        }
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("stored"), 0, "{}", ended.text());
    }
}

#[test]
fn a_template_that_gives_two_urls_one_name_refuses_the_second() {
    let server = Server::start();
    let run = Run::new()
        .list([server.url("/1/x"), server.url("/2/x"), server.url("/2/y")])
        .with("--naming {name}");
    let ended = run.finish().code(1);
    ended.says(&["urls.txt:2: ", &server.url("/2/x"), "urls.txt:1", "{hash}"]);
    assert_eq!(
        fs::read(run.path("downloads/x")).unwrap(),
        server::body("/1/x")
    );
    assert_eq!(ended.summary("stored"), 2, "{}", ended.text());
    // The list in reverse order: the file in place stays.
    let run = run.list([server.url("/2/x"), server.url("/1/x")]);
    run.finish().code(1);
    assert_eq!(
        fs::read(run.path("downloads/x")).unwrap(),
        server::body("/1/x")
    );
}

#[test]
fn a_duplicate_is_recorded_with_the_name_of_the_first() {
    let server = Server::start();
    let run = Run::new()
        .list([server.url("/a"), server.url("/b"), server.url("/a")])
        .with("--naming {n}");
    run.finish().code(0);
    let records = run.log().of(&server.url("/a"));
    let paths: Vec<_> = records
        .iter()
        .map(|record| record.path.as_deref())
        .collect();
    assert_eq!(paths, [Some("1"), Some("1")]);
}

#[test]
fn a_url_that_tries_to_leave_the_folder_stays_in_it_under_every_scheme() {
    let server = Server::start();
    let urls = [
        "/%2e%2e/%2e%2e%2fetc/passwd",
        "/..%5c..%5cx",
        "/.coordinator/lock",
        "/%00/%0a",
    ]
    .map(|path| server.url(path));
    for naming in ["flat", "tree", "hash", "{path}", "{name}", "{host}/{path}"] {
        let run = Run::new().list(&urls).with("--naming").with(naming);
        run.finish().code(0);
        let root = fs::canonicalize(run.path("downloads")).unwrap();
        let records = run.log().records();
        assert_eq!(records.len(), urls.len());
        // The list's URLs are not in normal form, so records are not looked up by URL.
        for path in records.into_iter().map(|record| record.path.unwrap()) {
            let file = fs::canonicalize(root.join(&path)).unwrap();
            assert!(file.starts_with(&root), "{path}");
            assert!(!file.starts_with(root.join(".coordinator")), "{path}");
        }
    }
}
