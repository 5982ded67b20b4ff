//! Each example does what it says. `cargo test` builds them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// The example that was built beside this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        path.exists(),
        "run `cargo build --workspace --examples` first"
    );
    Command::new(path)
}

/// What stands indented below the line that begins with `head`.
fn body(program: &str, head: &str) -> String {
    let lines = program.lines().skip_while(|line| !line.starts_with(head));
    let lines = lines.skip(1).map_while(|line| line.strip_prefix("    "));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// What it prints.
fn printed(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn squares() {
    let (readme, program) = (
        include_str!("../README.md"),
        include_str!("../examples/squares.rs"),
    );
    assert!(readme.contains(program), "README shows it");
    let lines = printed(&mut example("squares"));
    assert_eq!(lines[..3], ["1", "4", "9"]);
    assert!(lines[3].contains("too large"), "{lines:?}");
}

#[test]
fn parser() {
    let lines = printed(&mut example("parser"));
    let death = "  signal 11 (SIGSEGV): parser.c:42: read beyond the end of \"text 777\"";
    let expected = [
        "\"text 777\" ended 3 workers",
        death,
        death,
        death,
        "999 of 1000 parsed",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn hashes() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::write(folder.path().join(name), "abc").unwrap();
    }
    let lines = printed(example("hashes").arg(folder.path()));
    // FIPS 180-2, appendix B.1.
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let line = |name| format!("{hash}  {}", folder.path().join(name).display());
    assert_eq!(lines, ["a", "b"].map(line));
}

#[test]
fn memory() {
    let mut lines = printed(&mut example("memory"));
    lines.sort();
    let death = "a worker died: out of memory (over its limit)";
    let expected = [
        "1000000000: ended 3 workers",
        "100000: least is 0",
        "10000: least is 0",
        "1000: least is 0",
        death,
        death,
        death,
    ];
    assert_eq!(lines, expected);
}

/// A server, which ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn web() {
    let mut child = example("web").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let _server = Server(child);
    said.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").unwrap();
    for (path, status) in [
        ("/hello", "200 OK"),
        ("/crash", "500 Internal Server Error"),
        ("/hang", "504 Gateway Timeout"),
        ("/missing", "404 Not Found"),
        ("/again", "200 OK"),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{path}: {response}"
        );
    }
}

#[test]
fn plugins() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data.txt"), "one\ntwo\n").unwrap();
    let lines = printed(example("plugins").arg(folder.path()));
    assert_eq!(lines[0], "counts lines: 2 lines");
    assert_eq!(lines.len(), 4);
    for line in &lines[1..] {
        let refused = ["ermission denied", "not permitted"];
        assert!(refused.iter().any(|text| line.contains(text)), "{line}");
    }
}

/// The cells of a row of a table.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn compare() {
    let readme = include_str!("../README.md");
    for (program, head) in [
        (
            include_str!("../examples/compare/with_pool.rs"),
            "pub(crate) fn run",
        ),
        (
            include_str!("../examples/compare/with_procspawn.rs"),
            "pub(crate) fn run",
        ),
        (
            include_str!("../examples/compare/with_multiprocessing.py"),
            "if __name__",
        ),
        (
            include_str!("../examples/compare/with_futures.py"),
            "if __name__",
        ),
    ] {
        let body = body(program, head);
        assert!(body.lines().count() > 2, "{program}");
        assert!(readme.contains(&body), "README shows this:\n{body}");
    }
    let lines = printed(&mut example("compare"));
    assert!(readme.contains(&lines[..2].join("\n")), "{lines:?}");
    let row = |number: usize| cells(&lines[2 + number]);
    let ours = row(0);
    assert_eq!(ours[..4], ["this pool", "100", "0", "0"]);
    assert!(
        ours[4].ends_with(" ms") && ours[5].ends_with(" ms"),
        "{ours:?}"
    );
    let procspawn = row(1);
    assert_eq!(procspawn[..5], ["procspawn", "99", "1", "0", "never"]);
    assert!(procspawn[5].ends_with(" ms"), "{procspawn:?}");
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    let (multiprocessing, futures) = (row(2), row(3));
    if has_python {
        let hangs = ["multiprocessing.Pool", "99", "0", "1", "never", "never"];
        assert_eq!(multiprocessing, hangs);
        // How many are finished before the crash depends on the moment.
        assert_eq!(futures[0], "concurrent.futures");
        assert_eq!(futures[4], "never", "{futures:?}");
        let counts: Vec<u32> = futures[1..4].iter().map(|n| n.parse().unwrap()).collect();
        assert!(
            counts[0] < 100 && counts.iter().sum::<u32>() == 100,
            "{futures:?}"
        );
    }
}

#[test]
fn compare_without_python() {
    let lines = printed(example("compare").env("PATH", ""));
    for (line, name) in lines[4..]
        .iter()
        .zip(["multiprocessing.Pool", "concurrent.futures"])
    {
        let row = cells(line);
        assert_eq!(row[0], name);
        assert!(row[1].starts_with("not run: python3: "), "{line}");
    }
    assert_eq!(lines.len(), 6);
}
