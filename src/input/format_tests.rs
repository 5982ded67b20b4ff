//! Tests of lists in JSON and in tables, and of the messages about their errors.

use std::io::{Cursor, Read};

use proptest::prelude::*;
use protocol::{Algorithm, ByteRange, Checksum};

use super::naming::Naming;
use super::*;

fn options(format: Option<Format>, url_column: Option<&str>) -> Arc<ListOptions> {
    Arc::new(ListOptions {
        format,
        url_column: url_column.and_then(|column| column.parse().ok()),
        ..ListOptions::default()
    })
}

fn lines(data: &[u8], options: &Arc<ListOptions>) -> Vec<Line> {
    let reader = Box::new(Cursor::new(data.to_vec()));
    Lines::new("list", reader, Arc::clone(options)).collect()
}

/// Summarises each line: its number, and the URL and path, or the problem.
fn told(data: &[u8], options: &Arc<ListOptions>) -> Vec<String> {
    let tell = |line: Line| match &line.entry {
        Ok(target) if target.named => format!("{} {} {}", line.number, target.url, target.path),
        Ok(target) => format!("{} {}", line.number, target.url),
        Err(_) => line.problem().unwrap_or_default(),
    };
    lines(data, options).into_iter().map(tell).collect()
}

fn json(data: &str) -> Vec<String> {
    told(data.as_bytes(), &options(Some(Format::Jsonl), None))
}

fn csv(data: &str) -> Vec<String> {
    told(data.as_bytes(), &options(Some(Format::Csv), None))
}

#[test]
fn an_object_may_say_more_than_its_url() {
    let line = br#"{"title":"x","url":"https://h/a","out":"b/c.txt","size":5,
        "sha256":"ABababababababababababababababababababababababababababababababab",
        "headers":{"X-A":"1","Cookie":["a=b","c=d"]},"nested":{"url":[1]}}"#;
    let line: Vec<u8> = line.iter().copied().filter(|&byte| byte != b'\n').collect();
    let mut lines = lines(&line, &Arc::default());
    let target = lines.remove(0).entry.expect("a target");
    assert_eq!((target.path.as_str(), target.named), ("b/c.txt", true));
    assert_eq!(target.key, UrlKey::of_named("https://h/a", "b/c.txt"));
    let extra = target.extra.expect("there is more");
    let sums = &extra.expect.checksums;
    let sha256 = Checksum::parse(Algorithm::Sha256, &"ab".repeat(32));
    assert_eq!(extra.expect.size, Some(5));
    assert_eq!((sums.len(), sums.first()), (1, sha256.as_ref()));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = [
        header("X-A", "1"),
        header("Cookie", "a=b"),
        header("Cookie", "c=d"),
    ];
    assert_eq!(extra.headers, expected);
}

#[test]
fn several_checksums_a_range_and_a_referer_may_be_named() {
    let md5 = "1B2M2Y8AsgTpgAmY7PhCfg==";
    let object = format!(
        r#"{{"url":"https://h/a","md5":"{md5}","crc32c":"E3069283","range":"5-9","referer":"https://h/","method":"get","body":""}}"#
    );
    let table = format!(
        "url,range,MD5,crc32c,Referer,method,body\nhttps://h/a,5-9,{md5},E3069283,https://h/,GET,\n"
    );
    let csv = options(Some(Format::Csv), None);
    for (text, options) in [(object, &Arc::default()), (table, &csv)] {
        let target = lines(text.as_bytes(), options).remove(0).entry;
        let target = target.expect("a target");
        assert_eq!(target.range(), Some(ByteRange { first: 5, last: 9 }));
        assert_eq!(
            target.key,
            UrlKey::of_task("https://h/a", Some("5-9"), None)
        );
        assert!(
            target.path.contains(&target.key.to_string()),
            "{}",
            target.path
        );
        let extra = target.extra.expect("there is more");
        let sums: Vec<_> = extra.expect.checksums.iter().map(Checksum::hex).collect();
        assert_eq!(sums, ["d41d8cd98f00b204e9800998ecf8427e", "e3069283"]);
        let referer = ("Referer".to_owned(), "https://h/".to_owned());
        assert_eq!(extra.headers, [referer]);
    }
    let own = br#"{"url":"https://h/a","referer":"b","headers":{"referer":"a"}}"#;
    let target = lines(own, &Arc::default()).remove(0).entry;
    let headers = target.expect("a target").extra.expect("more").headers;
    assert_eq!(headers, [("referer".to_owned(), "a".to_owned())]);
}

#[test]
fn several_urls_of_one_file_are_mirrors_and_need_a_checksum() {
    let urls = |line: &str, options: &Arc<ListOptions>| {
        let line = lines(line.as_bytes(), options).remove(0);
        let target = line
            .entry
            .as_ref()
            .map_err(|_| line.problem().unwrap_or_default())?;
        let mirrors = target.mirrors().iter().map(Mirror::request_url);
        Ok::<Vec<_>, String>(
            std::iter::once(target.request_url())
                .chain(mirrors)
                .collect(),
        )
    };
    let plain = Arc::default();
    let csv = options(Some(Format::Csv), None);
    let found = ["https://a/f", "http://u:p@b:81/f"].map(ToOwned::to_owned);
    for line in [
        r#"{"url":"https://a/f","urls":["https://A:443/f#x","http://u:p@b:81/f",null],"crc32c":"00000000"}"#,
        r#"{"urls":["https://a/f","http://u:p@b:81/f","https://a/f"],"crc32c":"00000000"}"#,
        r#"{"url":"","urls":["https://a/f","http://u:p@b:81/f"],"crc32c":"00000000"}"#,
    ] {
        assert_eq!(urls(line, &plain).as_deref(), Ok(&found[..]), "{line}");
    }
    for table in [
        "url,urls,crc32c\nhttps://a/f,https://a/f  http://u:p@b:81/f,00000000\n",
        "urls,crc32c\nhttps://a/f http://u:p@b:81/f,00000000\n",
    ] {
        assert_eq!(urls(table, &csv).as_deref(), Ok(&found[..]), "{table}");
    }
    let one = r#"{"urls":["https://a/f"]}"#;
    assert_eq!(
        urls(one, &plain).as_deref(),
        Ok(&found[..1]),
        "one needs none"
    );
    let many = format!(
        r#"{{"urls":["https://a/f"{}],"md5":"{}"}}"#,
        r#","https://b/f""#.repeat(17),
        "0".repeat(32)
    );
    for (line, problem) in [
        (
            r#"{"urls":["https://a/f","http://b/f"],"size":5}"#,
            "list:1: several URLs (urls) need a checksum that shows that all of them are of one file: add sha256, sha512, sha1, md5 or crc32c, or leave one URL",
        ),
        (
            &many,
            "list:1: the line has 17 URLs (urls); at most 16 are allowed",
        ),
        (
            r#"{"url":"https://a/f","urls":["ftp://b/"]}"#,
            "list:1: scheme ftp is not supported, only http and https are: ftp://b/",
        ),
        (r#"{"urls":[]}"#, "list:1: no URL in the line"),
    ] {
        assert_eq!(urls(line, &plain), Err(problem.to_owned()), "{line}");
    }
}

#[test]
fn null_and_what_goes_without_saying_say_nothing() {
    let plain = lines(b"https://h/a.txt\n", &Arc::default()).remove(0);
    let plain = plain.entry.expect("a target");
    let path = &plain.path;
    for line in [
        r#"{"url":"https://h/a.txt"}"#.to_owned(),
        r#"{"url":" HTTPS://H:443/a.txt#x "}"#.to_owned(),
        r#"{"url":"https://h/a.txt","out":null,"size":null,"sha256":null,"headers":null}"#
            .to_owned(),
        format!(r#"{{"url":"https://h/a.txt","out":"{path}","headers":{{}}}}"#),
    ] {
        let target = lines(line.as_bytes(), &Arc::default()).remove(0).entry;
        assert_eq!(target.expect("a target"), plain, "{line}");
    }
}

#[test]
fn values_as_programs_write_them_are_understood() {
    for (text, size) in [
        (r#""score":NaN"#, None),
        (r#""a":[-Infinity,{"b":Infinity}],"size":5120"#, Some(5120)),
        (r#""NaN":"a NaN \" NaN","b":NaN,"out":NaN"#, None),
        (r#""size":NaN"#, None),
        (r#""size":5120.0"#, Some(5120)),
        (r#""size":5.12e3"#, Some(5120)),
        (r#""size":"5120""#, Some(5120)),
        (r#""size":"18446744073709551615""#, Some(u64::MAX)),
        (r#""size":"","sha256":"","out":"""#, None),
        (r#""t":"\ud83d","k":1,"k":{"k":[2,{"l":null}]}"#, None),
        (r#""id":184467440737095516150,"x":1e999"#, None),
        (r#""headers":{"X-Id":7,"X-None":null},"size":1"#, Some(1)),
    ] {
        let line = format!(r#"{{"url":"https://h/a",{text}}}"#);
        let target = lines(line.as_bytes(), &Arc::default()).remove(0).entry;
        let target = target.expect(text);
        let told = target.expect().and_then(|expect| expect.size);
        assert_eq!((told, target.named), (size, false), "{text}");
    }
    for text in [
        r#""size":5.5"#,
        r#""size":-1.0"#,
        r#""size":1e300"#,
        r#""size":"5 kB""#,
        r#""size":"-1""#,
        r#""size":nan"#,
        r#""size":[5]"#,
    ] {
        let line = format!(r#"{{"url":"https://h/a",{text}}}"#);
        let entry = lines(line.as_bytes(), &Arc::default()).remove(0).entry;
        assert!(entry.is_err(), "{text}");
    }
}

#[test]
fn each_slip_of_json_is_named_with_line_and_column() {
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let headers = format!(
        r#"{{"url":"http://h/","headers":{{"X":"{}"}}}}"#,
        "x".repeat(8192)
    );
    let table = [
        (
            "http://h/",
            "list:2:1: the line is not a JSON object that names a URL: expected value",
        ),
        (
            "[]",
            "list:2:1: the line is not a JSON object that names a URL: invalid type: sequence, expected a JSON object with the key \"url\"",
        ),
        (
            "{}",
            "list:2:2: the line is not a JSON object that names a URL: no key \"url\" in the object",
        ),
        (
            r#"{"url":5}"#,
            "list:2:8: the line is not a JSON object that names a URL: invalid type: integer `5`, expected a string",
        ),
        (
            r#"{"url":"http://h/""#,
            "list:2:18: the line is not a JSON object that names a URL: EOF while parsing an object",
        ),
        (
            r#"{"url":"http://h/"} x"#,
            "list:2:21: the line is not a JSON object that names a URL: trailing characters",
        ),
        (
            r#"{"url":"http://h/","url":"http://h/"}"#,
            "list:2:37: the line is not a JSON object that names a URL: the url is given twice",
        ),
        (
            r#"{"url":"http://h/","size":-1}"#,
            "list:2:28: the line is not a JSON object that names a URL: invalid value: integer `-1`, expected a number of bytes",
        ),
        (
            r#"{"url":"h/x"}"#,
            "list:2: no scheme in h/x; did you mean https://h/x",
        ),
        (r#"{"url":""}"#, "list:2: no URL in the line"),
        (
            r#"{"url":"http://h/\u0000"}"#,
            "list:2: a control character in the URL; percent-encode it, and put one URL on a line: http://h/\\0",
        ),
        (
            r#"{"url":"http://h/","out":"../x"}"#,
            "list:2: the name ../x (out) leaves the output folder with '..'",
        ),
        (
            r#"{"url":"http://h/","out":"/etc/x"}"#,
            "list:2: the name /etc/x (out) is absolute; give it relative to the output folder",
        ),
        (
            r#"{"url":"http://h/","out":"a\u0000b"}"#,
            "list:2: the name a\\0b (out) has a control character",
        ),
        (
            r#"{"url":"http://h/","out":".coordinator/lock"}"#,
            "list:2: the name .coordinator/lock (out) is in '.coordinator', which the run keeps for itself",
        ),
        (
            r#"{"url":"http://h/","sha256":"abc"}"#,
            "list:2: the sha256 is neither 64 hexadecimal digits nor 32 bytes in Base64: abc",
        ),
        (
            r#"{"url":"http://h/","crc32c":"0xE3069283"}"#,
            "list:2: the crc32c is neither 8 hexadecimal digits nor 4 bytes in Base64: 0xE3069283",
        ),
        (
            r#"{"url":"http://h/","range":"5-4"}"#,
            "list:2: the range is not FIRST-LAST, two numbers of bytes counted from 0: 5-4",
        ),
        (
            r#"{"url":"http://h/","range":"0-4","size":4}"#,
            "list:2: the range 0-4 is 5 bytes, and the size is 4",
        ),
        (
            r#"{"url":"http://h/","referer":"a\nb"}"#,
            "list:2: the request header Referer cannot be sent, for its name or its value",
        ),
        (
            r#"{"url":"http://h/","method":"POST"}"#,
            "list:2: method is not supported: every request is a GET without a body; leave method out, or give it another name if it is not about the request",
        ),
        (
            r#"{"url":"http://h/","body":{"a":[1]}}"#,
            "list:2: body is not supported: every request is a GET without a body; leave body out, or give it another name if it is not about the request",
        ),
        (
            r#"{"url":"http://h/","headers":{"a b":"c"}}"#,
            "list:2: the request header a b cannot be sent, for its name or its value",
        ),
        (
            r#"{"url":"http://h/","headers":{"a":"secret\r\nb: c"}}"#,
            "list:2: the request header a cannot be sent, for its name or its value",
        ),
        (
            r#"{"url":"http://h/","headers":{"Content-Length":"5"}}"#,
            "list:2: the request header Content-Length cannot be sent, for its name or its value",
        ),
        (
            headers.as_str(),
            "list:2: the request headers take 8193 bytes; at most 8192 are allowed",
        ),
        (
            deep.as_str(),
            "list:2:1: the line is not a JSON object that names a URL: invalid type: sequence, expected a JSON object with the key \"url\"",
        ),
    ];
    for (line, expected) in table {
        let told = json(&format!("\n{line}\n{{\"url\":\"http://next/\"}}"));
        assert_eq!(told, [expected, "3 http://next/"], "{line}");
    }
}

#[test]
fn another_key_may_hold_the_url() {
    let options = options(None, Some("link"));
    let told = told(
        b"{\"link\":\"http://h/1\",\"url\":\"http://h/2\"}",
        &options,
    );
    assert_eq!(told, ["1 http://h/1"]);
}

#[test]
fn a_table_is_read_by_the_names_of_its_columns() {
    let sha256 = "ab".repeat(32);
    let data = format!(
        "\u{feff}Id, URL ,out,Size,sha256\r\n1,http://h/a,x.txt,5,{sha256}\r\n\r\n2,\"http://h/b,c\",,,\r\n"
    );
    let options = options(Some(Format::Csv), None);
    assert_eq!(
        told(data.as_bytes(), &options),
        ["2 http://h/a x.txt", "4 http://h/b,c"]
    );
    let first = lines(data.as_bytes(), &options).remove(0).entry;
    let extra = first.expect("a target").extra.expect("there is more");
    let expect = extra.expect;
    let sums = [Checksum::parse(Algorithm::Sha256, &sha256).expect("a checksum")];
    assert_eq!((expect.size, &expect.checksums[..]), (Some(5), &sums[..]));
}

#[test]
fn a_column_may_be_given_by_another_name_or_by_its_number() {
    for (format, column, data) in [
        (Some(Format::Csv), "Link", "id,link\n1,http://h/a\n"),
        (Some(Format::Tsv), "link", "id\tlink\n\"1\thttp://h/a\n"),
        (Some(Format::Csv), "2", "\n1,http://h/a\n"),
        (None, "2", "\n1\thttp://h/a"),
        (None, "2", "\n1,http://h/a"),
    ] {
        let told = told(data.as_bytes(), &options(format, Some(column)));
        assert_eq!(told, ["2 http://h/a"], "{data}");
    }
}

#[test]
fn a_quoted_field_may_hold_line_ends() {
    let data = "note,url\n\"one\ntwo\n\n\"\"three\"\"\",http://h/a\nx,http://h/b\n";
    assert_eq!(csv(data), ["2 http://h/a", "6 http://h/b"]);
}

#[test]
fn each_slip_in_a_table_is_named_and_the_other_rows_are_read() {
    let many = format!("{}\n", "x,".repeat(5000));
    let table = [
        (
            "x\n",
            "list:2: the row has 1 columns, and the URL is expected in column 2",
        ),
        ("x,\n", "list:2: no URL in the line"),
        (
            "x,ftp://h/\n",
            "list:2: scheme ftp is not supported, only http and https are: ftp://h/",
        ),
        (
            "x,http://h/,../y\n",
            "list:2: the name ../y (out) leaves the output folder with '..'",
        ),
        (
            "x,http://h/,y,abc\n",
            "list:2: the size is not a number of bytes: abc",
        ),
        (
            "x,\"http://h/\n",
            "list:2: a quote is opened in the line and not closed; write two quotes for one in a field: x,\"http://h/",
        ),
        (&many, "list:2: the row has more than 4096 columns"),
    ];
    for (row, expected) in table {
        let told = csv(&format!(
            "id,url,out,size\n{row}9,http://next/\n10,http://last/\n"
        ));
        assert_eq!(
            told,
            [expected, "3 http://next/", "4 http://last/"],
            "{row}"
        );
    }
}

#[test]
fn a_quote_that_is_closed_far_behind_costs_the_first_line_alone() {
    let rows: String = (3..60_000).map(|n| format!("{n},http://h/{n}\n")).collect();
    assert!(rows.len() > MAX_ROW, "more than a row can be");
    let told = csv(&format!("id,url\n\"2,http://h/2\n{rows}\"x,http://h/x\n"));
    assert_eq!(told.len(), 59_999);
    assert!(
        told[0].starts_with("list:2: a quote is opened"),
        "{}",
        told[0]
    );
    assert_eq!(told[1], "3 http://h/3");
    assert_eq!(told[59_997], "59999 http://h/59999");
    assert!(told[59_998].starts_with("list:60000: a quote is opened"));
}

#[test]
fn a_table_without_the_column_is_of_no_use_and_says_so_once() {
    let expected = "list:1: no column is named url in the first row, which is id, link; name the \
        URL's with --url-column, or give its number if there are no names";
    assert_eq!(csv("id,link\n1,http://h/\n2,http://h/\n"), [expected]);
    assert_eq!(csv(""), [""; 0]);
}

#[test]
fn overlong_rows_and_objects_are_passed_over() {
    let long = "x".repeat(MAX_ROW);
    let expected = [
        "list:2: the line, or the row, is longer than 1048576 bytes",
        "3 http://h/",
    ];
    assert_eq!(
        csv(&format!("url,x\nhttp://h/,{long}\nhttp://h/,1\n")),
        expected
    );
    let object = format!("\n{{\"url\":\"http://h/\",\"x\":\"{long}\"}}\n{{\"url\":\"http://h/\"}}");
    assert_eq!(json(&object), expected);
}

#[test]
fn the_format_shows_by_itself_where_it_is_certain() {
    let plain = Arc::default();
    for (data, told_of_it) in [
        ("\n\n  {\"url\":\"http://h/\"}\n", "3 http://h/"),
        ("\u{feff}{\"url\":\"http://h/\"}", "1 http://h/"),
        ("\u{feff}http://h/\n", "1 http://h/"),
        ("# {\nhttp://h/\n", "2 http://h/"),
    ] {
        assert_eq!(told(data.as_bytes(), &plain), [told_of_it]);
    }
}

#[test]
fn nothing_is_read_before_the_first_line_is_asked_for() {
    struct Untouched;
    impl Read for Untouched {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("it was read");
        }
    }
    let lines = Lines::new("list", Box::new(Untouched), Arc::default());
    assert!(lines.may_name_files() && !lines.has_line());
}

#[test]
fn names_follow_the_scheme() {
    for (naming, expected) in [
        ("tree", "h/a/b-KEY.txt"),
        ("{n}-{name}", "7-b.txt"),
        ("{host}/{path}", "h/a/b.txt"),
    ] {
        let options = Arc::new(ListOptions {
            naming: naming.parse::<Naming>().expect("a scheme"),
            ..ListOptions::default()
        });
        let reader = Box::new(Cursor::new(b"# x\nhttp://h/a/b.txt".to_vec()));
        let mut lines = Lines::new("list", reader, options);
        lines.count_from(7);
        let target = lines.next().expect("a line").entry.expect("a target");
        assert_eq!(
            target.path.replace(&target.key.to_string(), "KEY"),
            expected
        );
    }
}

proptest! {
    #[test]
    fn what_is_written_as_csv_is_read_back(
        rows in prop::collection::vec(("[a-z,\"\n ]{0,12}", "[a-z0-9]{1,9}", "[a-z/]{0,6}[a-z]"), 0..20),
    ) {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut data = "note,url,out\n".to_owned();
        let mut expected = Vec::new();
        for (note, path, out) in &rows {
            let url = format!("http://h/{path}");
            data += &format!("{},{},{}\n", quoted(note), quoted(&url), quoted(out));
            if naming::check_place(out).is_ok() {
                expected.push((url, out.clone()));
            }
        }
        let lines = lines(data.as_bytes(), &options(Some(Format::Csv), None));
        prop_assert_eq!(lines.len(), rows.len());
        let read: Vec<_> = lines
            .into_iter()
            .filter_map(|line| line.entry.ok())
            .map(|target| (target.url, target.path))
            .collect();
        prop_assert_eq!(read, expected);
    }
}
