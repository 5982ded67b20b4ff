//! Tests of the lines of a list.

use std::fs;

use std::io::Read;

use super::*;

fn lines_of(data: &[u8]) -> Vec<Line> {
    let reader = Box::new(io::Cursor::new(data.to_vec()));
    Lines::new("urls.txt", reader, Arc::default()).collect()
}

fn urls_of(data: &[u8]) -> Vec<(u64, String)> {
    let mut out = Vec::new();
    for line in lines_of(data) {
        let target = line.entry.expect("every line holds a URL");
        out.push((line.number, target.url));
    }
    out
}

fn problem_of(line: &[u8]) -> String {
    let mut data = b"# a comment\n".to_vec();
    data.extend_from_slice(line);
    let lines = lines_of(&data);
    assert_eq!(lines.len(), 1, "{}", String::from_utf8_lossy(line));
    lines[0].problem().expect("the line holds no URL")
}

#[test]
fn each_mistake_has_its_message() {
    let table: &[(&[u8], &str)] = &[
        (
            b"example.com/x",
            "no scheme in example.com/x; did you mean https://example.com/x",
        ),
        (
            b"localhost:3000/x",
            "no scheme in localhost:3000/x; did you mean https://localhost:3000/x",
        ),
        (
            b"//example.com/x",
            "no scheme in //example.com/x; did you mean https://example.com/x",
        ),
        (
            b"/etc/passwd",
            "no scheme; write https://host/path: /etc/passwd",
        ),
        (
            b"two words",
            "no scheme; write https://host/path: two words",
        ),
        (
            b"ftp://h/x",
            "scheme ftp is not supported, only http and https are: ftp://h/x",
        ),
        (
            b"mailto:me@h",
            "scheme mailto is not supported, only http and https are: ***@h",
        ),
        (
            b"http://",
            "no host in the URL; write https://host/path: http://",
        ),
        (
            b"https:///x",
            "no host in the URL; write https://host/path: https:///x",
        ),
        (
            b"https:x",
            "no host in the URL; write https://host/path: https:x",
        ),
        (
            b"http://?q",
            "no host in the URL; write https://host/path: http://?q",
        ),
        (
            b"http://:80/",
            "no host in the URL; write https://host/path: http://:80/",
        ),
        (
            b"http://h:99999/",
            "the port is not a number from 1 to 65535: http://h:99999/",
        ),
        (
            b"http://h:0/",
            "the port is not a number from 1 to 65535: http://h:0/",
        ),
        (
            b"http://h:8o/",
            "the port is not a number from 1 to 65535: http://h:8o/",
        ),
        (
            b"https://me:secret@h:99999/x",
            "the port is not a number from 1 to 65535: https://***@h:99999/x",
        ),
        (
            b"me:secret@h//x@y",
            "no scheme in ***@h//x@y; did you mean https://***@h//x@y",
        ),
        (
            b"http://1.2.3.999/",
            "not a valid URL, invalid IPv4 address: http://1.2.3.999/",
        ),
        (
            b"http://a<b/",
            "not a valid URL, invalid international domain name: http://a<b/",
        ),
        (
            b"http://h/a\tout.txt",
            "a control character in the URL; percent-encode it, and put one URL on a line: \
             http://h/a\\tout.txt",
        ),
        (
            b"http://h/\x1b[31m",
            "a control character in the URL; percent-encode it, and put one URL on a line: \
             http://h/\\u{1b}[31m",
        ),
        (
            b"http://h/a HTTPS://h/b",
            "more than one URL on the line; put each on a line of its own: http://h/a HTTPS://h/b",
        ),
        (
            b"http://h/\xff\xfe",
            "the line is not UTF-8; save the list as UTF-8: http://h/\u{fffd}\u{fffd}",
        ),
        (
            "ftp://h/\u{202e}gpj".as_bytes(),
            "scheme ftp is not supported, only http and https are: ftp://h/\\u{202e}gpj",
        ),
    ];
    for (line, expected) in table {
        assert_eq!(problem_of(line), format!("urls.txt:2: {expected}"));
    }
}

#[test]
fn long_text_is_abbreviated_in_messages() {
    let line = format!("ftp://h/{}", "x".repeat(500));
    let expected = format!(
        "urls.txt:2: scheme ftp is not supported, only http and https are: ftp://h/{}…",
        "x".repeat(92)
    );
    assert_eq!(problem_of(line.as_bytes()), expected);
}

#[test]
fn a_line_may_have_the_full_length_and_not_one_byte_more() {
    let longest = format!("http://h/{}", "x".repeat(MAX_LINE - 9));
    assert_eq!(urls_of(longest.as_bytes()), [(1, longest.clone())]);
    let problem = problem_of(format!("{longest}x").as_bytes());
    let head =
        "urls.txt:2: the line is longer than 16384 bytes; put one URL on a line: http://h/xx";
    assert!(problem.starts_with(head), "{problem}");
    assert!(problem.len() < 200, "{problem}");
}

#[test]
fn an_overlong_line_is_passed_over_and_counted_once() {
    let mut data = b"http://h/1\n".to_vec();
    data.resize(data.len() + 1_000_000, b'x');
    data.extend_from_slice(b"\n#");
    data.resize(data.len() + 1_000_000, b'x');
    data.extend_from_slice(b"\nhttp://h/4\n");
    let lines = lines_of(&data);
    let numbers: Vec<u64> = lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, [1, 2, 4]);
    let entry = &lines[1].entry;
    assert!(matches!(entry, Err(LineError::TooLong { .. })), "{entry:?}");
    assert!(lines[2].entry.is_ok());
}

#[test]
fn blank_lines_and_comments_are_skipped_and_counted() {
    let data = b"\n# one\n  \t# two\n   \nhttp://h/5\n\n#http://h/\nhttp://h/8";
    let expected = [(5, "http://h/5".into()), (8, "http://h/8".into())];
    assert_eq!(urls_of(data), expected);
}

#[test]
fn byte_order_mark_and_carriage_returns_do_not_matter() {
    let data = b"\xEF\xBB\xBFhttp://h/1\r\n\r\n \thttp://h/3 \t\r\nhttp://h/4\r";
    let expected = [(1, "http://h/1"), (3, "http://h/3"), (4, "http://h/4")];
    assert_eq!(urls_of(data), expected.map(|(n, url)| (n, url.to_owned())));
    assert_eq!(urls_of(b"\xEF\xBB\xBF# x\nhttp://h/2").len(), 1);
    assert_eq!(urls_of(b""), []);
    assert_eq!(urls_of(b"\xEF\xBB\xBF"), []);
}

#[test]
fn urls_are_normalised_and_lose_their_fragment() {
    let table = [
        (
            "HTTPS://EXAMPLE.com:443/a/../b#top",
            "https://example.com/b",
        ),
        ("http://h", "http://h/"),
        ("http://h/#", "http://h/"),
        ("http://h/a # a remark", "http://h/a"),
        ("http://h/a b", "http://h/a%20b"),
        ("http://h/?q=a#b", "http://h/?q=a"),
        (
            "http://bücher.example/ü",
            "http://xn--bcher-kva.example/%C3%BC",
        ),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://h/~@x:y", "http://h/~@x:y"),
    ];
    for (line, url) in table {
        assert_eq!(urls_of(line.as_bytes()), [(1, url.to_owned())]);
    }
}

#[test]
fn hosts_count_by_name_and_by_a_port_that_is_not_the_schemes_own() {
    let hosts: Vec<String> =
        lines_of(b"http://h/a\nhttps://h/a\nhttp://h:443/a\nhttps://h:8443/a\n")
            .into_iter()
            .map(|line| line.entry.expect("a URL").host)
            .collect();
    assert_eq!(hosts, ["h", "h", "h:443", "h:8443"]);
}

#[test]
fn equal_urls_have_equal_keys_however_they_are_written() {
    let targets: Vec<Target> = lines_of(b"http://h/a\nHTTP://H:80/./a#x\nhttp://h/A\n")
        .into_iter()
        .map(|line| line.entry.expect("a URL"))
        .collect();
    assert_eq!(targets[0], targets[1]);
    assert_eq!(targets[0].host, "h");
    assert_ne!(targets[0].key, targets[2].key);
    assert_eq!(targets[0].path, format!("a-{}", targets[0].key));
}

#[test]
fn a_read_error_is_the_last_item() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is on fire"))
        }
    }
    let reader = io::Cursor::new(b"http://h/1\nhttp://h/2".to_vec()).chain(Failing);
    let mut lines = Lines::new("urls.txt", Box::new(reader), Arc::default());
    assert!(lines.next().is_some_and(|line| line.entry.is_ok()));
    // The bytes read of line 2 may be half a URL, which must not be downloaded.
    let line = lines.next().expect("the error is an item");
    assert_eq!(
        line.problem().as_deref(),
        Some("urls.txt:2: cannot read the URL list from here on: the disk is on fire")
    );
    assert!(lines.next().is_none());
}

#[test]
fn a_list_that_cannot_be_opened_says_why_and_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let missing = dir.path().join("nope.txt");
    let error =
        read(&Source::File(missing.clone()), &Arc::default()).expect_err("there is no such file");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot open the URL list {}: no such file; name a URL with its scheme, a list that is there, or - for standard input",
            missing.display()
        )
    );
    let error =
        read(&Source::File(dir.path().to_owned()), &Arc::default()).expect_err("it is a directory");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot read the URL list {}: it is a directory; name a file in it",
            dir.path().display()
        )
    );
    let file = dir.path().join("file");
    fs::write(&file, "").expect("write");
    let error =
        read(&Source::File(file.join("below")), &Arc::default()).expect_err("a file holds no file");
    assert!(matches!(error, InputError::Unreadable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("below: Not a directory"), "{text}");
}

#[test]
fn a_file_is_read_under_its_own_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("a\nb.txt");
    fs::write(&path, "x\n").expect("write");
    let source = Source::File(path);
    let line = read(&source, &Arc::default())
        .expect("it is there")
        .next()
        .expect("a line");
    let problem = line.problem().expect("not a URL");
    assert!(
        problem.contains("/a\\nb.txt:1: no scheme in x"),
        "{problem}"
    );
}

#[test]
fn the_list_that_ships_is_in_order() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/urls.txt");
    let lines: Vec<Line> = read(&Source::File(path.into()), &Arc::default())
        .expect("urls.txt")
        .collect();
    let mut targets = Vec::new();
    for line in &lines {
        assert_eq!(line.problem(), None);
        targets.extend(&line.entry);
    }
    let distinct = |of: fn(&Target) -> String| {
        let all: std::collections::BTreeSet<_> = targets.iter().map(|target| of(target)).collect();
        all.len()
    };
    assert_eq!(distinct(|target| target.url.clone()), 30);
    assert_eq!(distinct(|target| target.path.clone()), 30);
    assert!(distinct(|target| target.host.clone()) >= 10);
}

proptest::proptest! {
    #[test]
    fn whatever_a_line_holds_it_is_a_target_or_a_message_on_one_line(
        line in proptest::prop_oneof![
            proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            proptest::strategy::Strategy::prop_map("(https?:)?[/\\\\]{0,3}\\PC{0,60}", String::into_bytes),
        ],
    ) {
        for line in lines_of(&line) {
            match (line.problem(), line.entry) {
                (Some(problem), Err(_)) => assert!(!problem.contains(char::is_control)),
                (None, Ok(target)) => {
                    let url = url::Url::parse(&target.request_url()).expect("a target's URL parses");
                    // A normalised URL must not change again, or a resumed run would not find it.
                    assert_eq!(Target::new(url, &naming::Naming::Flat, 1), Ok(Some(target)));
                }
                (Some(_), Ok(_)) | (None, Err(_)) => unreachable!("a problem is an error"),
            }
        }
    }
}

#[test]
fn credentials_are_for_the_request_and_for_nothing_else() {
    let parse = |line: &str| {
        let url = url::Url::parse(line).expect("a URL");
        let target = Target::new(url, &naming::Naming::Flat, 1).expect("a place");
        target.expect("a target")
    };
    let plain = parse("http://h/a.txt");
    for (pair, sent) in [
        ("me:se%20cret", "me:se%20cret"),
        ("me", "me"),
        (":pw", ":pw"),
    ] {
        let target = parse(&format!("http://{pair}@h/a.txt"));
        assert_eq!(target.request_url(), format!("http://{sent}@h/a.txt"));
        assert_eq!(target.url, plain.url);
        assert_eq!((target.key, &target.path), (plain.key, &plain.path));
        assert!(!format!("{target:?}").contains("cret"), "{target:?}");
    }
    assert_eq!(plain.request_url(), plain.url);
}
