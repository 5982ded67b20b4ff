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
