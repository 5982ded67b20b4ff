//! Lists in every format, from files and standard input, with and without compression, and the
//! fields of a line beyond the URL.

use std::fs;
use std::io::Write as _;

use serde_json::json;

use crate::support::run::{exists, urls};
use crate::support::{Answer, Run, Server, server, sha256};

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(data, 1).unwrap()
}

#[test]
fn a_list_may_be_json_with_names_headers_and_checksums() {
    let server = Server::start();
    let body = server::body("/a");
    let lines = [
        json!({
            "url": server.url("/a"), "out": "x/y/a.bin", "sha256": sha256(&body).to_uppercase(),
            "size": body.len(), "headers": {"X-Token": "secret", "Accept": "text/x"}, "id": 5,
        }),
        json!({"url": server.url("/b")}),
    ];
    let run = Run::new().with("list.jsonl").with("--header X-All:1");
    fs::write(
        run.path("list.jsonl"),
        format!("{}\n\n{}", lines[0], lines[1]),
    )
    .unwrap();
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 2, "{}", ended.text());
    let log = run.log();
    let a = log.one(&server.url("/a"));
    log.check(&a, &sha256(&body));
    assert_eq!(a.path.as_deref(), Some("x/y/a.bin"));
    assert_eq!(a.out, a.path);
    let b = log.one(&server.url("/b"));
    assert_eq!(b.out, None);
    let head = server.head("/a").to_ascii_lowercase();
    for line in ["x-token: secret\r\n", "accept: text/x\r\n", "x-all: 1\r\n"] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!server.head("/b").to_ascii_lowercase().contains("x-token"));
    assert!(!log.text().contains("secret"), "headers are not recorded");
}

#[test]
fn a_file_that_is_not_the_lists_is_not_put_in_place() {
    for engine in ["blocking", "async"] {
        let server = Server::start().answer(
            "/endless",
            [Answer::Raw(
                [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1 << 20]].concat(),
            )],
        );
        let size = server::body("/any").len();
        let list = [
            json!({"url": server.url("/sum"), "sha256": "ab".repeat(32)}),
            json!({"url": server.url("/size"), "size": size + 1}),
            json!({"url": server.url("/endless"), "size": 1000}),
            json!({"url": server.url("/fine"), "sha256": sha256(&server::body("/fine"))}),
        ];
        let run = Run::new()
            .list(list.iter().map(ToString::to_string))
            .with("--engine")
            .with(engine);
        run.finish().code(1);
        let log = run.log();
        for (path, kind) in [
            ("/sum", "checksum_mismatch"),
            ("/size", "size_mismatch"),
            ("/endless", "size_mismatch"),
        ] {
            let record = log.one(&server.url(path));
            assert_eq!((record.kind(), record.attempts), (kind, 1), "{record:#?}");
            assert_eq!(record.path, None);
        }
        assert!(
            log.one(&server.url("/sum"))
                .message()
                .contains(&"ab".repeat(32))
        );
        log.check(
            &log.one(&server.url("/fine")),
            &sha256(&server::body("/fine")),
        );
        assert_eq!((log.files().len(), log.partials().len()), (1, 0));
    }
}

#[test]
fn a_list_may_be_a_table() {
    let server = Server::start();
    let run = Run::new().with("list.csv list.tsv --url-column link");
    let csv = format!(
        "id,note,Link,out\r\n1,\"a \"\"b\"\"\nc\",{},a.txt\r\n2,,{},\r\n",
        server.url("/a"),
        server.url("/b")
    );
    fs::write(run.path("list.csv"), csv).unwrap();
    let tsv = format!("link\tnote\n{}\t\"x\n", server.url("/c"));
    fs::write(run.path("list.tsv"), tsv).unwrap();
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 3, "{}", ended.text());
    assert_eq!(
        run.log().one(&server.url("/a")).path.as_deref(),
        Some("a.txt")
    );
}

#[test]
fn a_table_without_names_has_a_column_by_its_number() {
    let server = Server::start();
    let run = Run::new().with("- --url-column 2 --input-format tsv");
    let mut job = run.start_fed();
    job.feed(&format!("x\t{}\n", server.url("/a")));
    // A record appears before the end of the list.
    job.wait_for_record(&server.url("/a"));
    job.finish().code(0);
}

#[test]
fn compressed_lists_are_read_also_from_standard_input_and_in_pieces() {
    let server = Server::start();
    let line = |path: &str| format!("{}\n", server.url(path));
    for pack in [gzip, zstd] {
        let packed = [pack(line("/1").as_bytes()), pack(line("/2").as_bytes())].concat();
        // There is no extension, so the first bytes decide.
        let run = Run::new().list_bytes(&packed);
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("stored"), 2, "{}", ended.text());

        let run = Run::new().with("-");
        let mut job = run.start_fed();
        job.stdin.as_mut().unwrap().write_all(&packed).unwrap();
        let ended = job.finish().code(0);
        assert_eq!(ended.summary("stored"), 2, "{}", ended.text());

        let run = Run::new().with("x.jsonl.gz");
        let object = json!({"url": server.url("/3")}).to_string();
        fs::write(run.path("x.jsonl.gz"), pack(object.as_bytes())).unwrap();
        run.finish().code(0);
    }
}

#[test]
fn a_compressed_list_that_is_cut_off_says_so_and_its_whole_lines_run() {
    let server = Server::start();
    // Nearly incompressible, so that much of it is readable when the end is missing.
    let list: String = (0..3000)
        .map(|n| {
            format!(
                "{}\n",
                server.url(&format!("/{}", sha256(&[n as u8, (n >> 8) as u8])))
            )
        })
        .collect();
    let packed = gzip(list.as_bytes());
    let run = Run::new().list_bytes(&packed[..packed.len() / 2]);
    let ended = run.finish().code(1);
    ended.says(&["urls.txt:", "cannot read the URL list", "cut off as gzip"]);
    let stored = ended.summary("stored");
    assert!((1000..2000).contains(&stored), "{}", ended.text());
    for record in run.log().records() {
        assert!(
            list.contains(&format!("{}\n", record.url)),
            "{}",
            record.url
        );
    }
}

#[test]
fn each_slip_is_named_with_its_line_and_the_others_run() {
    let server = Server::start();
    let good = |n: u32| json!({"url": server.url(&format!("/{n}"))}).to_string();
    let out = |out: &str| json!({"url": server.url("/x"), "out": out}).to_string();
    let run = Run::new().with("list.jsonl");
    fs::create_dir_all(run.path("downloads")).unwrap();
    std::os::unix::fs::symlink("/tmp", run.path("downloads/link")).unwrap();
    let list = [
        good(1),
        "{\"url\": ".to_owned(),
        out("../x"),
        out("/tmp/x"),
        out("link/x"),
        out(".coordinator/results.jsonl"),
        json!({"url": server.url("/h"), "headers": {"X": "y".repeat(9000)}}).to_string(),
        good(8),
        out("a/..."),
        out("...zip"),
    ];
    fs::write(run.path("list.jsonl"), list.join("\n")).unwrap();
    let ended = run.finish().code(1);
    for (place, part) in [
        ("list.jsonl:2:8: ", "not a JSON object"),
        ("list.jsonl:3: ", "leaves the output folder"),
        ("list.jsonl:4: ", "is absolute"),
        (
            "list.jsonl:5: ",
            "leads through link, and that is a symbolic link",
        ),
        ("list.jsonl:6: ", "keeps for itself"),
        ("list.jsonl:7: ", "9001 bytes"),
        ("list.jsonl:9: ", "a/... (out) has a part that is only dots"),
        (
            "list.jsonl:10: ",
            "...zip (out) is only dots before its extension",
        ),
    ] {
        let said = ended.says(&[place, part]);
        assert!(said.len() < 500, "kept short: {said}");
    }
    assert_eq!(ended.stderr.lines().count(), 8, "{}", ended.stderr);
    assert_eq!(ended.summary("stored"), 2, "{}", ended.text());
    assert_eq!(ended.summary("unusable lines"), 8, "{}", ended.text());
}

#[test]
fn a_list_of_rubbish_is_not_recited() {
    let run = Run::new().list((0..5000).map(|n| format!("rubbish {n}")));
    let ended = run.finish().code(3);
    assert_eq!(ended.stderr.lines().count(), 102, "{}", ended.stderr);
    ended.says(&["urls.txt:100: "]);
    ended.says(&["more than 100 lines", "not shown"]);
}

#[test]
fn the_same_url_under_two_names_is_stored_twice_and_under_one_name_once() {
    let server = Server::start();
    let line = |out: &str| json!({"url": server.url("/f"), "out": out}).to_string();
    let plain = server.url("/f");
    let list = [line("a"), line("b"), line("a"), plain.clone(), plain];
    let run = Run::new().with("list.txt");
    fs::write(run.path("list.txt"), list[..3].join("\n")).unwrap();
    // A list that starts with an object is read as JSONL.
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 2, "{}", ended.text());
    assert_eq!(ended.summary("duplicates"), 1, "{}", ended.text());
    assert_eq!(server.requests("/f"), 2);
    // A later run identifies a file by its URL and its name.
    fs::write(run.path("list.txt"), [line("b"), line("c")].join("\n")).unwrap();
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 1, "{}", ended.text());
    assert_eq!(server.requests("/f"), 3);
    fs::write(run.path("list.txt"), list[3..].join("\n")).unwrap();
    run.finish().code(0);
    assert_eq!(server.requests("/f"), 4);
    assert_eq!(run.log().files().len(), 4, "{:?}", run.log().files());
}

#[test]
fn two_urls_cannot_have_one_name_also_not_over_two_runs() {
    let server = Server::start();
    let line = |path: &str, out: &str| json!({"url": server.url(path), "out": out}).to_string();
    let run = Run::new().list([line("/a", "x"), line("/b", "x"), line("/c", "y")]);
    let ended = run.finish().code(1);
    ended.says(&[
        "urls.txt:2: ",
        &server.url("/b"),
        "would be x",
        "urls.txt:1",
    ]);
    let log = run.log();
    log.check(&log.one(&server.url("/a")), &sha256(&server::body("/a")));
    let run = run.list([line("/b", "x"), line("/c", "y")]);
    let ended = run.finish().code(1);
    ended.says(&["urls.txt:1: ", &server.url("/b"), "earlier run"]);
    assert_eq!(
        fs::read(run.path("downloads/x")).unwrap(),
        server::body("/a")
    );
    // When the file is moved away, the name is free.
    fs::rename(run.path("downloads/x"), run.path("downloads/z")).unwrap();
    run.finish().code(0);
    assert_eq!(
        fs::read(run.path("downloads/x")).unwrap(),
        server::body("/b")
    );
}

#[test]
fn a_file_whose_recorded_checksum_is_not_the_lists_is_downloaded_again() {
    let server = Server::start();
    let line = |extra: &str| format!("{{\"url\":\"{}\"{extra}}}", server.url("/f"));
    let sum = sha256(&server::body("/f"));
    let run = Run::new().list([line("")]);
    run.finish().code(0);
    let run = run.list([line(&format!(",\"sha256\":\"{sum}\""))]);
    run.finish().code(0);
    assert_eq!(server.requests("/f"), 1, "it is the file");
    let run = run.list([line(&format!(",\"sha256\":\"{}\"", "0".repeat(64)))]);
    run.finish().code(1);
    assert_eq!(server.requests("/f"), 2, "it is another one");
}

#[test]
fn options_for_lists_that_make_no_sense_are_usage_errors() {
    for (arguments, part) in [
        ("--input-format xml", "xml"),
        ("--input-format text --url-column link", "no meaning"),
        ("--input-format jsonl --url-column 3", "no meaning"),
        ("--naming {nmae}", "there is no {nmae}"),
        ("--naming trees", "neither flat, tree nor hash"),
        ("--naming ../{name}", "leaves the output folder"),
        ("--naming .../{name}", "only dots"),
        ("--naming ..{name}", "only dots before its extension"),
    ] {
        let run = Run::new().list(["http://127.0.0.1:9/"]).with(arguments);
        let ended = run.finish().code(2);
        assert!(ended.stderr.contains(part), "{arguments}: {}", ended.text());
        assert!(!exists(&run.path("downloads")), "{arguments}");
    }
}

#[test]
fn work_starts_before_a_list_is_read() {
    let server = Server::start();
    for format in ["text", "jsonl", "csv"] {
        let path = format!("/{format}");
        let run = Run::new().with("- --input-format").with(format);
        let mut job = run.start_fed();
        let url = server.url(&path);
        job.feed(&match format {
            "text" => format!("{url}\n"),
            "jsonl" => format!("{{\"url\":\"{url}\"}}\n"),
            _ => format!("url\n{url}\n"),
        });
        job.wait_for_record(&url);
        job.finish().code(0);
    }
}

#[test]
fn a_lot_of_urls_in_any_format_are_all_stored() {
    let list = urls("https://a.example", 300);
    let objects = list.iter().map(|url| json!({"url": url}).to_string());
    let run = Run::new()
        .list(objects)
        .with("--parallel-max-host 0 --simulate=size=1KiB,latency=0ms --naming hash");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 300, "{}", ended.text());
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 0, "{}", ended.text());
}

#[test]
fn checksums_are_checked_and_recorded_under_their_keys() {
    let server = Server::start().answer("/f", [Answer::Body(b"123456789".to_vec())]);
    let md5 = "25f9e794323b453885f5181f1b624d0b";
    let sha1 = "f7c3bc1d808e04732adf679965ccc34ca7ae3441";
    let line = json!({
        "url": server.url("/f"), "out": "f", "md5": "JfnnlDI7RTiF9RgfG2JNCw==",
        "sha1": sha1.to_uppercase(), "crc32c": "e3069283",
    });
    let wrong = json!({"url": server.url("/f"), "out": "g", "md5": md5, "crc32c": "e3069284"});
    let run = Run::new().list([line.to_string(), wrong.to_string()]);
    run.finish().code(1);
    let log = run.log();
    let records = log.records();
    let [stored, failed] = ["f", "g"].map(|out| {
        let mut records = records.iter();
        records
            .find(|record| record.out.as_deref() == Some(out))
            .unwrap()
    });
    assert_eq!(stored.md5.as_deref(), Some(md5));
    assert_eq!(stored.sha1.as_deref(), Some(sha1));
    assert_eq!(stored.crc32c.as_deref(), Some("e3069283"));
    assert_eq!(stored.sha512, None);
    assert_eq!((failed.kind(), failed.attempts), ("checksum_mismatch", 1));
    assert_eq!(
        failed.message(),
        "the file has the CRC-32C e3069283, and the list says e3069284"
    );
    assert_eq!(
        (failed.path.as_deref(), failed.md5.as_deref()),
        (None, None)
    );
    let again = run.finish().code(1);
    assert_eq!(again.summary("stored earlier"), 1, "{}", again.text());
}

#[test]
fn parts_of_one_resource_are_files_of_their_own() {
    let part = |range: &str, body: &str| {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 206 x\r\nContent-Range: bytes {range}/9\r\nContent-Length: {length}\r\n\r\n"
        );
        Answer::Raw((head + body).into_bytes())
    };
    let server = Server::start()
        .answer("/f", [part("0-3", "1234"), part("4-8", "56789")])
        .answer("/whole", [Answer::Body(b"123456789".to_vec())]);
    let line = |path: &str, range: &str| {
        let line = json!({"url": server.url(path), "range": range, "referer": "http://h/p"});
        line.to_string()
    };
    let list = [line("/f", "0-3"), line("/f", "4-8"), line("/whole", "0-3")];
    // One after the other, because the answers come in this order.
    let run = Run::new().list(list).with("--workers 1");
    run.finish().code(1);
    let log = run.log();
    let records = log.records();
    let of = |range: &str| {
        let mut stored = records.iter().filter(|record| record.path.is_some());
        stored
            .find(|record| record.range.as_deref() == Some(range))
            .unwrap()
    };
    assert_eq!(log.file(of("0-3")), b"1234");
    assert_eq!(log.file(of("4-8")), b"56789");
    assert_ne!(of("0-3").path, of("4-8").path);
    assert!(
        server.head("/f").contains("http://h/p"),
        "{}",
        server.head("/f")
    );
    let whole = log.one(&server.url("/whole"));
    assert_eq!((whole.kind(), whole.attempts), ("status", 1), "{whole:#?}");
    assert_eq!(log.files().len(), 2);
    // The next run does not confuse the two parts, or assume that the naming changed.
    let again = run.finish().code(1);
    assert_eq!(again.summary("stored earlier"), 2, "{}", again.text());
    assert_eq!(server.requests("/f"), 2);
}

#[test]
fn a_request_that_is_not_a_get_is_refused() {
    let server = Server::start();
    let list = [
        json!({"url": server.url("/a"), "method": "POST"}),
        json!({"url": server.url("/b"), "body": "x"}),
        json!({"url": server.url("/c"), "method": "GET", "body": null}),
    ];
    let run = Run::new().list(list.iter().map(ToString::to_string));
    let ended = run.finish().code(1);
    ended.says(&["urls.txt:1: method is not supported"]);
    ended.says(&["urls.txt:2: body is not supported"]);
    assert_eq!(server.total(), 1);
}

/// Returns a line with mirrors of a file with this `body`.
fn mirrored(urls: &[String], body: &[u8]) -> String {
    json!({"urls": urls, "out": "f", "sha256": sha256(body)}).to_string()
}

#[test]
fn a_mirror_serves_what_the_first_url_does_not() {
    for engine in ["blocking", "async"] {
        let gone = Server::start().answer("/f", [Answer::Status(404)]);
        let busy = Server::start().answer("/f", [Answer::Truncated]);
        let other = Server::start().answer("/f", [Answer::Body(b"another".to_vec())]);
        let good = Server::start();
        let body = server::body("/f");
        let urls = [&gone, &busy, &other, &good].map(|server| server.url("/f"));
        let run = Run::new()
            .list([mirrored(&urls, &body)])
            .with("--retry 2 --retry-delay 0 --parallel-max-host 1 --engine")
            .with(engine);
        run.finish().code(0);
        let log = run.log();
        let record = log.one(&urls[0]);
        log.check(&record, &sha256(&body));
        assert_eq!(
            record.final_url.as_deref(),
            Some(&*urls[3]),
            "who served it"
        );
        assert_eq!(record.path.as_deref(), Some("f"));
        assert_eq!(record.attempts, 1 + 3 + 1 + 1);
        let asked = [&gone, &busy, &other, &good].map(|server| server.requests("/f"));
        assert_eq!(asked, [1, 3, 1, 1]);
        // The file is identified by its first URL.
        let again = run.finish().code(0);
        assert_eq!(again.summary("stored earlier"), 1, "{}", again.text());
    }
}

#[test]
fn a_part_that_one_mirror_sent_is_not_gone_on_with_at_another() {
    let tagged = |server: Server, tag: &str, length: usize, body: &str| {
        let head = format!("HTTP/1.1 200 x\r\nETag: \"{tag}\"\r\nContent-Length: {length}\r\n\r\n");
        server.answer("/f", [Answer::Raw((head + body).into_bytes())])
    };
    let first = tagged(Server::start(), "same", 9, "1234");
    let second = tagged(Server::start(), "same", 9, "123456789");
    let urls = [&first, &second].map(|server| server.url("/f"));
    let run = Run::new()
        .list([mirrored(&urls, b"123456789")])
        .with("--retry 0");
    run.finish().code(0);
    assert_eq!(run.log().file(&run.log().one(&urls[0])), b"123456789");
    let head = second.head("/f").to_ascii_lowercase();
    assert!(!head.contains("range:"), "{head}");
    assert_eq!(run.log().partials().len(), 0);
}

#[test]
fn when_all_mirrors_fail_the_last_failure_is_recorded_with_its_url() {
    let servers = [404, 410].map(|status| Server::start().answer("/f", [Answer::Status(status)]));
    let urls = servers.each_ref().map(|server| server.url("/f"));
    let run = Run::new().list([mirrored(&urls, b"")]);
    run.finish().code(1);
    let record = run.log().one(&urls[0]);
    assert_eq!((record.kind(), record.status), ("status", Some(410)));
    assert_eq!(record.final_url.as_deref(), Some(&*urls[1]));
    assert_eq!(record.attempts, 2);
}

#[test]
fn files_have_the_time_of_the_server_if_that_is_asked_for() {
    let dated = Answer::Raw(
        b"HTTP/1.1 200 x\r\nLast-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\nContent-Length: 1\r\n\r\nx"
            .to_vec(),
    );
    for (option, seconds) in [
        ("--remote-time", true),
        ("-R --fsync --mode async", true),
        ("", false),
    ] {
        let server = Server::start().answer("/f", [dated.clone()]);
        let run = Run::new().list([server.url("/f")]).with(option);
        run.finish().code(0);
        let name = run.log().one(&server.url("/f")).path.unwrap();
        let file = fs::metadata(run.path("downloads").join(name)).unwrap();
        let since = file
            .modified()
            .unwrap()
            .duration_since(std::time::UNIX_EPOCH);
        assert_eq!(
            since.unwrap().as_secs() == 1_000_000_000,
            seconds,
            "{option}"
        );
    }
}
