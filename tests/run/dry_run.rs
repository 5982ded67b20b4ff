//! `--dry-run` reports what the run would do, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use crate::support::{Answer, Run, Server};

/// Returns everything in a folder: mode, content, and modification time.
pub fn snapshot(folder: &Path) -> BTreeMap<String, (u32, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let metadata = folder.symlink_metadata().unwrap();
        let content = if metadata.is_dir() {
            folders.extend(fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()));
            Vec::new()
        } else {
            fs::read(&folder).unwrap_or_default()
        };
        all.insert(
            folder.display().to_string(),
            (
                metadata.mode(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                content,
            ),
        );
    }
    all
}

#[test]
fn what_it_says_is_what_the_run_then_does() {
    let server = Server::start().answer("/bad", [Answer::Status(404)]);
    let object = |path: &str, more: &str| format!("{{\"url\":\"{}\"{more}}}", server.url(path));
    let list = [
        object("/stored", ""),
        object("/bad", ""),
        object("/named", ",\"out\":\"a/b.txt\""),
        object("/bad", ""),
        "{\"url\":\"nonsense\"}".to_owned(),
        object("/leaves", ",\"out\":\"../x\""),
        object("/other", ",\"out\":\"a/b.txt\""),
        object("/new", ""),
    ];
    let run = Run::new().list(&list[..2]);
    run.finish().code(1);
    let run = run.list(&list);
    let before = snapshot(&run.path("downloads"));
    let (requests, list) = (server.total(), run.path("urls.txt"));

    let dry = run.command().arg("--dry-run").output().unwrap();
    assert_eq!(dry.status.code(), Some(1), "{dry:?}");
    assert_eq!(snapshot(&run.path("downloads")), before);
    assert_eq!(server.total(), requests, "nothing is asked for");
    let said = String::from_utf8(dry.stderr).unwrap();
    for row in ["to download 3", "stored earlier 1", "duplicates 1"] {
        assert!(holds(&said, row), "{row}: {said}");
    }
    assert!(holds(&said, "unusable lines 3"), "{said}");
    let announced: Vec<(String, String)> = String::from_utf8(dry.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let (url, path) = line.split_once('\t').unwrap();
            (url.to_owned(), path.to_owned())
        })
        .collect();

    let ended = run.finish().code(1);
    let problem = |said: &str| -> Vec<String> {
        let lines = said.lines().map(str::to_owned);
        lines.filter(|line| line.contains("urls.txt:")).collect()
    };
    assert_eq!(problem(&said), problem(&ended.stderr), "{list:?}");
    let mut done = Vec::new();
    for record in run.log().records().into_iter().skip(2) {
        if record.outcome != "duplicate" {
            let path = announced.iter().find(|(url, _)| *url == record.url);
            let path = path.map(|(_, path)| path.clone()).unwrap();
            assert!(record.path.is_none_or(|there| there == path));
            done.push((record.url, path));
        }
    }
    let mut announced = announced;
    announced.sort();
    done.sort();
    assert_eq!(announced, done);
}

/// Returns whether a line starts with these words in this order.
fn holds(text: &str, words: &str) -> bool {
    text.lines().any(|line| {
        let line: Vec<&str> = line.split_whitespace().collect();
        line.join(" ").starts_with(words)
    })
}

#[test]
fn it_makes_no_output_folder_and_starts_no_worker() {
    let server = Server::start();
    let run = Run::new().list([server.url("/a")]).with("--dry-run");
    let job = run.start();
    let ended = job.finish().code(0);
    assert!(!run.path("downloads").exists());
    assert_eq!(server.total(), 0);
    assert!(
        ended.stdout.starts_with(&server.url("/a")),
        "{}",
        ended.text()
    );
    assert!(holds(&ended.stderr, "to download 1"), "{}", ended.text());
    assert!(!ended.stderr.contains("worker"), "{}", ended.text());
}

#[test]
fn it_works_while_a_run_holds_the_folder() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new().list([server.url("/held")]);
    let job = run.start();
    server.wait_for("/held", 1);
    let dry = run.command().arg("--dry-run").output().unwrap();
    assert_eq!(dry.status.code(), Some(0), "{dry:?}");
    assert!(String::from_utf8(dry.stdout).unwrap().contains("/held\t"));
    server.release_all();
    job.finish().code(0);
}

#[test]
fn what_servers_would_be_asked_about_is_told_apart() {
    let server = Server::start();
    let run = Run::new().list([server.url("/a")]);
    run.finish().code(0);
    let run = run.list(["/a", "/b"].map(|path| server.url(path)));
    let asked = server.total();
    let dry = run.with("--dry-run --refresh").finish().code(0);
    assert_eq!(server.total(), asked);
    for row in ["to download 1", "to check 1"] {
        assert!(holds(&dry.stderr, row), "{row}: {}", dry.text());
    }
    assert_eq!(dry.stdout.lines().count(), 2, "{}", dry.text());
}

#[test]
fn quiet_leaves_the_counts_out_and_the_lines_and_problems_in() {
    let run = Run::new()
        .list(["https://h.example/a", "nonsense"])
        .with("--dry-run --quiet");
    let ended = run.finish().code(1);
    assert_eq!(ended.stdout.lines().count(), 1);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    ended.says(&["urls.txt:2", "nonsense"]);
}

#[test]
fn what_a_run_would_refuse_it_refuses() {
    let missing = Run::new().with("--dry-run");
    missing.finish().code(3).says(&["urls.txt", "no such file"]);
    let empty = Run::new().list_bytes("# nothing\n").with("--dry-run");
    empty.finish().code(3).says(&["no URL in the input"]);
    let blocked = Run::new().list(["https://h.example/"]).with("--dry-run");
    fs::write(blocked.path("downloads"), "").unwrap();
    blocked.finish().code(3).says(&["is not a folder"]);
    let usage = Run::new()
        .list(["https://h.example/"])
        .with("--dry-run --naming {x}");
    usage.finish().code(2).says(&["--naming"]);
}

#[test]
fn lines_come_before_the_list_ends_and_a_reader_may_leave() {
    let run = Run::new().with("- --dry-run");
    let mut command = run.command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut feed = |text: &str| std::io::Write::write_all(&mut stdin, text.as_bytes());
    feed("https://h.example/1\n").unwrap();
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("https://h.example/1\t"), "{line}");
    drop(stdout);
    feed("https://h.example/2\n").unwrap();
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}
