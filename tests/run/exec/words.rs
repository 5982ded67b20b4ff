//! Words and placeholders: an inserted value stays within its argument.

use std::fs;

use crate::support::{Run, Server, server, sha256};

/// Returns the arguments that the script received.
fn arguments(run: &Run) -> Vec<String> {
    let bytes = fs::read(run.path("arguments")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

fn with_command(command: &str) -> Run {
    Run::new()
        .script("script", r#"printf '%s\0' "$@" > arguments"#)
        .with("--workers 1 --exec")
        .arg(command)
}

#[test]
fn names_and_urls_with_anything_in_them_are_one_argument_each() {
    for out in [
        "a b.txt",
        "it's \"it\".txt",
        "$(touch owned);`touch owned`&|.txt",
        "-rf",
        "--help",
        "{url}{path}",
        "caf\u{e9} \u{1f600}.txt",
        "a/*/?[x].tar.gz",
    ] {
        let server = Server::start();
        let url = server.url("/f%FF%0A?x=$(touch%20owned)&y='z'");
        let line = serde_json::json!({ "url": url, "out": out }).to_string();
        let command =
            "./script {path} {} '{dir}' x{name}y {name} {stem}.png --url={url} {sha256} ''";
        let run = with_command(command).list([line]);
        run.finish().code(0);
        let output = fs::canonicalize(run.path("downloads")).unwrap();
        let path = output.join(out);
        let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let name = out.rsplit('/').next().unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let safe = |text: &str| match text.starts_with('-') {
            true => format!("./{text}"),
            false => text.to_owned(),
        };
        let record = run.log().records().remove(0);
        let expected = [
            text(&path),
            text(&path),
            text(path.parent().unwrap()),
            format!("x{name}y"),
            safe(name),
            format!("{}.png", safe(stem)),
            format!("--url={}", record.url),
            record.sha256.unwrap(),
            String::new(),
        ];
        assert_eq!(arguments(&run), expected);
        assert!(!run.path("owned").exists());
    }
}

#[test]
fn without_a_place_the_path_is_the_last_argument() {
    let server = Server::start();
    let run = with_command("./script -q 'a  b'").list([server.url("/f")]);
    run.finish().code(0);
    let path = fs::canonicalize(run.path("downloads")).unwrap();
    let path = path.join(run.log().records().remove(0).path.unwrap());
    assert_eq!(arguments(&run), ["-q", "a  b", path.to_str().unwrap()]);
}

#[test]
fn the_environment_tells_of_the_file_and_of_no_password() {
    let server = Server::start();
    let url = server.url("/f");
    let run = Run::new()
        .script(
            "script",
            "env | grep ^COORDINATOR_ | grep -v TEST | sort > environment",
        )
        .with("--workers 1 --exec ./script")
        .list([url.replace("http://", "http://user:secret@")]);
    run.finish().code(0);
    let environment = fs::read_to_string(run.path("environment")).unwrap();
    let path = fs::canonicalize(run.path("downloads")).unwrap();
    let path = path.join(run.log().records().remove(0).path.unwrap());
    let body = server::body("/f");
    let expected = format!(
        "COORDINATOR_BYTES={}\nCOORDINATOR_CONTENT_TYPE=text/plain\nCOORDINATOR_PATH={}\n\
         COORDINATOR_SHA256={}\nCOORDINATOR_URL={url}\n",
        body.len(),
        path.display(),
        sha256(&body)
    );
    assert_eq!(environment, expected);
}

#[test]
fn no_name_makes_a_stem_that_leads_to_another_folder() {
    let server = Server::start();
    let outs = ["x/y/...zip", "x/y/..zip", "x/y/...", "x/y/....zip"];
    let line = |out| serde_json::json!({ "url": server.url("/f"), "out": out }).to_string();
    let run = Run::new()
        .script("script", r#"echo > "$1""#)
        .with("--exec")
        .arg("./script {dir}/{stem}/made")
        .list(outs.map(line));
    let ended = run.finish().code(3);
    for (line, out) in (1..).zip(outs) {
        ended.says(&[&format!("urls.txt:{line}: "), out, "only dots"]);
    }
    for made in ["downloads/x/made", "downloads/x/y/made"] {
        assert!(!run.path(made).exists(), "{made}");
    }
    assert_eq!(server.total(), 0);
}

#[test]
fn a_command_that_cannot_be_run_is_one_line_before_anything_is_downloaded() {
    let server = Server::start();
    for (command, problem) in [
        ("", "it is empty"),
        ("./script 'a", "a quote is not closed"),
        ("./script {pth}", "there is no {pth}; a command has {path}"),
        ("{path}", "its first word is a placeholder"),
        ("./missing", "No such file"),
        (
            "no-such-program-anywhere",
            "there is no such program in PATH",
        ),
        ("./urls.txt", "Permission denied"),
    ] {
        let run = with_command(command).list([server.url("/f")]);
        let ended = run.finish().code(2);
        ended.says(&["coordinator: cannot ", "(--exec)", problem]);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
        assert!(!run.path("downloads").exists());
    }
    assert_eq!(server.total(), 0);
    let run = Run::new().with("--exec-timeout 3s");
    run.finish().code(2).says(&["--exec"]);
}
