//! What the list says about a file: its checksums, and which part of the resource it is.

use protocol::{Algorithm, Assignment, ByteRange, Checksum, Engine, Expect, FailureKind, Severity};

use crate::support::{Bench, Downloaded, Server, TRANSIENT, ok, options};

/// The checksums of "123456789", by md5sum, sha1sum, sha256sum and sha512sum; the last is the check
/// value of RFC 3720.
const SUMS: [(Algorithm, &str); 5] = [
    (Algorithm::Md5, "25f9e794323b453885f5181f1b624d0b"),
    (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
    (
        Algorithm::Sha256,
        "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    ),
    (
        Algorithm::Sha512,
        "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274a\
         d27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
    ),
    (Algorithm::Crc32c, "e3069283"),
];

fn sums() -> Vec<Checksum> {
    SUMS.iter()
        .map(|(algorithm, text)| Checksum::parse(*algorithm, text).expect("a checksum"))
        .collect()
}

fn task(url: &str, checksums: Vec<Checksum>) -> Assignment {
    let expect = Expect {
        checksums,
        size: None,
    };
    Assignment {
        expect: Some(Box::new(expect)),
        ..Assignment::new(url, "file")
    }
}

fn all_checksums_of_the_list_are_checked(engine: Engine) {
    let server = Server::answering(|_| ok("123456789"));
    let url = server.url("/");
    let mut bench = Bench::new(engine, options());
    bench.download(&task(&url, sums())).expect("all are right");
    assert_eq!(bench.stored(), "123456789");
    for (number, (algorithm, text)) in SUMS.into_iter().enumerate() {
        let mut bench = Bench::new(engine, options());
        let mut sums = sums();
        sums[number].digest[0] ^= 1;
        let wanted = sums[number].hex();
        let failed = bench.download(&task(&url, sums)).expect_err("one is wrong");
        assert_eq!(failed.kind, FailureKind::ChecksumMismatch);
        assert_eq!(failed.severity, Severity::Permanent);
        let expected = format!("the file has the {algorithm} {text}, and the list says {wanted}");
        assert_eq!(failed.message, expected);
    }
}

fn checksums_are_those_of_all_parts_of_a_body_that_was_resumed(engine: Engine) {
    let head = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 9\r\n\r\n1234";
    let rest = "HTTP/1.1 206 x\r\nETag: \"a\"\r\nContent-Range: bytes 4-8/9\r\n\
                Content-Length: 5\r\n\r\n56789";
    let (server, heads) = Server::in_turn(vec![head.into(), rest.into()]);
    let task = task(&server.url("/"), sums());
    let mut bench = Bench::new(engine, options());
    let failed = bench.download(&task).expect_err("it is cut off");
    assert_eq!(failed.kind, FailureKind::Truncated);
    bench.download(&task).expect("the parts make the file");
    assert_eq!(bench.stored(), "123456789");
    assert_eq!(heads.value(1, "range").as_deref(), Some("bytes=4-"));
}

/// Requests bytes 2 to 5 of a resource from a server that answers with `answer`.
fn part(engine: Engine, answer: &str) -> (Bench, Downloaded) {
    let (server, heads) = Server::in_turn(vec![answer.into()]);
    let mut given = options();
    given.compressed = true;
    given.headers = vec![("Range".to_owned(), "bytes=7-".to_owned())];
    let task = Assignment {
        range: Some(ByteRange { first: 2, last: 5 }),
        ..Assignment::new(server.url("/"), "file")
    };
    let mut bench = Bench::new(engine, given);
    let downloaded = bench.download(&task);
    assert_eq!(heads.value(0, "range").as_deref(), Some("bytes=2-5"));
    let coding = heads.value(0, "accept-encoding");
    assert_eq!(coding.as_deref(), Some("identity"));
    (bench, downloaded)
}

fn a_part_of_a_resource_is_stored_exactly(engine: Engine) {
    for head in [
        "206 x\r\nContent-Range: bytes 2-5/9\r\nContent-Length: 4\r\n\r\n",
        "206 x\r\nContent-Range: bytes 2-5/*\r\nETag: \"a\"\r\nContent-Length: 4\r\n\r\n",
        "206 x\r\nContent-Range: Bytes 2-5/6\r\n\r\n",
    ] {
        let (bench, downloaded) = part(engine, &format!("HTTP/1.1 {head}3456"));
        assert_eq!(downloaded.expect(head).bytes, 4);
        assert_eq!(bench.stored(), "3456");
    }
}

fn anything_but_exactly_the_part_is_a_failure(engine: Engine) {
    let permanent = (FailureKind::Status, Severity::Permanent);
    for (head, (kind, severity)) in [
        ("200 x\r\nContent-Length: 9\r\n\r\n", permanent),
        ("200 x\r\nContent-Range: bytes 2-5/9\r\n\r\n", permanent),
        ("206 x\r\nContent-Length: 4\r\n\r\n", permanent),
        ("206 x\r\nContent-Range: bytes 2-4/5\r\n\r\n", permanent),
        ("206 x\r\nContent-Range: bytes 1-5/9\r\n\r\n", permanent),
        ("206 x\r\nContent-Range: bytes 2-5/5\r\n\r\n", permanent),
        (
            "206 x\r\nContent-Range: bytes 2-5/9\r\nContent-Length: 9\r\n\r\n",
            permanent,
        ),
        (
            "206 x\r\nContent-Range: bytes 2-5/9\r\nContent-Encoding: gzip\r\n\r\n",
            permanent,
        ),
        (
            "206 x\r\nContent-Range: bytes 2-5/9\r\nContent-Type: multipart/byteranges; a\r\n\r\n",
            permanent,
        ),
        ("416 x\r\nContent-Length: 0\r\n\r\n", permanent),
        (
            "206 x\r\nContent-Range: bytes 2-5/9\r\nETag: \"a\"\r\nContent-Length: 4\r\n\r\n34",
            (FailureKind::Truncated, TRANSIENT),
        ),
    ] {
        let body = if head.ends_with("34") {
            ""
        } else {
            "123456789"
        };
        let (bench, downloaded) = part(engine, &format!("HTTP/1.1 {head}{body}"));
        let failed = downloaded.expect_err(head);
        assert_eq!((failed.kind, failed.severity), (kind, severity), "{failed}");
        assert_eq!(bench.left(), [""; 0], "{head}");
    }
}

fn the_message_about_another_part_names_both(engine: Engine) {
    let (_, downloaded) = part(
        engine,
        "HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\n123456789",
    );
    assert_eq!(
        downloaded.expect_err("the whole").message,
        "the server answered 200 with 9 bytes, which is not the range 2-5 of the list: no content range"
    );
}

fn when_a_body_was_modified_is_reported_whether_or_not_it_can_be_a_validator(engine: Engine) {
    let date = "Sun, 09 Sep 2001 01:46:40 GMT";
    let head = |more: &str| format!("HTTP/1.1 200 x\r\nContent-Length: 9\r\n{more}\r\n");
    let modified = |answers: Vec<String>| {
        let answers = answers.into_iter().map(String::into_bytes).collect();
        let (server, _) = Server::in_turn(answers);
        let mut bench = Bench::new(engine, options());
        let url = server.url("/");
        let stored = bench
            .get(&url)
            .or_else(|_| bench.get(&url))
            .expect("stored");
        stored.modified.map(|moment| moment.0)
    };
    let whole = |more: &str| vec![head(more) + "123456789"];
    let billion = Some(1_000_000_000_000_000);
    assert_eq!(
        modified(whole(&format!("Last-Modified: {date}\r\n"))),
        billion
    );
    assert_eq!(modified(whole("")), None);
    assert_eq!(modified(whole("Last-Modified: yesterday\r\n")), None);
    // The rest of a body may come without the header.
    let settled = format!("Last-Modified: {date}\r\nDate: Sun, 09 Sep 2001 01:46:50 GMT\r\n");
    let rest = "HTTP/1.1 206 x\r\nContent-Range: bytes 4-8/9\r\nContent-Length: 5\r\n\r\n56789";
    let parts = vec![head(&settled) + "1234", rest.to_owned()];
    assert_eq!(modified(parts), billion);
}

crate::on_every_engine![
    when_a_body_was_modified_is_reported_whether_or_not_it_can_be_a_validator,
    all_checksums_of_the_list_are_checked,
    checksums_are_those_of_all_parts_of_a_body_that_was_resumed,
    a_part_of_a_resource_is_stored_exactly,
    anything_but_exactly_the_part_is_a_failure,
    the_message_about_another_part_names_both,
];
